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
    msg: "{{ item.phases | map(attribute='id') | join(', ') }} on {{ item.hosts | join(', ') }}"
  loop: "{{ rollback_plan.phases | changeops.rollback.phase_groups('main', batch.hosts) }}"
"""

RETURN = r"""
_value:
  description: The groups, each with its C(phases), and as C(hosts) those of the given ones that these phases are for.
  type: list
  elements: dict
  sample: [{hosts: [web1, web2], phases: []}]
"""

import itertools
import typing as t


def phase_groups(phases: list[dict[str, t.Any]], step: str, hosts: list[str]) -> list[dict[str, t.Any]]:
    def taking(phase: dict[str, t.Any]) -> list[str]:
        return [host for host in hosts if host in phase["host_names"]]

    mine = [phase for phase in phases if step in phase["steps"] and taking(phase)]
    return [{"hosts": found, "phases": list(together)} for found, together in itertools.groupby(mine, taking)]


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"phase_groups": phase_groups}
