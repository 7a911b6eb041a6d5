# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prepare the items of the module ``config_restore`` on the controller: render templates, keep secrets out of logs."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

from ansible.plugins.action import ActionBase
from ansible.plugins.loader import lookup_loader
from ansible_collections.changeops.rollback.plugins.plugin_utils._config_private import (
    ItemError,
    rendered,
    taken_apart,
    template_folders,
)


class ActionModule(ActionBase):
    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        variables = task_vars or {}
        result = super().run(None, variables)
        args = dict(self._task.args)
        if args.get("step") == "recover":
            args["paths"] = []  # it knows what there was; a template that cannot be rendered must not keep it from that
        if isinstance(args.get("paths"), list):
            try:
                items = rendered(args["paths"], template_folders(variables), lambda path: self._render(path, variables))
            except ItemError as exc:
                return dict(result, failed=True, msg=str(exc))
            args["paths"], private = taken_apart(items)
            if any(private):  # an empty list would be masked wherever a result holds one
                args["private"] = json.dumps(private, default=str)  # a value from a vault is no str yet
        return dict(result, **self._execute_module(module_args=args, task_vars=variables))

    def _render(self, path: Path, variables: dict[str, t.Any]) -> t.Any:
        lookup = lookup_loader.get("ansible.builtin.template", loader=self._loader, templar=self._templar)
        return lookup.run([str(path.resolve())], variables)[0]
