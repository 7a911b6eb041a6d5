# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Databases as checks read them: SQLite by its file, PostgreSQL by psql. Private to this collection.

Neither can be written to: each query has a connection of its own, which is read only.
"""

from __future__ import annotations

import abc
import contextlib
import hashlib
import os
import re
import sqlite3
import time
import typing as t
import urllib.parse

from ._check_kind import filled, short, unset, variables
from ._command import Commands, PhaseError
from ._libpq import Postgresql, by_address, by_variable

Row = t.List[t.Optional[str]]  # cells as text; NULL is None


class Database(abc.ABC):
    """What checks ask a database."""

    name = ""
    booleans = ("1", "0")

    def missing(self) -> t.Iterator[str]:
        """Why it cannot be there, as far as that is known without asking."""
        return iter(())

    @abc.abstractmethod
    def query(self, sql: str, timeout: float) -> list[Row]:
        """The rows that a query gives.

        :raises PhaseError: it is refused, or not done within ``timeout`` seconds.
        """

    @abc.abstractmethod
    def tables(self, timeout: float) -> dict[str, str]:
        """The tables, and how each is written in SQL."""

    def quote(self, name: str) -> str:
        """A name in SQL."""
        return '"' + name.replace('"', '""') + '"'

    @abc.abstractmethod
    def digests(self, table: str, columns: t.Sequence[str], timeout: float) -> list[Row]:
        """For each row the value of the first column, and a digest of all columns."""


class Sqlite(Database):
    """A file."""

    def __init__(self, path: str) -> None:
        self.name = self.path = path

    def missing(self) -> t.Iterator[str]:
        """A file that is not there."""
        if not os.path.isfile(self.path):
            yield f"there is no file {self.path} on this host. Give the path of the SQLite file."

    @contextlib.contextmanager
    def _open(self, timeout: float) -> t.Iterator[sqlite3.Connection]:
        """A connection that cannot write and whose queries end at the timeout."""
        uri = f"file:{urllib.parse.quote(os.path.abspath(self.path))}?mode=ro"
        until = time.monotonic() + timeout
        try:
            with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=timeout)) as connection:
                connection.execute("PRAGMA query_only = 1")
                connection.set_progress_handler(lambda: int(time.monotonic() > until), 10_000)
                yield connection
        except (sqlite3.Error, sqlite3.Warning, ValueError) as exc:  # two statements, a NUL: it depends on Python
            raise PhaseError(_late(timeout) if "interrupted" in str(exc) else f"{self.path}: {exc}") from exc

    def query(self, sql: str, timeout: float) -> list[Row]:
        """The rows that a query gives."""
        with self._open(timeout) as connection:
            return [[None if cell is None else str(cell) for cell in row] for row in connection.execute(sql)]

    def tables(self, timeout: float) -> dict[str, str]:
        """All tables except SQLite's own."""
        query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite@_%' ESCAPE '@'"
        return {row[0]: self.quote(row[0]) for row in self.query(query, timeout) if row[0]}

    def digests(self, table: str, columns: t.Sequence[str], timeout: float) -> list[Row]:
        """Digests made here, as SQLite has no function for it."""
        # with the table before it: SQLite takes "x" for a text where there is no column x
        names = ", ".join(f"{self.quote(table)}.{self.quote(column)}" for column in columns)
        query = f"SELECT {names} FROM {self.quote(table)}"  # noqa: S608 (quoted names)
        with self._open(timeout) as connection:
            return [
                [str(row[0]), hashlib.sha256(repr(row).encode("utf-8", "surrogatepass")).hexdigest()[:32]]
                for row in connection.execute(query)
            ]


class Server(Database):
    """PostgreSQL."""

    booleans = ("t", "f")

    def __init__(self, server: Postgresql) -> None:
        self.name = server.name
        self._server = server

    def query(self, sql: str, timeout: float) -> list[Row]:
        """The rows that a query gives; the server ends it at the timeout as well."""
        limit = f"SET LOCAL statement_timeout TO {max(1, int(timeout * 1000))};"
        try:
            return self._server.query(f"{limit} {sql}", timeout)
        except PhaseError as exc:
            if exc.facts.get("timed_out") or "statement timeout" in str(exc):
                raise PhaseError(_late(timeout)) from exc
            raise

    def tables(self, timeout: float) -> dict[str, str]:
        """All tables of the database; those outside the search path as ``schema.table``."""
        query = """
            SELECT CASE WHEN pg_table_is_visible(c.oid) THEN relname ELSE nspname || '.' || relname END,
                   format('%I.%I', nspname, relname)
            FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
            WHERE relkind IN ('r', 'p') AND NOT relispartition AND relpersistence <> 't'
              AND nspname <> 'information_schema' AND nspname !~ '^pg_' ORDER BY 1
        """
        return {row[0]: row[1] for row in self.query(query, timeout) if row[0] and row[1]}

    def digests(self, table: str, columns: t.Sequence[str], timeout: float) -> list[Row]:
        """Digests made by the server, so that the data stays there."""
        there = self.tables(timeout).get(table) or self.quote(table)
        row = f"ROW({', '.join(map(self.quote, columns))})::text"
        digest = f"left(encode(sha256(convert_to({row}, 'UTF8')), 'hex'), 32)"
        return self.query(f"SELECT {self.quote(columns[0])}::text, {digest} FROM {there}", timeout)  # noqa: S608 (quoted names)


def _late(timeout: float) -> str:
    return f"no answer within {timeout:g} s"


def database_at(text: str, commands: Commands) -> Database:
    """The database that ``text`` says: a path, a URL without a password, or ``${NAME}``, a variable with a URL.

    :raises PhaseError: it is none.
    """
    whole = re.fullmatch(r"\$\{(\w+)\}", text)
    name = whole.group(1) if whole else ""
    if whole and not commands.environ.get(name, "").startswith("sqlite"):
        if name not in commands.environ:
            raise PhaseError(unset(name))
        return Server(by_variable(commands, name))
    if whole or variables(text):
        text = filled(text, commands.environ)
    if not text.startswith("sqlite"):
        return Server(by_address(commands, text)) if "://" in text else Sqlite(os.path.expanduser(text))
    if "://" not in text:
        return Sqlite(text)
    path = urllib.parse.urlsplit(text).path[1:]
    if not path.startswith("/"):
        raise PhaseError(
            f"'{short(text, 100)}' names no absolute path. Write sqlite:////srv/shop/shop.db, or the path alone."
        )
    return Sqlite(urllib.parse.unquote(path))
