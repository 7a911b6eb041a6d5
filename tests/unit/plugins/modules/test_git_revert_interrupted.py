# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The phase git_revert interrupted at every point, and put back."""

from __future__ import annotations

import os
import shutil
import signal
import time

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.git_work_tree import (
    ROLLED_BACK,
    tree,
)


def test_moved_between_preflight_and_main(repo):
    repo.run("preflight")
    repo.commit("Deploy", {"README": "newer\n"})
    message = repo.refused("main")
    assert "Somebody moved" in message
    assert "rehearsed from there" in message
    assert repo.run("preflight").pending
    assert repo.run("main").changed
    assert tree(repo.path) == {**ROLLED_BACK, "README": b"newer\n"}


@pytest.mark.parametrize("file", ["README", "app.py"])
def test_edited_between_preflight_and_main(repo, file):
    repo.run("preflight")
    repo.write({file: "mine\n"})
    assert f"uncommitted changes in {file}" in repo.refused("main")


# How far main may have come when it was killed. Each leaves the host as that would.


def nothing_done(repo):
    pass


def fetched(repo):
    repo.git("fetch", "--quiet", str(repo.point.scratch_path / "tree"), f"+refs/heads/target:{ref(repo)}")
    note(repo)


def noted(repo):
    fetched(repo)
    note(repo, "switching")


def half_written(repo):
    noted(repo)
    (repo.path / ".git" / "index.lock").write_bytes(b"half")
    (repo.path / ".git" / "HEAD.lock").touch()
    repo.write({"app.py": "on", "old.py": "o", "new/y.py": None})


def index_written(repo):
    noted(repo)
    repo.git("read-tree", "-u", "--reset", target(repo))
    (repo.path / ".git" / "refs" / "heads" / "main.lock").touch()


def switched(repo):
    noted(repo)
    repo.git("reset", "--quiet", "--hard", target(repo))


def installing(repo):
    switched(repo)
    note(repo, "installing")


def target(repo):
    return repo.point.read()["prepared"]["target"]


def ref(repo):
    return "refs/changeops/R1/1-git_revert"


def note(repo, stage="rehearsed"):
    repo.point.write(progress="started", prepared={**repo.point.read()["prepared"], "stage": stage})


STAGES = [nothing_done, fetched, noted, half_written, index_written, switched, installing]


@pytest.mark.parametrize("stage", STAGES)
def test_resume(repo, stage):
    repo.run("preflight")
    goal = target(repo)
    stage(repo)
    if stage is not fetched:
        shutil.rmtree(repo.point.scratch_path)
    assert repo.run("preflight", install=["true"]).pending
    report = repo.run("main", install=["touch", "installed"])
    assert (report.changed, repo.head, repo.branch) == (True, goal, "main")
    assert (repo.path / "installed").exists()
    assert {**tree(repo.path), "installed": None} == {**ROLLED_BACK, "installed": None}
    assert repo.git("status", "--porcelain", "--untracked-files=no") == ""
    assert repo.refs == ""
    assert not list((repo.path / ".git").rglob("*.lock"))
    assert not repo.run("main", install=["false"]).changed


@pytest.mark.parametrize("stage", STAGES)
def test_recover(repo, stage):
    repo.run("preflight")
    stage(repo)
    report = repo.run("recover", install=["touch", "installed"])
    moved = stage not in (nothing_done,)
    assert report.changed is moved
    assert (repo.head, repo.branch, repo.refs) == (repo.last, "main", "")
    assert (repo.path / "installed").exists() is moved
    assert {**tree(repo.path), "installed": None} == {**repo.files, "installed": None}
    assert repo.git("status", "--porcelain", "--untracked-files=no") == ""
    assert not list((repo.path / ".git").rglob("*.lock"))
    assert not repo.run("recover", install=["false"]).changed


