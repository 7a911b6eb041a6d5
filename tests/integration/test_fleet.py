# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole change on hosts that boot systemd and share one PostgreSQL.

When an app was stopped and started is what systemd's journal on its host says, and when the database was downgraded is
what PostgreSQL says; all containers have the clock of this machine.
"""

from __future__ import annotations

import contextlib
import json
import time
import typing as t

import pytest
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal
from fleet import PASSWORD, USER, Fleet, FleetOps, assert_rolled_back
from hosts import Host

START, STOP = "start done", "stop done"


def jobs(one: Host, since: float) -> list[tuple[float, str]]:
    """When systemd ended which job of the app (``start done``, ``start failed``, ``stop done``), from a time on."""
    journal = ["journalctl", "--unit=shop-web", "--output=json", f"--since=@{since:.6f}"]
    entries = [json.loads(line) for line in one.run(*journal).stdout.splitlines()]
    return [
        (int(entry["__REALTIME_TIMESTAMP"]) / 1e6, f"{entry['JOB_TYPE']} {entry['JOB_RESULT']}")
        for entry in entries
        if "JOB_RESULT" in entry
    ]


def when(one: Host, since: float, job: str) -> list[float]:
    return [at for at, done in jobs(one, since) if done == job]


def downgrades(fleet: Fleet, since: float) -> list[float]:
    """When a downgrade of the app's database, not of a scratch one, dropped the totals."""
    log = fleet.db.sh("cat /var/log/postgresql/postgresql-*-main.log").splitlines()
    found = [line.split()[:2] for line in log if "DROP COLUMN total" in line]
    return [float(at) for at, database in found if database == "shop" and float(at) >= since]


def committed(fleet: Fleet) -> float:
    """When the database came to the revision at which it stands."""
    return float(fleet.sql("SELECT extract(epoch FROM pg_xact_commit_timestamp(xmin)) FROM alembic_version")[0])


def processes(fleet: Fleet) -> dict[str, str]:
    """The app's process on each host."""
    return fleet.each(lambda one: one.sh("systemctl show --value --property=MainPID shop-web"))


@pytest.mark.parametrize("hosts", [None, "shop[0]"], ids=["the role finds it out", "the plan says it"])
def test_every_app_is_down_during_the_one_downgrade(fleet: Fleet, fleet_ops: FleetOps, hosts: str | None) -> None:
    before = fleet.state()
    assert [before[name]["health"] for name in fleet.hosts] == [503, 503]
    assert len(before["database"]["totals"]) == len(before["database"]["rows"]) > 0
    if hosts:
        fleet_ops.phase("alembic_downgrade")["hosts"] = hosts
        fleet_ops.write()
    began = time.time()
    assert fleet_ops.rollback().returncode == 0
    assert_rolled_back(fleet, before)
    assert fleet_ops.history()[-1]["outcome"] == "succeeded"
    (dropped,) = downgrades(fleet, began)
    for name, one in fleet.hosts.items():
        (stopped,), (started,) = when(one, began, STOP), when(one, began, START)
        assert stopped < dropped < committed(fleet) < started, name


def in_batches(ops: FleetOps) -> None:
    """One host after the other; each release is said to run on either schema."""
    ops.extra.update(serial=1, schema_compatible=True)
    ops.check("not told to fail")["command"] = {"argv": ["test", "!", "-e", "/tmp/told-to-fail"]}
    ops.write()


def test_batches_share_a_database_that_each_release_can_work_with(fleet: Fleet, fleet_ops: FleetOps) -> None:
    before, began = fleet.state(), time.time()
    in_batches(fleet_ops)
    assert fleet_ops.rollback().returncode == 0
    assert_rolled_back(fleet, before)
    (dropped,) = downgrades(fleet, began)
    times = {name: when(one, began, STOP) + when(one, began, START) for name, one in fleet.hosts.items()}
    assert [len(jobs_of) for jobs_of in times.values()] == [2, 2]
    (stopped1, started1), (stopped2, _started2) = times.values()
    assert stopped1 < dropped < committed(fleet) < started1 < stopped2, "the app of the second batch ran meanwhile"


@pytest.mark.parametrize("bad", ["web1", "web2"])
def test_a_batch_that_fails_is_put_back_and_the_one_before_keeps_the_database(
    fleet: Fleet, fleet_ops: FleetOps, bad: str
) -> None:
    before = fleet.state()
    in_batches(fleet_ops)
    fleet.hosts[bad].sh("touch /tmp/told-to-fail")
    try:
        assert fleet_ops.rollback().returncode != 0
    finally:
        fleet.hosts[bad].sh("rm /tmp/told-to-fail")
    assert fleet_ops.history()[-1]["outcome"] == "recovered"
    after = fleet.state()
    if bad == "web1":
        assert after == before
        return
    revision = fleet.facts["revisions"]["good"]
    assert after["database"] == {**before["database"], "revision": revision, "totals": None}
    assert after["web1"]["health"] == 200
    assert after["web2"] == before["web2"]
    assert fleet_ops.rollback().returncode == 0
    assert_rolled_back(fleet, before)


WAIT = "touch /tmp/reached; until test -e /tmp/go; do sleep 0.1; done"


