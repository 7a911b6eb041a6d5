# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The revert is pushed once, at the end, by one host, and never by force; what was pushed can be put back."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.git_work_tree import ROLLED_BACK, Repo, snapshot
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal

SECRET = "ghp_abcdef"


@pytest.fixture
def pushing(repo, tmp_path):
    """The repository with a remote, which has all that it has."""
    hub = tmp_path / "hub"
    subprocess.run(["git", "clone", "--quiet", "--bare", str(repo.path), str(hub)], check=True)
    repo.git("remote", "add", "origin", str(hub))
    repo.git("fetch", "--quiet", "origin")
    repo.hub = Repo(hub, tmp_path / "nowhere")
    repo.options.update(push_remote="origin", push_branch="main")
    return repo


def colleague(repo, subject="Hotfix"):
    """Somebody pushes a commit of their own; returns it."""
    clone = Repo(repo.hub.path.with_name("colleague"), repo.hub.path)
    shutil.rmtree(str(clone.path), ignore_errors=True)
    subprocess.run(["git", "clone", "--quiet", str(repo.hub.path), str(clone.path)], check=True)
    made = clone.commit(subject, {"hotfix": subject})
    clone.git("push", "--quiet")
    return made


def test_pushed_when_all_is_verified_and_not_before(pushing):
    hub, before = snapshot(pushing.hub.path), snapshot(pushing.path)
    report = pushing.run("preflight")
    assert report.msg.endswith(" It will be pushed to main of origin when the run has succeeded.")
    assert (snapshot(pushing.hub.path), snapshot(pushing.path)) == (hub, before)
    report = pushing.run("main")
    assert "NOT PUSHED" not in "".join([report.msg, *report.warnings])
    assert snapshot(pushing.hub.path) == hub
    done = pushing.run("close")
    assert (done.changed, done.msg) == (True, f"Pushed {pushing.head[:10]} to main of origin.")
    assert pushing.hub.git("rev-parse", "main") == pushing.head
    assert pushing.hub.git("ls-tree", "-r", "--name-only", "main").split() == sorted(ROLLED_BACK)
    again = pushing.run("close")
    assert (again.changed, again.msg) == (False, "The revert is in main of origin already.")
    assert pushing.run("main").warnings == []


def test_check_mode_pushes_nothing(pushing):
    hub = snapshot(pushing.hub.path)
    pushing.run("main", check=True)
    pushing.run("main")
    assert not pushing.run("close", check=True).changed
    assert snapshot(pushing.hub.path) == hub


def test_only_one_host_pushes(pushing):
    pushing.options["push_here"] = False
    pushing.git("remote", "set-url", "origin", "/nonexistent")  # nor does another host need to reach it
    assert pushing.run("preflight").pending
    report = pushing.run("main")
    assert report.warnings == []
    assert pushing.run("close").msg == "Nothing is to be pushed from here."


def test_nothing_is_pushed_before_main(pushing):
    assert not pushing.run("close").changed
    pushing.run("preflight")
    assert not pushing.run("close").changed
    assert pushing.hub.git("rev-parse", "main") == pushing.last


def test_nothing_is_pushed_of_what_was_put_back(pushing):
    pushing.run("main")
    pushing.run("recover")
    assert not pushing.run("close").changed
    assert pushing.hub.git("rev-parse", "main") == pushing.last


def test_nothing_but_the_revert_is_pushed(pushing):
    pushing.git("config", "push.followTags", "true")
    pushing.git("tag", "-a", "-m", "Mine", "mine", pushing.last)
    pushing.git("branch", "aside")
    pushing.run("main")
    pushing.run("close")
    assert pushing.hub.git("for-each-ref", "--format=%(refname)").split() == ["refs/heads/main"]


