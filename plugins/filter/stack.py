# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter changeops.rollback.stack."""

from __future__ import annotations

DOCUMENTATION = r"""
name: stack
short_description: Tell which changes lie on top of one
version_added: 1.0.0
description:
  - Says why a change cannot be rolled back while others lie on top of it, and the order to take.
  - Another change lies on top where it came later and its commits touch the same files, its migrations build on those
    of the first, or it changed config that the rollback of the first restores. One that is rolled back does not count.
  - Plans with faults, and changes of which it cannot be told whether they are there, are warned of.
author:
  - changeops.rollback contributors (@changeops)
positional: found, change, under
options:
  _input:
    description: All plans, as the lookup P(changeops.rollback.plans#lookup) gives them.
    type: list
    elements: dict
    required: true
  found:
    description: Results of M(changeops.rollback.status) by host, with what it found of the changes.
    type: dict
    required: true
  change:
    description: ID of the change that is to be rolled back.
    type: str
    required: true
  under:
    description: IDs of changes that are to stay on top of it. Those whose migrations lie on top cannot.
    type: raw
    default: []
"""

EXAMPLES = r"""
- name: Refuse to roll back under a later change
  ansible.builtin.fail:
    msg: "{{ refusal }}"
  vars:
    refusal: "{{ query('changeops.rollback.plans') | changeops.rollback.stack(found, 'C001') }}"
  when: refusal | length > 0
"""

RETURN = r"""
_value:
  description:
    - Sentences that name the changes, what they have in common, and the order to take. Empty where none is on top.
  type: str
  sample: >-
    C003 (changes/C003.yml) came after C001 and touches the same files (shop/main.py). Roll back C003 first:
    ansible-playbook rollback.yml -e change=C003, then C001.
"""

import typing as t

from ansible.utils.display import Display
from ansible_collections.changeops.rollback.plugins.plugin_utils import _stack_view as view
from ansible_collections.changeops.rollback.plugins.plugin_utils._stack import stack_of

display = Display()


def stack(
    plans: list[dict[str, t.Any]],
    found: dict[str, dict[str, t.Any]],
    change: str,
    under: str | list[str] | None = None,
) -> str:
    places = [plan["place"] for plan in plans if plan["place"]]
    known, stay = stack_of(places, found), under.split(",") if isinstance(under, str) else under or []
    stay = [name for one in stay if (name := str(one).strip())]
    for warning in (view.unread(plans, change), *view.doubts(known, places, change, stay)):
        if warning:
            display.warning(warning)
    return view.refusal(known, places, change, stay)


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"stack": stack}
