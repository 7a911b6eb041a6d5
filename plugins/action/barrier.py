# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait for the other slices. It works on the controller; see the module ``barrier`` for its documentation."""

from __future__ import annotations

import os
import sys
import time
import typing as t

from ansible.plugins.action import ActionBase
from ansible_collections.changeops.rollback.plugins.plugin_utils._history import HistoryError, Store
from ansible_collections.changeops.rollback.plugins.plugin_utils._history_process import this_process
from ansible_collections.changeops.rollback.plugins.plugin_utils._history_slices import arrive, give_up, look
from ansible_collections.changeops.rollback.plugins.plugin_utils._history_spool import store_of
from ansible_collections.changeops.rollback.plugins.plugin_utils._slices import Part, Slice, Watch, part_of, together

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "run": {"type": "str", "required": True},
    "slice": {"type": "str", "required": True},
    "barrier": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["forward", "back", "failed"], "default": "forward"},
    "told": {"type": "dict", "default": {}},
    "wait": {"type": "int", "default": 0},
    "url": {"type": "str", "no_log": True},
}
LOOK_SECONDS = 0.5
AWAY_SECONDS = 300.0  # that the history may be away; a PostgreSQL that fails over needs one or two minutes


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result = super().run(None, task_vars)
        args = self.validate_argument_spec(ARGUMENTS)[1]
        part = t.cast(Slice, part_of(args["slice"]))
        self._store: Store | None = None
        self._watch = Watch(this_process(os.getppid()))
        began, away = time.monotonic(), 0.0
        while True:
            try:
                found = self._look(args, part, task_vars or {}, time.monotonic() - began)
                away = 0.0
            except HistoryError as exc:
                self._watch.blind()
                away = away or time.monotonic()
                found = None
                if args["state"] == "failed" or time.monotonic() - away >= AWAY_SECONDS:
                    found = {"gone": [str(exc).rstrip(".")], "met": {}, "why": str(exc)}
            if found is not None:
                break
            time.sleep(LOOK_SECONDS)
        if args["state"] == "forward" and found["why"]:
            return dict(result, failed=True, msg=found["why"], slices=True)
        return dict(result, changed=False, met=found["met"], gone=found["gone"])

    def _look(
        self, args: dict[str, t.Any], part: Slice, variables: dict[str, t.Any], waited: float
    ) -> dict[str, t.Any] | None:
        """Say that this slice is here, and look who else is; None while others are waited for."""
        if self._store is None:
            store = store_of(args["url"], variables, self._templar, sys.executable)
            arrive(store, args["run"], part.number, args["barrier"], args["told"])
            self._store = store
        if args["state"] == "failed":
            return {"gone": [], "met": {}, "why": ""}
        parts, met, failed = look(self._store, args["run"], args["barrier"])
        missing = set(range(1, part.total + 1)) - set(met)
        if not missing:
            return {"gone": [], "met": together(met[number] for number in sorted(met)), "why": ""}
        gone = {one.number for one in parts} & missing & self._watch.gone(parts)
        late = missing - {one.number for one in parts} if args["wait"] and waited >= args["wait"] else set()
        forward = args["state"] == "forward"
        if not (gone or late or (forward and failed)):
            return None
        silent = [one.number for one in parts if one.number in gone and one.end is None]
        if silent:
            give_up(self._store, args["run"], silent)
        words = _words([one for one in parts if one.number in gone])
        words += [f"slice {number} of {part.total} has not started within {args['wait']} s" for number in sorted(late)]
        if forward and failed:
            words = [f"{one.words} failed, see there" for one in parts if one.number in failed] + words
        return {"gone": words, "met": together(met.values()), "why": f"{'; '.join(words)}."}


def _words(gone: t.Iterable[Part]) -> list[str]:
    return [f"{one.words} {'has ended' if one.end and not one.lost else 'gives no sign of life'}" for one in gone]
