# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running git: what it tells about a repository, and that nothing from outside changes that."""

from __future__ import annotations

import os
import subprocess

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils._command import Commands, PhaseError
from ansible_collections.changeops.rollback.plugins.module_utils._git import Git

BINARY = b"\xff\x00\r\n"


@pytest.fixture
def git(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    path = tmp_path / "repo"
    made = Git(Commands(60), path)
    subprocess.run(["git", "init", "--quiet", "--initial-branch=main", str(path)], check=True)
    for name, value in (("name", "U"), ("email", "u@example.org")):
        made.run("config", f"user.{name}", value)
    (path / "conf").mkdir()
    (path / "conf" / "a b.bin").write_bytes(BINARY)
    (path / "run.sh").write_text("#!/bin/sh\n")
    (path / "run.sh").chmod(0o755)
    made.run("add", "--all")
    made.run("commit", "--quiet", "-m", "Größe\n\nBody", env={"GIT_COMMITTER_DATE": "2026-11-20T00:00:00Z"})
    made.run("tag", "-a", "v1", "-m", "v1")
    return made


def test_what_it_tells(git):
    head = git.line("rev-parse", "HEAD")
    assert (git.head(), git.branch(), git.top()) == (head, "main", git.repo)
    assert Git(git.commands, git.repo / "conf").top() == git.repo
    assert (git.subject("HEAD"), git.commit_time("HEAD")) == ("Größe", 1795132800)
    assert git.git_paths("index", "a") == [git.repo / ".git" / "index", git.repo / ".git" / "a"]
    git.run("checkout", "--quiet", "--detach")
    assert git.branch() == ""


@pytest.mark.parametrize("edit", ["content", "staged", "deleted", "mode"])
def test_dirty(git, edit):
    file = git.repo / "conf" / "a b.bin"
    (git.repo / "untracked").touch()
    os.utime(file, (1, 1))
    assert git.is_clean()
    index = (git.repo / ".git" / "index").read_bytes()
    if edit == "deleted":
        file.unlink()
    elif edit == "mode":
        file.chmod(0o755)
    else:
        file.write_bytes(b"other")
    if edit == "staged":
        git.run("add", str(file))
        index = (git.repo / ".git" / "index").read_bytes()
    assert git.dirty() == ["conf/a b.bin"]
    assert (git.repo / ".git" / "index").read_bytes() == index  # looking does not write


@pytest.mark.parametrize("rev", ["hash", "short", "v1"])
def test_resolve(git, rev):
    head = git.head()
    rev = {"hash": head, "short": head[:8]}.get(rev, rev)
    assert git.resolve(rev) == git.resolve_fixed(rev) == head


@pytest.mark.parametrize("rev", ["main", "HEAD", "@"])
def test_names_that_move(git, rev):
    assert git.resolve(rev) == git.head()
    with pytest.raises(PhaseError, match=f"same commit at all times.*{git.head()}"):
        git.resolve_fixed(rev)


@pytest.mark.parametrize("rev", ["no-such", "1234567", "", "--all", "HEAD~9"])
def test_no_such_commit(git, rev):
    for resolve in (git.resolve, git.resolve_fixed):
        with pytest.raises(PhaseError, match=f"no commit '{rev}'.*git -C .* fetch"):
            resolve(rev)


def test_export_and_show(git, tmp_path):
    git.run("rm", "--quiet", "-r", "conf")
    git.run("commit", "--quiet", "-m", "Away")
    before = sorted(git.repo.rglob("*"))
    git.export("HEAD~1", tmp_path / "all")
    git.export("HEAD~1", tmp_path / "some", "conf", "absent")
    assert (tmp_path / "all" / "conf" / "a b.bin").read_bytes() == BINARY
    assert os.access(tmp_path / "all" / "run.sh", os.X_OK)
    assert sorted(p.name for p in (tmp_path / "some").rglob("*")) == ["a b.bin", "conf"]
    assert git.show("HEAD~1", "conf/a b.bin") == BINARY
    assert git.show("HEAD", "conf/a b.bin") is None
    assert sorted(git.repo.rglob("*")) == before
    assert git.is_clean()


def test_the_environment_sends_git_nowhere_else(git, tmp_path, monkeypatch):
    head = git.head()
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"):
        monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
    again = Git(Commands(60), git.repo)
    assert (again.head(), again.is_clean()) == (head, True)


def test_no_repository(tmp_path):
    for path, words in ((tmp_path / "absent", "There is no directory"), (tmp_path, "is not a git work tree")):
        with pytest.raises(PhaseError, match=words):
            Git(Commands(60), path).top()


def test_no_commit_yet(tmp_path):
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    with pytest.raises(PhaseError, match="no commit yet"):
        Git(Commands(60), tmp_path).head()
