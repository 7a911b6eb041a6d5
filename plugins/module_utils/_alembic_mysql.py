# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The downgrade of a MySQL or MariaDB database. Private; runs in the app's own interpreter, on its own driver.

Their DDL commits at once, so nothing can be exported and destroyed in one step, and nothing is taken back. A downgrade
runs only where the plan accepts what it loses. What that is, is read from its statements, which are written down
instead of run; a statement that cannot be read so is refused.
"""

from __future__ import annotations

import re
import time
import typing as t

from ._alembic_export import Loss
from ._alembic_server import OURS, ServedDatabase, Server
from ._alembic_sqlite import DriverError, spoken

NAME = r"(?:`(?:[^`]|``)+`|[\w$]+)"
TABLE = rf"(?:{NAME}\s*\.\s*)?({NAME})"
DROP_TABLE = re.compile(rf"DROP\s+TABLE\s+(?:IF\s+EXISTS\s+)?(?P<names>{TABLE}(?:\s*,\s*{TABLE})*)", re.IGNORECASE)
ALTER = re.compile(
    rf"ALTER\s+(?:IGNORE\s+)?TABLE\s+(?:IF\s+EXISTS\s+)?{TABLE}\s+(?P<clauses>.*)", re.IGNORECASE | re.DOTALL
)
WRITES = re.compile(rf"(?:UPDATE|DELETE\s+FROM|TRUNCATE(?:\s+TABLE)?|REPLACE\s+INTO)\s+{TABLE}", re.IGNORECASE)
HARMLESS = re.compile(
    r"(CREATE|INSERT\s+INTO|RENAME\s+TABLE|SET|SELECT|DROP\s+(INDEX|VIEW|TRIGGER|PROCEDURE|FUNCTION|EVENT))\b",
    re.IGNORECASE,
)
HARMLESS_CLAUSE = re.compile(
    r"(ADD|RENAME|COMMENT|ENGINE|AUTO_INCREMENT|ALTER\s+(INDEX|CONSTRAINT|CHECK)"
    r"|ALTER\s+(COLUMN\s+)?\S+\s+(SET|DROP)\s+DEFAULT|DROP\s+(INDEX|KEY|FOREIGN\s+KEY|CONSTRAINT|PRIMARY\s+KEY|CHECK))\b",
    re.IGNORECASE,
)
COLUMN_CLAUSE = re.compile(rf"(?:DROP|MODIFY|CHANGE)\s+(?:COLUMN\s+)?(?:IF\s+EXISTS\s+)?({NAME})", re.IGNORECASE)
SESSIONS = """
SELECT id, user, host FROM information_schema.processlist
WHERE db = DATABASE() AND user NOT IN ('system user', 'event_scheduler') ORDER BY 1 LIMIT 20
"""

# MariaDB has no server_uuid before 10.10, and a machine may be a copy of another: the table's time tells these apart.
IDENTITY = """
SHOW VARIABLES WHERE Variable_name IN ('server_uuid', 'server_uid', 'hostname', 'port', 'datadir', 'server_id')
"""
MADE = """
SELECT DATABASE(), create_time FROM information_schema.tables
WHERE table_schema = DATABASE() AND table_name = :name AND create_time IS NOT NULL
"""


def _bare(name: str) -> str:
    return name[1:-1].replace("``", "`") if name.startswith("`") else name


def _clauses(text: str) -> list[str]:
    """The parts of an ALTER TABLE, split at the commas that are in no parentheses and no quotes."""
    parts, depth, quote = [""], 0, ""
    for sign in text.strip().rstrip(";"):
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "'\"`":
            quote = sign
        depth += (sign == "(") - (sign == ")") if not quote else 0
        if sign == "," and not quote and not depth:
            parts.append("")
        else:
            parts[-1] += sign
    return [part.strip() for part in parts]


def lost_by(statement: str, version_table: str) -> list[str] | None:
    """What a statement may destroy, as ``table`` or ``table.column``; None where that cannot be told."""
    text = re.sub(r"/\*.*?\*/|--[^\n]*|#[^\n]*", " ", statement, flags=re.DOTALL).strip()
    found = DROP_TABLE.match(text)
    if found:
        return [_bare(re.split(r"\.\s*(?=`|\w)", name.strip())[-1]) for name in found.group("names").split(",")]
    found = WRITES.match(text)
    if found:
        return [] if _bare(found.group(1)) == version_table else [_bare(found.group(1))]
    found = ALTER.match(text)
    if not found:
        return [] if HARMLESS.match(text) and "ON DUPLICATE KEY" not in text.upper() else None
    table, lost = _bare(found.group(1)), []
    for clause in _clauses(found.group("clauses")):
        column = COLUMN_CLAUSE.match(clause)
        if HARMLESS_CLAUSE.match(clause):
            continue
        lost.append(f"{table}.{_bare(column.group(1))}" if column else table)
    return lost


def refuse_losses(name: str, sql: list[str], version_table: str, accepted: t.Sequence[str]) -> list[str]:
    """What the statements destroy, all of it accepted.

    :raises DriverError: with the words that accept the rest.
    """
    lost: list[str] = []
    for statement in sql:
        found = lost_by(statement, version_table)
        if found is None:
            raise DriverError(
                f"It cannot be told what this statement of the downgrade of {name} destroys: {statement[:200]} "
                "Nothing was changed. Downgrade by hand, as a phase of your own."
            )
        lost += [word for word in found if word not in lost]
    more = [word for word in lost if word not in accepted and word.partition(".")[0] not in accepted]
    if more:
        raise DriverError(
            f"The downgrade of {name} destroys {', '.join(more)} for good: this phase exports nothing from MySQL and "
            "MariaDB, where a migration cannot be taken back. Nothing was changed. If that may be lost, write into the "
            f"plan: rollback: {{accept_loss: [{', '.join(lost)}]}}"
        )
    return lost


class Look:
    """Sees where the database stands, on a connection that cannot write."""

    heads: list[str]

    def begin(self, context: t.Any) -> bool:
        """Look, and let no migration run."""
        self.heads = sorted(context.get_current_heads())
        return False

    def end(self, context: t.Any) -> None:
        """Nothing is left to do."""

    def close(self) -> None:
        """Nothing is to be taken back."""


class Identify(Look):
    """Tells this database from every other one."""

    identity = ""

    def begin(self, context: t.Any) -> bool:
        """Ask the server for what is its own."""
        import sqlalchemy as sa

        con = context.connection
        server = sorted(map(tuple, con.execute(sa.text(IDENTITY)).fetchall()))
        made = con.execute(sa.text(MADE), {"name": context.version_table}).first()
        if made and not context.version_table_schema:
            words = [*(value for _name, value in server), *made, context.version_table]
            self.identity = "mysql " + "/".join(map(str, words))
        return False


class Writing(Look):
    """The migrations with their statements written down instead of run."""

    def begin(self, context: t.Any) -> bool:
        """Let them be written down."""
        return True


class Work(Look):
    """Migrations on the live database, with nobody else there."""

    def __init__(self, server: Server, stands: list[str], until: float) -> None:
        self.server = server
        self.stands = stands
        self.until = until

    def begin(self, context: t.Any) -> bool:
        """Take the database for ourselves.

        :raises DriverError: somebody else is there.
        """
        import sqlalchemy as sa

        con = context.connection
        wait = max(1, int((self.until - time.monotonic()) * 0.5))
        name = con.execute(sa.text("SELECT DATABASE()")).scalar()
        taken = con.execute(sa.text("SELECT GET_LOCK(:name, :wait)"), {"name": f"{OURS}.{name}"[:64], "wait": wait})
        if taken.scalar() != 1:
            raise DriverError(
                f"Another run, from another host maybe, has been migrating the database {self.server.name} for longer "
                "than this phase may take. Nothing was changed. Wait for it, and run the same command again."
            )
        others = [row for row in con.execute(sa.text(SESSIONS)).fetchall() if row[0] not in self.server.own]
        if others and self.server.alone:
            named = ", ".join(f"session {number} (user {user}, from {host})" for number, user, host in others)
            raise DriverError(
                f"The database {self.server.name} is in use by {named}. Nothing was changed in it. "
                "Stop that, and run the same command again."
            )
        heads = sorted(context.get_current_heads())
        if heads != self.stands:
            raise DriverError(
                f"The database {self.server.name} stands at {spoken(heads)}, where nobody expects it: "
                "somebody migrated it since preflight. Nothing was changed in it."
            )
        return True


class MysqlDatabase(ServedDatabase):
    """One MySQL or MariaDB database: what the downgrade does with it."""

    def __init__(self, migrations: t.Any, seconds: float) -> None:
        super().__init__(migrations, seconds)
        # How long a statement waits for a table that somebody uses, in seconds.
        self.server.settings = {"lock_wait_timeout": str(max(1, min(20, int(seconds * 0.3))))}

    def state(self) -> tuple[list[str], str]:
        """The revisions that it stands at; the journal mode is of interest with SQLite only."""
        look = Look()
        self.migrations.visit(look)
        return look.heads, ""

    def identity(self) -> str:
        """What is the same on all hosts that share this database, and on no other; empty where that cannot be told."""
        look = Identify()
        self.migrations.visit(look)
        return look.identity

    def rehearse(self, request: dict[str, t.Any], newer: list[str], older: list[str]) -> dict[str, t.Any]:
        """Find what the downgrade destroys. The live database is only read.

        :raises DriverError: some of it is not accepted.
        """
        sql = self.migrations.redirect.sql = []
        self.server.noting = True
        try:
            self.migrations.downgrade("", newer, older, Writing())
        finally:
            self.server.noting = False
            self.migrations.redirect.sql = None
        lost = refuse_losses(self.path, sql, self.migrations.version_table, request["accept_loss"])
        return {"to": older, "losses": {}, "lost": lost, "touched": {}, "export_size": 0, "sql": sql, "untried": ""}

    def downgrade(
        self, request: dict[str, t.Any], folder: str, export: str, manifest: t.Callable[[dict[str, t.Any]], None]
    ) -> dict[str, Loss]:
        """Downgrade the live database, from wherever an earlier attempt left it. Nothing is kept."""
        stands = self.state()[0]
        self._on_the_way(request, stands)
        lost = self.rehearse(request, stands, request["to"])["lost"]
        manifest({"tables": {}, "lost": lost})
        self.server.readonly = False
        self.migrations.downgrade("", stands, request["to"], Work(self.server, stands, self.until))
        return {}

    def recover(self, request: dict[str, t.Any], folder: str, export: str, noted: dict[str, t.Any]) -> list[str]:
        """Upgrade the live database, from wherever the downgrade left it. Returns what is lost, as a sentence."""
        stands = self.state()[0]
        self._on_the_way(request, stands)
        self.server.readonly = False
        self.migrations.upgrade("", stands, request["from"], Work(self.server, stands, self.until))
        lost = noted["lost"]
        return [f"What {self.path} lost, as the plan accepts, is not back: {', '.join(lost)}."] if lost else []

    def _on_the_way(self, request: dict[str, t.Any], stands: list[str]) -> None:
        between = self.migrations.graph.between
        if between(request["from"], stands) is None or between(stands, request["to"]) is None:
            raise DriverError(
                f"The database {self.path} stands at {spoken(stands)}, where nobody expects it: somebody migrated "
                f"it since preflight. Nothing was changed in it."
            )
