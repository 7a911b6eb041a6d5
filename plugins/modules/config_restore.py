#!/usr/bin/python
# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: config_restore
short_description: Make config files what they were before a change
description:
  - Files and folders in git become what they were in the commit before the change. Files outside git get the content of
    a kept copy, of a template, or content that is given. In environment files single keys can be changed.
  - Owner, mode, ACL and SELinux context of existing files are kept. Git has a say in the executable bit only.
  - Files that the change added to a listed folder are removed. Untracked files there are left alone.
  - Each file is written beside its target and renamed. What is replaced or removed is kept in the restore point, and
    O(step=recover) puts it back, except where somebody has edited the file since.
  - Secret-looking values are masked in the diff. Content and values of keys are not logged.
author:
  - changeops.rollback contributors (@changeops)
extends_documentation_fragment:
  - changeops.rollback.phase
options:
  repo:
    description: The app's git work tree. Needed for items in git and for relative paths.
    type: path
  paths:
    description:
      - What to restore. A path, relative to O(repo) or absolute, of a file or folder in git.
      - Or a dictionary with C(path) and further keys. A symlink at C(path) is followed.
      - C(source) is the absolute path of a kept copy on the host.
      - C(content) is the whole text of the file.
      - C(template) is a Jinja template on the controller, in C(templates/) beside the inventory or the playbook, or
        relative to these.
      - C(keys) changes an environment file (C(KEY=value) lines). A dictionary gives each key its value, and V(null)
        removes it. A list, with C(source), takes these keys from there. All other lines stay as they are.
      - C(owner), C(group) and C(mode) (V('0640')) are what the file gets. By default they stay, and a new file belongs
        to the owner of its folder or, with C(source), is as that one.
      - C(validate) is a command that ends with 0 where the new file is valid, as a list of arguments or as text that is
        split like a shell does it. C(%s) stands for the new file, which lies beside its place, with owner and mode. It
        runs in O(step=preflight) and again right before the file takes its place, and not in check mode.
      - C(secret=true) shows nothing of the file in the diff. A new file then has mode 0600.
    type: list
    elements: raw
    default: []
  validate:
    description:
      - A command that ends with 0 where all of the config is valid, for files that include each other. It runs once all
        of them are in place. Where it fails the files become what they were, and the step fails.
      - A list of arguments, or text that is split like a shell does it. No shell runs.
    type: raw
  private:
    description:
      - Content and values of keys, as JSON. Set by the action plugin from O(paths), so that they are not logged.
    type: str
  commits:
    description:
      - The commits of the change, as hashes, tags or ranges of them. Config in git is taken from the first parent of
        the oldest one, and the files that these commits added are removed.
    type: list
    elements: str
    default: []
  commit:
    description:
      - The commit (hash or tag) that config in git is taken from, instead of the one before O(commits).
      - Without O(commits), all tracked files of a listed folder that this commit does not have are removed.
    type: str
    default: ""
seealso:
  - module: changeops.rollback.backup
  - module: changeops.rollback.git_revert
"""

EXAMPLES = r"""
- name: Restore the config from before change C001
  changeops.rollback.config_restore:
    repo: /srv/shop
    commits: [4f1c2e9]
    paths:
      - config
      - path: /etc/shop/shop.env
        source: /var/lib/shop/kept/C001/shop.env

- name: Put the proxy's config back, and two variables of the app
  changeops.rollback.config_restore:
    paths:
      - path: /etc/nginx/nginx.conf
        template: nginx.conf.j2
        validate: [nginx, -t, -c, "%s"]
      - path: /etc/shop/shop.env
        keys:
          WORKERS: "4"
          NEW_CHECKOUT: null
"""

RETURN = r"""
msg:
  description: What was done, or what is to be done, in a sentence.
  returned: always
  type: str
  sample: /srv/shop/config/app.toml is what it was before the change again.
pending:
  description: Whether O(step=main) would change something.
  returned: for O(step=preflight)
  type: bool
  sample: true
before:
  description: SHA-256 of each file, by path, as preflight found it. V(null) for a file that is not there.
  returned: success
  type: dict
  sample: {/srv/shop/config/app.toml: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08}
after:
  description: The same afterwards.
  returned: success
  type: dict
  sample: {/srv/shop/config/app.toml: 60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752}
"""

from ansible_collections.changeops.rollback.plugins.module_utils._config_restore import can_undo, preflight, recover
from ansible_collections.changeops.rollback.plugins.module_utils._config_restore import main as main_step
from ansible_collections.changeops.rollback.plugins.module_utils._phase import run_module


def main():
    run_module(
        {
            "repo": {"type": "path"},
            "paths": {"type": "list", "elements": "raw", "default": []},
            "commits": {"type": "list", "elements": "str", "default": []},
            "commit": {"type": "str", "default": ""},
            "validate": {"type": "raw"},
            "private": {"type": "str", "no_log": True},
        },
        preflight,
        main_step,
        recover,
        subject=lambda params: params["repo"] or "",
        phase="config_restore",
        can_undo=can_undo,
    )


if __name__ == "__main__":
    main()
