# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A PostgreSQL database with the schema of the app's and no data, to try migrations on. Private.

Made by ``pg_dump`` and ``psql``, because only they write down every kind of object. Trying the migrations in a
transaction on the live database, taken back afterwards, would lock the app out of its tables while it runs.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import time
import typing as t

from ._alembic_server import Server

# What libpq calls the parameters that a driver was given. They go by the environment: arguments are seen by everybody.
PARAMETERS = {
    "host": "PGHOST",
    "port": "PGPORT",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "passfile": "PGPASSFILE",
    "service": "PGSERVICE",
    "options": "PGOPTIONS",
    "sslmode": "PGSSLMODE",
    "ssl": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
}


class NoScratch(Exception):
    """Why there is no scratch database, as the end of a sentence."""


class Scratch:
    """The tools of PostgreSQL on the server that the app connects to."""

    def __init__(self, server: Server, folder: str, until: float) -> None:
        self.folder = folder
        self.until = until
        self.live = str(server.parameters["database"])
        subject = " ".join([os.uname().nodename, os.getcwd(), server.name])
        # The same name each time, so that one that was left behind is removed by the next attempt.
        self.name = "changeops_try_" + hashlib.sha256(subject.encode()).hexdigest()[:12]
        self.env = dict(os.environ, PGAPPNAME="changeops.rollback", LC_MESSAGES="C", LANGUAGE="C")
        for key, variable in PARAMETERS.items():
            value = server.parameters.get(key)
            if isinstance(value, (list, tuple)):
                value = ",".join(str(part) for part in value)
            if isinstance(value, (str, int)) and not isinstance(value, bool):
                self.env[variable] = str(value)

    def run(self, argv: list[str], given: str = "") -> None:
        """Run one of the tools.

        :arg given: SQL that it reads.
        :raises NoScratch: it is missing, or failed.
        """
        try:
            done = subprocess.run(
                argv,
                env=self.env,
                input=given,
                capture_output=True,
                text=True,
                check=False,
                timeout=max(1.0, self.until - time.monotonic()),
            )
        except FileNotFoundError as exc:
            raise NoScratch(f"{argv[0]} is not installed on this host") from exc
        except subprocess.TimeoutExpired as exc:
            raise NoScratch(f"{argv[0]} did not come to an end") from exc
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip() and "NOTICE:" not in line]
            raise NoScratch(f"{argv[0]} says: {' '.join(lines[0].split())[:300] if lines else done.returncode}")

    def sql(self, database: str, *statements: str) -> None:
        """Run statements, each on its own."""
        argv = ["psql", "-X", "-q", "-w", "-v", "ON_ERROR_STOP=1", "-d", _dsn(database)]
        self.run(argv, "".join(statement + ";\n" for statement in statements))

    @contextlib.contextmanager
    def database(self, like: dict[str, str], more: t.Sequence[str] = ()) -> t.Iterator[str]:
        """Make the database, and remove it afterwards.

        :arg like: encoding, collation and ctype of the live database.
        :arg more: statements to run in it.
        :raises NoScratch: it cannot be made.
        """
        dump = os.path.join(self.folder, "schema.sql")
        drop = f"DROP DATABASE IF EXISTS {self.name}"
        make = f"CREATE DATABASE {self.name} TEMPLATE template0 ENCODING {literal(like['encoding'])}"
        make += f" LC_COLLATE {literal(like['collate'])} LC_CTYPE {literal(like['ctype'])}"
        wait = f"--lock-wait-timeout={max(1000, int((self.until - time.monotonic()) * 200))}"
        bare = ["--schema-only", "--no-owner", "--no-privileges", "--no-publications", "--no-subscriptions"]
        self.sql(self.live, drop, make)
        try:
            os.close(os.open(dump, os.O_CREAT | os.O_WRONLY, 0o600))
            self.run(["pg_dump", "-w", wait, *bare, "-f", dump, "-d", _dsn(self.live)])
            self.run(["psql", "-X", "-q", "-w", "-v", "ON_ERROR_STOP=1", "-d", _dsn(self.name), "-f", dump])
            self.sql(self.name, *more)
            yield self.name
        finally:
            with contextlib.suppress(NoScratch):
                self.sql(self.live, drop + " WITH (FORCE)")


def _dsn(database: str) -> str:
    return "dbname='" + database.replace("\\", "\\\\").replace("'", "\\'") + "'"


def literal(text: str) -> str:
    """A text in SQL."""
    return "'" + text.replace("'", "''") + "'"
