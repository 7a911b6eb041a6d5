# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Ansible's events tell of a run: its phase, its step, what went wrong. Private to this collection.

Shared by the observer, which keeps the record, and the progress display.
"""

from __future__ import annotations

import os
import signal
import typing as t

OPENED_BY = "changeops.rollback.history"
# Tasks of this role around a phase are no work of the phase, unless they fail.
RUN_ROLE = "changeops.rollback.run"
INCLUDES = ("include_role", "include_tasks")
VALIDATES = "ansible.builtin.validate_argument_spec"  # comes first in a role, and says nothing of its phase
TASK_FAILED = "Task failed: "


class Place(t.NamedTuple):
    """Where a task stands: a step of a phase. ``number`` is its index, ``phase`` its id, as in ``3-git_revert``."""

    number: int
    phase: str
    role: str
    step: str


def role_of(task: t.Any) -> str:
    """The full name of the role that ``task`` stands in; empty outside roles."""
    return str(task._role.get_name(include_role_fqcn=True)) if task._role else ""


def includes(task: t.Any) -> bool:
    """Whether ``task`` only brings others."""
    return task.action.rpartition(".")[2] in INCLUDES


def is_work(task: t.Any) -> bool:
    """Whether ``task`` stands in a phase's own role."""
    role = role_of(task)
    return bool(role) and role != RUN_ROLE and not includes(task)


def place_of(task: t.Any) -> Place | None:
    """The phase and step that ``task`` belongs to; None outside phases."""
    variables = task.get_vars()
    phase, step = variables.get("__run_phase"), variables.get("__run_step")
    if not isinstance(phase, dict) or not isinstance(step, str):
        return None
    return Place(int(phase["index"]), str(phase["id"]), str(phase["role"]), str(step))


def cause_of(result: t.Mapping[str, t.Any], task: str) -> str:
    """The message of a result, or of the first item of a loop that failed, without what says only that it failed."""
    if result.get("timedout"):  # by the keyword of that name, which ends Ansible's part of the task only
        period = result["timedout"].get("period")
        return f"'{task}' was given up after {period} s, and what it started may still run there."
    for item in result.get("results") or ():
        if isinstance(item, dict) and (item.get("failed") or item.get("unreachable")) and item.get("msg"):
            return str(item["msg"]).removeprefix(TASK_FAILED)
    return str(result.get("msg") or result.get("censored") or "").removeprefix(TASK_FAILED)


def dealt_with(task: t.Any) -> bool:
    """Whether a rescue of the phase's own role takes over when ``task`` fails."""
    child, parent = task, task._parent
    while parent is not None:
        guarded = getattr(parent, "rescue", None) and any(one._uuid == child._uuid for one in parent.block)
        if guarded:
            return role_of(parent) not in ("", RUN_ROLE)
        child, parent = parent, parent._parent
    return False


def before_signals(numbers: t.Iterable[int], call: t.Callable[[int], None]) -> dict[int, t.Any]:
    """Have ``call`` done first when a signal comes to this process; returns what handled each of them until now."""
    pid = os.getpid()
    previous: dict[int, t.Any] = {}

    def handler(number: int, frame: t.Any) -> None:
        if os.getpid() == pid:
            call(number)
        if callable(previous.get(number)):
            previous[number](number, frame)
        else:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    for number in numbers:
        previous[number] = signal.signal(number, handler)
    return previous
