# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""alembic_downgrade on a real MariaDB: only what the plan accepts is lost, and an attempt that died is gone on with."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time

import pytest

pytest.importorskip("alembic")
pytest.importorskip("pymysql")

from ansible_collections.changeops.rollback.plugins.module_utils._alembic_mysql import lost_by
from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.alembic_my import ACCEPTED, MyShop
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal

pytestmark = pytest.mark.usefixtures("forked_alembic")

# Waits where the migration before it was run, and not only written down.
SLOW = "import pathlib, time\n    gone = not op.get_bind().exec_driver_sql(\"SHOW TABLES LIKE 'audit'\").first()\n    "
SLOW += "while gone and pathlib.Path('slow').exists(): "
SLOW += "pathlib.Path('reached').touch(); time.sleep(0.02)\n    op.drop_column('invoices', 'total')"


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


def test_what_cannot_be_taken_back_is_not_rehearsed(tmp_path, monkeypatch, mariadb):
    shop = MyShop(tmp_path, monkeypatch, mariadb)
    before = shop.rows()
    assert "is not rehearsed with data" in shop.run("rehearse", accept_loss=ACCEPTED).msg
    assert shop.rows() == before


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
    (warning,) = shop.run("can_undo", accept_loss=ACCEPTED).warnings
    assert warning.endswith("destroyed was not exported, so it does not come back.")
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
