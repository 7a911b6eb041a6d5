# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a downgrade needs to know about SQLite. Private; runs in the app's own interpreter, without SQLAlchemy.

The live file is never migrated. A copy beside it is, and then takes its place in one rename, while a lock keeps
everybody else out: whatever dies, and whenever, there is the old database or the new one.
"""

# ruff: noqa: S608  names of tables and columns are quoted by q(), and values are never written into SQL

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shutil
import sqlite3
import typing as t
from urllib.parse import parse_qs, quote, unquote

SUFFIXES = ("", "-wal", "-shm", "-journal")


PART = 500  # pages that are copied at a time
COPIES = 4  # how often a copy is begun, at most


class DriverError(Exception):
    """What went wrong, in a sentence."""


class Restless(Exception):
    """A copy begins again and again, because others write all the time."""


class Copied:
    """What ``sqlite3`` tells of a copy after each part.

    :arg limit: how often the database may be copied from its beginning; 0: there is no limit.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.pages = 0

    def __call__(self, _status: int, _remaining: int, total: int) -> None:
        self.pages += PART
        if self.limit and self.pages > self.limit * (total + PART):
            raise Restless


@dataclasses.dataclass
class Table:
    """A table: its columns with declared types, in order; its primary key (empty where there is none that can be used).

    Generated columns are left out: nobody can write to them, and they come back by themselves.
    ``numbered``: the database gives the key, and gives none twice.
    """

    columns: dict[str, str]
    key: list[str]
    numbered: bool = False


def spoken(place: t.Sequence[str]) -> str:
    """The revisions that a database stands at, in a sentence: ``base``, ``8ae1f0c2``, ``1c, 2d and 3e``."""
    return " and ".join([", ".join(place[:-1]), place[-1]] if len(place) > 1 else place) or "base"


