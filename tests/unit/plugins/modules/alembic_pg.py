# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An Alembic project with a PostgreSQL database, for the tests of alembic_downgrade."""

from __future__ import annotations

import itertools
import os
import time

from ansible_collections.changeops.rollback.plugins.module_utils._restore_point import RestorePoint
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.alembic_shop import INI, Shop

NUMBERS = itertools.count(1)

ENV = """
import os
from alembic import context
from sqlalchemy import create_engine, pool
print("noise on stdout")
engine = create_engine(os.environ["SHOP_URL"], poolclass=pool.NullPool{engine})
with engine.connect() as connection:
    context.configure(connection=connection{options})
    with context.begin_transaction():
        context.run_migrations()
"""
ASYNC_ENV = """
import asyncio, os
from alembic import context
from sqlalchemy import pool
from sqlalchemy.ext.asyncio import create_async_engine
def work(connection):
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
async def main():
    async with create_async_engine(os.environ["SHOP_URL"], poolclass=pool.NullPool).connect() as connection:
        await connection.run_sync(work)
asyncio.run(main())
"""
TABLES = """
SELECT CASE nspname WHEN 'public' THEN relname ELSE nspname || '.' || relname END
FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind IN ('r', 'p') AND nspname !~ '^(pg_|info)'
"""
OLD = "CREATE TABLE invoices (id int PRIMARY KEY, name text, state text DEFAULT 'open')"


def statements(*sql):
    """Statements as the body of a migration's function."""
    return (
        "\n    ".join(
            f"op.execute(sa.text({line!r}))".replace(":", "\\\\:")
            if "'" not in line
            else f"op.get_bind().exec_driver_sql({line!r})"
            for line in sql
        )
        or "pass"
    )


class PgShop(Shop):
    """An Alembic project whose database stands at the revision ``new``; its downgrade leads to ``old``.

    ``up`` and ``down`` are SQL. The database has been brought to ``new`` by ``up``.
    """

    def __init__(
        self,
        tmp_path,
        monkeypatch,
        socket,
        up,
        down,
        engine="",
        options="",
        driver="psycopg",
        user="app",
        setup=(),
        more=(),
        python_down=None,
        python_up=None,
        createdb=True,
    ):
        import psycopg

        self.connect = psycopg.connect
        self.socket = socket
        self.root = tmp_path / "shop"
        self.state = tmp_path / "state"
        self.versions = self.root / "migrations" / "versions"
        self.versions.mkdir(parents=True)
        (self.root / "alembic.ini").write_text(INI)
        self.name = f"shop{os.getpid()}_{next(NUMBERS)}"
        self.user = user
        self.admin("DROP DATABASE IF EXISTS " + self.name + " WITH (FORCE)", database="postgres")
        for role in dict.fromkeys((user, "app")):
            there = self.admin(f"SELECT 1 FROM pg_roles WHERE rolname = '{role}'", database="postgres")
            verb = "ALTER" if there else "CREATE"
            right = "CREATEDB" if createdb else "NOCREATEDB"
            self.admin(f"{verb} ROLE {role} LOGIN {right} PASSWORD 'hunter2'", database="postgres")
        self.admin(f"CREATE DATABASE {self.name} OWNER app", database="postgres")
        monkeypatch.setenv("SHOP_URL", self.url(driver))
        text = ASYNC_ENV if driver == "asyncpg" else ENV.replace("{engine}", engine).replace("{options}", options)
        (self.root / "migrations" / "env.py").write_text(text)
        self.migration("old", None, "pass", "pass")
        self.migration("new", "old", python_up or statements(*up), python_down or statements(*down))
        for revision, below, its_up, its_down in more:
            self.migration(revision, below, statements(*its_up), statements(*its_down))
        at = more[-1][0] if more else "new"
        self.sql(OLD, "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)", *setup, *up)
        self.sql(*(line for _revision, _below, its_up, _down in more for line in its_up))
        self.sql(f"INSERT INTO alembic_version VALUES ('{at}')")
        self.accepted = [name for (name,) in self.sql(TABLES)]

    def url(self, driver="psycopg", user=None):
        return f"postgresql+{driver}://{user or self.user}:hunter2@/{self.name}?host={self.socket}"

    def open(self, user="app", **more):
        return self.connect(host=self.socket, dbname=self.name, user=user, password="hunter2", autocommit=True, **more)

    def admin(self, statement, database=None):
        with self.connect(host=self.socket, dbname=database or self.name, user="postgres", autocommit=True) as con:
            done = con.execute(statement)
            return done.fetchall() if done.description else []

    def sql(self, *given, values=None):
        """Run statements in one session, which has ended afterwards, and return the rows of the last."""
        rows = []
        with self.open() as con:
            for statement in given:
                done = con.cursor()
                (done.executemany if values else done.execute)(statement, *([values] if values else []))
                rows = done.fetchall() if done.description else []
        self.alone()
        return rows

    def alone(self):
        """Wait until the server has forgotten all sessions."""
        self.gone("%")

    def gone(self, user):
        """Wait until the server has forgotten the sessions of a role."""
        query = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{self.name}' AND usename LIKE '{user}'"
        until = time.monotonic() + 10
        while self.admin(query, "postgres") != [(0,)]:
            assert time.monotonic() < until
            time.sleep(0.02)

    def databases(self):
        return [row[0] for row in self.admin("SELECT datname FROM pg_database WHERE datname LIKE 'changeops%'")]

    def dump(self):
        """Every row of every table, as PostgreSQL writes it; and its columns."""
        tables = self.sql(
            "SELECT c.oid::regclass::text, array_agg(quote_ident(a.attname)::text ORDER BY a.attname) FROM pg_class c"
            " JOIN pg_attribute a ON a.attrelid = c.oid WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN"
            " ('r', 'p') AND relnamespace::regnamespace::text !~ '^(pg_|information)' GROUP BY 1 ORDER BY 1"
        )
        return {
            name: (
                columns,
                sorted(map(repr, self.sql(f"SELECT {', '.join(c + '::text' for c in columns)} FROM {name}"))),
            )
            for name, columns in tables
        }

    def rows(self):
        """What ``dump`` gives and the revisions, asked by an administrator; our own sessions stay out of the way."""
        tables = self.admin(
            "SELECT c.oid::regclass::text FROM pg_class c WHERE c.relkind = 'r'"
            " AND relnamespace::regnamespace::text !~ '^(pg_|information)' ORDER BY 1"
        )
        found = {name: self.admin(f"SELECT * FROM {name} ORDER BY 1") for (name,) in tables}
        self.gone("postgres")
        return found

    def point(self, point="R1/3-alembic_downgrade"):
        return RestorePoint(str(self.state / point))
