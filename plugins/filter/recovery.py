# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter changeops.rollback.recovery."""

from __future__ import annotations

DOCUMENTATION = r"""
name: recovery
short_description: Tell what a run that failed is to put back
version_added: 1.0.0
description:
  - Gives the phases that started, the hosts on which they are put back, and the database that comes first.
author:
  - changeops.rollback contributors (@changeops)
positional: batch, reached, resumed, databases, lost
options:
  _input:
    description: The plan, as the lookup P(changeops.rollback.plan#lookup) gives it in a play.
    type: dict
    required: true
  batch:
    description: The batch at work, with its C(index), V(0) before the first one, and its C(hosts).
    type: dict
    required: true
  reached:
    description: The index of the phase that started last in this batch.
    type: int
    required: true
  resumed:
    description: Whether the run goes on with one that was interrupted, so that any phase may have started.
    type: bool
    required: true
  databases:
    description: What the databases of each host of the play are known by, as the preflight of the phases noted it.
    type: dict
    required: true
  lost:
    description: The hosts that went away. Where one of them would have to put a database back, nothing is put back.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Note what is to be put back
  ansible.builtin.set_fact:
    recovery: "{{ rollback_plan | changeops.rollback.recovery(batch, 3, false, databases, ['web2']) }}"
"""

RETURN = r"""
_value:
  description:
    - C(left) are the hosts of all batches that are not done, C(hosts) those that are put back, C(phases) the phases of
      the plan that are put back, in its order.
    - C(database_index) is the index of the first of them that changes a database, V(0) without one, and
      C(database_hosts) are the hosts of those.
  type: dict
  sample: {left: [web2, web3], hosts: [web2], phases: [], database_index: 0, database_hosts: []}
"""

import dataclasses
import typing as t

from ansible_collections.changeops.rollback.plugins.plugin_utils._recovery import recovery_of


def recovery(
    plan: dict[str, t.Any],
    batch: dict[str, t.Any],
    reached: int,
    resumed: bool,
    databases: dict[str, dict[str, str]],
    lost: t.Collection[str] = (),
) -> dict[str, t.Any]:
    found = recovery_of(plan, batch, int(reached), bool(resumed), databases, lost)
    return {field.name: getattr(found, field.name) for field in dataclasses.fields(found)}


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"recovery": recovery}
