#!/usr/bin/python
# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: status_table
short_description: Show the plans, and how the app stands on each host
description:
  - Shows each plan with its last run, and a line for each host with the commit, branch, changed files, revision, digest
    of the config and service states that M(changeops.rollback.status) found there.
  - Of a plan whose change lies under later ones it names these, and below the table the order to roll back in.
  - Behind what differs from most hosts stands an exclamation mark, and below the table what it is on the others. Hosts
    are compared where the last part of O(found)'s C(repo) is the same; a release's symlink is left out of that.
  - Below that it names what has gone stale, where a change was not rolled back yet. These are plans that cannot be
    loaded, that were never rehearsed, too long ago, or not as they are now; commits that are not in the repository;
    revisions that are not among the migrations; hosts that are gone; and reports that were made of an earlier plan.
  - It works on the controller, so run it once. Where the history cannot be read, the last runs are left out.
author:
  - changeops.rollback contributors (@changeops)
extends_documentation_fragment:
  - changeops.rollback.history
options:
  plans:
    description: Plans, as P(changeops.rollback.plans#lookup) gives them. Hosts of theirs that O(found) lacks are named.
    type: list
    elements: dict
    default: []
  changes:
    description: All plans, so that it is seen which changes lie on top of those of O(plans). By default O(plans).
    type: list
    elements: dict
    default: []
  found:
    description: Results of M(changeops.rollback.status) by host, also those of hosts that failed or are unreachable.
    type: dict
    default: {}
  require_rehearsal:
    description:
      - How old a rehearsal may be, as a duration such as C(7d); later it is stale. Where it says nothing, what the
        plan asks for counts, else 30 days.
    type: raw
    default: ""
  report_dir:
    description: Where reports were written. By default C(reports/) beside the folder of the plans.
    type: path
  strict:
    description: Fail where something has gone stale, or where the history cannot be read.
    type: bool
    default: false
attributes:
  check_mode:
    description: Can run in C(check_mode) and only reads.
    support: full
seealso:
  - module: changeops.rollback.status
  - module: changeops.rollback.history_info
"""

EXAMPLES = r"""
- name: Show the plans and the fleet
  changeops.rollback.status_table:
    plans: "{{ query('changeops.rollback.plans') }}"
    found: "{{ dict(ansible_play_hosts_all | zip(ansible_play_hosts_all | map('extract', hostvars, 'shop'))) }}"
  run_once: true
"""

RETURN = r"""
runs:
  description:
    - The last run of each change that touched a host, as M(changeops.rollback.history_info) returns it, without its
      phases. Where none did, the last one.
    - Its RV(ignore:attempt) is the last run since, which was refused or ended before it touched a host; null where
      there is none.
  returned: success
  type: dict
  sample: {C001: {id: 20261122T231500-C001-1a2b, outcome: succeeded, summary: 7 phases done on 3 hosts., attempt: null}}
under:
  description: For each change of O(plans) that lies under others, these, newest first.
  returned: success
  type: dict
  sample: {C001: [C003]}
stale:
  description: What has gone stale, as sentences.
  returned: success
  type: list
  elements: str
  sample: ["C001 was never rehearsed. Rehearse it: ansible-playbook rehearse.yml -e change=C001"]
odd:
  description: The hosts on which something differs.
  returned: success
  type: list
  elements: str
  sample: [web2]
"""
