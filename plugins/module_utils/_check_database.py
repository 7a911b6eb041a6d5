# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks ``revision``, ``sql``, ``rows`` and ``content``, of databases. Private to this collection."""

from __future__ import annotations

import collections
import typing as t

from ._check_kind import Kind, Look, Options, Scene, Verdict, some
from ._command import PhaseError
from ._read_database import Database, database_at
from ._redact import redact
from ._words import listed

_DATABASE = {"type": "str", "required": True}
REVISION_ARGUMENT: dict[str, t.Any] = {
    "type": "dict",
    "options": {
        "database": _DATABASE,
        "expected": {"type": "list", "elements": "str", "required": True},
        "version_table": {"type": "str", "default": "alembic_version"},
    },
}
SQL_ARGUMENT: dict[str, t.Any] = {
    "type": "dict",
    "options": {
        "database": _DATABASE,
        "query": {"type": "str", "required": True},
        "expected": {"type": "raw", "required": True},
    },
}
ROWS_ARGUMENT: dict[str, t.Any] = {
    "type": "dict",
    "options": {
        "database": _DATABASE,
        "tables": {"type": "list", "elements": "str", "default": []},
        "except": {"type": "list", "elements": "str", "default": []},
        "exactly": {"type": "bool", "default": False},
    },
}
CONTENT_ARGUMENT: dict[str, t.Any] = {
    "type": "dict",
    "options": {
        "database": _DATABASE,
        "table": {"type": "str", "required": True},
        "columns": {"type": "list", "elements": "str", "required": True},
        "exactly": {"type": "bool", "default": False},
    },
}


class OfDatabase(Kind):
    """A check that reads a database."""

    def faults(self, options: Options, scene: Scene) -> t.Iterator[str]:
        """An address that is none."""
        try:
            database_at(options["database"], scene.commands)
        except PhaseError as exc:
            yield str(exc)

    def missing(self, options: Options, scene: Scene) -> t.Iterator[str]:
        """A database that is not there."""
        return database_at(options["database"], scene.commands).missing()

    @staticmethod
    def database(look: Look) -> Database:
        """The database of a check."""
        return database_at(look.options["database"], look.commands)


class Revision(OfDatabase):
    """Alembic's version table holds exactly the expected revisions; ``base`` is none."""

    def called(self, options: Options) -> str:
        """``revision of /srv/shop/shop.db``."""
        return f"revision of {redact(options['database'])}"

    def attempt(self, look: Look) -> Verdict:
        """Read the version table."""
        database, table = self.database(look), look.options["version_table"]
        there = database.tables(look.timeout)
        query = f"SELECT version_num FROM {there.get(table)}"  # noqa: S608 (a quoted name)
        rows = database.query(query, look.timeout) if table in there else []
        found = sorted(str(row[0]) for row in rows) or ["base"]
        expected = sorted(look.options["expected"])
        # a revision may be shortened to four characters or more, as Alembic allows
        same = len(found) == len(expected) and all(
            have == want or (len(want) >= 4 and have.startswith(want)) for have, want in zip(found, expected)
        )
        return same, f"at revision {listed(found)}" + ("" if same else f", expected {listed(expected)}")


class Sql(OfDatabase):
    """The first column of the first row is the expected value, compared as text."""

    def called(self, options: Options) -> str:
        """``SQL SELECT ...``."""
        return f"SQL {options['query']}"

    def attempt(self, look: Look) -> Verdict:
        """Ask the query."""
        database = self.database(look)
        expected = as_text(look.options["expected"], database.booleans)
        rows = database.query(look.options["query"], look.timeout)
        if not rows:
            return False, f"no row, expected {expected}"
        found = as_text(rows[0][0])
        return (True, found) if found == expected else (False, f"{found}, expected {expected}")


def as_text(value: t.Any, booleans: tuple[str, str] = ("1", "0")) -> str:
    """A value as the database writes it; nothing is NULL."""
    if value is None:
        return "NULL"
    return booleans[not value] if isinstance(value, bool) else str(value)


