# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prepare the items of the module ``config_restore`` on the controller: render templates, keep secrets out of logs."""

from __future__ import annotations

import typing as t

from ansible_collections.changeops.rollback.plugins.plugin_utils._config_private import ItemError, split
from ansible_collections.changeops.rollback.plugins.plugin_utils._prepared import PreparedAction


class ActionModule(PreparedAction):
    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        variables = task_vars or {}
        result = super().run(None, variables)
        args = dict(self._task.args)
        if args.get("step") == "recover":
            args["paths"] = []  # it knows what there was; a template that cannot be rendered must not keep it from that
        try:
            args["paths"], private = split(args.get("paths"), variables, self)
        except ItemError as exc:
            return dict(result, failed=True, msg=str(exc))
        if private:
            args["private"] = private
        return dict(result, **self.run_prepared(args, variables))
