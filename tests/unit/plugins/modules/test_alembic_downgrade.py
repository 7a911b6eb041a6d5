# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole phase, on real Alembic projects: nothing that a downgrade destroys is gone."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest

pytest.importorskip("alembic")

from ansible_collections.changeops.rollback.plugins.module_utils._alembic_drive import python_of
from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.plugins.module_utils._restore_point import RestorePoint
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.alembic_shop import ADD, DROP, VALUES, Shop

pytestmark = pytest.mark.usefixtures("forked_alembic")

BATCH = (
    'with op.batch_alter_table("invoices") as batch:\n        batch.{0}("total"{1})\n'
    '        batch.alter_column("state", nullable={2})'
)
# What the downgrade does: upgrade, downgrade, what is noted as destroyed, how the table gets its data.
CASES = {
    "column": (ADD, DROP, ["invoices.total (8 values)"]),
    "batch": (
        BATCH.format("add_column", "", "True").replace('"total"', 'sa.Column("total", sa.BLOB)'),
        BATCH.format("drop_column", "", "True"),
        ["invoices.total (8 values)"],
    ),
    "table": (
        'op.execute("CREATE TABLE notes (a, b INTEGER PRIMARY KEY AUTOINCREMENT, c UNIQUE)")\n'
        "    op.execute(\"INSERT INTO notes (a) VALUES ('seed')\")",
        'op.drop_table("notes")',
        ["notes (the table, 9 rows)"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_everything_that_the_downgrade_destroyed_is_back(tmp_path, name):
    up, down, destroys = CASES[name]
    shop = Shop(tmp_path, up, down).totals()
    if name == "table":
        shop.sql(up.split('"')[1])
        shop.sql("INSERT INTO notes (a, c) VALUES (?, ?)", values=[(v, str(n)) for n, v in enumerate(VALUES)])
    found = shop.dump()
    assert shop.run("preflight").facts["destroys"] == destroys
    assert shop.dump() == found
    assert shop.run("main").changed
    assert shop.revision() == "old"
    assert shop.dump() != found
    assert shop.run("recover").changed
    assert shop.dump() == found
    assert not shop.run("recover").changed
    assert [path.name for path in shop.database.parent.iterdir()] == ["shop.db"]


@pytest.mark.parametrize("engine", ["here", "variable", "uri"])
def test_the_database_is_found_however_env_py_builds_its_url(tmp_path, monkeypatch, engine):
    monkeypatch.setenv("SHOP_DATABASE", "sqlite:///var/../var/shop.db")
    shop = Shop(tmp_path, engine=engine).totals()
    shop.run("preflight")
    report = shop.run("main")
    assert os.path.realpath(report.after["database"]) == str(shop.database)
    assert report.facts["exported"] == {"invoices": 9}
    assert shop.revision() == "old"


@pytest.mark.skipif(not importlib.util.find_spec("aiosqlite"), reason="aiosqlite is not installed")
def test_an_async_engine_is_led_to_the_copy_too(tmp_path):
    shop = Shop(tmp_path).totals()
    (shop.root / "migrations" / "env.py").write_text("""
import asyncio
from alembic import context
from sqlalchemy import pool
from sqlalchemy.ext.asyncio import create_async_engine
def work(connection):
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
async def main():
    async with create_async_engine("sqlite+aiosqlite:///var/shop.db", poolclass=pool.NullPool).connect() as connection:
        await connection.run_sync(work)
asyncio.run(main())
""")
    found = shop.dump()
    assert shop.run("main").changed
    shop.run("recover")
    assert shop.dump() == found


def test_a_wal_database_stays_one_and_what_waits_in_the_log_is_not_lost(tmp_path):
    shop = Shop(tmp_path).totals()
    shop.sql("PRAGMA journal_mode = WAL")
    writer = (
        "import os, sqlite3; c = sqlite3.connect('shop.db'); c.execute(\"INSERT INTO invoices (total) VALUES ('log')\")"
    )
    subprocess.run([sys.executable, "-c", writer + "; c.commit(); os._exit(0)"], cwd=shop.database.parent, check=True)
    assert (shop.database.parent / "shop.db-wal").stat().st_size
    shop.run("preflight")
    shop.run("main")
    assert shop.sql("PRAGMA journal_mode") == [("wal",)]
    shop.run("recover")
    assert shop.sql("SELECT total FROM invoices ORDER BY id DESC LIMIT 1") == [("log",)]
    assert shop.sql("PRAGMA journal_mode") == [("wal",)]


def test_writes_made_since_the_downgrade_survive_recovery(tmp_path):
    shop = Shop(tmp_path, ADD, DROP + "\n    op.execute(\"UPDATE invoices SET state = 'x' WHERE id < 3\")").totals()
    shop.run("main")
    shop.sql("DELETE FROM invoices WHERE id = 4", "INSERT INTO invoices (name, state) VALUES ('since', 'new')")
    shop.sql("UPDATE invoices SET state = 'mine' WHERE id = 1")
    report = shop.run("recover")
    rows = {row[0]: row[1:] for row in shop.sql("SELECT id, name, state, total FROM invoices")}
    assert rows == {
        **{n + 1: (f"n{n}", "mine" if n == 0 else "open", v) for n, v in enumerate(VALUES) if n != 3},
        10: ("since", "new", 1),
    }
    kept = f"What was kept of them is in {shop.state}/R1/3-alembic_downgrade/left-1.sqlite."
    assert report.warnings == [
        f"1 rows of invoices were deleted since, so their values of total were not put back. {kept}",
        f"1 rows of invoices were written to since and keep their present values. {kept}",
    ]


def test_two_migrations_in_one_go_counted_from_the_top_and_the_count_is_made_once(tmp_path):
    more = [("newer", "new", 'op.execute("CREATE TABLE extra (id)")', 'op.drop_table("extra")')]
    shop = Shop(tmp_path, more=more).totals()
    shop.sql(
        "CREATE TABLE extra (id)", "INSERT INTO extra VALUES (7)", "UPDATE alembic_version SET version_num = 'newer'"
    )
    asked = {"from": "newer", "to": "-2"}
    before = shop.dump()
    assert shop.run("preflight", **asked).prepared["to"] == ["old"]
    assert shop.run("main", **asked).facts["exported"] == {"extra": 1, "invoices": 9}
    again = shop.run("preflight", **asked)
    assert (again.pending, shop.run("main", **asked).changed, shop.revision()) == (False, False, "old")
    shop.run("recover", **asked)
    assert shop.dump() == before


def test_recovery_knows_a_downgrade_that_could_not_be_noted_any_more(tmp_path):
    shop = Shop(tmp_path).totals()
    before = shop.dump()
    shop.run("preflight")
    shop.run("main")
    RestorePoint(str(shop.state / "R1/3-alembic_downgrade")).write(progress="started", after={})
    assert shop.run("recover").changed
    assert shop.dump() == before


def test_what_was_not_started_is_not_recovered(tmp_path):
    shop = Shop(tmp_path).totals()
    shop.run("preflight")
    before = shop.files()
    assert not shop.run("recover").changed
    assert shop.files() == before


def test_check_mode_shows_the_sql_and_what_it_destroys_and_leaves_every_byte(tmp_path):
    shop = Shop(tmp_path, options=", render_as_batch=True").totals()
    shop.sql("PRAGMA journal_mode = WAL")
    before = shop.files()
    for step in ("preflight", "main"):
        shown = shop.run(step, check=True).diff[0]["prepared"]
        assert "ALTER TABLE invoices DROP COLUMN total;" in shown
        assert "destroys: invoices.total (8 values)" in shown
    assert shop.files() == before
    assert not shop.state.exists()


def test_the_file_keeps_mode_and_owner_and_stays_behind_its_link(tmp_path):
    shop = Shop(tmp_path).totals()
    real = tmp_path / "elsewhere" / "data.db"
    real.parent.mkdir()
    os.rename(shop.database, real)
    real.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(real, 12, 34)
    owner = (real.stat().st_uid, real.stat().st_gid)
    shop.database.symlink_to("../../elsewhere/data.db")
    shop.run("main")
    assert shop.database.is_symlink()
    assert shop.revision() == "old"
    found = real.stat()
    assert (found.st_mode & 0o777, found.st_uid, found.st_gid) == (0o640, *owner)


@pytest.mark.parametrize("preserved", [True, False], ids=["preserved in preflight", "release named afterwards"])
def test_code_reverted_before_the_database(tmp_path, preserved):
    shop = Shop(tmp_path, engine="here").totals()
    release = shop.commit()
    before = shop.dump()
    params = {"preserve": True, "install": ["touch", "installed"]} if preserved else {"release": release}
    params["to"] = "-1"
    params["config"] = str(shop.root / "alembic.ini")
    if preserved:
        shop.run("preflight", **params)
        assert (shop.state / "R1/3-alembic_downgrade/release/installed").exists()
    shop.git("rm", "-q", "migrations/versions/new.py")
    shop.git("commit", "-qm", "revert")
    with pytest.raises(PhaseError, match="Set alembic_downgrade_release to the commit that was running"):
        shop.run("preflight", point="R2/1-alembic_downgrade")
    assert shop.run("main", **params).changed
    assert shop.revision() == "old"
    assert not shop.run("preflight", **params).pending
    assert not shop.run("main", **params).changed
    if not preserved:
        assert not shop.run("main", point="R3/1-alembic_downgrade", **params).changed
    assert shop.run("recover", **params).changed
    assert shop.dump() == before


def test_a_second_stand_alone_run_changes_nothing_and_keeps_the_export(tmp_path):
    shop = Shop(tmp_path).totals()
    before = shop.dump()
    alone = {"point": "standalone/alembic_downgrade"}
    assert shop.run("main", **alone).changed
    assert not shop.run("main", **alone).changed
    assert shop.run("recover", **alone).changed
    assert shop.dump() == before


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], ["{checkout}/.venv/bin/python"]),
        (["{project}/venv/bin/python", "-I"], ["{project}/venv/bin/python", "-I"]),
        (["{project}/.venv/bin/python"], ["{checkout}/.venv/bin/python"]),
        ([".venv/bin/python"], ["{checkout}/.venv/bin/python"]),
        (["uv", "run", "python"], ["uv", "run", "python"]),
    ],
)
def test_the_interpreter_is_the_one_of_the_checkout_where_there_is_one(tmp_path, given, expected):
    project, checkout = tmp_path / "project", tmp_path / "checkout"
    for path in (project / ".venv/bin/python", project / "venv/bin/python", checkout / ".venv/bin/python"):
        path.parent.mkdir(parents=True)
        path.touch()
    places = {"project": project, "checkout": checkout}
    found = python_of([word.format(**places) for word in given], checkout, project)
    assert found == [word.format(**places) for word in expected]
