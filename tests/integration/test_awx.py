# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs of AWX with the history in PostgreSQL: who ran it, what came of it, and how the next job goes on.

What the phases do to an app is no matter of AWX, so these are scripts, which wait and fail when they are told to.
"""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal

from awx import REVISION, SERVER, Awx

REFUSALS = [
    Refusal(
        "a history that is a file in the container of an AWX job",
        "The history would be a file in the container of AWX job <number> and vanish with it: no later job would find "
        "this run, its lock or its rehearsal. Keep it in PostgreSQL: set CHANGEOPS_HISTORY_URL by a credential type, "
        "or rollback_history_url, to postgresql://changeops@db.example.com/changeops, say. Where the file lies on a "
        "volume that stays: rollback_allow_ephemeral_history: true.",
    ),
    Refusal(
        "a slice of an AWX job, for a plan with a database phase",
        "C001 (<file>) changes a database, and this job is a slice of template 'rollback', with a part of the "
        "inventory only: apps on the other hosts would still use the database. Set the template's job slicing to 1. (A "
        "workflow that has the name of its template looks the same: rename it.)",
    ),
    Refusal(
        "a host that a plan with a database phase names and the inventory lacks",
        "C001 (<file>) changes a database, and the inventory has no shop2: apps there would still use it. Run it with "
        "an inventory that has all hosts of the plan, or take those that are gone out of the plan.",
    ),
]
FILE, SLICE, LACKS = REFUSALS
SCRIPT = """#!/bin/sh
set -e
echo "$1" >> began
if [ "$(cat hold 2>/dev/null)" = "$1" ]; then rm hold; echo $$ > reached; sleep 600; fi
if [ "$(cat flag 2>/dev/null)" = "$1" ]; then echo "not $1, as told"; exit 1; fi
echo "$1" >> done
"""


class Scripts:
    """A project whose only plan runs two scripts, ``first`` and ``second``, on one host."""

    def __init__(self, root: Path) -> None:
        self.root = root / "ops"
        self.host = root / "host"
        self.script = self.root / "changes" / "step.sh"
        local = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
        self.hosts: dict[str, dict[str, t.Any]] = {"shop1": local}
        self.group_vars = {"rollback_state_dir": str(root / "state")}
        self.phases: list[dict[str, t.Any]] = [
            # a role of the user's own is always run, and with it the scripts
            {
                "role": "acme.own.sabotage",
                "vars": {"sabotage_argv": ["true"], "sabotage_flag": str(self.host / "none")},
            },
            *({"role": "run_script", "estimate": "1m", "vars": self.step(name)} for name in ("first", "second")),
        ]
        self.plan: dict[str, t.Any] = {"title": "T", "date": "2026-11-20", "hosts": "shop"}
        self.host.mkdir()
        self.script.parent.mkdir(parents=True)
        self.script.write_text(SCRIPT)

    def step(self, name: str) -> dict[str, t.Any]:
        return {
            "run_script_script": "step.sh",
            "run_script_arguments": [name],
            "run_script_directory": str(self.host),
        }

    def write(self) -> None:
        for name in ("rollback", "rehearse", "undo", "history"):
            play = [{"name": name, "ansible.builtin.import_playbook": f"changeops.rollback.{name}"}]
            (self.root / f"{name}.yml").write_text(yaml.safe_dump(play))
        (self.root / "changes" / "C001.yml").write_text(yaml.safe_dump({**self.plan, "phases": self.phases}))

    def lines(self, name: str) -> list[str]:
        """Which scripts began, or were done, in their order."""
        path = self.host / name
        return path.read_text().split() if path.exists() else []


@pytest.fixture
def ops(tmp_path: Path) -> Scripts:
    project = Scripts(tmp_path)
    project.write()
    return project


def test_who_and_where_what_came_of_it_and_what_is_refused(awx: Awx, ops: Scripts) -> None:
    url, awx.url = awx.url, ""
    refused = awx.run("rollback.yml", change="C001")
    assert FILE.found_in(refused.stdout)
    told = refused.artifacts()
    assert (told["rollback_outcome"], told["rollback_kind"]) == ("refused", "rollback")
    assert FILE.matches(told["rollback_summary"])
    awx.url = url
    assert awx.run("rollback.yml", change="").saw("Say which change: add -e change=C001 to the command.")
    rehearsal = awx.run("rehearse.yml", "schedule", change="C001", notes="", outside_window="")
    told = rehearsal.artifacts()
    assert (told["rollback_outcome"], told["rollback_kind"]) == ("succeeded", "rehearsal")
    assert "In all: " in told["rollback_expected"]
    dry = awx.run("rollback.yml", check=True, change="C001")
    told = dry.artifacts()
    assert (dry.status, told["rollback_outcome"], told["rollback_check_mode"]) == ("successful", "succeeded", True)
    assert told["rollback_summary"] == "A dry run: nothing was changed."
    assert (ops.lines("began"), [*(ops.host.parent / "state").rglob("*")]) == ([], [])

    note = '{{ 7 * 7 }} "quoted", it\'s two\nlines'
    job = awx.run("rollback.yml", "workflow", verbosity=1, change="C001", notes=note, break_lock="")
    assert job.status == "successful"
    assert ops.lines("done") == ["first", "second"]
    assert not job.saw("Wait until every slice has come to"), "a run without slices would take longer"
    first, tried, second = awx.history()
    assert first["executed_by"] == "schedule weekly"
    assert (tried["outcome"], tried["check_mode"], tried["executed_from"]) == ("succeeded", 1, f"AWX job {dry.ident}")
    assert (second["executed_by"], second["executed_from"]) == ("lee", f"AWX job {job.ident} of workflow 3")
    assert second["job"] == {
        "id": job.ident,
        "launch_type": "workflow",
        "template": "rollback",
        "workflow_id": 3,
        "workflow": "Rehearse, approve, roll back",
        "revision": REVISION,
        "branch": "main",
        "inventory": "production",
        "url": f"{SERVER}/#/jobs/playbook/{job.ident}",
    }
    assert [n["text"] for n in second["notes"]] == [note]
    told = job.artifacts()
    assert {name.partition("_")[0] for name in told} == {"rollback"}
    assert (told["rollback_outcome"], told["rollback_check_mode"]) == ("succeeded", False)
    assert told["rollback_run"] == second["id"]
    assert (told["rollback_summary"], told["rollback_loss"]) == (second["summary"], [])
    assert list(told["rollback_phase_durations"])[1:] == ["2-run_script", "3-run_script"]
    assert sum(told["rollback_phase_durations"].values()) < told["rollback_duration"]

    shown = awx.run("history.yml", change="", run=second["id"], format="", limit_runs="")
    assert shown.saw(f"AWX job {job.ident} of workflow 3 (template rollback, launched by workflow Rehearse,")
    assert shown.saw(f"{SERVER}/#/jobs/playbook/{job.ident}")


def test_a_refused_job_a_failed_one_and_its_relaunch(awx: Awx, ops: Scripts) -> None:
    ops.plan["on_failure"] = "stop"
    ops.script.write_text(f"{SCRIPT}if")
    ops.write()
    refused = awx.run("rollback.yml", "webhook", change="C001")
    assert refused.status == "failed"
    told, [run] = refused.artifacts(), awx.history()
    assert (told["rollback_outcome"], told["rollback_run"]) == ("refused", run["id"])
    assert (run["outcome"], run["executed_by"]) == ("refused", "webhook push")
    assert told["rollback_summary"] == run["summary"]
    assert ops.lines("began") == []

    ops.script.write_text(SCRIPT)
    (ops.host / "flag").write_text("second")
    failed = awx.run("rollback.yml", change="C001")
    assert failed.status == "failed"
    told, run = failed.artifacts(), awx.history()[-1]
    assert (told["rollback_outcome"], run["outcome"]) == ("failed", "failed")
    assert "not second, as told" in told["rollback_summary"]
    assert "shop1" in json.dumps([event for event in failed.events() if event["event"] == "runner_on_failed"])

    (ops.host / "flag").unlink()
    again = awx.run("rollback.yml", "relaunch", limit="shop1", change="C001")
    assert again.status == "successful"
    assert (ops.lines("began"), ops.lines("done")) == (["first", "second", "second"], ["first", "second"])
    last = awx.history()[-1]
    assert (last["resumes"], last["restore_point"], last["limit"]) == (run["id"], run["restore_point"], "shop1")
    assert last["job"]["launch_type"] == "relaunch"


@pytest.mark.parametrize(("step", "timeout"), [("first", 0), ("second", 45)], ids=["cancelled", "out-of-time"])
def test_one_at_a_time_and_one_that_was_killed_is_gone_on_with(awx: Awx, ops: Scripts, step: str, timeout: int) -> None:
    (ops.host / "hold").write_text(step)
    held = awx.start("rollback.yml", "webhook", timeout=timeout, change="C001")
    try:
        held.wait_for(ops.host / "reached")
        if not timeout:
            held.freeze()
        other = awx.run("undo.yml", change="C001", template="Undo")
        assert other.status == "failed"
        assert other.saw(f"C001 is being rolled back by webhook push (AWX job {held.ident})")
        assert other.saw("after 60 s without one it counts as dead")
        told = other.artifacts()
        assert (told["rollback_outcome"], told["rollback_kind"], told["rollback_change"]) == ("refused", "undo", "C001")
        assert told["rollback_summary"].startswith("C001 is being rolled back by webhook push")
    finally:
        if timeout:
            held.run_out()
        else:
            held.cancel()
    held.wait()
    assert held.status == ("timeout" if timeout else "")
    awx.wait_a_minute()
    again = awx.run("rollback.yml", change="C001")
    assert again.status == "successful"
    assert ops.lines("done") == ["first", "second"]
    assert ops.lines("began") == (["first", "first", "second"] if step == "first" else ["first", "second", "second"])
    first, refused, last = awx.history()
    assert (first["outcome"], refused["outcome"], last["outcome"]) == ("interrupted", "refused", "succeeded")
    assert "main of run_script ran on shop1" in first["summary"]
    assert (last["resumes"], last["restore_point"]) == (first["id"], first["restore_point"])


def test_a_slice_or_an_inventory_without_all_hosts_changes_no_database(awx: Awx, ops: Scripts) -> None:
    revisions = {"alembic_downgrade_from": "8ae1f0c2", "alembic_downgrade_to": "51b7d9aa"}
    ops.phases.append({"role": "alembic_downgrade", "hosts": "shop[0]", "vars": revisions})
    ops.hosts["shop2"] = ops.hosts["shop1"]
    ops.write()
    assert SLICE.found_in(awx.run("rollback.yml", part=(2, 2), change="C001").stdout)
    del ops.hosts["shop2"]
    ops.plan["hosts"] = "shop1,shop2"
    ops.write()
    assert LACKS.found_in(awx.run("rollback.yml", change="C001").stdout)
    assert ops.lines("began") == []
