# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps what a downgrade of a PostgreSQL database destroys, and puts it back. Private; runs in the app's interpreter.

Images of the tables that the migrations touch are drawn into SQLite databases before and after them, inside their
transaction, and what is kept and what comes back is decided there, as it is for an app whose database is SQLite.
"""

# ruff: noqa: S608  names of tables and columns are quoted by q(), and values are bound

from __future__ import annotations

import contextlib
import os
import sqlite3
import typing as t

from ._alembic_export import Loss, put_back, same_rows, write_export
from ._alembic_loss import Statement, statement
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
from ._alembic_sqlite import DriverError, Table, q

Kept = t.Dict[str, Loss]
SET_SEQUENCE = "SELECT setval(CAST(format('%I.%I', CAST(:schema AS text), CAST(:name AS text)) AS regclass), :best)"
IMAGES = ("main", "copy", "asis")


class Again(DriverError):
    """The migrations touched more than was thought: once more, with ``wanted`` images drawn before."""

    def __init__(self, wanted: Wanted) -> None:
        super().__init__("The migrations touch other rows each time that they run. Nothing was changed.")
        self.wanted = wanted


@contextlib.contextmanager
def images(folder: str, export: str) -> t.Iterator[sqlite3.Connection]:
    """Empty SQLite databases for images in ``folder``, and the export attached."""
    paths = {name: os.path.join(folder, f"{name}.image") for name in IMAGES}
    clear(folder)
    for path in paths.values():
        os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
    # An asyncio driver may call us in another thread than this one.
    con = sqlite3.connect(paths["main"], isolation_level=None, check_same_thread=False)
    try:
        for name in IMAGES[1:]:
            con.execute(f"ATTACH ? AS {name}", (paths[name],))
        for name in IMAGES:
            con.execute(f"PRAGMA {name}.cache_size = -65536")
            con.execute(f"PRAGMA {name}.synchronous = OFF")
            con.execute(f"PRAGMA {name}.journal_mode = OFF")
        con.execute("ATTACH ? AS export", (export,))
        yield con
    finally:
        con.close()
        clear(folder)


def clear(folder: str) -> None:
    """Remove images, also those of an attempt that was killed."""
    for name in IMAGES:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(folder, f"{name}.image"))


def counts_writes(con: t.Any) -> bool:
    """Whether the server counts writes, so that it can be told which tables were written to."""
    return bool(ask(con, "SELECT current_setting('track_counts') = 'on'")[0][0])


def _kinds(table: PgTable) -> dict[str, str]:
    return dict(table.columns.values())


class Counts(t.Dict[int, int]):
    """How many rows were ever written to each table, by number. The server counts what was taken back too."""

    def first(self, tables: dict[int, PgTable]) -> None:
        """Note it before the first attempt; later ones would see some of what that wrote."""
        for oid, table in tables.items():
            self.setdefault(oid, table.counted)

    def add(self, tables: dict[int, PgTable]) -> None:
        """Add what a transaction has written."""
        for oid, table in tables.items():
            self[oid] = self.get(oid, 0) + table.written


class Downgrade(Transaction):
    """A downgrade; ``finish`` writes the export.

    :arg lines: what ``images`` gives.
    :arg known: of tables, as they are shown, the columns that are thought to be touched; by number, what is sure to.
    :arg judge: is given what the migrations destroyed, and refuses what may not be.
    :arg manifest: writes the manifest, with what was kept, durably.
    """

    def __init__(
        self,
        lines: sqlite3.Connection,
        known: dict[str, list[str]],
        sure: Wanted,
        judge: t.Callable[[Statement], None],
        counts: Counts,
        manifest: t.Callable[[dict[str, t.Any]], None],
        *place: t.Any,
    ) -> None:
        super().__init__(*place)
        self.lines = lines
        self.known = known
        self.sure = sure
        self.judge = judge
        self.counts = counts
        self.manifest = manifest
        self.drawn: Wanted = {}
        self.kept: Kept = {}
        self.sequences: dict[tuple[str, str], int] = {}

    def begin(self, context: t.Any) -> bool:
        if not super().begin(context):
            return False
        self.counts.first(self.before)
        self.all = not counts_writes(self.con)
        for oid, table in self.before.items():
            numbers = set(self.sure.get(oid, ()))
            thought = self.known.get(table.shown, [])
            numbers |= {n for n, (name, _kind) in table.columns.items() if name in thought}
            if numbers or self.all:
                self.drawn[oid] = self._wide(table, set(table.columns) if self.all else numbers)
        self.lock(self.before[oid] for oid in self.drawn)
        self.sequences = read_sequences(self.con)
        self.names = {oid: lite(self.before[oid].shown) for oid in self.drawn}
        for oid, numbers in self.drawn.items():
            columns = {lite(name): name for n, (name, _kind) in self.before[oid].columns.items() if n in numbers}
            draw(self.con, self.lines, "main", self.names[oid], self.before[oid], columns)
        return True

    @staticmethod
    def _wide(table: PgTable, numbers: set[int]) -> set[int]:
        return numbers | set(table.numbers) if table.key else set(table.columns)

    def finish(self, context: t.Any) -> None:
        after = read_tables(self.con, self.version)
        self.counts.add(after)
        found = affected(self.before, after, self.all)
        if any(not numbers.issubset(self.drawn.get(oid, set())) for oid, numbers in found.items()):
            raise Again({oid: found.get(oid, set()) | self.drawn.get(oid, set()) for oid in {*found, *self.drawn}})
        before_images: dict[str, Table] = {}
        after_images: dict[str, Table] = {}
        homes: dict[str, tuple[PgTable, dict[str, str]]] = {}
        for oid, numbers in self.drawn.items():
            table, name = self.before[oid], self.names[oid]
            columns = {lite(c): c for n, (c, _kind) in table.columns.items() if n in numbers}
            before_images[name] = image_of(table, columns, _kinds(table))
            left = after.get(oid) or self._anew(table, after)
            if left is not None:
                homes[name] = (left, self._columns_after(table, left, numbers))
        gone = [image for name, image in before_images.items() if name not in homes]
        for oid, table in after.items():
            columns = {lite(c): c for c, _kind in table.columns.values()}
            alike = any(list(image.columns) == list(columns) for image in gone)
            if oid not in self.before and alike and lite(table.shown) not in before_images:
                homes[lite(table.shown)] = (table, columns)
        for name, (table, columns) in homes.items():
            draw(self.con, self.lines, "copy", name, table, columns)
            after_images[name] = image_of(table, columns, _kinds(table))
        self.kept = write_export(self.lines, before_images, after_images)
        self.judge(statement(self.lines, self.kept, plain))
        self._note(homes)

    def _anew(self, table: PgTable, after: dict[int, PgTable]) -> PgTable | None:
        """The table that a migration made in the place of one that it dropped."""
        same = [new for oid, new in after.items() if oid not in self.before]
        return next((new for new in same if (new.schema, new.name) == (table.schema, table.name)), None)

    @staticmethod
    def _columns_after(table: PgTable, left: PgTable, numbers: set[int]) -> dict[str, str]:
        """What stands for each column of the image afterwards: the same number, or else the same name; and new ones
        that may be dropped ones under another name."""
        columns: dict[str, str] = {}
        taken: set[int] = set()
        new = {name: n for n, (name, _kind) in left.columns.items() if left.oid != table.oid or n not in table.columns}
        for number in sorted(numbers):
            name = table.columns[number][0]
            there = number if left.oid == table.oid and number in left.columns else new.get(name)
            if there is not None:
                columns[lite(name)] = left.columns[there][0]
                taken.add(there)
        if len(columns) < len(numbers):
            more = {lite(name): name for name, n in new.items() if n not in taken}
            columns.update({shown: name for shown, name in more.items() if shown not in columns})
        return columns

    def _note(self, homes: dict[str, tuple[PgTable, dict[str, str]]]) -> None:
        """Note where everything was and is, by number, so that recovery finds it."""
        for oid, name in self.names.items():
            entry, table = self.kept[name], self.before[oid]
            entry.update(schema=table.schema, table=table.name, oid=None, numbers={})
            place = name if name in homes else entry.get("renamed")
            if isinstance(place, str) and place in homes:
                home, columns = homes[place]
                by_name = {column: n for n, (column, _kind) in home.columns.items()}
                entry.update(oid=home.oid, numbers={shown: by_name[c] for shown, c in columns.items()})

    def promise(self) -> None:
        last = read_sequences(self.con)
        changed = [[*name, n] for name, n in sorted(self.sequences.items()) if last.get(name) != n]
        self.manifest(
            {
                "tables": self.kept,
                "counts": {str(oid): count for oid, count in self.counts.items()},
                "sequences": changed,
            }
        )


class Recover(Transaction):
    """An upgrade after a downgrade; ``finish`` puts back what that kept.

    :arg lines: what ``images`` gives, with the export of the downgrade.
    :arg noted: what the downgrade gave to ``manifest``.
    :arg more: tables that only the upgrade writes to.
    """

    def __init__(
        self, lines: sqlite3.Connection, noted: dict[str, t.Any], more: Wanted, counts: Counts, *place: t.Any
    ) -> None:
        super().__init__(*place)
        self.counts = counts
        self.lines = lines
        self.noted = noted
        self.kept: Kept = dict(noted["tables"])
        self.more = more
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
            self.untouched[name] = entry["oid"] is None or self._unchanged(entry["oid"])
            if home is not None and entry["kind"] != "table":
                there = {shown: home.columns[n][0] for shown, n in entry["numbers"].items() if n in home.columns}
                draw(self.con, self.lines, "main", name, home, {c: there[c] for c in entry["columns"] if c in there})
                if "rows" not in entry:
                    entry["rows"] = self.lines.execute(f"SELECT count(*) FROM main.{q(name)}").fetchone()[0]
        return True

    def _unchanged(self, oid: int) -> bool:
        """Whether nobody wrote to a table since the downgrade. A count of none says nothing: counts can be reset. Nor
        does one where others are at work, which tell it to the server when they have nothing to do."""
        noted = self.noted["counts"].get(str(oid))
        return self.counted and self.server.alone and bool(noted) and self.counts.get(oid) == noted

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
                key = ", ".join(q(k) for k in image_of(table, columns, _kinds(table)).key)
                if key:
                    self.lines.execute(f"CREATE INDEX asis.{q(name + ':key')} ON {q(name)} ({key})")
            image = {name: image_of(table, columns, _kinds(table))} if table is not None else {}
            self.left += put_back(self.lines, {name: entry}, image, self.untouched[name])
            if table is not None and not self._same(name, columns):
                puts.append(Put(name, table, columns))
        self.lock(put.table for put in puts)
        write(self.con, self.lines, puts)
        for put in puts:
            self._look(put)
        self._put_sequences()

    def _same(self, name: str, columns: dict[str, str]) -> bool:
        return same_rows(self.lines, f"copy.{q(name)}", f"asis.{q(name)}", list(columns), list(columns))

    def _look(self, put: Put) -> None:
        """Look that a table holds what was put into it.

        :raises DriverError: it does not.
        """
        self.lines.execute(f"DROP TABLE asis.{q(put.name)}")
        draw(self.con, self.lines, "asis", put.name, put.table, put.columns)
        if not self._same(put.name, put.columns):
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
