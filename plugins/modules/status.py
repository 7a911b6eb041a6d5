#!/usr/bin/python
# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: status
short_description: Read how an app stands on a host
description:
  - Reads the commit, branch and changed files of an app's code, the revision of its database, digests of its config and
    the states of its services. Of changes it tells where in the code they lie.
  - It changes nothing. What cannot be read is said in RV(unread), and all the rest is returned all the same.
  - Where it runs as root, git runs as the owner of the work tree.
author:
  - changeops.rollback contributors (@changeops)
extends_documentation_fragment:
  - changeops.rollback.services
options:
  repo:
    description: The app's git work tree, or the symlink to its current release.
    type: path
  config:
    description:
      - Files and folders whose content is compared, absolute or relative to O(repo). Of a folder in git the tracked
        files count, of any other folder all files.
    type: list
    elements: path
    default: []
  databases:
    description:
      - Databases whose Alembic revision is read, each with the table in which Alembic keeps it.
      - A database is the path of an SQLite file, a URL without a password, or C(${NAME}), a variable of
        O(environment_files) with the whole URL.
    type: dict
    default: {}
  changes:
    description:
      - Changes that are looked for in the code at O(repo), to tell which of them lie on top of others. Of one alone
        nothing is told.
    type: list
    elements: dict
    default: []
    suboptions:
      change:
        description: ID of the change.
        type: str
        required: true
      commits:
        description:
          - Its commits, as hashes, tags or ranges. Those that are not in the history of what is checked out count
            for nothing.
        type: list
        elements: str
        default: []
      to:
        description:
          - Without O(changes[].commits), the commit that its rollback goes back to. It stands for all that came after
            it.
        type: str
        default: ""
      config:
        description:
          - Files and folders that its rollback restores, absolute or relative to O(repo). By default they are those
            of O(config).
        type: list
        elements: path
  environment_files:
    description: Files on the host with C(KEY=value) lines, for the commands that read a database or a service.
    type: list
    elements: path
    default: []
  timeout:
    description: Seconds for all of it. Each part has 20 at most.
    type: float
    default: 60.0
attributes:
  check_mode:
    description: Can run in C(check_mode) and only reads.
    support: full
  diff_mode:
    description: It changes nothing.
    support: none
  platform:
    description: Hosts that can be read.
    platforms: posix
    support: full
seealso:
  - module: changeops.rollback.status_table
"""

EXAMPLES = r"""
- name: Read how the shop stands
  changeops.rollback.status:
    repo: /srv/shop
    config: [config, /etc/shop/shop.env]
    databases:
      ${SHOP_DATABASE_URL}: alembic_version
    changes:
      - change: C001
        commits: [4f1c2e9]
      - change: C003
        commits: [v1.5.0]
    environment_files: [/etc/shop/shop.env]
    services:
      - name: shop-web
        manager: systemd
  register: shop
"""

RETURN = r"""
repo:
  description: O(repo) as it was given.
  returned: success
  type: str
  sample: /srv/shop
code:
  description:
    - C(commit), C(branch) (empty where HEAD is detached), C(changed) (tracked files that differ from the commit) and
      C(release) (the name of the folder that O(repo) points to, where it is a symlink).
    - V(null) without O(repo), or where it cannot be read.
  returned: success
  type: dict
  sample: {commit: 4f1c2e9f0d8f4a5b6c7d8e9f0a1b2c3d4e5f6a7b, branch: main, changed: [], release: ""}
revisions:
  description: The revisions at which each database stands, by its address as it was given. V(base) is none.
  returned: success
  type: dict
  sample: {/srv/shop/shop.db: [51b7d9aa]}
digest:
  description: SHA-256 over RV(files). Empty where there are none.
  returned: success
  type: str
  sample: 60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752
files:
  description: SHA-256 of each config file, by its path as it was given. Empty for a file that is not there.
  returned: success
  type: dict
  sample: {config/app.toml: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08}
services:
  description: V(running), V(stopped), V(failed), V(working) (a job under way) or V(unknown) for each service.
  returned: success
  type: dict
  sample: {shop-web: running}
changes:
  description:
    - How each of O(changes) stands in the code. C(state) is V(here) where a commit of it is, V(gone) where all were
      reverted or never came, and V(unknown) where it names none.
    - C(commits) are the numbers of those of its commits that are here, the first one of the history being V(0).
      C(files) gives the same for each file that they touched, if another change touched it too or one restores it as
      config.
    - C(config) are the files and folders that its rollback restores, relative to the top of the work tree.
  returned: success
  type: dict
  sample: {C003: {state: here, commits: [40, 41], files: {shop/main.py: [41]}, config: [config]}}
migrations:
  description: The revisions of Alembic's migrations in the code, each with those that it builds on, for O(changes).
  returned: success
  type: dict
  sample: {8ae1f0c2: [51b7d9aa], 51b7d9aa: []}
missing:
  description: Of each of O(changes) the commits that are nowhere in the repository, if there are any.
  returned: success
  type: dict
  sample: {C002: [51d0e2f]}
unread:
  description:
    - What could not be read and why. Keys are C(environment), C(code), C(changes), C(migrations), C(missing),
      C(revisions), C(files) and C(services).
  returned: success
  type: dict
  sample: {revisions: there is no file /srv/shop/shop.db on this host. Give the path of the SQLite file.}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.changeops.rollback.plugins.module_utils._services import SERVICES_ARGUMENT
from ansible_collections.changeops.rollback.plugins.module_utils._status import read_status


def main():
    """Read how the app stands."""
    module = AnsibleModule(
        argument_spec={
            "repo": {"type": "path"},
            "config": {"type": "list", "elements": "path", "default": []},
            "databases": {"type": "dict", "default": {}},
            "changes": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "change": {"type": "str", "required": True},
                    "commits": {"type": "list", "elements": "str", "default": []},
                    "to": {"type": "str", "default": ""},
                    "config": {"type": "list", "elements": "path"},
                },
            },
            "services": SERVICES_ARGUMENT,
            "environment_files": {"type": "list", "elements": "path", "default": []},
            "timeout": {"type": "float", "default": 60.0},
        },
        supports_check_mode=True,
    )
    module.exit_json(changed=False, **read_status(module.params))


if __name__ == "__main__":
    main()
