#!/usr/bin/python
# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: hold
short_description: Keep what was rolled back from being shipped again
version_added: 0.1.0
description:
  - A rollback that succeeded leaves C(hold.json) on the host, with the commits that it took back. This module looks
    whether a commit that is about to be shipped contains one of them, and lifts a hold.
  - A commit contains what is held where the held commit is in its history and a revert of that is not. So the revert
    may be shipped, and what is built on it, wherever it was made, as long as its message says C(This reverts commit)
    with the full hash, as git's does. A revert that was itself reverted does not count.
  - Commits are compared by their hashes. The same change as another commit, after a rebase or a cherry-pick, is not
    recognized.
author:
  - changeops.rollback contributors (@changeops)
options:
  state:
    description:
      - V(checked) fails where O(commit) is or contains what is held. Without O(commit) it says what is held.
      - V(released) lifts the holds of O(changes).
    type: str
    choices: [checked, released]
    default: checked
  commit:
    description:
      - What is about to be shipped, as a hash, a tag or a branch, as O(repo) has it. Where releases are shipped that
        have no commit, the name of the release.
    type: str
    default: ""
  repo:
    description:
      - A git repository on the host that has O(commit), with or without a work tree. When nothing is held, it is not
        looked at.
      - Without it, only a commit that is held itself, and the release that was rolled back, are recognized.
    type: path
    default: ""
  changes:
    description:
      - For O(state=released), the changes whose holds are lifted. Required then. One that is not held is no error.
      - For O(state=checked), changes that may be shipped although they are held.
    type: list
    elements: str
  state_dir:
    description:
      - The directory with C(hold.json), if the rollback was told to use another one.
      - Without it these are looked at. C(/var/lib/changeops), the account's own C(~/.local/state/changeops), and for
        root that of the account that owns O(repo).
    type: path
    default: ""
attributes:
  check_mode:
    description: Can run in C(check_mode); then it lifts nothing.
    support: full
  diff_mode:
    description: There are no details to show.
    support: none
  platform:
    description: Hosts that can be worked on.
    platforms: posix
    support: full
seealso:
  - module: changeops.rollback.restore_point
"""

EXAMPLES = r"""
- name: See that what is about to be shipped was not rolled back
  changeops.rollback.hold:
    commit: origin/main
    repo: /srv/shop

- name: Let C001 be shipped again
  changeops.rollback.hold:
    state: released
    changes: [C001]
"""

RETURN = r"""
msg:
  description: What was found or done, in a sentence.
  returned: always
  type: str
  sample: Lifted the hold of C001, which dana rolled back at 2026-11-22T23:16:04Z (run 20261122T231500-C001-1a2b).
held:
  description:
    - What is held on this host. For O(state=released), what is held still.
    - Where O(commit) is refused, what it contains of that.
  returned: success, and when O(commit) must not be shipped
  type: list
  elements: dict
  sample:
    - change: C001
      title: Add invoice totals
      run: 20261122T231500-C001-1a2b
      executed_by: dana
      since: "2026-11-22T23:16:04Z"
      repo: /srv/shop
      commits: [4f1c2e9a07d0b1c2d3e4f5061728394a5b6c7d8e]
      release: 4f1c2e9a07d0b1c2d3e4f5061728394a5b6c7d8e
  contains:
    change:
      description: The change that was rolled back.
      returned: success
      type: str
      sample: C001
    title:
      description: Its title in the plan.
      returned: success
      type: str
      sample: Add invoice totals
    run:
      description: The ID of the run.
      returned: success
      type: str
      sample: 20261122T231500-C001-1a2b
    executed_by:
      description: Who rolled it back.
      returned: success
      type: str
      sample: dana
    since:
      description: When, in UTC.
      returned: success
      type: str
      sample: "2026-11-22T23:16:04Z"
    repo:
      description: The work tree, or the folder of releases, that was rolled back.
      returned: success
      type: str
      sample: /srv/shop
    commits:
      description: The commits that were rolled back, as full hashes. Of releases, what C(REVISION) says.
      returned: success
      type: list
      elements: str
      sample: [4f1c2e9a07d0b1c2d3e4f5061728394a5b6c7d8e]
    release:
      description: The commit that stood there before. Of releases, the release's name. Empty where it was not there.
      returned: success
      type: str
      sample: 4f1c2e9a07d0b1c2d3e4f5061728394a5b6c7d8e
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.plugins.module_utils._git import AsOwner
from ansible_collections.changeops.rollback.plugins.module_utils._hold import held, lift, places
from ansible_collections.changeops.rollback.plugins.module_utils._hold_check import refuse_held, told

TIMEOUT = 60.0  # seconds for git


def checked(params, state_dirs):
    """Refuse to ship what is held; say what is."""
    found = [one for state_dir in state_dirs for one in held(state_dir)]
    count = [one for one in found if one["change"] not in (params["changes"] or [])]
    if params["commit"]:
        refuse_held(count, params["commit"], params["repo"], AsOwner(TIMEOUT))
        said = f"{params['commit']} contains nothing that is held here."
    else:
        said = "Held: " + "; ".join(map(told, found)) + "." if found else "Nothing is held."
    return {"changed": False, "msg": said, "held": found}


def released(params, state_dirs, check):
    """Lift the holds of some changes."""
    lifted = [one for state_dir in state_dirs for one in lift(state_dir, params["changes"], check)]
    left = [one for state_dir in state_dirs for one in held(state_dir) if one not in lifted]
    said = f"{'Would lift' if check else 'Lifted'} the hold of " + "; ".join(map(told, lifted)) + "."
    if not lifted:
        said = f"There is no hold of {', '.join(params['changes'])}."
    return {"changed": bool(lifted), "msg": said, "held": left}


def main():
    """Look, or lift."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["checked", "released"], "default": "checked"},
            "commit": {"type": "str", "default": ""},
            "repo": {"type": "path", "default": ""},
            "changes": {"type": "list", "elements": "str"},
            "state_dir": {"type": "path", "default": ""},
        },
        required_if=[("state", "released", ["changes"])],
        supports_check_mode=True,
    )
    params = module.params
    try:
        state_dirs = places(params["state_dir"], params["repo"], os.geteuid(), os.environ)
        if params["state"] == "released":
            result = released(params, state_dirs, module.check_mode)
        else:
            result = checked(params, state_dirs)
    except PhaseError as exc:
        module.fail_json(msg=str(exc), **exc.facts)
    except OSError as exc:
        module.fail_json(msg=f"{exc.filename}: {exc.strerror}.")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
