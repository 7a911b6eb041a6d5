# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is exported and put back, for all kinds of migrations, and how the files are exchanged; without Alembic."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils._alembic_export import write_export
from ansible_collections.changeops.rollback.plugins.module_utils._alembic_foresee import losses, measure
from ansible_collections.changeops.rollback.plugins.module_utils._alembic_put import put_back
from ansible_collections.changeops.rollback.plugins.module_utils._alembic_sqlite import (
    DriverError,
    SqliteDatabase,
    located,
    revisions,
    tables,
)

# NULL, text, bytes, a float that shows every bit, the biggest integer, Unicode, a number as text, text in NOCASE order
VALUES = [None, "x", b"\x00\xff", 0.1 + 0.2, 2**63 - 1, "Größe \U0001f600", "12", "", -1.0, "X"]
START = [
    "CREATE TABLE items (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT COLLATE NOCASE, v, state DEFAULT 'open')",
    "CREATE TABLE pairs (a TEXT COLLATE NOCASE, b, v, PRIMARY KEY (a, b)) WITHOUT ROWID",
    "CREATE TABLE loose (a, v)",
    'CREATE TABLE "odd ""name" ("the ""key" TEXT PRIMARY KEY, v, doubled AS (v || v))',
    "CREATE TABLE alembic_version (version_num TEXT PRIMARY KEY)",
]


def run(path, *statements):
    with contextlib.closing(sqlite3.connect(path)) as con:
        con.executescript(";\n".join(statements))


