# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stops ansible-playbook at the start and at the end of a phase until a test lets it go on. For the tests only.

The file ``pause.json`` beside the playbook names the phase. At its start (the history says that it runs, no host has
begun) ``paused-start`` is made and ``go-start`` waited for; at its end (every host is done with it, the next thing has
not begun) the same with ``end``.
"""

from __future__ import annotations

import json
import time
import typing as t
from pathlib import Path

from ansible.plugins.callback import CallbackBase

RUN_ROLE = "changeops.rollback.run"


def pause(place: str) -> None:
    """Say that ``place`` is reached, and wait."""
    Path(f"paused-{place}").touch()
    while not Path(f"go-{place}").exists():
        time.sleep(0.02)


class CallbackModule(CallbackBase):
    """Looks for the phase's first task, and for what follows its last."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "pause_at"

    def __init__(self) -> None:
        super().__init__()
        asked = Path("pause.json")
        self.phase = json.loads(asked.read_text())["phase"] if asked.exists() else ""
        self.begun = self.over = False

    def _works(self, task: t.Any) -> bool:
        """Whether ``task`` stands in main of the phase."""
        variables = task.get_vars()
        phase = variables.get("__run_phase")
        role = task._role and task._role.get_name(include_role_fqcn=True)
        mine = isinstance(phase, dict) and phase["role"] == f"changeops.rollback.{self.phase}"
        return bool(mine and variables.get("__run_step") == "main" and role and role != RUN_ROLE)

    def v2_playbook_on_task_start(self, task: t.Any, is_conditional: bool) -> None:
        if self.begun and not self.over and not self._works(task):
            self.over = True
            pause("end")

    def v2_runner_on_start(self, host: t.Any, task: t.Any) -> None:
        if self.phase and not self.begun and self._works(task):
            self.begun = True
            pause("start")
