# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much of its time a run, a phase and a task have left. Pure functions. Private to this collection."""

from __future__ import annotations

import math
import typing as t

OURS = "changeops.rollback."
# The steps that the run's own time is for; putting back takes the time that it needs.
TIMED_STEPS = ("preflight", "main")
RECOVERY_SECONDS = 600.0  # seconds that recover has at least, where its phase has a timeout


def run_left(plan: t.Mapping[str, t.Any], step: str, began: float, now: float) -> float | None:
    """Give the seconds that are left of the run's time, ``timeout`` in the plan; None where nothing limits this step.

    :arg began: when the run began, in seconds since the epoch, as ``now``.
    """
    return began + plan["timeout"] - now if plan["timeout"] and step in TIMED_STEPS else None


def task_seconds(
    plan: t.Mapping[str, t.Any],
    phase: t.Mapping[str, t.Any],
    step: str,
    began: float,
    phase_began: float,
    now: float,
) -> int | None:
    """Give the seconds after which Ansible is to give up a task of ``phase``; 0 for never, None when they are up.

    Our modules end their own work by the time they are given, with all that it started on the host, so this is for
    roles that are not ours. What those started works on on the host, and their next task does not begin.

    :arg phase: one of the plan's, with ``role`` and ``timeout``.
    :arg phase_began: when its main began.
    """
    if phase["role"].startswith(OURS):
        return 0
    left = [run_left(plan, step, began, now)]
    if phase["timeout"]:
        whole = max(phase["timeout"], RECOVERY_SECONDS) if step in ("can_recover", "recover") else phase["timeout"]
        left.append(phase_began + whole - now if step == "main" else whole)
    limits = [limit for limit in left if limit is not None]
    if not limits:
        return 0
    return math.ceil(min(limits)) if min(limits) > 0 else None
