# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a PostgreSQL database holds, and images of its tables in SQLite. Private; runs in the app's own interpreter.

PostgreSQL knows tables and columns by number, so what a migration renames is not taken for lost. Values travel as the
text that PostgreSQL itself writes and reads, which is exact for every type.
"""

# ruff: noqa: S608  names of tables and columns are quoted by q() and ident(), and values are bound

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import re
import sqlite3
import typing as t

from ._alembic_same import NOTHING, REST
from ._alembic_sqlite import Table, q

CHUNK = 5000  # rows that travel at a time
CURSORS = itertools.count(1)

TABLES = r"""
SELECT CAST(c.oid AS bigint), n.nspname, c.relname, CAST(c.relkind AS text), n.nspname = current_schema(),
  pg_has_role(c.relowner, 'USAGE'), pg_get_userbyid(c.relowner), w.written, w.counted, w.files,
  w.deleting, w.deleted
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
  SELECT CAST(sum(pg_stat_get_xact_tuples_inserted(l.id) + pg_stat_get_xact_tuples_updated(l.id)
    + pg_stat_get_xact_tuples_deleted(l.id)) AS bigint) AS written,
    CAST(sum(pg_stat_get_tuples_inserted(l.id) + pg_stat_get_tuples_updated(l.id)
    + pg_stat_get_tuples_deleted(l.id)) AS bigint) AS counted,
    string_agg(CAST(pg_relation_filenode(l.id) AS text), ' ' ORDER BY l.id) AS files,
    CAST(sum(pg_stat_get_xact_tuples_deleted(l.id)) AS bigint) AS deleting,
    CAST(sum(pg_stat_get_tuples_deleted(l.id)) AS bigint) AS deleted
  FROM (SELECT c.oid AS id WHERE c.relkind = 'r'
    UNION ALL SELECT CAST(p.relid AS oid) FROM pg_partition_tree(c.oid) p WHERE c.relkind = 'p' AND p.isleaf) l) w
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
ORDER BY 2, 3
"""
COLUMNS = """
SELECT CAST(a.attrelid AS bigint), CAST(a.attnum AS int), a.attname, format_type(a.atttypid, a.atttypmod),
  CAST(a.attgenerated AS text)
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p') AND NOT c.relispartition
ORDER BY 1, 2
"""
KEYS = """
SELECT CAST(i.indrelid AS bigint), a.attname
FROM pg_index i CROSS JOIN LATERAL unnest(CAST(i.indkey AS smallint[])) WITH ORDINALITY k(number, place)
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
WHERE i.indisprimary AND k.place <= i.indnkeyatts ORDER BY 1, k.place
"""
# The sequence that gives a key; none for a key of more columns, or a number that the app makes up itself.
GIVEN = """
SELECT a.attname, CAST(pg_get_serial_sequence(CAST(CAST(i.indrelid AS regclass) AS text), a.attname) AS text),
  a.atttypid = CAST('uuid' AS regtype)
FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
WHERE i.indisprimary AND i.indnkeyatts = 1 AND i.indrelid = CAST(:oid AS oid)
"""
SEQUENCES = "SELECT schemaname, sequencename, last_value FROM pg_sequences WHERE last_value IS NOT NULL"
# How values are written, whatever the app or the server has set. Without row security, or with an error.
SPELLING = {
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "row_security": "off",
}


@dataclasses.dataclass
class PgTable:
    """A table: its columns by number, as (name, type), without generated ones; its primary key.

    ``written``: rows that this transaction wrote. ``counted``: rows that were ever written, as the server counts
    them. ``deleting`` and ``deleted``: those of them that were. ``files``: changes when a table is written anew as a
    whole.
    """

    oid: int
    schema: str
    name: str
    partitioned: bool
    shown: str
    owned: bool
    owner: str
    files: str
    written: int = 0
    counted: int = 0
    deleting: int = 0
    deleted: int = 0
    columns: dict[int, tuple[str, str]] = dataclasses.field(default_factory=dict)
    key: list[str] = dataclasses.field(default_factory=list)

    @property
    def sql(self) -> str:
        """Its quoted name."""
        return f"{ident(self.schema)}.{ident(self.name)}"

    @property
    def rows(self) -> str:
        """Its own rows, without those of tables that inherit from it."""
        return self.sql if self.partitioned else f"ONLY {self.sql}"

    @property
    def numbers(self) -> list[int]:
        """The numbers of the columns of its key."""
        by_name = {name: number for number, (name, _kind) in self.columns.items()}
        return [by_name[name] for name in self.key]


def ident(name: str) -> str:
    """Quote an identifier for ``sqlalchemy.text``, where a colon begins a parameter."""
    return '"' + name.replace('"', '""').replace("\\", "\\\\").replace(":", "\\:") + '"'


def lite(name: str) -> str:
    """A name for SQLite, which does not tell A from a, keeps ``sqlite_`` for itself, and has our ``t:changed``."""
    quoted = re.sub(r"[A-Z:^]", lambda found: "^" + found.group(), name)
    return "^" + quoted if quoted.startswith("sqlite_") else quoted


def plain(text: str) -> str:
    """Names made by ``lite`` as they were, anywhere in a text."""
    return re.sub(r"\^(.)", r"\1", text)


def ask(con: t.Any, sql: str, **values: t.Any) -> list[t.Any]:
    """The rows of a query."""
    import sqlalchemy as sa

    return list(con.execute(sa.text(sql), values).fetchall())


def do(con: t.Any, sql: str, **values: t.Any) -> None:
    """Run a statement."""
    import sqlalchemy as sa

    con.execute(sa.text(sql), values)


def read_tables(con: t.Any, version: tuple[str | None, str]) -> dict[int, PgTable]:
    """All tables but Alembic's ``version`` (schema or None, name), partitions as part of their whole."""
    found = {}
    for row in ask(con, TABLES):
        oid, schema, name, kind, here, owned, owner, written, counted, files, deleting, deleted = row
        if name == version[1] and (schema == version[0] or (version[0] is None and here)):
            continue
        shown = name if here else f"{schema}.{name}"
        numbers = [int(number or 0) for number in (written, counted, deleting, deleted)]
        table = found[oid] = PgTable(oid, schema, name, kind == "p", shown, owned, owner, files or "")
        table.written, table.counted, table.deleting, table.deleted = numbers
    for oid, number, name, kind, generated in ask(con, COLUMNS):
        if oid in found and generated == "":
            found[oid].columns[number] = (name, kind)
    for oid, name in ask(con, KEYS):
        if oid in found:
            found[oid].key.append(name)
    for table in found.values():
        if not {name for name, _kind in table.columns.values()}.issuperset(table.key):
            table.key = []
    return found


