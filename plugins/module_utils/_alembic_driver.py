# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done to the app's database, each in one process of the app's own interpreter. Private.

Started as ``<python> <directory> <request.json>``; the answer is written to the file that the request names, because
``env.py`` may print. The request may be to wait for another one.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import sys
import typing as t

from ._alembic_copy import act_copy, act_digest, act_discard, act_heads
from ._alembic_file import downgrade_file, recover_file
from ._alembic_foresee import forget_renamed, losses, measure
from ._alembic_graph import Place, relative
from ._alembic_keep import write_json
from ._alembic_postgresql import PostgresqlDatabase
from ._alembic_run import Migrations, Request
from ._alembic_served import database_of, downgrade_served, recover_served, same_served
from ._alembic_sqlite import DriverError, SqliteDatabase, Table, revisions, spoken, tables
from ._alembic_wait import installed, waited


def act_inspect(request: Request) -> dict[str, t.Any]:
    """Say where the database stands, and try the downgrade on a copy of its schema. The live database is only read.

    Returns ``database``, ``identity``, ``version_table``, ``current``, ``journal``, ``from`` and ``to`` (the rows of
    the version table), ``pending`` and, where it is pending, ``undone``, ``beside``, ``losses``, ``sql``, ``size`` and
    ``export_size`` (bytes), and ``installed``, what it needs of the interpreter. With ``elsewhere`` in the request the
    downgrade is not tried here, but from a preserved checkout afterwards.
    """
    migrations = Migrations(request)
    database = database_of(migrations, request, migrations.ask(os.path.join(request["scratch"], "empty.sqlite")))
    current, journal = database.state()
    graph = migrations.graph
    named = graph.resolve(request["from"])
    newer = request["from"] if named is None else named
    older = graph.resolve(request["to"], newer)
    reply = {
        "kind": migrations.redirect.server.kind,
        "database": database.path,
        # a file is known on its own host only, wherever it really lies
        "identity": "" if isinstance(database, SqliteDatabase) else database.identity(),
        "version_table": migrations.version_table,
        "current": current,
        "journal": journal,
        "from": newer,
        "to": current,
        "pending": not graph.same(current, request["to"] if older is None else older),
    }
    if not reply["pending"] or (request["elsewhere"] and older is None):
        return reply
    if older is None and any(relative(word) for word in request["to"]):
        raise DriverError(_uncounted(migrations, newer, request["to"]))
    # Where nothing can be taken back, an attempt that ended in the middle is gone on with.
    halfway = bool(request["resumed"]) and reply["kind"] == "mysql" and graph.between(newer, current) is not None
    if not graph.same(current, newer) and not halfway:
        raise DriverError(_elsewhere(migrations, database.path, current, newer, older or request["to"]))
    if request["elsewhere"]:
        return reply
    if not graph.known(newer):
        raise DriverError(
            f"The database {database.path} stands at {spoken(newer)}, but its migration file is not in {os.getcwd()}: "
            "the code was reverted before the database. Set alembic_downgrade_release to the commit that was running."
        )
    undone = None if older is None else graph.between(newer, older)
    if older is None or undone is None:
        raise DriverError(
            f"'{', '.join(request['to'])}' is no revision before {spoken(newer)} in {os.getcwd()}. "
            "Look with 'alembic history' and correct alembic_downgrade_to in the plan."
        )
    graph.refuse_irreversible(undone)
    if isinstance(database, PostgresqlDatabase):
        database.refuse_left_out(request["left_out"])
    if isinstance(database, SqliteDatabase):
        reply.update(_rehearse(request, migrations, database, current, older))
    else:
        reply.update(database.rehearse(request, current, older))
    beside = [] if any(relative(word) for word in request["to"]) else graph.beside(newer, older)
    reply.update({"from": newer if halfway else current, "undone": undone, "beside": beside})
    reply["installed"] = installed()
    return reply


def _rehearse(
    request: Request, migrations: Migrations, database: SqliteDatabase, newer: Place, older: Place
) -> dict[str, t.Any]:
    """Downgrade a copy of the schema, and upgrade it again, as recovery would.

    :raises DriverError: one of them fails, or ends elsewhere.
    """
    if not os.access(database.folder, os.W_OK):
        raise DriverError(f"{database.folder} cannot be written to by this user. Run this phase as the app's user.")
    rehearsed = os.path.join(request["scratch"], "schema.sqlite")

    def look() -> tuple[dict[str, Table], Place]:
        with contextlib.closing(sqlite3.connect(rehearsed)) as con:
            return tables(con, "main", database.version_table), revisions(con, "main", database.version_table)

    with contextlib.closing(database.read()) as live:
        database.copy_schema(live, rehearsed)
        before = tables(live, "main", database.version_table)
        sql = migrations.redirect.sql = []
        migrations.downgrade(rehearsed, newer, older)
        migrations.redirect.sql = None
        after, stands = look()
        if not migrations.graph.same(stands, older):
            raise DriverError(
                f"The downgrade to {spoken(older)} ends at {spoken(stands)}. Correct alembic_downgrade_to in the plan."
            )
        migrations.upgrade_again(rehearsed, stands, newer)
        again = look()[1]
        if again != newer:
            raise DriverError(
                f"After the downgrade an upgrade ends at {spoken(again)}, not at {spoken(newer)}, where the database "
                f"{database.path} stands: its version table was edited by hand. Mend it with: "
                f"alembic stamp --purge {' '.join(again)}"
            )
        lost = losses(before, after)
        place = request["scratch"]
        forget_renamed(live, database, place, lost, after, lambda path: migrations.downgrade(path, newer, older))
        return {
            "to": stands,
            "losses": lost,
            "export_size": measure(live, lost),
            "size": database.size(),
            "sql": sql,
        }


