# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The observer under real ansible-playbook runs, up to kill -9."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import types
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.changeops.rollback.playbooks.callback_plugins.changeops_observer import problems_of
from ansible_collections.changeops.rollback.plugins.plugin_utils._history import Store, now_utc
from ansible_collections.changeops.rollback.plugins.plugin_utils._history_process import this_process
from ansible_collections.changeops.rollback.plugins.plugin_utils._history_spool import replay
from ansible_collections.changeops.rollback.plugins.plugin_utils._notify_send import signature
from ansible_collections.changeops.rollback.tests.unit.plugins.plugin_utils.places import Web, serving, silent

ROOT = Path(__file__).parents[4]
HOSTS = ("web1", "web2")

# A small run of two phases on two hosts, with the names that the role run uses.
PHASES = [
    {"index": 1, "id": "1-first", "name": "first", "role": "phase"},
    {"index": 2, "id": "2-second", "name": "second", "role": "changeops.rollback.alembic_downgrade"},
]
PHASE_FILE = [
    {"ansible.builtin.set_fact": {"reached": "{{ __run_phase.index }}"}},
    {
        "ansible.builtin.include_role": {"name": "phase", "tasks_from": "{{ __run_step }}"},
        "when": "not (inventory_hostname == 'web1' and only_web2_in | default(0) | int == __run_phase.index)",
    },
]


def _loop(step: str, phases: str = "{{ phases }}") -> dict[str, t.Any]:
    return {
        "ansible.builtin.include_tasks": "phase.yml",
        "loop": phases,
        "loop_control": {"loop_var": "__run_phase"},
        "vars": {"__run_step": step},
    }


def _close(outcome: str) -> dict[str, t.Any]:
    return {
        "changeops.rollback.restore_point": {
            "state": "closed",
            "restore_point": "{{ playbook_dir }}/points/{{ inventory_hostname }}/R",
            "run": "R",
            "outcome": outcome,
        }
    }


RUN = [
    {
        "changeops.rollback.history": {
            "state": "opened",
            "change": "C001",
            "plan_digest": "d1",
            "url": "{{ the_url }}",
            "require_rehearsal": "{{ needs_rehearsal | default('') }}",
        },
        "run_once": True,
    },
    {
        "block": [
            _loop("preflight"),
            _loop("main"),
            _close("succeeded"),
        ],
        "rescue": [
            _loop("recover", "{{ phases | reverse }}"),
            {**_close("recovered"), "any_errors_fatal": False},
            {"ansible.builtin.fail": {"msg": "It was put back."}},
        ],
    },
]
ROLE = {
    "preflight": [{"ansible.builtin.debug": {"msg": "Ready."}}],
    "main": [
        {
            "ansible.builtin.debug": {"msg": "Did it; token=abc"},
            "changed_when": True,
            "when": "skipped_on | default('') != inventory_hostname",
        },
        {
            # What a role deals with itself is no failure of the phase.
            "block": [{"ansible.builtin.fail": {"msg": "first try"}}],
            "rescue": [{"ansible.builtin.fail": {"msg": "never mind, token=abc"}, "ignore_errors": True}],
            "when": "rescued_on | default('') == inventory_hostname",
        },
        {
            "ansible.builtin.fail": {"msg": "disk full"},
            "when": "fail_in | default(0) | int == __run_phase.index and inventory_hostname == 'web2'",
        },
        {
            "ansible.builtin.shell": "touch {{ playbook_dir }}/working; sleep 60",
            "when": "sleep_in | default(0) | int == __run_phase.index",
        },
        {
            "ansible.builtin.command": "mv store away",
            "when": "lose_store | default(false) and inventory_hostname == 'web1' and __run_phase.index == 1",
        },
    ],
    "recover": [{"ansible.builtin.debug": {"msg": "Put back."}}],
}


