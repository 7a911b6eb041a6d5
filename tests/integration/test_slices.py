# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run in slices: jobs side by side, as AWX runs them, with a history on PostgreSQL.

What hosts did stands in one file, in the order in which they did it. Each job has a host name of its own, so that one
which was killed is known by its heartbeat.
"""

from __future__ import annotations

import time
import types
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal
from harness import Ops, Shop, assert_rolled_back
from test_phase_order import barriers

from awx import Awx, Job

# those with an even number are of the second slice
HOSTS = ["h1", "h2", "h3", "h4"]
# `shop[0]` is one host, whatever slice it is asked in
PHASES = [("stop", "shop"), ("database", "shop[0]"), ("start", "shop")]


def step(log: Path, name: str, hosts: str) -> dict[str, t.Any]:
    """A phase that writes down what it did where."""
    return {"role": "acme.own.step", "hosts": hosts, "vars": {"step_name": name, "step_log": str(log)}}


def did(log: Path) -> list[tuple[str, str, list[str]]]:
    """What was done after every host of every slice had been proven, in its order."""
    lines = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    work = [line for line in lines if line[0] != "preflight"]
    assert lines[len(lines) - len(work) :] == work, "a host was touched before all were proven"
    return barriers(work)


def start(awx: Awx, number: int, **survey: t.Any) -> Job:
    given = {"change": "C001", "rollback_slice": f"{number}/2", "run_slice_wait": 600, **survey}
    return awx.start("rollback.yml", "workflow", **given)


def both(awx: Awx, **survey: t.Any) -> list[Job]:
    """Both slices side by side, until they end."""
    jobs = [start(awx, number, **survey) for number in (2, 1)]
    for job in jobs:
        job.wait()
    return jobs


def codes(awx: Awx, **survey: t.Any) -> list[int]:
    return [job.wait() for job in both(awx, **survey)]


class Fleet:
    """Four hosts and their plan, and a server that starts jobs on them."""

    def __init__(self, root: Path, url: str) -> None:
        self.root, self.log, self.flag = root / "ops", root / "log", root / "flag"
        self.go, self.reached = root / "go", root / "reached"
        (self.root / "changes").mkdir(parents=True)
        play = {"name": "Roll back", "ansible.builtin.import_playbook": "changeops.rollback.rollback"}
        (self.root / "rollback.yml").write_text(yaml.safe_dump([play]))
        local = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
        self.hosts = {host: {"rollback_state_dir": str(root / "state" / host), **local} for host in HOSTS}
        self.group_vars: dict[str, t.Any] = {}
        self.plan([step(self.log, *phase) for phase in PHASES])
        ops = t.cast(Ops, types.SimpleNamespace(root=self.root, hosts=self.hosts, group_vars=self.group_vars))
        self.awx = Awx(root / "awx", ops, url)

    def plan(self, phases: list[dict[str, t.Any]], **more: t.Any) -> None:
        plan = {"title": "Slices", "date": "2026-11-20", "hosts": "shop", **more, "phases": phases}
        (self.root / "changes" / "C001.yml").write_text(yaml.safe_dump(plan, sort_keys=False))

    def select(self, query: str) -> set[tuple[t.Any, ...]]:
        with self.awx._engine().connect() as connection:
            return {tuple(row) for row in connection.exec_driver_sql(query)}


@pytest.fixture
def fleet(tmp_path: Path, history_url: str) -> Fleet:
    return Fleet(tmp_path, history_url)


DONE = [("main", "stop", HOSTS), ("main", "database", ["h1"]), ("main", "start", HOSTS)]


def test_two_slices_are_one_run_whose_phases_are_barriers(fleet: Fleet) -> None:
    assert codes(fleet.awx) == [0, 0]
    assert did(fleet.log) == DONE
    (run,) = fleet.awx.history()
    assert (run["outcome"], run["summary"]) == ("succeeded", "3 phases done on 4 hosts.")
    rows = {(row["host"], row["phase"]) for row in run["phases"] if (row["step"], row["status"]) == ("main", "ok")}
    assert rows == {(host, phase) for host in HOSTS for phase in ("1-step", "3-step")} | {("h1", "2-step")}
    assert fleet.select("SELECT name FROM locks") == set()


def test_a_slice_that_fails_before_the_database_stops_the_other_and_all_is_put_back(fleet: Fleet) -> None:
    assert 0 not in codes(fleet.awx, step_fail="main-stop-h4")
    assert did(fleet.log) == [("main", "stop", HOSTS), ("recover", "stop", HOSTS)]
    (run,) = fleet.awx.history()
    assert run["outcome"] == "recovered"
    assert "step failed on h4" in run["summary"] and "Put back on 4 hosts." in run["summary"]


def test_what_slices_did_is_put_back_in_reverse_order_across_them(fleet: Fleet) -> None:
    """And where one of them could not put back all of it, none does."""
    assert 0 not in codes(fleet.awx, step_fail="main-start-h2")
    back = [("recover", "start", HOSTS), ("recover", "database", ["h1"]), ("recover", "stop", HOSTS)]
    assert did(fleet.log) == [*DONE, *back]
    assert fleet.awx.history()[-1]["outcome"] == "recovered"

    fleet.log.unlink()
    assert 0 not in codes(fleet.awx, step_fail="main-start-h2 can_recover-stop-h3")
    assert did(fleet.log) == [*DONE, ("can_recover", "stop", ["h3"])]
    assert fleet.awx.history()[-1]["outcome"] == "failed"


def test_slices_go_from_batch_to_batch_together(fleet: Fleet) -> None:
    fleet.plan([step(fleet.log, *phase) for phase in (PHASES[0], PHASES[2])], serial=2)
    assert 0 not in codes(fleet.awx, step_fail="main-start-h4")
    one, two = (
        [("main", "stop", hosts), ("main", "start", hosts), ("recover", "start", hosts), ("recover", "stop", hosts)]
        for hosts in (["h1", "h2"], ["h3", "h4"])
    )
    assert did(fleet.log) == [*one[:2], *two]
    (run,) = fleet.awx.history()
    assert run["outcome"] == "recovered"
    assert "Rolled back: 2 hosts (h1 and h2). Put back: 2 hosts (h3 and h4)." in run["summary"]


def test_when_a_host_of_one_slice_goes_away_all_others_are_put_back(fleet: Fleet, tmp_path: Path) -> None:
    away = tmp_path / "away"  # Ansible takes a host on which it can make no directory for one that it cannot reach
    fleet.hosts["h4"]["ansible_remote_tmp"] = str(away)
    vars_ = {"sabotage_flag": str(fleet.flag), "sabotage_argv": ["sh", "-c", f"rm -rf {away}; touch {away}"]}
    stop, database, then = (step(fleet.log, *phase) for phase in PHASES)
    fleet.plan([stop, {"role": "acme.own.sabotage", "hosts": "h4", "vars": vars_}, database, then])
    fleet.flag.touch()
    assert 0 not in codes(fleet.awx)
    left = HOSTS[:3]
    back = [("recover", "start", left), ("recover", "database", ["h1"]), ("recover", "stop", left)]
    assert did(fleet.log) == [*DONE[:2], ("main", "start", left), *back]
    (run,) = fleet.awx.history()
    assert run["outcome"] == "failed" and run["summary"].endswith("Not as before: h4.")


def test_a_slice_that_is_refused_keeps_the_other_from_touching_anything(fleet: Fleet) -> None:
    assert 0 not in codes(fleet.awx, step_fail="preflight-database-h1")
    assert did(fleet.log) == []
    (run,) = fleet.awx.history()
    assert run["outcome"] == "refused" and "Preflight of step failed on h1" in run["summary"]
    assert fleet.select("SELECT name FROM locks") == set()


def test_a_slice_that_is_killed_at_a_barrier_is_named_and_the_next_run_finishes(fleet: Fleet) -> None:
    wait = f"touch {fleet.reached}; until test -e {fleet.go}; do sleep 0.1; done"
    vars_ = {"sabotage_flag": str(fleet.flag), "sabotage_argv": ["sh", "-c", wait]}
    stop, database, then = (step(fleet.log, *phase) for phase in PHASES)
    waits = {"role": "acme.own.sabotage", "hosts": "shop[0]", "vars": vars_}
    fleet.plan([stop, database, waits, then])
    fleet.flag.touch()
    one, two = start(fleet.awx, 1), start(fleet.awx, 2)
    one.wait_for(fleet.reached, 900)
    # slice 2 has nothing to do in this phase, so it waits at the next one
    until = time.monotonic() + 900
    while ("main-1-4", 2) not in fleet.select("SELECT barrier, number FROM meetings"):
        assert time.monotonic() < until
        time.sleep(0.2)
    two.cancel()
    fleet.go.touch()
    assert one.wait() != 0
    assert one.saw("slice 2 of 2 (h2 and h4; AWX job 42 of workflow 3) gives no sign of life")
    # It had come to the barrier, so the other goes on behind it with its own hosts, and misses it at the next one.
    assert did(fleet.log) == [*DONE[:2], ("main", "start", ["h1", "h3"])]
    (first,) = fleet.awx.history()
    assert first["outcome"] == "interrupted"
    assert {row["status"] for row in first["phases"]} == {"ok"}, "what is at a barrier is at no phase"
    assert first["summary"].startswith("Slice 2 of 2 (h2 and h4; AWX job 42 of workflow 3) ended without a word")

    fleet.log.unlink()
    assert codes(fleet.awx) == [0, 0]
    assert did(fleet.log) == DONE
    first, second = fleet.awx.history()
    assert (second["outcome"], second["resumes"]) == ("succeeded", first["id"])
    assert second["restore_point"] == first["restore_point"]


REFUSALS = [
    Refusal(
        "a slice whose others are not started",
        "C001 was refused: slice 1 of 2 has not started within 3 s. | Nothing was touched.",
        {"run_slice_wait": 3},
    ),
    Refusal(
        "a rollback in slices with a limit",
        "C001 (<plan>): slices share all hosts of the plan, so run them without --limit.",
        {"limit": "h2"},
    ),
    Refusal(
        "slices that do not know the same hosts",
        "<some hosts> of C001 would be in no slice, because the slices do not know the same hosts. Give each of them "
        "the whole inventory. | Nothing was touched.",
    ),
]
ALONE, APART = REFUSALS[:2], REFUSALS[2]


@pytest.mark.parametrize("refusal", ALONE, ids=lambda refusal: refusal.case)
def test_a_slice_alone_touches_nothing(fleet: Fleet, refusal: Refusal) -> None:
    job = start(fleet.awx, 2, **refusal.given)
    assert job.wait() != 0
    assert refusal.found_in(job.stdout)
    assert did(fleet.log) == []


def test_slices_without_the_whole_inventory_touch_nothing(fleet: Fleet) -> None:
    jobs = [start(fleet.awx, number, part=(number, 2)) for number in (1, 2)]
    assert 0 not in [job.wait() for job in jobs]
    assert any(APART.found_in(job.stdout) for job in jobs)
    assert did(fleet.log) == []


def test_while_the_database_is_not_put_back_no_slice_starts_an_app(awx: Awx, ops: Ops, shop: Shop) -> None:
    """With the phases of a real change. The first slice has the database, the second another app."""
    log = ops.root / "log"
    ops.hosts["web2"] = {**ops.hosts["shop1"], "rollback_state_dir": str(ops.root / "state2")}
    for phase in ops.phases:
        phase["hosts"] = "shop1"
    database = ops.phases.index(ops.phase("alembic_downgrade"))
    away = 'mv "$1" "$1.away" && mkdir "$1"'
    vars_ = {"sabotage_flag": str(ops.flag), "sabotage_argv": ["sh", "-c", away, "sh", str(shop.database)]}
    ops.phases.insert(database + 1, {"role": "acme.own.sabotage", "hosts": "shop1", "vars": vars_})
    ops.phases.insert(database + 2, step(log, "start", "web2"))
    ops.phases.insert(database, step(log, "stop", "web2"))
    ops.flag.touch()
    ops.write()
    before = shop.state()
    assert 0 not in codes(awx, step_fail="main-start-web2")
    shop.database.rmdir()
    shop.database.with_name(f"{shop.database.name}.away").rename(shop.database)
    assert ("recover", "stop", ["web2"]) not in did(log)
    assert shop.revision() == shop.facts["revisions"]["good"]
    assert shop.health()[0] == 0
    assert awx.history()[-1]["outcome"] == "failed"

    ops.flag.unlink()
    assert codes(awx) == [0, 0]
    assert_rolled_back(shop, before)
    first, second = awx.history()
    assert (second["outcome"], second["resumes"]) == ("succeeded", first["id"])