def test_a_push_that_failed_is_made_up_for_by_the_next_run(pushing):
    pushing.options["push_branch"] = "release"
    pushing.hub.git("branch", "release", pushing.last)
    pushing.run("main")
    pushing.hub.git("branch", "-D", "release")
    assert "NOT PUSHED" in pushing.run("close").warnings[0]
    pushing.hub.git("branch", "release", pushing.last)
    pushing.point.reset()
    assert pushing.run("preflight").pending is False
    pushing.run("main")
    assert pushing.run("close").changed
    assert pushing.hub.git("rev-parse", "release") == pushing.head


def moved_on(repo):
    colleague(repo)


def hook_that_refuses(repo):
    hook = repo.hub.path / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\necho 'not without a review, https://{SECRET}@hub' >&2\nexit 1\n")
    hook.chmod(0o755)


def gone(repo):
    repo.hub.path.rename(repo.hub.path.with_name("gone"))


UNPUSHED = [
    (
        moved_on,
        "The branch main of origin stands at {hub}, and {repo} at {last}. It has moved on, and would not take the "
        "revert.",
    ),
    (hook_that_refuses, "origin would not take it: [remote rejected] (pre-receive hook declined)."),
    (gone, "The remote origin of {repo} does not answer: "),
]


@pytest.mark.parametrize(("prepare", "why"), UNPUSHED)
def test_a_push_that_fails_is_a_warning_with_what_to_type(pushing, prepare, why):
    pushing.run("main")
    prepare(pushing)
    hub = "" if prepare is gone else pushing.hub.git("rev-parse", "main")
    report = pushing.run("close")
    assert not report.changed
    (said,) = report.warnings
    why = why.format(hub=hub[:10], repo=pushing.path, last=pushing.last[:10])
    assert said.startswith(f"The rollback is done, but NOT PUSHED: {why}")
    assert said.endswith(f"on main, type: git pull && git revert {pushing.bad[:10]} && git push")
    assert SECRET not in said
    assert prepare is gone or pushing.hub.git("rev-parse", "main") == hub


@pytest.mark.parametrize("again", [False, True])
def test_recover_puts_back_what_was_pushed_by_one_more_commit(pushing, again):
    pushing.run("main")
    pushing.run("close")
    reverted = pushing.head
    for _attempt in range(1 + again):
        report = pushing.run("recover")
        pushing.point.write(progress="started", prepared={**pushing.point.read()["prepared"], "stage": "recovering"})
    assert pushing.head == pushing.last
    assert pushing.hub.git("log", "--format=%s", "main").splitlines()[:2] == [
        f"Put back: Revert {pushing.bad[:10]} Add invoice totals",
        f"Revert {pushing.bad[:10]} Add invoice totals",
    ]
    assert pushing.hub.git("rev-parse", "main^") == reverted
    assert pushing.hub.git("rev-parse", "main^{tree}") == pushing.git("rev-parse", "HEAD^{tree}")
    assert report.warnings == []
    pushing.git("pull", "--quiet", "--ff-only", "origin", "main")


@pytest.mark.parametrize("prepare", [moved_on, hook_that_refuses, gone])
def test_recover_says_when_the_revert_stays_pushed(pushing, prepare):
    pushing.run("main")
    pushing.run("close")
    reverted = pushing.head
    prepare(pushing)
    report = pushing.run("recover")
    assert (report.changed, pushing.head) == (True, pushing.last)
    (said,) = report.warnings
    assert said.startswith(f"The revert {reverted[:10]} is pushed to main of origin, and could not be put back there: ")
    assert said.endswith(f"on main, type: git pull && git revert {reverted[:10]} && git push")
    assert SECRET not in said


def test_recover_pushes_nothing_where_nothing_was_pushed(pushing):
    pushing.run("main")
    pushing.run("recover")
    assert pushing.hub.git("rev-parse", "main") == pushing.last


