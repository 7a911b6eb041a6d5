# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A copy of the app's database with all its data, to rehearse on. Private; runs in the app's own interpreter.

The phase's own steps downgrade it and bring it back; here it is made, read and removed, and it is told what was lost.
"""

# ruff: noqa: S608  names of tables and columns are quoted by q() and ident()

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import typing as t

from ._alembic_keep import export_of, read_manifest, remove
from ._alembic_pg_tables import ask, ident, plain, spelled
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
    """Make the copy, as it is at one moment, while the app works. Returns ``copy`` (how the steps are told of it) and
    ``digests``.
    """
    if request["kind"]:
        migrations = Migrations(request)
        database = _postgresql(migrations, request)
        copy = database.copy_data(request["scratch"])
        database.server.database, database.server.settings = copy["name"], copy["settings"]
        return {"copy": copy, "digests": _digests_served(database)}
    SqliteDatabase(request["database"], request["version_table"]).copy_data(request["place"])
    return {"copy": {"name": request["place"]}, "digests": _digests_file(request["place"], request["version_table"])}


def act_digest(request: Request) -> dict[str, t.Any]:
    """Read the copy. Returns ``digests`` and, with ``lost`` in the request, ``lost``: what the downgrade of it
    destroyed, by table, told by its export.
    """
    if request["kind"]:
        digests = _digests_served(_postgresql(Migrations(request), request))
        name = request["database"]
    else:
        digests = _digests_file(request["copy"]["name"], request["version_table"])
        name = os.path.realpath(request["copy"]["name"])
    reply: dict[str, t.Any] = {"digests": digests}
    if request["lost"]:
        shown = plain if request["kind"] else str
        reply["lost"] = {}
        with contextlib.closing(sqlite3.connect(export_of(request))) as con:
            for table, entry in read_manifest(request, name)["tables"].items():
                found = loss(con, table, entry)
                if found:
                    found["values"] = {shown(column): number for column, number in found["values"].items()}
                    reply["lost"][shown(table)] = found
    return reply


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
        con.text_factory = bytes  # also of text that is no UTF-8
        for name, table in shapes.items():
            columns = sorted(table.columns)
            listed = ", ".join(f"typeof({q(c)}), {q(c)}" for c in columns) or "1"
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


def loss(export: sqlite3.Connection, name: str, entry: dict[str, t.Any]) -> dict[str, t.Any]:
    """What was lost of a table, told by what was kept of it; empty where nothing was.

    Returns ``dropped`` (whether all of it is gone), ``rows`` (before), ``values`` ({lost column: those not NULL}),
    ``changed``, ``deleted`` and ``added`` (rows whose other columns the migrations changed, rows that they deleted, and
    added).
    """

    def count(what: str) -> int:
        return int(export.execute(f"SELECT {what}").fetchone()[0])

    renamed = entry.get("renamed") or {}
    found = {"dropped": entry["kind"] == "table", "rows": entry["rows"], "changed": 0, "deleted": 0, "added": 0}
    if found["dropped"]:
        if renamed:
            return {}
        return dict(found, values={c: count(f"count({q(c)}) FROM {q(name)}") for c in entry["columns"]})
    gone = [c for c in entry["dropped"] if c not in renamed]
    values = {c: count(f"count({q(c)}) FROM {q(name)}") for c in gone}
    if entry["kind"] == "whole":
        # without a key no row is known again, so it is told how many do not look like any before
        found["changed"] = _unlike(export, name, entry) if "exported" in entry else 0
    else:
        key = " AND ".join(f"a.{q(k)} = b.{q(k)}" for k in entry["key"])
        if "changed" in entry:
            stays = f"EXISTS (SELECT 1 FROM {q(name + ':after')} b WHERE {key})"
            found["changed"] = count(f"count(*) FROM {q(name + ':changed')} a WHERE {stays}")
            found["deleted"] = entry["changed"] - found["changed"]
        found["added"] = entry.get("added", 0)
    lost = bool(gone) or any(found[what] for what in ("changed", "deleted", "added"))
    return dict(found, values=values) if lost else {}


def _unlike(export: sqlite3.Connection, name: str, entry: dict[str, t.Any]) -> int:
    """How many rows of the table before are not there afterwards, by the columns that it has in common."""
    listed = ", ".join(f"quote({q(c)})" for c in entry["common"]) or "1"
    sides = [f"SELECT {listed}, count(*) AS n FROM {q(table)} GROUP BY {listed}" for table in (name, name + ":after")]
    return int(export.execute(f"SELECT coalesce(sum(n), 0) FROM ({sides[0]} EXCEPT {sides[1]})").fetchone()[0])
