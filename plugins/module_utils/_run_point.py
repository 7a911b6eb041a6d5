# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run's restore point as a whole, and the lock of the host. Private to this collection.

The lock (``lock.json``) says which run may work on this host; it is there from ``opened`` to ``closed`` and outlives
everything, so that two controllers with two histories cannot collide. The work lock (flock) says that something works
here at this moment.
"""

from __future__ import annotations

import os
import pwd
import shutil
import time
import typing as t
from pathlib import Path

from ._command import PhaseError
from ._phase import DONE, STARTED
from ._restore_point import (
    STANDALONE,
    STATE_MODE,
    RestorePoint,
    WorkLock,
    make_private,
    read_json,
    user_name,
    write_json,
)
from ._run_info import ABANDONED, all_infos, close_info, newest, nothing, outcome_of
from ._shared import keep_to_owner, share
from ._words import age

ROLLED_BACK = "rolled back"

Params = t.Dict[str, t.Any]
Result = t.Dict[str, t.Any]


class RunPoint:
    """The restore point of one run on one host.

    :arg text: the restore point's id, below the default state directory, or an absolute path.
    """

    def __init__(self, text: str) -> None:
        self.root = RestorePoint(f"{text}/run").root
        if self.root.name == STANDALONE:
            raise PhaseError(f"A run cannot be called '{STANDALONE}'.")
        self.state_dir = self.root.parent

    def lock(self) -> Result:
        """Who holds the host; empty if nobody does."""
        return t.cast("Result", read_json(self.state_dir / "lock.json") or {})

    def info(self) -> Result:
        """What ``run.json`` says; empty before the restore point was made."""
        return t.cast("Result", read_json(self.root / "run.json") or {})

    def parts(self) -> dict[str, Result]:
        """The state that each phase noted, by phase."""
        return _parts(self.root)

    @property
    def started(self) -> bool:
        """Whether a phase's main started here: the host may be half-way."""
        return _started(self.root)

    def unfinished_others(self) -> list[Result]:
        """Restore points of other runs that left this host half-way."""
        return [
            dict(info, path=str(root))
            for root, info in all_infos(self.state_dir)
            if root != self.root and not outcome_of(info) and _started(root)
        ]


def _started(root: Path) -> bool:
    return any(part.get("progress") in (STARTED, DONE) for part in _parts(root).values())


def _parts(root: Path) -> dict[str, Result]:
    found = {path.parent.name: read_json(path) for path in sorted(root.glob("*/state.json"))}
    return {name: state for name, state in found.items() if isinstance(state, dict)}


def check_lock(point: RunPoint, named: str, params: Params, now: float) -> bool:
    """Return whether another run's lock lies here that may be taken over.

    :arg named: the restore point that the controller's history has for the run.
    :raises PhaseError: the host belongs to another run, or another run left it half-way.
    """
    lock = point.lock()
    mine = {params["run"], params["break_lock"], *params["finished_runs"]}
    adopt = bool(lock) and (lock.get("run") in mine or lock.get("restore_point") == named)
    if lock and not adopt:
        wrong = "" if params["break_lock"] in params["finished_runs"] else params["break_lock"]
        raise PhaseError(
            "This host is locked: {change} is being {doing} by {executed_by} from {controller} since {age} (run "
            "{run}). {wrong}Wait for it, or if you are sure that it is dead: ansible-playbook {playbook}.yml "
            "-e change={mine} -e break_lock={run}".format(
                **{key: lock.get(key) for key in ("change", "executed_by", "controller", "run")},
                age=age(now - float(lock.get("taken", now))),
                wrong=f"-e break_lock={wrong} names another run. " if wrong else "",
                mine=params["change"],
                doing=lock.get("doing", ROLLED_BACK),
                playbook="undo" if params["undo"] else "rollback",
            ),
            lock=lock,
        )
    for other in point.unfinished_others():
        if params["break_lock"] not in (other.get("run"), other.get("id")):
            raise PhaseError(
                "{change} was left half-way on this host by run {run}, {age} ago. Finish it first: "
                "ansible-playbook rollback.yml -e change={change} ; or leave it as it is and go on with: "
                "-e break_lock={run}".format(
                    change=other.get("change"), run=other.get("run"), age=age(now - float(other.get("opened", now)))
                ),
                unfinished=other,
            )
    return adopt


def account(user: str, euid: int | None = None) -> Result:
    """Say whom this works as.

    :arg user: whom it should work as; empty for anybody.
    :raises PhaseError: it works as somebody else.
    """
    euid = os.geteuid() if euid is None else euid
    name = user_name(euid)
    if user not in ("", name, str(euid)):
        raise PhaseError(
            f"it works as {name}, because ansible_become or ansible_become_user is set in the inventory and beats the "
            "plan; take it out there."
        )
    return {"changed": False, "msg": f"This works as {name}.", "account": {"user": name, "uid": euid}}


