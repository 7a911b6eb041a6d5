# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the history. It works on the controller; see the module ``history_info`` for its documentation."""

from __future__ import annotations

import os
import shutil
import sys
import typing as t

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.changeops.rollback.plugins.plugin_utils import _history_view as view
from ansible_collections.changeops.rollback.plugins.plugin_utils._history import HistoryError
from ansible_collections.changeops.rollback.plugins.plugin_utils._history_process import this_process
from ansible_collections.changeops.rollback.plugins.plugin_utils._history_spool import store_of

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "change": {"type": "str", "default": ""},
    "run": {"type": "str", "default": ""},
    "last": {"type": "int", "default": 20},
    "format": {"type": "str", "choices": list(view.FORMATS)},
    "url": {"type": "str", "no_log": True},
}


def rendered(runs: list[dict[str, t.Any]], form: str, details: bool) -> str:
    """The runs as text."""
    width = shutil.get_terminal_size((160, 24)).columns
    text = {
        "json": lambda: view.as_json(runs),
        "markdown": lambda: view.as_markdown(runs, details),
        "table": lambda: view.as_table(runs, width, details),
    }[form]()
    return str(text)


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        variables = task_vars or {}
        result = super().run(None, variables)
        args = self.validate_argument_spec(ARGUMENTS)[1]
        try:
            store = store_of(args["url"], variables, self._templar, sys.executable)
            runs = store.runs(this_process(os.getppid()), args["change"], args["run"], args["last"])
            if args["format"]:
                Display().display(rendered(runs, args["format"], bool(args["run"])))
        except HistoryError as exc:
            return dict(result, failed=True, msg=str(exc))
        return dict(result, changed=False, runs=runs)
