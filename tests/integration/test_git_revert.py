# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""git_revert on two hosts with one remote: they end on one commit, and one of them pushes it, when all is verified."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
HOSTS = ["h1", "h2"]


def git(path: Path, *args: str) -> str:
    who = ["-c", "user.name=U", "-c", "user.email=u@example.org"]
    return subprocess.run(["git", *who, "-C", path, *args], capture_output=True, text=True, check=True).stdout.strip()


class Fleet:
    """Hosts that have deployed the same commit from one remote, which logs what is pushed to it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.hub = root / "hub"
        self.log = root / "log"
        self.log.touch()
        self.hosts = {name: root / "srv" / name for name in HOSTS}
        first = self.hosts["h1"]
        first.mkdir(parents=True)
        git(first, "init", "--quiet", "--initial-branch=main")
        for text in ("one", "two"):
            (first / "app.py").write_text(text)
            git(first, "add", "--all")
            git(first, "commit", "--quiet", "-m", text)
        git(first, "tag", "bad")
        git(root, "clone", "--quiet", "--bare", str(first), str(self.hub))
        shutil.rmtree(first)
        for path in self.hosts.values():
            git(root, "clone", "--quiet", str(self.hub), str(path))
        self.bad = git(self.hub, "rev-parse", "main")
        self.hook("post-receive", f"while read old new ref; do echo pushed $new >> {self.log}; done")
        self.vars: dict[str, t.Any] = {
            "git_revert_commits": [self.bad],
            "git_revert_push_remote": "origin",
            "git_revert_push_branch": "main",
        }

    def hook(self, name: str, script: str) -> None:
        hook = self.hub / "hooks" / name
        hook.write_text(f"#!/bin/sh\n{script}\n")
        hook.chmod(0o755)

    def play(self, playbook: str, *args: str) -> subprocess.CompletedProcess[str]:
        shared = {
            "ansible_connection": "local",
            "ansible_python_interpreter": "{{ ansible_playbook_python }}",
            "rollback_history_url": f"sqlite:///{self.root}/history.sqlite",
            "rollback_repo": f"{self.root}/srv/{{{{ inventory_hostname }}}}",
            "rollback_state_dir": f"{self.root}/state/{{{{ inventory_hostname }}}}",
            "step_name": "last",
            "step_log": str(self.log),
        }
        hosts = {"all": {"hosts": dict.fromkeys(HOSTS), "vars": shared}}
        (self.root / "hosts.yml").write_text(yaml.safe_dump(hosts))
        plan = {
            "title": "Order",
            "date": "2026-11-20",
            "hosts": "all",
            "phases": [{"role": "git_revert", "vars": self.vars}, {"role": "acme.own.step"}],
        }
        (self.root / "changes").mkdir(exist_ok=True)
        (self.root / "changes" / "C001.yml").write_text(yaml.safe_dump(plan, sort_keys=False))
        environ = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(HERE / "collections"),
            "ANSIBLE_CONFIG": str(HERE / "ansible.cfg"),
            "HOME": str(self.root),
        }
        environ["ANSIBLE_PIPELINING"] = "1"
        argv = [BIN / "ansible-playbook", "-i", "hosts.yml", playbook, "-e", "change=C001", *args]
        done = subprocess.run(argv, cwd=self.root, env=environ, capture_output=True, text=True, check=False)
        print(done.stdout, done.stderr)
        return subprocess.CompletedProcess(argv, done.returncode, " ".join((done.stdout + done.stderr).split()))

    def rollback(self, *args: str) -> subprocess.CompletedProcess[str]:
        return self.play("changeops.rollback.rollback", *args)

    def role(self, step: str, *args: str) -> subprocess.CompletedProcess[str]:
        """The role by itself."""
        task = {"ansible.builtin.include_role": {"name": "changeops.rollback.git_revert", "tasks_from": step}}
        # the hosts of this test are one machine
        point = f"{self.root}/state/{{{{ inventory_hostname }}}}/standalone/git_revert"
        given = {**self.vars, "git_revert_restore_point": point}
        play = {"hosts": "all", "gather_facts": False, "vars": given, "tasks": [task]}
        (self.root / "alone.yml").write_text(yaml.safe_dump([play]))
        return self.play("alone.yml", *args)

    @property
    def heads(self) -> set[str]:
        """The commits that the hosts stand on."""
        return {git(path, "rev-parse", "HEAD") for path in self.hosts.values()}

    @property
    def main(self) -> str:
        """The commit of the remote's branch."""
        return git(self.hub, "rev-parse", "main")


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


