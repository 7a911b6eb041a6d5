#!/usr/bin/python
# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: restore_point
short_description: Take a host for a run, and keep or remove the run's restore point
description:
  - The state that preflight found on a host, plus the files, exports and digests that were kept, is the run's restore
    point. It is a directory on the host with mode 0700.
  - Used by the role C(changeops.rollback.run). The phases fill the restore point.
  - Lock and restore point are the run's own book-keeping, so it never reports a change of the host.
  - A run that succeeded leaves C(hold.json) beside its restore point, with the commits that it took back, for
    M(changeops.rollback.hold) and for scripts that deploy.
  - Where the phases of a run work as several accounts, root keeps the restore point and lets these accounts in, and
    nobody else.
author:
  - changeops.rollback contributors (@changeops)
options:
  state:
    description:
      - V(account) says whom this task works as, so that a run knows before it begins.
      - V(opened) takes the host's lock, waits for what an interrupted run left at work, and makes the restore point, or
        finds it when a run is resumed.
      - V(checked) reads what the preflights found. It changes nothing.
      - V(undoing) notes that an undo begins to change the host.
      - V(closed) releases the lock and keeps, leaves open or removes the restore point, as O(outcome) asks for.
    type: str
    choices: [account, opened, checked, undoing, closed]
    required: true
  account:
    description: Whom the task should work as, for O(state=account). It fails when it works as somebody else.
    type: str
    default: ""
  accounts:
    description:
      - Names of the accounts that the run's phases work as, for O(state=opened). When there are others than the one
        that this task works as, this must be root, and the file system must keep POSIX access lists.
    type: list
    elements: str
    default: []
  restore_point:
    description:
      - The restore point's ID, below C(/var/lib/changeops) for root and C(~/.local/state/changeops) for everybody else,
        or an absolute path.
    type: str
    required: true
  run:
    description: The run's ID. It differs from the ID in O(restore_point) when the run resumes an earlier one.
    type: str
    required: true
  change:
    description: The change that is rolled back.
    type: str
    default: ""
  title:
    description: The title of its plan, for the hold.
    type: str
    default: ""
  plan_digest:
    description: SHA-256 of the plan. An unfinished run is resumed only with the plan that it began with.
    type: str
    default: ""
  executed_by:
    description: Who runs it, for the lock.
    type: str
    default: ""
  controller:
    description: Where it is run from, for the lock.
    type: str
    default: ""
  finished_runs:
    description: IDs of runs that the history knows to be over. Their locks are taken over.
    type: list
    elements: str
    default: []
  break_lock:
    description: ID of a run whose lock is taken over although nothing shows that the run is dead.
    type: str
    default: ""
  undo:
    description:
      - With O(state=opened), whether the rollback of O(change) is to be undone. Then its last restore point on this
        host is opened again, and RV(path) is empty where there is none, or where it was put back already.
    type: bool
    default: false
  undo_run:
    description: With O(undo), the run that is to be undone. Empty for the last one on this host.
    type: str
    default: ""
  wait:
    description: Seconds to wait for work that an interrupted run left behind. After that it is ended.
    type: float
    default: 60.0
  outcome:
    description: How the run ended on this host. Required for O(state=closed).
    type: str
    choices: [succeeded, recovered, failed, refused, interrupted]
  keep:
    description: How many closed restore points that changed something are kept. The newest is always kept.
    type: int
    default: 5
attributes:
  check_mode:
    description: Can run in C(check_mode); then it takes no lock and writes nothing.
    support: full
  diff_mode:
    description: There are no details to show.
    support: none
  platform:
    description: Hosts that can be worked on.
    platforms: posix
    support: full
seealso:
  - module: changeops.rollback.backup
  - module: changeops.rollback.hold
"""

EXAMPLES = r"""
- name: Take the host for run 20261122T231500-C001-1a2b
  changeops.rollback.restore_point:
    state: opened
    restore_point: 20261122T231500-C001-1a2b
    run: 20261122T231500-C001-1a2b
    change: C001
    plan_digest: 0f343b0931126a20f133d67c2b018a3b7f6e5d5ab2f5c9b1d8e0f9a7c6b5a493
    executed_by: dana
    controller: dana@ops1

- name: Give the host back
  changeops.rollback.restore_point:
    state: closed
    restore_point: 20261122T231500-C001-1a2b
    run: 20261122T231500-C001-1a2b
    outcome: succeeded
"""

RETURN = r"""
msg:
  description: What was done, in a sentence.
  returned: always
  type: str
  sample: Opened restore point /var/lib/changeops/20261122T231500-C001-1a2b.
path:
  description: Where the restore point lies on the host.
  returned: when there is one, and for O(state=opened)
  type: str
  sample: /var/lib/changeops/20261122T231500-C001-1a2b
account:
  description: Whom the task works as.
  returned: for O(state=account)
  type: dict
  sample: {user: shop, uid: 998}
resumed:
  description: Whether the restore point was there already.
  returned: for O(state=opened)
  type: bool
  sample: false
pending:
  description: Whether any phase has something left to do on this host.
  returned: for O(state=checked)
  type: bool
  sample: true
unfinished:
  description: Whether an earlier attempt left any phase undone on this host, or something is to be done again.
  returned: for O(state=checked)
  type: bool
  sample: true
started:
  description: Whether a phase had started on this host already, in an earlier attempt.
  returned: for O(state=checked)
  type: bool
  sample: false
progress:
  description: How far each phase came. One of V(found), V(started), V(done), V(recovered).
  returned: for O(state=checked)
  type: dict
  sample: {1-backup: found}
outcome:
  description: The outcome that was noted.
  returned: for O(state=closed)
  type: str
  sample: succeeded
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.plugins.module_utils._restore_point import told
from ansible_collections.changeops.rollback.plugins.module_utils._run_close import closed
from ansible_collections.changeops.rollback.plugins.module_utils._run_point import (
    RunPoint,
    account,
    checked,
    opened,
    undoing,
)

STATES = ["account", "opened", "checked", "undoing", "closed"]


def main():
    text = {"type": "str", "default": ""}
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": STATES, "required": True},
            "account": text,
            "accounts": {"type": "list", "elements": "str", "default": []},
            "restore_point": {"type": "str", "required": True},
            "run": {"type": "str", "required": True},
            "change": text,
            "title": text,
            "plan_digest": text,
            "executed_by": text,
            "controller": text,
            "finished_runs": {"type": "list", "elements": "str", "default": []},
            "break_lock": text,
            "undo": {"type": "bool", "default": False},
            "undo_run": text,
            "wait": {"type": "float", "default": 60.0},
            "outcome": {"type": "str", "choices": ["succeeded", "recovered", "failed", "refused", "interrupted"]},
            "keep": {"type": "int", "default": 5},
        },
        required_if=[("state", "closed", ["outcome"])],
        supports_check_mode=True,
    )
    try:
        point = RunPoint(module.params["restore_point"])
        if module.params["state"] == "account":
            result = account(module.params["account"])
        elif module.params["state"] == "opened":
            result = opened(point, module.params, module.check_mode)
        elif module.params["state"] == "checked":
            result = checked(point)
        elif module.params["state"] == "undoing":
            result = undoing(point, module.check_mode)
        else:
            result = closed(point, module.params, module.check_mode)
    except PhaseError as exc:
        module.fail_json(msg=str(exc), **exc.facts)
    except OSError as exc:
        module.fail_json(msg=told(exc, point.state_dir))
    for warning in result.pop("warnings", []):
        module.warn(warning)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