class Rows(OfDatabase):
    """No table has fewer rows than preflight counted, or another number of them with ``exactly``."""

    keeps = True

    def called(self, options: Options) -> str:
        """``rows of /srv/shop/shop.db``."""
        return f"rows of {redact(options['database'])}"

    def keep(self, look: Look) -> tuple[t.Any, str]:
        """The number of rows, by table."""
        try:
            counted = count_rows(self.database(look), look)
        except PhaseError as exc:
            raise PhaseError(
                f"the rows of {redact(look.options['database'])} cannot be counted within {look.timeout:g} s: "
                f"{str(exc).rstrip('.')}. Correct `database`, name fewer `tables`, or raise `timeout`."
            ) from exc
        missing = [name for name in look.options["tables"] if name not in {*counted, *look.options["except"]}]
        if missing:
            raise PhaseError(
                f"{redact(look.options['database'])} has no table {listed(missing, 'or')}. Correct `tables`."
            )
        return counted, _rows_in(counted)

    def attempt(self, look: Look) -> Verdict:
        """Count again."""
        before, now = look.kept, count_rows(self.database(look), look)
        faults = []
        for table, count in before.items():
            if table not in now:
                faults.append(f"table {table} ({count} rows) is gone")
            elif now[table] < count or (look.options["exactly"] and now[table] != count):
                faults.append(f"table {table} had {count} rows and has {now[table]}")
        if faults:
            return False, listed(faults)
        return True, f"{_rows_in({name: now[name] for name in before})}, {sum(before.values())} before"


def count_rows(database: Database, look: Look) -> dict[str, int]:
    """How many rows the tables have; without ``tables`` all of them, except Alembic's."""
    there = database.tables(look.timeout)
    wanted = look.options["tables"] or [name for name in there if name.rpartition(".")[2] != "alembic_version"]
    names = [name for name in wanted if name in there and name not in look.options["except"]]
    found: dict[str, int] = {}
    for first in range(0, len(names), 100):  # SQLite takes 500 SELECTs in one
        part = names[first : first + 100]
        counts = [f"SELECT {number}, count(*) FROM {there[name]}" for number, name in enumerate(part)]  # noqa: S608 (quoted names)
        for number, count in database.query(" UNION ALL ".join(counts), look.timeout):
            found[part[int(number or 0)]] = int(count or 0)
    return found


def _rows_in(counted: dict[str, int]) -> str:
    tables = "table" if len(counted) == 1 else "tables"
    return f"{sum(counted.values())} rows in {len(counted)} {tables}"


class Content(OfDatabase):
    """No row of a table has other values in some columns than preflight found, or is gone; new rows are allowed."""

    keeps = True

    def called(self, options: Options) -> str:
        """``content of customers in /srv/shop/shop.db``."""
        return f"content of {options['table']} in {redact(options['database'])}"

    def faults(self, options: Options, scene: Scene) -> t.Iterator[str]:
        """No columns."""
        yield from super().faults(options, scene)
        if not options["columns"]:
            yield "`columns` is empty. Name the columns whose values must be kept, the key first."

    def _digests(self, look: Look) -> list[list[str | None]]:
        return self.database(look).digests(look.options["table"], look.options["columns"], look.timeout)

    def keep(self, look: Look) -> tuple[t.Any, str]:
        """For each digest of a row the first column of the rows that have it."""
        try:
            rows = self._digests(look)
        except PhaseError as exc:
            raise PhaseError(
                f"the rows of {look.options['table']} cannot be read within {look.timeout:g} s: "
                f"{str(exc).rstrip('.')}. Correct `table` and `columns`, or raise `timeout`."
            ) from exc
        kept = collections.defaultdict(list)
        for first, digest in rows:
            kept[digest].append(first)
        return kept, f"{len(rows)} rows"

    def attempt(self, look: Look) -> Verdict:
        """Read the rows again."""
        now = collections.Counter(digest for _first, digest in self._digests(look))
        lost = [str(first) for digest, names in look.kept.items() for first in names[now[digest] :]]
        before, count = sum(map(len, look.kept.values())), sum(now.values())
        if lost:
            rows = "1 row has" if len(lost) == 1 else f"{len(lost)} of {before} rows have"
            key = look.options["columns"][0]
            in_order = sorted(lost, key=lambda first: (len(first), first))
            return False, f"{rows} changed or gone: {key} {some(in_order)}"
        if look.options["exactly"] and count != before:
            return False, f"there were {before} rows and there are {count}"
        return True, f"all {before} rows are as they were; there are {count}"