def test_pushed_once_after_the_last_phase(fleet):
    fleet.vars["git_revert_push_host"] = "h2"
    git(fleet.hosts["h1"], "remote", "set-url", "origin", "/nonexistent")  # this one need not reach it
    assert fleet.rollback().returncode == 0
    assert fleet.heads == {fleet.main}
    assert git(fleet.hub, "show", "main:app.py") == "one"
    lines = fleet.log.read_text().splitlines()
    assert lines[-1] == f"pushed {fleet.main}"
    assert [line.split()[0] for line in lines[:-1]] == ["preflight"] * 2 + ["main"] * 2


def test_a_rollback_that_is_put_back_was_never_pushed(fleet):
    assert fleet.rollback("-e", "step_fail=main-last-h2").returncode != 0
    assert fleet.heads == {fleet.bad} == {fleet.main}
    assert "pushed" not in fleet.log.read_text()


def test_a_push_that_fails_at_the_end_breaks_nothing(fleet):
    fleet.hook("pre-receive", "exit 1")
    done = fleet.rollback()
    assert done.returncode == 0
    assert "The rollback is done, but NOT PUSHED: origin would not take it: [remote rejected]" in done.stdout
    assert len(fleet.heads) == 1
    assert fleet.heads != {fleet.main}
    with contextlib.closing(sqlite3.connect(fleet.root / "history.sqlite")) as db:
        [(outcome, summary)] = db.execute("SELECT outcome, summary FROM runs").fetchall()
    assert outcome == "succeeded"
    assert " done on 2 hosts. Left to do: The rollback is done, but NOT PUSHED: origin would not take it" in summary


def test_the_role_alone_pushes(fleet):
    assert fleet.role("main").returncode == 0
    assert fleet.heads == {fleet.main}
    assert git(fleet.hub, "show", "main:app.py") == "one"


@pytest.fixture
def apart(fleet: Fleet) -> Fleet:
    """Hosts on which one tag means two commits, which are alike but for their time."""
    fleet.vars = {"git_revert_commits": ["bad"]}
    for year, path in enumerate(fleet.hosts.values(), 2020):
        git(path, "commit", "--quiet", "--amend", "--no-edit", f"--date={year}-01-01T00:00:00Z")
        git(path, "tag", "--force", "bad")
    return fleet


def test_hosts_that_would_end_on_several_commits_are_refused(apart):
    heads = apart.heads
    done = apart.rollback()
    assert done.returncode != 0
    assert SEVERAL.found_in(done.stdout)
    assert apart.heads == heads
    assert not list(apart.root.glob("state/*/lock.json"))  # each is given back


def test_the_role_alone_says_so_too(apart):
    done = apart.role("main")
    assert done.returncode != 0
    assert SEVERAL.found_in(done.stdout)


def test_the_host_that_pushes_must_take_part(fleet):
    fleet.vars["git_revert_push_host"] = "h2"
    done = fleet.role("preflight", "--limit", "h1")
    assert done.returncode != 0
    row = next(row for row in REFUSALS if "the push" in row.case)
    assert row.found_in(done.stdout)


SEVERAL = Refusal(
    "hosts that would end on several commits",
    "The hosts do not end on one commit in <repo>: <commit> on <host>; <commit> on <host>. They stood on different "
    "commits before, or a tag is not the same on all. Bring them to one commit first (deploy, git fetch --tags "
    "--force), or roll back by themselves those that agree: --limit <hosts>",
)
REFUSALS = [
    SEVERAL,
    Refusal(
        "a host for the push that takes no part",
        "h2 is to push the revert, but is not one of the hosts that it is made on here (h1). Correct "
        "git_revert_push_host, let --limit include it, or do without the push: -e git_revert_push_remote=",
    ),
]