def _uncounted(migrations: Migrations, newer: Place, words: list[str]) -> str:
    """Say why a way like ``-2`` or ``shop@-1`` leads nowhere."""
    text = f"'{', '.join(words)}' cannot be counted from {spoken(newer)}"
    if not migrations.graph.known(newer):
        return text + (
            f", because its migration file is not in {os.getcwd()}. Write the whole revision into "
            "alembic_downgrade_to, or set alembic_downgrade_release to the commit that was running."
        )
    return text + (
        f" in {os.getcwd()}: it leads past the first revision, past a merge or down several branches, or "
        "stands beside whole revisions. "
        "Look with 'alembic history' and write whole revisions into alembic_downgrade_to."
    )


def _elsewhere(migrations: Migrations, path: str, current: Place, newer: Place, older: Place) -> str:
    """Say that the database stands neither at ``newer`` nor at ``older``, and what that means."""
    text = (
        f"The database {path} stands at {spoken(current)}; the plan expects {spoken(newer)} "
        f"(or {spoken(older)}, if it is done already). "
    )
    later = migrations.graph.between(current, newer)
    if later and set(newer) <= set(current):
        return text + (
            "A database with branches is named by all revisions that it stands at: write them all into "
            "alembic_downgrade_from, and those that are to be left into alembic_downgrade_to."
        )
    if later:
        return text + f"Later changes came on top of this one ({', '.join(later)}): roll those back first."
    if not migrations.graph.known(current):
        text += f"Its migration file is not in {os.getcwd()}. "
    return text + "Look with 'alembic history' and correct alembic_downgrade_from and alembic_downgrade_to in the plan."


def act_downgrade(request: Request) -> dict[str, t.Any]:
    """Downgrade the live database, keeping what that destroys. Returns ``changed`` and ``exported`` ({table: rows})."""
    return downgrade_served(request) if request["kind"] else downgrade_file(request)


def act_look(request: Request) -> dict[str, t.Any]:
    """Say where a database stands. Returns ``current``, ``from`` and ``to`` (whether it is there), and with
    ``identify`` in the request its ``identity``.
    """
    migrations = Migrations(request)
    served = same_served(migrations, request) if request["kind"] else None
    current = (served or SqliteDatabase(request["database"], request["version_table"])).state()[0]
    identity = served.identity() if served and request.get("identify") else ""
    stands = {place: migrations.graph.same(current, request[place]) for place in ("from", "to")}
    return {"current": current, "identity": identity, **stands}


def act_recover(request: Request) -> dict[str, t.Any]:
    """Undo ``act_downgrade``, however far it came. Returns ``changed``, ``exported`` and ``left`` (sentences)."""
    return recover_served(request) if request["kind"] else recover_file(request)


ACTIONS = {
    "inspect": act_inspect,
    "look": act_look,
    "copy": act_copy,
    "digest": act_digest,
    "discard": act_discard,
    "heads": act_heads,
    "downgrade": act_downgrade,
    "recover": act_recover,
}


def main() -> None:
    """Do what the request file asks; where that is to wait, what is asked for then."""
    request = _read(sys.argv[1])
    if request["action"] != "wait":
        _answer(request)
        return
    with waited(request) as sys.argv[1]:
        _answer(_read(sys.argv[1]))


def _read(path: str) -> Request:
    with open(path, encoding="utf-8") as stream:
        return t.cast("t.Dict[str, t.Any]", json.load(stream))


def _answer(request: Request) -> None:
    # Where 'python -m alembic' would find the app's modules, but after everything that is installed.
    sys.path.append(os.getcwd())
    try:
        reply = ACTIONS[request["action"]](request)
    except DriverError as exc:
        reply = {"error": str(exc)}
    except sqlite3.Error as exc:
        reply = {"error": f"SQLite says: {exc}. The database was left as it was."}
    except OSError as exc:
        reply = {"error": f"{exc.filename or 'The database'}: {exc.strerror or exc}. The database was left as it was."}
    write_json(request["reply"], reply)
