# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What plan, inventory and history say of one change."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.changeops.rollback.plugins.plugin_utils._report_run import downtime, last_run
from ansible_collections.changeops.rollback.plugins.plugin_utils._report_view import status
from ansible_collections.changeops.rollback.plugins.plugin_utils._report_view import view as make_view
from ansible_collections.changeops.rollback.tests.unit.plugins.plugin_utils import report_sample as sample

MAIN = {"phases": [sample.row("web1", 1, "main", 0, 1.0)]}
SKIPPED = {"phases": [sample.row("web1", 1, "main", 0, 1.0, status="skipped", changed=False)]}
BACK = {"phases": [sample.row("web1", 1, "recover", 0, 1.0)]}
LOOKED = {"phases": [sample.row("web1", 1, "preflight", 0, 1.0)]}


def run(outcome: str | None, kind: str = "rollback", **values: t.Any) -> dict[str, t.Any]:
    return sample.run(0, outcome, 10.0, "", kind=kind, **values)


@pytest.mark.parametrize(
    ("runs", "done", "words"),
    [
        ([], False, "never rolled back"),
        ([run("succeeded", **MAIN)], True, "rolled back"),
        ([run("succeeded", kind="rehearsal", check_mode=True)], False, "never rolled back"),
        ([run("succeeded", check_mode=True, **MAIN)], False, "never rolled back"),
        ([run("recovered", **MAIN)], False, "not rolled back, recovered"),
        ([run("failed", **MAIN), run("succeeded", **MAIN)], False, "half-way"),
        ([run("interrupted", **MAIN)], False, "half-way"),
        ([run("interrupted", **LOOKED)], False, "never rolled back"),
        ([run("interrupted", **SKIPPED)], False, "never rolled back"),
        ([run("refused", **LOOKED), run("succeeded", **MAIN)], True, "rolled back"),
        ([run("succeeded", kind="undo", **BACK), run("succeeded", **MAIN)], False, "undone"),
        ([run("recovered", kind="undo", **BACK), run("succeeded", **MAIN)], True, "rolled back, undo recovered"),
        ([run("refused", kind="undo", **LOOKED), run("succeeded", **MAIN)], True, "rolled back"),
        ([run(None, **MAIN)], False, "being rolled back"),
        ([run(None, kind="undo")], False, "being undone"),
    ],
)
def test_status(runs: list[dict[str, t.Any]], done: bool, words: str) -> None:
    assert status(runs) == {"done": done, "words": words}


def test_last_run_is_the_one_that_did_something() -> None:
    did, nothing = run("succeeded", **MAIN), run("succeeded", phases=[{**MAIN["phases"][0], "changed": False}])
    others = [
        run("refused", **LOOKED),
        run("succeeded", check_mode=True, **MAIN),
        run("succeeded", kind="undo", **BACK),
    ]
    assert last_run([*others, nothing, did]) is did
    assert last_run([*others, nothing]) is nothing
    assert last_run(others) is None


@pytest.mark.parametrize(
    ("rows", "seconds"),
    [
        ([(2, "main", 10, 5.0), (6, "main", 30, 4.0)], 24.0),
        ([(2, "main", 10, 5.0), (4, "main", 15, 4.0), (2, "recover", 40, 3.0)], 33.0),
        ([(2, "main", 10, 5.0), (4, "main", 15, 4.0)], None),
    ],
)
def test_downtime(rows: list[tuple[int, str, float, float]], seconds: float | None) -> None:
    found = downtime(run("failed", phases=[sample.row("web1", *one) for one in rows]))
    assert found is not None
    assert found["seconds"] == seconds
    assert downtime(run("failed", **MAIN)) is None


def test_a_change_with_everything() -> None:
    view = sample.view()
    assert view["complexity"] == "complex"
    assert [step["phases"] for step in view["steps"]] == [
        *(["1-backup"], ["2-service_stop"], ["4-git_revert"], ["3-alembic_downgrade"], ["5-config_restore"]),
        *(["6-service_start"], ["7-verify"], []),
    ]
    assert view["steps"][3]["commands"][0]["hosts"] == ["web1"]
    assert view["steps"][2]["commands"][0]["user"] == "shop"
    times = {row["step"]: (row["estimated"], row["actual"]) for row in view["times"]}
    assert times["Revert Database"] == (60.0, 71.0)
    assert times["Revert Config"] == (None, 5.0), "a run is no estimate of itself"
    assert times["Preparation"] == (30.0 + 16.0, 24.0 + 16.0), "with all preflights"
    assert times["Total"][1] == 201.0
    assert view["last"]["loss"] == [
        {"host": "web1", "phase": "3-alembic_downgrade", "lost": ["invoices.total (12003 values)"],
         "exported": {"invoices": 12003}}
    ]  # fmt: skip
    odd = [(row["host"], fact["text"]) for row in view["last"]["truth"]["before"] for facts in row["columns"].values()
           for fact in facts if fact["odd"]]  # fmt: skip
    assert odd == [("web2", "0badc0de0b"), ("web2", "shop-web stopped")]
    assert [box["done"] for box in view["issues"]] == [True, False, False, True]
    assert view["issues"][3]["words"] == ["rehearsed on 2026-11-25"], "nothing of its app was started then"
    assert json.loads(json.dumps(view)) == view


