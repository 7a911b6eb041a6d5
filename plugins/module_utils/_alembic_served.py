# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of the phase on a database that a server has. Private; runs in the app's own interpreter."""

from __future__ import annotations

import os
import time
import typing as t

from ._alembic_keep import (
    export_of,
    exported,
    finish,
    loss_kept,
    loss_of,
    read_manifest,
    write_empty,
    write_manifest,
)
from ._alembic_mysql import MysqlDatabase
from ._alembic_pg_tables import plain
from ._alembic_postgresql import PostgresqlDatabase
from ._alembic_run import Migrations, Request
from ._alembic_sqlite import DriverError, SqliteDatabase, spoken

Served = t.Union[PostgresqlDatabase, MysqlDatabase]


def database_of(migrations: Migrations, request: Request, asked: str) -> SqliteDatabase | Served:
    """The database that ``env.py`` connects to.

    :arg asked: what ``Migrations.ask`` returned.
    """
    if not migrations.redirect.server.kind:
        return SqliteDatabase(asked, migrations.version_table)
    migrations.redirect.server.alone = not request["schema_compatible"]
    kind = MysqlDatabase if migrations.redirect.server.kind == "mysql" else PostgresqlDatabase
    return kind(migrations, request["until"] - time.time())


def same_served(migrations: Migrations, request: Request) -> Served:
    """The database of preflight; in a rehearsal the copy of it, if there is one already.

    :raises DriverError: ``env.py`` connects to another one now.
    """
    asked = migrations.ask(os.path.join(request["scratch"], "empty.sqlite"))
    database = database_of(migrations, request, asked)
    if isinstance(database, SqliteDatabase) or database.path != request["database"]:
        raise DriverError(
            f"The app's env.py now connects to {asked}; in preflight it was {request['database']}. Nothing was "
            "changed. Look at the environment of this phase."
        )
    copy = request.get("copy") or {}
    database.server.database = copy.get("name", "")
    database.server.settings = copy.get("settings", {})
    return database


def expect_files(migrations: Migrations, request: Request) -> None:
    if not migrations.graph.known(request["from"]):
        raise DriverError(
            f"The migration file of {spoken(request['from'])} is not in {os.getcwd()} any more, so the database "
            f"{request['database']} cannot be migrated. Bring the code back first, and run the same command again."
        )


def downgrade_served(request: Request) -> dict[str, t.Any]:
    """Downgrade the live database, keeping what that destroys. Returns ``changed``, ``exported`` ({table: rows}) and
    ``loss``, the statement.
    """
    migrations = Migrations(request)
    database = same_served(migrations, request)
    if migrations.graph.same(database.state()[0], request["to"]):
        return {"changed": False, "loss": loss_kept(request, database.path)}
    expect_files(migrations, request)
    finish(request)
    if isinstance(database, MysqlDatabase):
        write_empty(export_of(request))
    kept = database.downgrade(
        request,
        request["scratch"],
        export_of(request),
        lambda noted: write_manifest(request, database.path, **noted),
    )
    if kept is None:
        return {"changed": False, "loss": {}}
    return {"changed": True, "exported": _named(kept), "loss": loss_of(request, kept)}


def recover_served(request: Request) -> dict[str, t.Any]:
    """Undo ``downgrade_served``, however far it came. Returns ``changed``, ``exported`` and ``left`` (sentences)."""
    migrations = Migrations(request)
    database = same_served(migrations, request)
    if migrations.graph.same(database.state()[0], request["from"]):
        return {"changed": False, "left": finish(request)}
    kept = read_manifest(request, database.path)
    expect_files(migrations, request)
    left = database.recover(request, request["scratch"], export_of(request), kept)
    more = finish(request)
    if left is None:
        return {"changed": False, "left": more}
    return {"changed": True, "exported": _named(kept["tables"]), "left": more or left}


def _named(kept: dict[str, t.Any]) -> dict[str, int]:
    """Rows that were kept, by table, under the names that the app knows."""
    return {plain(name): number for name, number in exported(kept).items()}
