#!/usr/bin/python
# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: manual_step
short_description: Have a person do a part of a rollback
version_added: 0.1.0
author: changeops.rollback contributors (@changeops)
description:
  - Shows instructions and asks at the terminal whether it was done, with a remark. The answer, who gave it and when
    are noted in the restore point, and in a run in the history too.
  - Without a terminal it fails with RV(waiting), unless O(confirm) has the answer. A run then stops there without
    putting anything back, and the next one goes on from there.
  - Use it with C(run_once), since it asks once for each host that it is run for.
  - What was answered with V(done) or V(skip) is not asked again by a run that is resumed.
extends_documentation_fragment:
  - changeops.rollback.phase
options:
  instructions:
    description: What the person is to do, in Markdown.
    type: str
    required: true
  recover:
    description:
      - The same for what puts it back, for O(step=recover). It is asked for unless O(step=main) was skipped or not
        reached. Without it what was done by hand stays as it is.
    type: str
    default: ""
  confirm:
    description:
      - The answer, where there is no terminal. C(C001:3) says that phase 3 of C001 was done, C(C001:3:skip:why) and
        C(C001:3:failed:why) the rest. Outside a run C(manual_step) stands instead of C(C001:3).
      - It answers one question.
    type: str
    default: ""
  follows:
    description: Whether it is known from other phases if anything is to be done. Then V(pending) is V(null).
    type: bool
    default: false
  answer:
    description: What was answered, put here by the action plugin.
    type: dict
attributes:
  check_mode:
    description: Shows the instructions and asks nothing.
  diff_mode:
    description: Nobody knows what a person is going to change.
    support: none
"""

EXAMPLES = r"""
---
- name: Have the queue emptied
  changeops.rollback.manual_step:
    instructions: |
      # Empty the queue of invoices

      In the console of the broker, purge `invoices`. It takes a minute.
    recover: Nothing is to be done, the queue fills by itself.
    confirm: "{{ confirm | default('') }}"
  run_once: true
"""

RETURN = r"""
msg:
  description: What was answered, by whom and when.
  returned: always
  type: str
  sample: "Done by dana (dana@ops1) at 2026-11-27 02:11 UTC: 312 messages purged"
pending:
  description: Whether a person is asked. V(null) where it only follows the other phases.
  returned: for O(step=preflight)
  type: bool
  sample: true
before:
  description: Nothing, as nobody knows what a person is going to change.
  returned: success
  type: dict
  sample: {}
after:
  description: The answer, V(done), V(skip) or V(failed), the remark, by whom, from where, and when (UTC).
  returned: when there is an answer
  type: dict
  sample: {answer: done, remark: 312 messages purged, by: dana, place: dana@ops1, at: 2026-11-27 02:11}
waiting:
  description: Nobody has answered.
  returned: when nobody has
  type: bool
  sample: true
undo:
  description: Whether it waits in an undo.
  returned: when nobody has answered
  type: bool
  sample: false
confirmed:
  description: Whether O(confirm) was used, so that it is not used once more.
  returned: success
  type: bool
  sample: false
"""

from ansible_collections.changeops.rollback.plugins.module_utils._manual_step import (
    manual_main,
    manual_preflight,
    manual_recover,
)
from ansible_collections.changeops.rollback.plugins.module_utils._phase import run_module


def main():
    """Note what a person answered."""
    run_module(
        {
            "instructions": {"type": "str", "required": True},
            "recover": {"type": "str", "default": ""},
            "confirm": {"type": "str", "default": ""},
            "follows": {"type": "bool", "default": False},
            "answer": {"type": "dict"},
        },
        manual_preflight,
        manual_main,
        manual_recover,
        phase="manual_step",
    )


if __name__ == "__main__":
    main()
