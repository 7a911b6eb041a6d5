# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes what an image of a PostgreSQL table holds into the table. Private; runs in the app's own interpreter."""

# ruff: noqa: S608  names of tables and columns are quoted by q() and ident(), and values are bound

from __future__ import annotations

import contextlib
import sqlite3
import typing as t

from ._alembic_export import Loss
from ._alembic_orphans import Held, Refused, held_words
from ._alembic_pg_tables import CHUNK, PgTable, ask, do, ident, spelled
from ._alembic_server import sqlstate
from ._alembic_sqlite import DriverError, q

TRIGGERS = """
SELECT tgname, CAST(tgenabled AS text) FROM pg_trigger
WHERE tgrelid = :oid AND NOT tgisinternal AND tgparentid = 0 AND tgenabled IN ('O', 'A')
"""
FOREIGN_KEYS = """
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname), f.conname, f.condeferrable, f.condeferred,
  CAST(f.conrelid AS bigint), CAST(f.confrelid AS bigint), CAST(CAST(f.confrelid AS regclass) AS text),
  CAST(CAST(f.conrelid AS regclass) AS text),
  ARRAY(SELECT CAST(a.attname AS text) FROM unnest(f.conkey) WITH ORDINALITY k(n, i)
    JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = k.n ORDER BY k.i),
  ARRAY(SELECT CAST(a.attname AS text) FROM unnest(f.confkey) WITH ORDINALITY k(n, i)
    JOIN pg_attribute a ON a.attrelid = f.confrelid AND a.attnum = k.n ORDER BY k.i)
FROM pg_constraint f JOIN pg_class c ON c.oid = f.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE f.contype = 'f' AND f.conparentid = 0 AND (f.conrelid = ANY(CAST(:oids AS oid[]))
  OR f.confrelid = ANY(CAST(:oids AS oid[])))
"""


VIOLATED = "23"  # what begins the state of a row that a constraint forbids


class Put(t.NamedTuple):
    """A table to be written: as it is called in the images, the table, of each image's column that of the table, and
    what is noted of it.
    """

    name: str
    table: PgTable
    columns: dict[str, str]
    entry: Loss


class NotTaken(Exception):
    """Rows that the database does not take. Their key is the number in the image."""

    def __init__(self, rows: list[Refused]) -> None:
        super().__init__()
        self.rows = rows


@contextlib.contextmanager
def quiet(con: t.Any, tables: list[PgTable]) -> t.Iterator[None]:
    """Let no trigger of the app fire, and check foreign keys at the end, whatever the order of rows and tables."""
    do(con, "SET CONSTRAINTS ALL IMMEDIATE")
    fire = [(table, name, how) for table in tables for name, how in ask(con, TRIGGERS, oid=table.oid)]
    late = [row[:4] for row in ask(con, FOREIGN_KEYS, oids=[table.oid for table in tables]) if not row[3]]
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


def write(con: t.Any, lines: sqlite3.Connection, puts: list[Put]) -> list[str]:
    """Make tables hold what their images in ``copy`` hold; ``asis`` has images of what they hold now. What the database
    does not take stays as it is, also in ``copy``; it is returned, as sentences.

    :raises DriverError: it could not be done.
    """
    out: list[Refused] = []
    while puts:
        do(con, "SAVEPOINT changeops_put")
        try:
            with quiet(con, [put.table for put in puts]), spelled(con):
                rows = [row for step in (_delete, _update, _insert) for put in puts for row in step(con, lines, put)]
                if rows or not _complete(con):
                    raise NotTaken(rows or _orphans(con, lines, puts))
            break
        except NotTaken as exc:
            do(con, "ROLLBACK TO SAVEPOINT changeops_put")
            if not exc.rows:
                raise DriverError(
                    "What was put back refers to rows that are not there any more. Nothing was changed."
                ) from exc
            once = {(row.put.name, row.key): row for row in exc.rows[::-1]}
            for row in once.values():
                _leave(lines, row)
            out += once.values()
    return held_words(out)


def _complete(con: t.Any) -> bool:
    """Whether each row has the one that it refers to. What is checked in vain is taken back."""
    do(con, "SAVEPOINT changeops_check")
    try:
        do(con, "SET CONSTRAINTS ALL IMMEDIATE")
    except Exception as exc:
        if not sqlstate(exc).startswith(VIOLATED):
            raise
        do(con, "ROLLBACK TO SAVEPOINT changeops_check")
        return False
    return True


