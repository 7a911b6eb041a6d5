# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller does for a module with the option ``fit``: keep secrets of the config in it out of logs."""

from __future__ import annotations

import typing as t

from ansible_collections.changeops.rollback.plugins.plugin_utils._config_private import ItemError, split
from ansible_collections.changeops.rollback.plugins.plugin_utils._prepared import PreparedAction


class FitAction(PreparedAction):
    """Runs the module, with the items of ``fit.config.paths`` taken apart."""

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Run it; as for every action plugin."""
        variables = task_vars or {}
        result = super().run(None, variables)
        args = dict(self._task.args)
        config = (args.get("fit") or {}).get("config") or {}
        if config.get("paths"):
            try:
                paths, private = split(config["paths"], variables, self)
            except ItemError as exc:
                return dict(result, failed=True, msg=str(exc))
            config = dict(config, paths=paths, **({"private": private} if private else {}))
            args["fit"] = dict(args["fit"], config=config)
        return dict(result, **self.run_prepared(args, variables))
