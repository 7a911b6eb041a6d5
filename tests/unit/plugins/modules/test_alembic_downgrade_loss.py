# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A loss that the plan does not accept is refused, by preflight, by the rehearsal and by main; nothing is lost then."""

from __future__ import annotations

import pytest

pytest.importorskip("alembic")

from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.plugins.module_utils._restore_point import RestorePoint
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.alembic_pg import PgShop
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.alembic_shop import Shop
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal

pytestmark = pytest.mark.usefixtures("forked_alembic")

ADD, DROP = "ALTER TABLE invoices ADD total int", "ALTER TABLE invoices DROP COLUMN total"
TOTAL = "UPDATE invoices SET total = 5 WHERE id < 3"
PAID = "UPDATE invoices SET state = 'paid'"
SETUP = [
    "INSERT INTO invoices (id, name) VALUES (1, 'one'), (2, 'two'), (3, 'three')",
    "CREATE TABLE customers (id int PRIMARY KEY, name text)",
    "CREATE TABLE shops (id int PRIMARY KEY, name text)",
    "INSERT INTO customers VALUES (1, 'one')",
    "INSERT INTO shops VALUES (1, 'one')",
]
# The change, its downgrade, and what the app wrote since.
NOTHING_LOST = (
    [
        ADD,
        "CREATE TABLE notes (id int)",
        "ALTER TABLE customers RENAME COLUMN name TO title",
        "ALTER TABLE shops RENAME TO places",
    ],
    [
        DROP,
        "DROP TABLE notes",
        "ALTER TABLE customers RENAME COLUMN title TO name",
        "ALTER TABLE places RENAME TO shops",
    ],
    [],
)
MUCH_LOST = (
    [ADD, "ALTER TABLE invoices ADD tax int", "ALTER TABLE shops ADD phone text", 'CREATE TABLE "my notes" (id int)'],
    [
        DROP,
        "ALTER TABLE invoices DROP COLUMN tax",
        "ALTER TABLE shops DROP COLUMN phone",
        'DROP TABLE "my notes"',
        "UPDATE invoices SET state = 'open' WHERE id = 2",
        "DELETE FROM invoices WHERE id = 3",
    ],
    [
        TOTAL,
        PAID,
        "UPDATE invoices SET tax = 5",
        "UPDATE shops SET phone = '1'",
        'INSERT INTO "my notes" VALUES (1), (NULL)',
    ],
)


def code(statements):
    return "\n    ".join(f"op.execute({line!r})" for line in statements) or "pass"


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def shop_of(request, tmp_path, monkeypatch):
    """Makes an app of a case, with either kind of database."""

    def make(up, down, wrote):
        if request.param == "SQLite":
            shop = Shop(tmp_path, code(up), code(down))
            for line in [*SETUP, *up, *wrote]:
                shop.sql(line)
            return shop
        pytest.importorskip("psycopg")
        shop = PgShop(tmp_path, monkeypatch, request.getfixturevalue("postgresql"), up, down, setup=SETUP)
        shop.sql(*wrote, "SELECT 1")
        return shop

    return make


def refused(shop, step, **params):
    """What a step that is refused says."""
    with pytest.raises(PhaseError) as failed:
        shop.run(step, **params)
    return failed.value


EARLY = Refusal(
    "a loss that the plan does not accept",
    "The downgrade of <database> from new to old destroys <statement>, which the plan does not accept. Nothing was "
    "changed. If that may be lost, write into the plan: rollback: {accept_loss: [<names>]}",
)
LATE = Refusal(
    "a loss that preflight could not foresee and the plan does not accept",
    "With the data of now, the downgrade of <database> to old destroys <statement>, which the plan does not accept. "
    "Nothing was changed. If that may be lost, write into the plan: rollback: {accept_loss: [<names>]}",
)
REHEARSED = Refusal(
    "a rehearsal that finds a loss that the plan does not accept",
    "The rehearsal with all data failed, on a copy of the database. With all data, the downgrade of <database> from "
    "new to old destroys <statement>, which the plan does not accept. Nothing was changed. If that may be lost, write "
    "into the plan: rollback: {accept_loss: [<names>]}",
)
REFUSALS = [EARLY, LATE, REHEARSED]


