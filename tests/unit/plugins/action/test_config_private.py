# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The roles config_restore and backup under a real ansible-playbook: templates, and a secret that shows nowhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal

CANARY = "canary-4711"
# what AnsibleModule would write to syslog goes to a file
SPY = """
import os, syslog
def spy(*args):
    with open(os.environ["SPY_LOG"], "a") as log:
        log.write(repr(args) + "\\n")
syslog.syslog = spy
"""
VAULTED = """
      GIVEN_TOKEN: !vault |
{}"""


class Ops:
    """A user's ops repository with a playbook of the roles, and the host's files beside it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.log = place / "syslog"
        self.etc = place / "etc"
        for folder in ("inventory/group_vars", "templates", "etc", "spy"):
            (place / folder).mkdir(parents=True)
        (place / "spy" / "sitecustomize.py").write_text(SPY)
        local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        (place / "inventory" / "hosts.yml").write_text(yaml.safe_dump({"all": {"vars": local, "hosts": {"web1": {}}}}))
        self.environ = {
            **os.environ,
            "XDG_STATE_HOME": str(place / "state"),
            "ANSIBLE_HOME": str(place / "home"),
            "ANSIBLE_VAULT_PASSWORD_FILE": str(place / "vault"),
            "PYTHONPATH": os.pathsep.join([str(place / "spy"), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "SPY_LOG": str(self.log),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        (place / "vault").write_text("open sesame\n")

    def command(self, *argv: str, fails: bool = False) -> str:
        done = subprocess.run(
            argv, cwd=self.place, env=self.environ, text=True, capture_output=True, timeout=120, check=False
        )
        assert bool(done.returncode) is fails, done.stdout + done.stderr
        return done.stdout + done.stderr

    def play(self, config: str, *arguments: str, fails: bool = False) -> str:
        (self.place / "inventory" / "group_vars" / "all.yml").write_text(config)
        roles = [
            {"name": f"changeops.rollback.{role}", "tasks_from": step}
            for role, step in [("backup", "main"), ("config_restore", "preflight"), ("config_restore", "main")]
        ]
        tasks = [{"ansible.builtin.include_role": role} for role in roles]
        back = dict(roles[-1], tasks_from="recover", apply={"tags": ["back"]})
        tasks.append({"ansible.builtin.include_role": back, "tags": ["never", "back"]})
        play = {"hosts": "all", "gather_facts": False, "tasks": tasks}
        play["vars"] = {"backup_restore_point": f"{self.place}/R1/backup"}
        play["vars"]["config_restore_restore_point"] = f"{self.place}/R1/config_restore"
        (self.place / "play.yml").write_text(yaml.safe_dump([play]))
        return self.command("ansible-playbook", "-i", "inventory", "play.yml", *arguments, fails=fails)


@pytest.fixture
def ops(tmp_path: Path) -> Ops:
    return Ops(tmp_path)


def test_a_secret_shows_nowhere_and_a_template_is_rendered(ops):
    """In content, keys, a vault, a template, a kept copy, and what they replace: not in any output, not in syslog."""
    shown = {"content.conf": "listen=1\n", "keys.env": "A=1\n", "template.conf": "a\n", "source.env": "B=1\n"}
    for name, rest in shown.items():
        (ops.etc / name).write_text(f"PASSWORD={CANARY}-old\n{rest}")
    (ops.place / "kept.env").write_text(f"PASSWORD={CANARY}-kept\nB=2\n")
    (ops.place / "templates" / "shop.conf.j2").write_text("password = {{ shop_password }}\nport {{ 8000 + 1 }}\n")
    vaulted = ops.command("ansible-vault", "encrypt_string", f"{CANARY}-vault", "--name", "x").partition("\n")[2]
    config = f"""
shop_password: {CANARY}-variable
rollback_config:
  - path: {ops.etc}/content.conf
    content: |
      PASSWORD={CANARY}-content
      listen=2
  - path: {ops.etc}/keys.env
    keys:
      A: "2"
      PASSWORD: {CANARY}-keys
      FROM_TOKEN: "{{{{ shop_password }}}}"{VAULTED.format(vaulted.rstrip())}
  - path: {ops.etc}/template.conf
    template: shop.conf.j2
  - path: {ops.etc}/source.env
    source: {ops.place}/kept.env
  - {{path: {ops.etc}/new.conf, content: {CANARY}, secret: true, mode: '0600'}}
