# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of the phase on a SQLite database, or a copy of it. Private; runs in the app's own interpreter."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import typing as t

from ._alembic_export import write_export
from ._alembic_graph import Place
from ._alembic_keep import (
    export_of,
    exported,
    finish,
    loss_kept,
    loss_of,
    note_left,
    read_manifest,
    refuse_unforeseen,
    remove,
    write_empty,
    write_manifest,
)
from ._alembic_put import put_back
from ._alembic_run import Migrations, Request
from ._alembic_served import expect_files
from ._alembic_sqlite import DriverError, SqliteDatabase, q, revisions, spoken, tables


def downgrade_file(request: Request) -> dict[str, t.Any]:
    """Downgrade the database ``request["database"]``, keeping what that destroys. Returns ``changed``, ``exported``
    ({table: rows}) and ``loss``, the statement.

    A rehearsal names a copy there, and as ``live`` the app's own, where ``env.py`` has to connect.
    """
    database = SqliteDatabase(request["database"], request["version_table"])
    database.clear()
    current, _journal = database.state()
    if current == request["to"]:
        return {"changed": False, "loss": loss_kept(request, database.real)}
    _expect(request, database, current, "from")
    database.refuse_sessions()
    migrations = Migrations(request)
    expect_files(migrations, request)
    export = export_of(request)
    finish(request)
    with _exchange(request, database, "from") as con:
        migrations.downgrade(database.copy, request["from"], request["to"])
        _same_database(migrations, request)
        write_empty(export)
        con.execute("ATTACH ? AS copy", (database.copy,))
        con.execute("ATTACH ? AS export", (export,))
        before = tables(con, "main", database.version_table)
        kept = write_export(con, before, tables(con, "copy", database.version_table))
        con.execute("DETACH copy")
        con.execute("DETACH export")
        loss = loss_of(request, kept)
        refuse_unforeseen(request, loss)
        database.finish_copy(request["journal"], request["to"])
        write_manifest(request, database.real, tables=kept, print=database.print_of(database.copy))
    return {"changed": True, "exported": exported(kept), "loss": loss}


def recover_file(request: Request) -> dict[str, t.Any]:
    """Undo ``downgrade_file``, however far it came. Returns ``changed``, ``exported`` and ``left`` (sentences)."""
    database = SqliteDatabase(request["database"], request["version_table"])
    database.clear()
    current, journal = database.state()
    if current == request["from"]:
        database.set_journal(request["journal"])
        return {"changed": False, "left": finish(request)}
    _expect(request, database, current, "to")
    kept = read_manifest(request, database.real)
    database.refuse_sessions()
    untouched = database.untouched(kept["print"])
    migrations = Migrations(request)
    expect_files(migrations, request)
    with _exchange(dict(request, journal=journal), database, "to") as con:
        migrations.back(database.copy, request["to"], request["from"])
        _same_database(migrations, request)
        con.execute("ATTACH ? AS copy", (database.copy,))
        con.execute("ATTACH ? AS export", (export_of(request),))
        seeds = not untouched and _seeds(request, database, migrations, con, kept["tables"])
        left = put_back(con, kept["tables"], tables(con, "copy", database.version_table), untouched, seeds)
        if seeds:
            con.execute("DETACH seeds")
        con.execute("DETACH copy")
        con.execute("DETACH export")
        database.finish_copy(journal, request["from"])
        note_left(request, kept, left)
    return {"changed": True, "exported": exported(kept["tables"]), "left": finish(request)}


def _seeds(
    request: Request, database: SqliteDatabase, migrations: Migrations, con: sqlite3.Connection, kept: dict[str, t.Any]
) -> bool:
    """Attach what the upgrade makes without any row, so that it can be told from what it makes of rows; False where
    that is not of interest, or not possible.
    """
    back = [name for name, entry in kept.items() if entry["kind"] == "table" and not entry.get("renamed")]
    if not any(con.execute(f"SELECT EXISTS (SELECT 1 FROM copy.{q(name)})").fetchone()[0] for name in back):  # noqa: S608
        return False
    path = os.path.join(request["scratch"], "seeds.sqlite")
    remove(path)
    database.copy_schema(con, path)
    try:
        migrations.upgrade(path, request["to"], request["from"])
    except DriverError:
        return False
    con.execute("ATTACH ? AS seeds", (path,))
    return True


@contextlib.contextmanager
def _exchange(request: Request, database: SqliteDatabase, stands: str) -> t.Iterator[sqlite3.Connection]:
    """Lock the live database and make the copy; when all went well, put the copy in its place."""
    with database.locked(request["journal"]) as con:
        try:
            _expect(request, database, revisions(con, "main", database.version_table), stands)
            database.make_copy(con)
            yield con
            database.swap()
        finally:
            database.clear()


def _expect(request: Request, database: SqliteDatabase, current: Place, stands: str) -> None:
    if current != request[stands]:
        raise DriverError(
            f"The database {database.path} stands at {spoken(current)}, neither at {spoken(request['from'])} nor at "
            f"{spoken(request['to'])}: somebody migrated it since preflight. Nothing was changed in it."
        )


def _same_database(migrations: Migrations, request: Request) -> None:
    live = str(request.get("live") or request["database"])
    other = [path for path in migrations.redirect.asked if os.path.realpath(path) != os.path.realpath(live)]
    if other:
        raise DriverError(
            f"The app's env.py now connects to {other[0]}; in preflight it was {live}. Nothing was changed. "
            "Look at the environment of this phase."
        )
