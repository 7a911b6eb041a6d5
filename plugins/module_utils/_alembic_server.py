# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done to each connection that ``env.py`` makes to a database server. Private; runs in the app's interpreter.

A file can be exchanged for a copy of it, a server's database cannot. So the app's own driver connects where the app
connects, and is held here: it may read only, or what it writes is noted instead of done, or nothing that it commits
takes effect before we say so.
"""

from __future__ import annotations

import contextlib
import re
import time
import typing as t
from urllib.parse import quote, urlencode

from ._alembic_sqlite import DriverError

OURS = "changeops.rollback"  # how our sessions call themselves
# Statements that change nothing, and may be sent while the others are only noted.
READS = re.compile(
    r"\s*(SELECT|SHOW|DESCRIBE|DESC|EXPLAIN|PRAGMA|WITH|VALUES|SAVEPOINT|RELEASE|SET\s+@)\b", re.IGNORECASE
)
ENDS = re.compile(r"\s*(COMMIT|ROLLBACK|ABORT|END|PREPARE\s+TRANSACTION)\b(?!\s+TO\b)", re.IGNORECASE)
CONCURRENTLY = re.compile(
    r"(?i)^(\s*(?:CREATE\s+(?:UNIQUE\s+)?INDEX|DROP\s+INDEX|REINDEX\s+\w+|REFRESH\s+MATERIALIZED\s+VIEW))\s+CONCURRENTLY\b"
)


class Server:
    """The server that the app's ``env.py`` connects to.

    ``kind`` and ``name``: the dialect, and the database as ``shop on db1:5432``. ``parameters``: what the driver was
    given (the password too: never show them). ``database``: another one on the same server, to be led to.
    ``readonly``: nothing can be written. ``noting``: what would be written is noted instead of done. ``held``: nothing
    is committed but by us. ``own``: the numbers of our own sessions. ``alone``: nobody else may have it open meanwhile.
    """

    def __init__(self) -> None:
        self.kind = ""
        self.name = ""
        self.parameters: dict[str, t.Any] = {}
        self.driver = ""
        self.database = ""
        self.settings: dict[str, str] = {}
        self.readonly = True
        self.noting = False
        self.held = False
        self.own: set[int] = set()
        self.alone = True
        self._commit: dict[int, t.Callable[[t.Any], None]] = {}

    def listen(self) -> None:
        """Let SQLAlchemy call us."""
        import sqlalchemy as sa
        from sqlalchemy.engine import Engine

        sa.event.listen(Engine, "do_execute", self._execute)
        sa.event.listen(Engine, "before_cursor_execute", self._rewrite, retval=True)

    def connect(self, dialect: t.Any, cargs: t.Sequence[t.Any], cparams: dict[str, t.Any]) -> t.Any:
        """Connect where the app connects.

        :raises DriverError: it is a second connection while the first one's work is not committed.
        """
        if self.held:
            raise DriverError(
                "A migration opens a connection of its own to the database. What it does there would stay when the "
                "rest is taken back, so nothing was changed. Let it use op.get_bind()."
            )
        params = dict(cparams)
        key = "dbname" if "dbname" in params else "db" if "db" in params else "database"
        where = params.get("host") or params.get("unix_socket") or "this host"
        port = f":{params['port']}" if params.get("port") else ""
        self.kind = "mysql" if dialect.name in ("mysql", "mariadb") else str(dialect.name)
        self.name = f"{params.get(key) or params.get('user') or ''} on {where}{port}"
        self.parameters = dict(params, database=params.get(key) or params.get("user"))
        self.driver = f"{dialect.name}+{dialect.driver}"
        if self.database:
            params[key] = self.database
        con = dialect.connect(*cargs, **params)
        self._commit.setdefault(id(dialect), dialect.do_commit)
        dialect.do_commit = self._hold(self._commit[id(dialect)])
        cursor = con.cursor()
        if self.kind == "postgresql":
            self._begin_postgresql(cursor)
        else:
            self._begin_mysql(cursor)
        cursor.close()
        con.commit()
        return con

    def _begin_postgresql(self, cursor: t.Any) -> None:
        cursor.execute("SELECT pg_backend_pid()")
        self.own.add(cursor.fetchone()[0])
        cursor.execute("SET default_transaction_read_only = {}".format("on" if self.readonly else "off"))
        cursor.execute(f"SET application_name = '{OURS}'")
        cursor.execute("SET idle_in_transaction_session_timeout = 0")
        for name, value in self.settings.items():
            cursor.execute(f"SET {name} = {value}")

    def _begin_mysql(self, cursor: t.Any) -> None:
        cursor.execute("SELECT connection_id()")
        self.own.add(cursor.fetchone()[0])
        cursor.execute("SET SESSION TRANSACTION READ {}".format("ONLY" if self.readonly else "WRITE"))
        for name, value in self.settings.items():
            cursor.execute(f"SET SESSION {name} = {value}")

    def url(self, database: str) -> str:
        """The URL of another database on the same server, as SQLAlchemy has it. It holds the password."""
        more = {name: str(value) for name, value in self.parameters.items() if type(value) in (str, int)}
        user, password = more.pop("user", ""), more.pop("password", "")
        for name in ("database", "dbname", "db"):
            more.pop(name, None)
        where = ""
        if "/" not in more.get("host", "") and "," not in more.get("host", ""):  # else a socket or several hosts
            host, port = more.pop("host", ""), more.pop("port", "")
            where = (f"[{host}]" if ":" in host else host) + (f":{port}" if port and host else "")
        who = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
        query = f"?{urlencode(more)}" if more else ""
        return f"{self.driver}://{who}{'@' if who else ''}{where}/{quote(database, safe='')}{query}"

    def _hold(self, commit: t.Callable[[t.Any], None]) -> t.Callable[[t.Any], None]:
        def do_commit(connection: t.Any) -> None:
            if not self.held:
                commit(connection)

        return do_commit

    def owns(self, connection: t.Any) -> bool:
        """Whether a connection is one that we made."""
        import sqlalchemy as sa

        number = "pg_backend_pid()" if connection.dialect.name == "postgresql" else "connection_id()"
        return connection.execute(sa.text(f"SELECT {number}")).scalar() in self.own

    def commit(self, connection: t.Any) -> None:
        """Commit what was held."""
        try:
            self._commit[id(connection.dialect)](connection.connection.dbapi_connection)
        except Exception as exc:
            raise DriverError(
                f"The database {self.name} did not say whether it committed: {words_of(exc)}. Run the same command "
                "again; it looks where the database stands."
            ) from exc
        self.held = False

    def drop(self, connection: t.Any) -> None:
        """Take back what was held, if it still is."""
        if self.held:
            with contextlib.suppress(Exception):  # the connection may be gone already
                connection.connection.dbapi_connection.rollback()
            self.held = False

    def _execute(self, cursor: t.Any, statement: str, _parameters: t.Any, _context: t.Any) -> bool | None:
        if not self.noting or READS.match(statement):
            return None
        # One row, as Alembic expects it of the statement that moves the revision.
        cursor.execute("SELECT 1")
        return True

    def _rewrite(
        self, _con: t.Any, _cursor: t.Any, statement: str, parameters: t.Any, *_more: t.Any
    ) -> tuple[str, t.Any]:
        if self.held and ENDS.match(statement):
            raise DriverError(
                f"A migration ends the transaction by itself ({statement.strip()[:40]}), so a failure after that could "
                "not be taken back. Nothing was changed."
            )
        if self.held or self.noting:
            # Nobody else is there who would have to wait.
            statement = CONCURRENTLY.sub(r"\1", statement)
        return statement, parameters


class ServedDatabase:
    """One database that a server has.

    :arg migrations: the app's Alembic, whose ``env.py`` was asked already for where it connects.
    :arg seconds: how long what is done with it may take.
    """

    def __init__(self, migrations: t.Any, seconds: float) -> None:
        self.migrations = migrations
        self.server: Server = migrations.redirect.server
        self.path = self.server.name
        self.until = time.monotonic() + seconds


def sqlstate(exc: BaseException) -> str:
    """The five letters of the SQL standard for an error of any driver; empty where there are none."""
    cause = getattr(exc, "orig", None) or exc
    for source in (cause, getattr(cause, "__cause__", None)):
        for name in ("sqlstate", "pgcode"):
            if isinstance(getattr(source, name, None), str):
                return str(getattr(source, name))
    return ""


def words_of(exc: BaseException) -> str:
    """What a database said, in one line, without the SQL and its values."""
    cause = getattr(exc, "orig", None) or exc
    args = [a for a in cause.args if isinstance(a, str)]
    return " ".join((args[-1] if args else str(cause)).split())[:400]