@contextlib.contextmanager
def waiting(fleet: Fleet, ops: FleetOps, phase: str) -> t.Iterator[t.Any]:
    """A rollback that waits before a phase, on the first host, for as long as the block runs; its process."""
    one = fleet.hosts["web1"]
    one.sh("rm -f /tmp/reached /tmp/go")
    vars_ = {"sabotage_flag": "/tmp", "sabotage_argv": ["sh", "-c", WAIT]}
    ops.phases.insert(
        ops.phases.index(ops.phase(phase)), {"role": "acme.own.sabotage", "hosts": one.name, "vars": vars_}
    )
    ops.write()
    process = ops.start("rollback.yml", "-e", "change=C001")
    try:
        until = time.monotonic() + 300
        while one.run("test", "-e", "/tmp/reached", check=False).returncode:
            assert process.poll() is None, "the rollback ended before"
            assert time.monotonic() < until, "the phase was never reached"
            time.sleep(0.5)
        yield process
    finally:
        one.sh("touch /tmp/go")
        print(process.communicate(timeout=300)[0])


def test_a_host_that_reboots_while_stopped_does_not_start_the_bad_release(fleet: Fleet, fleet_ops: FleetOps) -> None:
    """Its unit is enabled, so the boot tries to start it, and the downgrade comes after that."""
    before = fleet.state()
    web2 = fleet.hosts["web2"]
    with waiting(fleet, fleet_ops, "alembic_downgrade") as process:
        began = time.time()
        web2.reboot()
        assert [done for _at, done in jobs(web2, began)] == ["start assert"], "the boot did not try, or it did start"
        assert web2.sh("systemctl show --value --property=ActiveState shop-web") == "inactive"
        assert downgrades(fleet, began) == []
    assert process.returncode == 0
    assert_rolled_back(fleet, before)
    (dropped,) = downgrades(fleet, began)
    (started,) = when(web2, began, START)
    assert dropped < committed(fleet) < started


def cron_job_and_another_app(fleet: Fleet, ops: FleetOps) -> list[str]:
    """A psql of the app's own user on one of its hosts, and somebody else's on the database's; as they are named."""
    psql = "psql --no-psqlrc --command='SELECT pg_sleep(1000)'"
    fleet.hosts["web2"].sh(
        f"systemd-run --quiet --collect --unit=nightly --setenv=PGPASSWORD={PASSWORD} {psql} postgresql://{USER}@db1/shop"
    )
    fleet.db.sh(f"systemd-run --quiet --collect --unit=books --uid=postgres --setenv=PGAPPNAME=accounting {psql} shop")
    until = time.monotonic() + 30
    while len(fleet.sql("SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND datname='shop'")) < 2:
        assert time.monotonic() < until
        time.sleep(0.2)
    address = fleet.hosts["web2"].address
    return [f"(psql, user shop, from {address}, query of ", "(accounting, user postgres)"]


def a_host_that_the_plan_leaves_out(fleet: Fleet, ops: FleetOps) -> list[str]:
    ops.extra["hosts"] = "web1"
    ops.write()
    return [f"(no application_name, user shop, from {fleet.hosts['web2'].address}, "]


SESSIONS = [cron_job_and_another_app, a_host_that_the_plan_leaves_out]


@pytest.mark.parametrize("given", SESSIONS, ids=lambda given: given.__name__.replace("_", " "))
def test_who_else_has_the_database_open_is_named_and_it_is_not_downgraded(
    fleet: Fleet, fleet_ops: FleetOps, given: t.Callable[[Fleet, FleetOps], list[str]]
) -> None:
    before, running, began = fleet.state(), processes(fleet), time.time()
    named = given(fleet, fleet_ops)
    done = fleet_ops.rollback()
    assert done.returncode != 0
    said = " ".join(done.stdout.split())
    assert "The database shop on db1 is in use by session " in said
    assert [one for one in named if one not in said] == []
    run = fleet_ops.history()[-1]
    assert run["outcome"] == "recovered"
    assert downgrades(fleet, began) == []
    assert fleet.state() == before
    # those that take part were stopped and are started again, the one that was left out was not touched
    taking_part = {phase["host"] for phase in run["phases"]}
    assert {name for name, pid in processes(fleet).items() if pid != running[name]} == taking_part


IN_USE = (
    "The database shop on db1 is in use on hosts that --limit leaves out: on web2 by session <pid> (no "
    "application_name, user shop, from <address>, query of <time> UTC). Nothing was changed in it. Run it without "
    "--limit; hosts that are rolled back already are only verified. To leave them out, stop what uses the database "
    "there; or where each release runs on either schema, say `schema_compatible: true` in the plan."
)
REFUSALS = [
    Refusal(
        "a limit that leaves out an app, where the plan downgrades the database on one host",
        "--limit web1 leaves out web2 of C001 (changes/C001.yml): the database that web1, web2 share would be "
        "downgraded while apps on web2 still use it. Run it without --limit; hosts that are rolled back already are "
        "only verified. Take a host that is gone out of the inventory. Where each release runs on either schema, say "
        "`schema_compatible: true` in the plan.",
        {"hosts": "shop[0]"},
    ),
    Refusal("a limit that leaves out a host with the database open, where the plan downgrades it on each", IN_USE, {}),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.case)
def test_a_limit_that_leaves_an_app_on_the_database_is_refused_before_anything_is_touched(
    fleet: Fleet, fleet_ops: FleetOps, refusal: Refusal
) -> None:
    fleet_ops.phase("alembic_downgrade")["hosts"] = refusal.given.get("hosts", "shop")
    fleet_ops.write()
    before, running = fleet.state(), processes(fleet)
    done = fleet_ops.rollback("--limit", "web1")
    assert done.returncode != 0
    assert refusal.found_in(done.stdout)
    assert fleet.state() == before
    assert processes(fleet) == running
