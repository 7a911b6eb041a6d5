# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PostgreSQL by its own command line: psql, pg_dump. Private to this collection.

Hosts need no driver for this. Where the database is, and the password, reach the commands as libpq's environment
variables: an argument would stand in the process list.
https://www.postgresql.org/docs/current/libpq-envars.html
"""

from __future__ import annotations

import csv
import io
import re
import typing as t
import urllib.parse

from ._command import Commands, Completed, PhaseError

CONNECT_TIMEOUT = "10"  # seconds, where PGCONNECT_TIMEOUT and the URL do not say otherwise
_NULL = r"\N"  # as COPY writes it
_NOT_CONNECTED = 2  # psql's exit code
_URL = re.compile(r"(?:postgresql|postgres)(?:\+\w+)?://([^/?#]*)(?:/([^?#/@]*))?(?:\?([^#]*))?")
_SERVICE = re.compile(r"[A-Za-z0-9_][\w.\-]*")

# Parameters of a URL that libpq also takes as variables. Others are for a driver (of SQLAlchemy, say).
_VARIABLES = {
    "application_name": "PGAPPNAME",
    "channel_binding": "PGCHANNELBINDING",
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "dbname": "PGDATABASE",
    "gssencmode": "PGGSSENCMODE",
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "krbsrvname": "PGKRBSRVNAME",
    "options": "PGOPTIONS",
    "passfile": "PGPASSFILE",
    "password": "PGPASSWORD",
    "port": "PGPORT",
    "require_auth": "PGREQUIREAUTH",
    "requirepeer": "PGREQUIREPEER",
    "service": "PGSERVICE",
    "ssl": "PGSSLMODE",  # asyncpg's word for it
    "sslcert": "PGSSLCERT",
    "sslcrl": "PGSSLCRL",
    "sslkey": "PGSSLKEY",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
    "user": "PGUSER",
}


class Postgresql:
    """One database, as psql and pg_dump reach it.

    ``name``: which one it is, in words and without a secret.
    """

    def __init__(self, commands: Commands, variables: t.Mapping[str, str | None], name: str) -> None:
        self.name = name
        self._commands = commands
        self._variables = {"PGCLIENTENCODING": "UTF8", **variables}
        if "PGCONNECT_TIMEOUT" not in commands.environ:
            self._variables.setdefault("PGCONNECT_TIMEOUT", CONNECT_TIMEOUT)

    @property
    def conninfo(self) -> str:
        """Its address for ``--dbname``, without a password: what a person types."""
        names = {variable: name for name, variable in _VARIABLES.items() if name not in ("password", "ssl")}
        pairs = [(names[name], value) for name, value in self._variables.items() if value and name in names]
        return " ".join(
            "{}='{}'".format(name, value.replace("\\", r"\\").replace("'", r"\'"))
            for name, value in pairs
            if name != "connect_timeout"
        )

    def run(self, *argv: str, check: bool = True, timeout: float | None = None) -> Completed:
        """Run a PostgreSQL command; ``--no-password`` is added, so that none waits for somebody to type one.

        :arg check: raise PhaseError when it fails.
        :raises PhaseError: the command is missing, or did not end in time.
        """
        program = argv[0]
        try:
            done = self._commands.run([*argv, "--no-password"], env=self._variables, check=False, timeout=timeout)
        except PhaseError as exc:
            if isinstance(exc.__cause__, FileNotFoundError):
                raise PhaseError(
                    f"{program} is not on PATH, and {self.name} is asked by it. Install PostgreSQL's client "
                    "(apt-get install postgresql-client, dnf install postgresql)."
                ) from exc
            raise
        if check and done.rc == _NOT_CONNECTED and program == "psql":
            raise PhaseError(
                f"There is no connection to {self.name}: {done.said}. Start it, or correct its address; a password "
                "comes from rollback_environment_files (PGPASSWORD or PGPASSFILE, or the variable with the whole URL)."
            )
        if check and done.rc:
            raise PhaseError(f"{program} failed on {self.name} (exit code {done.rc}): {done.said}.")
        return done

    def query(self, sql: str, timeout: float | None = None) -> list[list[str | None]]:
        """The rows that one SQL query gives, as text; NULL is None. It cannot write: its transaction is read only.

        :arg timeout: seconds, within the step's own deadline.
        :raises PhaseError: the database cannot be reached, or refuses the query.
        """
        # With a space before it the text is SQL whatever it says: psql takes `\! command` as its own otherwise.
        # BEGIN READ ONLY rather than PGOPTIONS, because connection poolers refuse those.
        done = self.run(
            "psql",
            "--no-psqlrc",
            "--quiet",
            "--csv",
            "--tuples-only",
            f"--pset=null={_NULL}",
            "--set=ON_ERROR_STOP=1",
            "--command=BEGIN READ ONLY",
            f"--command= {sql}",
            timeout=timeout,
        )
        # an empty line is a row with one empty text
        return [[None if cell == _NULL else cell for cell in row or [""]] for row in csv.reader(io.StringIO(done.out))]

    def major(self) -> int:
        """The server's major version."""
        return int(self.query("SELECT current_setting('server_version_num')")[0][0] or 0) // 10000


