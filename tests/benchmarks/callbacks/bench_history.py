# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Says how long a run of ours worked for the history: BENCH_HISTORY names the file to write.

That is all time in the observer, with what it imports and its heartbeat, and the whole task that opens the run.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import threading
import time
import typing as t
from pathlib import Path

from ansible.plugins.callback import CallbackBase

OPENED_BY = "changeops.rollback.history"


class Clock:
    """Adds up the time in functions; one that another calls is not counted twice."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._local = threading.local()

    def time(self, function: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
        @functools.wraps(function)
        def timed(*args: t.Any, **kwargs: t.Any) -> t.Any:
            if getattr(self._local, "inside", False):
                return function(*args, **kwargs)
            self._local.inside = True
            began = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - began
                self._local.inside = False

        return timed


class CallbackModule(CallbackBase):
    """Wraps the observer before the playbook begins."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "bench_history"

    def __init__(self) -> None:
        super().__init__()
        self._clock = Clock()
        self._opened = 0.0
        self._began = time.perf_counter()

    def v2_playbook_on_start(self, playbook: t.Any) -> None:
        if not os.environ.get("BENCH_HISTORY"):
            return
        from ansible.plugins.loader import callback_loader
        from ansible_collections.changeops.rollback.plugins.plugin_utils import _history

        observer = type(callback_loader.get("changeops_observer"))
        names = [name for name in vars(observer) if name.startswith("v2_")]
        for name in [*names, "_close"]:
            setattr(observer, name, self._clock.time(getattr(observer, name)))
        _history.Store.beat = self._clock.time(_history.Store.beat)
        # Without the observer there is nothing to wrap, and nothing is written. It closes the record before this.
        atexit.register(self._write, os.getpid(), Path(os.environ["BENCH_HISTORY"]))

    def v2_runner_on_start(self, host: t.Any, task: t.Any) -> None:
        if (task.resolved_action or task.action) == OPENED_BY:
            self._began = time.perf_counter()

    def v2_runner_on_ok(self, result: t.Any) -> None:
        if (result.task.resolved_action or result.task.action) == OPENED_BY:
            self._opened += time.perf_counter() - self._began

    def _write(self, pid: int, file: Path) -> None:
        if os.getpid() == pid:
            file.write_text(json.dumps({"observer": self._clock.seconds, "opening": self._opened}))
