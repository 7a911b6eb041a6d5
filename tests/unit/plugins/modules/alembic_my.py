# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An Alembic project with a MariaDB database, for the tests of alembic_downgrade."""

from __future__ import annotations

import itertools

from ansible_collections.changeops.rollback.tests.unit.plugins.modules.alembic_shop import ENV, INI, Shop

NUMBERS = itertools.count(1)
ENGINE = "engine = create_engine(os.environ['SHOP_URL'], poolclass=pool.NullPool)"
# What the way back from ``newest`` to ``old`` destroys.
ACCEPTED = ["invoices.total", "audit"]


class MyShop(Shop):
    """An Alembic project whose MariaDB database stands at ``newest``; two migrations lead back to ``old``."""

    def __init__(self, tmp_path, monkeypatch, socket, down="op.drop_column('invoices', 'total')"):
        self.socket, self.name = socket, f"shop{next(NUMBERS)}"
        self.root, self.state = tmp_path / "shop", tmp_path / "state"
        self.versions = self.root / "migrations" / "versions"
        self.versions.mkdir(parents=True)
        (self.root / "alembic.ini").write_text(INI)
        (self.root / "migrations" / "env.py").write_text(ENV.format(engine=ENGINE, options=""))
        self.migration("old", None, "pass", "pass")
        self.migration("new", "old", "op.add_column('invoices', sa.Column('total', sa.Integer))", down)
        self.migration(
            "newest", "new", "op.create_table('audit', sa.Column('id', sa.Integer))", "op.drop_table('audit')"
        )
        self.sql(f"CREATE DATABASE {self.name}", database=None)
        self.sql("CREATE TABLE invoices (id int PRIMARY KEY, total int)", "CREATE TABLE audit (id int)")
        self.sql("INSERT INTO invoices VALUES (1, 5)", "CREATE TABLE alembic_version (version_num varchar(32))")
        self.sql("INSERT INTO alembic_version VALUES ('newest')")
        self.sql("CREATE USER IF NOT EXISTS shop IDENTIFIED BY 'hunter2'", f"GRANT ALL ON {self.name}.* TO shop")
        monkeypatch.setenv("SHOP_URL", f"mysql+pymysql://shop:hunter2@localhost/{self.name}?unix_socket={socket}")

    def open(self, user="root", password="", database=""):
        import pymysql

        return pymysql.connect(
            unix_socket=self.socket,
            user=user,
            password=password,
            autocommit=True,
            database=self.name if database == "" else database,
        )

    def sql(self, *statements, database=""):
        with self.open(database=database) as con, con.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())

    def rows(self):
        tables = [name for (name,) in self.sql("SHOW TABLES")]
        return {name: (self.sql(f"DESCRIBE {name}"), self.sql(f"SELECT * FROM {name}")) for name in sorted(tables)}

    def run(self, step, check=False, **params):
        return super().run(step, check, **{"from": "newest", **params})
