# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The downgrade of a PostgreSQL database. Private; runs in the app's own interpreter, on its own driver.

Preflight tries the migrations on a scratch database with the schema of the live one. Where none can be made it has the
statements written down instead of run, and says that they were not tried. Main runs them in one transaction, which
holds the export against what they did before it commits; so what preflight could not know is not lost either.
"""

from __future__ import annotations

import time
import typing as t

from ._alembic_export import Loss
from ._alembic_keep import note_left, refuse_unforeseen, write_empty
from ._alembic_loss import Statement
from ._alembic_pg_export import Again, Counts, Downgrade, images, seeds_of
from ._alembic_pg_recover import Recover, said
from ._alembic_pg_scratch import NoScratch, Scratch, granted, literal
from ._alembic_pg_tables import PgTable, Wanted, affected, ask, do, ident, read_tables
from ._alembic_pg_transaction import Transaction, sessions
from ._alembic_server import ServedDatabase, Server, sqlstate
from ._alembic_sqlite import DriverError

SAMPLE = 1000  # rows by which the size of all is judged
LOCKED, TOO_LONG = "55P03", "57014"  # lock_not_available, query_canceled
ATTEMPTS = 4  # how often the migrations run, at most, until it is known what they touch
FACTS = """
SELECT pg_encoding_to_char(d.encoding), d.datcollate, d.datctype, current_setting('search_path'), current_user
FROM pg_database d WHERE d.datname = current_database()
"""


# A start is known to the microsecond, so two servers do not share one, not even where one is a copy of the other. Any
# role may ask for it, and it is the same through a pooler and by whatever name a host knows the server.
IDENTITY = """
SELECT CAST(extract(epoch FROM pg_postmaster_start_time()) * 1000000 AS bigint), oid
FROM pg_database WHERE datname = current_database()
"""


class Look:
    """What is seen of the live database on a connection that cannot write; no migration runs."""

    def __init__(self, server: Server, until: float) -> None:
        self.server = server
        self.until = until
        self.heads: list[str] = []
        self.facts: dict[str, str] = {}
        self.tables: dict[int, PgTable] = {}
        self.version = ("", "")

    def begin(self, context: t.Any) -> bool:
        """Look, and let no migration run."""
        con = context.connection
        ms = str(max(1, int((self.until - time.monotonic()) * 900)))
        do(con, "SELECT set_config('statement_timeout', :ms, true)", ms=ms)
        row = ask(con, FACTS)[0]
        self.facts = dict(zip(("encoding", "collate", "ctype", "search_path", "user"), row))
        self.heads = sorted(context.get_current_heads())
        self.tables = read_tables(con, (context.version_table_schema, context.version_table))
        schema = context.version_table_schema or ask(con, "SELECT current_schema()")[0][0]
        self.version = (schema, context.version_table)
        self.see(con)
        return False

    def see(self, con: t.Any) -> None:
        """Look at something more."""

    def end(self, context: t.Any) -> None:
        """Nothing is left to do."""

    def close(self) -> None:
        """Nothing is to be taken back."""


class Identify(Look):
    """Tells this database, and this place in it for revisions, from every other one."""

    identity = ""

    def see(self, con: t.Any) -> None:
        started, oid = ask(con, IDENTITY)[0]
        self.identity = f"postgresql {started}/{oid}/{'.'.join(map(_quoted, self.version))}"


class LeftOut(Look):
    """Sees which hosts have the database open, of those that take no part. Each is known by its addresses."""

    def __init__(self, left_out: dict[str, list[str]], *place: t.Any) -> None:
        super().__init__(*place)
        self.left_out = left_out
        self.named: list[str] = []

    def see(self, con: t.Any) -> None:
        for host, addresses in self.left_out.items():
            there, _hidden = sessions(con, self.server.own, addresses)
            self.named += [f"on {host} by {there[0]}"] if there else []


class Size(Look):
    """Sees how big the database is."""

    bytes = 0

    def see(self, con: t.Any) -> None:
        self.bytes = int(ask(con, "SELECT pg_database_size(current_database())")[0][0])


class Measure(Look):
    """Counts what is going to be destroyed."""

    def __init__(self, losses: dict[str, Loss], *place: t.Any) -> None:
        super().__init__(*place)
        self.losses = losses
        self.bytes = 0

    def see(self, con: t.Any) -> None:
        # Who waits for a table that somebody holds makes all others wait behind it.
        do(con, "SELECT set_config('lock_timeout', '3000', true)")
        shown = {table.shown: table for table in self.tables.values()}
        for name, loss in self.losses.items():
            table, columns = shown[name], [ident(c) for c in loss["columns"]]
            numbers = self._counted(con, table, columns)
            loss["rows"] = numbers[0]
            loss["values"] = {c: n for c, n in zip(loss["columns"], numbers[1:]) if c not in loss["retyped"]}
            listed = ", ".join(f"avg(octet_length(CAST({c} AS text)))" for c in columns) or "0"
            some = f"SELECT {', '.join(columns) or '1'} FROM {table.rows} LIMIT {SAMPLE}"  # noqa: S608  quoted by ident()
            means = ask(con, f"SELECT {listed} FROM ({some}) s")[0]  # noqa: S608  quoted by ident()
            self.bytes += int(sum(float(mean or 0) * number for mean, number in zip(means, numbers[1:])))
            self.bytes += 32 * numbers[0] * (1 + len(columns))

    def _counted(self, con: t.Any, table: PgTable, columns: list[str]) -> list[int]:
        """The rows of a table and the values, not NULL, of its columns.

        :raises DriverError: somebody holds the table, or it takes too long.
        """
        counts = ", ".join(["count(*)", *(f"count({c})" for c in columns)])
        try:
            return [int(number) for number in ask(con, f"SELECT {counts} FROM {table.rows}")[0]]  # noqa: S608
        except Exception as exc:
            if sqlstate(exc) not in (LOCKED, TOO_LONG):
                raise
            why = "is locked by somebody" if sqlstate(exc) == LOCKED else "has so many rows that the time was up"
            raise DriverError(
                f"What the downgrade of {self.server.name} destroys could not be counted: the table {table.shown} "
                f"{why}. Nothing was changed. Run the same command again when it is free, or give this phase a longer "
                "`timeout`."
            ) from exc


class Trial(Transaction):
    """The migrations on the scratch database."""

    after: dict[int, PgTable]
    seeds: dict[str, list[list[t.Any]]]

    def begin(self, context: t.Any) -> bool:
        if ask(context.connection, "SELECT current_database()")[0][0] != self.server.database:
            raise DriverError(
                "The app's env.py makes its database connections by itself (create_engine with creator=, say), so "
                "they cannot be led to a scratch database. Let it use a URL."
            )
        return super().begin(context)

    def finish(self, context: t.Any) -> None:
        self.after = read_tables(self.con, self.version)
        self.seeds = seeds_of(self.con, [table for oid, table in self.after.items() if oid not in self.before])


class Writing:
    """The migrations with their statements written down instead of run."""

    def begin(self, context: t.Any) -> bool:
        """Let a migration's own transactions be none."""
        context.autocommit_block = lambda: context.begin_transaction(_per_migration=False)
        return True

    def end(self, context: t.Any) -> None:
        """Nothing has been done."""

    def close(self) -> None:
        """Nothing is to be taken back."""


