# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Repositories that git_revert cannot write, or should not: another owner, a read-only or a full file system."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.plugins.module_utils._restore_point import RestorePoint
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.git_work_tree import snapshot
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal

NOBODY = 65534


@pytest.fixture
def open_repo(repo, monkeypatch):
    """The repository where every user can come to, with root as its owner."""
    if os.geteuid():
        pytest.skip("only root may become another user")
    place = Path(tempfile.mkdtemp(prefix="changeops-"))
    place.chmod(0o755)
    repo.path.parent.rename(place / "srv")
    repo.path = place / "srv" / "shop"
    repo.path.chmod(0o755)
    repo.point = RestorePoint(str(place / "state" / "R1" / "1-git_revert"))
    (place / "state").mkdir()
    shutil.copytree(os.environ["HOME"], str(place / "home"))
    monkeypatch.setenv("HOME", str(place / "home"))
    subprocess.run(["chown", "-R", str(NOBODY), str(place / "state"), str(place / "home")], check=True)
    yield repo
    for path in (repo.path, place / "state"):
        subprocess.run(["umount", str(path)], check=False, stderr=subprocess.DEVNULL)
    shutil.rmtree(str(place))


def as_nobody(repo, step):
    """Run a step as another user than root; returns what it refused with, or nothing."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        said = "failed"
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            os.chdir("/")
            repo.run(step)
            said = ""
        except PhaseError as exc:
            said = str(exc)
        finally:
            os.write(write, said.encode())
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read) as stream:
        return stream.read()


def as_root(repo, step):
    try:
        repo.run(step)
    except PhaseError as exc:
        return str(exc)
    return ""


def give_away(repo):
    subprocess.run(["chown", "-R", str(NOBODY), str(repo.path)], check=True)


def root_on_theirs(repo):
    give_away(repo)
    return as_root


def root_on_theirs_that_git_trusts(repo):
    give_away(repo)
    with open(os.path.join(os.environ["HOME"], ".gitconfig"), "a") as config:
        config.write("[safe]\ndirectory = *\n")
    return as_root


def nobody_on_roots(repo):
    return as_nobody


def after_a_careless_root(repo):
    give_away(repo)
    folder = next(path for path in (repo.path / ".git" / "objects").glob("??"))
    os.chown(str(folder), 0, 0)
    return as_nobody


def mount(path, size):
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(path)], check=False, capture_output=True
    )
    if done.returncode:
        pytest.skip("only root outside of a container may mount a file system")


def mounted(repo, *more):
    """Mount a small file system in the place of the repository."""
    kept = repo.path.with_name("kept")
    repo.path.rename(kept)
    repo.path.mkdir()
    mount(repo.path, "8m")
    shutil.copytree(str(kept), str(repo.path), symlinks=True, dirs_exist_ok=True)


def read_only(repo):
    mounted(repo)
    subprocess.run(["mount", "-o", "remount,ro", str(repo.path)], check=True)
    return as_root


def full(repo):
    mounted(repo)
    return as_root


def full_state(repo):
    """The copy that is rehearsed in has no room for the files of the app."""
    repo.commit("Something large", {"large": "x" * (2 << 20)})
    mount(repo.point.state_dir, "1m")
    return as_root


REFUSALS = [
    Refusal(
        "a repository of somebody else",
        "<repo> belongs to nobody, and this task runs as root, so git refuses to work in it. "
        "Run the phase as the owner: become_user: nobody",
        root_on_theirs,
    ),
    Refusal(
        "a repository of somebody else that git was told to trust",
        "<repo> belongs to nobody, and what root writes there nobody could not change any more. "
        "Run the phase as the owner: become_user: nobody",
        root_on_theirs_that_git_trusts,
    ),
    Refusal(
        "a repository of root",
        "<repo> belongs to root, and this task runs as nobody, so git refuses to work in it. "
        "Run the phase as the owner: become_user: root",
        nobody_on_roots,
    ),
    Refusal(
        "files in the repository that somebody else made",
        "nobody may not write in <repo>/.git/objects/<folder>, perhaps because somebody worked there as another user. "
        "Give it back: chown -R nobody <repo>",
        after_a_careless_root,
    ),
    Refusal(
        "a read-only file system",
        "<repo> is on a file system that is mounted read-only. See why (dmesg), then make it writable: "
        "mount -o remount,rw <repo>",
        read_only,
    ),
    Refusal(
        "a full file system",
        "The file system of <repo> is full: the switch needs 16 MB, and <number> MB are free (or inodes are used up). "
        "Make room: df -h <repo> ; df -i <repo>",
        full,
    ),
    Refusal(
        "a full file system under the restore point",
        "'git -C <folder> checkout --quiet --force --detach <commit>' failed with exit code <number>: <what git said> "
        "The file system of <folder>, where the rollback is rehearsed, has 0 MB left (or inodes are used up). "
        "Make room: df -h <folder> ; df -i <folder>",
        full_state,
    ),
]


@pytest.mark.parametrize("row", REFUSALS, ids=[row.case for row in REFUSALS])
def test_refused(open_repo, row):
    run = row.given(open_repo)
    before = snapshot(open_repo.path)
    said = run(open_repo, "preflight")
    assert row.matches(said), said
    assert snapshot(open_repo.path) == before


def test_the_owner_need_not_be_root(open_repo):
    give_away(open_repo)
    assert as_nobody(open_repo, "main") == ""
    assert (open_repo.path / "app.py").read_text() == "one\n"
    owners = {path.lstat().st_uid for path in open_repo.path.rglob("*")}
    assert owners == {NOBODY}
