# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One database of many hosts: how it is known for the same, and what the hosts do that do not work on it."""

from __future__ import annotations

import os

import pytest

pytest.importorskip("alembic")
pytest.importorskip("psycopg")
pytest.importorskip("pymysql")

from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.plugins.module_utils._left_out import addresses_of
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.alembic_my import ACCEPTED, MyShop
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.alembic_pg import PgShop
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.alembic_shop import Shop
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal

pytestmark = pytest.mark.usefixtures("forked_alembic")

ADD = ["ALTER TABLE invoices ADD total int"]
DROP = ["ALTER TABLE invoices DROP total"]
HOST1, HOST2 = "host1/R1/3-alembic_downgrade", "host2/R1/3-alembic_downgrade"


def pg(place, monkeypatch, servers, **options):
    return PgShop(place, monkeypatch, servers["postgresql"], ADD, DROP, **options)


def my(place, monkeypatch, servers):
    return MyShop(place, monkeypatch, servers["mariadb"])


@pytest.fixture
def servers(postgresql, mariadb):
    return {"postgresql": postgresql, "mariadb": mariadb}


@pytest.mark.parametrize("make", [pg, my])
def test_a_database_has_one_identity_on_all_hosts_and_no_other_database_has_it(tmp_path, monkeypatch, servers, make):
    shop = make(tmp_path / "one", monkeypatch, servers)
    first = shop.run("preflight", point=HOST1, accept_loss=ACCEPTED).facts["identity"]
    assert shop.run("preflight", point=HOST2, accept_loss=ACCEPTED).facts["identity"] == first != ""
    shop.run("main", point=HOST1, accept_loss=ACCEPTED)
    assert shop.run("preflight", point=HOST2, accept_loss=ACCEPTED).facts["identity"] == first, "also when it is done"
    other = make(tmp_path / "two", monkeypatch, servers)
    assert other.run("preflight", accept_loss=ACCEPTED).facts["identity"] not in ("", first)


def test_who_asks_and_from_which_time_zone_makes_no_other_database(tmp_path, monkeypatch, postgresql):
    shop = pg(tmp_path, monkeypatch, {"postgresql": postgresql})
    first = shop.run("preflight", point=HOST1).facts["identity"]
    monkeypatch.setenv("PGTZ", "Asia/Tokyo")
    monkeypatch.setenv("SHOP_URL", shop.url("psycopg", user="postgres"))
    assert shop.run("preflight", point=HOST2).facts["identity"] == first


def test_the_revision_of_each_schema_is_one_of_its_own(tmp_path, monkeypatch, postgresql):
    shop = pg(tmp_path, monkeypatch, {"postgresql": postgresql})
    first = shop.run("preflight", point=HOST1).facts["identity"]
    shop.sql(
        "CREATE SCHEMA north",
        "CREATE TABLE north.invoices AS TABLE invoices",
        "CREATE TABLE north.alembic_version AS TABLE alembic_version",
    )
    monkeypatch.setenv("PGOPTIONS", "-csearch_path=north")
    found = shop.run("preflight", point=HOST2, accept_loss=ACCEPTED).facts["identity"]
    assert found not in ("", first)


def test_a_file_is_known_on_its_own_host_only(tmp_path):
    assert Shop(tmp_path).totals().run("preflight").facts["identity"] == ""


@pytest.mark.parametrize("make", [pg, my])
def test_the_other_host_only_looks_and_one_host_puts_back(tmp_path, monkeypatch, servers, make):
    shop = make(tmp_path, monkeypatch, servers)
    before = shop.rows()
    accepted = {"accept_loss": ACCEPTED}
    for point in (HOST1, HOST2):
        shop.run("preflight", point=point, **accepted)
    shop.run("main", point=HOST1, **accepted)
    done = shop.rows()
    report = shop.run("main", point=HOST2, done_by="host1", **accepted)
    assert (report.changed, report.after["revision"]) == (False, "old")
    assert report.msg.endswith(" stands at old; host1 saw to that for this host too.")
    assert shop.rows() == done != before
    shop.run("recover", point=HOST1, **accepted)
    back = shop.rows()
    assert not shop.run("recover", point=HOST2, done_by="host1", **accepted).changed
    assert shop.rows() == back


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("10.0.0.2", ["10.0.0.2"]),
        ("FD00::2", ["fd00::2"]),
        # they mean each machine by itself
        ("127.0.0.1", None),
        ("localhost", None),
        # no name that can be asked for
        ("x" * 300, None),
        ("", None),
    ],
)
def test_where_a_host_is_that_takes_no_part(name, known):
    assert addresses_of({"web2": name}).get("web2") == known
    assert addresses_of({"web2": name}, seconds=-1) == {}


@pytest.mark.parametrize("make", [pg, my])
def test_whether_a_database_can_be_put_back_is_known_before_anything_is(tmp_path, monkeypatch, servers, make):
    shop = make(tmp_path, monkeypatch, servers)
    assert "Nothing had been started here" in shop.run("can_recover").msg
    shop.run("preflight", accept_loss=ACCEPTED)
    assert "had not been downgraded here" in shop.run("can_recover", accept_loss=ACCEPTED).msg
    shop.run("main", accept_loss=ACCEPTED)
    before = shop.rows()
    report = shop.run("can_recover", accept_loss=ACCEPTED)
    assert report.msg.endswith(" answers, and stands at old.") and not report.changed
    assert shop.rows() == before
    monkeypatch.setenv("SHOP_URL", os.environ["SHOP_URL"].replace(shop.socket, str(tmp_path / "away")))
    with pytest.raises(PhaseError):
        shop.run("can_recover", accept_loss=ACCEPTED)