def test_git_never_asks(pushing, tmp_path, monkeypatch):
    """What would ask gets no terminal, and ssh is told not to."""
    ssh, said = tmp_path / "ssh", tmp_path / "said"
    ssh.write_text(
        f'#!/bin/sh\necho "$GIT_TERMINAL_PROMPT $*" >> {said}\n'
        f"{{ : < /dev/tty; }} 2>/dev/null && echo tty >> {said}\nexit 255\n"
    )
    ssh.chmod(0o755)
    pushing.git("remote", "set-url", "origin", "ssh://git@hub.example.org/shop")
    for name in ("GIT_SSH_COMMAND", "core.sshCommand", "GIT_SSH"):
        for variable in ("GIT_SSH_COMMAND", "GIT_SSH"):
            monkeypatch.delenv(variable, raising=False)
        if name.isupper():
            pushing.git("config", "--unset", "core.sshCommand", check=False)
            monkeypatch.setenv(name, str(ssh))
        else:
            pushing.git("config", name, str(ssh))
        assert "does not answer" in pushing.refused()
        text = said.read_text()
        said.unlink()
        assert "-o BatchMode=yes" in text
        assert text.startswith("0 ")
        assert "tty" not in text


def another_branch(repo):
    repo.commit("Local", {"local": "1\n"})
    return {"commits": [repo.bad]}


def unreachable(repo):
    repo.git("remote", "set-url", "origin", f"https://{SECRET}@127.0.0.1:1/shop")


def fetch_only(repo):
    """One that lets everybody read, and nobody write."""
    repo.git("config", "remote.origin.receivepack", "false #")


REFUSALS = [
    Refusal(
        "a push of a checkout",
        "Only a revert can be pushed, and git_revert_method is checkout. Choose git_revert_method: revert, or do "
        'without the push: git_revert_push_remote: ""',
        lambda repo: {"method": "checkout", "to": repo.good},
    ),
    Refusal(
        "a push without a branch",
        "It is not said which branch the revert is pushed to. Give it: git_revert_push_branch: main",
        lambda repo: {"push_branch": ""},
    ),
    Refusal(
        "a push to what cannot be a branch",
        "'ma*n' is not the name of a branch. Correct git_revert_push_branch.",
        lambda repo: {"push_branch": "ma*n"},
    ),
    Refusal(
        "a push to a remote that is not there",
        "<repo> has no remote of the name that git_revert_push_remote gives. It has: origin. Give one of these names; "
        "a URL belongs into git remote add.",
        lambda repo: {"push_remote": f"https://{SECRET}@hub.example.org/shop"},
    ),
    Refusal(
        "a push to a branch that is not there",
        "The remote origin of <repo> has no branch release. Correct git_revert_push_branch, or do without the push: "
        'git_revert_push_remote: ""',
        lambda repo: {"push_branch": "release"},
    ),
    Refusal(
        "a push to a remote that cannot be reached",
        "The remote origin of <repo> does not answer: fatal: <what git says>. See what git -C <repo> ls-remote origin "
        'says as this user, or do without the push: git_revert_push_remote: ""',
        unreachable,
    ),
    Refusal(
        "a push to a branch that has moved on",
        "The branch main of origin stands at <commit>, and <repo> at <commit>. It has moved on, and would not take the "
        'revert. Deploy what is there before, or do without the push: git_revert_push_remote: ""',
        moved_on,
    ),
    Refusal(
        "a push that would publish more than the revert",
        "The branch main of origin stands at <commit>, and <repo> at <commit>, 1 commit(s) further on, which a push of "
        "the revert would publish too. If they are meant to be there, push them before: git -C <repo> push origin "
        '<commit>:main ; or do without the push: git_revert_push_remote: ""',
        another_branch,
    ),
    Refusal(
        "a push that this user may not make",
        "The revert in <repo> cannot be pushed to main of origin. origin would not take it: <what git says>. Let this "
        "user push there (git -C <repo> push --dry-run origin HEAD:main), or do without the push: "
        'git_revert_push_remote: ""',
        fetch_only,
    ),
]


@pytest.mark.parametrize("row", REFUSALS, ids=[row.case for row in REFUSALS])
def test_refused(pushing, row):
    given = row.given(pushing) or {}
    hub = snapshot(pushing.hub.path)
    said = pushing.refused(**given)
    assert row.matches(said), said
    assert SECRET not in said
    assert snapshot(pushing.hub.path) == hub
