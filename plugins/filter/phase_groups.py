# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter changeops.rollback.phase_groups."""

from __future__ import annotations

DOCUMENTATION = r"""
name: phase_groups
short_description: Put phases that follow each other and are for the same hosts together
version_added: 1.0.0
description:
  - Of the given phases, takes those that have a step and a host to do it on, in their order.
  - What it gives is kept for each host, so it names no more of them than it has to.
author:
  - changeops.rollback contributors (@changeops)
positional: step, hosts
options:
  _input:
    description: Phases of a plan, as the lookup P(changeops.rollback.plan#lookup) gives them in a play.
    type: list
    elements: dict
    required: true
  step:
    description: The step, such as V(main).
    type: str
    required: true
  hosts:
    description: The hosts of the step, such as those of a batch.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Say what is done where
  ansible.builtin.debug:
    msg: >-
      {{ item.phases | map(attribute='id') | join(', ') }} on {{ batch.hosts | difference(item.left_out) | join(', ') }}
  loop: "{{ rollback_plan.phases | changeops.rollback.phase_groups('main', batch.hosts) }}"
"""

RETURN = r"""
_value:
  description:
    - The groups, each with its C(phases), which have all but their C(host_names); C(left_out) are those of the given
      hosts that they are not for, C(first) is the first of the given hosts, whether it is left out or not.
  type: list
  elements: dict
  sample: [{first: web1, left_out: [db1], phases: []}]
"""

import itertools
import operator
import typing as t


def phase_groups(phases: list[dict[str, t.Any]], step: str, hosts: list[str]) -> list[dict[str, t.Any]]:
    names = list(hosts)  # Ansible's own lists are worked out at each look into them, which takes long with many hosts
    mine = []
    for phase in phases:
        wanted = set(phase["host_names"])
        left_out = [name for name in names if name not in wanted]
        if step in phase["steps"] and len(left_out) < len(names):
            mine.append((left_out, {key: phase[key] for key in phase if key != "host_names"}))
    return [
        {"first": names[0], "left_out": left_out, "phases": [phase for _left_out, phase in group]}
        for left_out, group in itertools.groupby(mine, operator.itemgetter(0))
    ]


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"phase_groups": phase_groups}
