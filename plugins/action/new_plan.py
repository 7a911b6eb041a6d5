# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the plan of a new change. It works on the controller; see the module ``new_plan``."""

from __future__ import annotations

import datetime
import os
import typing as t
from pathlib import Path

from ansible.plugins.action import ActionBase
from ansible_collections.changeops.rollback.plugins.plugin_utils._new_plan import plan_text
from ansible_collections.changeops.rollback.plugins.plugin_utils._plan import NoPlan, find_plan, write_plan
from ansible_collections.changeops.rollback.plugins.plugin_utils._plan_check import check_plan
from ansible_collections.changeops.rollback.plugins.plugin_utils._plan_folders import folder_of_new_plans, plan_folders
from ansible_collections.changeops.rollback.plugins.plugin_utils._plan_yaml import PlanError

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "change": {"type": "str", "default": ""},
    "found": {"type": "dict", "default": {}},
    "stands": {"type": "dict", "default": {}},
    "services": {"type": "list", "elements": "dict", "default": []},
    "config": {"type": "list", "elements": "raw", "default": []},
    "checks": {"type": "list", "elements": "raw", "default": []},
}
NONE = (
    "No host of {hosts} has rollback_repo, so there is nothing to read a change from. Say in group_vars where the "
    "app's git work tree is: rollback_repo: /srv/shop"
)


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        variables = task_vars or {}
        result = super().run(None, variables)
        args = self.validate_argument_spec(ARGUMENTS)[1]
        change, folders = args["change"], plan_folders(self, variables)
        try:
            there = find_plan(change or None, folders)
        except NoPlan:
            there = None
        except PlanError as exc:
            return dict(result, failed=True, msg=str(exc))
        if there:
            msg = f"There is a plan of {change} already, {_shown(there)}, which is not overwritten."
            return dict(result, failed=True, msg=f"{msg} Take another ID, or move it.")
        if not args["found"]:
            return dict(result, changed=False, msg=f"{change} has no plan yet.")
        found = {host: one for host, one in args["found"].items() if "commits" in one}
        if not found:
            return dict(result, failed=True, msg=NONE.format(hosts=", ".join(args["found"])))
        app = {name: args[name] for name in ("services", "config", "checks")}
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        text = plan_text(change, found, args["stands"], app, variables.get("groups") or {}, today)
        path = folder_of_new_plans(folders) / f"{change}.yml"
        if not self._task.check_mode:
            write_plan(path, text)
        if self._task.diff:
            result["diff"] = [{"before": "", "after": text, "after_header": _shown(path)}]
        asked = _asked(text, change, _shown(path))
        wrote = "would be written" if self._task.check_mode else "is written"
        msg = "\n".join(
            [f"{_shown(path)} {wrote}. {'These questions are left:' if asked else 'No question is left.'}", *asked]
        )
        return dict(result, changed=True, path=str(path), msg=msg, questions=asked)


def _asked(text: str, change: str, shown: str) -> list[str]:
    """What the plan is refused with, a line for each fault."""
    try:
        check_plan(text.encode(), change, shown)
    except PlanError as exc:
        return str(exc).splitlines()
    return []


def _shown(path: Path) -> str:
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
