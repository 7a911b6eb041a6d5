# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep what a downgrade destroys. Private; runs in the app's own interpreter, without SQLAlchemy.

Three databases are open on one connection: ``main`` is the live file, which nobody changes; ``copy`` is the copy that
was migrated; ``export`` is what is kept. All values stay inside SQLite, in untyped columns, so they come back exactly.

The export has for each table that lost something, ``t``:

- ``t``: a table that is gone, whole; or the primary key and the dropped columns, for all rows, and what tells a row
  from another one that is given its key later.
- ``t:changed``: rows that the migration deleted, or whose other columns it changed, as they were before.
- ``t:after``: those rows as the migration left them; with a table without primary key, the whole of it.
- ``t:added``: rows that the migration added.
"""

# ruff: noqa: S608  names of tables and columns are quoted by q(), and values are never written into SQL

from __future__ import annotations

import sqlite3
import typing as t

from ._alembic_same import REST, kept_rest
from ._alembic_sqlite import DriverError, Table, q

Loss = t.Dict[str, t.Any]


def _equal(left: str, right: str, key: list[str]) -> str:
    """Join condition between two tables of the app."""
    return " AND ".join(f"{q(left, k)} = {q(right, k)}" for k in key)


def _same_key(left: str, right: str, key: list[str]) -> str:
    """Join condition with a table of the export on the left; ``+`` takes the type away from the right side, or SQLite
    would not use the export's index."""
    return " AND ".join(f"{q(left, k)} = +{q(right, k)}" for k in key)


def _differs(left: str, right: str, columns: t.Iterable[tuple[str, str]]) -> str:
    """Whether any pair of columns differs, in value, type or spelling."""
    tests = [
        f"({q(left, a)} IS NOT {q(right, b)} COLLATE BINARY OR typeof({q(left, a)}) <> typeof({q(right, b)}))"
        for a, b in columns
    ]
    return "(" + (" OR ".join(tests) or "0") + ")"


def _list(columns: t.Iterable[str], alias: str = "") -> str:
    return ", ".join(q(alias, c) if alias else q(c) for c in columns)


def _one(con: sqlite3.Connection, sql: str) -> t.Any:
    row = con.execute(sql).fetchone()
    return row[0] if row else None


def same_rows(con: sqlite3.Connection, left: str, right: str, columns: list[str], others: list[str]) -> bool:
    """Whether two tables hold the same rows, each as often, whatever their order."""

    def side(table: str, names: list[str]) -> str:
        listed = ", ".join(f"quote({q(c)})" for c in names) or "1"
        numbers = ", ".join(str(n + 1) for n in range(max(1, len(names))))
        return f"SELECT {listed}, count(*) FROM {table} GROUP BY {numbers}"

    a, b = side(left, columns), side(right, others)
    return not _one(con, f"SELECT EXISTS (SELECT * FROM ({a}) EXCEPT SELECT * FROM ({b}))") and not _one(
        con, f"SELECT EXISTS (SELECT * FROM ({b}) EXCEPT SELECT * FROM ({a}))"
    )


def _keep(con: sqlite3.Connection, name: str, key: list[str], columns: list[str], select: str) -> int:
    """Write the rows of ``select`` into a table of the export; return how many."""
    unique = f", PRIMARY KEY ({_list(key)})" if key else ""
    con.execute(f"CREATE TABLE export.{q(name)} ({_list(columns)}{unique})")
    con.execute(f"INSERT INTO export.{q(name)} {select}")
    return int(_one(con, f"SELECT count(*) FROM export.{q(name)}"))


def _usable(con: sqlite3.Connection, name: str, table: Table, left: Table) -> bool:
    """Whether the primary key tells which row became which: it is the same one, and never NULL."""
    same = table.key == left.key and all(table.columns[k] == left.columns[k] for k in table.key)
    if not table.key or not same:
        return False
    empty = " OR ".join(f"{q(k)} IS NULL" for k in table.key)
    return not any(_one(con, f"SELECT EXISTS (SELECT 1 FROM {s}.{q(name)} WHERE {empty})") for s in ("main", "copy"))


def write_export(con: sqlite3.Connection, before: dict[str, Table], after: dict[str, Table]) -> dict[str, Loss]:
    """Keep all that is in ``main`` and not in ``copy``; return per table what was kept and how it comes back.

    :raises DriverError: the export does not hold what it should.
    """
    con.execute("BEGIN")
    kept: dict[str, Loss] = {}
    for name, table in before.items():
        left = after.get(name)
        entry: Loss = {"columns": list(table.columns), "rows": _one(con, f"SELECT count(*) FROM main.{q(name)}")}
        kept[name] = entry
        if left is None:
            _keep_table(con, name, table, entry)
            entry.update(kind="table", renamed=_moved_table(con, name, table, before, after))
            continue
        entry["other"] = [c for c in table.columns if c in left.columns and c not in table.key]
        entry["dropped"] = [c for c in table.columns if c not in left.columns]
        if _usable(con, name, table, left):
            entry.update(kind="rows", key=table.key)
            _keep_rows(con, name, entry, left, [c for c in left.columns if c not in table.columns])
        else:
            entry["kind"] = "whole"
            common = [c for c in table.columns if c in left.columns]
            entry["common"] = common
            if entry["dropped"] or not same_rows(con, f"main.{q(name)}", f"copy.{q(name)}", common, common):
                _keep_table(con, name, table, entry)
                _keep(con, name + ":after", [], common, f"SELECT {_list(common)} FROM copy.{q(name)}")
    for name, entry in kept.items():
        if ("exported" in entry or "changed" in entry) and _loose(con, name):
            entry["loose"] = True
    if _one(con, "SELECT 1 FROM main.sqlite_master WHERE name = 'sqlite_sequence'"):
        _keep(con, "sqlite:sequence", [], ["name", "seq"], "SELECT name, seq FROM main.sqlite_sequence")
    con.execute("COMMIT")
    return kept


