# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One transaction in which migrations run on a PostgreSQL database. Private; runs in the app's own interpreter.

Everything that the migrations do, and everything that we put back, is committed by one COMMIT that is ours, also where
``env.py`` has ``transaction_per_migration=True`` and where a migration has an ``autocommit_block()``. So a kill -9 or a
lost connection leaves the old database or the new one, and the revision tells which.
"""

from __future__ import annotations

import contextlib
import time
import typing as t

from ._alembic_pg_tables import PgTable, ask, do, read_tables
from ._alembic_server import OURS, Server, sqlstate, words_of
from ._alembic_sqlite import DriverError, spoken

LOCK = 0x63686F70  # the first half of the advisory lock's number; databases have locks of their own
NO_LOCK = "55P03"  # lock_not_available
NO_RIGHT = "42501"  # insufficient_privilege
# Seconds after which a session counts that is still there: one of ours on another host has no name yet when it begins,
# and that of an app may end a moment after the app.
PASSING = 2.0

SESSIONS = """
SELECT pid, usename, application_name, host(client_addr), to_char(query_start AT TIME ZONE 'UTC', 'HH24:MI:SS'),
  backend_type IS NULL
FROM pg_stat_activity
WHERE datname = current_database() AND usesysid IS NOT NULL AND NOT pid = ANY(CAST(:own AS int[]))
  AND application_name <> :ours
  AND coalesce(backend_type, 'client backend') = 'client backend'
  AND (CAST(:addresses AS text[]) IS NULL
    OR host(client_addr) = ANY(CAST(:addresses AS text[])) AND client_addr IS DISTINCT FROM inet_client_addr())
