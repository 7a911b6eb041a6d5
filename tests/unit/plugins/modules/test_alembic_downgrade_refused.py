# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What alembic_downgrade refuses or what ends it in the middle: the database stays as it was, and words say why."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

pytest.importorskip("alembic")

from ansible_collections.changeops.rollback.plugins.module_utils import _alembic_downgrade as phase
from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.alembic_shop import DROP, Shop

pytestmark = pytest.mark.usefixtures("bytecode")


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_other_sessions_are_refused_and_named(tmp_path, journal):
    shop = Shop(tmp_path).totals()
    shop.sql(f"PRAGMA journal_mode = {journal}")
    shop.run("preflight")
    before = shop.dump()
    code = "import sqlite3, time; c = sqlite3.connect('shop.db'); c.execute('SELECT 1 FROM invoices'); print(1)"
    other = subprocess.Popen(
        [sys.executable, "-uc", code + "; time.sleep(60)"], cwd=shop.database.parent, stdout=subprocess.PIPE
    )
    try:
        other.stdout.readline()
        with pytest.raises(PhaseError, match=rf"in use by process {other.pid} \(.*import sqlite3"):
            shop.run("main")
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    assert shop.dump() == before
    assert shop.sql("PRAGMA journal_mode") == [(journal,)]
    assert shop.run("main").changed


def test_a_failure_in_the_second_of_two_migrations_leaves_the_database_as_it_was(tmp_path):
    broken = DROP + "\n    if op.get_bind().exec_driver_sql('SELECT 1 FROM invoices').first():\n        1 / 0"
    more = [("newer", "new", "pass", 'op.execute("DELETE FROM invoices WHERE id > 5")')]
    shop = Shop(tmp_path, down=broken, more=more).totals()
    shop.sql("UPDATE alembic_version SET version_num = 'newer'")
    shop.run("preflight", **{"from": "newer"})
    before = shop.files()
    with pytest.raises(PhaseError, match=r"migration new \(migrations/versions/new.py\) failed: ZeroDivisionError"):
        shop.run("main", **{"from": "newer"})
    assert shop.files() == before
    assert not shop.run("recover", **{"from": "newer"}).changed
    assert shop.files() == before


def test_kill_9_in_the_middle_leaves_the_old_database_and_the_next_run_succeeds(tmp_path):
    slow = DROP + "\n    import pathlib, time\n    while pathlib.Path('slow').exists(): time.sleep(0.02)"
    shop = Shop(tmp_path, down=slow).totals()
    shop.run("preflight")
    (shop.root / "slow").touch()
    before = shop.database.read_bytes()
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            shop.run("main")
        os._exit(0)
    copy = shop.database.parent / ".shop.db.changeops"
    until = time.monotonic() + 20
    while not (copy.exists() and b"total" not in copy.read_bytes()[:8192]) and time.monotonic() < until:
        time.sleep(0.05)
    group = int(subprocess.run(["pgrep", "-P", str(child)], capture_output=True, text=True, check=True).stdout)
    os.killpg(group, signal.SIGKILL)
    os.waitpid(child, 0)
    assert copy.exists()
    assert shop.database.read_bytes() == before
    (shop.root / "slow").unlink()
    assert shop.run("preflight").pending
    assert shop.run("main").changed
    assert [path.name for path in shop.database.parent.iterdir()] == ["shop.db"]


@pytest.mark.parametrize("damage", ["unlink", "write"])
def test_a_damaged_export_is_never_put_back(tmp_path, damage):
    shop = Shop(tmp_path).totals()
    shop.run("main")
    export = shop.state / "R1/3-alembic_downgrade/export.sqlite"
    assert export.stat().st_mode & 0o777 == 0o600
    if damage == "unlink":
        export.unlink()
    else:
        with contextlib.closing(sqlite3.connect(export)) as con:
            con.execute("UPDATE invoices SET total = 3")
            con.commit()
    before = shop.files()
    with pytest.raises(PhaseError, match="is missing, or is not what the downgrade wrote"):
        shop.run("recover")
    assert shop.files() == before


REFUSED = {
    "elsewhere": ({}, "UPDATE alembic_version SET version_num = 'other'", "stands at other; the plan expects new"),
    "later": ({}, "UPDATE alembic_version SET version_num = 'newest'", r"Later changes.*\(newest, newer\): roll those"),
    "branches": ({}, "INSERT INTO alembic_version VALUES ('old')", "several revisions at once"),
    "empty": ({}, "DELETE FROM alembic_version", "stands at base"),
    "unknown to": ({"to": "older"}, "SELECT 1", "'older' is no revision before new"),
    "to after from": ({"to": "newer"}, "SELECT 1", "'newer' is no revision before new"),
    "counted too far": ({"to": "-9"}, "SELECT 1", "cannot be counted from new"),
    "no downgrade": (
        {"from": "newest", "to": "new"},
        "UPDATE alembic_version SET version_num = 'newest'",
        r"newest \(migrations/versions/newest.py\) failed: NotImplementedError",
    ),
    "base": ({"to": "base"}, "SELECT 1", r"old \(migrations/versions/old.py\) failed: NotImplementedError"),
    "no project": ({"config": "other.ini"}, "SELECT 1", "There is no other.ini"),
    "no interpreter": ({"python": ["/nowhere/python"]}, "SELECT 1", "No such file"),
    "no alembic": ({"python": [sys.executable, "-I", "-S"]}, "SELECT 1", "Alembic cannot be imported.*uv sync"),
    "no commit": ({"release": "abc"}, "SELECT 1", "not a git repository"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_preflight_refuses_with_a_sentence(tmp_path, name):
    params, statement, words = REFUSED[name]
    more = [("newer", "new", "pass", "pass"), ("newest", "newer", "pass", "raise NotImplementedError")]
    shop = Shop(tmp_path, more=more).totals()
    shop.sql(statement)
    before = shop.files()
    with pytest.raises(PhaseError, match=words):
        shop.run("preflight", **params)
    assert shop.files() == before


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        ("creator", "by itself"),
        ("memory", "in memory"),
        pytest.param(
            "postgresql",
            "connects to a postgresql database; only SQLite",
            marks=pytest.mark.skipif(not importlib.util.find_spec("psycopg"), reason="psycopg is not installed"),
        ),
    ],
)
def test_databases_that_cannot_be_led_to_a_copy_are_refused(tmp_path, engine, words):
    shop = Shop(tmp_path, engine=engine).totals()
    before = shop.files()
    with pytest.raises(PhaseError, match=words) as caught:
        shop.run("preflight")
    assert "secret" not in str(caught.value)
    assert shop.files() == before


@pytest.mark.parametrize(
    ("needs", "free", "words"),
    [
        ({"/a": 10, "/b": 10}, {"/a": (1, 19), "/b": (1, 19)}, "/a and /b"),
        ({"/a": 10, "/b": 10}, {"/a": (1, 10), "/b": (2, 9)}, "in /b,"),
        ({"/a": 10, "/b": 10}, {"/a": (1, 10), "/b": (2, 10)}, None),
    ],
)
def test_space_is_counted_by_file_system(needs, free, words):
    said = phase.shortage(needs, lambda folder: free[folder])
    assert (words in said) if words else said is None
