# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An environment file and a server's config outside git, for the tests of config_restore."""

from __future__ import annotations

import json
import os
import sys

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils import _config_restore as phase
from ansible_collections.changeops.rollback.plugins.module_utils._phase import run_step
from ansible_collections.changeops.rollback.plugins.module_utils._restore_point import RestorePoint

FUNCTIONS = {"preflight": phase.preflight, "main": phase.main, "recover": phase.recover}
ROOT = os.geteuid() == 0
OTHER = 4711 if ROOT else os.geteuid()
NOBODY = 0xFFFFFFFF  # in an ACL, for entries that are about nobody in particular
ENV = "# the shop\nexport DEBUG=yes # not now\n\nPASSWORD='hun ter2'\nWORKERS=2\nLIST=\"a\\\nb\"\n"
SERVER = "listen 80;\n"

# A command that notes what it was called with and how it found the file; it wants the word `listen` in it.
CHECKER = """
import json, os, sys
name = sys.argv[-1]
text = open(name).read()
seen = {"name": name, "text": text, "mode": os.stat(name).st_mode & 0o7777, "uid": os.stat(name).st_uid}
seen["there"] = open(sys.argv[1]).read()
open(sys.argv[2], "a").write(json.dumps(seen) + "\\n")
if "listen" not in text:
    sys.exit("nginx: [emerg] password = canary two; unknown directive in " + name)
"""


class Host:
    """An environment file and a server's config, outside git."""

    def __init__(self, tmp_path):
        self.etc = tmp_path / "etc"
        self.etc.mkdir()
        self.env, self.server = self.etc / "shop.env", self.etc / "server.conf"
        self.env.write_text(ENV)
        self.env.chmod(0o640)
        self.server.write_text(SERVER)
        os.chown(self.server, OTHER, -1)
        for path in (self.env, self.server):
            os.utime(path, ns=(10**18, 10**18 + 7))
        self.kept = tmp_path / "kept.env"
        self.kept.write_text("DEBUG=no\nWORKERS='2'\nPASSWORD=other\n")
        self.checker = tmp_path / "checker.py"
        self.checker.write_text(CHECKER)
        self.seen = tmp_path / "seen"
        self.part = tmp_path / "state" / "R1" / "5-config_restore"

    def step(self, step, *paths, check=False, **params):
        given = {"repo": "", "paths": list(paths), "commits": [], "commit": "", "timeout": 60.0, "wait": 1.0}
        return run_step(step, dict(given, **params), RestorePoint(str(self.part)), FUNCTIONS, check)

    def validate(self):
        return [sys.executable, str(self.checker), str(self.server), str(self.seen), "%s"]

    def calls(self):
        return [json.loads(line) for line in self.seen.read_text().splitlines()] if self.seen.exists() else []

    def state(self):
        found = {}
        for path in sorted(self.etc.rglob("*")):
            status = path.lstat()
            content = os.readlink(path) if path.is_symlink() else path.read_bytes()
            found[path.name] = (status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, content)
        return found


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)
