# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A git work tree with a release, a bad commit and a later one, for the tests of git_revert."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.plugins.module_utils._phase import run_step
from ansible_collections.changeops.rollback.plugins.module_utils._restore_point import RestorePoint
from ansible_collections.changeops.rollback.plugins.modules import git_revert

STEPS = {
    "preflight": git_revert.preflight,
    "main": git_revert.switch,
    "recover": git_revert.recover,
    "can_undo": git_revert.can_undo,
    "close": git_revert.close,
    "rehearse": git_revert.rehearse,
}
GITCONFIG = "[user]\nname = U\nemail = u@example.org\n[init]\ndefaultBranch = main\n"
DEFAULTS = {name: spec.get("default") for name, spec in git_revert.ARGUMENTS.items()}


class Repo:
    """A work tree with history, and one run of the phase on it."""

    def __init__(self, path: Path, state: Path) -> None:
        self.path = path
        self.point = RestorePoint(str(state / "R1" / "1-git_revert"))
        self.options: dict = {}

    def git(self, *args: str, check: bool = True, **env: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(self.path), *args],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", **env},
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout.rstrip("\n")

    def write(self, files: dict) -> None:
        for name, text in files.items():
            file = self.path / name
            if text is None:
                file.unlink()
            else:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)

    def commit(self, subject: str, files: dict, when: str = "2026-11-01T10:00:00Z") -> str:
        self.write(files)
        self.git("add", "--all")
        self.git("commit", "--quiet", "-m", subject, GIT_COMMITTER_DATE=when, GIT_AUTHOR_DATE=when)
        return self.head

    @property
    def head(self) -> str:
        return self.git("rev-parse", "HEAD")

    @property
    def branch(self) -> str:
        return self.git("branch", "--show-current")

    @property
    def refs(self) -> str:
        return self.git("for-each-ref", "refs/changeops")

    def run(self, step: str, check: bool = False, **options):
        params = {
            **DEFAULTS,
            "step": step,
            "repo": str(self.path),
            "environment_files": [],
            "timeout": 60.0,
            "wait": 5.0,
            **self.options,
            **options,
        }
        return run_step(step, params, self.point, STEPS, check)

    def refused(self, step: str = "preflight", **options) -> str:
        before = snapshot(self.path)
        with pytest.raises(PhaseError) as caught:
            self.run(step, **options)
        assert snapshot(self.path) == before
        return str(caught.value)


def snapshot(path: Path) -> dict:
    """Every file below ``path``, git's own included: content, mode, time.

    Not the time of git's objects: git renews it when it would write one that is there already.
    """
    return {
        str(file.relative_to(path)): (
            os.readlink(file) if file.is_symlink() else file.read_bytes(),
            file.lstat().st_mode,
            0 if "objects" in file.parts else file.lstat().st_mtime_ns,
        )
        for file in path.rglob("*")
        if file.is_symlink() or file.is_file()
    }


def tree(path: Path) -> dict:
    """The work tree's files and their content."""
    return {name: text for name, (text, _mode, _time) in snapshot(path).items() if not name.startswith(".git/")}


ROLLED_BACK = {"app.py": b"one\n", "old.py": b"old\n", "lib/x.py": b"x\n", "README": b"more\n"}
