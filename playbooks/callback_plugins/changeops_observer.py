# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: changeops_observer
type: notification
short_description: Records what a rollback does, on which host and how it ended, in the history
description:
  - Does nothing until a task of C(changeops.rollback.history) opens a run. From then on it records each phase on each
    host, keeps the run's heartbeat, and closes the run when the playbook ends, however it ends.
  - Lies beside the collection's playbooks, so that Ansible loads it without any configuration.
author:
  - changeops.rollback contributors (@changeops)
requirements:
  - SQLAlchemy
"""

import atexit
import contextlib
import functools
import gc
import os
import shutil
import signal
import sys
import time
import typing as t

from ansible import constants as C
from ansible.plugins.callback import CallbackBase
from ansible.plugins.loader import become_loader, connection_loader, filter_loader, shell_loader, test_loader
from ansible.template import Templar
from ansible_collections.changeops.rollback.plugins.plugin_utils._events import (
    OPENED_BY,
    VALIDATES,
    before_signals,
    cause_of,
    is_work,
    place_of,
)
from ansible_collections.changeops.rollback.plugins.plugin_utils._reached import begin, forget

CLOSED_BY = "changeops.rollback.restore_point"
READ_BY = "changeops.rollback.status"
MET_BY = "changeops.rollback.barrier"
STEPS = ("preflight", "rehearse", "main", "recover", "can_undo", "undone")  # those that are on record
# What the templates of a run use. Each task on each host is a fork of this process, which finds what is loaded here.
# One of Ansible's own brings all of them.
FILTERS = ("ansible.builtin.combine", "changeops.rollback.time_left", "changeops.rollback.task_timeout")
TESTS = ("ansible.builtin.match",)


def _harmless(method: t.Callable[..., None]) -> t.Callable[..., None]:
    """A fault of the observer must not reach the rollback: warn once."""

    @functools.wraps(method)
    def wrapper(self: CallbackModule, *args: t.Any, **kwargs: t.Any) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception as exc:
            self._warn_once(f"The history may lack a part of this run: {type(exc).__name__}: {exc}.")

    return wrapper


def problems_of(task: t.Any, values: t.Mapping[str, t.Any], bad: bool) -> list[str]:
    """What a task that is no step on record has to say of the whole run."""
    variables = task.get_vars()
    if bad:
        # What failed in another slice is on record already.
        known = (task.resolved_action or task.action) == MET_BY or variables.get("__run_told")
        return [] if known else [cause_of(values, task.name)]
    # All is verified by then, so it only warns: of a push that was not made, say.
    return [str(said) for said in values.get("warnings") or ()] if variables.get("__run_step") == "close" else []


class CallbackModule(CallbackBase):
    """Turns Ansible's events into the record of a run."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "changeops_observer"
    CALLBACK_NEEDS_ENABLED = False

    def __init__(self) -> None:
        super().__init__()
        self._play: t.Any = None
        self._recorder: t.Any = None
        self._pid = os.getpid()
        self._warned = False
        self._signal = ""
        self._previous: dict[int, t.Any] = {}
        # Each task on each host is a fork that soon ends. To look for garbage there, in all that is loaded here, is a
        # tenth of the controller's work.
        os.register_at_fork(after_in_child=gc.disable)

    def _warn_once(self, message: str) -> None:
        if not self._warned:
            self._warned = True
            with contextlib.suppress(Exception):
                self._display.warning(message)

    def _say(self, text: str) -> None:
        """A sentence, in lines that fit where it is a terminal; a table fits already."""
        from ansible_collections.changeops.rollback.plugins.plugin_utils._progress import wrapped

        if sys.stdout.isatty() and "\n" not in text:
            text = wrapped(text, shutil.get_terminal_size().columns, "  ")
        self._display.display(text)

    # The life of a run

    @_harmless
    def _load_plugins(self, templar: t.Any, variables: t.Mapping[str, t.Any]) -> None:
        for name in FILTERS:
            filter_loader.get(name)
        for name in TESTS:
            test_loader.get(name)
        # What most hosts are reached by, taken from the first one.
        connection = templar.template(variables.get("ansible_connection")) or self._play.connection
        method = templar.template(variables.get("ansible_become_method")) or C.DEFAULT_BECOME_METHOD
        connection_loader.get(connection or C.DEFAULT_TRANSPORT, class_only=True)
        become_loader.get(method, class_only=True)
        shell_loader.get("sh", class_only=True)
        # To look for garbage in all that is loaded by now would write to its memory, which each fork shares until then.
        gc.freeze()

    def _open(self, result: t.Any) -> None:
        from ansible_collections.changeops.rollback.plugins.plugin_utils._history import Store, state_dir, store_url
        from ansible_collections.changeops.rollback.plugins.plugin_utils._recorder import Recorder

        manager, task = self._play.get_variable_manager(), result.task
        variables = manager.get_vars(play=self._play, host=result.host, task=task)
        templar = Templar(loader=self._play.get_loader(), variables=variables)
        given = (task.args.get("url"), variables.get("rollback_history_url"))
        url = store_url(*(templar.template(value) for value in given), os.environ)
        hosts = variables["ansible_play_hosts_all"]
        spool_dir = state_dir(os.environ) / "spool"
        width = shutil.get_terminal_size((120, 24)).columns
        phases = (variables.get("rollback_plan") or {}).get("phases", ())
        telling = self._telling(variables, templar, result.result["run"])
        self._recorder = Recorder(
            Store(url),
            spool_dir,
            result.result["run"],
            hosts,
            self._warn_once,
            width=width,
            phases=phases,
            telling=telling,
        )
        run = result.result["run"]
        for words in (run["rehearsed"] if run["kind"] == "rollback" else "", run.get("window")):
            if words:
                self._say(words)
        atexit.register(self._close, False)
        self._previous = before_signals((signal.SIGTERM, signal.SIGINT), self._on_signal)
        self._load_plugins(templar, variables)

    def _telling(self, variables: t.Mapping[str, t.Any], templar: t.Any, run: t.Mapping[str, t.Any]) -> t.Any:
        """What tells people elsewhere of the run; None where nobody is to be told, as of a dry run."""
        if not variables.get("notify_places") or run["check_mode"]:
            return None
        from ansible_collections.changeops.rollback.plugins.plugin_utils._history import now_utc, utc
        from ansible_collections.changeops.rollback.plugins.plugin_utils._notify import Subject, Telling

        try:
            places = templar.template(variables["notify_places"])
        except Exception as exc:  # its text may hold what it could not read
            self._display.warning(f"Nobody is told of this run: notify_places cannot be read ({type(exc).__name__}).")
            return None
        title = str((variables.get("rollback_plan") or {}).get("title", ""))
        hosts = tuple(map(str, variables["ansible_play_hosts_all"]))
        names = ("executed_by", "executed_from")
        about = Subject(run["id"], run["change"], title, run["kind"], hosts, *(str(run[name]) for name in names))
        return Telling(about, places, lambda: utc(now_utc()))

    @_harmless
    def _tell_of_refusal(self, result: t.Any) -> None:
        """A run that was refused before it began: no phase, no record that is kept here."""
        manager, run = self._play.get_variable_manager(), result.result["refused"]
        variables = manager.get_vars(play=self._play, host=result.host, task=result.task)
        telling = self._telling(variables, Templar(loader=self._play.get_loader(), variables=variables), run)
        if telling:
            telling.ended("refused", (), str(result.result["msg"]))
            for fault in telling.finish():
                self._display.warning(f"Not notified: {fault}")

    def _on_signal(self, number: int) -> None:
        self._signal = signal.Signals(number).name
        if number != signal.SIGINT:  # this one ends the process at once; SIGINT unwinds it and comes to atexit
            self._close(False)

    @_harmless
    def _close(self, finished: bool, failed: t.Iterable[str] = ()) -> None:
        if self._recorder is None or os.getpid() != self._pid:
            return
        recorder, self._recorder = self._recorder, None
        for line in recorder.close(finished, failed, self._signal):
            self._say(line)
        for fault in recorder.told(self._signal):
            self._display.warning(f"Not notified: {fault}")
        if not self._signal:
            for number, previous in self._previous.items():
                signal.signal(number, previous)

    # Ansible's events

    def v2_playbook_on_play_start(self, play: t.Any) -> None:
        self._close(True)
        forget()
        self._play = play
        # Loaded here, it is there in the fork that opens the run: SQLAlchemy is imported once, not twice.
        with contextlib.suppress(ImportError):
            import ansible_collections.changeops.rollback.plugins.plugin_utils._recorder  # noqa: F401

    def v2_playbook_on_stats(self, stats: t.Any) -> None:
        self._close(True, {*stats.failures, *stats.dark})

    @_harmless
    def v2_playbook_on_task_start(self, task: t.Any, is_conditional: bool) -> None:
        place = place_of(task) if is_work(task) else None
        if place and place.step == "main":
            begin(place.number, task.get_vars().get("__run_group", {}).get("first"), time.time())
        if self._recorder:
            if (task.resolved_action or task.action) == MET_BY:
                self._recorder.settle()  # while the others are waited for, nothing is at work here
            self._recorder.flush()

    @_harmless
    def v2_runner_on_start(self, host: t.Any, task: t.Any) -> None:
        if self._recorder and is_work(task):
            self._begin(host, task)

    def v2_runner_on_ok(self, result: t.Any) -> None:
        self._ended(result, "ok")

    def v2_runner_on_skipped(self, result: t.Any) -> None:
        self._ended(result, "skipped")

    def v2_runner_on_failed(self, result: t.Any, ignore_errors: bool = False) -> None:
        self._ended(result, "ok" if ignore_errors else "failed")

    def v2_runner_on_unreachable(self, result: t.Any) -> None:
        self._ended(result, "ok" if result.task_fields.get("ignore_unreachable") else "unreachable")

    def _begin(self, host: t.Any, task: t.Any) -> tuple[int, str] | None:
        """The phase's index and the step that ``task`` belongs to, noted as begun; None outside phases."""
        place = place_of(task)
        if place is None or place.step not in STEPS:
            return None
        self._recorder.begin(host.name, *place)
        return place.number, place.step

    @_harmless
    def _ended(self, result: t.Any, status: str) -> None:
        task, host, values = result.task, result.host, result.result
        action = task.resolved_action or task.action
        bad = status in ("failed", "unreachable")
        if self._recorder is None:
            if action == OPENED_BY and status == "ok" and "run" in values:
                self._open(result)
            elif action == OPENED_BY and status == "failed" and values.get("refused"):
                self._tell_of_refusal(result)
            return
        if action == CLOSED_BY and status == "ok" and values.get("outcome"):
            self._recorder.closed(host.name, str(values["outcome"]))
        moment = task.get_vars().get("__run_moment") if action == READ_BY and status != "skipped" else None
        if moment:
            table = self._recorder.stands(moment, host.name, values)
            if table:
                self._display.display(table)
        if status == "unreachable":
            self._recorder.away(host.name, cause_of(values, task.name))
        if not bad and not is_work(task):
            return
        if action == VALIDATES and not bad:
            status, values = "skipped", {}
        # A phase that the other slices are waited for in vain has not begun.
        place = None if action == MET_BY else self._begin(host, task)
        if place:
            state = {name: values[name] for name in ("before", "after") if values.get(name)}
            changed = bool(values.get("changed"))
            status = "waiting" if status == "failed" and values.get("waiting") else status
            self._recorder.end(host.name, *place, status, changed, cause_of(values, task.name), **state)
        else:
            for said in problems_of(task, values, bad):
                self._recorder.problem(host.name, said)
