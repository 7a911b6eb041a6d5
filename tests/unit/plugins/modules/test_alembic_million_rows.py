# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""With 1,000,000 rows the loss statement of rehearsal and downgrade is the true loss, as SQL of this test counts it."""

from __future__ import annotations

import resource
import shutil
import time

import pytest

pytest.importorskip("alembic")

from ansible_collections.changeops.rollback.tests.unit.plugins.modules.alembic_pg import PgShop
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.alembic_shop import Shop

pytestmark = pytest.mark.usefixtures("forked_alembic")

ORDERS, DRAFTS, CUSTOMERS = 600_000, 150_000, 250_000
SETUP = [
    "CREATE TABLE orders (tenant int, number int, state text, PRIMARY KEY (tenant, number))",
    "CREATE TABLE customers (id int PRIMARY KEY, name text)",
]
UP = ["ALTER TABLE orders ADD total numeric", "CREATE TABLE drafts (id int PRIMARY KEY, body text)"]
DOWN = [
    "ALTER TABLE orders DROP COLUMN total",
    "DROP TABLE drafts",
    "UPDATE orders SET state = 'open' WHERE number - number / 1000 * 1000 = 7",
    "DELETE FROM orders WHERE number - number / 5000 * 5000 = 3",
    "INSERT INTO orders (tenant, number, state) VALUES (99, 1, 'new')",
]
# A seventh of the totals is NULL, and of the rows that the downgrade updates every second is open already.
ROWS = {
    "orders": "INSERT INTO orders SELECT g % 7, g, CASE WHEN g % 2000 = 7 THEN 'open' ELSE 'paid' END,"
    " CASE WHEN g % 7 > 0 THEN g * 1.25 END FROM {} WHERE g > 0",
    "drafts": "INSERT INTO drafts SELECT g, 'draft ' || g FROM {} WHERE g > 0",
    "customers": "INSERT INTO customers SELECT g, 'customer ' || g FROM {} WHERE g > 0",
}
NUMBERS = {"orders": ORDERS, "drafts": DRAFTS, "customers": CUSTOMERS}


class Lite:
    """The app with a SQLite database, and a copy of that from before."""

    def __init__(self, tmp_path, _monkeypatch, _request):
        self.shop = Shop(tmp_path, _code(UP), _code(DOWN))
        self.before = tmp_path / "before.db"
        for line in [
            *SETUP,
            *UP,
            *_rows("(WITH RECURSIVE s(g) AS (SELECT 1 UNION ALL SELECT g + 1 FROM s LIMIT {}) SELECT g FROM s)"),
        ]:
            self.shop.sql(line)

    def keep(self):
        shutil.copy(self.shop.database, self.before)

    def count(self, query):
        """Count in the database as it is, called ``main``, and as it was, called ``truth``."""
        return self.shop.sql(f"ATTACH '{self.before}' AS truth", query.replace("now.", "main."))[0][0]


class Pg:
    """The app with a PostgreSQL database, and copies of its tables from before."""

    def __init__(self, tmp_path, monkeypatch, request):
        pytest.importorskip("psycopg")
        self.shop = PgShop(tmp_path, monkeypatch, request.getfixturevalue("postgresql"), UP, DOWN, setup=SETUP)
        self.shop.sql(*_rows("generate_series(1, {}) g"), "SELECT 1")

    def keep(self):
        self.shop.sql("CREATE SCHEMA truth", *(f"CREATE TABLE truth.{name} AS TABLE {name}" for name in NUMBERS))

    def count(self, query):
        return self.shop.sql(query.replace("now.", "public."))[0][0]


def _code(statements):
    return "\n    ".join(f"op.execute({line!r})" for line in statements)


def _rows(series):
    for name, line in ROWS.items():
        yield line.format(series.format(NUMBERS[name]))


SAME = "t.tenant = n.tenant AND t.number = n.number"


@pytest.mark.parametrize("make", [Lite, Pg], ids=["SQLite", "PostgreSQL"])
def test_the_statement_is_the_true_loss(tmp_path, monkeypatch, request, make):
    app = make(tmp_path, monkeypatch, request)
    shop = app.shop
    shop.accepted = ["orders", "drafts"]
    seconds = {}

    def timed(step):
        began = time.monotonic()
        report = shop.run(step, timeout=600.0)
        seconds[step] = round(time.monotonic() - began, 1)
        return report

    rehearsed = timed("rehearse")
    assert rehearsed.facts["unchanged"] == ["customers", "invoices"]
    counted = timed("preflight").facts["destroys"]
    app.keep()
    told = timed("main").facts["loss"]
    changed = app.count(f"SELECT count(*) FROM truth.orders t JOIN now.orders n ON {SAME} WHERE t.state <> n.state")
    left = f"FROM truth.orders t LEFT JOIN now.orders n ON {SAME} WHERE n.number IS NULL"
    came = f"FROM now.orders n LEFT JOIN truth.orders t ON {SAME} WHERE t.number IS NULL"
    truth = {
        "orders": {
            "dropped": False,
            "rows": app.count("SELECT count(*) FROM truth.orders"),
            "values": {"total": app.count("SELECT count(total) FROM truth.orders")},
            "changed": changed,
            "deleted": app.count(f"SELECT count(*) {left}"),
            "added": app.count(f"SELECT count(*) {came}"),
            "whole": False,
        },
        "drafts": {
            "dropped": True,
            "rows": app.count("SELECT count(*) FROM truth.drafts"),
            "values": {c: app.count(f"SELECT count({c}) FROM truth.drafts") for c in ("id", "body")},
            **dict.fromkeys(("changed", "deleted", "added"), 0),
            "whole": False,
        },
    }
    assert truth["orders"]["changed"] and truth["orders"]["deleted"] and truth["orders"]["added"]
    assert truth["orders"]["values"]["total"] < ORDERS
    assert told == rehearsed.facts["loss"] == truth
    assert counted == [
        f"drafts (the table, {DRAFTS} rows)",
        f"orders.total ({truth['orders']['values']['total']} values)",
    ]
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    print(f"{sum(NUMBERS.values())} rows: {seconds} s, at most {peak} MB for a process of ours")
    assert peak < 500
