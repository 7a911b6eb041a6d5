# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write to the history. It works on the controller; see the module ``history`` for its documentation."""

from __future__ import annotations

import os
import sys
import typing as t

from ansible.plugins.action import ActionBase
from ansible_collections.changeops.rollback.plugins.plugin_utils._history import (
    URL_VARIABLE,
    Asked,
    HistoryError,
    Store,
)
from ansible_collections.changeops.rollback.plugins.plugin_utils._history_process import this_process, who
from ansible_collections.changeops.rollback.plugins.plugin_utils._history_schema import KINDS, ROLLBACK
from ansible_collections.changeops.rollback.plugins.plugin_utils._history_spool import open_store
from ansible_collections.changeops.rollback.plugins.plugin_utils._plan_check import seconds

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "state": {"type": "str", "choices": ["opened", "noted"], "required": True},
    "change": {"type": "str"},
    "plan_digest": {"type": "str"},
    "url": {"type": "str", "no_log": True},
    "break_lock": {"type": "str", "default": ""},
    "limit": {"type": "str", "default": ""},
    "kind": {"type": "str", "choices": list(KINDS), "default": ROLLBACK},
    "require_rehearsal": {"type": "raw", "default": ""},
    "run": {"type": "str"},
    "note": {"type": "str"},
}
RETURNED = (
    *("id", "change", "restore_point", "resumes", "started", "executed_by", "executed_from", "check_mode"),
    *("broke_lock", "dead_runs", "kind", "rehearsed"),
)
FILES_VANISH = (
    "The history is a file in this AWX job's container and vanishes with it, so an interrupted run will not be found. "
    f"Set rollback_history_url, or {URL_VARIABLE} with a credential, to a PostgreSQL database."
)


def within(given: t.Any) -> int:
    """How old the rehearsal may be that is required, in seconds; 0 where none is.

    :arg given: a duration such as 7d, a number of seconds, or no.

    :raises HistoryError: it is no duration.
    """
    if isinstance(given, int) and not isinstance(given, bool):
        return given
    text = str(given).strip()
    if text.lower() in ("", "false", "no", "none"):
        return 0
    found = seconds(text)
    if found is None:
        raise HistoryError(f"rollback_require_rehearsal is '{text}', which is not a duration. Say 12h or 7d, or no.")
    return found


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        variables = task_vars or {}
        result = super().run(None, variables)
        args = self.validate_argument_spec(
            ARGUMENTS,
            required_if=[("state", "opened", ["change", "plan_digest"]), ("state", "noted", ["run", "note"])],
        )[1]
        shared = self._templar.template(variables.get("rollback_history_url"))
        try:
            store = open_store(args["url"], shared, os.environ, sys.executable)
            if args["state"] == "noted":
                store.note(args["run"], args["note"])
                return dict(result, changed=False, msg=f"Noted at run {args['run']}.")
            return dict(result, **self._open(store, args, variables))
        except HistoryError as exc:
            return dict(result, failed=True, msg=str(exc))

    def _open(self, store: Store, args: dict[str, t.Any], variables: dict[str, t.Any]) -> dict[str, t.Any]:
        person, place = who(variables, os.environ)
        asked = Asked(
            args["change"],
            args["plan_digest"],
            person,
            place,
            check_mode=bool(self._task.check_mode),
            limit=args["limit"],
            break_lock=args["break_lock"],
            kind=args["kind"],
            rehearsed_within=within(args["require_rehearsal"]),
        )
        # Action plugins run in a fork of ansible-playbook, and it is that one which lives as long as the run.
        opened = store.open_run(asked, this_process(os.getppid()))
        run = {name: opened[name] for name in RETURNED}
        run["resumed"] = run["resumes"] is not None
        words = f"Opened run {run['id']}"
        words += f", which goes on with {run['resumes']}." if run["resumed"] else "."
        result: dict[str, t.Any] = {"changed": False, "run": run, "msg": words}
        if place.startswith("AWX") and store.is_file:
            result["warnings"] = [FILES_VANISH]
        return result
