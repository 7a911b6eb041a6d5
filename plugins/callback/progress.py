# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The progress display of a run, on a terminal and in a log."""

from __future__ import annotations

DOCUMENTATION = r"""
name: progress
type: stdout
short_description: Shows a rollback as one line for each phase, with a bar that moves
version_added: 1.0.0
description:
  - Instead of every task, it shows a line for each phase, with the hosts that are done, the time that it took and the
    time that it was expected to take, as earlier runs took it or as the plan estimates.
  - Below that, on a terminal, a bar moves for the phase at work, with how far the whole is. In a log there are plain
    lines without any control character, and a sign of life of a phase that takes long.
  - What fails is shown with its host and its whole cause, once. Warnings, the messages of C(debug) and, with C(--diff),
    all differences are shown as well.
  - Plays that are not this collection's look as with Ansible's own P(ansible.builtin.default#callback), and so does
    everything with C(-v).
  - Colors are Ansible's (C(NO_COLOR), C(ANSIBLE_NOCOLOR), C(ANSIBLE_FORCE_COLOR)). Without Rich, and where E(TERM) is
    V(dumb), no bar moves.
  - Nothing depends on it. AWX, which has a display of its own, ignores it.
author:
  - changeops.rollback contributors (@changeops)
extends_documentation_fragment:
  - ansible.builtin.default_callback
  - ansible.builtin.result_format_callback
requirements:
  - set as stdout in the configuration (C(stdout_callback = changeops.rollback.progress))
  - Rich, for the bar
"""

import atexit
import os
import shutil
import signal
import sys
import threading
import time
import typing as t
from pathlib import Path

from ansible import constants as C
from ansible import context
from ansible.plugins.callback.default import CallbackModule as Default
from ansible.utils import color
from ansible_collections.changeops.rollback.plugins.module_utils._redact import redact
from ansible_collections.changeops.rollback.plugins.plugin_utils._events import (
    OPENED_BY,
    RUN_ROLE,
    VALIDATES,
    before_signals,
    cause_of,
    dealt_with,
    includes,
    is_work,
    place_of,
    role_of,
)

PLAYBOOKS = Path(__file__).resolve().parents[2] / "playbooks"
# What matters there is a run, or a table. Of the others each task matters.
OURS = ("rollback", "rehearse", "undo", "history", "status")
COLORS = {
    **{"ok": C.COLOR_OK, "skipped": C.COLOR_SKIP, "waiting": C.COLOR_CHANGED},
    **{"failed": C.COLOR_ERROR, "unreachable": C.COLOR_UNREACHABLE},
}
HINT = "For a bar that moves, install Rich in the Python that runs Ansible: {} -m pip install rich"
WATCH_SECONDS = 5.0
SAME = 40  # letters of a cause, from which on it is not told again of the next host


def _view() -> t.Any:
    """What makes the words. Loaded by the first play of ours, as it brings SQLAlchemy, which a deploy does without."""
    from ansible_collections.changeops.rollback.plugins.plugin_utils import _progress

    return _progress


def _ours(play: t.Any) -> bool:
    """Whether a play stands in one of this collection's playbooks for a run or a table."""
    path = Path(str(play.get_path()).rpartition(":")[0]).resolve()
    return path.parent == PLAYBOOKS and path.stem in OURS


def _action(task: t.Any) -> str:
    return str(task.resolved_action or task.action)


