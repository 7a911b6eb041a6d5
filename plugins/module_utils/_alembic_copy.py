# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A copy of the app's database with all its data, to rehearse on. Private; runs in the app's own interpreter.

The phase's own steps downgrade it and bring it back; here it is made, read and removed.
"""

# ruff: noqa: S608  names of tables and columns are quoted by q() and ident()

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import typing as t

from ._alembic_keep import remove
from ._alembic_pg_tables import ask, ident, spelled
from ._alembic_postgresql import Look, PostgresqlDatabase
from ._alembic_run import Migrations, Request
from ._alembic_served import same_served
from ._alembic_sqlite import SUFFIXES, SqliteDatabase, q, tables

# Of each table its columns, sorted, how many rows it has, and a digest of them, whatever their order.
Digests = t.Dict[str, t.Dict[str, t.Any]]
# md5 is of 128 bits; two numbers of 60 can be added up by PostgreSQL
DIGEST = """
SELECT count(*), coalesce(sum(CAST(CAST('x' || substr(m, 1, 15) AS bit(60)) AS bigint)), 0),
  coalesce(sum(CAST(CAST('x' || substr(m, 16, 15) AS bit(60)) AS bigint)), 0)
FROM (SELECT md5(CAST(ROW({columns}) AS text)) AS m FROM {rows}) digested
"""


def act_copy(request: Request) -> dict[str, t.Any]:
    """Make the copy, as it is at one moment, while the app works. Returns ``copy`` (how the steps are told of it),
    ``digests`` and ``url`` (how the app is told of it, with the password).
    """
    if request["kind"]:
        migrations = Migrations(request)
        database = _postgresql(migrations, request)
        copy = database.copy_data(request["scratch"])
        database.server.database, database.server.settings = copy["name"], copy["settings"]
        return {"copy": copy, "digests": _digests_served(database), "url": database.server.url(copy["name"])}
    SqliteDatabase(request["database"], request["version_table"]).copy_data(request["place"])
    digests = _digests_file(request["place"], request["version_table"])
    return {"copy": {"name": request["place"]}, "digests": digests, "url": f"sqlite:///{request['place']}"}


def act_digest(request: Request) -> dict[str, t.Any]:
    """Read the copy. Returns ``digests``."""
    if request["kind"]:
        return {"digests": _digests_served(_postgresql(Migrations(request), request))}
    return {"digests": _digests_file(request["copy"]["name"], request["version_table"])}


def act_heads(request: Request) -> dict[str, t.Any]:
    """Say where the migrations of the code that is gone back to lead. Returns ``heads`` ({revision: its file}) and
    ``fit`` (whether that is where the downgraded database stands).
    """
    migrations = Migrations(request)
    heads = {head: os.path.relpath(migrations.graph.find(head).path) for head in migrations.scripts.get_heads()}
    return {"heads": heads, "fit": migrations.graph.same(sorted(heads), request["to"])}


def act_discard(request: Request) -> dict[str, t.Any]:
    """Remove the copy, also one of a rehearsal that was killed."""
    if request["kind"]:
        _postgresql(Migrations(request), request).discard(request["scratch"])
    else:
        for end in SUFFIXES:
            remove(request["place"] + end)
    return {}


def _postgresql(migrations: Migrations, request: Request) -> PostgresqlDatabase:
    return t.cast(PostgresqlDatabase, same_served(migrations, request))


def _digests_file(path: str, version_table: str) -> Digests:
    found: Digests = {}
    with contextlib.closing(sqlite3.connect(path)) as con:
        shapes = tables(con, "main", version_table)
        con.text_factory = bytearray  # also of text that is no UTF-8; a blob is of bytes
        for name, table in shapes.items():
            columns = sorted(table.columns)
            listed = ", ".join(map(q, columns)) or "1"
            rows = total = 0
            for row in con.execute(f"SELECT {listed} FROM main.{q(name)}"):
                rows += 1
                total += int.from_bytes(hashlib.sha256(repr(row).encode()).digest()[:16], "big")
            found[name] = {"columns": columns, "rows": rows, "digest": f"{total:x}"}
    return found


class Digested(Look):
    """Reads all tables."""

    digests: Digests

    def see(self, con: t.Any) -> None:
        self.digests = {}
        with spelled(con):
            for table in self.tables.values():
                columns = sorted(name for name, _kind in table.columns.values())
                listed = ", ".join(ident(c) for c in columns) or "1"
                rows, *sums = ask(con, DIGEST.format(columns=listed, rows=table.rows))[0]
                digest = "{:x}/{:x}".format(*map(int, sums))
                self.digests[table.shown] = {"columns": columns, "rows": int(rows), "digest": digest}


def _digests_served(database: PostgresqlDatabase) -> Digests:
    return t.cast(Digests, database.look(Digested(database.server, database.until)).digests)