"""
    printed = ops.play(config, "-vvvv", "--diff")
    (ops.place / "templates" / "shop.conf.j2").rename(ops.place / "away")
    printed += ops.play(config, "-vvvv", "--diff", "--tags", "back")
    (ops.place / "away").rename(ops.place / "templates" / "shop.conf.j2")
    assert (ops.etc / "template.conf").read_text() == f"PASSWORD={CANARY}-old\na\n", "recovery needs no template"
    log = ops.log.read_text()
    assert log.count("Invoked with") == 4
    assert f"{ops.etc}/keys.env" in printed, "paths are no secrets"
    assert "+listen=2" in printed, "nor is the rest of a file"
    assert "port 8001" in printed
    assert CANARY not in printed
    assert CANARY not in log
    for path in (ops.place / "R1").rglob("*.json"):
        assert CANARY not in path.read_text(), path
    ops.play(config)
    assert (ops.etc / "content.conf").read_text() == f"PASSWORD={CANARY}-content\nlisten=2\n"
    assert (ops.etc / "keys.env").read_text() == (
        f"PASSWORD={CANARY}-keys\nA=2\nFROM_TOKEN={CANARY}-variable\nGIVEN_TOKEN={CANARY}-vault\n"
    )
    assert (ops.etc / "template.conf").read_text() == f"password = {CANARY}-variable\nport 8001\n"
    assert (ops.etc / "new.conf").read_text() == CANARY


SERVER = """
import http.server, pathlib, sys
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        pathlib.Path(sys.argv[3]).write_text(pathlib.Path(sys.argv[2]).read_text())
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Health).serve_forever()
"""


def test_a_rehearsal_starts_the_app_with_a_secret_that_shows_nowhere(ops):
    repo, env_file, seen = ops.place / "repo", ops.etc / "shop.env", ops.place / "seen"
    ops.command("git", "init", "-q", str(repo))
    git = ["git", "-C", str(repo), "-c", "user.name=U", "-c", "user.email=u@example.org"]
    for text in ("one", "two"):
        (repo / "app.py").write_text(text)
        ops.command(*git, "add", ".")
        ops.command(*git, "commit", "-qm", text)
    bad = ops.command(*git, "rev-parse", "HEAD").strip()
    env_file.write_text(f"PASSWORD={CANARY}-old\n")
    given = {
        "rollback_repo": str(repo),
        "git_revert_commits": bad,
        "rollback_app": {
            "command": [sys.executable, "-c", SERVER, "{port}", "{config}" + str(env_file), str(seen)],
            "health": "http://127.0.0.1:{port}/",
        },
        "rollback_restored_config": {
            "repo": str(repo),
            "paths": [{"path": str(env_file), "keys": {"PASSWORD": f"{CANARY}-keys"}}],
            "commits": [bad],
        },
    }
    role = {"name": "changeops.rollback.git_revert", "tasks_from": "rehearse"}
    tasks = [{"ansible.builtin.include_role": role}]
    play = {"hosts": "all", "gather_facts": False, "check_mode": True, "vars": given, "tasks": tasks}
    (ops.place / "play.yml").write_text(yaml.safe_dump([play]))
    printed = ops.command("ansible-playbook", "-vvvv", "-i", "inventory", "play.yml")
    assert seen.read_text() == f"PASSWORD={CANARY}-keys\n"
    assert env_file.read_text() == f"PASSWORD={CANARY}-old\n"
    assert "The app of that code starts (" in printed and "Invoked with" in ops.log.read_text()
    assert CANARY not in printed and CANARY not in ops.log.read_text()
    assert not [path for path in (ops.place / "state").rglob("*") if not path.is_dir()]


REFUSALS = [
    Refusal(
        "a template that is missing",
        "There is no template 'none.j2' for /x. Put it into <folder>/templates, or correct its name.",
        {"template": "none.j2"},
    ),
    Refusal(
        "a template outside the ops repository",
        "The template '../outside.j2' for /x lies outside <folder>, at <file>. Put it in there.",
        {"template": "../outside.j2"},
    ),
    Refusal(
        "a template with an unknown variable",
        "The template <file> for /x cannot be rendered: 'shop_nothing' is undefined",
        {"template": "unknown.j2"},
    ),
    Refusal(
        "a template and a second origin",
        "config_restore_paths: /x has template and content. Write one of them.",
        {"template": "unknown.j2", "content": "canary"},
    ),
    Refusal(
        "a password in the address of a database",
        "The URL of PostgreSQL database shop on db1 holds a password, which would be logged. Take it out, and put "
        "PGPASSWORD or PGPASSFILE into a file of rollback_environment_files; or name the variable there that holds the "
        "whole URL.",
        {"postgresql": "postgresql://app:canary@db1/shop"},
    ),
]


def test_refused(tmp_path):
    (tmp_path / "outside.j2").write_text("x\n")
    (tmp_path / "ops").mkdir()
    ops = Ops(tmp_path / "ops")
    (ops.place / "templates" / "unknown.j2").write_text("{{ shop_nothing }}\n")
    tasks = [
        {"changeops.rollback.backup": {"databases": [row.given]}, "ignore_errors": True}
        if "postgresql" in row.given
        else {"changeops.rollback.config_restore": {"paths": [{"path": "/x", **row.given}]}, "ignore_errors": True}
        for row in REFUSALS
    ]
    play = {"hosts": "all", "gather_facts": False, "tasks": tasks}
    (ops.place / "play.yml").write_text(yaml.safe_dump([play]))
    printed = ops.command("ansible-playbook", "-vvv", "-i", "inventory", "play.yml").replace('\\"', '"')
    for row in REFUSALS:
        assert row.found_in(printed), (row.case, printed)
    assert f"ignored={len(REFUSALS)}" in printed
    assert "canary" not in printed
    assert not ops.log.exists(), "the host was not asked"