class PostgresqlDatabase(ServedDatabase):
    """One PostgreSQL database: what the downgrade does with it."""

    def state(self) -> tuple[list[str], str]:
        """The revisions that it stands at; the journal mode is of interest with SQLite only."""
        return self.look(Look(self.server, self.until)).heads, ""

    def identity(self) -> str:
        """What is the same on all hosts that share this database and the table of its revision, and on no other."""
        return str(self.look(Identify(self.server, self.until)).identity)

    def refuse_left_out(self, left_out: dict[str, list[str]]) -> None:
        """Refuse hosts that have the database open and take no part, while nothing has been stopped yet. By then apps
        of the run have it open too, so only sessions from where none of those is tell something for certain.

        :arg left_out: the addresses of each such host.
        :raises DriverError: names hosts and sessions.
        """
        named = self.look(LeftOut(left_out, self.server, self.until)).named if left_out and self.server.alone else []
        if named:
            raise DriverError(
                f"The database {self.path} is in use on hosts that --limit leaves out: {', '.join(named)}. Nothing was "
                "changed in it. Run it without --limit; hosts that are rolled back already are only verified. To leave "
                "them out, stop what uses the database there; or where each release runs on either schema, say "
                "`schema_compatible: true` in the plan."
            )

    def look(self, look: t.Any) -> t.Any:
        """Let ``look`` see the database, on a connection that cannot write."""
        self.server.readonly = True
        self.migrations.visit(look)
        return look

    def rehearse(self, request: dict[str, t.Any], newer: list[str], older: list[str]) -> dict[str, t.Any]:
        """Try the downgrade where it can be tried. The live database is only read.

        Returns ``to``, ``losses``, ``touched`` ({table: columns}), ``export_size``, ``sql`` and ``untried`` (why it was
        not tried; empty where it was).
        """
        look = self.look(Look(self.server, self.until))
        scratch = Scratch(self.server, request["scratch"], self.until)
        schema, table = look.version
        rows = [
            f"INSERT INTO {_quoted(schema)}.{_quoted(table)} (version_num) VALUES ({literal(revision)})"  # noqa: S608
            for revision in look.heads
        ]
        try:
            with scratch.database(look.facts, rows) as name:
                self.server.database = name
                found = self._try(look, newer, older)
        except NoScratch as exc:
            sql, why = self._write_down(newer, older), f"{exc}. {granted(exc, look.facts['user'])}"
            return {"to": older, "losses": {}, "touched": {}, "export_size": 0, "sql": sql, "untried": why}
        finally:
            self.server.database = ""
            self.server.settings = {}
            self.server.readonly = True
        measure = self.look(Measure(found["losses"], self.server, self.until))
        _refuse_strangers(self.path, measure.tables, found["touched"], look.facts["user"])
        return dict(found, export_size=measure.bytes, untried="")

    def _try(self, look: Look, newer: list[str], older: list[str]) -> dict[str, t.Any]:
        self.server.readonly = False
        self.server.settings = {"search_path": look.facts["search_path"]}
        same = self.migrations.graph.same
        down = Trial(self.server, same, newer, older, self.until)
        sql = self.migrations.redirect.sql = []
        self.migrations.downgrade("", newer, older, down)
        self.migrations.redirect.sql = None
        up = Trial(self.server, same, down.stood, newer, self.until)
        self.migrations.upgrade_again("", down.stood, newer, up)
        losses, touched = {}, {}
        for oid, numbers in affected(down.before, down.after).items():
            table, left = down.before[oid], down.after.get(oid)
            names = [name for number, (name, _kind) in table.columns.items() if number in numbers]
            touched[table.shown] = names
            gone = [n for n in numbers if left is None or left.columns.get(n, ("", ""))[1] != table.columns[n][1]]
            if left is None or gone:
                listed = [n for n in table.columns if left is None or n in gone]
                losses[table.shown] = {
                    "columns": [table.columns[n][0] for n in listed],
                    "retyped": [table.columns[n][0] for n in listed if left is not None and n in left.columns],
                    "key": table.key,
                    "dropped": left is None,
                    "whole": left is not None and not (table.key and left.numbers == table.numbers),
                }
        return {"to": down.stood, "losses": losses, "touched": touched, "sql": _statements(sql), "seeds": up.seeds}

    def _write_down(self, newer: list[str], older: list[str]) -> list[str]:
        self.server.noting = True
        sql: list[str] = []
        self.migrations.redirect.sql = sql
        try:
            self.migrations.downgrade("", newer, older, Writing())
        finally:
            self.server.noting = False
            self.migrations.redirect.sql = None
        return _statements(sql)

    def copy_data(self, folder: str) -> dict[str, t.Any]:
        """Make a database with all that is in this one, on the same server. Returns its ``name``, and the ``settings``
        that a session in it needs.

        :raises DriverError: it cannot be made.
        """
        look = self.look(Size(self.server, self.until))
        scratch = Scratch(self.server, folder, self.until)
        try:
            scratch.make(scratch.copy, look.facts)
            # also for an app that is started on it, which may know it from the live database's own settings
            scratch.sql(scratch.copy, f"ALTER DATABASE {scratch.copy} SET search_path = {look.facts['search_path']}")
        except NoScratch as exc:
            scratch.remove(scratch.copy)
            raise DriverError(
                f"No copy of {self.path} with its data, about {look.bytes / 1e6:.0f} MB, could be made on its server: "
                f"{exc}. {granted(exc, look.facts['user'])}"
            ) from exc
        return {"name": scratch.copy, "settings": {"search_path": look.facts["search_path"]}}

    def discard(self, folder: str) -> None:
        """Remove the copy."""
        self.server.database = ""
        scratch = Scratch(self.server, folder, self.until)
        scratch.remove(scratch.copy)

    def downgrade(
        self,
        request: dict[str, t.Any],
        folder: str,
        export: str,
        manifest: t.Callable[[dict[str, t.Any]], None],
    ) -> dict[str, Loss] | None:
        """Downgrade the live database. Returns what was kept; None where it was done already.

        :arg manifest: called with what recovery needs, before the commit.
        """
        sure: Wanted = {}
        counts = Counts()

        def judge(found: Statement) -> None:
            refuse_unforeseen(request, found)

        for attempt in range(ATTEMPTS):
            write_empty(export)
            with images(folder, export) as lines:
                self.server.readonly = False
                place = (self.server, self.migrations.graph.same, request["from"], request["to"], self.until)
                work = Downgrade(lines, request["touched"], sure, judge, counts, manifest, *place)
                try:
                    self.migrations.downgrade("", request["from"], request["to"], work)
                except Again as exc:
                    if attempt == ATTEMPTS - 1:
                        raise
                    sure = exc.wanted
                    continue
                return None if work.already else work.kept
        raise AssertionError

    def recover(self, request: dict[str, t.Any], folder: str, export: str, noted: dict[str, t.Any]) -> list[str] | None:
        """Upgrade the live database and put back what was kept. Returns what could not be, as sentences; None where
        it stands there already.
        """
        more: Wanted = {}
        counts = Counts()
        for attempt in range(ATTEMPTS):
            with images(folder, export) as lines:
                self.server.readonly = False
                place = (self.server, self.migrations.graph.same, request["to"], request["from"], self.until)
                work = Recover(lines, noted, more, counts, lambda left: note_left(request, noted, said(left)), *place)
                work.seeds = request.get("seeds") or {}
                try:
                    self.migrations.back("", request["to"], request["from"], work)
                except Again as exc:
                    if attempt == ATTEMPTS - 1:
                        raise
                    more = exc.wanted
                    continue
                return None if work.already else said(work.left)
        raise AssertionError


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _statements(sql: list[str]) -> list[str]:
    """The statements of the migrations, without ours."""
    return [
        statement for statement in sql if not statement.lstrip().upper().startswith(("LOCK TABLE", "SET CONSTRAINTS"))
    ]


def _refuse_strangers(path: str, tables: dict[int, PgTable], touched: dict[str, list[str]], user: str) -> None:
    """Refuse tables that our role may not change."""
    for table in tables.values():
        if table.shown in touched and not table.owned:
            raise DriverError(
                f"The downgrade changes the table {table.shown} of {path}, which belongs to {table.owner}; the app's "
                f"env.py connects as {user}, which may not change it. Give env.py the URL of its owner in the "
                "environment files of this phase."
            )
