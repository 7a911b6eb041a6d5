#!/usr/bin/python
# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: notify
short_description: Send a message to people and programs elsewhere
description:
  - Sends one message to all O(places) at once, and waits at most five seconds for all of them together.
  - A place that does not take the message is a warning, never a failure.
  - Used by the role C(changeops.rollback.notify), which describes the places. A rollback tells the same places how it
    goes by itself. It works on the controller, so run it once.
author:
  - changeops.rollback contributors (@changeops)
options:
  places:
    description: The places, as the role C(changeops.rollback.notify) describes them.
    type: list
    elements: dict
    required: true
  text:
    description: What is said.
    type: str
    required: true
  change:
    description: The change that it is about. Example V(C001)
    type: str
    default: ""
attributes:
  action:
    description: Works on the controller, as an action plugin.
    support: full
  check_mode:
    description: Can run in C(check_mode), and then sends nothing.
    support: full
  diff_mode:
    description: There are no details to show.
    support: none
  platform:
    description: Hosts that can be worked on. Hosts are not touched.
    platforms: posix
    support: full
"""

EXAMPLES = r"""
- name: Say that the release is out
  changeops.rollback.notify:
    places: "{{ notify_places }}"
    change: C001
    text: Release 1.3.0 is out on all hosts. To roll it back, ansible-playbook rollback.yml -e change=C001
  run_once: true
"""

RETURN = r"""
told:
  description: How many places took the message.
  returned: success
  type: int
  sample: 2
faults:
  description: Which places did not, and why.
  returned: success
  type: list
  elements: str
  sample: ["ops of 'message': it did not answer within 5 s."]
"""
