# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The phase git_revert on real repositories: what it does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible_collections.changeops.rollback.plugins.modules import git_revert
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.git_work_tree import (
    ROLLED_BACK,
    Repo,
    snapshot,
    tree,
)


def test_revert(repo):
    report = repo.run("preflight")
    assert (report.pending, report.before) == (True, {"commit": repo.last, "branch": "main"})
    assert report.facts["files"] == [
        {"path": "app.py", "status": "modified"},
        {"path": "new/y.py", "status": "deleted"},
        {"path": "old.py", "status": "added"},
    ]
    done = repo.run("main")
    assert done.changed
    assert done.after == {"commit": repo.head, "branch": "main"} == report.after
    assert tree(repo.path) == ROLLED_BACK
    assert not (repo.path / "new").exists()
    assert repo.git("status", "--porcelain") == ""
    assert repo.git("log", "-1", "--format=%P|%an|%ae|%cn|%cI|%B").splitlines() == [
        f"{repo.last}|changeops.rollback|changeops.rollback@localhost|changeops.rollback|2026-11-02T10:00:00+00:00"
        f"|Revert {repo.bad[:10]} Add invoice totals",
        "",
        f"This reverts commit {repo.bad}.",
    ]
    assert repo.refs == ""
    again = repo.run("main")
    assert (again.changed, again.after) == (False, done.after)
    assert repo.run("preflight").pending is False


def test_preflight_writes_nothing_into_the_repository(repo):
    os.utime(repo.path / "app.py")  # git would like to refresh its index now
    before = snapshot(repo.path)
    repo.run("preflight")
    assert snapshot(repo.path) == before


def test_check_mode_changes_nothing_and_tells_the_files(repo, tmp_path):
    before = snapshot(tmp_path / "srv")
    marker = tmp_path / "installed"
    report = repo.run("main", check=True, install=["touch", str(marker)])
    assert report.changed
    assert snapshot(tmp_path / "srv") == before
    assert not marker.exists()
    assert not repo.point.part.exists()
    shown = report.diff[0]["prepared"]
    assert "M\tapp.py\nD\tnew/y.py\nA\told.py\n" in shown
    assert "3 files changed, 2 insertions(+), 2 deletions(-)" in shown
    repo.run("preflight")
    assert repo.run("main").after == report.after


@pytest.mark.parametrize("given", ["older first", "newer first", "twice"])
def test_two_commits(repo, given):
    second = repo.commit("Change it again", {"app.py": "three\n"})
    commits = {"older first": [repo.bad, second], "newer first": [second, repo.bad], "twice": [second, repo.bad] * 2}
    report = repo.run("main", commits=commits[given], subject="Roll back C001: Totals", date="2026-11-20")
    assert tree(repo.path) == ROLLED_BACK
    assert repo.git("log", "-1", "--format=%cI|%B").splitlines() == [
        "2026-11-20T00:00:00+00:00|Roll back C001: Totals",
        "",
        f"This reverts commit {second}.",
        f"This reverts commit {repo.bad}.",
    ]
    assert report.after["commit"] == repo.head


def test_same_hash_on_every_host(repo, tmp_path, monkeypatch):
    repo.git("mv", "app.py", "main.py")
    repo.git("commit", "--quiet", "-m", "Rename")
    made = set()
    for name, zone, config in (
        ("web1", "Asia/Tokyo", "[user]\nname = A\nemail = a@example.org\n"),
        (
            "web2",
            "America/Lima",
            "[user]\nname = B\nemail = b@example.org\n[core]\nabbrev = 20\n[commit]\ngpgsign = true\n"
            "[i18n]\ncommitEncoding = ISO-8859-1\n[diff]\nnoprefix = true\nrenames = false\n"
            "[merge]\nff = false\nrenames = false\n"
            "[status]\nshowUntrackedFiles = all\n[log]\nshowSignature = true\n[rerere]\nenabled = true\n",
        ),
    ):
        path = tmp_path / name
        subprocess.run(["git", "clone", "--quiet", str(repo.path), str(path)], check=True)
        (tmp_path / "home" / ".gitconfig").write_text(config)
        monkeypatch.setenv("TZ", zone)
        monkeypatch.setenv("LC_ALL", "C.UTF-8" if name == "web2" else "C")
        monkeypatch.setenv("GIT_COMMITTER_DATE", f"20{10 + len(made)}-01-01T00:00:00Z")
        host = Repo(path, tmp_path / f"state-{name}")
        made.add(host.run("main", commits=[repo.bad], subject="Roll back: Größe").after["commit"])
        assert (path / "main.py").read_text() == "one\n"
    assert len(made) == 1


