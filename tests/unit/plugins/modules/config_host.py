# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with config in a repository and outside it, for the tests of config_restore."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils import _config_restore as phase
from ansible_collections.changeops.rollback.plugins.module_utils._phase import run_step
from ansible_collections.changeops.rollback.plugins.module_utils._restore_point import RestorePoint

FUNCTIONS = {name: getattr(phase, name) for name in ("preflight", "main", "can_undo", "recover")}
ROOT = os.geteuid() == 0
OTHER_UID = 4711 if ROOT else os.geteuid()
GOOD_ENV, BAD_ENV = "DEBUG=no\nPASSWORD=hunter2\n", "DEBUG=yes\nPASSWORD=hunter3\n"


class Host:
    """A repository at a bad release, with config in it and outside it.

    The change edits app.ini, makes run.sh executable, adds new/added.ini, removes old.ini, turns the symlink `current`
    elsewhere, and turns the folder sites/ into a file. A commit before it and one after it stand beside it.
    """

    def __init__(self, tmp_path):
        self.tmp = tmp_path
        self.repo = tmp_path / "shop"
        self.config = self.repo / "config"
        self.env = tmp_path / "etc" / "shop.env"
        self.kept = tmp_path / "kept" / "C001" / "shop.env"
        self.part = tmp_path / "state" / "R1" / "5-config_restore"
        self.paths = ["config", {"path": str(self.env), "source": str(self.kept)}]

    def build(self):
        (self.config / "sites").mkdir(parents=True)
        self.git("init", "-q", "-b", "main")
        self.write("app.ini", "debug = no\n")
        self.write("run.sh", "#!/bin/sh\n")
        self.write("old.ini", "old = yes\n")
        self.write("sites/a.ini", "a\n")
        (self.config / "current").symlink_to("app.ini")
        self.good = self.commit("Good")
        self.write("app.ini", "debug = yes\n")
        self.write("new/added.ini", "added\n")
        (self.config / "run.sh").chmod(0o755)
        (self.config / "old.ini").unlink()
        (self.config / "current").unlink()
        (self.config / "current").symlink_to("run.sh")
        shutil.rmtree(self.config / "sites")
        self.write("sites", "a file now\n")
        self.change = self.commit("Bad")
        (self.repo / "code.py").write_text("later\n")
        self.commit("Later")
        self.write("local.ini", "untracked\n")
        for path, text in ((self.env, BAD_ENV), (self.kept, GOOD_ENV)):
            path.parent.mkdir(parents=True)
            path.write_text(text)

    def copy(self, tmp_path):
        """The same host again, elsewhere: building the repository takes longer than a test."""
        shutil.copytree(self.tmp, tmp_path, symlinks=True, dirs_exist_ok=True)
        new = Host(tmp_path)
        new.good, new.change = self.good, self.change
        new.env.chmod(0o640)
        os.chown(new.env, OTHER_UID, -1)
        for path in (new.env, new.config / "app.ini"):
            os.utime(path, ns=(10**18, 10**18 + 7))
        return new

    def write(self, name, text):
        path = self.config / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def git(self, *args):
        identity = ["-c", "user.name=T", "-c", "user.email=t@example.org"]
        done = subprocess.run(["git", *identity, *args], cwd=self.repo, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def commit(self, message):
        self.git("add", ".")
        self.git("commit", "-qm", message)
        return self.git("rev-parse", "HEAD")

    def step(self, step, check=False, **params):
        given = {
            "repo": str(self.repo),
            "paths": self.paths,
            "commits": [self.change[:12]],
            "commit": "",
            "timeout": 60.0,
            "wait": 1.0,
        }
        return run_step(step, dict(given, **params), RestorePoint(str(self.part)), FUNCTIONS, check)

    def differs_from_good(self):
        """Names of config files that differ from the good commit, whatever the repository's own index says."""
        os.environ["GIT_INDEX_FILE"] = str(self.tmp / "index")
        try:
            self.git("read-tree", self.good)
            return self.git("diff", "--name-only", "--", "config")
        finally:
            del os.environ["GIT_INDEX_FILE"]

    def state(self):
        """Everything on the host outside the restore point: kind, content, mode and owner."""
        found = {}
        for start in (self.config, self.env.parent, self.kept.parent):
            for path in [start, *start.rglob("*")]:
                status = path.lstat()
                content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
                found[os.path.relpath(path, self.tmp)] = (status.st_mode, status.st_uid, content)
        return found

    def times(self):
        return {path: path.lstat().st_mtime_ns for path in (self.env, self.config / "app.ini")}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    host = Host(tmp_path_factory.mktemp("built"))
    host.build()
    return host


@pytest.fixture
def host(built, tmp_path):
    return built.copy(tmp_path)
