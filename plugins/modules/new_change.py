#!/usr/bin/python
# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: new_change
short_description: Read what a change is made of, and keep config from before it
description:
  - Tells the commits of a change with their subjects and authors, and the migrations that they add, from the app's git
    work tree. The playbook C(changeops.rollback.new_change) writes a plan of that.
  - Keeps a copy of config files as they are, for M(changeops.rollback.config_restore). So run it before the change is
    shipped. A change that is in the code already has nothing kept, as the files may be changed too.
  - Where it runs as root, git runs as the owner of the work tree.
author:
  - changeops.rollback contributors (@changeops)
options:
  repo:
    description: The app's git work tree.
    type: path
    required: true
  commits:
    description:
      - The commits of the change, as hashes, tags or ranges. They have to be in the work tree's repository, and need
        not be checked out.
      - Without them they are what came after O(since).
    type: list
    elements: str
    default: []
  since:
    description:
      - The tag or commit of the last good release. Without it, it is the last tag before what is checked out.
    type: str
    default: ""
  keep:
    description:
      - Config files to keep, each a dictionary with its C(path) and where the copy goes, C(source), as
        C(rollback_config) has them. Other keys do not count. Folders are made. A copy that is there is never replaced.
    type: list
    elements: dict
    default: []
  timeout:
    description: Seconds for all of it.
    type: float
    default: 60.0
attributes:
  check_mode:
    description: Says what it would keep.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
  platform:
    description: Hosts that can be read.
    platforms: posix
    support: full
seealso:
  - module: changeops.rollback.new_plan
"""

EXAMPLES = r"""
- name: Read the change that is going to be shipped, and keep the config from before it
  changeops.rollback.new_change:
    repo: /srv/shop
    commits: [v1.2.0..v1.3.0]
    keep:
      - path: /etc/shop/shop.env
        source: /etc/shop/kept/C002/shop.env
"""

RETURN = r"""
head:
  description: The commit that is checked out.
  returned: success
  type: str
  sample: 4f1c2e9f0d8f4a5b6c7d8e9f0a1b2c3d4e5f6a7b
since:
  description: The tag or commit that O(commits) were counted from. Empty where they were given, or there is no tag.
  returned: success
  type: str
  sample: v1.2.0
since_commit:
  description: The whole hash of RV(since).
  returned: success
  type: str
  sample: 51d0e2f98d8f4a5b6c7d8e9f0a1b2c3d4e5f6a7b
commits:
  description: The commits of the change, newest first.
  returned: success
  type: list
  elements: dict
  sample:
    - {commit: 4f1c2e9f0d8f4a5b6c7d8e9f0a1b2c3d4e5f6a7b, author: Dana Ng, date: "2026-11-20", subject: Totals}
recent:
  description: The last commits of all, where those of the change are not known.
  returned: success
  type: list
  elements: dict
  sample: []
shipped:
  description: Whether they are in what is checked out.
  returned: success
  type: bool
  sample: false
migrations:
  description: The Alembic revisions that they end at, C(from), and began at, C(to). Empty without a migration.
  returned: success
  type: dict
  sample: {from: [8ae1f0c2], to: [51b7d9aa]}
owner:
  description: Who owns the work tree.
  returned: success
  type: str
  sample: shop
user:
  description: Who the module ran as.
  returned: success
  type: str
  sample: deploy
kept:
  description: The copies that were made.
  returned: success
  type: list
  elements: str
  sample: [/etc/shop/kept/C002/shop.env]
missing:
  description: The copies that are not there and could not be made.
  returned: success
  type: list
  elements: str
  sample: []
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.plugins.module_utils._new_change import read_change


def main():
    """Read the change and keep what it is going to change."""
    module = AnsibleModule(
        argument_spec={
            "repo": {"type": "path", "required": True},
            "commits": {"type": "list", "elements": "str", "default": []},
            "since": {"type": "str", "default": ""},
            "keep": {"type": "list", "elements": "dict", "default": []},
            "timeout": {"type": "float", "default": 60.0},
        },
        supports_check_mode=True,
    )
    try:
        found = read_change(module.params, module.check_mode)
    except PhaseError as exc:
        module.fail_json(msg=str(exc))
    for warning in found.pop("warnings"):
        module.warn(warning)
    module.exit_json(changed=bool(found["kept"]), **found)


if __name__ == "__main__":
    main()
