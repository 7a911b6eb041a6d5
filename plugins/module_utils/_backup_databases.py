# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole databases in a backup, for those who want them. Private to this collection.

A dump is made while the app runs, so it misses what is written afterwards. That is why nothing restores it by itself:
what a downgrade destroys is exported by ``alembic_downgrade``, after the stop.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shlex
import sqlite3
import time
import typing as t
import urllib.parse
from pathlib import Path

from ._command import PhaseError
from ._libpq import Postgresql, by_address, by_variable
from ._phase import Context
from ._restore_point import make_private, sha256_file, sync_directory

DATABASES_ARGUMENT: dict[str, t.Any] = {
    "type": "list",
    "elements": "dict",
    "default": [],
    "options": {"sqlite": {"type": "path"}, "postgresql": {"type": "str"}, "postgresql_env": {"type": "str"}},
    "mutually_exclusive": [("sqlite", "postgresql", "postgresql_env")],
    "required_one_of": [("sqlite", "postgresql", "postgresql_env")],
}
FOLDER = "databases"
_PAGES = 1024  # copied between two looks at the clock


@dataclasses.dataclass(frozen=True)
class Dump:
    """One database that is to be dumped.

    ``name``: which one, in words. ``size``: bytes, at most. ``sqlite``: the file, or ``postgresql``: the connection.
    """

    name: str
    size: int
    sqlite: str = ""
    postgresql: Postgresql | None = None


def survey(ctx: Context) -> list[Dump]:
    """The databases of ``databases``, each of which answers and can be dumped.

    :raises PhaseError: one cannot; all faults are named.
    """
    dumps, faults = [], []
    for item in ctx.params.get("databases") or []:
        try:
            dumps.append(_sqlite(item["sqlite"]) if item.get("sqlite") else _postgresql(ctx, item))
        except PhaseError as exc:
            faults.append(str(exc))
    if faults:
        raise PhaseError("Not every database can be dumped: {}".format(" ".join(faults)), faults=faults)
    return dumps


def make(ctx: Context, dumps: list[Dump], store: Path) -> list[dict[str, t.Any]]:
    """Dump each database into ``store``, verify the dump, and return the records for the manifest."""
    records = []
    folder = store / FOLDER
    if dumps:
        make_private(folder)
    for number, dump in enumerate(dumps, 1):
        begun = time.monotonic()
        path = folder / (f"{number}.sqlite" if dump.sqlite else f"{number}.pgdump")
        part = folder / f".{path.name}.part"
        os.close(os.open(str(part), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        if dump.postgresql:
            dump.postgresql.run("pg_dump", "--format=custom", f"--file={part}")
            dump.postgresql.run("pg_restore", "--list", str(part))
            restore = ["pg_restore", "--clean", "--if-exists", "--single-transaction"]
            restore += [f"--dbname={dump.postgresql.conninfo}", str(path)]
        else:
            _copy(ctx, dump.sqlite, part)
            restore = ["cp", str(path), dump.sqlite]
        digest = sha256_file(part)
        with part.open("rb") as stream:
            os.fsync(stream.fileno())
        os.replace(str(part), str(path))
        sync_directory(folder)
        records.append(
            {
                "name": dump.name,
                "kept": f"{FOLDER}/{path.name}",
                "size": path.stat().st_size,
                "sha256": digest,
                "seconds": round(time.monotonic() - begun, 1),
                "restore": shlex.join(restore)
                if dump.postgresql
                else f"{shlex.join(['rm', '-f', dump.sqlite + '-wal', dump.sqlite + '-shm'])} && {shlex.join(restore)}",
            }
        )
    return records


def _sqlite(path: str) -> Dump:
    name = f"SQLite database {path}"
    if not os.path.isfile(path):
        raise PhaseError(f"There is no {name}. Correct backup_databases.")
    try:
        with contextlib.closing(_read(path)) as con:
            con.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as exc:
        raise PhaseError(
            f"{name} cannot be read: {exc}. Correct backup_databases, or read it as another user (become_user)."
        ) from exc
    size = sum(os.path.getsize(one) for one in (path, path + "-wal") if os.path.exists(one))
    return Dump(name, size, sqlite=os.path.abspath(path))


def _read(path: str, options: str = "mode=ro") -> sqlite3.Connection:
    return sqlite3.connect(f"file:{urllib.parse.quote(os.path.abspath(path))}?{options}", uri=True, timeout=30.0)


def _copy(ctx: Context, path: str, part: Path) -> None:
    """Copy a SQLite database as it is at one moment, while others may write to it, and check the copy."""

    def in_time(*_args: t.Any) -> None:
        if ctx.commands.remaining() == 0:
            raise PhaseError(f"The dump of {path} did not finish in time. Give the phase a longer timeout.")

    try:
        with contextlib.closing(_read(path)) as con, contextlib.closing(sqlite3.connect(str(part))) as copy:
            # With a read transaction of its own the copy does not start anew at every write of the app.
            con.execute("BEGIN")
            con.execute("SELECT count(*) FROM sqlite_master").fetchone()
            con.backup(copy, pages=_PAGES, progress=in_time)
        with contextlib.closing(_read(str(part), "immutable=1")) as copy:
            said = copy.execute("PRAGMA integrity_check(1)").fetchone()[0]
    except sqlite3.Error as exc:
        raise PhaseError(f"The dump of {path} failed: {exc}. Mend that, then run the same again.") from exc
    if said != "ok":
        raise PhaseError(
            f"The dump of {path} is damaged ({said}), and so may be the database. Look with: "
            f"{shlex.join(['sqlite3', path, 'PRAGMA integrity_check'])}"
        )


def _postgresql(ctx: Context, item: dict[str, t.Any]) -> Dump:
    given, variable = item.get("postgresql"), item.get("postgresql_env")
    database = by_address(ctx.commands, given) if given else by_variable(ctx.commands, str(variable))
    size = int(database.query("SELECT pg_database_size(current_database())")[0][0] or 0)
    server = database.major()
    client = re.search(r"(\d+)", database.run("pg_dump", "--version").out)
    if client and int(client.group(1)) < server:
        raise PhaseError(
            f"{database.name} is of version {server}, and pg_dump on this host is of version {client.group(1)}, which "
            f"cannot dump it. Install it (postgresql-client-{server}), or put the right one on PATH, in a file of "
            "rollback_environment_files."
        )
    database.run("pg_restore", "--version")
    database.run("pg_dump", "--schema-only", "--file=/dev/null")  # names what this user may not read
    return Dump(database.name, size, postgresql=database)