def _others(users: t.Sequence[str], euid: int) -> list[int]:
    """The numbers of the accounts that this run's phases work as beside the one that keeps the restore point.

    :raises PhaseError: there are some, and this is not root, who alone can read what they keep.
    """
    others = [user for user in users if user not in (user_name(euid), str(euid))]
    if others and euid != 0:
        raise PhaseError(
            "On this host the phases work as {} and {}, and none as root, so they cannot keep one restore point. Give "
            "all of them the same become_user, or connect as root.".format(", ".join(others), user_name(euid))
        )
    return [int(user) if user.isdigit() else pwd.getpwnam(user).pw_uid for user in others]


def opened(named: RunPoint, params: Params, check: bool, now: float | None = None) -> Result:
    """Take the host for a run, and make or find its restore point: that of the rollback, where that is undone, or where
    an undo of it was left half-way.

    Waits for what an interrupted run left at work here, and ends it after ``wait`` seconds.
    """
    now = time.time() if now is None else now
    root, last = newest(named.state_dir, params["change"], params["undo_run"], _started)
    why = nothing(params["change"], params["undo_run"], last) if params["undo"] else ""
    if why:
        return {"changed": False, "msg": why, "resumed": False, "path": ""}
    half_undone = not outcome_of(last) and "undo" in last
    point = RunPoint(str(root)) if root and (params["undo"] or half_undone) else named
    info = point.info()
    adopt = check_lock(point, named.root.name, params, now)
    if info and info.get("plan_digest") != params["plan_digest"]:
        state = "it is undone with the plan that it had" if params["undo"] else "it is not finished here"
        raise PhaseError(
            "The plan of {} was edited since run {} began, and {}. Put the plan back as it was (SHA-256 {}) and run "
            "the same command again.".format(params["change"], info.get("run"), state, info.get("plan_digest"))
        )
    others = _others(params["accounts"], os.geteuid())
    if check:
        return {"changed": False, "msg": "This host is free.", "resumed": bool(info), "path": str(point.root)}
    lock = WorkLock(point.state_dir / "work.lock", "opening run {}".format(params["run"]))
    held = lock.acquire(params["wait"], end=adopt)
    try:
        check_lock(point, named.root.name, params, now)
        _give_access(point, others)
        _take(point, params, others, now)
        _clear_untouched(point, params)
        for other in point.unfinished_others():
            close_info(Path(other["path"]), ABANDONED, now)
        first = info or dict(
            {key: params[key] for key in ("run", "change", "title", "plan_digest", "executed_by", "controller")},
            id=point.root.name,
            opened=now,
        )
        first.pop("undo", None)
        if params["undo"]:
            begun = outcome_of(info) is None
            first["undo"] = {"run": params["run"], "outcome": outcome_of(info), "begun": begun}
        write_json(point.root / "run.json", dict(first, outcome=None))
    finally:
        lock.release()
    msg = "Resumed restore point {}." if info else "Opened restore point {}."
    result = {"changed": False, "msg": msg.format(point.root), "resumed": bool(info), "path": str(point.root)}
    if held:
        result["warnings"] = [
            "{} was still at work on this host: {} after {} s.".format(
                held.get("label", "An interrupted run"),
                "it was ended" if held["ended"] else "it ended by itself",
                held["waited"],
            )
        ]
    return result


def _give_access(point: RunPoint, others: t.Sequence[int]) -> None:
    """Let the accounts of the run, and nobody else, make their parts and take the work lock."""
    make_private(point.root)
    lock = point.state_dir / "work.lock"
    keep_to_owner(point.state_dir, STATE_MODE)
    if others:
        share(point.root, others, "rwx")
        share(lock, others, "rw")
    else:
        keep_to_owner(point.root, 0o700)
        keep_to_owner(lock, 0o600)


def _clear_untouched(point: RunPoint, params: Params) -> None:
    """Remove restore points of runs that are over and had not begun to change this host."""
    for root, info in all_infos(point.state_dir):
        over = not info.get("outcome") and info.get("run") in params["finished_runs"]
        if over and not _started(root) and root != point.root:
            shutil.rmtree(str(root), ignore_errors=True)


def _take(point: RunPoint, params: Params, others: t.Sequence[int], now: float) -> None:
    holder = {key: params[key] for key in ("run", "change", "executed_by", "controller")}
    holder["doing"] = "undone" if params["undo"] else ROLLED_BACK
    path = point.state_dir / "lock.json"
    write_json(path, dict(holder, restore_point=point.root.name, taken=now))
    if others:  # their phases look whether the run still has the host
        share(path, others, "r")


def undoing(point: RunPoint, check: bool) -> Result:
    """Note that an undo begins to change the host: from here on it is half-way, until that has come to its end."""
    info = point.info()
    if not check:
        write_json(point.root / "run.json", dict(info, undo=dict(info["undo"], begun=True)))
    return {"changed": False, "msg": f"The undo of {info['change']} begins on this host."}


def checked(point: RunPoint) -> Result:
    """Say what the preflights of this host found: whether anything is to be done, and how far each phase came."""
    parts = point.parts()
    return {
        "changed": False,
        "msg": "All preflights of this host passed.",
        "pending": any(part.get("pending") for part in parts.values()),
        "unfinished": any(part.get("progress") != DONE or part.get("pending") for part in parts.values()),
        "started": point.started,
        "progress": {name: part.get("progress") for name, part in parts.items()},
    }