class Ops:
    """A folder with the small run in it."""

    def __init__(self, path: Path, web: Web) -> None:
        self.path = path
        self.web = web
        self.state = path / "state"
        self.url = f"sqlite:///{path}/store/history.sqlite"
        (path / "roles" / "phase" / "tasks").mkdir(parents=True)
        local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        place = {"kind": "webhook", "name": "hook", "url": web.url(), "secret": "{{ lookup('env', 'HOOK_SECRET') }}"}
        own = {"the_url": self.url, "notify_places": [place]}
        inventory = {"all": {"vars": {**local, **own}, "hosts": {"web1": {}, "web2": {}}}}
        play = {
            "hosts": "all",
            "gather_facts": False,
            "any_errors_fatal": True,
            "vars": {"phases": PHASES},
            "tasks": RUN,
        }
        for name, content in {
            "inventory.yml": inventory,
            "rollback.yml": [play],
            "phase.yml": PHASE_FILE,
            **{f"roles/phase/tasks/{step}.yml": tasks for step, tasks in ROLE.items()},
        }.items():
            (path / name).write_text(yaml.safe_dump(content))
        self.environ = {
            **os.environ,
            "XDG_STATE_HOME": str(self.state),
            "HOOK_SECRET": "hunter2",
            "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "playbooks" / "callback_plugins"),
            "ANSIBLE_HOME": str(path / "home"),
            "ANSIBLE_SSH_ARGS": "-o ConnectTimeout=2",
        }

    def start(self, *arguments: str, playbook: str = "rollback.yml") -> subprocess.Popen[str]:
        program = shutil.which("ansible-playbook", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        assert program
        command = [program, "-i", "inventory.yml", playbook, *arguments]
        return subprocess.Popen(
            command, cwd=self.path, env=self.environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def run(self, *arguments: str, playbook: str = "rollback.yml") -> tuple[int, str]:
        process = self.start(*arguments, playbook=playbook)
        out = process.communicate(timeout=60)[0]
        return process.returncode, out

    def end_in_second_phase(self, number: int) -> tuple[int, str]:
        """Send a signal while the second phase works on its hosts."""
        process = self.start("-e", "sleep_in=2")
        until = time.monotonic() + 40
        while not (self.path / "working").exists():
            assert process.poll() is None and time.monotonic() < until, process.communicate()[0]
            time.sleep(0.05)
        process.send_signal(number)
        out = process.communicate(timeout=30)[0] if number != signal.SIGKILL else ""
        return process.wait(), out

    def runs(self) -> list[dict[str, t.Any]]:
        return Store(self.url, now_utc).runs(this_process(os.getpid()))


@pytest.fixture
def ops(tmp_path: Path) -> t.Iterator[Ops]:
    with serving(Web()) as web:
        yield Ops(tmp_path, web)


def steps(run: dict[str, t.Any]) -> dict[tuple[str, int, str], str]:
    return {(p["host"], p["index"], p["step"]): p["status"] for p in run["phases"]}


def all_of(step: str, status: str = "ok") -> dict[tuple[str, int, str], str]:
    return {(host, index, step): status for host in HOSTS for index in (1, 2)}


def test_a_run_that_succeeds(ops: Ops) -> None:
    # No configuration: the observer comes with any playbook of the collection, imported by its full name.
    del ops.environ["ANSIBLE_CALLBACK_PLUGINS"]
    imports = [{"import_playbook": "changeops.rollback.history"}, {"import_playbook": "rollback.yml"}]
    (ops.path / "site.yml").write_text(yaml.safe_dump(imports))
    code, out = ops.run("-e", "skipped_on=web2", "-e", "rescued_on=web1", playbook="site.yml")
    assert code == 0, out
    [run] = ops.runs()
    expected = {**all_of("preflight"), **all_of("main"), ("web2", 1, "main"): "skipped", ("web2", 2, "main"): "skipped"}
    assert (run["outcome"], steps(run)) == ("succeeded", expected)
    first = next(p for p in run["phases"] if (p["host"], p["index"], p["step"]) == ("web1", 1, "main"))
    assert (first["phase"], first["role"], first["changed"], first["message"]) == (
        *("1-first", "phase", True),
        "never mind, token=********",
    )
    assert first["duration"] >= 0
    assert out.rstrip().splitlines()[-3].startswith("C001: succeeded in ")
    assert out.rstrip().endswith(f"ansible-playbook history_note.yml -e run={run['id']}")
    assert ops.url not in out
    assert ops.web.events() == ["started", "point_of_no_return", "succeeded"]
    told = ops.web.got[-1]
    assert told.headers["X-Changeops-Signature-256"] == signature("hunter2", told.body)
    assert (told.json["run"], told.json["hosts"], told.json["downtime"]) == (run["id"], [*HOSTS], None)
    assert 0 < told.json["duration"] < 60
    assert "To put the change back: ansible-playbook undo.yml -e change=C001" in told.json["next"]
    assert run["notes"] == []


def test_a_place_that_does_not_answer_costs_seconds_at_the_end_and_is_on_record(ops: Ops) -> None:
    with silent() as port:
        places = [{"kind": "slack", "name": "ops", "url": f"http://127.0.0.1:{port}/T0KEN"}, {"kind": "slak"}]
        began = time.monotonic()
        code, out = ops.run("-v", "-e", json.dumps({"notify_places": places}))
        with_it = time.monotonic() - began
    assert code == 0, out
    [run] = ops.runs()
    assert (run["outcome"], run["duration"] < with_it - 4.5) == ("succeeded", True), "the run itself has not waited"
    missed = [f"ops of '{event}': it did not answer within 5 s." for event in ("point_of_no_return", "succeeded")]
    noted = [(note["kind"], note["text"]) for note in run["notes"]]
    assert [("not_notified", text) for text in missed] == noted[-2:]
    assert "place 2: its `kind` is not one of" in noted[0][1]
    words = " ".join(out.split())
    assert all(f"Not notified: {text}" in words for text in missed)
    assert out.index("C001: succeeded in ") < out.index("Not notified: ops of 'succeeded'"), "first how it ended"
    assert "T0KEN" not in out + json.dumps(run)


def test_that_a_run_was_refused_before_it_began_is_told(ops: Ops) -> None:
    code, out = ops.run("-e", "needs_rehearsal=7d")
    assert code == 2, out
    [told] = ops.web.got
    assert (told.json["event"], told.json["outcome"]) == ("refused", "refused")
    assert "C001 was never rehearsed." in told.json["text"]
    assert "hunter2" not in out


def test_a_phase_that_fails_and_is_put_back(ops: Ops) -> None:
    code, out = ops.run("-e", "fail_in=2", "-e", "only_web2_in=1")
    assert code == 2, out
    [run] = ops.runs()
    assert run["outcome"] == "recovered"
    assert run["summary"] == "second failed on web2: disk full. Put back on 2 hosts."
    expected = {**all_of("preflight"), **all_of("main"), ("web2", 2, "main"): "failed", **all_of("recover")}
    for step in ("preflight", "main", "recover"):
        del expected["web1", 1, step]  # the first phase is not meant for it
    assert steps(run) == expected
    assert "C001: recovered after " in out
    assert ops.web.events() == ["started", "point_of_no_return", "recovered"]
    assert out.rstrip().splitlines()[-3] == "The release that was being rolled back runs again."


def test_an_unreachable_host_is_refused_in_preflight(ops: Ops) -> None:
    tasks = [{"ansible.builtin.ping": None}]
    (ops.path / "roles/phase/tasks/preflight.yml").write_text(yaml.safe_dump(tasks))
    closed_port = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    (ops.path / "host_vars").mkdir()
    (ops.path / "host_vars" / "web2.yml").write_text(yaml.safe_dump(closed_port))
    inventory = (ops.path / "inventory.yml").read_text().replace("ansible_connection: local", "unused: x")
    (ops.path / "inventory.yml").write_text(inventory)
    (ops.path / "host_vars" / "web1.yml").write_text("ansible_connection: local\n")
    code, out = ops.run()
    assert code in (2, 4), out
    [run] = ops.runs()
    assert (run["outcome"], steps(run)[("web2", 1, "preflight")]) == ("refused", "unreachable"), out
    assert ops.web.events() == ["started", "refused"]
    assert ops.web.got[-1].json["what"] == run["summary"]
    assert run["summary"].startswith("Preflight of first stopped on web2: the host became unreachable: Failed to ")
    assert run["summary"].endswith(" No host was changed.")


def _read(moment: str) -> dict[str, t.Any]:
    return {
        "changeops.rollback.status": {"config": ["{{ playbook_dir }}/phase.yml"]},
        "vars": {"__run_moment": moment},
        "any_errors_fatal": False,
        "ignore_unreachable": True,
        "ignore_errors": True,
        "when": "not ansible_check_mode",
    }


@pytest.mark.parametrize("gone", [[], ["web2"], ["web1", "web2"]], ids=["none", "one", "all"])
def test_how_hosts_stand_before_and_after_is_shown_and_kept(ops: Ops, gone: list[str]) -> None:
    """Hosts that go away in the first phase are lines of the table after the run, even when none is left to ask."""
    [play] = yaml.safe_load((ops.path / "rollback.yml").read_text())
    play["tasks"].insert(1, _read("before"))
    play["tasks"][-1]["always"] = [_read("after")]
    (ops.path / "rollback.yml").write_text(yaml.safe_dump([play]))
    leave = {"ansible.builtin.command": "touch {{ playbook_dir }}/{{ inventory_hostname }}.gone"}
    main = [{**leave, "when": f"inventory_hostname in {gone}"}, {"ansible.builtin.ping": None}]
    (ops.path / "roles/phase/tasks/main.yml").write_text(yaml.safe_dump(main))
    (ops.path / "host_vars").mkdir()
    for host in HOSTS:
        away = f"'{ops.path}/{host}.gone' is exists"
        closed_port = {"ansible_host": "127.0.0.1", "ansible_port": 1}
        connection = {"ansible_connection": f"{{{{ 'ssh' if {away} else 'local' }}}}", **closed_port}
        (ops.path / "host_vars" / f"{host}.yml").write_text(yaml.safe_dump(connection))
    code, out = ops.run()
    assert (code == 0) == (not gone), out
    before, after = out.index("C001, before:"), out.index("C001, after:")
    assert before < out.index("TASK [Phase" if "TASK [Phase" in out else "phase : "), "before any phase begins"
    assert out.index("PLAY RECAP") < after < out.rindex("C001: "), "the outcome is the last thing that is read"
    [run] = Store(ops.url, now_utc).runs(this_process(os.getpid()), run=ops.runs()[0]["id"])
    said = {moment: {row["host"]: row["said"] for row in rows} for moment, rows in run["truth"].items()}
    assert said["before"] == {"web1": "", "web2": ""}
    assert {host for host, words in said["after"].items() if words} == set(gone)
    assert all(said["after"][host].startswith("unreachable: Failed to connect") for host in gone)
    assert out[after:].count("unreachable: Failed to connect") >= len(gone)


def test_nothing_is_made_up_of_what_was_skipped(ops: Ops) -> None:
    [play] = yaml.safe_load((ops.path / "rollback.yml").read_text())
    play["tasks"][1]["always"] = [_read("after")]
    (ops.path / "rollback.yml").write_text(yaml.safe_dump([play]))
    code, out = ops.run("--check")
    assert code == 0, out
    assert "C001, after:" not in out
    assert Store(ops.url, now_utc).runs(this_process(os.getpid()), run=ops.runs()[0]["id"])[0]["truth"] == {}


def test_a_dry_run_is_one_row_that_says_so(ops: Ops) -> None:
    code, out = ops.run("--check")
    assert code == 0, out
    [run] = ops.runs()
    assert (run["check_mode"], run["outcome"]) == (True, "succeeded")
    assert "C001: dry run succeeded in " in out
    assert ops.web.got == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 99)])