def filled(refusal, statement, names):
    return refusal._replace(says=refusal.says.replace("<statement>", statement).replace("<names>", names))


def test_what_holds_no_data_or_gets_another_name_is_no_loss(shop_of):
    shop = shop_of(*NOTHING_LOST)
    shop.accepted = []
    shop.run("preflight")
    assert shop.run("rehearse").facts["destroys"] == ["invoices.total (0 values)", "notes (the table, 0 rows)"]
    assert shop.run("main").changed


def test_a_loss_that_is_not_accepted_is_refused_and_nothing_is_lost(shop_of):
    shop = shop_of(*MUCH_LOST)
    shop.accepted = ["invoices.total", "shops"]
    before = shop.dump()
    early = "invoices.tax (3 values), my notes (the table, 2 rows)"
    said = str(refused(shop, "preflight"))
    assert filled(EARLY, early, 'invoices.total, shops, invoices.tax, "my notes"').matches(said), said
    failed = refused(shop, "rehearse")
    late = "rows of invoices (1 changed, 1 deleted)"
    whole = ", ".join(["invoices.tax (3 values)", late, "my notes (the table, 2 rows)"])
    assert filled(REHEARSED, whole, 'invoices.total, shops, invoices, "my notes"').matches(str(failed)), str(failed)
    told = failed.facts["loss"]
    shop.accepted = [*shop.accepted, "invoices.tax", "my notes"]
    shop.run("preflight")
    said = str(refused(shop, "main"))
    assert filled(LATE, late, 'invoices.total, shops, invoices.tax, "my notes", invoices').matches(said), said
    assert shop.dump() == before
    assert "as before" in shop.run("recover").msg
    assert shop.dump() == before
    shop.accepted = [*shop.accepted, "invoices"]
    point = "R2/1-alembic_downgrade"
    done = shop.run("main", point=point)
    assert (done.facts["loss"], done.after["loss"]) == (told, told)
    # killed after the commit: what was lost is told once more, by the export
    RestorePoint(str(shop.state / point)).write(progress="started", after={})
    shop.accepted = []
    assert not shop.run("preflight", point=point).pending, "on a run that goes on nothing is refused"
    assert shop.run("main", point=point).facts["loss"] == told
    shop.run("recover", point=point)
    assert shop.dump() == before


def test_what_grows_until_the_stop_is_no_other_loss(shop_of):
    shop = shop_of([ADD, "CREATE TABLE late (id int PRIMARY KEY)"], [DROP, "DROP TABLE late"], [TOTAL])
    shop.accepted = ["invoices.total"]
    shop.run("preflight")
    shop.sql("UPDATE invoices SET total = 6")
    shop.sql("INSERT INTO late VALUES (1)")
    assert shop.run("main").facts["loss"]["invoices"]["values"] == {"total": 3}


def test_alone_it_says_which_variable_accepts_the_loss(tmp_path):
    shop = Shop(tmp_path).totals()
    said = str(refused(shop, "main", point="standalone/alembic_downgrade", accept_loss=[]))
    assert said.endswith(
        "destroys invoices.total (8 values), which nobody accepts. Nothing was changed. If that may be lost, set "
        "alembic_downgrade_accept_loss: [invoices.total]"
    )
    assert shop.revision() == "new"
    assert shop.run("main", point="standalone/alembic_downgrade", accept_loss=["invoices.total"]).changed


def test_without_a_copy_of_the_data_the_schema_is_tried_and_the_loss_counted(shop_of):
    shop = shop_of([ADD], [DROP, "UPDATE invoices SET state = 'open'"], [TOTAL, PAID])
    shop.accepted = []
    assert shop.run("preflight", rehearsing=True).pending, "a rehearsal follows, which knows better"
    refused(shop, "rehearse", rehearse_data=False)
    report = shop.run("rehearse", rehearse_data=False, accept_loss=["invoices.total"])
    assert (
        "was tried on a copy of its schema alone, and so was the upgrade after it, because "
        "alembic_downgrade_rehearse_data is false. By what the database holds it destroys invoices.total (2 values). "
        "How long it takes, whether the migrations run on the data, and which rows they change, is not known."
    ) in report.msg