@pytest.mark.parametrize("name", ["hash", "tag"])
def test_checkout(repo, name):
    repo.git("tag", "v1", repo.good)
    options = {"method": "checkout", "to": repo.good if name == "hash" else "v1"}
    report = repo.run("main", **options)
    assert (report.changed, report.after) == (True, {"commit": repo.good, "branch": ""})
    assert tree(repo.path) == {**ROLLED_BACK, "README": b"r\n"}
    assert repo.git("rev-parse", "main") == repo.last
    assert not repo.run("main", **options).changed
    back = repo.run("recover", **options)
    assert back.changed
    assert (repo.head, repo.branch, tree(repo.path)) == (repo.last, "main", repo.files)
    assert repo.git("status", "--porcelain") == ""


def test_app_below_the_top_of_the_work_tree(repo):
    report = repo.run("main", repo=str(repo.path / "lib"), install=["cp", "x.py", "installed"])
    assert report.changed
    assert (repo.path / "lib" / "installed").read_text() == "x\n"


def test_hooks_never_run(repo, tmp_path):
    ran = tmp_path / "ran"
    hooks = repo.path / ".git" / "hooks"
    names = ["pre-commit", "post-commit", "post-checkout", "post-merge", "pre-merge-commit", "commit-msg"]
    names += ["prepare-commit-msg", "reference-transaction", "post-index-change", "post-rewrite", "fsmonitor"]
    hooks.mkdir(exist_ok=True)
    for name in names:
        (hooks / name).write_text(f"#!/bin/sh\necho {name} >> {ran}\n")
        (hooks / name).chmod(0o755)
    repo.git("config", "core.fsmonitor", str(hooks / "fsmonitor"))
    (tmp_path / "home" / ".gitconfig").write_text(f"[core]\nhooksPath = {hooks}\n")
    repo.run("main")
    repo.run("recover")
    repo.run("main", method="checkout", to=repo.good)
    repo.run("recover", method="checkout", to=repo.good)
    assert not ran.exists()
    repo.git("checkout", "--quiet", "--detach")
    assert ran.exists()


def by_hand(repo):
    repo.git("revert", "--no-edit", repo.bad)


def by_hand_and_edited_since(repo):
    by_hand(repo)
    repo.commit("Edit", {"app.py": "one, edited\n"})


def without_saying(repo):
    repo.commit("Restore", {"app.py": "one\n", "old.py": "old\n", "new/y.py": None})


@pytest.mark.parametrize("how", [by_hand, by_hand_and_edited_since, without_saying])
def test_already_reverted(repo, how):
    how(repo)
    before = snapshot(repo.path)
    report = repo.run("preflight", install=["false"])
    assert (report.pending, report.after) == (False, {"commit": repo.head, "branch": "main"})
    assert not repo.run("main", install=["false"]).changed
    assert not repo.run("recover", install=["false"]).changed
    assert snapshot(repo.path) == before


def test_reverted_and_brought_back(repo):
    by_hand(repo)
    repo.git("revert", "--no-edit", "HEAD")
    assert repo.run("main").changed
    assert tree(repo.path) == ROLLED_BACK


