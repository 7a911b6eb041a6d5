# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A downgrade taken back on SQLite and PostgreSQL: again, after a kill, after random writes, and when it cannot be."""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3

import pytest

pytest.importorskip("alembic")

from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.alembic_pg import PgShop, statements
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.alembic_shop import Shop
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal

pytestmark = pytest.mark.usefixtures("forked_alembic")

WORDS = {
    "sqlite": ("INTEGER PRIMARY KEY AUTOINCREMENT", "numeric", "blob", "text", "text", "text", "real"),
    "postgresql": ("serial PRIMARY KEY", "numeric", "bytea", "timestamptz", "jsonb", "text[]", "float8"),
}
DIE = "\n    import os, pathlib\n    if pathlib.Path('die').exists(): os.kill(os.getpid(), 9)"


@pytest.fixture(params=["sqlite", "postgresql"])
def make(request, tmp_path, monkeypatch):
    """Makes a project whose database stands at ``new``, with the tables of ``setup`` and what ``up`` made of them."""

    def made(up, down, setup=(), more=""):
        kind = request.param
        if kind == "postgresql":
            pytest.importorskip("psycopg")
            socket = request.getfixturevalue("postgresql")
            shop = PgShop(tmp_path, monkeypatch, socket, up, down, setup=setup, python_up=statements(*up) + more)
        else:
            shop = Shop(tmp_path, statements(*up) + more, statements(*down))
            shop.sql(*setup, *up)
        shop.kind = kind
        shop.accepted = ["invoices", "pets", "orders", "stock", "lines"]
        shop.part = shop.state / "R1/3-alembic_downgrade"
        return shop

    return made


def left(path, query):
    with contextlib.closing(sqlite3.connect(path)) as con:
        return con.execute(query).fetchall()


UP, DOWN = ["ALTER TABLE invoices ADD total text"], ["ALTER TABLE invoices DROP COLUMN total"]
ROWS = "INSERT INTO invoices (id, name, total) VALUES (1, 'a', 'ta'), (2, 'b', 'tb'), (3, 'c', 'tc')"


REFUSALS = [
    Refusal(
        "a way back that brings a column which may not be NULL and has no default",
        "The upgrade brings a column back that may not be NULL, and has no value for the rows that are there. The "
        "database was left as it was, and what was exported is kept. Give the column a value in the migration "
        "(server_default=; or add it with nullable=True, fill it, and make it NOT NULL then), and run the same command "
        "again. The migration new (migrations/versions/new.py) failed: <words of the database> total <more>",
    )
]


def test_a_column_that_may_not_be_null_and_has_no_default_is_named_with_what_to_do(make):
    shop = make(UP, DOWN)
    shop.sql(ROWS)
    shop.run("main")
    shop.migration("new", "old", statements("ALTER TABLE invoices ADD total text NOT NULL"), statements(*DOWN))
    shop.sql("INSERT INTO invoices (id, name) VALUES (4, 'since')")
    before = shop.dump()
    with pytest.raises(PhaseError) as caught:
        shop.run("recover")
    assert REFUSALS[0].matches(str(caught.value)), str(caught.value)
    assert "invoices" in str(caught.value)
    assert shop.dump() == before
    right = statements("ALTER TABLE invoices ADD total text NOT NULL DEFAULT ''")
    shop.migration("new", "old", right, statements(*DOWN))
    assert shop.run("recover").changed
    assert shop.sql("SELECT id, total FROM invoices ORDER BY id") == [(1, "ta"), (2, "tb"), (3, "tc"), (4, "")]