@pytest.mark.parametrize("make", [pg, my])
def test_where_each_release_runs_on_either_schema_others_may_be_at_work(tmp_path, monkeypatch, servers, make):
    shop = make(tmp_path, monkeypatch, servers)
    shop.sql("INSERT INTO invoices (id, total) VALUES (101, 5)")
    options = {"accept_loss": ACCEPTED, "schema_compatible": True}
    with shop.open(**{"user": "shop", "password": "hunter2"} if make is my else {}) as con:
        other = con.cursor()
        other.execute("SELECT 1")
        shop.run("preflight", **options)
        with pytest.raises(PhaseError, match="is in use by session"):
            shop.run("main", accept_loss=ACCEPTED)
        assert shop.run("main", **options).changed
        other.execute("SELECT * FROM alembic_version")  # so that PostgreSQL is told of what follows ten seconds later
        other.execute("INSERT INTO invoices (id) VALUES (102)")
        con.commit()
        shop.run("recover", **options)
        other.execute("SELECT id, total FROM invoices WHERE id > 100 ORDER BY id")
        kept = 5 if make is pg else None  # with MySQL what the plan accepts to lose is lost
        assert list(other.fetchall()) == [(101, kept), (102, None)]


REFUSALS = [
    Refusal(
        "a shared database that another host was to downgrade",
        "The database <database> stands at new, not at old, where host1 was to bring it for all hosts that share it. "
        "Look what host1 says, and at what was migrated by somebody else; then run the same command again.",
        ["preflight", "main"],
    ),
    Refusal(
        "a shared database that another host was to put back",
        "The database <database> stands at old, not at new, where host1 was to bring it for all hosts that share it. "
        "Look what host1 says, and at what was migrated by somebody else; then run the same command again.",
        ["preflight", "host1", "main", "recover"],
    ),
    Refusal(
        "a shared database that another host was to put back, before this one had looked at it",
        "The database <database> stands at old, not at new, where host1 was to bring it for all hosts that share it. "
        "Look what host1 says, and at what was migrated by somebody else; then run the same command again.",
        ["preflight", "host1", "recover"],
    ),
]


@pytest.mark.parametrize("row", REFUSALS, ids=[row.case for row in REFUSALS])
def test_a_host_does_not_believe_what_another_did(tmp_path, monkeypatch, postgresql, row):
    shop = pg(tmp_path, monkeypatch, {"postgresql": postgresql})
    *steps, last = row.given
    for step in steps:
        if step == "host1":
            shop.run("preflight", point=HOST1)
            shop.run("main", point=HOST1)
        else:
            shop.run(step, point=HOST2, done_by="host1" if step == "main" else "")
    before = shop.rows()
    with pytest.raises(PhaseError) as caught:
        shop.run(last, point=HOST2, done_by="host1")
    assert row.matches(str(caught.value)), str(caught.value)
    assert shop.rows() == before


def test_what_a_host_kept_it_puts_back_whoever_comes_first_now(tmp_path, monkeypatch, postgresql):
    shop = pg(tmp_path, monkeypatch, {"postgresql": postgresql})
    shop.sql("INSERT INTO invoices (id, total) VALUES (1, 5)")
    before = shop.rows()
    for point in (HOST1, HOST2):
        shop.run("preflight", point=point)
    shop.run("main", point=HOST2)
    assert not shop.run("main", point=HOST1).changed
    assert not shop.run("recover", point=HOST1).changed
    assert shop.run("recover", point=HOST2, done_by="host1").changed
    assert shop.rows() == before


def test_a_host_that_was_lost_while_its_code_was_reverted_takes_part_again(tmp_path, monkeypatch, postgresql):
    """The other host has put the database back, at a revision that is in this host's code no more."""
    shop = pg(tmp_path, monkeypatch, {"postgresql": postgresql})
    bad = shop.commit()
    first = shop.run("preflight", point=HOST1).facts["identity"]
    shop.run("preflight", point=HOST2)
    shop.run("main", point=HOST1)
    shop.run("main", point=HOST2, done_by="host1")
    assert shop.run("recover", point=HOST1).changed
    shop.git("checkout", "-q", "-b", "reverted")
    shop.git("rm", "-q", "migrations/versions/new.py")
    shop.git("commit", "-qm", "revert")

    again = shop.run("preflight", point=HOST2)
    assert again.pending
    assert again.facts["identity"] == first
    assert again.msg.endswith("stands at new; host1 works on it for this host too.")
    with pytest.raises(PhaseError, match="not at old, where host1 was to bring it"):
        shop.run("main", point=HOST2, done_by="host1")
    before = shop.rows()
    with pytest.raises(PhaseError):  # nobody else does after all, and here it cannot be done
        shop.run("main", point=HOST2)
    assert shop.rows() == before

    shop.git("checkout", "-q", bad)
    assert shop.run("preflight", point=HOST1).pending
    assert shop.run("main", point=HOST1).changed
    shop.git("checkout", "-q", "reverted")
    assert "host1 saw to that" in shop.run("main", point=HOST2, done_by="host1").msg
    assert not shop.run("preflight", point=HOST2).pending
