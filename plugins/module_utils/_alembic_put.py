# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put back what a downgrade destroyed, beside what was written since. Private; runs in the app's own interpreter.

The databases are those of ``_alembic_export``: ``main`` is the live one, as the app has written to it since; ``copy``
is what the upgrade made of that, and is changed here; ``export`` is what was kept. What each table should hold is
worked out first. Then it is written; what the database does not take is left out, and all written again without it.
"""

# ruff: noqa: S608  names of tables and columns are quoted by q(), and values are bound

from __future__ import annotations

import sqlite3
import typing as t

from ._alembic_export import Loss, _differs, _equal, _list, _one, _same_key, same_rows
from ._alembic_orphans import Held, Refused, held_words, orphans
from ._alembic_same import told
from ._alembic_sqlite import DriverError, Table, q


def put_back(
    con: sqlite3.Connection, kept: dict[str, Loss], after: dict[str, Table], untouched: bool, seeds: bool = False
) -> list[str]:
    """Put what was kept into ``copy``, which was upgraded again; return what could not be put back, as sentences.

    :arg after: the tables of ``copy``.
    :arg untouched: nobody wrote to the database since the downgrade, so everything becomes exactly what it was.
        Otherwise what was written since wins over what was kept.
    :arg seeds: a database of that name has what the upgrade makes where no row is.
    :raises DriverError: a table or column did not come back with the upgrade, or the result is not what was kept.
    """
    left: list[str] = []
    puts: list[Put] = []
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
        put = _wanted(con, name, entry, table, untouched, left, seeds)
        if put:
            puts.append(put)
    left += held_words(_write(con, puts, after))
    for put in puts:
        put.look(con, untouched)
    _put_sequence(con, untouched)
    for _name, sql in triggers:
        con.execute(sql)
    con.execute("COMMIT")
    return left


class Put:
    """What a table is going to hold.

    :arg source: where that is; by key with ``:rank`` (0: as it is; 1: with something that was kept; 2: to be added), or
        as it was exported.
    """

    def __init__(self, name: str, entry: Loss, table: Table, source: str, columns: list[str]) -> None:
        self.name = name
        self.entry = entry
        self.source = source
        self.columns = [c for c in columns if c in table.columns]
        self.ranked = source.startswith("temp.")
        self.key: list[str] = entry["key"] if self.ranked else ["rowid"]
        self.out: set[tuple[t.Any, ...]] = set()

    def write(self, con: sqlite3.Connection) -> list[Refused]:
        """Write it, what was written since first; return what is not taken."""
        place, columns = f"copy.{q(self.name)}", _list(self.columns)
        con.execute(f"DELETE FROM {place}")
        into = f"INTO {place} ({columns}) SELECT {columns} FROM {self.source} w"
        if not self.ranked:
            con.execute("CREATE TEMP TABLE changeops_out (n INTEGER PRIMARY KEY)")
            con.executemany("INSERT INTO temp.changeops_out VALUES (?)", list(self.out))
            con.execute(f"INSERT {into} WHERE w.rowid NOT IN (SELECT n FROM temp.changeops_out)")
            con.execute("DROP TABLE temp.changeops_out")
            return []
        for rank in range(3):
            con.execute(f'INSERT OR IGNORE {into} WHERE w.":rank" = {rank}')
        if _one(con, f"SELECT (SELECT count(*) FROM {place}) = (SELECT count(*) FROM {self.source})"):
            return []
        taken = f"EXISTS (SELECT 1 FROM {place} x WHERE {_equal('x', 'w', self.key)})"
        found = con.execute(f'SELECT w.":rank", {_list(self.key, "w")} FROM {self.source} w WHERE NOT {taken}')
        return [Refused(self, tuple(key), Held("clash", there=rank < 2)) for rank, *key in found.fetchall()]

    def leave(self, con: sqlite3.Connection, key: tuple[t.Any, ...]) -> bool:
        """Let a row be as the upgrade made it, and return whether it is there at all."""
        self.out.add(key)
        there = False
        if self.ranked:
            same = " AND ".join(f"w.{q(k)} = ?" for k in self.key)
            con.execute(f"DELETE FROM {self.source} AS w WHERE {same}", key)
            listed = _list(self.columns)
            into = f'INSERT INTO {self.source} ({listed}, ":rank") SELECT {listed}, 0 FROM copy.{q(self.name)} w'
            there = con.execute(f"{into} WHERE {same}", key).rowcount > 0
        return there

    def look(self, con: sqlite3.Connection, untouched: bool) -> None:
        """Look that the table holds it.

        :raises DriverError: it does not.
        """
        place = f"copy.{q(self.name)}"
        rows = _one(con, f"SELECT count(*) FROM {place}")
        if not self.ranked:
            if not self.out and not same_rows(con, place, self.source, self.columns, self.columns):
                raise DriverError(f"Table {self.name} does not hold what was put back into it.")
            return
        wrong = _one(
            con,
            f"SELECT count(*) FROM {place} b JOIN {self.source} w ON {_same_key('w', 'b', self.key)}"
            f" WHERE {_differs('w', 'b', [(c, c) for c in self.columns])}",
        )
        wanted = self.entry["rows"] if untouched else _one(con, f"SELECT count(*) FROM {self.source}")
        con.execute(f"DROP TABLE {self.source}")
        if wrong or (rows != wanted and not self.out):
            raise DriverError(
                f"Putting back {self.name} did not work: {wrong} rows differ from what was to be put back, and there "
                f"are {rows} rows instead of {wanted}. The live database was left as it was."
            )


def _write(con: sqlite3.Connection, puts: list[Put], after: dict[str, Table]) -> list[Refused]:
    """Write tables until the database takes all; return what was left out."""
    out: list[Refused] = []
    while True:
        con.execute("SAVEPOINT changeops")
        refused = [row for put in puts for row in put.write(con)] or orphans(con, puts, after)
        if not refused:
            con.execute("RELEASE changeops")
            return out
        con.execute("ROLLBACK TO changeops")
        con.execute("RELEASE changeops")
        if all(row.key in row.put.out for row in refused):
            names = ", ".join(sorted({row.put.name for row in refused}))
            raise DriverError(f"What the upgrade made of {names} is not taken again. Nothing was changed.")
        for row in refused:
            if row.key not in row.put.out and (row.put.leave(con, row.key) or row.held.why != "child"):
                out.append(row)


def _wanted(
    con: sqlite3.Connection, name: str, entry: Loss, table: Table, untouched: bool, left: list[str], seeds: bool
) -> Put | None:
    """What a table is going to hold, if that is not what it holds; ``left`` gets what is known not to come back."""
    if entry["kind"] == "table" and not untouched and not entry.get("renamed"):
        made = _made(con, name, entry, table, seeds)
        if made:
            return _merged(con, name, entry, table, made, left)
    if entry["kind"] == "rows":
        return _wanted_rows(con, name, entry, table, untouched, left)
    if "exported" in entry and not (entry.get("renamed") and not untouched):
        same = entry["kind"] == "table" or same_rows(
            con, f"main.{q(name)}", f"export.{q(name + ':after')}", entry["common"], entry["common"]
        )
        if same:
            return Put(name, entry, table, f"export.{q(name)}", entry["columns"])
        left.append(f"{name} has no usable primary key and was written to since, so it was left as it is.")
    elif untouched and entry["kind"] == "whole":
        live = f"main.{q(name)}"
        if not same_rows(con, live, f"copy.{q(name)}", entry["common"], entry["common"]):
            return Put(name, entry, table, live, entry["common"])
    return None


def _made(con: sqlite3.Connection, name: str, entry: Loss, table: Table, seeds: bool) -> str:
    """A query for the rows ``b`` of a table that the upgrade made of rows of other ones, which may have been written to
    since; empty where there are none.
    """
    made = f"FROM copy.{q(name)} b WHERE 1"
    if seeds and table.key:
        same = f"{_equal('b', 's', table.key)} AND NOT {_differs('b', 's', [(c, c) for c in entry['columns']])}"
        made += f" AND NOT EXISTS (SELECT 1 FROM seeds.{q(name)} s WHERE {same})"
    elif seeds and same_rows(con, f"copy.{q(name)}", f"seeds.{q(name)}", entry["columns"], entry["columns"]):
        return ""
    return made if _one(con, f"SELECT EXISTS (SELECT 1 {made})") else ""


def _merged(con: sqlite3.Connection, name: str, entry: Loss, table: Table, made: str, left: list[str]) -> Put | None:
    """What the upgrade made of rows that were written since, and beside it what was exported."""
    if not table.key:
        left.append(f"{name} has no usable primary key and the upgrade filled it, so it was left as that made it.")
        return None
    columns, source = entry["columns"], f"temp.{q(name + ':wanted')}"
    con.execute(f'CREATE TABLE {source} ({_list(columns)}, ":rank", PRIMARY KEY ({_list(table.key)}))')
    con.execute(f"INSERT INTO {source} SELECT {_list(columns, 'b')}, 0 {made}")
    there = f"EXISTS (SELECT 1 FROM {source} w WHERE {_equal('w', 'e', table.key)})"
    con.execute(f"INSERT INTO {source} SELECT {_list(columns, 'e')}, 2 FROM export.{q(name)} e WHERE NOT {there}")
    match = f"{_equal('w', 'e', table.key)} WHERE {_differs('w', 'e', [(c, c) for c in columns])}"
    number = _one(con, f"SELECT count(*) FROM export.{q(name)} e JOIN {source} w ON {match}")
    if number:
        left.append(f"{number} rows of {name} are as the upgrade made them, which is not how they were exported.")
    return Put(name, dict(entry, key=table.key), table, source, columns)


def _wanted_rows(
    con: sqlite3.Connection, name: str, entry: Loss, table: Table, untouched: bool, left: list[str]
) -> Put | None:
    """The same for a table with a usable key: dropped columns and changed rows are put back into it."""
    key = entry["key"]
    dropped = [c for c in entry["dropped"] if untouched or c not in entry.get("renamed", {})]
    if not (
        dropped or entry.get("changed") or entry.get("added") or (untouched and _upgrade_rewrote(con, name, entry))
    ):
        return None
    sources = _sources(name, entry, dropped)
    joins = " ".join(f"LEFT JOIN {source}" for source in sources.values())
    had = {alias: f"({q(alias, key[0])} IS NOT NULL)" if alias in sources else "0" for alias in "ecfna"}
    other, doubtful, place = "0", "0", f"temp.{q(name + ':told')}"
    unsure = "rest" in entry and dropped and not untouched and not entry.get("sure")
    if unsure and told(con, name, table, key, place):
        joins += f" LEFT JOIN {place} d ON {_same_key('d', 'b', key)}"
        other, doubtful = "(d.told IS 2)", "(d.told IS 1)"
    # A row comes back as it was before if it still is as the migration left it.
    before = "0"
    if "c" in sources:
        same = f"({had['f']} AND {had['a']} AND NOT {_differs('a', 'f', [(c, c) for c in entry['other']])})"
        before = f"({had['c']} AND ({same} OR (NOT {had['f']} AND NOT {had['a']})))"
        # its key was given to another one, where the migration had deleted it
        other = f"({other} OR ({had['c']} AND NOT {had['f']} AND {had['a']}))"
    columns = list(table.columns)
    wanted = []
    for column in columns:
        value = q("b", column)
        if column in entry["other"]:
            value = f"CASE WHEN {before} THEN {q('c', column) if 'c' in sources else 'NULL'}"
            value += f" WHEN {had['a']} THEN {q('a', column)}" if untouched else ""
            value += f" ELSE {q('b', column)} END"
        elif column in dropped:
            value = f"CASE WHEN {had['e']} AND NOT {other} THEN {q('e', column)} ELSE {q('b', column)} END"
        wanted.append(value)
    # A row that the migration added goes, if it still is as that made it.
    added = "0"
    if "n" in sources:
        alike = f"({had['a']} AND NOT {_differs('a', 'n', [(c, c) for c in entry['other']])})"
        added = f"({had['n']} AND {'1' if untouched else alike})"
    stays = f"({had['a']} OR {before}) AND NOT {added}" if untouched else f"NOT {added}"
    source = f"temp.{q(name + ':wanted')}"
    bare = _list(key, "k") + "".join(f", NULL AS {q(c)}" for c in columns if c not in key)
    there = f"SELECT 1 FROM copy.{q(name)} x WHERE {_equal('x', 'k', key)}"
    lacking = f"SELECT {bare} FROM ({_known_keys(name, entry, untouched)}) k WHERE NOT EXISTS ({there})"
    con.execute(f'CREATE TABLE {source} ({_list(columns)}, ":rank", ":told", PRIMARY KEY ({_list(key)}))')
    select = f"INSERT INTO {source} SELECT {', '.join(wanted)}"
    rank = f"{had['e']} OR {before}" if not untouched else "1"
    doubt = f"CASE WHEN {other} THEN 2 WHEN {doubtful} THEN 1 END"
    con.execute(f"{select}, {rank}, {doubt} FROM copy.{q(name)} b {joins} WHERE {stays}")
    con.execute(f"{select}, 2, NULL FROM ({lacking}) b {joins} WHERE {stays if untouched else before}")
    if not untouched:
        left += _said(con, name, entry, dropped, {"joins": joins, "before": before, "alike": added, **had})
    return Put(name, entry, table, source, columns)


def _said(con: sqlite3.Connection, name: str, entry: Loss, dropped: list[str], sql: dict[str, str]) -> list[str]:
    """What is known not to come back to a table with a usable key, and what is not certain."""
    said = []
    key, values = entry["key"], f"values of {', '.join(dropped)}"
    gone = f"NOT EXISTS (SELECT 1 FROM main.{q(name)} a WHERE {{}})"
    if dropped:
        by_downgrade = "0"
        if "changed" in entry:
            by_downgrade = " AND ".join(
                f"{word} (SELECT 1 FROM export.{q(name + what)} x WHERE {_equal('x', 'e', key)})"
                for word, what in (("EXISTS", ":changed"), ("NOT EXISTS", ":after"))
            )
        query = f"FROM export.{q(name)} e WHERE {gone.format(_equal('a', 'e', key))} AND NOT ({by_downgrade})"
        number = _one(con, f"SELECT count(*) {query}")
        if number:
            said.append(f"{number} rows of {name} were deleted since, so their {values} were not put back.")
        for told_as, words in (
            (2, f"share nothing but the key with those of before: they are taken for others, without {values}"),
            (1, f"were changed since so that they may be new ones with the same key; {values} were put back into them"),
        ):
            found = con.execute(
                f'SELECT {_list(key)} FROM temp.{q(name + ":wanted")} WHERE ":told" = {told_as} ORDER BY 1'
            ).fetchall()
            if found:
                said.append(f"{len(found)} rows of {name}{_numbers(found)} {words}.")
    elif "changed" in entry:
        query = f"FROM export.{q(name + ':after')} f WHERE {gone.format(_equal('a', 'f', key))}"
        number = _one(con, f"SELECT count(*) {query}")
        if number:
            said.append(f"{number} rows of {name} that the downgrade had changed were deleted since and stay deleted.")
    for what, as_it_was, words in (
        ("changed", sql["before"], "were written to since and keep their present values"),
        ("added", sql["alike"], "that the downgrade had added were written to since and stay"),
    ):
        if what in entry:
            rows = f"export.{q(f'{name}:{what}')} b {sql['joins']}"
            number = _one(con, f"SELECT count(*) FROM {rows} WHERE {sql['a']} AND NOT {as_it_was}")
            said += [f"{number} rows of {name} {words}."] if number else []
    return said


def _numbers(keys: list[tuple[t.Any, ...]]) -> str:
    """The first of some keys, if they are numbers; what others say is the app's own business."""
    if any(len(key) > 1 or not isinstance(key[0], int) for key in keys):
        return ""
    return f" ({', '.join(str(key[0]) for key in keys[:5])}{', ...' if len(keys) > 5 else ''})"


def _sources(name: str, entry: Loss, dropped: list[str]) -> dict[str, str]:
    """What is joined to each row (b): dropped columns (e), the row before (c) and after the downgrade (f), a row that
    the downgrade added (n), and the live row (a).
    """
    key = entry["key"]
    used = {"e": (bool(dropped), ""), "c": ("changed" in entry, ":changed"), "f": ("changed" in entry, ":after")}
    used["n"] = ("added" in entry, ":added")
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