@pytest.mark.parametrize("child", ["goes on", "is killed too"])
def test_killed_in_the_middle_of_the_switch(repo, tmp_path, child):
    """Only main is killed; the git that it started is writing a file at that moment, slowly, and may go on."""
    slow = tmp_path / "slow"
    slow.write_text(f"#!/bin/sh\necho $PPID > {tmp_path}/pid\ntest -e {tmp_path}/quick || sleep 2\ncat\n")
    slow.chmod(0o755)
    repo.run("preflight")
    repo.git("config", "filter.slow.smudge", str(slow))
    (repo.path / ".git" / "info" / "attributes").write_text("old.py filter=slow\n")
    main = os.fork()
    if main == 0:
        repo.run("main")
        os._exit(0)
    until = time.monotonic() + 20
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < until
        time.sleep(0.01)
    os.kill(main, signal.SIGKILL)
    os.waitpid(main, 0)
    if child == "is killed too":
        os.killpg(os.getpgid(int((tmp_path / "pid").read_text())), signal.SIGKILL)
    assert (repo.path / ".git" / "index.lock").exists()
    (tmp_path / "quick").touch()
    assert repo.run("preflight").pending
    report = repo.run("main")
    assert ("Waited" in "".join(report.warnings)) is (child == "goes on")
    assert (report.changed, repo.head) == (True, target(repo))
    assert tree(repo.path) == ROLLED_BACK
    assert repo.git("status", "--porcelain") == ""


@pytest.mark.parametrize("stage", ["half", "switched"])
def test_interrupted_checkout(repo, stage):
    options = {"method": "checkout", "to": repo.good}
    repo.run("preflight", **options)
    repo.git("update-ref", ref(repo), repo.good)
    note(repo, "switching")
    if stage == "half":
        (repo.path / ".git" / "index.lock").touch()
        repo.write({"app.py": "on"})
    else:
        repo.git("checkout", "--quiet", "--detach", repo.good)
    assert repo.run("preflight", **options).pending
    assert repo.run("main", **options).after == {"commit": repo.good, "branch": ""}
    assert repo.git("status", "--porcelain") == ""
    note(repo, "recovering")
    (repo.path / "old.py").unlink()
    assert repo.run("recover", **options).after == {"commit": repo.last, "branch": "main"}
    assert tree(repo.path) == repo.files


def test_install_that_fails_in_main_is_resumed_and_recovered(repo):
    broken = repo.path / ".git" / "broken"
    install = ["sh", "-c", f"test ! -e {broken.relative_to(repo.path)} && cp app.py installed"]
    repo.run("preflight", install=install)
    broken.touch()
    with pytest.raises(PhaseError, match="install command failed"):
        repo.run("main", install=install)
    broken.unlink()
    assert repo.run("preflight", install=install).pending
    assert repo.run("main", install=install).changed
    assert (repo.path / "installed").read_text() == "one\n"
    broken.touch()
    with pytest.raises(PhaseError, match="install command failed"):
        repo.run("recover", install=install)
    broken.unlink()
    assert repo.run("recover", install=install).changed
    assert (repo.path / "installed").read_text() == "two\n"
    assert repo.head == repo.last


def test_recover_keeps_what_somebody_changed(repo):
    repo.run("main")
    repo.write({"README": "mine\n", "app.py": "mine too\n", "notes": "n\n", "new/y.py": "mine as well\n"})
    report = repo.run("recover")
    assert repo.head == repo.last
    assert (repo.path / "README").read_text() == "mine\n"
    assert (repo.path / "notes").read_text() == "n\n"
    kept = repo.point.part / "set-aside"
    assert tree(kept) == {"app.py": b"mine too\n", "new/y.py": b"mine as well\n"}
    assert str(kept) in report.warnings[0]
    assert tree(repo.path) == {**repo.files, "README": b"mine\n", "notes": b"n\n"}


def test_recover_after_somebody_committed(repo):
    repo.run("main")
    reverted = repo.head
    repo.commit("Hotfix", {"README": "fixed\n"})
    assert not repo.run("main").changed
    message = repo.refused("recover")
    assert "Somebody moved" in message
    assert f"revert {reverted}" in message


def test_recover_when_never_started(repo):
    assert not repo.run("recover").changed
