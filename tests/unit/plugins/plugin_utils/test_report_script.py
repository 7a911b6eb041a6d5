# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The break-glass script: what is written into it, and what its parts do on a host."""

from __future__ import annotations

import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import typing as t
from pathlib import Path

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils._env_file import read_environment
from ansible_collections.changeops.rollback.plugins.module_utils._redact import MASK
from ansible_collections.changeops.rollback.plugins.plugin_utils._plan_check import check_plan
from ansible_collections.changeops.rollback.plugins.plugin_utils._report_script import script

BASH = shutil.which("bash") or "bash"
SHELLCHECK = Path(sys.executable).with_name("shellcheck")
DOWNGRADE = {
    "role": "alembic_downgrade",
    "vars": {"alembic_downgrade_from": "8ae1f0c2", "alembic_downgrade_to": "51b7"},
}
REVERT = {"role": "git_revert", "vars": {"git_revert_commits": ["4f1c2e9"]}}


def made(phases: list[t.Any], **host_vars: t.Any) -> str:
    """The script of a plan with these phases, for web1."""
    phases = [{"role": phase} if isinstance(phase, str) else phase for phase in phases]
    plan = {"title": "It's new", "date": "2026-11-20", "hosts": "shop", "phases": phases}
    checked = check_plan(json.dumps(plan).encode(), "C001", "C001.yml").as_dict()
    for phase in checked["phases"]:
        phase["host_names"] = ["web1"] if phase["hosts"] == "shop" else [phase["hosts"]]
    return script(checked, "web1", {"rollback_repo": "/srv/shop", **host_vars})


