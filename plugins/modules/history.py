#!/usr/bin/python
# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: history
short_description: Open a run in the history of rollbacks, or add a note to one
description:
  - Opens a run, takes the lock on its change, and says whether an unfinished run is resumed.
  - Phases, hosts, times and the end of the run are recorded by a callback that comes with the collection's playbooks.
    It notices the task that opens the run.
  - Used by the role C(changeops.rollback.run). It works on the controller, so run it once.
author:
  - changeops.rollback contributors (@changeops)
extends_documentation_fragment:
  - changeops.rollback.history
options:
  state:
    description:
      - V(opened) opens a run. It is refused while another run of the same change is alive, and when the plan of an
        unfinished run was edited. In check mode no lock is taken and nothing is resumed; it is recorded as a dry run.
      - V(noted) adds O(note), O(cause) and O(fix) to O(run). Where none of them is given it asks for them at the
        terminal, and without a terminal it fails.
      - V(told) tells what came of the run that is at work, by its last task. Like M(ansible.builtin.set_stats) it
        leaves that to the playbook's end, where AWX and ansible-runner take it up as artifacts.
    type: str
    choices: [opened, noted, told]
    required: true
  change:
    description: The change that is rolled back. Required for O(state=opened).
    type: str
  plan_digest:
    description: SHA-256 of the plan. Required for O(state=opened).
    type: str
  break_lock:
    description: ID of an open run that counts as dead from now on, whatever the signs of life.
    type: str
    default: ""
  limit:
    description: The limit that the playbook was started with, for the record.
    type: str
    default: ""
  kind:
    description: Whether the change is rolled back, or a rollback of it is rehearsed or undone.
    type: str
    choices: [rollback, rehearsal, undo]
    default: rollback
  require_rehearsal:
    description:
      - How old the rehearsal may be that a rollback needs, such as V(7d). It has to have been one of the same plan, and
        to have found that all is ready. Otherwise the run is refused, unless an unfinished one is resumed.
      - V(no) or empty, where none is needed.
    type: raw
    default: ""
  maintenance:
    description:
      - The maintenance windows, as a list of dictionaries. Outside of them the run is refused, unless it resumes an
        unfinished one; a dry run and a rehearsal are told.
      - A weekly window has C(start) and C(end), such as V(22:00), its C(zone), such as V(Europe/Berlin), and
        the C(days) on which it begins, such as V([sat, sun]); without C(days) it is one of every day. With an
        C(end) that is not after C(start) it goes on over midnight.
      - The C(start) and the C(end) of a dated one have their date, such as V(2026-11-28T22:00), and it has no C(days).
      - A time that the clock skips in spring counts as the moment of the skip. Of one that comes twice in autumn a
        window begins with the first and ends with the second.
    type: raw
    default: []
  outside_window:
    description: Why the run cannot wait for a window of O(maintenance), for the record.
    type: str
    default: ""
  slice:
    description:
      - Which part of the hosts this is, of a run that several playbooks do side by side, such as V(2/3). The first that
        comes opens the run, the others join it. Only for O(kind=rollback), without check mode, on PostgreSQL.
    type: str
    default: ""
  run:
    description: ID of a run. Without it, O(state=noted) fails and names the last ones.
    type: str
    default: ""
  note:
    description: What to note of the run, also of one that is opened.
    type: str
    default: ""
  cause:
    description: What the cause was.
    type: str
    default: ""
  fix:
    description: What the planned fix is.
    type: str
    default: ""
attributes:
  check_mode:
    description: Can run in C(check_mode); the run is recorded as a dry run.
    support: full
seealso:
  - module: changeops.rollback.history_info
"""

EXAMPLES = r"""
- name: Open a run
  changeops.rollback.history:
    state: opened
    change: C001
    plan_digest: 0f343b0931126a20f133d67c2b018a3b7f6e5d5ab2f5c9b1d8e0f9a7c6b5a493
  run_once: true
  register: opened

- name: Note why it was run
  changeops.rollback.history:
    state: noted
    run: "{{ opened.run.id }}"
    cause: A lock on invoices was held by the nightly report.
    fix: The report reads from the replica.
    note: Asked for by the on-call engineer, see incident 4711.
  run_once: true
"""

RETURN = r"""
artifacts:
  description:
    - What came of the run at work. Times are in seconds; C(rollback_downtime) is 0 where no service was stopped. After
      a rehearsal C(rollback_expected) says in sentences how long the rollback will take. Empty where nothing is
      recorded.
    - C(rollback_run), C(rollback_change), C(rollback_kind) and C(rollback_check_mode) are left for later jobs as soon
      as a run is opened.
  returned: for O(state=told)
  type: dict
  sample:
    rollback_outcome: succeeded
    rollback_summary: 7 phases done on 1 host.
    rollback_loss: [invoices.total (2000 values)]
    rollback_duration: 21.4
    rollback_downtime: 7.0
    rollback_phase_durations: {1-backup: 0.5, 2-service_stop: 1.1}
msg:
  description: What was done, in a sentence.
  returned: for all but O(state=told)
  type: str
  sample: Opened run 20261122T231500-C001-1a2b.
run:
  description: The run.
  returned: for O(state=opened)
  type: dict
  contains:
    id:
      description: ID of the run.
      returned: success
      type: str
      sample: 20261122T231500-C001-1a2b
    change:
      description: The change that is rolled back.
      returned: success
      type: str
      sample: C001
    restore_point:
      description: ID of the restore point to use. It is the run's own ID unless an unfinished run is resumed.
      returned: success
      type: str
      sample: 20261122T231500-C001-1a2b
    resumes:
      description: ID of the unfinished run that is resumed. V(null) for a fresh run.
      returned: success
      type: str
      sample: null
    resumed:
      description: Whether an unfinished run is resumed.
      returned: success
      type: bool
      sample: false
    started:
      description: When the run began, in UTC.
      returned: success
      type: str
      sample: "2026-11-22T23:15:00.123Z"
    executed_by:
      description: Who runs it. It is the user of AWX, the user behind C(sudo), or the user.
      returned: success
      type: str
      sample: dana
    executed_from:
      description: Where it is run from, as C(user@host) or the AWX job.
      returned: success
      type: str
      sample: dana@ops1
    check_mode:
      description: Whether it is a dry run.
      returned: success
      type: bool
      sample: false
    broke_lock:
      description: The run whose lock was broken on request. Empty if none was.
      returned: success
      type: str
      sample: ""
    dead_runs:
      description: IDs of runs that are known to be over, at most 200. Locks that they left on hosts can be taken over.
      returned: success
      type: list
      elements: str
      sample: [20261121T101500-C001-77aa]
    kind:
      description: What O(kind) says.
      returned: success
      type: str
      sample: rollback
    slice:
      description: Which slice this is. V(null) where one playbook does all hosts.
      returned: success
      type: dict
      sample: null
      contains:
        number:
          description: Its number, from V(1) on.
          returned: success
          type: int
          sample: 2
        total:
          description: How many there are.
          returned: success
          type: int
          sample: 3
        joined:
          description: Whether another one had opened the run.
          returned: success
          type: bool
          sample: true
    rehearsed:
      description: When the change was rehearsed last, and what came of it, as a sentence.
      returned: success
      type: str
      sample: C001 was rehearsed 3 d ago and found READY.
    window:
      description: How O(maintenance) stands, in sentences. Empty where there are no windows.
      returned: success
      type: str
      sample: The maintenance window is open until Sun 2026-11-29 04:00 Europe/Berlin (03:00 UTC), for 2 h 10 min.
"""
