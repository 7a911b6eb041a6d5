# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes what an image of a PostgreSQL table holds into the table. Private; runs in the app's own interpreter."""

# ruff: noqa: S608  names of tables and columns are quoted by q() and ident(), and values are bound

from __future__ import annotations

import contextlib
import sqlite3
import typing as t

from ._alembic_pg_tables import CHUNK, PgTable, ask, do, ident, spelled
from ._alembic_sqlite import DriverError, q

TRIGGERS = """
SELECT tgname, CAST(tgenabled AS text) FROM pg_trigger
WHERE tgrelid = :oid AND NOT tgisinternal AND tgparentid = 0 AND tgenabled IN ('O', 'A')
"""
FOREIGN_KEYS = """
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname), f.conname, f.condeferrable, f.condeferred
FROM pg_constraint f JOIN pg_class c ON c.oid = f.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE f.contype = 'f' AND f.conparentid = 0 AND (f.conrelid = ANY(CAST(:oids AS oid[]))
  OR f.confrelid = ANY(CAST(:oids AS oid[])))
"""


class Put(t.NamedTuple):
    """A table to be written: as it is called in the images, the table, and of each image's column that of the table."""

    name: str
    table: PgTable
    columns: dict[str, str]


@contextlib.contextmanager
def quiet(con: t.Any, tables: list[PgTable]) -> t.Iterator[None]:
    """Let no trigger of the app fire, and check foreign keys at the end, whatever the order of rows and tables."""
    do(con, "SET CONSTRAINTS ALL IMMEDIATE")
    fire = [(table, name, how) for table in tables for name, how in ask(con, TRIGGERS, oid=table.oid)]
    late = [row for row in ask(con, FOREIGN_KEYS, oids=[table.oid for table in tables]) if not row[3]]
    for table, name, _how in fire:
        do(con, f"ALTER TABLE {table.sql} DISABLE TRIGGER {ident(name)}")
    for place, name, _deferrable, _deferred in late:
        do(con, f"ALTER TABLE {_escaped(place)} ALTER CONSTRAINT {ident(name)} DEFERRABLE INITIALLY DEFERRED")
    do(con, "SET CONSTRAINTS ALL DEFERRED")
    yield
    do(con, "SET CONSTRAINTS ALL IMMEDIATE")
    for place, name, deferrable, _deferred in late:
        was = "DEFERRABLE INITIALLY IMMEDIATE" if deferrable else "NOT DEFERRABLE"
        do(con, f"ALTER TABLE {_escaped(place)} ALTER CONSTRAINT {ident(name)} {was}")
    for table, name, how in fire:
        do(con, f"ALTER TABLE {table.sql} ENABLE {'ALWAYS ' if how == 'A' else ''}TRIGGER {ident(name)}")


def _escaped(quoted: str) -> str:
    return quoted.replace("\\", "\\\\").replace(":", "\\:")


def write(con: t.Any, lines: sqlite3.Connection, puts: list[Put]) -> None:
    """Make tables hold what their images in ``copy`` hold; ``asis`` has images of what they hold now.

    :raises DriverError: it could not be done.
    """
    if not puts:
        return
    with quiet(con, [put.table for put in puts]), spelled(con):
        for step in (_delete, _update, _insert):
            for put in puts:
                step(con, lines, put)


def _key(put: Put) -> list[str]:
    names = {column: shown for shown, column in put.columns.items()}
    return [names[k] for k in put.table.key] if all(k in names for k in put.table.key) else []


def _columns(shown: t.Iterable[str], alias: str = "") -> str:
    return ", ".join(q(alias, c) if alias else q(c) for c in shown)


def _match(key: list[str], left: str, right: str) -> str:
    return " AND ".join(f"{q(left, k)} = {q(right, k)}" for k in key)


def _given(put: Put, shown: list[str]) -> str:
    """The bound values as a table ``s`` with columns of the right types, called ``c0``, ``c1`` and so on."""
    kinds = dict(put.table.columns.values())
    typed = ", ".join(f"CAST(u.c{n} AS {_escaped(kinds[put.columns[c]])}) AS c{n}" for n, c in enumerate(shown))
    arrays = ", ".join(f"CAST(:c{n} AS text[])" for n in range(len(shown)))
    return f"(SELECT {typed} FROM unnest({arrays}) AS u({', '.join(f'c{n}' for n in range(len(shown)))})) AS s"


def _send(con: t.Any, lines: sqlite3.Connection, query: str, sql: str, width: int, count: bool = True) -> None:
    import sqlalchemy as sa

    statement = sa.text(sql)
    rows = lines.execute(query)
    while True:
        part = rows.fetchmany(CHUNK)
        if not part:
            return
        done = con.execute(statement, {f"c{n}": [row[n] for row in part] for n in range(width)})
        if count and done.rowcount not in (-1, len(part)):
            raise DriverError(f"{done.rowcount} rows were written instead of {len(part)}. Nothing was changed.")


def _delete(con: t.Any, lines: sqlite3.Connection, put: Put) -> None:
    key, name = _key(put), q(put.name)
    if not key:
        do(con, f"DELETE FROM {put.table.rows}")
        return
    query = f"SELECT {_columns(key)} FROM asis.{name} EXCEPT SELECT {_columns(key)} FROM copy.{name}"
    same = " AND ".join(f"b.{ident(put.columns[k])} = s.c{n}" for n, k in enumerate(key))
    _send(con, lines, query, f"DELETE FROM {put.table.rows} AS b USING {_given(put, key)} WHERE {same}", len(key))


def _update(con: t.Any, lines: sqlite3.Connection, put: Put) -> None:
    key, name = _key(put), q(put.name)
    if not key:
        return
    joined = f"FROM copy.{name} c JOIN asis.{name} a ON {_match(key, 'c', 'a')} WHERE "
    others = [c for c in put.columns if c not in key]
    changed = [
        c for c in others if lines.execute(f"SELECT 1 {joined}{q('c', c)} IS NOT {q('a', c)} LIMIT 1").fetchone()
    ]
    if not changed:
        return
    differs = " OR ".join(f"{q('c', c)} IS NOT {q('a', c)}" for c in changed)
    sets = ", ".join(f"{ident(put.columns[c])} = s.c{len(key) + n}" for n, c in enumerate(changed))
    same = " AND ".join(f"b.{ident(put.columns[k])} = s.c{n}" for n, k in enumerate(key))
    sql = f"UPDATE {put.table.rows} AS b SET {sets} FROM {_given(put, key + changed)} WHERE {same}"
    _send(con, lines, f"SELECT {_columns(key + changed, 'c')} {joined}{differs}", sql, len(key + changed))


def _insert(con: t.Any, lines: sqlite3.Connection, put: Put) -> None:
    key, name, shown = _key(put), q(put.name), list(put.columns)
    query = f"SELECT {_columns(shown)} FROM copy.{name} c"
    if key:
        query += f" WHERE NOT EXISTS (SELECT 1 FROM asis.{name} a WHERE {_match(key, 'a', 'c')})"
    columns = ", ".join(ident(put.columns[c]) for c in shown)
    values = ", ".join(f"s.c{n}" for n in range(len(shown)))
    sql = f"INSERT INTO {put.table.sql} ({columns}) OVERRIDING SYSTEM VALUE SELECT {values} FROM {_given(put, shown)}"
    _send(con, lines, query + " ORDER BY rowid", sql, len(shown), count=False)
