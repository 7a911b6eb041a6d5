#!/usr/bin/python
# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: history_info
short_description: Read the history of rollbacks
description:
  - Returns the last runs with their phases on each host, and shows them as a table, as JSON or as Markdown if asked to.
  - It works on the controller, so run it once.
author:
  - changeops.rollback contributors (@changeops)
extends_documentation_fragment:
  - changeops.rollback.history
options:
  change:
    description: Only the runs of this change.
    type: str
    default: ""
  run:
    description:
      - Only the run with this ID. Its phases are shown too, and how the app stood on each host before and after it.
    type: str
    default: ""
  last:
    description: How many runs at most, newest first.
    type: int
    default: 20
  format:
    description: Show the runs. Without it they are only returned.
    type: str
    choices: [table, json, markdown]
attributes:
  check_mode:
    description: Can run in C(check_mode) and only reads.
    support: full
seealso:
  - module: changeops.rollback.history
"""

EXAMPLES = r"""
- name: Show the last five rollbacks of C001
  changeops.rollback.history_info:
    change: C001
    last: 5
    format: table
  run_once: true
"""

RETURN = r"""
runs:
  description: The runs, newest first.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: ID of the run.
      returned: success
      type: str
      sample: 20261122T231500-C001-1a2b
    change:
      description: The change that was rolled back.
      returned: success
      type: str
      sample: C001
    plan_digest:
      description: SHA-256 of the plan.
      returned: success
      type: str
      sample: 0f343b0931126a20f133d67c2b018a3b7f6e5d5ab2f5c9b1d8e0f9a7c6b5a493
    restore_point:
      description: ID of the restore point that was used.
      returned: success
      type: str
      sample: 20261122T231500-C001-1a2b
    resumes:
      description: ID of the unfinished run that was resumed. V(null) for a fresh run.
      returned: success
      type: str
      sample: null
    executed_by:
      description: Who ran it.
      returned: success
      type: str
      sample: dana
    executed_from:
      description: Where it was run from, as C(user@host) or the AWX job.
      returned: success
      type: str
      sample: dana@ops1
    job:
      description:
        - What AWX told of the job that it was. V(null) where it was none. Keys, as far as known, are C(id), C(url),
          C(launch_type) (V(manual), V(scheduled), V(webhook), V(relaunch), V(workflow)), C(template), C(workflow_id),
          C(workflow), C(workflow_schedule), C(schedule), C(webhook) (its event), C(rule) (of Event-Driven Ansible),
          C(revision) and C(branch) of the project, and C(inventory).
      returned: success
      type: dict
      sample: {id: 12, url: "https://awx.example.com/#/jobs/playbook/12", launch_type: manual, template: Roll back}
    check_mode:
      description: Whether it was a dry run.
      returned: success
      type: bool
      sample: false
    limit:
      description: The limit that the playbook was started with.
      returned: success
      type: str
      sample: ""
    started:
      description: When it began, in UTC.
      returned: success
      type: str
      sample: "2026-11-22T23:15:00.123Z"
    finished:
      description: When it ended, in UTC. V(null) while it runs.
      returned: success
      type: str
      sample: "2026-11-22T23:15:12.456Z"
    duration:
      description: Seconds that it took. V(null) while it runs.
      returned: success
      type: float
      sample: 12.333
    outcome:
      description: V(succeeded), V(recovered), V(failed), V(refused) or V(interrupted). V(null) while it runs.
      returned: success
      type: str
      sample: succeeded
    summary:
      description: How it ended, in a sentence that names phase, host and cause of a failure.
      returned: success
      type: str
      sample: 7 phases done on 3 hosts.
    notes:
      description: Notes, each with C(at) and C(text).
      returned: success
      type: list
      elements: dict
      sample: [{at: "2026-11-22T23:16:00.000Z", text: Asked for by the on-call engineer.}]
    phases:
      description: >-
        What each phase did on each host. Keys are C(host), C(index), C(phase), C(role), C(step) (V(preflight), V(main),
        V(recover)), C(status) (V(running), V(ok), V(failed), V(unreachable), V(skipped)), C(changed), C(started),
        C(finished), C(duration), C(message), C(before) and C(after).
      returned: success
      type: list
      elements: dict
      sample:
        - host: web1
          index: 3
          phase: 3-git_revert
          role: changeops.rollback.git_revert
          step: main
          status: ok
          changed: true
          started: "2026-11-22T23:15:04.100Z"
          finished: "2026-11-22T23:15:04.900Z"
          duration: 0.8
          message: Reverted 4f1c2e9 in /srv/shop; it stands at 51d0e2f now.
          before: {commit: 4f1c2e9}
          after: {commit: 51d0e2f}
    truth:
      description:
        - How the app stood on each host, as a list of hosts V(before) the run and one V(after) it. A list that was
          never read is missing.
        - Keys are C(host), C(said) (why it could not be read; empty where it could) and C(found) (what
          M(changeops.rollback.status) returned, without secrets; V(null) where it could not be read).
      returned: when O(run) is given
      type: dict
      sample:
        before:
          - {host: web1, said: "", found: {code: {commit: 4f1c2e9}}}
        after:
          - {host: web1, said: "", found: {code: {commit: 51d0e2f}}}
"""
