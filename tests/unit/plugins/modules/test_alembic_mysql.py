# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""alembic_downgrade on a real MariaDB: only what the plan accepts is lost, and an attempt that died is gone on with."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import time

import pytest

pytest.importorskip("alembic")
pytest.importorskip("pymysql")

from ansible_collections.changeops.rollback.plugins.module_utils._alembic_mysql import lost_by
from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.alembic_shop import ENV, INI, Shop
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal

pytestmark = pytest.mark.usefixtures("bytecode")

NUMBERS = itertools.count(1)
ENGINE = "engine = create_engine(os.environ['SHOP_URL'], poolclass=pool.NullPool)"
# Waits where the migration before it was run, and not only written down.
SLOW = "import pathlib, time\n    gone = not op.get_bind().exec_driver_sql(\"SHOW TABLES LIKE 'audit'\").first()\n    "
SLOW += "while gone and pathlib.Path('slow').exists(): "
SLOW += "pathlib.Path('reached').touch(); time.sleep(0.02)\n    op.drop_column('invoices', 'total')"


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


ACCEPTED = ["invoices.total", "audit"]
REFUSALS = [
    Refusal(
        "a MySQL or MariaDB downgrade that loses what the plan does not accept",
        "The downgrade of <database> destroys invoices.total for good: this phase exports nothing from MySQL and "
        "MariaDB, "
        "where a migration cannot be taken back. Nothing was changed. If that may be lost, write into the plan: "
        "rollback: {accept_loss: [audit, invoices.total]}",
        {"accept_loss": ["audit"]},
    ),
    Refusal(
        "a MySQL or MariaDB statement that cannot be judged",
        "It cannot be told what this statement of the downgrade of <database> destroys: CALL tidy(); Nothing was "
        "changed. Downgrade by hand, as a phase of your own.",
        {"accept_loss": ACCEPTED, "down": "op.execute('CALL tidy()')"},
    ),
    Refusal(
        "another session on a MySQL or MariaDB database",
        "The database <database> is in use by session <number> (user shop, from localhost). Nothing was changed "
        "in it. Stop that, and run the same command again.",
        {"accept_loss": ACCEPTED, "step": "main"},
    ),
]


@pytest.mark.parametrize("row", REFUSALS, ids=[row.case for row in REFUSALS])
def test_it_refuses_with_a_sentence_and_leaves_everything(tmp_path, monkeypatch, mariadb, row):
    given = dict(row.given)
    step = given.pop("step", "preflight")
    shop = MyShop(tmp_path, monkeypatch, mariadb, **({"down": given.pop("down")} if "down" in given else {}))
    before = shop.rows()
    other = contextlib.closing(shop.open("shop", "hunter2")) if step == "main" else contextlib.nullcontext()
    with other, pytest.raises(PhaseError) as caught:
        shop.run(step, **given)
    assert row.matches(str(caught.value)), str(caught.value)
    assert shop.rows() == before


def test_what_the_plan_accepts_is_lost_and_said_and_the_rest_comes_back(tmp_path, monkeypatch, mariadb):
    shop = MyShop(tmp_path, monkeypatch, mariadb)
    before = shop.rows()
    report = shop.run("preflight", accept_loss=ACCEPTED)
    assert report.facts["destroys"] == ["audit", "invoices.total"]
    assert "DROP TABLE audit;" in report.diff[0]["prepared"]
    assert shop.rows() == before
    assert shop.run("main", accept_loss=ACCEPTED).changed
    assert shop.rows()["invoices"][1] == [(1,)]
    assert not shop.run("main", accept_loss=ACCEPTED).changed
    shop.sql("INSERT INTO invoices VALUES (2)")
    report = shop.run("recover", accept_loss=ACCEPTED)
    assert report.warnings == [
        f"What {shop.name} on localhost lost, as the plan accepts, is not back: audit, invoices.total."
    ]
    assert shop.rows()["invoices"][1] == [(1, None), (2, None)]
    assert shop.revision() == "newest"


@pytest.mark.parametrize("then", ["main", "recover"])
def test_kill_9_between_two_migrations_is_gone_on_with_or_taken_back(tmp_path, monkeypatch, mariadb, then):
    shop = MyShop(tmp_path, monkeypatch, mariadb, SLOW)
    accepted = {"accept_loss": ACCEPTED}
    shop.run("preflight", **accepted)
    (shop.root / "slow").touch()
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            shop.run("main", **accepted)
        os._exit(0)
    until = time.monotonic() + 30
    while not (shop.root / "reached").exists():
        assert time.monotonic() < until
        time.sleep(0.05)
    group = int(subprocess.run(["pgrep", "-P", str(child)], capture_output=True, text=True, check=True).stdout)
    os.killpg(group, signal.SIGKILL)
    os.waitpid(child, 0)
    (shop.root / "slow").unlink()
    assert shop.revision() == "new"
    assert sorted(shop.rows()) == ["alembic_version", "invoices"]
    if then == "main":
        assert shop.run("preflight", **accepted).pending
        assert shop.run("main", **accepted).changed
        assert shop.revision() == "old"
    assert shop.run("recover", **accepted).changed
    assert (shop.revision(), sorted(shop.rows())) == ("newest", ["alembic_version", "audit", "invoices"])


@pytest.mark.parametrize(
    ("statement", "lost"),
    [
        ("DROP TABLE `a``b`, shop.c", ["a`b", "c"]),
        ("ALTER TABLE a DROP COLUMN b, DROP INDEX c, ADD d DECIMAL(5,2) DEFAULT ',', DROP `e f`", ["a.b", "a.e f"]),
        ("ALTER TABLE a MODIFY b INTEGER NULL", ["a.b"]),
        ("ALTER TABLE shop.a CHANGE b c INTEGER", ["a.b"]),
        ("ALTER TABLE a ALTER COLUMN b DROP DEFAULT, DROP FOREIGN KEY f, RENAME TO c", []),
        ("ALTER TABLE a CONVERT TO CHARACTER SET latin1", ["a"]),
        ("/* tidy */ DELETE FROM a WHERE b = 1", ["a"]),
        ("UPDATE alembic_version SET version_num='x'", []),
        ("TRUNCATE a", ["a"]),
        ("INSERT INTO a VALUES (1)", []),
        ("INSERT INTO a VALUES (1) ON DUPLICATE KEY UPDATE b = 1", None),
        ("WITH x AS (SELECT 1) DELETE a FROM a JOIN x", None),
        ("CALL tidy()", None),
    ],
)
def test_what_a_statement_destroys(statement, lost):
    assert lost_by(statement, "alembic_version") == lost