def _orphans(con: t.Any, lines: sqlite3.Connection, puts: list[Put]) -> list[Refused]:
    """Rows that were put back and refer to one that is not there; rows that were taken away and are referred to."""
    found: list[Refused] = []
    tables = {put.table.oid: put for put in puts}
    for row in ask(con, FOREIGN_KEYS, oids=list(tables)):
        place, _name, _deferrable, _deferred, child, parent, other, shown, ours, theirs = row
        match = " AND ".join(f"p.{ident(b)} = c.{ident(a)}" for a, b in zip(ours, theirs))
        filled = " AND ".join(f"c.{ident(a)} IS NOT NULL" for a in ours)
        listed = ", ".join(f"CAST(c.{ident(a)} AS text)" for a in ours)
        values = ask(
            con,
            f"SELECT DISTINCT {listed} FROM {_escaped(place)} c WHERE {filled}"
            f" AND NOT EXISTS (SELECT 1 FROM {_escaped(other)} p WHERE {match})",
        )
        for value in values:
            rows = _only_in(lines, tables.get(child), ours, tuple(value), ("copy", "asis"))
            found += [Refused(tables[child], (number,), Held("parent", other, there)) for number, there in rows]
            if not rows:
                gone = _only_in(lines, tables.get(parent), theirs, tuple(value), ("asis", "copy"))
                found += [Refused(tables[parent], (-number,), Held("child", shown)) for number, _there in gone]
    return found


def _only_in(
    lines: sqlite3.Connection, put: Put | None, columns: list[str], value: tuple[t.Any, ...], images: tuple[str, str]
) -> list[tuple[int, bool]]:
    """The numbers of rows that have a value in one image and not in the other, and whether they are there too."""
    shown = {column: name for name, column in put.columns.items()} if put else {}
    if put is None or not set(shown).issuperset(columns):
        return []
    here, there = (f"{image}.{q(put.name)}" for image in images)
    names, key = [shown[c] for c in columns], _key(put)
    known = f"EXISTS (SELECT 1 FROM {there} b WHERE {_match(key, 'b', 'a')})" if key else "0"
    same = " AND ".join(f"b.{q(c)} IS a.{q(c)}" for c in names)
    stayed = f"EXISTS (SELECT 1 FROM {there} b WHERE {_match(key, 'b', 'a')} AND {same})" if key else "0"
    wanted = " AND ".join(f"a.{q(c)} = ?" for c in names)
    query = f"SELECT a.rowid, {known} FROM {here} a WHERE {wanted} AND NOT {stayed}"
    return [(number, bool(known_too)) for number, known_too in lines.execute(query, value)]


def _leave(lines: sqlite3.Connection, row: Refused) -> None:
    """Let a row of ``copy`` be as it is in ``asis``; a number below 0 is that of a row there."""
    put, (number,) = row.put, row.key
    name, key = q(put.name), _key(put)
    if number < 0:
        lines.execute(f"INSERT INTO copy.{name} SELECT * FROM asis.{name} WHERE rowid = ?", (-number,))
        return
    if key:
        match = _match(key, "a", "c")
        lines.execute(
            f"CREATE TEMP TABLE changeops_row AS SELECT a.* FROM asis.{name} a JOIN copy.{name} c ON {match}"
            " WHERE c.rowid = ?",
            (number,),
        )
    lines.execute(f"DELETE FROM copy.{name} WHERE rowid = ?", (number,))
    if key:
        lines.execute(f"INSERT INTO copy.{name} SELECT * FROM temp.changeops_row")
        lines.execute("DROP TABLE temp.changeops_row")


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


def _send(
    con: t.Any, lines: sqlite3.Connection, query: str, sql: str, width: int, count: bool = True, clear: str = ""
) -> list[int]:
    """Bind the first ``width`` columns of a query to a statement; return the last one of rows that are not taken.

    :arg clear: a statement that sets them to NULL before, for those that have to change places.
    """
    import sqlalchemy as sa

    statement, again = sa.text(sql), [0]
    rows = lines.execute(query)
    refused: list[t.Any] = []
    while True:
        part = rows.fetchmany(CHUNK)
        if not part:
            break
        refused += _part(con, statement, part, width, count)
    # One that waited for the value of another one may be taken now.
    while refused and len(refused) not in again:
        again.append(len(refused))
        refused = _part(con, statement, refused, width, count)
    if refused and clear and not _part(con, sa.text(clear), refused, width, count):
        refused = _part(con, statement, refused, width, count)
    return [row[-1] for row in refused]


