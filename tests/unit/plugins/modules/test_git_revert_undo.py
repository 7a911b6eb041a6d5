# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The code goes back to the release that was rolled back, days later, as long as nobody has gone on from the revert."""

from __future__ import annotations

import subprocess

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils._phase import UNDO
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.git_work_tree import Repo, snapshot
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal


@pytest.fixture
def undo(repo, monkeypatch):
    """The repository after a rollback, with an undo at work."""
    repo.run("main")
    repo.point.scratch()  # emptied, as the end of a run does
    monkeypatch.setenv(UNDO, "1")
    return repo


def test_it_goes_back_and_forth_and_back(undo, monkeypatch):
    reverted = undo.head
    before = snapshot(undo.path)
    said = undo.run("can_undo").msg
    assert said == f"The code in {undo.path} can go from {reverted[:10]} back to {undo.last[:10]}."
    assert snapshot(undo.path) == before
    assert undo.run("recover").changed
    assert (undo.head, undo.branch, undo.git("status", "--porcelain")) == (undo.last, "main", "")
    assert undo.run("can_undo").msg == f"The code in {undo.path} is not to be put back."
    # an undo that fails is followed by the rollback once more
    monkeypatch.delenv(UNDO)
    undo.run("preflight")
    undo.run("main")
    assert undo.head == reverted
    monkeypatch.setenv(UNDO, "1")
    assert undo.run("recover").changed
    assert undo.head == undo.last


def moved_on(repo):
    repo.commit("Hotfix", {"app.py": "three\n"})


def dirty(repo):
    repo.write({"app.py": "mine\n"})


def merging(repo):
    (repo.path / ".git" / "MERGE_HEAD").write_text(f"{repo.last}\n")


REFUSALS = [
    Refusal(
        "an undo where somebody has gone on from the revert",
        "<repo> has moved on since the rollback: it stands at <commit> on main, and was left at <commit> on main. Undo "
        "what came after it first. To keep that, and bring the change back on top of it, revert the revert where you "
        "deploy from: git revert <commit>",
        moved_on,
    ),
    Refusal(
        "an undo over uncommitted changes",
        "<repo> has uncommitted changes in app.py. They would be lost or in the way. "
        "Keep them with: git -C <repo> stash (or: git -C <repo> commit -a)",
        dirty,
    ),
    Refusal(
        "an undo in the middle of a merge",
        "A merge is unfinished in <repo>. Finish it, or give it up: git -C <repo> merge --abort",
        merging,
    ),
]


@pytest.mark.parametrize("row", REFUSALS, ids=[row.case for row in REFUSALS])
def test_nothing_is_touched_where_it_cannot_go(undo, row):
    row.given(undo)
    said = undo.refused("can_undo")
    assert row.matches(said), said


def test_what_was_pushed_is_put_back_when_all_is_verified(undo, monkeypatch, tmp_path):
    hub = Repo(tmp_path / "hub", tmp_path / "nowhere")
    subprocess.run(["git", "clone", "--quiet", "--bare", str(undo.path), str(hub.path)], check=True)
    hub.git("update-ref", "refs/heads/main", undo.last)
    undo.git("remote", "add", "origin", str(hub.path))
    undo.git("fetch", "--quiet", "origin")
    undo.options.update(push_remote="origin", push_branch="main")
    monkeypatch.delenv(UNDO)
    assert undo.run("close").changed
    monkeypatch.setenv(UNDO, "1")
    undo.run("recover")
    assert hub.git("rev-parse", "main") != undo.last, "not before all is verified"
    assert "which puts the change back there" in undo.run("close").msg
    assert hub.git("rev-parse", "main^{tree}") == undo.git("rev-parse", f"{undo.last}^{{tree}}")


def test_a_revert_that_somebody_pushed_is_told_of(undo, tmp_path):
    hub = tmp_path / "hub"
    subprocess.run(["git", "clone", "--quiet", "--bare", str(undo.path), str(hub)], check=True)
    undo.git("remote", "add", "origin", str(hub))
    undo.git("fetch", "--quiet", "origin")
    undo.git("branch", "--set-upstream-to=origin/main")
    reverted = undo.head[:10]
    (warning,) = undo.run("recover").warnings
    assert warning.startswith(f"The revert {reverted} is in origin/main: the next deploy rolls the change back again.")
