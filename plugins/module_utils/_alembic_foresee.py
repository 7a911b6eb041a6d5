# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What preflight foresees of the loss in a SQLite database, while the app works. Private; runs in its interpreter.

The downgrade of an empty copy tells which tables and columns go; what they hold is counted in the database.
"""

# ruff: noqa: S608  names of tables and columns are quoted by q()

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
import typing as t

from ._alembic_export import Loss, write_export
from ._alembic_sqlite import SqliteDatabase, Table, q, tables

PART = 20000  # rows that are counted at a time: as long as they are read, an app without write-ahead log cannot write
SAMPLE = 1000  # rows by which the size of all is judged
ALIKE = 50  # rows by which a column that goes is known again under another name


def losses(before: dict[str, Table], after: dict[str, Table]) -> dict[str, Loss]:
    """What the step from one schema to another may destroy: per table its ``key`` and the ``columns`` that go or become
    another type (``retyped``); ``dropped``, whether all of it goes; ``whole``, whether its rows cannot be matched.
    """
    found = {}
    for name, table in before.items():
        left = after.get(name)
        gone = [c for c in table.columns if left is None or left.columns.get(c) != table.columns[c]]
        if gone or left is None:
            retyped = [c for c in gone if left is not None and c in left.columns]
            matched = left is None or (bool(table.key) and left.key == table.key)
            found[name] = {"columns": gone, "key": table.key, "dropped": left is None}
            found[name].update(retyped=retyped, whole=not matched)
    return found


def measure(con: sqlite3.Connection, found: dict[str, Loss], pause: t.Callable[[float], None] = time.sleep) -> int:
    """Add to each loss the ``rows`` and the ``values`` (not NULL) of its columns; return the bytes they take, about.

    :arg pause: called with seconds between two parts of a table, so that others get at it.
    """
    total = 0.0
    for name, loss in found.items():
        columns = loss["columns"]
        rows, *numbers = _counted(con, name, columns, pause)
        loss["rows"] = rows
        loss["values"] = {c: number for c, number in zip(columns, numbers) if c not in loss["retyped"]}
        sizes = ", ".join(f"avg(length(CAST({q(c)} AS BLOB)))" for c in columns + loss["key"]) or "0"
        some = f"SELECT {', '.join(map(q, columns + loss['key'])) or '1'} FROM main.{q(name)} LIMIT {SAMPLE}"
        means = con.execute(f"SELECT {sizes} FROM ({some})").fetchone()
        total += sum((mean or 0) * number for mean, number in zip(means, numbers + [rows] * len(loss["key"])))
        total += 16 * rows * (1 + len(columns))
    return int(total)


def _counted(con: sqlite3.Connection, name: str, columns: list[str], pause: t.Callable[[float], None]) -> list[int]:
    """The rows of a table and the values, not NULL, of its columns; read part by part where its rows have numbers."""
    counts = ", ".join(["count(*)", *(f"count({q(c)})" for c in columns)])
    listed = "".join(f", {q(c)}" for c in columns)
    number = _row_number(con, name)
    if not number:
        return list(con.execute(f"SELECT {counts} FROM main.{q(name)}").fetchone())
    total, last = [0] * (1 + len(columns)), -(2**63)
    query = (
        f"SELECT max(changeops_row), {counts} FROM (SELECT {number} AS changeops_row{listed} FROM main.{q(name)}"
        f" WHERE {number} >= ? ORDER BY {number} LIMIT {PART})"
    )
    while True:
        began = time.monotonic()
        highest, *numbers = con.execute(query, (last,)).fetchone()
        total = [a + b for a, b in zip(total, numbers)]
        if numbers[0] < PART or highest == 2**63 - 1:
            return total
        last = highest + 1
        pause(time.monotonic() - began)


def _row_number(con: sqlite3.Connection, name: str) -> str:
    """What SQLite calls the number of a row there; empty where there is none."""
    taken = {row[1].lower() for row in con.execute(f"PRAGMA main.table_xinfo({q(name)})")}
    for word in ("rowid", "_rowid_", "oid"):
        if word not in taken:
            with contextlib.suppress(sqlite3.OperationalError):
                con.execute(f"SELECT {word} FROM main.{q(name)} LIMIT 1").fetchone()
                return word
    return ""


def forget_renamed(
    live: sqlite3.Connection,
    database: SqliteDatabase,
    folder: str,
    found: dict[str, Loss],
    after: dict[str, Table],
    downgrade: t.Callable[[str], None],
) -> None:
    """Take out of ``found`` what only gets another name, where there is something new that could be it: known by
    the downgrade of an empty copy with some rows in it. Where that fails, nothing is known.

    :arg downgrade: downgrades a database file.
    """
    before = tables(live, "main", database.version_table)
    new = [name for name in after if name not in before]
    suspect = {
        name: loss
        for name, loss in found.items()
        if (new if loss["dropped"] else set(after[name].columns).difference(before[name].columns))
    }
    if not suspect:
        return
    paths = [os.path.join(folder, f"some-{what}.sqlite") for what in ("before", "after")]
    with contextlib.suppress(Exception):  # of the app's migrations too, which know nothing of these few rows
        for path in paths:
            database.copy_schema(live, path)
            with contextlib.closing(sqlite3.connect(path)) as con:
                for name, loss in suspect.items():
                    _draw_some(live, con, name, list(before[name].columns), loss["columns"])
                con.commit()
        downgrade(paths[1])
        with contextlib.closing(sqlite3.connect(paths[0], isolation_level=None)) as con:
            con.execute("ATTACH ? AS copy", (paths[1],))
            con.execute("ATTACH ':memory:' AS export")
            kept = write_export(
                con, {name: before[name] for name in suspect}, tables(con, "copy", database.version_table)
            )
        for name, entry in kept.items():
            renamed = entry.get("renamed") or {}
            loss = found[name]
            loss["columns"] = [] if loss["dropped"] and renamed else [c for c in loss["columns"] if c not in renamed]
            if not loss["columns"]:
                del found[name]


def _draw_some(
    live: sqlite3.Connection, con: sqlite3.Connection, name: str, columns: list[str], wanted: list[str]
) -> None:
    """Draw rows of a table with values in the columns that are ``wanted``."""
    listed = ", ".join(map(q, columns))
    for column in wanted:
        some = f"SELECT {listed} FROM main.{q(name)} WHERE {q(column)} IS NOT NULL LIMIT {ALIKE}"
        into = f"INSERT OR IGNORE INTO {q(name)} ({listed}) VALUES ({', '.join('?' * len(columns))})"
        con.executemany(into, live.execute(some).fetchall())