def dump(path):
    """All rows of all tables, with every value as SQLite writes it."""
    with contextlib.closing(sqlite3.connect(path)) as con:
        con.text_factory = bytes
        names = [r[0].decode() for r in con.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {}
        for name in names:
            quoted = '"' + name.replace('"', '""') + '"'
            columns = sorted(r[1].decode() for r in con.execute(f"PRAGMA table_info({quoted})"))
            listed = ", ".join('quote("{}")'.format(c.replace('"', '""')) for c in columns)
            found[name] = (columns, sorted(con.execute(f"SELECT {listed} FROM {quoted}").fetchall()))
        return found


class Work:
    """A live database, and the two copies that migrations run on."""

    def __init__(self, tmp_path, *more):
        self.live = str(tmp_path / "live.db")
        self.copy = str(tmp_path / "copy.db")
        self.export = str(tmp_path / "export.db")
        run(self.live, *START)
        with contextlib.closing(sqlite3.connect(self.live)) as con:
            for number, value in enumerate(VALUES):
                con.execute("INSERT INTO items (name, v) VALUES (?, ?)", (f"n{number % 5}", value))
                con.execute("INSERT INTO pairs VALUES (?, ?, ?)", (f"K{number % 3}", number, value))
                con.executemany("INSERT INTO loose VALUES (?, ?)", [(number, value)] * 2)
                con.execute('INSERT INTO "odd ""name" VALUES (?, ?)', (f"k{number}", value))
            con.execute("INSERT INTO items (id) VALUES (50)")
            con.execute("DELETE FROM items WHERE id = 50")
            con.commit()
        run(self.live, *more)

    @contextlib.contextmanager
    def attached(self):
        with contextlib.closing(sqlite3.connect(self.live, isolation_level=None)) as con:
            con.execute("ATTACH ? AS copy", (self.copy,))
            con.execute("ATTACH ? AS export", (self.export,))
            yield con

    def down(self, *statements):
        shutil.copy(self.live, self.copy)
        run(self.copy, *statements)
        with self.attached() as con:
            before, after = tables(con, "main", "alembic_version"), tables(con, "copy", "alembic_version")
            self.kept = write_export(con, before, after)
        os.replace(self.copy, self.live)

    def up(self, *statements, untouched=True):
        shutil.copy(self.live, self.copy)
        run(self.copy, *statements)
        with self.attached() as con:
            left = put_back(con, self.kept, tables(con, "copy", "alembic_version"), untouched)
        os.replace(self.copy, self.live)
        return left


def rebuilt(old, new, kept):
    """Rebuild a table as Alembic's batch mode does."""
    name = new.split()[2]
    return [
        new.replace(name, "_new", 1),
        f"INSERT INTO _new ({kept}) SELECT {kept} FROM {old}",
        f"DROP TABLE {old}",
        f"ALTER TABLE _new RENAME TO {name}",
    ]


# Downgrade, upgrade.
MIGRATIONS = {
    "columns of every table": (
        [f"ALTER TABLE {n} DROP COLUMN v" for n in ("items", "pairs", "loose")],
        [f"ALTER TABLE {n} ADD v DEFAULT 'refilled'" for n in ("items", "pairs", "loose")],
    ),
    "odd names and generated columns": (
        ['ALTER TABLE "odd ""name" DROP COLUMN doubled', 'ALTER TABLE "odd ""name" DROP COLUMN v'],
        ['ALTER TABLE "odd ""name" ADD v', 'ALTER TABLE "odd ""name" ADD doubled AS (v || v)'],
    ),
    "tables": (
        ["DROP TABLE items", "DROP TABLE pairs", "DROP TABLE loose"],
        [*START[:3], "INSERT INTO items (name) VALUES ('seed')", "INSERT INTO loose VALUES ('seed', 1)"],
    ),
    "a rebuilt table": (
        rebuilt("items", "CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT)", "id, name"),
        rebuilt("items", START[0], "id, name"),
    ),
    "another type, with loss": (
        [
            *rebuilt(
                "pairs", "CREATE TABLE pairs (a TEXT COLLATE NOCASE, b, v INTEGER, PRIMARY KEY (a, b))", "a, b, v"
            ),
            "UPDATE pairs SET v = CAST(v AS INTEGER)",
        ],
        rebuilt("pairs", START[1], "a, b, v"),
    ),
    "another primary key": (
        [
            *rebuilt("items", "CREATE TABLE items (id, name TEXT PRIMARY KEY, v, state)", "id, v, state"),
            "UPDATE items SET name = id",
        ],
        rebuilt("items", START[0], "id, name, v, state"),
    ),
    "only the spelling": (["UPDATE items SET name = upper(name)"], ["SELECT 1"]),
    "rows deleted": (["DELETE FROM items WHERE id > 3", "DELETE FROM loose", "DELETE FROM pairs"], ["SELECT 1"]),
    "rows deleted and seeded again": (
        ["DELETE FROM items"],
        ["INSERT INTO items (id, name) VALUES (1, 's'), (99, 't')"],
    ),
    "rows changed, and reset by the upgrade": (
        ["UPDATE items SET state = id WHERE id < 4"],
        ["UPDATE items SET state = 'reset'", "UPDATE items SET v = 0"],
    ),
    "rows changed without a key": (["UPDATE loose SET a = 0 WHERE a = 1"], ["SELECT 1"]),
    "rows added by both": (["INSERT INTO pairs VALUES ('d', 1, 1)"], ["INSERT INTO pairs VALUES ('u', 2, 2)"]),
    "rows deleted by the upgrade": (["SELECT 1"], ["DELETE FROM items WHERE id > 2"]),
    "rows of a table without key changed by the upgrade": (["SELECT 1"], ["UPDATE loose SET v = 0"]),
    "a column renamed": (["ALTER TABLE items RENAME v TO w"], ["ALTER TABLE items RENAME w TO v"]),
    "a table renamed": (["ALTER TABLE loose RENAME TO tight"], ["ALTER TABLE tight RENAME TO loose"]),
    "unique values in another order, with a trigger": (
        ["ALTER TABLE items DROP COLUMN v"],
        [
            "ALTER TABLE items ADD v",
            "UPDATE items SET v = (SELECT w.v FROM was w WHERE w.id = 11 - items.id)",
            "CREATE UNIQUE INDEX one ON items (v)",
            "CREATE TRIGGER t AFTER DELETE ON items BEGIN DELETE FROM pairs; END",
        ],
    ),
}


@pytest.mark.parametrize("name", MIGRATIONS)
def test_recovery_gives_every_value_back(tmp_path, name):
    down, up = MIGRATIONS[name]
    work = Work(tmp_path, "CREATE TABLE was AS SELECT id, v FROM items")
    found = dump(work.live)
    work.down(*down)
    assert name.endswith("by the upgrade") or dump(work.live) != found
    assert work.up(*up) == []
    assert dump(work.live) == found


# What is written between the downgrade and the upgrade, a query, its answer, what is said about it.
SINCE = {
    "a new row gets what the upgrade fills in": (
        MIGRATIONS["columns of every table"],
        ["INSERT INTO items (name) VALUES ('since')"],
        "SELECT v FROM items WHERE name = 'since' OR id = 2",
        [("x",), ("refilled",)],
        [],
    ),
    "a deleted row stays deleted": (
        MIGRATIONS["columns of every table"],
        ["DELETE FROM items WHERE id <> 2"],
        "SELECT id, v FROM items",
        [(2, "x")],
        ["9 rows of items were deleted since, so their values of v were not put back."],
    ),
    "an edited row that the downgrade had changed keeps its edit": (
        (["UPDATE items SET state = 'down' WHERE id < 3"], ["SELECT 1"]),
        ["UPDATE items SET state = 'mine' WHERE id = 1"],
        "SELECT state FROM items WHERE id < 4",
        [("mine",), ("open",), ("open",)],
        ["1 rows of items were written to since and keep their present values."],
    ),
    "a deleted row whose place is taken is left alone": (
        (["DELETE FROM items WHERE id < 3"], ["SELECT 1"]),
        ["INSERT INTO items (id, name) VALUES (1, 'mine')"],
        "SELECT id, name FROM items WHERE id < 4",
        [(1, "mine"), (2, "n1"), (3, "n2")],
        ["1 rows of items were written to since and keep their present values."],
    ),
    "an edit under the old name of a column is kept": (
        MIGRATIONS["a column renamed"],
        ["UPDATE items SET w = 'mine' WHERE id = 1"],
        "SELECT v FROM items WHERE id < 3",
        [("mine",), ("x",)],
        [],
    ),
    "a table that was renamed keeps what was written": (
        MIGRATIONS["a table renamed"],
        ["DELETE FROM tight WHERE a > 0"],
        "SELECT a, v FROM loose",
        [(0, None), (0, None)],
        [],
    ),
    "a table without key that was written to is left alone": (
        MIGRATIONS["columns of every table"],
        ["DELETE FROM loose WHERE a > 0"],
        "SELECT a, v FROM loose",
        [(0, "refilled"), (0, "refilled")],
        ["loose has no usable primary key and was written to since, so it was left as it is."],
    ),
    "what the upgrade transforms stays transformed": (
        (["SELECT 1"], ["UPDATE items SET state = 'reset'"]),
        ["INSERT INTO items (id, state) VALUES (90, 'since')"],
        "SELECT DISTINCT state FROM items",
        [("reset",)],
        [],
    ),
}


@pytest.mark.parametrize("name", SINCE)
def test_what_was_written_since_wins(tmp_path, name):
    (down, up), since, query, expected, said = SINCE[name]
    work = Work(tmp_path)
    work.down(*down)
    run(work.live, *since)
    assert work.up(*up, untouched=False) == said
    with contextlib.closing(sqlite3.connect(work.live)) as con:
        assert con.execute(query).fetchall() == expected


def test_an_upgrade_that_brings_a_column_not_back_is_an_error(tmp_path):
    work = Work(tmp_path)
    work.down("ALTER TABLE items DROP COLUMN v")
    with pytest.raises(DriverError, match=r"did not bring back items\.v"):
        work.up("ALTER TABLE items ADD vv")


def test_losses_are_told_and_measured(tmp_path):
    work = Work(tmp_path)
    shutil.copy(work.live, work.copy)
    run(work.copy, "ALTER TABLE items DROP COLUMN v", "DROP TABLE loose")
    with work.attached() as con:
        found = losses(tables(con, "main", "alembic_version"), tables(con, "copy", "alembic_version"))
        size = measure(con, found)
    assert {name: (loss["columns"], loss["dropped"], loss["rows"]) for name, loss in found.items()} == {
        "items": (["v"], False, 10),
        "loose": (["a", "v"], True, 20),
    }
    assert found["items"]["values"] == {"v": 9}
    assert 500 < size < 5000


@pytest.mark.parametrize(
    ("name", "uri", "path"),
    [
        ("/a/b.db", False, "/a/b.db"),
        ("b.db", False, "{cwd}/b.db"),
        ("file:b.db", False, "{cwd}/file:b.db"),
        ("file:/a/b%20c.db?mode=ro#x", True, "/a/b c.db"),
        ("file:///a/b.db", True, "/a/b.db"),
        ("file://localhost/a/b.db", True, "/a/b.db"),
        ("file:b.db?cache=shared", True, "{cwd}/b.db"),
        (b"/a/b.db", False, "/a/b.db"),
        ("file:x?mode=memory", True, None),
        ("file::memory:", True, None),
        (":memory:", False, None),
        ("", False, None),
    ],
)
def test_where_sqlite_would_look(name, uri, path):
    assert located(name, uri) == (path and path.format(cwd=os.getcwd()))


def test_a_copy_of_the_schema_has_everything_but_the_data(tmp_path):
    live = str(tmp_path / "live.db")
    run(
        live,
        *START,
        "INSERT INTO alembic_version VALUES ('r1')",
        "INSERT INTO items (v) VALUES (1)",
        "CREATE INDEX i ON items (v)",
        "CREATE VIEW w AS SELECT * FROM items",
        "CREATE TRIGGER t AFTER INSERT ON alembic_version BEGIN DELETE FROM items; END",
        "CREATE VIRTUAL TABLE words USING fts5(text)",
        "INSERT INTO words VALUES ('hello')",
    )
    database = SqliteDatabase(live, "alembic_version")
    with contextlib.closing(database.read()) as source:
        database.copy_schema(source, str(tmp_path / "copy.db"))
        query = "SELECT type, name, sql FROM sqlite_master ORDER BY 1, 2"
        with contextlib.closing(sqlite3.connect(tmp_path / "copy.db")) as con:
            assert con.execute(query).fetchall() == source.execute(query).fetchall()
            assert revisions(con, "main", "alembic_version") == ["r1"]
            assert con.execute("SELECT count(*) FROM items").fetchone() == (0,)
            assert con.execute("SELECT count(*) FROM words").fetchone() == (0,)
        assert "words" in tables(source, "main", "alembic_version")
        assert "words_data" not in tables(source, "main", "alembic_version")


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_the_lock_keeps_everybody_out_while_the_copy_is_made(tmp_path, journal):
    live = str(tmp_path / "live.db")
    run(live, *START)
    if journal == "wal":
        run(live, "PRAGMA journal_mode = WAL")
    read = (
        "import sqlite3, sys; print(sqlite3.connect(sys.argv[1], timeout=0).execute('SELECT * FROM items').fetchall())"
    )
    other = [sys.executable, "-c", read, live]
    database = SqliteDatabase(live, "alembic_version")
    with database.locked(journal) as con:
        database.make_copy(con)
        con.execute("ATTACH ? AS copy", (database.copy,))
        con.execute("INSERT INTO copy.items (v) VALUES ('migrated')")
        assert "database is locked" in subprocess.run(other, check=False, capture_output=True, text=True).stderr
        con.execute("DETACH copy")
        database.finish_copy(journal, [])
        noted = database.print_of(database.copy)
        database.swap()
        database.clear()
    assert database.untouched(noted)
    assert "migrated" in subprocess.run(other, check=False, capture_output=True, text=True).stdout
    assert database.state() == ([], journal)
    run(live, "INSERT INTO items (v) VALUES ('since')")
    assert not database.untouched(noted)


def test_a_damaged_copy_never_becomes_the_database(tmp_path):
    live = tmp_path / "live.db"
    run(str(live), *START, "CREATE INDEX i ON items (v)", "INSERT INTO items (v) VALUES (1)")
    before = live.read_bytes()
    database = SqliteDatabase(str(live), "alembic_version")
    with pytest.raises(DriverError, match="is damaged"), database.locked("delete") as con:
        database.make_copy(con)
        run(database.copy, "PRAGMA writable_schema = ON", "UPDATE sqlite_master SET rootpage = 3 WHERE name = 'i'")
        database.finish_copy("delete", [])
        database.swap()
    assert live.read_bytes() == before