def by_address(commands: Commands, address: str) -> Postgresql:
    """The database at ``address``: a URL without a password, or the name of a libpq service (pg_service.conf).

    :raises PhaseError: it is neither, or holds a password.
    """
    if "://" not in address:
        if not _SERVICE.fullmatch(address):
            raise PhaseError(
                f"'{address}' is no PostgreSQL database. Write a URL (postgresql://user@host/database) or the name of "
                "a service in pg_service.conf."
            )
        return Postgresql(commands, {"PGSERVICE": address}, f"PostgreSQL service {address}")
    database, variables = _by_url(commands, address, "the address of a database")
    if "PGPASSWORD" in variables:
        raise PhaseError(
            f"The URL of {database.name} holds a password, which would be logged. Take it out, and put PGPASSWORD or "
            "PGPASSFILE into a file of rollback_environment_files; or name the variable there that holds the whole URL."
        )
    return database


def by_variable(commands: Commands, variable: str) -> Postgresql:
    """The database whose whole URL, password and all, is the value of an environment variable.

    :raises PhaseError: it is not set, or its value is no URL. The message does not hold the value.
    """
    url = commands.environ.get(variable)
    if not url:
        raise PhaseError(
            f"The variable {variable} is not set. Name the file that sets it in rollback_environment_files, or correct "
            "the variable's name."
        )
    return _by_url(commands, url, f"the variable {variable}")[0]


def _by_url(commands: Commands, url: str, where: str) -> tuple[Postgresql, dict[str, str]]:
    variables = url_variables(url)
    if variables is None:
        raise PhaseError(
            f"The URL in {where} cannot be read. Write postgresql://user@host:port/database, with special characters "
            "in it percent-encoded (%40 for @, %2F for /)."
        )
    name = "PostgreSQL database {} on {}".format(
        variables.get("PGDATABASE") or variables.get("PGUSER") or "(default)", variables.get("PGHOST") or "this host"
    )
    # a service or an address from elsewhere would win over what the URL says
    cleared = {"PGSERVICE": None, **({"PGHOSTADDR": None} if "PGHOST" in variables else {})}
    return Postgresql(commands, {**cleared, **variables}, name), variables


def url_variables(url: str) -> dict[str, str] | None:
    """libpq's variables for a URL, as libpq or SQLAlchemy writes it (``postgresql+asyncpg://``); None if it is none."""
    match = _URL.fullmatch(url.strip())
    if not match:
        return None
    place, database, query = match.groups()
    who, _at, where = place.rpartition("@")
    user, _colon, password = who.partition(":")
    found: dict[str, str] = {}
    hosts, ports = _hosts(where.split(",")) or ("", None)
    if ports is None or "@" in who:
        return None
    given = [("user", user), ("password", password), ("host", hosts), ("port", ports), ("dbname", database or "")]
    for name, value in given:
        if value:
            found[_VARIABLES[name]] = urllib.parse.unquote(value)
    parameters = urllib.parse.parse_qs(query or "")
    for name, values in parameters.items():
        if name == "host":  # SQLAlchemy's way to write several: ?host=a:5432&host=b:5432
            hosts, ports = _hosts(values) or ("", "")
            found.update({"PGHOST": hosts, **({"PGPORT": ports} if ports else {})})
        elif name in _VARIABLES:
            found[_VARIABLES[name]] = values[-1]
    return found


def _hosts(items: list[str]) -> tuple[str, str] | None:
    """Hosts and ports of ``host[:port]`` items, each joined by commas as libpq has them; None if one is none."""
    hosts, ports = [], []
    for item in items:
        match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|/[^:]*|[^:]*)(?::(\d*))?", item)
        if not match:
            return None
        hosts.append(match.group(1).strip("[]"))
        ports.append(match.group(2) or "")
    return ",".join(hosts), ",".join(ports) if any(ports) else ""
