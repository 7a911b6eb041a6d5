# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make plans of a rollback document. It works on the controller; see the module ``import_plan``."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.changeops.rollback.plugins.plugin_utils._document import read_document
from ansible_collections.changeops.rollback.plugins.plugin_utils._document_model import DocumentError
from ansible_collections.changeops.rollback.plugins.plugin_utils._document_view import Imported, shown
from ansible_collections.changeops.rollback.plugins.plugin_utils._document_yaml import plan_text
from ansible_collections.changeops.rollback.plugins.plugin_utils._plan import write_plan
from ansible_collections.changeops.rollback.plugins.plugin_utils._plan_check import check_plan
from ansible_collections.changeops.rollback.plugins.plugin_utils._plan_folders import folder_of_new_plans, plan_folders
from ansible_collections.changeops.rollback.plugins.plugin_utils._plan_yaml import MAX_BYTES, PlanError

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "document": {"type": "path", "default": ""},
    "directory": {"type": "path"},
}
ASK = "Say which document: ansible-playbook changeops.rollback.import_plan -e document=ROLLBACK.md"


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        variables = task_vars or {}
        result = super().run(None, variables)
        args = self.validate_argument_spec(ARGUMENTS)[1]
        if not args["document"]:
            return dict(result, failed=True, msg=ASK)
        path = Path(args["document"]).expanduser()
        try:
            with path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
            if len(data) > MAX_BYTES:
                raise DocumentError(f"It has more than {MAX_BYTES} bytes. Is this the right file?")
            document = read_document(data)
            folder = (
                Path(args["directory"]).expanduser()
                if args["directory"]
                else folder_of_new_plans(plan_folders(self, variables))
            )
            imported = []
            for change in document.changes:
                text, notes = plan_text(change, document, path.name)
                target = folder / f"{change.id}.yml"
                there = [one for one in (target, folder / f"{change.id}.yaml") if os.path.lexists(one)]
                if not there and not self._task.check_mode:
                    write_plan(target, text)
                faults = _faults(text, change.id, str(target))
                imported.append(
                    Imported(change.id, os.path.relpath((there or [target])[0]), not there, text, notes, faults)
                )
        except DocumentError as exc:
            return dict(result, failed=True, msg=f"{path}: {exc}")
        except OSError as exc:
            return dict(result, failed=True, msg=f"{exc.filename or path}: {exc.strerror or exc}.")
        Display().display(shown(str(path), imported, sorted(document.listed), bool(self._task.check_mode)))
        written = [one for one in imported if one.written]
        if self._task.diff:
            result["diff"] = [{"before": "", "after": one.text, "after_header": one.path} for one in written]
        return dict(
            result,
            changed=bool(written),
            plans={one.change: one.path for one in written},
            kept={one.change: one.path for one in imported if not one.written},
            listed=[{"line": line, "text": text, "why": why} for line, text, why in sorted(document.listed)],
        )


def _faults(text: str, change: str, path: str) -> list[tuple[int, str]]:
    try:
        check_plan(text.encode(), change, path)
    except PlanError as exc:
        return exc.faults
    return []
