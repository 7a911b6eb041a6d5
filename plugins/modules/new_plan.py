#!/usr/bin/python
# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: new_plan
short_description: Write the plan of a new change
description:
  - Writes the plan from what M(changeops.rollback.new_change) and M(changeops.rollback.status) found on the hosts,
    where P(changeops.rollback.plan#lookup) looks for it. A plan that is there is never overwritten.
  - What only a person knows stands in it as a question, with which the plan is refused; the questions are returned.
  - It works on the controller, so run it once. Without O(found) it only sees that there is no plan yet.
author:
  - changeops.rollback contributors (@changeops)
options:
  change:
    description: ID of the change.
    type: str
    default: ""
  found:
    description: Results of M(changeops.rollback.new_change) by host.
    type: dict
    default: {}
  stands:
    description: Results of M(changeops.rollback.status) by host.
    type: dict
    default: {}
  services:
    description: The app's services, as in C(rollback_services). Without any, the plan stops and starts none.
    type: list
    elements: dict
    default: []
  config:
    description: The app's config, as in C(rollback_config). Without any, the plan restores none.
    type: list
    elements: raw
    default: []
  checks:
    description: The app's checks, as in C(rollback_checks). Without any, the plan verifies nothing.
    type: list
    elements: raw
    default: []
attributes:
  check_mode:
    description: Says what it would write.
    support: full
  diff_mode:
    description: Shows the plan.
    support: full
seealso:
  - module: changeops.rollback.new_change
"""

EXAMPLES = r"""
- name: Write the plan
  changeops.rollback.new_plan:
    change: C002
    found: "{{ dict(ansible_play_hosts | zip(ansible_play_hosts | map('extract', hostvars, 'shop_change'))) }}"
    services: "{{ rollback_services }}"
    checks: "{{ rollback_checks }}"
  run_once: true
"""

RETURN = r"""
msg:
  description: What was written, and what is left to answer.
  returned: always
  type: str
  sample: changes/C002.yml is written. No question is left.
path:
  description: The plan's file.
  returned: with O(found)
  type: str
  sample: /home/dana/ops/changes/C002.yml
questions:
  description: The questions, each with file and line.
  returned: with O(found)
  type: list
  elements: str
  sample: ["changes/C002.yml:13: Not answered yet: what is done about it? Write the answer in place of the question."]
"""