def bash(text: str, *args: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a script where nobody answers questions."""
    return subprocess.run(
        [BASH, "-c", text, "script", *args] if not text.startswith("/") else [BASH, text, *args],
        env={"PATH": os.environ["PATH"], "HOME": "/nowhere", **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def part(lines: str, here: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run lines with the functions that all scripts have."""
    whole = made(["service_stop"], rollback_services=[{"name": "x"}])
    return bash(whole.replace('\nmain "$@"\n', f"\nHERE={here}\n{lines}\n"), **environ)


EVERYTHING = {
    "rollback_install": ["uv", "sync", "--frozen"],
    "rollback_environment_files": ["/etc/shop/it's.env"],
    "rollback_drain": [["lb", "drain"]],
    "rollback_undrain": [["lb", "undrain"]],
    "rollback_services": [
        {"name": "shop-web", "manager": "systemd", "port": 8080},
        {"name": "shop-worker@*.service", "manager": "systemd", "scope": "user"},
        {"name": "old", "ports": [1, 2]},
        {"name": "group:*", "manager": "supervisord", "config": "/etc/s.conf"},
        {"name": "dc", "manager": "command", "start": ["dc", "up"], "stop": ["dc", "stop"], "status": ["dc", "ps"]},
    ],
    "rollback_config": [
        "config/",
        "/srv/shop/etc",
        {"path": "/etc/shop.conf", "source": "/etc/kept/$shop", "validate": ["shop", "--check", "%s"], "mode": "0640"},
        {"path": "/etc/shop.env", "keys": {"PASSWORD": "hunter2"}},
    ],
    "rollback_checks": [
        {"http": {"url": "http://127.0.0.1/", "json": {"a.b": True}, "headers": {"Authorization": "Bearer ${TOKEN}"}}},
        {"http": {"url": "http://127.0.0.1/", "headers": {"Authorization": "hunter2"}}, "name": "with a literal"},
        {"revision": {"database": "${DATABASE_URL}", "expected": "51b7"}},
        {"sql": {"database": "postgresql://u:hunter2@db/x", "query": "SELECT '1'", "expected": True}},
        {"rows": {"database": "/srv/shop.db", "except": ["logs"]}},
        {"service": "shop-web"},
        {"command": {"argv": ["true"], "chdir": "/srv"}, "required": False},
        {"journal": {"unit": "shop-web"}},
    ],
}
ALL = ["backup", "service_stop", DOWNGRADE, REVERT, "config_restore", "service_start", "verify"]

CASES = [
    pytest.param(
        ALL, [r"find_commits 4f1c2e9\b", r"downgrade 8ae1f0c2 51b7$", r"'\$shop'|'/etc/kept/\$shop'"], id="ours"
    ),
    pytest.param(
        ALL,
        [
            *(
                r"find_commits 4f1c2e9\b",
                r"downgrade 8ae1f0c2 51b7$",
                r"put '/etc/kept/\$shop' /etc/shop.conf shop --check %s",
            ),
            *(
                r"look yourself: with a literal",
                r"look yourself: journal shop-web",
                r"Set the keys PASSWORD of /etc/shop.env",
            ),
            *(r'Authorization: Bearer \'"\$\{TOKEN:\?', r"restore_from_git config etc$"),
        ],
        id="ours",
    ),
    pytest.param(
        [{"role": "acme.own.step", "vars": {"step_word": "hunter2"}}],
        [r"cannot do what the role acme.own.step does.*with step_word as the plan has them"],
        id="role_of_the_users",
    ),
    pytest.param([{**DOWNGRADE, "hosts": "web2"}], [r"The script of web2 does alembic_downgrade"], id="other_host"),
    pytest.param(
        [REVERT, DOWNGRADE],
        [r"the database comes\n# first|Here the database comes first", r"\[1\]=alembic_downgrade"],
        id="order",
    ),
    pytest.param([{**REVERT, "become_user": "shop"}], [r"ACCOUNTS=\(\n  \[1\]=shop"], id="account"),
    pytest.param(
        [{**DOWNGRADE, "vars": {"alembic_downgrade_from": "8ae1f0c2", "alembic_downgrade_to": "-1"}}],
        [r"This script downgrades from one absolute revision to another"],
        id="relative_revision",
    ),
    pytest.param(
        [{**DOWNGRADE, "environment": {"DB_PASSWORD": "hunter2", "VAULT": MASK, "TENANT": "a b"}}, "verify"],
        [r"DB_PASSWORD:\?", r"VAULT:\?", r"export TENANT='a b'"],
        id="environment",
    ),
    pytest.param(
        [{"role": "git_revert", "vars": {"git_revert_method": "release", "git_revert_to": "20261101"}}],
        [r"to the release 20261101"],
        id="release",
    ),
]


@pytest.mark.parametrize(("phases", "expected"), CASES)
def test_written(phases, expected):
    text = made(phases, **EVERYTHING)
    for pattern in expected:
        assert re.search(pattern, text, re.MULTILINE | re.DOTALL), pattern
    assert "hunter2" not in text
    done = subprocess.run([SHELLCHECK, "-"], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    shown = bash(text, "--dry-run")
    assert shown.returncode == 0, shown.stderr


LINES = r"""
# a comment
; another
PLAIN=The corner shop
export SHOWN=yes
 SPACED =  around
EMPTY=
SINGLE='a $b "c" \d'
DOUBLE="a \"b\" \$c \\d \e"
SHELL_LIKE=$(touch /nowhere) `x` $HOME
ESCAPED=a\ b\\c
URL=postgresql://u:p%40ss=w@h/db?x=1
PLAIN=The later one counts
"""


def test_environment_files_are_read_as_the_modules_read_them(tmp_path):
    file = tmp_path / "shop.env"
    file.write_text(LINES)
    expected = read_environment([str(file)])
    done = part(f"environment {file}; env -0", tmp_path)
    assert done.returncode == 0, done.stderr
    found = dict(line.split("=", 1) for line in done.stdout.split("\0") if line)
    assert {name: found.get(name) for name in expected} == expected
    file.write_text("A='one\ntwo'\n")
    assert "goes over several lines" in part(f"environment {file}", tmp_path).stderr


def test_postgresql_is_kept_and_put_back(postgresql, tmp_path):
    url = f"postgresql+psycopg://postgres:p%40ss@/kept?host={postgresql}"
    done = part(
        f"""
        postgresql '{url}' createdb kept
        query '{url}' 'CREATE TABLE a (id int, total int); INSERT INTO a VALUES (1, 7)'
        keep_database database-1 '{url}'
        query '{url}' 'ALTER TABLE a DROP total'
        put_database_back database-1 '{url}'
        query '{url}' 'SELECT id, total FROM a'
        postgresql '{url}' dropdb kept
        """,
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "1|7"


@pytest.mark.parametrize(
    ("wanted", "header", "code"),
    [('{"a.0.b": 1}', "Bearer right", 0), ('{"a.0.b": true}', "Bearer right", 1), ('{"a.0.b": 1}', "Bearer wrong", 1)],
)
def test_http(tmp_path, wanted, header, code):
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.headers["Authorization"] == "Bearer right" else 403)
            self.end_headers()
            self.wfile.write(b'{"a": [{"b": 1}]}')

        def log_message(self, *_args):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/"
        ask = f"with_headers 1 'Authorization: {header}' answers 200 '' '{wanted}' --noproxy '*' --header @- {url}"
        done = part(f'check answer yes 0 0 {ask}; exit "$FAULTS"', tmp_path)
    finally:
        server.shutdown()
        server.server_close()
    assert done.returncode == code, done.stdout + done.stderr


class Repo:
    """A repository with three changes, and a script that reverts two of them around what a person has to do."""

    def __init__(self, root: Path) -> None:
        self.path, self.script = root / "repo", root / "rollback-c001.sh"
        self.path.mkdir()
        self.git("init", "--quiet")
        self.commits = [self.commit(name) for name in ("base", "one", "two", "three")]
        revert = {"role": "git_revert", "vars": {"git_revert_commits": [f"{self.commits[0]}..{self.commits[2]}"]}}
        text = made(
            ["backup", "acme.own.step", revert, "config_restore"],
            rollback_repo=str(self.path),
            rollback_config=["one"],
            rollback_state_dir=str(root / "state"),
        )
        self.script.write_text(text)

    def git(self, *args: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-C", str(self.path)]
        return subprocess.run(["git", *who, *args], capture_output=True, text=True, check=True).stdout.strip()

    def commit(self, name: str, text: str = "x") -> str:
        (self.path / name).write_text(text)
        self.git("add", name)
        self.git("commit", "--quiet", "-m", name)
        return self.git("rev-parse", "HEAD")

    def files(self) -> list[str]:
        return sorted(path.name for path in self.path.iterdir() if path.name != ".git")

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        return bash(str(self.script), *args)


def test_a_person_is_waited_for_and_everything_is_put_back(tmp_path):
    repo = Repo(tmp_path)
    head = repo.git("rev-parse", "HEAD")
    stopped = repo.run("--yes")
    assert stopped.returncode == 1 and repo.git("rev-parse", "HEAD") == head
    assert f"bash {repo.script} --done 2 --yes" in stopped.stderr
    assert "with exit code 1" in stopped.stderr

    done = repo.run("--yes", "--done", "2")
    assert done.returncode == 0, done.stderr
    assert repo.files() == ["base", "three"]
    message = repo.git("log", "-1", "--format=%an|%at|%B")
    reverted = "\n".join(f"This reverts commit {commit}." for commit in repo.commits[2:0:-1])
    stamp = max(1795132800, int(repo.git("log", "-1", "--format=%ct", head)))
    assert message == f"changeops.rollback|{stamp}|Roll back C001: It's new\n\n{reverted}"
    assert repo.git("status", "--porcelain") == ""

    waits = repo.run("--back", "--yes")
    assert "--back --done 2 --yes" in waits.stderr and repo.git("rev-parse", "HEAD") == head
    assert repo.run("--back", "--yes", "--done", "2").returncode == 0
    assert repo.files() == ["base", "one", "three", "two"]


def test_nothing_is_touched_where_the_revert_conflicts_or_files_are_in_the_way(tmp_path):
    repo = Repo(tmp_path)
    (repo.path / "one").write_text("edited by hand")
    refused = repo.run("--yes", "--done", "2")
    assert refused.returncode == 1 and "nothing was touched" in refused.stderr
    assert "one\nPut your changes away first" in refused.stderr
    shutil.rmtree(tmp_path / "state")
    repo.commit("one", "changed later")
    refused = repo.run("--yes", "--done", "2")
    assert refused.returncode == 1 and "nothing was touched" in refused.stderr
    assert "conflicts" in refused.stderr
    assert repo.git("worktree", "list").count("\n") == 0


def test_a_script_is_run_once_and_its_recover_script_where_it_had_begun(tmp_path):
    """One of the ops repository has to lie beside the break-glass script, and nothing is touched before it does."""
    phase = {
        "role": "changeops.rollback.run_script",
        "name": "run_script",
        "host_names": ["web1"],
        "vars": {
            "run_script_script": "tool.sh",
            "run_script_arguments": ["a b"],
            "run_script_recover": f"{tmp_path}/back.sh",
            "run_script_directory": str(tmp_path),
        },
    }
    step = {"role": "changeops.rollback.manual_step", "name": "manual_step", "host_names": ["web1"]}
    step["vars"] = {"manual_step_instructions": "Purge the queue `it's`"}
    plan = {"change": "C001", "title": "t", "date": "", "digest": "", "phases": [phase, step]}
    path = tmp_path / "rollback-c001.sh"
    path.write_text(script(plan, "web1", {"rollback_state_dir": f"{tmp_path}/state"}))
    back, tool = tmp_path / "back.sh", tmp_path / "tool.sh"
    back.write_text('#!/bin/sh\necho "$ROLLBACK_SCRIPT $(cat "$ROLLBACK_KEEP/it")" >> log\n')
    back.chmod(0o755)
    missing = bash(str(path), "--yes")
    assert missing.returncode == 1 and f"There is no program {tool}. Copy tool.sh there" in missing.stderr
    tool.write_text('#!/bin/sh\necho "$1" >> log; echo kept > "$ROLLBACK_KEEP/it"; exit "${CODE:-0}"\n')
    tool.chmod(0o755)
    assert bash(str(path), "--yes", CODE="3").returncode == 3
    waits = bash(str(path), "--yes")
    assert waits.returncode == 1 and "Purge the queue `it's`" in waits.stdout and "--done 2" in waits.stderr
    assert bash(str(path), "--yes", "--done", "2").returncode == 0
    assert bash(str(path), "--back", "--yes", "--done", "2").returncode == 0
    assert (tmp_path / "log").read_text().splitlines() == ["a b", "a b", "finished kept"]