def test_killed_and_again_and_downgraded_once_more_with_the_same_restore_point(make):
    shop = make(UP, DOWN, more=DIE)
    shop.sql(ROWS)
    shop.run("main")
    shop.sql("DELETE FROM invoices WHERE id = 2", "INSERT INTO invoices (id, name) VALUES (4, 'since')")
    before = shop.dump()
    (shop.root / "die").touch()
    with pytest.raises(PhaseError, match="could not be run"):
        shop.run("recover")
    assert shop.dump() == before
    (shop.root / "die").unlink()
    assert not shop.run("main").changed  # nothing to do: it is downgraded, and the export is kept
    manifest, export = ((shop.part / name).read_bytes() for name in ("export.json", "export.sqlite"))
    first = shop.run("recover")
    said = "1 rows of invoices were deleted since, so their values of total were not put back."
    kept = f"{said} What was kept of them is in {shop.part}"
    assert first.warnings == [f"{kept}/left-1.sqlite."]
    rows = [(1, "a", "ta"), (3, "c", "tc"), (4, "since", None)]
    assert shop.sql("SELECT id, name, total FROM invoices ORDER BY id") == rows
    assert left(shop.part / "left-1.sqlite", "SELECT total FROM invoices WHERE id || '' = '2'") == [("tb",)]
    again = shop.run("recover")
    assert (again.changed, again.warnings) == (False, [])
    # killed after the database was in place, and before the rest was put away
    noted = dict(json.loads(manifest), left=[said])
    (shop.part / "export.json").write_text(json.dumps(noted))
    (shop.part / "export.sqlite").write_bytes(export)
    again = shop.run("recover")
    assert (again.changed, again.warnings) == (False, [f"{kept}/left-2.sqlite."])
    # a failed undo: downgraded once more
    assert shop.run("main").facts["exported"] == {"invoices": 3}
    assert shop.revision() == "old"
    shop.sql("DELETE FROM invoices WHERE id = 4")
    assert shop.run("recover").warnings == [f"{kept}/left-3.sqlite."]
    assert shop.sql("SELECT id, name, total FROM invoices ORDER BY id") == rows[:2]
    assert left(shop.part / "left-1.sqlite", "SELECT total FROM invoices WHERE id || '' = '2'") == [("tb",)]
    assert left(shop.part / "left-3.sqlite", "SELECT total FROM invoices WHERE id || '' = '4'") == [(None,)]


def test_unique_values_that_were_taken_since_or_change_places(make):
    up = [
        "ALTER TABLE invoices ADD slug text",
        "UPDATE invoices SET slug = 's' || id",
        "CREATE UNIQUE INDEX slugs ON invoices (slug)",
    ]
    shop = make(up, ["DROP INDEX slugs", "ALTER TABLE invoices DROP COLUMN slug"])
    shop.sql(
        "INSERT INTO invoices (id, name, slug) VALUES (1, 'a', 's2'), (2, 'b', 's1'), (3, 'c', 's9'), (4, 'd', 's3')"
    )
    shop.run("main")
    shop.sql("INSERT INTO invoices (id, name) VALUES (9, 'since')")
    report = shop.run("recover")
    assert shop.sql("SELECT id, slug FROM invoices ORDER BY id") == [
        *[(1, "s2"), (2, "s1"), (3, "s3"), (4, "s4"), (9, "s9")]
    ]
    said = "2 rows of invoices clash with what was written since, so their values of slug were not put back. "
    assert [words.partition("What")[0] for words in report.warnings] == [said]


def test_a_column_that_refers_to_rows_which_are_gone(make):
    setup = ["CREATE TABLE people (id int PRIMARY KEY)", "CREATE TABLE pets (id int PRIMARY KEY, name text)"]
    up = ["ALTER TABLE pets ADD owner int REFERENCES people (id)"]
    down = ["ALTER TABLE pets DROP COLUMN owner"]
    shop = make(up, down, setup)
    if shop.kind == "sqlite":  # which cannot drop it
        down = ["CREATE TABLE p (id int PRIMARY KEY, name text)", "INSERT INTO p SELECT id, name FROM pets"]
        down += ["DROP TABLE pets", "ALTER TABLE p RENAME TO pets"]
        shop.migration("new", "old", statements(*up), statements(*down))
    shop.sql(
        "INSERT INTO people VALUES (1), (2), (3)", "INSERT INTO pets VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', NULL)"
    )
    shop.run("main")
    shop.sql("DELETE FROM people WHERE id = 2")
    report = shop.run("recover")
    assert shop.sql("SELECT * FROM pets ORDER BY id") == [(1, "a", 1), (2, "b", None), (3, "c", None)]
    said = (
        "1 rows of pets refer to rows of people that are not there any more, so their values of owner were not put back"
    )
    assert [words.partition(". What")[0] for words in report.warnings] == [said]


# Values of the columns that are dropped, as they stand in SQL.
VALUES = [
    ["'NaN'", "0.10", "12345678901234567890.123", "NULL"],
    ["'\\x00ff5c'", "''", "NULL"],
    ["'infinity'", "'2026-03-29 02:30:00.123456+05:45'", "NULL"],
    ["""'{"b": 1.10, "a": null}'""", "'null'", "NULL"],
    ["""'{"a,b",NULL,"NULL"}'""", "'{}'", "NULL"],
    ["'NaN'", "0.1", "5e-324", "NULL"],
]


