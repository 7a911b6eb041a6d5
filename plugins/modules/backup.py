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
  - O(archive) and O(databases) keep more, for people who want it. It is never restored by itself, because what is
    written after the backup is not in it; the result says what to type.
  - Once the manifest is there the backup is complete. From then on it is verified and never made anew, because what a
    resumed run finds is a half-rolled-back host.
  - Without O(restore_point), for use outside a run, backups are kept in C(standalone/backup-kept/<time>). A new one is
    made when something differs from the newest one, and always with O(archive) or O(databases). The last five are kept.
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
  archive:
    description:
      - Files and folders, absolute, to keep with all that is in them as C(archive.tar.gz), with owners, modes, ACLs and
        extended attributes. Symlinks are not followed. Sockets and pipes are left out with a warning, a device is an
        error. Needs GNU tar.
      - A file that changes while it is read is named in a warning.
    type: list
    elements: str
    default: []
  exclude:
    description:
      - What to leave out of O(archive). A pattern with a slash is compared with the absolute path, any other with the
        name. C(*) and C(?) stand for any characters. What is in a folder that is left out is left out with it.
    type: list
    elements: str
    default: []
  databases:
    description:
      - Databases to dump as a whole while the app runs. Each dump is consistent, verified, and has mode 0600.
    type: list
    elements: dict
    default: []
    suboptions:
      sqlite:
        description: The file of a SQLite database. It is copied by SQLite's online backup.
        type: path
      postgresql:
        description:
          - A PostgreSQL database for C(pg_dump), as a URL without a password or as the name of a service in
            C(pg_service.conf). The password comes from O(environment_files), as C(PGPASSWORD) or C(PGPASSFILE).
        type: str
      postgresql_env:
        description: The name of a variable, of O(environment_files) say, that holds the URL with the password.
        type: str
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

- name: Keep uploads and the whole database, too
  changeops.rollback.backup:
    archive: [/srv/shop/uploads]
    exclude: ["*.tmp"]
    databases:
      - postgresql_env: SHOP_DATABASE_URL
    environment_files: [/etc/shop/shop.env]
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
archive:
  description: The archive. Where it lies below the restore point, its size, SHA-256, number of files and duration in
    seconds, and what to type to look into it and to restore it. V(null) without O(archive).
  returned: for O(step=main) with O(archive) or O(databases)
  type: dict
  sample:
    kept: archive.tar.gz
    size: 52311
    sha256: 60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752
    files: 120
    seconds: 0.4
    look: tar -tvzf /var/lib/changeops/C001-20261122T2330/1-backup/archive.tar.gz
    restore: tar -xpzf /var/lib/changeops/C001-20261122T2330/1-backup/archive.tar.gz -C /
databases:
  description: The dumps, each as the archive.
  returned: for O(step=main) with O(archive) or O(databases)
  type: list
  elements: dict
  sample:
    - name: SQLite database /srv/shop/shop.db
      kept: databases/1.sqlite
      size: 1273856
      sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
      seconds: 0.2
      restore: cp /var/lib/changeops/C001-20261122T2330/1-backup/databases/1.sqlite /srv/shop/shop.db
"""

from ansible_collections.changeops.rollback.plugins.module_utils._backup import main as main_step
from ansible_collections.changeops.rollback.plugins.module_utils._backup import preflight, recover
from ansible_collections.changeops.rollback.plugins.module_utils._backup_databases import DATABASES_ARGUMENT
from ansible_collections.changeops.rollback.plugins.module_utils._phase import run_module


def main():
    run_module(
        {
            "repo": {"type": "path"},
            "paths": {"type": "list", "elements": "raw", "default": []},
            "archive": {"type": "list", "elements": "str", "default": []},
            "exclude": {"type": "list", "elements": "str", "default": []},
            "databases": DATABASES_ARGUMENT,
        },
        preflight,
        main_step,
        recover,
        subject=lambda params: params["repo"] or "",
        phase="backup",
    )


if __name__ == "__main__":
    main()