def test_a_run_that_is_ended_is_closed_as_interrupted(ops: Ops, number: int, code: int) -> None:
    returned, out = ops.end_in_second_phase(number)
    assert returned == code, out
    [ended] = ops.runs()
    name = signal.Signals(number).name
    assert (ended["outcome"], ended["summary"]) == (
        "interrupted",
        f"Ended by {name} while main of second ran on web1 and web2.",
    )
    assert steps(ended) == {**all_of("preflight"), **all_of("main"), **{(h, 2, "main"): "running" for h in HOSTS}}
    assert "Next: ansible-playbook rollback.yml -e change=C001 resumes it." in out
    assert ops.web.events() == ["started", "point_of_no_return", "interrupted"]
    assert ops.web.got[-1].json["what"] == ended["summary"]


def test_a_run_that_was_killed_is_found_and_resumed_by_the_next(ops: Ops) -> None:
    ops.end_in_second_phase(signal.SIGKILL)
    assert [got.json["event"] for got in ops.web.wait_for(3)] == ["started", "point_of_no_return", "interrupted"]
    code, out = ops.run()
    assert code == 0, out
    resumed, ended = ops.runs()
    assert (ended["outcome"], resumed["outcome"]) == ("interrupted", "succeeded")
    assert ended["summary"].startswith("Its process ended without closing it while main of second ran on web1")
    assert (resumed["resumes"], resumed["restore_point"]) == (ended["id"], ended["id"])


