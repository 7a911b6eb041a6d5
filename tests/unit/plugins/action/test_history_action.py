# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules history and history_info, and the playbook history.yml, under a real ansible-playbook."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[4]
OPEN = {"state": "opened", "change": "C001", "plan_digest": "d1"}
TASKS = [
    {"changeops.rollback.history": OPEN, "register": "first"},
    {"changeops.rollback.history": OPEN, "register": "second", "ignore_errors": True},
    {
        "changeops.rollback.history": dict(OPEN, break_lock="{{ first.run.id }}", limit="web1"),
        "register": "third",
    },
    {"changeops.rollback.history": dict(OPEN, change="C002"), "check_mode": True, "register": "dry"},
    {"changeops.rollback.history": {"state": "noted", "run": "{{ third.run.id }}", "note": "Incident 4711."}},
    {
        "changeops.rollback.history": {"state": "noted", "run": "R0", "note": "x"},
        "register": "noted",
        "ignore_errors": True,
    },
    {"changeops.rollback.history": {"state": "opened"}, "register": "bad", "ignore_errors": True},
    {"changeops.rollback.history_info": {"change": "C001", "last": 5}, "register": "info"},
    {"changeops.rollback.history_info": {"url": "mysql://u:hunter2@h/d"}, "register": "wrong", "ignore_errors": True},
    {
        "ansible.builtin.copy": {
            "dest": "{{ playbook_dir }}/results.json",
            "content": "{{ {'first': first, 'second': second, 'third': third, 'dry': dry, 'noted': noted, 'bad': bad,"
            " 'info': info, 'wrong': wrong} | to_json }}",
        }
    },
]


def playbook(path: Path, *arguments: str) -> str:
    inventory = path / "inventory.yml"
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    secret = f"sqlite:///{path}/kept-here.sqlite"
    content = {"all": {"vars": {**local, "rollback_history_url": secret}, "hosts": {"web1": {}, "web2": {}}}}
    inventory.write_text(yaml.safe_dump(content))
    environ = {
        **os.environ,
        "XDG_STATE_HOME": str(path / "state"),
        "ANSIBLE_HOME": str(path / "home"),
        "COLUMNS": "160",
    }
    environ["PATH"] = f"{Path(sys.executable).parent}:{environ['PATH']}"
    command = ["ansible-playbook", "-i", str(inventory), *arguments]
    done = subprocess.run(command, cwd=path, env=environ, text=True, capture_output=True, timeout=90, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_modules_and_the_playbook(tmp_path: Path) -> None:
    play = {"hosts": "web1", "gather_facts": False, "tasks": TASKS}
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    out = playbook(tmp_path, "play.yml", "-vvv")
    assert f"sqlite:///{tmp_path}" not in out
    results = json.loads((tmp_path / "results.json").read_text())
    first, third = results["first"]["run"], results["third"]["run"]
    assert (first["resumed"], first["restore_point"], first["broke_lock"]) == (False, first["id"], "")
    assert f"(run {first['id']})" in results["second"]["msg"]
    refused, *before = [run["id"] for run in results["info"]["runs"]][1:]
    assert before == [first["id"]]
    assert (third["broke_lock"], sorted(third["dead_runs"])) == (first["id"], sorted([first["id"], refused]))
    assert results["dry"]["run"]["check_mode"] is True
    assert "There is no run R0" in results["noted"]["msg"]
    assert "change, plan_digest" in results["bad"]["msg"]
    assert [run["outcome"] for run in results["info"]["runs"]] == [None, "refused", "interrupted"]
    assert (results["info"]["runs"][0]["limit"], results["info"]["runs"][0]["notes"][0]["text"]) == (
        "web1",
        "Incident 4711.",
    )
    assert not [name for name, result in results.items() if result["changed"]]
    assert "not in mysql" in results["wrong"]["msg"]
    assert "hunter2" not in json.dumps(results)

    history = str(ROOT / "playbooks" / "history.yml")
    table = playbook(tmp_path, history, "--limit", "web2")
    assert first["id"] in table
    assert "when (UTC)" in table
    told = playbook(tmp_path, history, "-e", "change=C002", "-e", "format=json")
    text = told[told.index("\n[\n") : told.index("\n]\n") + 3]
    assert [run["change"] for run in json.loads(text)] == ["C002"]