def _part(con: t.Any, statement: t.Any, part: list[t.Any], width: int, count: bool) -> list[t.Any]:
    """Send rows, and return those that a constraint forbids: where there is one, half of them at a time."""
    do(con, "SAVEPOINT changeops_part")
    try:
        done = con.execute(statement, {f"c{n}": [row[n] for row in part] for n in range(width)})
    except Exception as exc:
        if not sqlstate(exc).startswith(VIOLATED):
            raise
        do(con, "ROLLBACK TO SAVEPOINT changeops_part")
        half = len(part) // 2
        return (
            part
            if not half
            else [row for some in (part[:half], part[half:]) for row in _part(con, statement, some, width, count)]
        )
    do(con, "RELEASE SAVEPOINT changeops_part")
    if count and done.rowcount not in (-1, len(part)):
        raise DriverError(f"{done.rowcount} rows were written instead of {len(part)}. Nothing was changed.")
    return []


def _clashes(put: Put, numbers: list[int], there: bool) -> list[Refused]:
    return [Refused(put, (number,), Held("clash", there=there)) for number in numbers]


def _delete(con: t.Any, lines: sqlite3.Connection, put: Put) -> list[Refused]:
    key, name = _key(put), q(put.name)
    if not key:
        do(con, f"DELETE FROM {put.table.rows}")
        return []
    gone = f"NOT EXISTS (SELECT 1 FROM copy.{name} c WHERE {_match(key, 'c', 'a')})"
    query = f"SELECT {_columns(key, 'a')}, -a.rowid FROM asis.{name} a WHERE {gone}"
    same = " AND ".join(f"b.{ident(put.columns[k])} = s.c{n}" for n, k in enumerate(key))
    sql = f"DELETE FROM {put.table.rows} AS b USING {_given(put, key)} WHERE {same}"
    return _clashes(put, _send(con, lines, query, sql, len(key)), True)


def _update(con: t.Any, lines: sqlite3.Connection, put: Put) -> list[Refused]:
    key, name = _key(put), q(put.name)
    if not key:
        return []
    joined = f"FROM copy.{name} c JOIN asis.{name} a ON {_match(key, 'c', 'a')} WHERE "
    others = [c for c in put.columns if c not in key]
    changed = [
        c for c in others if lines.execute(f"SELECT 1 {joined}{q('c', c)} IS NOT {q('a', c)} LIMIT 1").fetchone()
    ]
    if not changed:
        return []
    differs = " OR ".join(f"{q('c', c)} IS NOT {q('a', c)}" for c in changed)
    sets = ", ".join(f"{ident(put.columns[c])} = s.c{len(key) + n}" for n, c in enumerate(changed))
    same = " AND ".join(f"b.{ident(put.columns[k])} = s.c{n}" for n, k in enumerate(key))
    given = f"FROM {_given(put, key + changed)} WHERE {same}"
    sql = f"UPDATE {put.table.rows} AS b SET {sets} {given}"
    clear = f"UPDATE {put.table.rows} AS b SET {', '.join(f'{ident(put.columns[c])} = NULL' for c in changed)} {given}"
    query = f"SELECT {_columns(key + changed, 'c')}, c.rowid {joined}{differs}"
    return _clashes(put, _send(con, lines, query, sql, len(key + changed), clear=clear), True)


def _insert(con: t.Any, lines: sqlite3.Connection, put: Put) -> list[Refused]:
    key, name, shown = _key(put), q(put.name), list(put.columns)
    query = f"SELECT {_columns(shown)}, rowid FROM copy.{name} c"
    if key:
        query += f" WHERE NOT EXISTS (SELECT 1 FROM asis.{name} a WHERE {_match(key, 'a', 'c')})"
    columns = ", ".join(ident(put.columns[c]) for c in shown)
    values = ", ".join(f"s.c{n}" for n in range(len(shown)))
    sql = f"INSERT INTO {put.table.sql} ({columns}) OVERRIDING SYSTEM VALUE SELECT {values} FROM {_given(put, shown)}"
    return _clashes(put, _send(con, lines, query + " ORDER BY rowid", sql, len(shown), count=False), False)
