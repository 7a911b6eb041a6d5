# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must not be shipped again, because it was rolled back here. Private to this collection.

``hold.json`` in the state directory is for whatever deploys, so anybody may read it, and it says nothing secret::

    {"held": [{"change": "C001", "title": "Add invoice totals", "run": "20261122T231500-C001-1a2b",
               "executed_by": "dana", "since": "2026-11-22T23:16:04Z", "repo": "/srv/shop",
               "commits": [what was rolled back], "release": the commit or release that they were in}]}

A commit stands in quotes as a full hash, only where it must not be shipped, so that a shell script needs no more than
``grep``. The file is gone when nothing is held.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import typing as t
from pathlib import Path

from ._command import PhaseError
from ._restore_point import STATE_MODE, default_state_dir, make_private, read_json, user_name, write_file

Hold = t.Dict[str, t.Any]
NAME = "hold.json"
COMMAND = "ansible-playbook changeops.rollback.hold"


def places(state_dir: str, repo: str, euid: int, environ: t.Mapping[str, str]) -> list[Path]:
    """The state directories where a rollback may have left a hold.

    Whoever ships need not be who rolled back: root looks where the owner of ``repo`` keeps a restore point, everybody
    looks where root does.

    :arg state_dir: the only one, where it is given.
    """
    if state_dir:
        return [Path(state_dir).expanduser()]
    found = [default_state_dir(0, environ), default_state_dir(euid, environ)]
    if euid == 0 and os.path.isdir(repo):
        home = os.path.expanduser("~" + user_name(os.stat(repo).st_uid))
        found.append(Path(home, ".local", "state", "changeops"))
    return list(dict.fromkeys(found))


def held(state_dir: Path) -> list[Hold]:
    """What is held, in the order in which it was rolled back.

    :raises PhaseError: that cannot be told.
    """
    path = state_dir / NAME
    try:
        found = read_json(path)
    except PermissionError as exc:
        raise PhaseError(
            f"{path} cannot be read by {user_name(os.geteuid())}, so it is not known what must not be shipped. Run "
            f"this task as root (become: true), or let everybody pass, not list: chmod 711 {state_dir}"
        ) from exc
    if found is None:
        return []
    try:
        return [{**_EMPTY, **one, "commits": [str(commit) for commit in one["commits"]]} for one in found["held"]]
    except (KeyError, TypeError) as exc:
        raise PhaseError(
            f"{path} is not what a rollback writes. Look at it, and move it away to go on without it."
        ) from exc


_EMPTY = {"change": "", "title": "", "run": "", "executed_by": "", "since": "", "repo": "", "release": ""}


def hold(state_dir: Path, about: Hold, parts: t.Iterable[t.Mapping[str, t.Any]]) -> None:
    """Hold what the phases of a run took back. The same commits of the same change are held once.

    :arg about: change, title, run, executed_by and since.
    :arg parts: what the phases noted in the restore point; ``hold`` in ``prepared`` has repo, commits and release.
    """
    noted = [(part.get("prepared", {}).get("hold"), part.get("changed")) for part in parts]
    with _alone(state_dir):
        known = held(state_dir)
        now = {_key(one): one for one in known}
        for what, changed in noted:
            one = {**_EMPTY, "commits": [], **about, **(what or {})}
            # Where it had been taken back before, that hold is the true one.
            if (one["commits"] or one["release"]) and (changed or _key(one) not in now):
                now[_key(one)] = one
        if list(now.values()) != known:
            _write(state_dir, list(now.values()))


def lift(state_dir: Path, changes: t.Collection[str], check: bool = False) -> list[Hold]:
    """Let the changes be shipped again. Returns the holds that were lifted."""
    if not _of(changes, held(state_dir)):
        return []
    try:
        with _alone(state_dir):
            known = held(state_dir)
            lifted = _of(changes, known)
            if lifted and not check:
                _write(state_dir, [one for one in known if one not in lifted])
    except PermissionError as exc:
        raise PhaseError(
            f"{state_dir / NAME} belongs to {user_name(state_dir.stat().st_uid)}, and this task runs as "
            f"{user_name(os.geteuid())}, who may not change it. Lift the hold as its owner, such as with: "
            f"{COMMAND} -e release_hold={','.join(sorted(changes))}"
        ) from exc
    return lifted


def _key(one: Hold) -> tuple[str, ...]:
    """What makes a hold the same one: a release whose commit is not known goes by its name."""
    return (one["change"], one["repo"], *(one["commits"] or [one["release"]]))


def _of(changes: t.Collection[str], holds: t.Iterable[Hold]) -> list[Hold]:
    return [one for one in holds if one["change"] in changes]


def _write(state_dir: Path, holds: list[Hold]) -> None:
    if not holds:
        with contextlib.suppress(FileNotFoundError):
            (state_dir / NAME).unlink()
        return
    make_private(state_dir, STATE_MODE)
    write_file(state_dir / NAME, (json.dumps({"held": holds}, indent=2, sort_keys=True) + "\n").encode(), 0o644)


@contextlib.contextmanager
def _alone(state_dir: Path) -> t.Iterator[None]:
    """Keep two writers from each other. Only the owner can open the directory, so nobody else can keep us waiting."""
    fd = os.open(str(state_dir), os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
