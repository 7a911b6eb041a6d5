# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter changeops.rollback.task_timeout."""

from __future__ import annotations

DOCUMENTATION = r"""
name: task_timeout
short_description: Tell after how many seconds a task of a phase is to be given up
version_added: 1.0.0
description:
  - Gives the value of the keyword C(timeout) for the tasks of a phase, from that of the plan and that of the phase.
  - Phases of this collection end their work themselves, so they get V(0), which is no limit.
author:
  - changeops.rollback contributors (@changeops)
positional: phase, step, began
options:
  _input:
    description: The plan, as the lookup P(changeops.rollback.plan#lookup) gives it.
    type: dict
    required: true
  phase:
    description: One of its phases.
    type: dict
    required: true
  step:
    description: The step of the phase, such as V(main), whose time counts from the first task of the phase on.
    type: str
    required: true
  began:
    description: When the run began, in seconds since the epoch.
    type: float
    required: true
"""

EXAMPLES = r"""
- name: Run a phase in the time that is left
  timeout: "{{ rollback_plan | changeops.rollback.task_timeout(phase, 'main', began) }}"
  block:
    - name: Run it
      ansible.builtin.include_role:
        name: "{{ phase.role }}"
"""

RETURN = r"""
_value:
  description: The seconds, rounded up; V(0) for no limit. It fails when they are up.
  type: int
  sample: 90
"""

import time
import typing as t

from ansible.errors import AnsibleError
from ansible_collections.changeops.rollback.plugins.plugin_utils._reached import phase_began
from ansible_collections.changeops.rollback.plugins.plugin_utils._run_time import task_seconds


def task_timeout(plan: dict[str, t.Any], phase: dict[str, t.Any], step: str, began: float) -> int:
    now = time.time()
    seconds = task_seconds(plan, phase, step, float(began), phase_began(phase["index"], now), now)
    if seconds is None:
        raise AnsibleError("The time that `timeout` in the plan gives was up before this task began.")
    return seconds


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"task_timeout": task_timeout}
