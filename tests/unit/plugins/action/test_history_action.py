# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules history and history_info, and the playbook history.yml, under a real ansible-playbook."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import yaml
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal

ROOT = Path(__file__).parents[4]
OPEN = {"state": "opened", "change": "C001", "plan_digest": "d1"}
ALWAYS = {"start": "00:00", "end": "24:00"}
OVER = [{"start": "2020-01-01T00:00", "end": "2020-01-02T00:00", "zone": "Europe/Berlin"}]
REFUSALS = [
    Refusal(
        "slices with a history in a file",
        "The slices of a run meet in the history, so it has to be one that all of them reach. Set "
        "rollback_history_url, or CHANGEOPS_HISTORY_URL with a credential, to a PostgreSQL database.",
        "meet",
    ),
    Refusal(
        "a rehearsal, an undo or a dry run in slices",
        "Only a rollback can be run in slices, and no dry run. Run this on one node, without rollback_slice.",
        "sliced",
    ),
]
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
        "changeops.rollback.history": dict(OPEN, change="C003", maintenance=OVER),
        "register": "outside",
        "ignore_errors": True,
    },
    {
        "changeops.rollback.history": dict(OPEN, change="C003", maintenance=OVER, outside_window="down", note="INC 1"),
        "register": "reasoned",
    },
    {
        "changeops.rollback.history": dict(OPEN, change="C003", maintenance=OVER),
        "check_mode": True,
        "register": "told",
    },
    {
        "changeops.rollback.history": dict(OPEN, change="C004", maintenance=[{**ALWAYS, "zone": "UTC"}]),
        "register": "inside",
    },
    {
        "changeops.rollback.history": {"state": "noted", "run": "R0", "note": "x"},
        "register": "noted",
        "ignore_errors": True,
    },
    {"changeops.rollback.history": {"state": "opened"}, "register": "bad", "ignore_errors": True},
    {"changeops.rollback.history": dict(OPEN, slice="1/2"), "register": "meet", "ignore_errors": True},
    {
        "changeops.rollback.history": dict(OPEN, slice="1/2", kind="rehearsal"),
        "register": "sliced",
        "ignore_errors": True,
    },
    {"changeops.rollback.history_info": {"change": "C001", "last": 5}, "register": "info"},
    {"changeops.rollback.history_info": {"url": "mysql://u:hunter2@h/d"}, "register": "wrong", "ignore_errors": True},
    {
        "ansible.builtin.copy": {
            "dest": "{{ playbook_dir }}/results.json",
            "content": "{{ {'outside': outside, 'reasoned': reasoned, 'told': told, 'inside': inside,"
            " 'first': first, 'second': second, 'third': third, 'dry': dry, 'noted': noted, 'bad': bad,"
            " 'info': info, 'wrong': wrong, 'meet': meet, 'sliced': sliced} | to_json }}",
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


def at_a_terminal(path: Path, answers: list[bytes], *arguments: str) -> str:
    """Type ``answers``, each once it is asked for, at a terminal; returns all that was shown."""
    pid, terminal = pty.fork()
    if not pid:
        os.chdir(path)
        os.environ.update(XDG_STATE_HOME=str(path / "state"), ANSIBLE_HOME=str(path / "home"), COLUMNS="200")
        os.execvp("ansible-playbook", ["ansible-playbook", "-i", str(path / "inventory.yml"), *arguments])
    shown, asked = b"", 0
    try:
        while select.select([terminal], [], [], 60)[0]:
            shown += os.read(terminal, 4096)
            while shown.count(b"(Enter for nothing)") > asked:
                time.sleep(0.3)  # what is typed before it reads is thrown away
                os.write(terminal, answers[asked] + b"\r")
                asked += 1
    except OSError:  # it has ended
        pass
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, shown
    os.close(terminal)
    return shown.decode()


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
    assert f"The last runs are {results['inside']['run']['id']}, " in results["noted"]["msg"]
    assert "C003 may be rolled back in its maintenance windows only." in results["outside"]["msg"]
    assert results["reasoned"]["run"]["window"].startswith("Outside of its maintenance windows, because: down. Of its ")
    assert results["told"]["run"]["window"].startswith(
        "Now it would be refused, being outside of its maintenance windo"
    )
    assert results["inside"]["run"]["window"].startswith("The maintenance window is open until ")
    assert "change, plan_digest" in results["bad"]["msg"]
    for refusal in REFUSALS:
        assert refusal.matches(results[refusal.given]["msg"]), results[refusal.given]
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

    reasoned = results["reasoned"]["run"]["id"]
    note = str(ROOT / "playbooks" / "history_note.yml")
    said = playbook(tmp_path, note, "-e", f"run={reasoned}", "-e", "cause=disk was full", "-e", "fix=alert at 80 %")
    assert f"Noted at run {reasoned}: Cause: disk was full | Planned fix: alert at 80 %" in said
    shown = playbook(tmp_path, history, "-e", f"run={reasoned}", "-e", "format=markdown")
    notes = [line.split(" | ")[1:] for line in shown.splitlines() if line.endswith(" |") and ": " in line][-4:]
    assert [words.rstrip(" |") for _who, words in notes] == [
        *("Note: INC 1", "Outside of its maintenance windows, because: down"),
        *("Cause: disk was full", "Planned fix: alert at 80 %"),
    ]
    assert {who for who, _words in notes} == {results["reasoned"]["run"]["executed_by"]}

    told = at_a_terminal(tmp_path, [b"a lock", b"", b"INC 2"], note, "-e", f"run={third['id']}")
    assert "What was the cause?" in told
    assert f"Noted at run {third['id']}: Cause: a lock | Note: INC 2" in told
