# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep what a downgrade destroys, and put it back. Private; runs in the app's own interpreter, without SQLAlchemy.

Three databases are open on one connection: ``main`` is the live file, which nobody changes; ``copy`` is the copy that
was migrated; ``export`` is what is kept. All values stay inside SQLite, in untyped columns, so they come back exactly.

The export has for each table that lost something, ``t``:

- ``t``: a table that is gone, whole; or the primary key and the dropped columns, for all rows.
- ``t:changed``: rows that the migration deleted, or whose other columns it changed, as they were before.
- ``t:after``: those rows as the migration left them; with a table without primary key, the whole of it.
- ``t:added``: rows that the migration added.
"""

# ruff: noqa: S608  names of tables and columns are quoted by q(), and values are never written into SQL

from __future__ import annotations

import sqlite3
import typing as t

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
            _keep_rows(con, name, entry, [c for c in left.columns if c not in table.columns])
        else:
            entry["kind"] = "whole"
            common = [c for c in table.columns if c in left.columns]
            entry["common"] = common
            if entry["dropped"] or not same_rows(con, f"main.{q(name)}", f"copy.{q(name)}", common, common):
                _keep_table(con, name, table, entry)
                _keep(con, name + ":after", [], common, f"SELECT {_list(common)} FROM copy.{q(name)}")
    if _one(con, "SELECT 1 FROM main.sqlite_master WHERE name = 'sqlite_sequence'"):
        _keep(con, "sqlite:sequence", [], ["name", "seq"], "SELECT name, seq FROM main.sqlite_sequence")
    con.execute("COMMIT")
    return kept


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
    """The new name of a table that the migration renamed: a new table with the same columns and rows."""
    for other, new in after.items():
        columns = list(table.columns)
        some = f"SELECT EXISTS (SELECT 1 FROM main.{q(name)})"
        alike = other not in before and list(new.columns) == columns and _one(con, some)
        if alike and same_rows(con, f"main.{q(name)}", f"copy.{q(other)}", columns, columns):
            return other
    return None


def _keep_rows(con: sqlite3.Connection, name: str, entry: Loss, new: list[str]) -> None:
    """Keep dropped columns, and rows that were changed, deleted or added, of a table with a usable key."""
    key, dropped, other = entry["key"], entry["dropped"], entry["other"]
    live, copy = f"main.{q(name)}", f"copy.{q(name)}"
    if dropped:
        entry["exported"] = _keep(con, name, key, key + dropped, f"SELECT {_list(key + dropped)} FROM {live}")
        lost = _differs("e", "a", [(c, c) for c in dropped])
        wrong = _one(
            con, f"SELECT count(*) FROM {live} a JOIN export.{q(name)} e ON {_same_key('e', 'a', key)} WHERE {lost}"
        )
        if entry["exported"] != entry["rows"] or wrong:
            raise DriverError(f"The export of table {name} does not hold what the table holds. Nothing was changed.")
        entry["renamed"] = {c: d for c in dropped for d in new if _moved_column(con, name, key, c, d)}
    columns = key + other
    match = _equal("a", "b", key)
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


def put_back(con: sqlite3.Connection, kept: dict[str, Loss], after: dict[str, Table], untouched: bool) -> list[str]:
    """Put what was kept into ``copy``, which was upgraded again; return what could not be put back, as sentences.

    :arg after: the tables of ``copy``.
    :arg untouched: nobody wrote to the database since the downgrade, so everything becomes exactly what it was.
        Otherwise what was written since wins over what was kept.
    :raises DriverError: a table or column did not come back with the upgrade, or the result is not what was kept.
    """
    left = []
    con.execute("BEGIN")
    triggers = con.execute("SELECT name, sql FROM copy.sqlite_master WHERE type = 'trigger'").fetchall()
    for name, _sql in triggers:
        con.execute(f"DROP TRIGGER copy.{q(name)}")
    for name, entry in kept.items():
        table = after.get(name)
        lacking = [c for c in entry["columns"] if table is None or c not in table.columns]
        if table is None or lacking:
            raise DriverError(
                f"The upgrade did not bring back {name if table is None else name + '.' + lacking[0]}, so its values "
                "cannot be put back. They are kept in the restore point."
            )
        if entry["kind"] == "rows":
            left += _put_rows(con, name, entry, table, untouched)
        elif "exported" in entry and not (entry.get("renamed") and not untouched):
            same = entry["kind"] == "table" or same_rows(
                con, f"main.{q(name)}", f"export.{q(name + ':after')}", entry["common"], entry["common"]
            )
            if same:
                _replace(con, name, entry["columns"], f"export.{q(name)}", table)
            else:
                left.append(f"{name} has no usable primary key and was written to since, so it was left as it is.")
        elif untouched and entry["kind"] == "whole":
            live = f"main.{q(name)}"
            if not same_rows(con, live, f"copy.{q(name)}", entry["common"], entry["common"]):
                _replace(con, name, entry["common"], live, table)
    _put_sequence(con, untouched)
    for _name, sql in triggers:
        con.execute(sql)
    con.execute("COMMIT")
    return left


def _put_sequence(con: sqlite3.Connection, untouched: bool) -> None:
    """Let AUTOINCREMENT go on after the highest number that was ever given."""
    exported = _one(con, "SELECT 1 FROM export.sqlite_master WHERE name = 'sqlite:sequence'")
    if exported and _one(con, "SELECT 1 FROM copy.sqlite_master WHERE name = 'sqlite_sequence'"):
        value = '(SELECT e.seq FROM export."sqlite:sequence" e WHERE e.name = sqlite_sequence.name)'
        con.execute(
            f"UPDATE copy.sqlite_sequence SET seq = {value if untouched else f'max(seq, {value})'}"
            ' WHERE name IN (SELECT name FROM export."sqlite:sequence")'
        )
        con.execute(
            'INSERT INTO copy.sqlite_sequence (name, seq) SELECT name, seq FROM export."sqlite:sequence" WHERE name NOT'
            " IN (SELECT name FROM copy.sqlite_sequence) AND name IN (SELECT name FROM copy.sqlite_master)"
        )


def _replace(con: sqlite3.Connection, name: str, columns: list[str], source: str, table: Table) -> None:
    """Make ``source`` the content of a table, and look that it is."""
    writable = [c for c in columns if c in table.columns]
    con.execute(f"DELETE FROM copy.{q(name)}")
    con.execute(f"INSERT INTO copy.{q(name)} ({_list(writable)}) SELECT {_list(writable)} FROM {source}")
    if not same_rows(con, f"copy.{q(name)}", source, writable, writable):
        raise DriverError(f"Table {name} does not hold what was put back into it.")


def _put_rows(con: sqlite3.Connection, name: str, entry: Loss, table: Table, untouched: bool) -> list[str]:
    """Put dropped columns and changed rows back into a table with a usable key."""
    key = entry["key"]
    dropped = [c for c in entry["dropped"] if untouched or c not in entry.get("renamed", {})]
    if not (dropped or entry.get("changed") or (untouched and _upgrade_rewrote(con, name, entry))):
        return []
    sources = _sources(name, entry, dropped, untouched)
    joins = " ".join(f"LEFT JOIN {source}" for source in sources.values())
    had = {alias: f"{q(alias, key[0])} IS NOT NULL" for alias in sources}
    # A row comes back as it was before if it still is as the migration left it.
    before = "0"
    if "c" in sources:
        same = f"({had['f']} AND {had['a']} AND NOT {_differs('a', 'f', [(c, c) for c in entry['other']])})"
        before = f"({had['c']} AND ({same} OR (NOT ({had['f']}) AND NOT ({had['a']}))))"
    columns = list(table.columns)
    wanted = []
    for column in columns:
        value = q("b", column)
        if column in entry["other"]:
            value = f"CASE WHEN {before} THEN {q('c', column) if 'c' in sources else 'NULL'}"
            value += f" WHEN {had['a']} THEN {q('a', column)}" if untouched else ""
            value += f" ELSE {q('b', column)} END"
        elif column in dropped:
            value = f"CASE WHEN {had['e']} THEN {q('e', column)} ELSE {q('b', column)} END"
        wanted.append(value)
    stays = f"({had['a']} OR {before})" if untouched else "1"
    stays += f" AND NOT ({had['n']})" if "n" in sources else ""
    bare = _list(key, "k") + "".join(f", NULL AS {q(c)}" for c in columns if c not in key)
    known = _known_keys(name, entry, untouched)
    there = f"SELECT 1 FROM copy.{q(name)} x WHERE {_equal('x', 'k', key)}"
    lacking = f"SELECT {bare} FROM ({known}) k WHERE NOT EXISTS ({there})"
    con.execute(f"CREATE TEMP TABLE changeops_rows ({_list(columns)}, PRIMARY KEY ({_list(key)}))")
    select = f"INSERT INTO temp.changeops_rows SELECT {', '.join(wanted)} FROM"
    con.execute(f"{select} copy.{q(name)} b {joins} WHERE {stays}")
    con.execute(f"{select} ({lacking}) b {joins} WHERE {stays if untouched else before}")
    left = []
    if "c" in sources:
        number = _one(con, f"SELECT count(*) FROM export.{q(name + ':changed')} b {joins} WHERE NOT {before}")
        if number:
            left.append(f"{number} rows of {name} were written to since and keep their present values.")
    con.execute(f"DELETE FROM copy.{q(name)}")
    con.execute(f"INSERT INTO copy.{q(name)} ({_list(columns)}) SELECT {_list(columns)} FROM temp.changeops_rows")
    con.execute("DROP TABLE temp.changeops_rows")
    _look(con, name, entry, dropped, untouched)
    return left


def _sources(name: str, entry: Loss, dropped: list[str], untouched: bool) -> dict[str, str]:
    """What is joined to each row (b): dropped columns (e), the row before (c) and after the downgrade (f), a row that
    the downgrade added (n), and the live row (a).
    """
    key = entry["key"]
    used = {"e": (bool(dropped), ""), "c": ("changed" in entry, ":changed"), "f": ("changed" in entry, ":after")}
    used["n"] = ("added" in entry and untouched, ":added")
    sources = {
        alias: f"export.{q(name + end)} {alias} ON {_same_key(alias, 'b', key)}"
        for alias, (there, end) in used.items()
        if there
    }
    sources["a"] = f"main.{q(name)} a ON {_equal('a', 'b', key)}"
    return sources


def _known_keys(name: str, entry: Loss, untouched: bool) -> str:
    """A query for the keys of rows that may have to be there although the upgrade left none."""
    keys = _list(entry["key"])
    parts = [f"SELECT {keys} FROM main.{q(name)}"] if untouched else []
    parts += [f"SELECT {keys} FROM export.{q(name + ':changed')}"] if "changed" in entry else []
    return " UNION ".join(parts) or f"SELECT {keys} FROM copy.{q(name)} WHERE 0"


def _upgrade_rewrote(con: sqlite3.Connection, name: str, entry: Loss) -> bool:
    """Whether the upgrade changed rows, or the downgrade added some."""
    columns = entry["key"] + entry["other"]
    return bool(entry.get("added")) or not same_rows(con, f"main.{q(name)}", f"copy.{q(name)}", columns, columns)


def _look(con: sqlite3.Connection, name: str, entry: Loss, dropped: list[str], untouched: bool) -> None:
    """Look that a table holds what was put back into it.

    :raises DriverError: it does not.
    """
    key = entry["key"]
    wrong = 0
    if dropped:
        wrong = _one(
            con,
            f"SELECT count(*) FROM copy.{q(name)} b JOIN export.{q(name)} e ON {_same_key('e', 'b', key)}"
            f" WHERE {_differs('e', 'b', [(c, c) for c in dropped])}",
        )
    rows = _one(con, f"SELECT count(*) FROM copy.{q(name)}")
    if wrong or (untouched and rows != entry["rows"]):
        raise DriverError(
            f"Putting back {name} did not work: {wrong} values differ from the export, and there are {rows} rows "
            f"instead of {entry['rows']}. The live database was left as it was."
        )
