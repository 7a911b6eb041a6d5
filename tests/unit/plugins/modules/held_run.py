# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole run on one host, as the role run has it: opened, the phase git_revert, closed."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

from ansible_collections.changeops.rollback.plugins.module_utils._restore_point import RestorePoint
from ansible_collections.changeops.rollback.plugins.module_utils._run_close import closed
from ansible_collections.changeops.rollback.plugins.module_utils._run_point import RunPoint, opened

NOW = 1795993200.0
SINCE = "2026-11-29T23:00:00Z"


def run(app: t.Any, state: Path, name: str = "R1", **kw: t.Any) -> dict:
    """Roll ``app`` (a repository or one with releases) back in a run, and close that. Returns what closing says.

    :arg outcome: how the run ends. :arg check: in check mode. Anything else of the run: change, title, executed_by.
    """
    outcome, check = kw.pop("outcome", "succeeded"), kw.pop("check", False)
    about = {"change": "C001", "title": "Add invoice totals", "executed_by": "dana", **kw}
    free = {"finished_runs": [], "break_lock": "", "wait": 5.0, "keep": 5, "accounts": [], "outcome": outcome}
    free.update(undo=False, undo_run="")
    params = {"run": name, "plan_digest": "d1", "controller": "ops1", **about, **free}
    point = RunPoint(str(state / name))
    part = RestorePoint(str(state / name / "1-git_revert"))
    if hasattr(app, "restore_point"):
        app.restore_point = part
    else:
        app.point = part
    opened(point, params, check, now=NOW)
    for step in ("preflight", "main", *(["recover"] if outcome == "recovered" else [])):
        app.run(step, check=check)
    return closed(point, params, check, now=NOW)


def held(state: Path) -> list:
    """What is held; None where there is no such file."""
    file = state / "hold.json"
    return json.loads(file.read_text())["held"] if file.exists() else None
