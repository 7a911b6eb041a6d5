# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Send the module ``backup`` only what it needs: content and values of config, and passwords, are not its business."""

from __future__ import annotations

import typing as t

from ansible_collections.changeops.rollback.plugins.module_utils._command import Commands, PhaseError
from ansible_collections.changeops.rollback.plugins.module_utils._libpq import by_address
from ansible_collections.changeops.rollback.plugins.plugin_utils._config_private import taken_apart
from ansible_collections.changeops.rollback.plugins.plugin_utils._prepared import PreparedAction


class ActionModule(PreparedAction):
    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        variables = task_vars or {}
        result = super().run(None, variables)
        args = dict(self._task.args)
        if isinstance(args.get("paths"), list):
            public, private = taken_apart(args["paths"])
            args["paths"] = [
                {**item, "given": True} if hidden.get("content") is not None else item
                for item, hidden in zip(public, private, strict=True)
            ]
        try:
            if args.get("step") == "recover":
                args["databases"] = []  # it has nothing to do with them, and nothing may keep it from its work
            for item in args.get("databases") or []:
                if isinstance(item, dict) and item.get("postgresql"):
                    by_address(Commands(), str(item["postgresql"]))  # before a password in it is logged on the host
        except PhaseError as exc:
            return dict(result, failed=True, msg=str(exc))
        return dict(result, **self.run_prepared(args, variables))
