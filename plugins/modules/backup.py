#!/usr/bin/python
# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: backup
short_description: Keep code, config and state of a host in the restore point
description:
  - Keeps config files and folders with owner, mode and time, and with the SHA-256 of each file, verified after writing.
    The copies have mode 0600.
  - Sets a backup ref in git, C(refs/changeops/<restore point>/before), without leaving the branch.
  - Writes C(manifest.json), which also holds what the preflights of the run's other phases found.
  - Once the manifest is there the backup is complete. From then on it is verified and never made anew, because what a
    resumed run finds is a half-rolled-back host.
  - Without O(restore_point), for use outside a run, backups are kept in C(standalone/backup-kept/<time>). A new one is
    made when something differs from the newest one. The last five are kept.
author:
  - changeops.rollback contributors (@changeops)
extends_documentation_fragment:
  - changeops.rollback.phase
options:
  repo:
    description: The app's git work tree. Without it only files are kept.
    type: path
  paths:
    description:
      - Config files and folders to keep, relative to O(repo) or absolute. Folders are kept with all that is in them,
        symlinks as symlinks.
      - An item can also be a dictionary with C(path). Other keys are for M(changeops.rollback.config_restore).
      - A path that does not exist is an error, unless git knows it from earlier commits or the item says where its
        content comes from (C(source), C(content), C(template)). Then its absence is noted.
    type: list
    elements: raw
    default: []
seealso:
  - module: changeops.rollback.config_restore
  - module: changeops.rollback.git_revert
"""

EXAMPLES = r"""
- name: Keep the config of the shop before an intervention
  changeops.rollback.backup:
    repo: /srv/shop
    paths:
      - config
      - /etc/shop/shop.env
    restore_point: before-C001/backup
"""

RETURN = r"""
msg:
  description: What was done, or what is to be done, in a sentence.
  returned: always
  type: str
  sample: Kept 12 files in /var/lib/changeops/C001-20261122T2330/1-backup and verified them.
pending:
  description: Whether O(step=main) would change something. V(null) here, because a backup only accompanies a change.
  returned: for O(step=preflight)
  type: bool
  sample: null
before:
  description: The commit and branch that preflight found. The branch is V(null) where HEAD is detached.
  returned: success
  type: dict
  sample: {commit: 8ae1f0c2b1d4c9a1f5e38d1f6b7b1d1c0a9e8d7f, branch: main}
after:
  description: The same, with the number of files that are kept.
  returned: success
  type: dict
  sample: {commit: 8ae1f0c2b1d4c9a1f5e38d1f6b7b1d1c0a9e8d7f, branch: main, files: 12}
files:
  description: Number of files that are kept, folders and symlinks not counted.
  returned: for O(step=main)
  type: int
  sample: 12
bytes:
  description: Size of the files that are kept.
  returned: for O(step=main)
  type: int
  sample: 48212
ref:
  description: The backup ref. V(null) without O(repo).
  returned: for O(step=main)
  type: str
  sample: refs/changeops/C001-20261122T2330/before
"""

from ansible_collections.changeops.rollback.plugins.module_utils._backup import main as main_step
from ansible_collections.changeops.rollback.plugins.module_utils._backup import preflight, recover
from ansible_collections.changeops.rollback.plugins.module_utils._phase import run_module


def main():
    run_module(
        {
            "repo": {"type": "path"},
            "paths": {"type": "list", "elements": "raw", "default": []},
        },
        preflight,
        main_step,
        recover,
        subject=lambda params: params["repo"] or "",
        phase="backup",
    )


if __name__ == "__main__":
    main()
