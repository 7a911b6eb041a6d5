# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Send a message. It works on the controller; see the module ``notify`` for its documentation."""

from __future__ import annotations

import os
import typing as t

from ansible.plugins.action import ActionBase
from ansible_collections.changeops.rollback.plugins.plugin_utils._history import now_utc, utc
from ansible_collections.changeops.rollback.plugins.plugin_utils._history_process import who
from ansible_collections.changeops.rollback.plugins.plugin_utils._notify import (
    MESSAGE,
    Notifier,
    Subject,
    message,
    places_of,
)

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "places": {"type": "list", "elements": "dict", "required": True},
    "text": {"type": "str", "required": True},
    "change": {"type": "str", "default": ""},
}


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        variables = task_vars or {}
        result = super().run(None, variables)
        args = self.validate_argument_spec(ARGUMENTS)[1]
        places, faults = places_of(args["places"])
        places = [place for place in places if MESSAGE in place["events"]]
        told = 0
        if places and not self._task.check_mode:
            person, origin = who(variables, os.environ)
            about = Subject("", args["change"], "", "rollback", (), person, origin)
            notifier = Notifier(places)
            notifier.send(message(about, MESSAGE, utc(now_utc()), (), args["text"]))
            missed = notifier.finish()
            told, faults = len(places) - len(missed), [*faults, *missed]
        warnings = [f"Not notified: {fault}" for fault in faults]
        return {
            **result,
            "changed": False,
            "told": told,
            "faults": faults,
            **({"warnings": warnings} if faults else {}),
        }