def test_only_what_is_left_of_several_is_reverted(repo):
    by_hand_and_edited_since(repo)
    report = repo.run("main", commits=[repo.bad, repo.last])
    assert report.changed
    assert tree(repo.path) == {**ROLLED_BACK, "app.py": b"one, edited\n", "README": b"r\n"}
    assert repo.git("log", "-1", "--format=%b").strip() == f"This reverts commit {repo.last}."


def test_detached_head_is_put_back_detached(repo):
    repo.git("checkout", "--quiet", "--detach")
    report = repo.run("main")
    assert report.after["branch"] == ""
    assert tree(repo.path) == ROLLED_BACK
    words = f"the revert is lost with the next checkout. To keep it: git -C {repo.path} branch <name> {repo.head[:10]}"
    assert [words in warning for warning in report.warnings].count(True) == 1
    repo.run("recover")
    assert (repo.head, repo.branch) == (repo.last, "")


def test_linked_work_tree_and_shallow_clone(repo, tmp_path):
    linked = tmp_path / "linked"
    repo.git("worktree", "add", "--quiet", "-b", "deployed", str(linked))
    one = Repo(linked, tmp_path / "state1").run("main", commits=[repo.bad])
    shallow = tmp_path / "shallow"
    subprocess.run(["git", "clone", "--quiet", "--depth=3", f"file://{repo.path}", str(shallow)], check=True)
    two = Repo(shallow, tmp_path / "state2").run("main", commits=[repo.bad])
    assert one.after["commit"] == two.after["commit"]
    assert tree(shallow) == ROLLED_BACK


@pytest.mark.parametrize(
    ("remote", "upstream", "words"),
    [
        (False, False, "the next deploy from elsewhere brings the change back"),
        (True, False, "push origin HEAD:main"),
        (True, True, "NOT PUSHED"),
    ],
)
def test_says_that_it_is_not_pushed(repo, tmp_path, remote, upstream, words):
    if remote:
        subprocess.run(["git", "clone", "--quiet", "--bare", str(repo.path), str(tmp_path / "hub")], check=True)
        repo.git("remote", "add", "origin", str(tmp_path / "hub"))
    if upstream:
        repo.git("fetch", "--quiet", "origin")
        repo.git("branch", "--quiet", "--set-upstream-to=origin/main")
    report = repo.run("main")
    assert words in report.msg
    assert [words in warning for warning in report.warnings] == [True]
    if upstream:
        assert f"git -C {repo.path} push" in report.msg
        assert len(repo.run("main").warnings) == 1
        repo.git("push", "--quiet")
        assert repo.run("main").warnings == []


def test_uv_style_environment_is_made_in_scratch(repo, monkeypatch):
    monkeypatch.setenv("VIRTUAL_ENV", "/somewhere")
    install = [sys.executable, "-c", "import os; print(os.environ.get('UV_PROJECT_ENVIRONMENT'), file=open('env','w'))"]
    repo.run("preflight", install=install)
    assert not (repo.path / "env").exists()
    assert (repo.point.scratch_path / "tree" / "env").read_text() == "None\n"
    repo.run("main", install=install)
    assert (repo.path / "env").read_text() == "None\n"


def test_install_can_be_left_untried(repo):
    report = repo.run("preflight", install=["cp", str(repo.path / "app.py"), "copy"], rehearse_install=False)
    assert "was not tried" in report.msg
    assert not (repo.point.scratch_path / "tree" / "copy").exists()


def test_documentation_matches_the_arguments_and_the_role():
    documented = yaml.safe_load(git_revert.DOCUMENTATION)["options"]
    assert {n: (o["type"], o.get("default")) for n, o in documented.items()} == {
        n: (o["type"], o.get("default")) for n, o in git_revert.ARGUMENTS.items()
    }
    role = Path(git_revert.__file__).resolve().parents[2] / "roles" / "git_revert"
    defaults = yaml.safe_load((role / "defaults" / "main.yml").read_text())
    specs = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text())["argument_specs"]
    assert set(specs) == {"main", "preflight", "rehearse", "recover", "can_undo", "close"}
    for spec in specs.values():
        assert set(spec["options"]) == set(defaults)
