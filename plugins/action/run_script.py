# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Send the module ``run_script`` the scripts that lie in the ops repository."""

from __future__ import annotations

import base64
import typing as t
from pathlib import Path

from ansible_collections.changeops.rollback.plugins.plugin_utils._config_private import template_folders
from ansible_collections.changeops.rollback.plugins.plugin_utils._prepared import PreparedAction


def find_script(name: str, folders: t.Sequence[Path]) -> Path | str:
    """The file of a script in the first of ``folders`` that has it, or a sentence that says where it should be."""
    found = next((folder / name for folder in folders if (folder / name).is_file()), None)
    return found or (
        f"There is no script '{name}' in your ops repository. Put it at {folders[0] / name}, or write the whole path "
        "of one that is on the host."
    )


class ActionModule(PreparedAction):
    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        variables = task_vars or {}
        result = super().run(None, variables)
        args = dict(self._task.args)
        plan = (variables.get("rollback_plan") or {}).get("path")
        folders = [*([Path(plan).parent] if plan else []), *template_folders(variables)]
        # What puts back does it with what preflight kept.
        for option in ("script", "recover") if args.get("step", "main") in ("preflight", "main") else ():
            name = str(args.get(option) or "")
            if name and not name.startswith(("/", "~")):
                found = find_script(name, folders)
                if isinstance(found, str):
                    return dict(result, failed=True, msg=found)
                content = Path(self._loader.get_real_file(str(found))).read_bytes()
                args[f"{option}_content"] = base64.b64encode(content).decode()
        return dict(result, **self.run_prepared(args, variables))