ORDER BY 1 LIMIT 20
"""
PREPARED = "SELECT gid, owner FROM pg_prepared_xacts WHERE database = current_database() ORDER BY 1 LIMIT 20"


def sessions(con: t.Any, own: t.Iterable[int], addresses: t.Sequence[str] | None = None) -> tuple[list[str], bool]:
    """Who else has the database open, as ``session 12 (psql, user dana, from 10.0.0.7, query of 12:01:02 UTC)``, and
    whether details of some are hidden from our role. Workers of the server itself are no sessions, and neither are our
    own: those on other hosts do nothing without the lock that we have.

    :arg addresses: only sessions from there count, and none from where we come from ourselves.
    """
    named, hidden = [], False
    given = {"own": sorted(own), "ours": OURS, "addresses": addresses}
    for pid, user, program, address, since, secret in ask(con, SESSIONS, **given):
        about = [program or "no application_name", f"user {user}"]
        about += [f"from {address}" if address else "on the server itself"] if not secret else []
        about += [f"query of {since} UTC"] if since else []
        named.append(f"session {pid} ({', '.join(about)})")
        hidden = hidden or secret
    if addresses is None:
        named += [f"the prepared transaction '{gid}' of {owner}" for gid, owner in ask(con, PREPARED)]
    return named, hidden


def refuse_sessions(con: t.Any, server: Server) -> None:
    """Refuse to go on while somebody else has the database open, unless they may.

    :raises DriverError: names them.
    """
    if not server.alone:
        return
    until = time.monotonic() + PASSING
    while True:
        do(con, "SELECT pg_stat_clear_snapshot()")  # else a transaction sees who was there at its first look
        named, hidden = sessions(con, server.own)
        if not named or time.monotonic() >= until:
            break
        time.sleep(0.1)
    if named:
        user = ask(con, "SELECT current_user")[0][0]
        raise DriverError(
            f"The database {server.name} is in use by {', '.join(named)}. Nothing was changed in it. "
            + (f"Where sessions of other roles come from is hidden from {user}. " if hidden else "")
            + "Stop that, and run the same command again."
        )


class Transaction:
    """Migrations between ``begin`` and ``end``, which are called inside ``env.py``, on its connection.

    :arg same: whether two places in the history of migrations are the same.
    :arg stands: the place where the database has to stand.
    :arg wanted: the one where it has to stand afterwards.
    :arg until: when all has to be done, on the clock ``time.monotonic``.
    """

    def __init__(
        self,
        server: Server,
        same: t.Callable[[list[str], list[str]], bool],
        stands: list[str],
        wanted: list[str],
        until: float,
    ) -> None:
        self.server = server
        self.same = same
        self.stands = stands
        self.wanted = wanted
        self.until = until
        self.con: t.Any = None
        self.number = 0
        self.version: tuple[str | None, str] = (None, "")
        self.before: dict[int, PgTable] = {}
        self.stood: list[str] = []
        self.already = False

    def begin(self, context: t.Any) -> bool:
        """Take the database for ourselves; False where somebody brought it to its end before."""
        self.con = context.connection
        self.version = (context.version_table_schema, context.version_table)
        self.server.held = True
        self.number = self._number()
        if self._number() != self.number:
            raise DriverError(
                "The app's env.py runs migrations in autocommit mode, so a failure could not be taken back. Nothing "
                "was changed. Take isolation_level='AUTOCOMMIT' out of its engine."
            )
        context.autocommit_block = contextlib.nullcontext
        self._take()
        heads = sorted(context.get_current_heads())
        if self.same(heads, self.wanted):
            self.already = True
            return False
        if not self.same(heads, self.stands):
            raise DriverError(
                f"The database {self.server.name} stands at {spoken(heads)}, where nobody expects it: "
                "somebody migrated it since preflight. Nothing was changed in it."
            )
        refuse_sessions(self.con, self.server)
        self._see_what_others_write()
        self.before = read_tables(self.con, self.version)
        return True

    def _see_what_others_write(self) -> None:
        """Each statement has to see what was committed before it, or what others wrote last would not be kept.

        :raises DriverError: the app has chosen to see only what was there when the transaction began.
        """
        level = ask(self.con, "SELECT current_setting('transaction_isolation')")[0][0]
        if level not in ("read committed", "read uncommitted") and not self.server.alone:
            raise DriverError(
                f"The app's env.py runs migrations with the isolation level {level}, in which what others write "
                f"meanwhile cannot be seen, and so not be kept. Nothing was changed in {self.server.name}. Take "
                "isolation_level out of its engine, or schema_compatible out of the plan and stop every app."
            )

    def _number(self) -> int:
        return int(ask(self.con, "SELECT CAST(txid_current() AS bigint)")[0][0])

    def _left(self, share: float) -> int:
        """A share of the time that is left, in milliseconds."""
        return max(1, int((self.until - time.monotonic()) * share * 1000))

    def _limit(self, lock: int) -> None:
        do(self.con, "SELECT set_config('lock_timeout', :ms, true)", ms=str(lock))
        do(self.con, "SELECT set_config('statement_timeout', :ms, true)", ms=str(self._left(0.9)))

    def _take(self) -> None:
        """One downgrade at a time for a database, from however many hosts: the others wait here."""
        self._limit(self._left(0.7))
        try:
            do(self.con, "SELECT pg_advisory_xact_lock(:number, 0)", number=LOCK)
        except Exception as exc:
            if sqlstate(exc) != NO_LOCK:
                raise
            raise DriverError(
                f"Another run, from another host maybe, has been migrating the database {self.server.name} for longer "
                "than this phase may take. Nothing was changed. Wait for it, and run the same command again."
            ) from exc

    def lock(self, tables: t.Iterable[PgTable]) -> None:
        """Keep everybody out of tables, until the end of the transaction.

        :raises DriverError: somebody else holds one, or our role may not.
        """
        self._limit(min(20000, self._left(0.3)))
        for table in sorted(tables, key=lambda table: table.oid):
            try:
                do(self.con, f"LOCK TABLE {table.rows} IN ACCESS EXCLUSIVE MODE")
            except Exception as exc:
                raise self._unlocked(table, exc) from exc

    def _unlocked(self, table: PgTable, exc: BaseException) -> DriverError:
        if sqlstate(exc) == NO_LOCK:
            named: list[str] = []
            with contextlib.suppress(Exception):
                self.con.connection.dbapi_connection.rollback()
                named, _hidden = sessions(self.con, self.server.own)
            who = f" by {', '.join(named)}" if named else ""
            return DriverError(
                f"The table {table.shown} of {self.server.name} is locked{who}. Nothing was changed. "
                "End that, and run the same command again."
            )
        if sqlstate(exc) == NO_RIGHT:
            return DriverError(
                f"The table {table.shown} of {self.server.name} belongs to {table.owner}, and this phase connects as "
                "another role, which may not lock it. Nothing was changed. Let env.py connect as its owner."
            )
        return DriverError(f"The table {table.shown} could not be locked: {words_of(exc)}. Nothing was changed.")

    def whole(self) -> None:
        """Look that all of it still is one transaction.

        :raises DriverError: a migration ended it, with means of its driver.
        """
        if self._number() != self.number:
            raise DriverError(
                f"A migration committed by itself, with means of its driver, so the downgrade of {self.server.name} "
                "cannot be one step. What it did until then stays: look with 'alembic current'."
            )

    def end(self, context: t.Any) -> None:
        """Look where the migrations led, and commit."""
        self.whole()
        self.finish(context)
        heads = self.stood = sorted(context.get_current_heads())
        if not self.same(heads, self.wanted):
            raise DriverError(
                f"The migrations ran, but left {self.server.name} at {spoken(heads)}, not at {spoken(self.wanted)}. "
                "Nothing was changed."
            )
        do(self.con, "SET CONSTRAINTS ALL IMMEDIATE")
        refuse_sessions(self.con, self.server)
        self.promise()
        self.server.commit(self.con)

    def finish(self, context: t.Any) -> None:
        """What is done after the migrations, in the same transaction."""

    def promise(self) -> None:
        """What has to be on disk before the commit."""

    def close(self) -> None:
        """Take back what was not committed."""
        if self.con is not None:
            self.server.drop(self.con)