def _loose(con: sqlite3.Connection, name: str) -> bool:
    """Whether rows refer to nothing already, so that it is not held against them when they come back."""
    try:
        return con.execute(f"PRAGMA main.foreign_key_check({q(name)})").fetchone() is not None
    except sqlite3.OperationalError:  # what they refer to is not unique
        return True


def _keep_table(con: sqlite3.Connection, name: str, table: Table, entry: Loss) -> None:
    columns = list(table.columns)
    entry["exported"] = _keep(con, name, [], columns, f"SELECT {_list(columns)} FROM main.{q(name)}")
    if entry["exported"] != entry["rows"] or not same_rows(
        con, f"main.{q(name)}", f"export.{q(name)}", columns, columns
    ):
        raise DriverError(f"The export of table {name} does not hold what the table holds. Nothing was changed.")


def _moved_table(
    con: sqlite3.Connection, name: str, table: Table, before: dict[str, Table], after: dict[str, Table]
) -> str | None:
    """The new name of a table that the migration renamed: a new table with as many columns and the same rows."""
    for other, new in after.items():
        columns = list(table.columns)
        some = f"SELECT EXISTS (SELECT 1 FROM main.{q(name)})"
        alike = other not in before and len(new.columns) == len(columns) and _one(con, some)
        if alike and same_rows(con, f"main.{q(name)}", f"copy.{q(other)}", columns, list(new.columns)):
            return other
    return None


def _keep_rows(con: sqlite3.Connection, name: str, entry: Loss, left: Table, new: list[str]) -> None:
    """Keep dropped columns, and rows that were changed, deleted or added, of a table with a usable key."""
    key, dropped, other = entry["key"], entry["dropped"], entry["other"]
    live, copy = f"main.{q(name)}", f"copy.{q(name)}"
    match = _equal("a", "b", key)
    if dropped:
        columns, select, more = key + dropped, _list(key + dropped, "a"), ""
        rest = kept_rest(con, name, left, key)
        if rest:
            entry["rest"] = True
            columns, select, more = [*columns, REST], f"{select}, {rest}", f" LEFT JOIN {copy} b ON {match}"
        entry["exported"] = _keep(con, name, key, columns, f"SELECT {select} FROM {live} a{more}")
        lost = _differs("e", "a", [(c, c) for c in dropped])
        wrong = _one(
            con, f"SELECT count(*) FROM {live} a JOIN export.{q(name)} e ON {_same_key('e', 'a', key)} WHERE {lost}"
        )
        if entry["exported"] != entry["rows"] or wrong:
            raise DriverError(f"The export of table {name} does not hold what the table holds. Nothing was changed.")
        entry["renamed"] = {c: d for c in dropped for d in new if _moved_column(con, name, key, c, d)}
    columns = key + other
    gone = f"{q('b', key[0])} IS NULL"
    changed = (
        f"SELECT {_list(columns, 'a')} FROM {live} a LEFT JOIN {copy} b ON {match}"
        f" WHERE {gone} OR {_differs('a', 'b', [(c, c) for c in other])}"
    )
    added = f"SELECT {_list(columns, 'b')} FROM {copy} b LEFT JOIN {live} a ON {match} WHERE {q('a', key[0])} IS NULL"
    for what, select in (("changed", changed), ("added", added)):
        if _one(con, f"SELECT EXISTS ({select})"):
            entry[what] = _keep(con, f"{name}:{what}", key, columns, select)
    if "changed" in entry:
        rows = f"export.{q(name + ':changed')} c JOIN {copy} b ON {_equal('b', 'c', key)}"
        _keep(con, name + ":after", key, columns, f"SELECT {_list(columns, 'b')} FROM {rows}")


def _moved_column(con: sqlite3.Connection, name: str, key: list[str], column: str, other: str) -> bool:
    """Whether the migration renamed a column: a new one holds the same values."""
    live, copy = f"main.{q(name)}", f"copy.{q(name)}"
    match = _equal("a", "b", key)
    different = f"SELECT 1 FROM {live} a JOIN {copy} b ON {match} WHERE {_differs('a', 'b', [(column, other)])}"
    some = _one(con, f"SELECT EXISTS (SELECT 1 FROM {live} WHERE {q(column)} IS NOT NULL)")
    return bool(some) and not _one(con, f"SELECT EXISTS ({different})")
