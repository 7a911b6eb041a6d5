# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A PostgreSQL database with the schema of the app's and no data, to try migrations on; or with its data. Private.

Made by ``pg_dump`` and ``psql``, because only they write down every kind of object. Trying the migrations in a
transaction on the live database, taken back afterwards, would lock the app out of its tables while it runs.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import tempfile
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
        # The same names each time, so that one that was left behind is removed by the next attempt.
        number = hashlib.sha256(subject.encode()).hexdigest()[:12]
        self.name = f"changeops_try_{number}"
        self.copy = f"changeops_copy_{number}"
        self.env = dict(os.environ, PGAPPNAME="changeops.rollback", LC_MESSAGES="C", LANGUAGE="C")
        for key, variable in PARAMETERS.items():
            value = server.parameters.get(key)
            if isinstance(value, (list, tuple)):
                value = ",".join(str(part) for part in value)
            if isinstance(value, (str, int)) and not isinstance(value, bool):
                self.env[variable] = str(value)

    def run(self, argv: list[str], given: str | t.IO[bytes] = "") -> None:
        """Run one of the tools.

        :arg given: SQL that it reads, or where that comes from.
        :raises NoScratch: it is missing, or failed.
        """
        try:
            done = subprocess.run(
                argv,
                env=self.env,
                input=given.encode() if isinstance(given, str) else None,
                stdin=None if isinstance(given, str) else given,
                capture_output=True,
                check=False,
                timeout=max(1.0, self.until - time.monotonic()),
            )
        except FileNotFoundError as exc:
            raise NoScratch(f"{argv[0]} is not installed on this host") from exc
        except subprocess.TimeoutExpired as exc:
            raise NoScratch(f"{argv[0]} did not come to an end") from exc
        if done.returncode:
            raise NoScratch(_said(argv, done.returncode, done.stderr))

    def sql(self, database: str, *statements: str) -> None:
        """Run statements, each on its own."""
        argv = ["psql", "-X", "-q", "-w", "-v", "ON_ERROR_STOP=1", "-d", _dsn(database)]
        self.run(argv, "".join(statement + ";\n" for statement in statements))

    @contextlib.contextmanager
    def database(self, like: dict[str, str], more: t.Sequence[str] = ()) -> t.Iterator[str]:
        """Make the database without data, and remove it afterwards.

        :arg like: encoding, collation and ctype of the live database.
        :arg more: statements to run in it.
        :raises NoScratch: it cannot be made.
        """
        try:
            self.make(self.name, like, "--schema-only")
            self.sql(self.name, *more)
            yield self.name
        finally:
            self.remove(self.name)

    def make(self, name: str, like: dict[str, str], *options: str) -> None:
        """Make a database, and let ``pg_dump`` with ``options`` fill it.

        :raises NoScratch: it cannot be made.
        """
        make = f"CREATE DATABASE {name} TEMPLATE template0 ENCODING {literal(like['encoding'])}"
        make += f" LC_COLLATE {literal(like['collate'])} LC_CTYPE {literal(like['ctype'])}"
        wait = f"--lock-wait-timeout={max(1000, int((self.until - time.monotonic()) * 200))}"
        bare = ["--no-owner", "--no-privileges", "--no-publications", "--no-subscriptions"]
        dump = ["pg_dump", "-w", wait, *bare, *options, "-d", _dsn(self.live)]
        self.sql(self.live, f"DROP DATABASE IF EXISTS {name}", make)
        with tempfile.TemporaryFile() as said:
            try:
                process = subprocess.Popen(dump, env=self.env, stdout=subprocess.PIPE, stderr=said)
            except FileNotFoundError as exc:
                raise NoScratch(f"{dump[0]} is not installed on this host") from exc
            with process:
                stream = t.cast("t.IO[bytes]", process.stdout)
                try:
                    self.run(["psql", "-X", "-q", "-w", "-v", "ON_ERROR_STOP=1", "-d", _dsn(name)], stream)
                finally:
                    stream.close()  # it ends where nobody reads any more
            if process.returncode:
                said.seek(0)
                raise NoScratch(_said(dump, process.returncode, said.read()))

    def remove(self, name: str) -> None:
        """Remove what was made, if it can be removed."""
        with contextlib.suppress(NoScratch):
            self.sql(self.live, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def _said(argv: list[str], code: int, stderr: bytes) -> str:
    lines = stderr.decode("utf-8", "replace").splitlines()
    told = [line for line in lines if line.strip() and "NOTICE:" not in line]
    return f"{argv[0]} says: {' '.join(told[0].split())[:300] if told else code}"


def granted(why: NoScratch, user: str) -> str:
    """What to do so that a scratch database can be made, as a sentence."""
    if "permission denied to create database" in str(why):
        role = '"' + user.replace('"', '""') + '"'
        return f"Let an administrator of the server run: ALTER ROLE {role} CREATEDB;"
    if "not installed" in str(why):
        return "Install psql and pg_dump on this host."
    if "No space left" in str(why):
        return "Make room there, and run the same command again."
    return "See that psql and pg_dump work on this host, as the database user of the app."


def _dsn(database: str) -> str:
    return "dbname='" + database.replace("\\", "\\\\").replace("'", "\\'") + "'"


def literal(text: str) -> str:
    """A text in SQL."""
    return "'" + text.replace("'", "''") + "'"