def numbered(con: t.Any, table: PgTable) -> bool:
    """Whether no key of a table is given twice: a sequence that is past all of them gives it, or chance does."""
    for name, sequence, random in ask(con, GIVEN, oid=table.oid):
        if random or not sequence:
            return bool(random)
        last = "pg_sequence_last_value(CAST(:sequence AS regclass))"
        past = ask(con, f"SELECT max({ident(name)}) <= {last} FROM {table.sql}", sequence=sequence)[0][0]
        return bool(past)
    return False


def read_sequences(con: t.Any) -> dict[tuple[str, str], int]:
    """The last number of each sequence that was ever used."""
    return {(schema, name): last for schema, name, last in ask(con, SEQUENCES)}


Wanted = t.Dict[int, t.Set[int]]


def affected(before: dict[int, PgTable], after: dict[int, PgTable], everything: bool = False) -> Wanted:
    """What a migration touched, by number of table and columns: what was dropped or changed its type; all columns where
    rows were written.

    :arg everything: the server does not count writes, so any table may have been written to.
    """
    found: Wanted = {}
    for oid, table in before.items():
        left = after.get(oid)
        if left is None or everything or left.written != table.written or left.files != table.files:
            found[oid] = set(table.columns)
            continue
        gone = {n for n, column in table.columns.items() if left.columns.get(n, ("", ""))[1] != column[1]}
        matched = bool(table.key) and left.numbers == table.numbers and not gone.intersection(table.numbers)
        if gone:
            found[oid] = gone if matched else set(table.columns)
    return found


@contextlib.contextmanager
def spelled(con: t.Any) -> t.Iterator[None]:
    """Let the server write and read values in one way; afterwards the app's settings are back."""
    was = {name: ask(con, "SELECT current_setting(:name)", name=name)[0][0] for name in SPELLING}
    for settings in (SPELLING, was):
        for name, value in settings.items():
            do(con, "SELECT set_config(:name, :value, true)", name=name, value=value)
        if settings is SPELLING:
            yield


def draw(
    con: t.Any,
    lines: sqlite3.Connection,
    schema: str,
    name: str,
    table: PgTable,
    columns: dict[str, str],
    rest: bool = False,
) -> None:
    """Draw an image of a table into the SQLite database ``schema``, as ``name``.

    :arg columns: of each column in the image, the column of the table.
    :arg rest: with digests of all columns but the key, see ``_alembic_same``.
    """
    names = {column: shown for shown, column in columns.items()}
    unique = f", PRIMARY KEY ({', '.join(q(names[k]) for k in table.key)})" if table.key else ""
    place = f"{q(schema)}.{q(name)}"
    shown = [*columns, REST] if rest else list(columns)
    lines.execute(f"CREATE TABLE {place} ({', '.join(q(c) for c in shown)}{unique})")
    if not columns:
        return
    listed = ", ".join(f"CAST({ident(c)} AS text)" for c in columns.values())
    if rest:
        others = sorted(c for c, _kind in table.columns.values() if c not in table.key)
        digests = (f"coalesce(substr(md5(CAST({ident(c)} AS text)), 1, 8), '{NOTHING}')" for c in others)
        listed += ", " + (" || ".join(digests) or "''")
    into = f"INSERT INTO {place} VALUES ({', '.join('?' * len(shown))})"
    # A name for each: some drivers prepare statements once, and the rows of the next table have other columns.
    cursor = f"changeops_{next(CURSORS)}"
    lines.execute("BEGIN")  # or each row would be a transaction of its own
    with spelled(con):
        do(con, f"DECLARE {cursor} NO SCROLL CURSOR FOR SELECT {listed} FROM {table.rows}")
        part = ask(con, f"FETCH {CHUNK} FROM {cursor}")
        while part:
            lines.executemany(into, [tuple(row) for row in part])
            part = ask(con, f"FETCH {CHUNK} FROM {cursor}")
        do(con, f"CLOSE {cursor}")
    lines.execute("COMMIT")


def image_of(table: PgTable, columns: dict[str, str], kinds: dict[str, str]) -> Table:
    """The table as the code for SQLite knows it.

    :arg kinds: of each column of ``table``, its type.
    """
    names = {column: shown for shown, column in columns.items()}
    key = [names[k] for k in table.key] if all(k in names for k in table.key) else []
    return Table({shown: kinds[column] for shown, column in columns.items()}, key)
