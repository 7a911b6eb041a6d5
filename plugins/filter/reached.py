# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter changeops.rollback.reached."""

from __future__ import annotations

DOCUMENTATION = r"""
name: reached
short_description: Tell which phase a batch has come to
version_added: 1.0.0
description:
  - Gives the index of the phase that started last, as the observer that lies beside the playbooks saw it start.
author:
  - changeops.rollback contributors (@changeops)
options:
  _input:
    description: The batch at work, with its C(hosts).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Say how far it came
  ansible.builtin.debug:
    msg: "{{ batch | changeops.rollback.reached }} of {{ rollback_plan.phases | length }} phases had started."
"""

RETURN = r"""
_value:
  description: The index, from V(1) on; V(0) where no phase has started on these hosts. A million where no
    observer watches, so that any phase may have.
  type: int
  sample: 3
"""

import typing as t

from ansible_collections.changeops.rollback.plugins.plugin_utils._reached import reached_on


def reached(batch: dict[str, t.Any]) -> int:
    return reached_on(batch["hosts"])


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"reached": reached}
