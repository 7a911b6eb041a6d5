# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps what a downgrade of a PostgreSQL database destroys. Private; runs in the app's own interpreter.

Images of the tables that the migrations touch are drawn into SQLite databases before and after them, inside their
transaction, and what is kept and what comes back is decided there, as it is for an app whose database is SQLite.
"""

# ruff: noqa: S608  names of tables and columns are quoted by q(), and values are bound

from __future__ import annotations

import contextlib
import os
import sqlite3
import typing as t

from ._alembic_export import Loss, write_export
from ._alembic_loss import Statement, statement
from ._alembic_pg_tables import (
    PgTable,
    Wanted,
    affected,
    ask,
    draw,
    image_of,
    lite,
    numbered,
    plain,
    read_sequences,
    read_tables,
)
from ._alembic_pg_transaction import Transaction
from ._alembic_sqlite import DriverError, Table, q

Kept = t.Dict[str, Loss]
SEEDS = 1000  # rows
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


def kinds(table: PgTable) -> dict[str, str]:
    return dict(table.columns.values())


def seeds_of(con: t.Any, tables: list[PgTable]) -> dict[str, list[list[t.Any]]]:
    """The rows of tables that a migration filled although no row was anywhere, where they are not too many."""
    found = {}
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as lines:
        for number, table in enumerate(tables):
            draw(con, lines, "main", str(number), table, {lite(c): c for c, _kind in table.columns.values()})
            rows = lines.execute(f"SELECT * FROM {q(str(number))} LIMIT {SEEDS + 1}").fetchall()
            if len(rows) <= SEEDS:
                found[lite(table.shown)] = [list(row) for row in rows]
    return found


class Counts(t.Dict[int, t.List[t.Any]]):
    """How many rows were ever written to each table, by number, how many of that were deleted, and its files, which are
    others after a TRUNCATE. The server counts what was taken back too.
    """

    def first(self, tables: dict[int, PgTable]) -> None:
        """Note it before the first attempt; later ones would see some of what that wrote."""
        for oid, table in tables.items():
            self.setdefault(oid, [table.counted, table.deleted, table.files])

    def add(self, tables: dict[int, PgTable]) -> None:
        """Add what a transaction has written."""
        for oid, table in tables.items():
            written, deleted, _files = self.get(oid, [0, 0, ""])
            self[oid] = [written + table.written, deleted + table.deleting, table.files]


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
            before_images[name] = image_of(table, columns, kinds(table))
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
            image = after_images[name] = image_of(table, columns, kinds(table))
            lost = name in before_images and not set(before_images[name].columns).issubset(columns)
            image.numbered = not (lost and image.key) or numbered(self.con, table)
            draw(self.con, self.lines, "copy", name, table, columns, rest=not image.numbered)
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
                "counts": {str(oid): list(count) for oid, count in self.counts.items()},
                "sequences": changed,
            }
        )
