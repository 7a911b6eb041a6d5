# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is left of the time of a run, a phase and a task."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.changeops.rollback.plugins.plugin_utils._run_time import run_left, task_seconds

RUN_BEGAN, PHASE_BEGAN, NOW = 1000.0, 1050.0, 1060.5

LEFT = {
    "preflight": ("preflight", 100, 39.5),
    "main": ("main", 100, 39.5),
    "its time is up": ("main", 60, -0.5),
    "recover takes the time that it needs": ("recover", 100, None),
    "close too": ("close", 100, None),
    "a plan without a timeout": ("main", None, None),
}


@pytest.mark.parametrize(("step", "timeout", "expected"), LEFT.values(), ids=LEFT)
def test_run_left(step: str, timeout: int | None, expected: float | None) -> None:
    assert run_left({"timeout": timeout}, step, RUN_BEGAN, NOW) == expected


class Case(t.NamedTuple):
    """The timeouts of the run and of the phase, and the seconds that a task gets."""

    run: int | None
    phase: int | None
    step: str
    expected: int | None
    role: str = "acme.own.step"


SECONDS = {
    "nothing limits it": Case(None, None, "main", 0),
    "our modules end their own work": Case(100, 20, "main", 0, "changeops.rollback.verify"),
    "also when the time is up": Case(1, 1, "main", 0, "changeops.rollback.verify"),
    "a role whose name only looks like ours": Case(100, None, "main", 40, "changeops.rollbacks.verify"),
    "the run's time, rounded up": Case(100, None, "main", 40),
    "the phase's time, since its main began": Case(None, 20, "main", 10),
    "the phase's time in preflight is all of it": Case(None, 20, "preflight", 20),
    "the sooner of both: the run": Case(65, 20, "main", 5),
    "the sooner of both: the phase": Case(100, 20, "main", 10),
    "the run's time is up": Case(60, None, "main", None),
    "the phase's time is up": Case(100, 5, "main", None),
    "half a second is left": Case(None, 11, "main", 1),
    "recover has ten minutes at least": Case(60, 20, "recover", 600),
    "recover has the phase's time where that is more": Case(60, 900, "recover", 900),
    "recover without a phase's timeout": Case(60, None, "recover", 0),
    "close has the phase's time": Case(60, 20, "close", 20),
}


@pytest.mark.parametrize("case", SECONDS.values(), ids=SECONDS)
def test_task_seconds(case: Case) -> None:
    phase = {"role": case.role, "timeout": case.phase}
    assert task_seconds({"timeout": case.run}, phase, case.step, RUN_BEGAN, PHASE_BEGAN, NOW) == case.expected
