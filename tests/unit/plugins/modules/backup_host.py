# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with uploads and a SQLite database, for the tests of what backup keeps on request."""

from __future__ import annotations

import contextlib
import os
import sqlite3

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils import _backup as backup
from ansible_collections.changeops.rollback.plugins.module_utils._phase import run_step
from ansible_collections.changeops.rollback.plugins.module_utils._restore_point import RestorePoint

FUNCTIONS = {"preflight": backup.preflight, "main": backup.main, "recover": backup.recover}
ROOT = os.geteuid() == 0
OTHER = 4711 if ROOT else os.geteuid()
NEW = "CREATE TABLE invoice (id INTEGER PRIMARY KEY, total INTEGER, note TEXT)"
PLAIN = {name: value for name, value in os.environ.items() if not name.startswith("PG")}


class Host:
    """Uploads, a SQLite database, and a restore point."""

    def __init__(self, tmp_path):
        self.tmp = tmp_path
        self.uploads = tmp_path / "srv" / "uploads"
        (self.uploads / "a b" / "cache").mkdir(parents=True)
        (self.uploads / "one.txt").write_text("one\n")
        os.link(str(self.uploads / "one.txt"), str(self.uploads / "two.txt"))
        (self.uploads / "a b" / "três\n.txt").write_text("three\n")
        (self.uploads / "a b" / "cache" / "x").write_text("cached\n")
        (self.uploads / "a b" / "left.tmp").write_text("temporary\n")
        (self.uploads / "link").symlink_to("/nowhere")
        with (self.uploads / "sparse").open("wb") as stream:
            stream.truncate(64 << 20)
        (self.uploads / "one.txt").chmod(0o640)
        os.chown(str(self.uploads / "one.txt"), OTHER, -1)
        os.utime(str(self.uploads / "one.txt"), (10**9, 10**9))
        self.database = tmp_path / "srv" / "shop.db"
        self.part = tmp_path / "state" / "R1" / "1-backup"
        self.environ = {}

    def fill(self, rows=3, journal="wal"):
        with contextlib.closing(sqlite3.connect(str(self.database))) as con:
            con.execute(f"PRAGMA journal_mode={journal}")
            con.execute(NEW)
            con.executemany("INSERT INTO invoice VALUES (NULL, ?, 'x')", [(n,) for n in range(rows)])
            con.commit()

    def step(self, step, check=False, part=None, timeout=60.0, **params):
        part = str(part or self.part)
        given = {"repo": "", "paths": [], "restore_point": part, "timeout": timeout, "wait": 1.0, **params}
        return run_step(step, given, RestorePoint(part), FUNCTIONS, check)

    def everything(self):
        found = {}
        for path in sorted((self.tmp / "srv").rglob("*")):
            status = path.lstat()
            content = os.readlink(str(path)) if path.is_symlink() else status.st_size
            if path.is_file() and not path.is_symlink() and status.st_size < 32 << 20:
                content = path.read_bytes()
            found[str(path)] = (status.st_mode, status.st_uid, status.st_mtime_ns // 10**9, content)
        return found


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)
