# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a row is the one that had its key at the downgrade, or another one that was given the key since. Private.

Where the database numbers rows and gives no number twice, a key is enough. Else the export has a digest of each other
column beside the key: a row with nothing of that is taken for another one. SQLite without AUTOINCREMENT gives a number
again only if no row with that number or a higher one is left, so a row that still is there as it was vouches for all
below it.
"""

# ruff: noqa: S608  names of tables and columns are quoted by q()

from __future__ import annotations

import re
import sqlite3
import zlib

from ._alembic_sqlite import Table, q

REST = ":rest"
NOTHING = "00000000"  # the digest of NULL
MOST = 100  # columns, as SQLite gives a function no more values
TOP = 10000  # rows with the highest numbers whose other columns are kept, where SQLite gives numbers again


def rest(*values: bytes | None) -> str:
    """Eight digits for each value."""
    return "".join(NOTHING if v is None else f"{zlib.crc32(v) or 1:08x}" for v in values)


def alike(then: str | None, now: str) -> int:
    """Whether two rows have a value in common, or too few to tell."""
    if then is None or len(then) != len(now):
        return 1
    pairs = [(then[at : at + 8], now[at : at + 8]) for at in range(0, len(now), 8)]
    told = [pair for pair in pairs if pair != (NOTHING, NOTHING)]
    return int(len(told) < 2 or any(a == b for a, b in told))


def rest_of(con: sqlite3.Connection, schema: str, name: str, alias: str, key: list[str]) -> str | None:
    """SQL for the digests of a row's columns but the key; None where there are no others. Images have them drawn."""
    con.create_function("changeops_rest", -1, rest, deterministic=True)
    con.create_function("changeops_alike", 2, alike, deterministic=True)
    columns = sorted(row[1] for row in con.execute(f"PRAGMA {q(schema)}.table_xinfo({q(name)})") if row[6] == 0)
    if REST in columns:
        return q(alias, REST)
    others = [c for c in columns if c not in key][:MOST]
    listed = ", ".join(f"CAST({q(alias, c)} AS BLOB)" for c in others)
    return f"changeops_rest({listed})" if listed else None


def _counted(con: sqlite3.Connection, schema: str, name: str, table: Table, key: list[str]) -> bool:
    """Whether SQLite gives numbers to the rows of a table, in their order."""
    sql = con.execute(f"SELECT sql FROM {q(schema)}.sqlite_master WHERE name = ?", (name,)).fetchone()[0]
    rowid = len(key) == 1 and table.columns.get(key[0]) == "INTEGER"
    return rowid and not re.search(r"\bWITHOUT\s+ROWID\b", sql, re.IGNORECASE)


def kept_rest(con: sqlite3.Connection, name: str, table: Table, key: list[str]) -> str | None:
    """SQL for what is kept of the other columns of a row ``b`` of ``copy``; None where the key is enough."""
    found = None if table.numbered else rest_of(con, "copy", name, "b", key)
    if found and _counted(con, "copy", name, table, key):
        number = q("b", key[0])
        below = f"SELECT {q(key[0])} FROM copy.{q(name)} ORDER BY 1 DESC LIMIT 1 OFFSET {TOP}"
        found = f"CASE WHEN {number} > coalesce(({below}), {number} - 1) THEN {found} END"
    return found


def vouched(con: sqlite3.Connection, name: str, table: Table, key: list[str]) -> str:
    """SQL for whether the row ``a`` of ``main`` has to be the one that had its key."""
    if not _counted(con, "main", name, table, key):
        return "0"
    now, number = rest_of(con, "main", name, "a", key), q("a", key[0])
    found = con.execute(
        f"SELECT {number} FROM main.{q(name)} a CROSS JOIN export.{q(name)} e"
        f" WHERE {q('e', key[0])} = +{number} AND {q('e', REST)} = {now} ORDER BY {number} DESC LIMIT 1"
    ).fetchone()
    return f"({number} <= {int(found[0])})" if found else "0"


def told(con: sqlite3.Connection, name: str, table: Table, key: list[str], place: str) -> bool:
    """Write into a new table ``place`` the keys of rows of ``main`` that are other ones than ``export`` has values of
    (``told`` is 2), or may be (1); False where the key is enough.
    """
    now = rest_of(con, "main", name, "a", key)
    if now is None:
        return False
    listed = ", ".join(q("a", k) for k in key)
    same = " AND ".join(f"{q('e', k)} = +{q('a', k)}" for k in key)
    con.execute(f"CREATE TABLE {place} ({', '.join(q(k) for k in key)}, told, PRIMARY KEY ({', '.join(map(q, key))}))")
    con.execute(
        f"INSERT INTO {place} SELECT {listed}, 2 - changeops_alike({q('e', REST)}, {now}) FROM main.{q(name)} a"
        f" JOIN export.{q(name)} e ON {same} WHERE NOT {vouched(con, name, table, key)} AND {q('e', REST)} IS NOT {now}"
    )
    return True