def test_a_store_that_is_lost_does_not_stop_the_run_and_is_repaired(ops: Ops) -> None:
    code, out = ops.run("-e", "lose_store=true")
    assert code == 0, out
    assert out.count("its record is kept in") == 1
    (ops.path / "away").rename(ops.path / "store")
    assert ops.runs()[0]["outcome"] == "interrupted"
    assert replay(ops.state / "changeops" / "spool", Store(ops.url, now_utc)) == 1
    [run] = ops.runs()
    assert (run["outcome"], steps(run)) == ("succeeded", {**all_of("preflight"), **all_of("main")})


@pytest.mark.parametrize(
    ("action", "variables", "bad", "said"),
    [
        ("ansible.builtin.fail", {}, True, ["It broke."]),
        ("ansible.builtin.fail", {"__run_told": True}, True, []),
        ("changeops.rollback.barrier", {}, True, []),
        ("changeops.rollback.git_revert", {"__run_step": "close"}, False, ["NOT PUSHED"]),
        ("changeops.rollback.git_revert", {"__run_step": "close"}, True, ["It broke."]),
        ("ansible.builtin.command", {}, False, []),
    ],
)
def test_what_is_said_of_the_whole_run(action: str, variables: dict[str, str], bad: bool, said: list[str]) -> None:
    task = types.SimpleNamespace(resolved_action=action, action=action, name="Do it", get_vars=lambda: variables)
    assert problems_of(task, {"msg": "It broke.", "warnings": ["NOT PUSHED"]}, bad) == said