def test_without_an_estimate_in_the_plan_it_is_as_in_earlier_runs() -> None:
    earlier = [{**sample.row("web1", 5, "main", 0, took), "started": sample.at(0), "finished": sample.at(took)}
               for took in (2.0, 8.0, 9.0)]  # fmt: skip
    runs = [sample.run(days, "succeeded", 9.0, "", phases=[one]) for days, one in enumerate(earlier, 1)]
    phase = make_view(sample.PLAN, {}, [sample.runs()[0], *runs], {})["phases"][4]
    assert (phase["expected"], phase["expected_from"], phase["actual"]) == (8.0, "earlier runs", 5.0)


def test_a_plan_without_a_history() -> None:
    view = make_view(sample.PLAN, dict.fromkeys(sample.HOSTS, sample.INVENTORY), [], {})
    assert (view["last"], view["rehearsal"], view["history"]) == (None, None, [])
    assert not [box for group in (view["validation"], view["tests"]) for box in group if box["done"]]
    assert not [box for step in view["steps"] for box in step["boxes"] if box["done"]]
    assert [row["estimated"] for row in view["times"]] == [30.0, 10.0, 20.0, 60.0, None, 20.0, 30.0, 170.0]
    assert {row["actual"] for row in view["times"]} == {None}
    assert [box["done"] for box in view["issues"]] == [True, True, False, True]
    assert view["issues"][1]["words"] == ["not rehearsed with this plan"]


def test_a_plan_that_is_not_possible() -> None:
    plan = {**sample.PLAN, "possible": False, "reason": "The rows are gone", "method": "manual", "phases": []}
    view = make_view(plan, {}, [], {})
    assert (view["possible"], view["reason"], view["phases"], view["expected"]) == (False, "The rows are gone", [], [])
    assert {word for step in view["steps"][1:6] for box in step["boxes"] for word in box["words"]} <= {
        *("not in this plan", "there is one service only")
    }


def test_a_rehearsal_of_another_plan_rules_nothing_out() -> None:
    tried = [{**run, "plan_digest": "0" * 64} for run in sample.runs()]
    view = make_view(sample.PLAN, dict.fromkeys(sample.HOSTS, sample.INVENTORY), tried, sample.TRUTH)
    assert view["rehearsal"]["same_plan"] is False
    assert view["issues"][1]["done"]
    assert "rehearsed with this plan" in view["issues"][1]["words"][0]


def test_notes_of_the_last_run_tick_what_they_are() -> None:
    notes = [{"text": "Rounding", "kind": "cause"}, {"text": "Round once", "kind": "fix"}]
    runs = [{**sample.runs()[0], "notes": notes}]
    boxes = {box["text"]: box for box in make_view(sample.PLAN, {}, runs, {})["steps"][7]["boxes"]}
    assert (boxes["Analyze failure"]["done"], boxes["Analyze failure"]["words"]) == (True, ["Rounding"])
    assert (boxes["Plan fix"]["done"], boxes["Plan fix"]["words"]) == (True, ["Round once"])


def test_no_password_gets_into_a_view() -> None:
    url = "postgresql://shop:hunter2@db1/shop"
    runs = [{**run, "summary": f"It failed at {url}"} for run in sample.runs()]
    inventory = {
        "rollback_repo": "/srv/shop",
        "rollback_checks": [{"sql": {"database": url, "query": "SELECT 1", "expected": 1}}],
        "backup_databases": [{"postgresql": url}],
        "backup_password": "hunter2",
        "rollback_services": [{"name": "x", "manager": "command", "stop": ["stop", "--token=hunter2"]}],
    }
    plan = {**sample.PLAN, "title": f"Move away from {url}", "reason": url}
    plan["phases"] = [{**phase, "vars": {**phase["vars"], "acme_secret": "hunter2"}} for phase in plan["phases"]]
    plan["phases"][0] = {**plan["phases"][0], "environment": {"KEY": "hunter2"}}
    plan["phases"].append({**plan["phases"][6], "role": "acme.own.thing", "name": "thing", "id": "8-thing", "index": 8})
    text = json.dumps(make_view(plan, dict.fromkeys(sample.HOSTS, inventory), runs, sample.TRUTH))
    assert "hunter2" not in text
    assert "SELECT 1" in text
    assert "acme_secret: ********" in text


@pytest.mark.parametrize(
    ("plan", "inventory", "box", "done", "words"),
    [
        ({}, {}, 2, False, ["no maintenance window is named"]),
        (
            {"maintenance": [{"days": ["sat", "sun"], "start": "02:00", "end": "05:00", "zone": "Europe/Paris"}]},
            {"rollback_maintenance": [{"start": "x", "end": "y", "zone": "z"}]},
            *(2, True, ["sat and sun, 02:00 to 05:00, Europe/Paris"]),
        ),
        ({}, {"rollback_maintenance": [{"start": "x", "end": "y", "zone": "z"}]}, 2, True, ["x to y, z"]),
        ({}, {}, 1, False, ["no place to tell in the inventory"]),
        ({}, {"notify_places": [{"url": "http://x"}]}, 1, True, ["places are told at the start and at the end"]),
    ],
)
def test_who_is_told_and_when_it_may_be(
    plan: dict[str, t.Any], inventory: dict[str, t.Any], box: int, done: bool, words: list[str]
) -> None:
    view = make_view({**sample.PLAN, **plan}, {"web1": inventory, "web2": inventory}, sample.runs(), {})
    found = view["steps"][0]["boxes"][box]
    assert (found["done"], found["words"]) == (done, words)
