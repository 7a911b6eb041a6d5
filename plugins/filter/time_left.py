# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter changeops.rollback.time_left."""

from __future__ import annotations

DOCUMENTATION = r"""
name: time_left
short_description: Tell how many seconds a run has left for a step
version_added: 1.0.0
description:
  - Gives what is left of the C(timeout) of a plan, for the environment variable C(CHANGEOPS_TIME_LEFT), by which the
    modules of this collection end their work in time.
author:
  - changeops.rollback contributors (@changeops)
positional: step, began
options:
  _input:
    description: The plan, as the lookup P(changeops.rollback.plan#lookup) gives it.
    type: dict
    required: true
  step:
    description: The step. Only V(preflight) and V(main) have a limit.
    type: str
    required: true
  began:
    description: When the run began, in seconds since the epoch.
    type: float
    required: true
"""

EXAMPLES = r"""
- name: Tell a module of a rollback how much time it has
  changeops.rollback.verify:
    checks: "{{ rollback_checks }}"
  environment:
    CHANGEOPS_TIME_LEFT: "{{ rollback_plan | changeops.rollback.time_left('main', began) }}"
"""

RETURN = r"""
_value:
  description: The seconds as text, negative when they are up; empty text where nothing limits the step.
  type: str
  sample: "1712.4"
"""

import time
import typing as t

from ansible_collections.changeops.rollback.plugins.plugin_utils._run_time import run_left


def time_left(plan: dict[str, t.Any], step: str, began: float) -> str:
    left = run_left(plan, step, float(began), time.time())
    return "" if left is None else str(left)


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"time_left": time_left}
