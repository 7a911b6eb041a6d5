# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An Alembic project with a database, for the tests of alembic_downgrade."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import subprocess
import sys
import typing as t

from ansible_collections.changeops.rollback.plugins.module_utils import _alembic_downgrade as phase
from ansible_collections.changeops.rollback.plugins.module_utils._alembic_rehearsal import rehearse
from ansible_collections.changeops.rollback.plugins.module_utils._alembic_undo import can_undo
from ansible_collections.changeops.rollback.plugins.module_utils._phase import run_step
from ansible_collections.changeops.rollback.plugins.module_utils._restore_point import RestorePoint

STEPS = ("preflight", "main", "can_recover", "recover")
FUNCTIONS = {"rehearse": rehearse, "can_undo": can_undo, **{step: getattr(phase, step) for step in STEPS}}

ENV = """
import logging.config, os, pathlib
from alembic import context
from sqlalchemy import create_engine, pool
print("noise on stdout")
logging.config.fileConfig(context.config.config_file_name)
{engine}
with engine.connect() as connection:
    context.configure(connection=connection{options})
    with context.begin_transaction():
        context.run_migrations()
"""
ENGINES = {
    "relative": "engine = create_engine('sqlite:///var/shop.db', poolclass=pool.NullPool)",
    "here": "engine = create_engine(f'sqlite:///{pathlib.Path(__file__).parent.parent}/var/shop.db')",
    "variable": "engine = create_engine(os.environ['SHOP_DATABASE'])",
    "uri": "engine = create_engine('sqlite:///file:var/shop.db?mode=rw&uri=true', poolclass=pool.NullPool)",
    "creator": "import sqlite3\nengine = create_engine('sqlite://', creator=lambda: sqlite3.connect('var/shop.db'))",
    "memory": "engine = create_engine('sqlite://')",
    "oracle": "engine = create_engine('sqlite://')\nengine.dialect.name = 'oracle'",
}
INI = """
[alembic]
script_location = %(here)s/migrations
[loggers]
keys = root
[handlers]
keys = console
[formatters]
keys = plain
[logger_root]
level = INFO
handlers = console
[handler_console]
class = StreamHandler
args = (sys.stdout,)
formatter = plain
[formatter_plain]
format = %(message)s
"""
MIGRATION = '''
"""{revision}"""
from alembic import op
import sqlalchemy as sa
revision = "{revision}"
down_revision = {down!r}
{more}

def upgrade():
    {up}


def downgrade():
    {downgrade}
'''
FIRST = (
    "op.execute(\"CREATE TABLE invoices (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT, state TEXT DEFAULT 'open')\")"
)
ADD = 'op.execute("ALTER TABLE invoices ADD total")\n    op.execute("UPDATE invoices SET total = 1")'
DROP = 'op.drop_column("invoices", "total")'
# NULL, text, bytes, a float that shows every bit, the biggest integer, Unicode, a number as text
VALUES = (None, "x", b"\x00\xff", 0.1 + 0.2, 2**63 - 1, "Größe \U0001f600", "12", "", -1.0)


class Shop:
    """An Alembic project with a database at the revision ``new``, whose downgrade leads to ``old``.

    ``accepted``: the losses that its plan accepts, where a test says nothing else.
    """

    accepted: t.Sequence[str] = ("invoices", "notes", "extra")

    def __init__(self, tmp_path, up=ADD, down=DROP, engine="relative", options="", more=()):
        self.root = tmp_path / "shop"
        self.state = tmp_path / "state"
        self.database = self.root / "var" / "shop.db"
        self.versions = self.root / "migrations" / "versions"
        self.versions.mkdir(parents=True)
        self.database.parent.mkdir()
        (self.root / "alembic.ini").write_text(INI)
        (self.root / "migrations" / "env.py").write_text(ENV.format(engine=ENGINES[engine], options=options))
        self.migration("old", None, FIRST, "raise NotImplementedError")
        self.migration("new", "old", up, down)
        for revision, below, its_up, its_down in more:
            self.migration(revision, below, its_up, its_down)
        self.sql(FIRST.split('"')[1], "CREATE TABLE alembic_version (version_num TEXT PRIMARY KEY)")
        self.sql("INSERT INTO alembic_version VALUES ('new')")

    def migration(self, revision, down, up, downgrade, more=""):
        text = MIGRATION.format(revision=revision, down=down, up=up, downgrade=downgrade, more=more)
        (self.versions / f"{revision}.py").write_text(text)

    def sql(self, *statements, values=None):
        with contextlib.closing(sqlite3.connect(self.database)) as con:
            rows = []
            for statement in statements:
                rows = (con.executemany if values else con.execute)(statement, *([values] if values else [])).fetchall()
            con.commit()
            return rows

    def totals(self, values=VALUES):
        """Give the table its column ``total``, with these values."""
        self.sql("ALTER TABLE invoices ADD total")
        rows = [(f"n{number}", value) for number, value in enumerate(values)]
        self.sql("INSERT INTO invoices (name, total) VALUES (?, ?)", values=rows)
        return self

    def dump(self):
        """Every row of every table, with its values as SQLite writes them, and the schema without its spelling."""
        with contextlib.closing(sqlite3.connect(self.database)) as con:
            con.text_factory = bytes
            names = [
                r[0].decode() for r in con.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1")
            ]
            found = {}
            for name in names:
                columns = [r[1].decode() for r in con.execute(f'PRAGMA table_info("{name}")')]
                listed = ", ".join(f'quote("{c}")' for c in sorted(columns))
                found[name] = (sorted(columns), con.execute(f'SELECT {listed} FROM "{name}" ORDER BY 1').fetchall())
            return found

    def run(self, step, check=False, point="R1/3-alembic_downgrade", **params):
        options = {
            "step": step,
            "project": str(self.root),
            "config": "alembic.ini",
            "section": "alembic",
            "x": [],
            "python": [sys.executable],
            "from": "new",
            "to": "old",
            "release": "",
            "preserve": False,
            "install": [],
            "accept_loss": list(self.accepted),
            "done_by": "",
            "left_out": {},
            "schema_compatible": False,
            "rehearse_data": True,
            "rehearsing": False,
            "timeout": 60.0,
            "wait": 0.0,
        }
        options.update(params)
        for name in ("from", "to"):  # as Ansible makes a list of a word
            options[name] = options[name].split(",") if isinstance(options[name], str) else options[name]
        return run_step(step, options, RestorePoint(str(self.state / point)), FUNCTIONS, check)

    def files(self):
        """Digest, mode and time of each file of the project."""
        return {
            str(path): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mode, path.stat().st_mtime_ns)
            for path in sorted(self.root.rglob("*"))
            if path.is_file() and ".git" not in path.parts
        }

    def git(self, *words):
        name = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
        done = subprocess.run(["git", *name, *words], cwd=self.root, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def commit(self, ignored="var/"):
        """Put the project into a new repository, and return the commit."""
        (self.root / ".gitignore").write_text(ignored + "\n")
        self.git("init", "-q")
        self.git("add", ".")
        self.git("commit", "-qm", "release")
        return self.git("rev-parse", "HEAD")

    def revision(self):
        return " ".join(row[0] for row in self.sql("SELECT version_num FROM alembic_version ORDER BY 1"))
