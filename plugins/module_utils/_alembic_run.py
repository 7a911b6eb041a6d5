# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the app's own Alembic on a file of our choice. Private; runs in the app's own interpreter.

``env.py`` may build its URL in any way: the connection itself is caught where SQLAlchemy makes it, and led to another
file. So the live database is never opened by the app's code here, and a migration cannot harm it.
"""

from __future__ import annotations

import os
import re
import sys
import typing as t

from ._alembic_graph import Graph, Place
from ._alembic_server import Server
from ._alembic_sqlite import DriverError, located

Request = t.Dict[str, t.Any]
READING = ("PRAGMA", "SELECT", "SHOW", "DESCRIBE")
ATTACHED = (
    "The app's env.py or one of its migrations attaches a second database (ATTACH), and that one cannot be led to a "
    "copy. Downgrade by hand, as a phase of your own."
)
BY_ITSELF = (
    "The app's env.py makes its database connections by itself (create_engine with creator=, say), so they cannot be "
    "led to a copy. Let it use a URL."
)


class Redirect:
    """Leads every database connection of this process to another file, and notes what it was for, and the SQL."""

    def __init__(self, folder: str, project: str) -> None:
        import sqlalchemy as sa
        from sqlalchemy.engine import Engine

        self.folder = folder
        self.project = project
        self.target = ""
        self.asked: set[str] = set()
        self.fault: DriverError | None = None
        self.sql: list[str] | None = None
        self.server = Server()
        self.server.listen()
        sa.event.listen(Engine, "do_connect", self._connect)
        sa.event.listen(Engine, "before_cursor_execute", self._execute)

    def _connect(self, dialect: t.Any, _record: t.Any, cargs: t.Sequence[t.Any], cparams: dict[str, t.Any]) -> t.Any:
        if dialect.name in ("postgresql", "mysql", "mariadb"):
            try:
                con = self.server.connect(dialect, cargs, cparams)
            except DriverError as exc:
                self._refuse(str(exc))
            self.asked.add(self.server.name)
            return con
        if dialect.name != "sqlite":
            return self._refuse(
                f"The app's env.py connects to a database of the kind {dialect.name}. This phase can downgrade "
                "PostgreSQL, SQLite, MySQL and MariaDB. Downgrade it by a script of your own (method: script)."
            )
        options = dict(cparams)
        name = cargs[0] if cargs else options.pop("database", "")
        path = located(name, bool(options.pop("uri", False)))
        if path is None:
            return self._refuse("The app's env.py connects to a database in memory, so there is nothing to downgrade.")
        self.asked.add(self.live(path))
        return dialect.connect(self.target, *cargs[1:], **options)

    def _refuse(self, message: str) -> t.NoReturn:
        self.fault = DriverError(message)
        raise self.fault

    def live(self, path: str) -> str:
        """The live file that ``path`` stands for: the same, or in the project what it is in the preserved checkout."""
        if os.path.realpath(self.folder) == os.path.realpath(self.project):
            return path
        inside = os.path.relpath(os.path.realpath(path), os.path.realpath(self.folder))
        return path if inside.startswith(os.pardir + os.sep) else os.path.join(self.project, inside)

    def _execute(self, _con: t.Any, _cursor: t.Any, statement: str, *_more: t.Any) -> None:
        if statement.lstrip().upper().startswith("ATTACH"):
            self._refuse(ATTACHED)
        if self.sql is not None and not statement.lstrip().upper().startswith(READING):
            self.sql.append("\n".join(line.rstrip() for line in statement.strip().splitlines()) + ";")

    def guard(self, connection: t.Any) -> None:
        """Make sure that a connection goes where it was led.

        :raises DriverError: it does not, because ``env.py`` makes its connections by itself.
        """
        import sqlalchemy as sa

        if connection.dialect.name != "sqlite":
            if not self.server.owns(connection):
                self._refuse(BY_ITSELF)
            return
        (_number, _name, file), *more = connection.execute(sa.text("PRAGMA database_list")).fetchall()
        if any(name != "temp" for _number, name, _file in more):
            self._refuse(ATTACHED)
        if os.path.realpath(file) != os.path.realpath(self.target):
            self._refuse(BY_ITSELF)


def command_line(request: Request) -> t.Any:
    """The configuration that Alembic's own command line makes of its options, also of those in a pyproject.toml.

    :raises DriverError: there is no Alembic.
    """
    try:
        from alembic.config import CommandLine
    except ImportError as exc:
        raise DriverError(
            f"Alembic cannot be imported by {sys.executable} ({exc}). Install the app's environment "
            f"(uv sync --frozen, in {os.getcwd()}), or name its interpreter in alembic_downgrade_python."
        ) from exc

    class Line(CommandLine):
        made: t.Any = None

        def run_cmd(self, config: t.Any, options: t.Any) -> None:
            self.made = config

    # The whole path, because env.py may go to another directory.
    options = [f"-c{os.path.join(os.getcwd(), request['config'])}", f"-n{request['section']}"]
    options += [f"-x{pair}" for pair in request["x"]]
    line = Line(prog="alembic")
    line.main([*options, *(["upgrade", "heads"] if request["action"] == "recover" else ["downgrade", "base"])])
    return line.made


# as SQLite and PostgreSQL say it
NOT_NULL = re.compile("a NOT NULL column with default value NULL|NOT NULL constraint failed|contains null values")


class Migrations:
    """The app's Alembic project."""

    def __init__(self, request: Request) -> None:
        self.config = command_line(request)
        from alembic.script import ScriptDirectory

        path = os.path.join(os.getcwd(), request["config"])
        try:
            self.scripts = ScriptDirectory.from_config(self.config)
            self.scripts.get_heads()  # reads the migration files
        except Exception as exc:  # CommandError and what the app's configuration brings
            raise DriverError(f"Alembic cannot use {path}: {exc}") from exc
        self.graph = Graph(self.scripts)
        self._refuse_the_work_tree(request["project"])
        self.redirect = Redirect(os.getcwd(), request["project"])
        self.version_table = ""

    def _refuse_the_work_tree(self, project: str) -> None:
        """Look that a preserved checkout uses its own migrations, not those in the project, which are going to be gone.

        :raises DriverError: it does not.
        """
        here, project = os.path.realpath(os.getcwd()), os.path.realpath(project)
        for path in [self.scripts.dir, *(self.graph.find(head).path for head in self.scripts.get_heads())]:
            if here != project and os.path.realpath(path).startswith(project + os.sep):
                raise DriverError(
                    f"Alembic's configuration names its migrations by a whole path ({path}), so a checkout of the "
                    "release would use those of the work tree. Write %(here)s/ and the path from there instead."
                )

    def ask(self, empty: str) -> str:
        """Let ``env.py`` connect to an empty file, and return the live file that it meant."""
        self.run(empty, [], [])
        if len(self.redirect.asked) != 1:
            named = ", ".join(sorted(self.redirect.asked)) or "none"
            raise DriverError(f"The app's env.py has to connect to one database to be downgraded; it does to: {named}.")
        return next(iter(self.redirect.asked))

    def visit(self, work: t.Any) -> None:
        """Let ``env.py`` connect, and ``work.begin`` look; no migration runs."""
        self.run("", [], [], work)

    def run(self, target: str, steps: t.Sequence[t.Any], wanted: Place, work: t.Any = None) -> None:
        """Run migrations on the database file ``target``, or on the server's database.

        :arg steps: Alembic's ``RevisionStep`` of each.
        :arg work: what is done on the same connection: ``begin`` before them (they run if it says so), ``end`` after
            them, and ``close`` when ``env.py`` has come to its end, however.
        :raises DriverError: one of them failed; it is named.
        """
        from alembic.runtime.environment import EnvironmentContext

        at: list[t.Any] = []
        # As the command line has it, for an env.py that asks (context.get_revision_argument).
        words: t.Any = tuple(wanted) if len(wanted) > 1 else "".join(wanted) or "base"

        def watched(_heads: t.Any, context: t.Any) -> t.Iterator[t.Any]:
            self.redirect.guard(context.connection)
            self.version_table = context.version_table
            if work is not None and not self._held(work.begin, context):
                return
            for step in steps:
                at.append(step)
                yield step
            if work is not None:
                self._held(work.end, context)

        self.redirect.target = target
        os.chdir(self.redirect.folder)  # where every command starts, wherever env.py went the last time
        try:
            with EnvironmentContext(
                self.config, self.scripts, fn=watched, destination_rev=words, dont_mutate=not steps
            ):
                self.scripts.run_env()
        except (Exception, SystemExit) as exc:
            fault = self.redirect.fault or (exc if isinstance(exc, DriverError) else None)
            if fault:
                raise fault from exc
            words = " ".join(f"{type(exc).__name__}: {exc}".split())[:600]
            if not at:
                raise DriverError(
                    f"The app's env.py failed: {words}. It runs without a terminal; what it reads from its environment "
                    "belongs into the environment files of this phase (rollback_environment_files)."
                ) from exc
            raise DriverError(f"The migration {self.named(at[-1])} failed: {words}") from exc
        finally:
            self.redirect.fault = None
            if work is not None:
                work.close()

    def _held(self, call: t.Callable[[t.Any], t.Any], context: t.Any) -> t.Any:
        """Call, and remember what it says if it fails, whatever ``env.py`` makes of that."""
        try:
            return call(context)
        except DriverError as exc:
            self.redirect.fault = exc
            raise

    @staticmethod
    def named(step: t.Any) -> str:
        """A migration as ``8ae1f0c2 (migrations/versions/8ae1f0c2_totals.py)``."""
        script = step.revision
        return f"{script.revision} ({os.path.relpath(script.path)})"

    def downgrade(self, target: str, newer: Place, older: Place, work: t.Any = None) -> None:
        """Downgrade the database file ``target``, or the server's database."""
        self._walk(target, self.graph.between(newer, older), older, "downgrade_from_script", work)

    def upgrade(self, target: str, older: Place, newer: Place, work: t.Any = None) -> None:
        """Upgrade it: the same migrations, the other way round."""
        self._walk(target, (self.graph.between(newer, older) or [])[::-1], newer, "upgrade_from_script", work)

    def back(self, target: str, older: Place, newer: Place, work: t.Any = None) -> None:
        """Upgrade what holds rows, some of them written since the downgrade.

        :raises DriverError: it does not work; where a column may not be NULL, it is said what to do.
        """
        try:
            self.upgrade(target, older, newer, work)
        except DriverError as exc:
            if not NOT_NULL.search(str(exc)):
                raise
            raise DriverError(
                "The upgrade brings a column back that may not be NULL, and has no value for the rows that are there. "
                "The database was left as it was, and what was exported is kept. Give the column a value in the "
                "migration (server_default=; or add it with nullable=True, fill it, and make it NOT NULL then), and "
                f"run the same command again. {exc}"
            ) from exc

    def upgrade_again(self, target: str, older: Place, newer: Place, work: t.Any = None) -> None:
        """Try, on what was downgraded without its rows, whether recovery would work.

        :raises DriverError: it would not.
        """
        try:
            self.upgrade(target, older, newer, work)
        except DriverError as exc:
            raise DriverError(
                f"A failed rollback could not be undone: after the downgrade of a copy without rows, the upgrade does "
                f"not work. Correct the migration. {exc}"
            ) from exc

    def _walk(self, target: str, way: Place | None, wanted: Place, step: str, work: t.Any) -> None:
        from alembic.runtime.migration import MigrationStep

        make = getattr(MigrationStep, step)
        steps = [make(self.scripts.revision_map, self.graph.find(revision)) for revision in way or []]
        self.run(target, steps, wanted, work)
