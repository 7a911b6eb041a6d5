# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the run of a restore point ended, as its ``run.json`` says. Private to this collection.

An undo opens the restore point of a rollback again. Then ``undo`` says so, with the undo's ``run``, the ``outcome``
from before (null: the rollback was half-way) and whether the undo has ``begun`` to change the host.
"""

from __future__ import annotations

import time
import typing as t
from pathlib import Path

from ._restore_point import read_json, write_json

SUCCEEDED, RECOVERED, FAILED, REFUSED = "succeeded", "recovered", "failed", "refused"
ABANDONED, UNDONE = "abandoned", "undone"  # what a restore point may be beside that

Info = t.Dict[str, t.Any]


def outcome_of(info: Info) -> str | None:
    """How a run ended here; None where the host is half-way. An undo that had not begun counts for nothing."""
    undo = info.get("undo")
    outcome: str | None = undo["outcome"] if undo and not undo["begun"] else info.get("outcome")
    return outcome


def all_infos(state_dir: Path) -> list[tuple[Path, Info]]:
    """The restore points of a host, and what the ``run.json`` of each says."""
    found = [(path.parent, read_json(path)) for path in sorted(state_dir.glob("*/run.json"))]
    return [(root, info) for root, info in found if isinstance(info, dict)]


def newest(
    state_dir: Path, change: str, run: str, started: t.Callable[[Path], bool]
) -> tuple[Path | None, dict[str, t.Any]]:
    """The restore point of a change that was open last, and what its ``run.json`` says.

    :arg run: only of this run, if it is not empty.
    :arg started: whether a phase's main had started in a restore point.
    """
    found = []
    for root, info in all_infos(state_dir):
        mine = info.get("change") == change and run in ("", info.get("run"), info.get("id"))
        if mine and (outcome_of(info) or started(root)):
            found.append((float(info.get("closed", 0.0)) if outcome_of(info) else float("inf"), root, info))
    return max(found, key=lambda one: one[:2])[1:] if found else (None, {})


def nothing(change: str, run: str, info: Info) -> str:
    """Why there is nothing to undo, by the newest restore point; empty where there is something."""
    of = f"run {run} of {change}" if run else change
    if not info:
        return (
            f"There is no restore point of {of} on this host: it was not rolled back here, or so many rollbacks ago "
            "that it is not kept any more (run_keep)."
        )
    outcome = outcome_of(info)
    if outcome in (None, SUCCEEDED):
        return ""
    when = time.strftime("%Y-%m-%d %H:%M", time.gmtime(float(info["closed"])))
    how = "was undone" if outcome == UNDONE else f"ended as {outcome}"
    return f"{change} is not rolled back on this host: run {info['run']} {how} at {when} UTC."


def close_info(root: Path, outcome: str | None, now: float) -> None:
    """Note how a run ended. The order in which runs ended must not change when the host's clock is set back."""
    ended = [float(info.get("closed", 0.0)) for _root, info in all_infos(root.parent)]
    closed = max([now, *(other + 0.001 for other in ended)])
    info = dict(read_json(root / "run.json") or {}, outcome=outcome, closed=closed)
    info.pop("undo", None)
    write_json(root / "run.json", info)