@pytest.mark.parametrize("seed", [1, 2])
def test_after_random_writes_each_row_and_each_value_is_there(make, request, seed):
    chance = random.Random(seed)
    kind = request.node.callspec.params["make"]
    serial, *types = WORDS[kind]
    dropped = [f"v{number}" for number in range(len(types))]
    shop = make(
        [f"ALTER TABLE orders ADD v{number} {name}" for number, name in enumerate(types)]
        + ["ALTER TABLE stock ADD place text DEFAULT 'none'"]
        + [f"CREATE TABLE lines (id {serial}, item int REFERENCES orders (id), note text)"],
        [f"ALTER TABLE orders DROP COLUMN {c}" for c in dropped]
        + ["ALTER TABLE stock DROP COLUMN place", "DROP TABLE lines"],
        [
            f"CREATE TABLE orders (id {serial}, name text, state text)",
            "CREATE TABLE stock (code text PRIMARY KEY, n int, m int)",
        ],
    )
    text = "quote({})" if kind == "sqlite" else "{}::text"
    shown = ", ".join(text.format(c) for c in dropped)
    numbers = iter(range(1000, 10000))
    for _number in range(40):
        values = ", ".join(chance.choice(some) for some in VALUES)
        shop.sql(
            f"INSERT INTO orders (name, state, {', '.join(dropped)}) VALUES ('n{next(numbers)}', 'open', {values})"
        )
    shop.sql(
        "INSERT INTO stock VALUES "
        + ", ".join(f"('c{n}', {next(numbers)}, {next(numbers)}, 'p{n}')" for n in range(40))
    )
    shop.sql(
        "INSERT INTO lines (item, note) VALUES " + ", ".join(f"({chance.randint(1, 40)}, 'l{n}')" for n in range(60))
    )
    # the model: what is there, by table and key
    before = {row[0]: row[1:] for row in shop.sql(f"SELECT id, {shown} FROM orders")}
    orders = {row[0]: list(row[1:]) for row in shop.sql("SELECT id, name, state FROM orders")}
    stock = {row[0]: list(row[1:]) for row in shop.sql("SELECT code, n, m FROM stock")}
    places = {f"c{n}": f"p{n}" for n in range(40)}
    lines = shop.sql("SELECT id, item, note FROM lines ORDER BY id")
    exported = dict(before)
    shop.run("main")
    writes = []
    last = 40
    for _number in range(120):
        what, key, code, number = (
            chance.randrange(7),
            chance.choice(list(orders)),
            chance.choice(list(stock)),
            next(numbers),
        )
        if what == 0:
            last += 1
            writes.append(f"INSERT INTO orders (name) VALUES ('n{number}')")
            orders[last] = [f"n{number}", None]
        elif what in (1, 2):
            writes.append(f"UPDATE orders SET name = 'n{number}', state = 's{number}' WHERE id = {key}")
            orders[key] = [f"n{number}", f"s{number}"]
        elif what == 3:
            writes.append(f"DELETE FROM orders WHERE id = {key}")
            del orders[key]
        elif what == 4:
            writes.append(f"UPDATE stock SET n = {number} WHERE code = '{code}'")
            stock[code][0] = number
        else:  # a key that another row gets, or a new one
            if what == 5:
                writes.append(f"DELETE FROM stock WHERE code = '{code}'")
                places.pop(code, None)
            code = code if what == 5 else f"d{number}"
            stock[code] = [number, next(numbers)]
            writes.append(f"INSERT INTO stock VALUES ('{code}', {stock[code][0]}, {stock[code][1]})")
    shop.sql(*writes)
    report = shop.run("recover")
    empty = ("NULL",) * len(dropped) if kind == "sqlite" else (None,) * len(dropped)
    found = {row[0]: row[1:] for row in shop.sql(f"SELECT id, name, state, {shown} FROM orders")}
    assert found == {key: (*row, *before.get(key, empty)) for key, row in orders.items()}
    found = {row[0]: row[1:] for row in shop.sql("SELECT code, n, m, place FROM stock")}
    assert found == {code: (*row, places.get(code, "none")) for code, row in stock.items()}
    assert shop.sql("SELECT id, item, note FROM lines ORDER BY id") == [row for row in lines if row[1] in orders]
    assert shop.sql("INSERT INTO orders (name) VALUES ('next') RETURNING id") == [(last + 1,)]
    assert shop.sql("INSERT INTO lines (note) VALUES ('next') RETURNING id") == [(61,)]
    gone = [key for key in exported if key not in orders]
    words = " ".join(report.warnings)
    assert f"{len(gone)} rows of orders were deleted since" in words
    # what could not be put back is in the file that the warnings name
    path = shop.part / "left-1.sqlite"
    assert all(str(path) in said for said in report.warnings)
    plain = ", ".join(f"quote({c})" if kind == "sqlite" else c for c in dropped)
    kept = {int(row[0]): row[1:] for row in left(path, f"SELECT id, {plain} FROM orders")}
    assert {key: kept[key] for key in gone} == {key: exported[key] for key in gone}
    assert len(left(path, "SELECT * FROM lines")) == 60
    assert len(left(path, "SELECT place FROM stock WHERE place LIKE 'p%'")) == 40