def q(*names: str) -> str:
    """Quote identifiers and join them: ``q("copy", "t")`` is ``"copy"."t"``."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


def tables(con: sqlite3.Connection, schema: str, without: str) -> dict[str, Table]:
    """The tables of a database, except SQLite's own, those behind virtual tables, and the one called ``without``."""
    rows = con.execute(f"SELECT name, sql FROM {q(schema)}.sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
    virtual = [name for name, sql in rows if (sql or "").upper().startswith("CREATE VIRTUAL")]
    found = {}
    for name, sql in rows:
        behind = name not in virtual and any(name.startswith(v + "_") for v in virtual)
        if name.startswith("sqlite_") or name == without or behind:
            continue
        info = con.execute(f"PRAGMA {q(schema)}.table_xinfo({q(name)})").fetchall()
        columns = {row[1]: row[2].upper() for row in info if row[6] == 0}
        key = [row[1] for row in sorted((r for r in info if r[5]), key=lambda r: r[5])]
        numbered = bool(re.search(r"\bAUTOINCREMENT\b", sql or "", re.IGNORECASE))
        found[name] = Table(columns, key if all(k in columns for k in key) else [], numbered)
    return found


def revisions(con: sqlite3.Connection, schema: str, version_table: str) -> list[str]:
    """The revisions that a database stands at, sorted; none of them is Alembic's base."""
    there = con.execute(
        f"SELECT 1 FROM {q(schema)}.sqlite_master WHERE type = 'table' AND name = ?", (version_table,)
    ).fetchone()
    if not there:
        return []
    return [row[0] for row in con.execute(f"SELECT version_num FROM {q(schema, version_table)} ORDER BY 1")]


def located(name: t.Any, uri: bool) -> str | None:
    """The absolute path of the file that ``sqlite3.connect(name, uri=uri)`` opens; None for one in memory."""
    text = os.fsdecode(name) if name else ""
    if uri and text.startswith("file:"):
        text, _sep, query = text[5:].partition("#")[0].partition("?")
        if parse_qs(query).get("mode") == ["memory"]:
            return None
        if text.startswith("//"):
            text = "/" + text[2:].partition("/")[2]
        text = unquote(text)
    return None if text in ("", ":memory:") else os.path.abspath(text)


class SqliteDatabase:
    """One SQLite database: what the downgrade does with it. Another dialect is another class with these methods."""

    def __init__(self, path: str, version_table: str) -> None:
        self.path = path
        self.real = os.path.realpath(path)
        self.version_table = version_table
        folder, name = os.path.split(self.real)
        self.folder = folder
        self.copy = os.path.join(folder, f".{name}.changeops")

    def read(self) -> sqlite3.Connection:
        """A connection that cannot write, for use while the service runs.

        Reading a WAL database that nobody has open would leave files beside it; ``immutable`` avoids that.
        """
        if not os.path.isfile(self.real):
            raise DriverError(f"There is no database {self.path}. Is the environment of the app set (its URL, say)?")
        clean = self._is_wal() and not os.path.exists(self.real + "-wal")
        return sqlite3.connect(f"file:{quote(self.real)}?mode=ro{'&immutable=1' if clean else ''}", uri=True)

    def _is_wal(self) -> bool:
        with open(self.real, "rb") as stream:
            return stream.read(20)[18:20] == b"\x02\x02"

    def state(self) -> tuple[list[str], str]:
        """The revisions it stands at, and its journal mode (``wal`` or ``delete``)."""
        with contextlib.closing(self.read()) as con:
            found = revisions(con, "main", self.version_table)
        return found, "wal" if self._is_wal() else "delete"

    def size(self) -> int:
        """Its size in bytes, with what waits in its write-ahead log."""
        return sum(os.path.getsize(self.real + end) for end in ("", "-wal") if os.path.exists(self.real + end))

    def sessions(self) -> list[str]:
        """Who else has it open, as ``process 12 (python app.py)``. Processes that we may not look at are left out."""
        files = set()
        for end in SUFFIXES:
            with contextlib.suppress(OSError):
                found = os.stat(self.real + end)
                files.add((found.st_dev, found.st_ino))
        named = []
        for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
            if pid != os.getpid() and self._has_open(pid, files):
                with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as stream:
                    words = stream.read(400).replace(b"\0", b" ").decode("utf-8", "replace").strip()
                    named.append(f"process {pid} ({words})")
        return named

    @staticmethod
    def _has_open(pid: int, files: set[tuple[int, int]]) -> bool:
        try:
            descriptors = os.listdir(f"/proc/{pid}/fd")
        except OSError:
            return False
        for descriptor in descriptors:
            with contextlib.suppress(OSError):
                found = os.stat(f"/proc/{pid}/fd/{descriptor}")
                if (found.st_dev, found.st_ino) in files:
                    return True
        return False

    def refuse_sessions(self) -> None:
        """Refuse to go on while somebody else has the database open.

        :raises DriverError: names them.
        """
        others = self.sessions()
        if others:
            raise DriverError(
                f"The database {self.path} is in use by {', '.join(others)}. Nothing was changed in it. "
                "Stop that, and run the same command again."
            )

    def clear(self) -> None:
        """Remove what an interrupted attempt left beside the database."""
        for end in SUFFIXES:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.copy + end)

    @contextlib.contextmanager
    def locked(self, journal: str) -> t.Iterator[sqlite3.Connection]:
        """Keep everybody else out of the database; afterwards its journal mode is ``journal`` again.

        Closing any descriptor of the file would drop the lock (POSIX), so nothing here opens it a second time.
        """
        con = sqlite3.connect(f"file:{quote(self.real)}?mode=rw", uri=True, isolation_level=None, timeout=2)
        try:
            try:
                # A write-ahead log beside the file would outlive the rename.
                con.execute("PRAGMA main.journal_mode = DELETE").fetchone()
                con.execute("PRAGMA main.locking_mode = EXCLUSIVE").fetchone()
                con.execute("BEGIN EXCLUSIVE")
                con.execute("COMMIT")
            except sqlite3.OperationalError as exc:
                self.refuse_sessions()
                raise DriverError(
                    f"The database {self.path} could not be locked ({exc}). Nothing was changed in it. "
                    "Somebody else uses it: stop that, and run the same command again."
                ) from exc
            con.execute("PRAGMA foreign_keys = OFF")
            yield con
        finally:
            con.close()
            self.set_journal(journal)

    def set_journal(self, journal: str) -> None:
        """Give the live file its journal mode back, if it has another one."""
        if journal == "wal" and not self._is_wal():
            with contextlib.closing(sqlite3.connect(self.real)) as con:
                con.execute("PRAGMA journal_mode = WAL").fetchone()

    def make_copy(self, con: sqlite3.Connection) -> None:
        """Copy the locked file beside itself, with owner, mode and extended attributes.

        :arg con: the connection that holds the lock. It stays in use afterwards, with the copy attached as ``copy``.
        """
        found = os.stat(self.real)
        source = os.open(self.real, os.O_RDONLY)
        # Left open until this process ends: see ``locked``.
        with open(source, "rb", closefd=False) as stream, open(self.copy, "xb") as target:
            os.fchmod(target.fileno(), 0o600)
            shutil.copyfileobj(stream, target, 1 << 20)
            if (found.st_uid, found.st_gid) != (os.geteuid(), os.getegid()):
                try:
                    os.fchown(target.fileno(), found.st_uid, found.st_gid)
                except PermissionError as exc:
                    raise DriverError(
                        f"{self.path} belongs to user {found.st_uid}, group {found.st_gid}, and its copy cannot be "
                        "given to them. Run this phase as that user (become_user)."
                    ) from exc
        shutil.copystat(self.real, self.copy)

    def finish_copy(self, journal: str, wanted: list[str]) -> None:
        """Check the migrated copy, and make it last.

        :raises DriverError: it is damaged, stands at another revision, or the app's ``env.py`` still has it open.
        """
        with contextlib.closing(sqlite3.connect(self.copy, isolation_level=None, timeout=1)) as con:
            try:
                con.execute("PRAGMA journal_mode = DELETE").fetchone()
            except sqlite3.OperationalError as exc:
                raise DriverError(
                    f"The app's env.py kept its connection open after the migrations ({exc}). Let it use NullPool."
                ) from exc
            stands = revisions(con, "main", self.version_table)
            if stands != wanted:
                raise DriverError(
                    f"The migrations ran, but left the copy of {self.path} at {spoken(stands)}, not at "
                    f"{spoken(wanted)}."
                )
            verdict = con.execute("PRAGMA quick_check(1)").fetchone()[0]
            if verdict != "ok":
                raise DriverError(f"The migrated copy of {self.path} is damaged: {verdict}.")
            if journal == "wal":
                con.execute("PRAGMA journal_mode = WAL").fetchone()
        fd = os.open(self.copy, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)

    def swap(self) -> None:
        """Put the copy in the place of the live file, in one step that lasts through a power cut."""
        self.refuse_sessions()
        os.replace(self.copy, self.real)
        fd = os.open(self.folder, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)

    @staticmethod
    def print_of(path: str) -> list[int]:
        """What changes with every write to the file at ``path``: it tells whether anybody wrote since."""
        found = os.stat(path)
        return [found.st_ino, found.st_size, found.st_mtime_ns]

    def untouched(self, noted: list[int]) -> bool:
        """Whether nobody wrote to the database since ``print_of`` was noted."""
        log = self.real + "-wal"
        return self.print_of(self.real) == noted and not (os.path.exists(log) and os.path.getsize(log))

    def copy_data(self, target: str) -> None:
        """Make a copy at ``target`` as the database is at one moment, while others read and write it.

        It is drawn in small parts, which a write makes begin again; where that has no end, in one, for which writers
        have to wait unless they use a write-ahead log.
        """
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        for attempt in range(COPIES):
            noted = self.print_of(self.real)
            alone = not os.path.exists(self.real + "-wal")
            with contextlib.closing(self.read()) as source, contextlib.closing(sqlite3.connect(target)) as copy:
                copied = Copied(10 if attempt < COPIES - 1 else 0)
                try:
                    source.backup(copy, pages=PART if copied.limit else -1, progress=copied, sleep=0.005)
                except Restless:
                    continue
            # Of a file that is read as one that nobody writes to, it has to be seen that nobody did.
            if not (alone and self._is_wal()) or self.untouched(noted):
                return
        raise DriverError(f"The database {self.path} was written to all the time, so it could not be copied.")

    def copy_schema(self, source: sqlite3.Connection, target: str) -> None:
        """Make a database at ``target`` with the schema of this one, its revision, and no data."""
        items = source.execute(
            "SELECT type, name, sql FROM main.sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE"
            " '\\' ORDER BY sql NOT LIKE 'CREATE VIRTUAL%', CASE type WHEN 'table' THEN 0 WHEN 'view' THEN 1"
            " WHEN 'index' THEN 2 ELSE 3 END, rowid"
        ).fetchall()
        with contextlib.closing(sqlite3.connect(target, isolation_level=None)) as con:
            con.execute("PRAGMA encoding = '{}'".format(source.execute("PRAGMA encoding").fetchone()[0]))
            con.execute("BEGIN")
            for _kind, name, sql in items:
                # The tables behind a virtual table came with it.
                if not con.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)).fetchone():
                    con.execute(sql)
            for revision in revisions(source, "main", self.version_table):
                con.execute(f"INSERT INTO {q(self.version_table)} (version_num) VALUES (?)", (revision,))
            con.execute("COMMIT")