class CallbackModule(Default):
    """Ansible's own display, and another one for runs of this collection."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "changeops.rollback.progress"

    def __init__(self) -> None:
        super().__init__()
        self._our_play = False
        self._others = False  # whether a play was shown that is not ours
        self._plan: t.Mapping[str, t.Any] = {}
        self._board: t.Any = None
        self._bar: t.Any = None
        self._told: dict[tuple[str, str], str] = {}
        self._messages: dict[str, list[str]] = {}  # by text, the hosts that say it
        self._task = ""
        self._terminal = sys.stdout.isatty()
        self._guarded = False

    # What is shown

    @property
    def _width(self) -> int:
        """Of the terminal; 0 for a log."""
        return shutil.get_terminal_size((80, 24)).columns if self._terminal else 0

    def _is_ours(self, task: t.Any) -> bool:
        if self._display.verbosity:
            return False
        in_run = role_of(task) == RUN_ROLE or _action(task) == OPENED_BY or place_of(task) is not None
        return self._our_play or in_run

    def _say(self, text: str, status: str = "") -> None:
        stderr = status in ("failed", "unreachable") and self.get_option("display_failed_stderr")
        self._display.display(text, color=COLORS.get(status), stderr=stderr)

    def _say_all(self, lines: t.Iterable[tuple[str, str]]) -> None:
        for text, status in lines:
            self._say(text if status else _view().wrapped(text, self._width, "  "), status)

    def _open(self, run: t.Mapping[str, t.Any]) -> None:
        self._board = _view().Board(run, self._plan, time.monotonic(), self._width)
        self._say_all([(self._board.heading(), "")])
        board = self._board
        moves = self._terminal and os.environ.get("TERM", "dumb") != "dumb" and not context.CLIARGS.get("step")
        if moves:
            from ansible_collections.changeops.rollback.plugins.plugin_utils import _progress_bar

            moves = _progress_bar.HAS_RICH
            if not moves:
                self._say(_view().wrapped(HINT.format(sys.executable), self._width, "  "))
        if not moves:
            threading.Thread(target=self._watch, args=(board,), name="changeops-progress", daemon=True).start()
            return
        self._bar = _progress_bar.Bar(
            lambda width: _progress_bar.frame(board, self._task, time.monotonic(), width),
            self._display._lock,
            color.ANSIBLE_COLOR,
        )
        atexit.register(self._stop_bar)
        self._bar.start()
        self._guarded = False

    def _watch(self, board: t.Any) -> None:
        """Where no bar moves: give a sign of life of what takes long. No worker is forked while the lock is held."""
        while self._board is board:
            time.sleep(WATCH_SECONDS)
            with self._display._lock:
                if self._board is board:
                    self._say_all(board.sign_of_life(time.monotonic()))

    def _stop_bar(self) -> None:
        moving, self._bar = self._bar, None
        if moving is not None:
            moving.stop()

    def _finish(self) -> None:
        """The run is over, or its play is."""
        self._say_messages()
        board, self._board = self._board, None
        if board is not None:
            board.width = self._width
            self._say_all(board.over(time.monotonic()))
        self._stop_bar()
        self._told = {}

    def _say_messages(self) -> None:
        """What hosts said in a task, once for all that said the same."""
        messages, self._messages = self._messages, {}
        for text, hosts in messages.items():
            self._say(_view().wrapped(f"{', '.join(hosts)}: {text}" if all(hosts) else text, self._width, "  "))

    def _at(self, task: t.Any) -> bool:
        """A task begins; returns whether it is one of ours."""
        self._say_messages()
        if self._bar is not None and not self._guarded:
            # Only now, so that it comes before what the observer does then: its last words need no bar below them.
            self._guarded = True
            before_signals((signal.SIGTERM, signal.SIGINT), lambda _number: self._stop_bar())
        if self._board is not None and not includes(task):
            self._board.width = self._width
            self._say_all(self._board.at(place_of(task), time.monotonic()))
        ours = self._is_ours(task)
        if ours:
            self._task = _view().plain(task.get_name().rpartition(" | ")[2].rpartition(" : ")[2].strip())
        return ours

    def _ended(self, result: t.Any, status: str) -> None:
        place = place_of(result.task)
        work = is_work(result.task) and _action(result.task) != VALIDATES
        if self._board is not None and place is not None and (work or status not in ("ok", "skipped")):
            self._board.ended(place, result.host.get_name(), status)

    def _learn(self, result: t.Any) -> None:
        """What the run role notes as facts, or in the history."""
        if _action(result.task) == OPENED_BY and "run" in result.result:
            self._open(result.result["run"])
        elif role_of(result.task) == RUN_ROLE:
            facts = result.result.get("ansible_facts") or {}
            self._plan = facts.get("rollback_plan") or self._plan
            batch = facts.get("__run_batch")
            if self._board is not None and batch and batch["index"]:
                self._say_all(self._board.begin_batch(batch["index"], batch["hosts"], time.monotonic()))

    def _say_message(self, result: t.Any) -> None:
        """What ``debug`` says, which is there to be seen."""
        values = result.result
        message = values.get("msg")
        if isinstance(message, (list, tuple)) and all(isinstance(line, str) for line in message):
            message = "\n".join(message)
        if not isinstance(message, str):
            message = self._dump_results(values).strip("\n")
        host = "" if result.task.run_once else result.host.get_name()
        self._messages.setdefault(_view().plain(redact(message.strip())), []).append(host)

    def _say_failure(self, result: t.Any, status: str) -> None:
        task, host, values = result.task, result.host.get_name(), result.result
        cause, place = cause_of(values, task.name), place_of(task)
        if role_of(task) == RUN_ROLE and _action(task).endswith(".fail") and self._told:
            if not task.get_vars().get("__run_told"):
                self._messages.setdefault(_view().plain(redact(_view().verdict(cause))), []).append(host)
            return
        if status == "unreachable":
            cause = f"unreachable: {cause}"
        at = f"{self._board.title(place)} on " if self._board is not None and place is not None else ""
        first = self._told.setdefault((at, cause), host)
        if first != host and len(cause) > SAME:
            cause, values = f"as on {first}", {}
        word = "waiting" if status == "waiting" else "failed"
        self._say(_view().failure(f"{word:<7} {at}{host}", values, cause, self._width), status)

    # Ansible's events

    def v2_playbook_on_play_start(self, play: t.Any) -> None:
        self._finish()
        self._play, self._plan = play, {}
        self._our_play = not self._display.verbosity and _ours(play)
        if not self._our_play:
            self._others = True
            super().v2_playbook_on_play_start(play)

    def v2_playbook_on_task_start(self, task: t.Any, is_conditional: bool) -> None:
        if not self._at(task):
            super().v2_playbook_on_task_start(task, is_conditional)

    def v2_playbook_on_handler_task_start(self, task: t.Any) -> None:
        if not self._at(task):
            super().v2_playbook_on_handler_task_start(task)

    def v2_runner_on_start(self, host: t.Any, task: t.Any) -> None:
        if not self._is_ours(task):
            super().v2_runner_on_start(host, task)

    def v2_runner_on_ok(self, result: t.Any) -> None:
        if not self._is_ours(result.task):
            super().v2_runner_on_ok(result)
            return
        self._handle_warnings_and_exception(result)
        self._learn(result)
        self._ended(result, "ok")
        if _action(result.task) == "ansible.builtin.debug" and not result.task.loop:
            self._say_message(result)

    def v2_runner_on_skipped(self, result: t.Any) -> None:
        if not self._is_ours(result.task):
            super().v2_runner_on_skipped(result)
            return
        self._handle_warnings_and_exception(result)
        self._ended(result, "skipped")

    def v2_runner_on_failed(self, result: t.Any, ignore_errors: bool = False) -> None:
        if not self._is_ours(result.task):
            super().v2_runner_on_failed(result, ignore_errors)
            return
        self._handle_warnings(result.result)
        goes_on = "is ignored" if ignore_errors else "is dealt with" if dealt_with(result.task) else ""
        status = "ok" if goes_on else "waiting" if result.result.get("waiting") else "failed"
        if not goes_on:
            self._say_failure(result, status)
        elif role_of(result.task) != RUN_ROLE:  # what that ignores is shown in the tables of the run
            text = f"{result.host.get_name()}: '{self._task}' failed, which {goes_on}"
            self._say(_view().failure(text, {}, cause_of(result.result, result.task.name), self._width), "skipped")
        self._ended(result, status)

    def v2_runner_on_unreachable(self, result: t.Any) -> None:
        if not self._is_ours(result.task):
            super().v2_runner_on_unreachable(result)
            return
        self._handle_warnings(result.result)
        if not result.task.ignore_unreachable:
            self._say_failure(result, "unreachable")
            self._ended(result, "unreachable")

    def v2_runner_item_on_ok(self, result: t.Any) -> None:
        if not self._is_ours(result.task):
            super().v2_runner_item_on_ok(result)
            return
        self._handle_warnings_and_exception(result)
        if _action(result.task) == "ansible.builtin.debug":
            self._say_message(result)

    def v2_runner_item_on_failed(self, result: t.Any) -> None:
        if self._is_ours(result.task):
            self._handle_warnings(result.result)
        else:
            super().v2_runner_item_on_failed(result)

    def v2_runner_item_on_skipped(self, result: t.Any) -> None:
        if self._is_ours(result.task):
            self._handle_warnings_and_exception(result)
        else:
            super().v2_runner_item_on_skipped(result)

    def v2_on_file_diff(self, result: t.Any) -> None:
        if not self._is_ours(result.task):
            super().v2_on_file_diff(result)
            return
        found = result.result.get("results", ()) if result.task.loop else (result.result,)
        for one in found:
            diff = self._get_diff(one["diff"]) if one.get("diff") and one.get("changed") else ""
            if diff:
                self._say(f"\n{result.host.get_name()}: {self._task}")
                self._display.display(diff)

    def v2_runner_retry(self, result: t.Any) -> None:
        if not self._is_ours(result.task):
            super().v2_runner_retry(result)

    def v2_runner_on_async_poll(self, result: t.Any) -> None:
        if not self._is_ours(result.task):
            super().v2_runner_on_async_poll(result)

    def v2_runner_on_async_ok(self, result: t.Any) -> None:
        if not self._is_ours(result.task):
            super().v2_runner_on_async_ok(result)

    def v2_playbook_on_include(self, included_file: t.Any) -> None:
        if not self._is_ours(included_file._task):
            super().v2_playbook_on_include(included_file)

    def v2_playbook_on_no_hosts_remaining(self) -> None:
        if not self._our_play:
            super().v2_playbook_on_no_hosts_remaining()

    def v2_playbook_on_stats(self, stats: t.Any) -> None:
        self._finish()
        if self._others:
            super().v2_playbook_on_stats(stats)
