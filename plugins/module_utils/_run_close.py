# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of a run on a host: what becomes of its restore point, its lock and the hold. Private to this collection."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path

from ._command import Commands, PhaseError
from ._hold import hold, lift
from ._phase import DONE
from ._prepared_server import SOCKETS  # also has Ansible pack that file, which starts it
from ._restore_point import RestorePoint, read_json, write_json
from ._run_info import RECOVERED, REFUSED, SUCCEEDED, UNDONE, all_infos, close_info
from ._run_point import Params, Result, RunPoint


def closed(point: RunPoint, params: Params, check: bool, now: float | None = None) -> Result:
    """Give the host back, and keep or remove the restore point as the outcome asks for."""
    now = time.time() if now is None else now
    outcome = params["outcome"]
    if check or not point.info():
        return {"changed": False, "msg": "There is no restore point to close.", "outcome": outcome}
    for path in point.root.glob(SOCKETS):
        with contextlib.suppress(OSError):
            path.unlink()
    for part in point.parts():
        RestorePoint(str(point.root / part)).use_reserve()
    undo = point.info().get("undo") or {}
    close = _close_undo if undo.get("run") == params["run"] else _close_rollback
    msg, warnings = close(point, params, now)
    if point.lock().get("run") == params["run"]:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(str(point.state_dir / "lock.json"))
    return {"changed": False, "msg": msg, "outcome": outcome, "path": str(point.root), "warnings": warnings}


def _close_rollback(point: RunPoint, params: Params, now: float) -> tuple[str, list[str]]:
    """Returns what was done, in a sentence, and warnings."""
    outcome = params["outcome"]
    if outcome in (SUCCEEDED, RECOVERED):
        if not any(part.get("changed") for part in point.parts().values()):
            shutil.rmtree(str(point.root))
            return "Nothing was changed here, so there is no restore point to keep.", []
        warnings = _hold(point, params, now) if outcome == SUCCEEDED else []
        _keep(point, outcome, params, now)
        return f"Closed restore point {point.root}; it is kept.", warnings
    if outcome == REFUSED and not point.started:
        shutil.rmtree(str(point.root))
        return "Nothing was changed here.", []
    return f"This host is half-way. Restore point {point.root} stays open for the run that finishes it.", []


def _close_undo(point: RunPoint, params: Params, now: float) -> tuple[str, list[str]]:
    """The same for an undo, which may be put back as well: then the change is rolled back again."""
    info, outcome = point.info(), params["outcome"]
    undo = info["undo"]
    if outcome == SUCCEEDED:
        warnings = _lift(point, info["change"])
        _keep(point, UNDONE, params, now)
        return f"Closed restore point {point.root}: it is undone.", warnings
    if outcome == RECOVERED:
        _keep(point, SUCCEEDED, params, now)
        return f"Closed restore point {point.root}: {info['change']} is rolled back, as before.", []
    if outcome == REFUSED and not undo["begun"]:
        info = dict(info, outcome=undo["outcome"])
        del info["undo"]
        write_json(point.root / "run.json", info)
        return "Nothing was changed here.", []
    return f"This host is half-way. Restore point {point.root} stays open for the run that finishes it.", []


def _keep(point: RunPoint, outcome: str, params: Params, now: float) -> None:
    close_info(point.root, outcome, now)
    for scratch in point.root.glob("*/scratch"):
        shutil.rmtree(str(scratch), ignore_errors=True)
    prune(point.state_dir, params["keep"])


def _hold(point: RunPoint, params: Params, now: float) -> list[str]:
    """Hold what was taken back here. Returns warnings: the rollback is done, and must not fail for want of a note."""
    info, lock = point.info(), point.lock()
    about = {
        "change": info["change"],
        "title": info.get("title", ""),
        "run": params["run"],
        "executed_by": (lock if lock.get("run") == params["run"] else info)["executed_by"],
        "since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
    }
    try:
        hold(point.state_dir, about, [part for part in point.parts().values() if part.get("progress") == DONE])
    except (OSError, PhaseError) as exc:
        return [f"{info['change']} is rolled back, but not held, so a deploy may ship it again: {exc}"]
    return []


def _lift(point: RunPoint, change: str) -> list[str]:
    """Let what was put back be shipped again. Returns warnings, as above."""
    try:
        lift(point.state_dir, [change])
    except (OSError, PhaseError) as exc:
        return [f"{change} is put back, and still held, so a deploy may refuse to ship it: {exc}"]
    return []


def prune(state_dir: Path, keep: int) -> list[str]:
    """Remove all but the newest ``keep`` closed restore points. The newest always stays, the newest that was not
    undone, and each with values that an undo could not put back. Returns the ids of those that were removed.
    """
    ended = [(float(info.get("closed", 0)), root, info) for root, info in all_infos(state_dir) if info.get("outcome")]
    ended.sort(key=lambda one: one[:2], reverse=True)
    stay = [root for _closed, root, info in ended if info["outcome"] == SUCCEEDED][:1]
    stay += [root for _closed, root, _info in ended if any(root.glob("*/left-*.sqlite"))]
    removed = []
    for root in [root for _closed, root, _info in ended[max(1, keep) :] if root not in stay]:
        for path in root.glob("*/manifest.json"):
            code = (read_json(path) or {}).get("code") or {}
            if code.get("ref"):
                # as the phase that made it: root would leave files of its own in somebody's repository
                git = ["git", "-C", code["repo"], "update-ref", "-d", code["ref"]]
                Commands(60).run(git, check=False, uid=path.stat().st_uid)
        shutil.rmtree(str(root), ignore_errors=True)
        removed.append(root.name)
    return removed
