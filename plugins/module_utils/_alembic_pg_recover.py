# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts back what a downgrade of a PostgreSQL database destroyed. Private; runs in the app's own interpreter."""

# ruff: noqa: S608  names of tables and columns are quoted by q()

from __future__ import annotations

import sqlite3
import typing as t

from ._alembic_export import Loss, same_rows
from ._alembic_pg_export import Again, Counts, Kept, counts_writes, kinds
from ._alembic_pg_put import Put, write
from ._alembic_pg_tables import (
    PgTable,
    Wanted,
    affected,
    ask,
    do,
    draw,
    image_of,
    lite,
    plain,
    read_sequences,
    read_tables,
)
from ._alembic_pg_transaction import Transaction
from ._alembic_put import put_back
from ._alembic_same import REST
from ._alembic_sqlite import DriverError, q

SET_SEQUENCE = "SELECT setval(CAST(format('%I.%I', CAST(:schema AS text), CAST(:name AS text)) AS regclass), :best)"


class Recover(Transaction):
    """An upgrade after a downgrade; ``finish`` puts back what that kept.

    :arg lines: what ``images`` gives, with the export of the downgrade.
    :arg noted: what the downgrade gave to ``manifest``.
    :arg more: tables that only the upgrade writes to.
    :arg note: notes durably what is not put back.
    """

    def __init__(
        self,
        lines: sqlite3.Connection,
        noted: dict[str, t.Any],
        more: Wanted,
        counts: Counts,
        note: t.Callable[[list[str]], None],
        *place: t.Any,
    ) -> None:
        super().__init__(*place)
        self.counts = counts
        self.note = note
        self.lines = lines
        self.noted = noted
        self.kept: Kept = dict(noted["tables"])
        self.more = more
        self.seeds: dict[str, list[list[t.Any]]] = {}
        self.untouched: dict[str, bool] = {}
        self.left: list[str] = []

    def begin(self, context: t.Any) -> bool:
        if not super().begin(context):
            return False
        self.counts.first(self.before)
        self.counted = counts_writes(self.con)
        for oid in self.more:
            table = self.before[oid]
            if self._unchanged(oid):
                self.kept[lite(table.shown)] = self._entry(table)
        homes = [entry["oid"] for entry in self.kept.values() if entry["oid"] in self.before]
        self.lock(self.before[oid] for oid in homes)
        for name, entry in self.kept.items():
            home = self.before.get(entry["oid"])
            self.untouched[name] = self._all_unchanged() if entry["oid"] is None else self._unchanged(entry["oid"])
            if home is not None and entry["kind"] != "table":
                there = {shown: home.columns[n][0] for shown, n in entry["numbers"].items() if n in home.columns}
                columns = {c: there[c] for c in entry["columns"] if c in there}
                draw(self.con, self.lines, "main", name, home, columns, rest="rest" in entry)
                entry["sure"] = "rest" in entry and self._none_given_again(name, entry)
                if "rows" not in entry:
                    entry["rows"] = self.lines.execute(f"SELECT count(*) FROM main.{q(name)}").fetchone()[0]
        return True

    def _unchanged(self, oid: int) -> bool:
        """Whether nobody wrote to a table since the downgrade. A count of none says nothing: counts can be reset. Nor
        does one where others are at work, which tell it to the server when they have nothing to do."""
        noted = self.noted["counts"].get(str(oid))
        return self.counted and self.server.alone and bool(noted and noted[0]) and self.counts.get(oid) == noted

    def _all_unchanged(self) -> bool:
        """The same of all tables. If counts had been reset, one that was not none would tell."""
        noted = [self.noted["counts"].get(str(oid)) for oid in self.before]
        same = noted == [self.counts.get(oid) for oid in self.before]
        return self.counted and self.server.alone and same and any(count[0] for count in noted)

    def _none_given_again(self, name: str, entry: Loss) -> bool:
        """Whether no more rows were deleted since than are missing, so that no key can have been given again."""
        was = self.noted["counts"].get(str(entry["oid"]))
        now = self.counts.get(entry["oid"])
        if not (was and now and was[2] == now[2] and self.counted and self.server.alone):
            return False
        match = " AND ".join(f"{q('a', k)} = {q('e', k)}" for k in entry["key"])
        lacking = f"NOT EXISTS (SELECT 1 FROM main.{q(name)} a WHERE {match})"
        query = f"SELECT count(*) FROM export.{q(name)} e WHERE {q('e', REST)} IS NOT NULL AND {lacking}"
        return bool(now[1] - was[1] == self.lines.execute(query).fetchone()[0])

    @staticmethod
    def _entry(table: PgTable) -> Loss:
        """A table that the downgrade did not touch, as the export would have it."""
        numbers = {lite(name): n for n, (name, _kind) in table.columns.items()}
        columns, key = list(numbers), [lite(k) for k in table.key]
        entry: Loss = {"columns": columns, "numbers": numbers, "oid": table.oid, "dropped": [], "key": key}
        entry.update(schema=table.schema, table=table.name, common=columns)
        entry.update(kind="rows" if key else "whole", other=[c for c in columns if c not in key])
        return entry

    def finish(self, context: t.Any) -> None:
        after = read_tables(self.con, self.version)
        drawn = {entry["oid"] for entry in self.kept.values()} | set(self.more)
        found = affected(self.before, after, not self.counted)
        missed = {oid: numbers for oid, numbers in found.items() if oid not in drawn and oid in after}
        if missed:
            raise Again({**self.more, **missed})
        by_name = {(table.schema, table.name): table for table in after.values()}
        puts = []
        for name, entry in self.kept.items():
            table = by_name.get((entry["schema"], entry["table"]))
            columns = {}
            if table is not None:
                has = {lite(c): c for c, _kind in table.columns.values()}
                columns = {shown: has[shown] for shown in entry["columns"] if shown in has}
                draw(self.con, self.lines, "copy", name, table, columns)
                self.lines.execute(f"CREATE TABLE asis.{q(name)} AS SELECT * FROM copy.{q(name)}")
                key = ", ".join(q(k) for k in image_of(table, columns, kinds(table)).key)
                if key:
                    self.lines.execute(f"CREATE INDEX asis.{q(name + ':key')} ON {q(name)} ({key})")
            image = {name: image_of(table, columns, kinds(table))} if table is not None else {}
            seeds = table is not None and entry["kind"] == "table" and self._attach_seeds(name, columns)
            self.left += put_back(self.lines, {name: entry}, image, self.untouched[name], seeds)
            if table is not None and not self._same(name, table, columns):
                puts.append(Put(name, table, columns, entry))
        self.lock(put.table for put in puts)
        self.left += write(self.con, self.lines, puts)
        for put in puts:
            self._look(put)
        self._put_sequences()

    def _attach_seeds(self, name: str, columns: dict[str, str]) -> bool:
        """Make an image of what the upgrade makes where no row is; False where that is not known."""
        if name not in self.seeds or not columns:
            return False
        if "seeds" not in [row[1] for row in self.lines.execute("PRAGMA database_list")]:
            self.lines.execute("ATTACH ':memory:' AS seeds")
        self.lines.execute(f"CREATE TABLE seeds.{q(name)} ({', '.join(q(c) for c in columns)})")
        into = f"INSERT INTO seeds.{q(name)} VALUES ({', '.join('?' * len(columns))})"
        self.lines.executemany(into, self.seeds[name])
        return True

    def promise(self) -> None:
        self.note(self.left)

    def _same(self, name: str, table: PgTable, columns: dict[str, str]) -> bool:
        """Whether a table holds what its image says; with a primary key row by row, which takes a third of the time."""
        copy, asis = f"copy.{q(name)}", f"asis.{q(name)}"
        key = image_of(table, columns, kinds(table)).key
        if not key:
            return same_rows(self.lines, copy, asis, list(columns), list(columns))
        match = " AND ".join(f"{q('a', k)} = {q('c', k)}" for k in key)
        differs = " OR ".join(f"{q('a', c)} IS NOT {q('c', c)}" for c in columns)
        unlike = f"SELECT 1 FROM {copy} c LEFT JOIN {asis} a ON {match} WHERE {differs}"
        numbers = f"(SELECT count(*) FROM {copy}) <> (SELECT count(*) FROM {asis})"
        return not self.lines.execute(f"SELECT {numbers} OR EXISTS ({unlike})").fetchone()[0]

    def _look(self, put: Put) -> None:
        """Look that a table holds what was put into it.

        :raises DriverError: it does not.
        """
        self.lines.execute(f"DROP TABLE asis.{q(put.name)}")
        draw(self.con, self.lines, "asis", put.name, put.table, put.columns)
        if not self._same(put.name, put.table, put.columns):
            raise DriverError(
                f"Table {put.table.shown} does not hold what was put back into it: the database changes it on its way. "
                "Nothing was changed."
            )

    def _put_sequences(self) -> None:
        """Let sequences go on after the highest number that was ever given."""
        last = read_sequences(self.con)
        there = "SELECT increment_by FROM pg_sequences WHERE schemaname = :schema AND sequencename = :name"
        for schema, name, value in self.noted["sequences"]:
            for (step,) in ask(self.con, there, schema=schema, name=name):
                now = last.get((schema, name), value)
                best = max(now, value) if step > 0 else min(now, value)
                do(
                    self.con,
                    SET_SEQUENCE,
                    schema=schema,
                    name=name,
                    best=best,
                )


def said(sentences: list[str]) -> list[str]:
    """Sentences with the names as the app knows them."""
    return [plain(sentence) for sentence in sentences]
