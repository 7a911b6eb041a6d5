#!/usr/bin/python
# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: barrier
short_description: Wait until every slice of a run has come as far
description:
  - Several playbooks do one run side by side, each on a slice of the hosts. They meet in the history, on PostgreSQL.
    A slice says that it has come to a barrier, and waits until all have.
  - A slice that has ended does not come, nor does one whose process is gone, or, on another machine, whose heartbeat
    stood still for a minute.
  - While the history cannot be used nobody goes on. After five minutes it counts as a failure.
  - Used by the role C(changeops.rollback.run). It works on the controller, so run it once.
author:
  - changeops.rollback contributors (@changeops)
extends_documentation_fragment:
  - changeops.rollback.history
options:
  run:
    description: ID of the run.
    type: str
    required: true
  slice:
    description: Which slice of how many this is, such as V(2/3).
    type: str
    required: true
  barrier:
    description: Name of the barrier.
    type: str
    required: true
  state:
    description:
      - V(forward) waits for all slices, and fails when one of those that are missing has failed or does not come.
      - V(back) waits for all slices too, on the way back, and says which do not come.
      - V(failed) tells the others that this slice has failed, and waits for nobody.
    type: str
    choices: [forward, back, failed]
    default: forward
  told:
    description: What the others are told there.
    type: dict
    default: {}
  wait:
    description: Seconds to wait for slices that have not even started. V(0) where all are known to have.
    type: int
    default: 0
attributes:
  check_mode:
    description: A dry run is not run in slices.
    support: none
"""

EXAMPLES = r"""
- name: Wait until every slice is proven
  changeops.rollback.barrier:
    run: 20261122T231500-C001-1a2b
    slice: 2/3
    barrier: ready
    told: {pending: true}
  run_once: true
  register: ready
"""

RETURN = r"""
met:
  description: What all slices told there, as one. Lists are one after the other; else it is the largest value.
  returned: for O(state=forward) and O(state=back)
  type: dict
  sample: {pending: true}
gone:
  description: Slices that do not come, each with why.
  returned: for O(state=forward) and O(state=back)
  type: list
  elements: str
  sample: ["slice 2 of 3 (web3 and web4; AWX job 14) has ended"]
"""
