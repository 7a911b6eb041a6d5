# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What alembic_downgrade refuses or what ends it in the middle: the database stays as it was, and words say why."""

from __future__ import annotations

import contextlib
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
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal

pytestmark = pytest.mark.usefixtures("forked_alembic")


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


# How the shop's project is made, what is done to its database, and the options of the phase that differ.
MORE = [
    ("newer", "new", "pass", "pass"),
    ("newest", "newer", "pass", '"""Nothing."""\n    raise NotImplementedError'),
    ("late", "newer", "pass", "if True:\n        raise RuntimeError('postgresql://u:secret@db')"),
    ("twice", "newer", 'op.execute("CREATE TABLE twice (id)")', "pass"),
    ("lone", None, "pass", "pass"),
    ("joint", ("new", "lone"), "pass", "pass"),
]


def at(*revisions):
    rows = ", ".join(f"('{revision}')" for revision in revisions)
    return ["DELETE FROM alembic_version", f"INSERT INTO alembic_version VALUES {rows}"]


UNCOUNTED = (
    "it leads past the first revision, past a merge or down several branches, or stands beside whole revisions. Look "
    "with 'alembic history' and write whole revisions into alembic_downgrade_to."
)
REFUSALS = [
    Refusal(
        "a database that stands elsewhere",
        "The database <database> stands at other; the plan expects new (or old, if it is done already). Its migration "
        "file is not in <project>. Look with 'alembic history' and correct alembic_downgrade_from and "
        "alembic_downgrade_to in the plan.",
        {"sql": at("other")},
    ),
    Refusal(
        "a database that stands before the change",
        "The database <database> stands at base; the plan expects new (or old, if it is done already). Look with "
        "'alembic history' and correct alembic_downgrade_from and alembic_downgrade_to in the plan.",
        {"sql": ["DELETE FROM alembic_version"]},
    ),
    Refusal(
        "later changes on top of this one",
        "The database <database> stands at newest; the plan expects new (or old, if it is done already). Later changes "
        "came on top of this one (newest, newer): roll those back first.",
        {"sql": at("newest")},
    ),
    Refusal(
        "a database with branches of which the plan names one",
        "The database <database> stands at lone and new; the plan expects new (or old, if it is done already). A "
        "database with branches is named by all revisions that it stands at: write them all into "
        "alembic_downgrade_from, and those that are to be left into alembic_downgrade_to.",
        {"sql": at("lone", "new")},
    ),
    Refusal(
        "a version table that was edited by hand",
        "After the downgrade an upgrade ends at new, not at new and old, where the database <database> stands: its "
        "version table was edited by hand. Mend it with: alembic stamp --purge new",
        {"sql": at("old", "new")},
    ),
    Refusal(
        "a revision to go back to that there is not",
        "'older' is no revision before new in <project>. Look with 'alembic history' and correct alembic_downgrade_to "
        "in the plan.",
        {"to": "older"},
    ),
    Refusal(
        "a revision to go back to that is later",
        "'newer' is no revision before new in <project>. Look with 'alembic history' and correct alembic_downgrade_to "
        "in the plan.",
        {"to": "newer"},
    ),
    Refusal(
        "a count that leads too far",
        "'-9' cannot be counted from new in <project>: " + UNCOUNTED,
        {"to": "-9"},
    ),
    Refusal(
        "a count that leads past a merge",
        "'-2' cannot be counted from joint in <project>: " + UNCOUNTED,
        {"sql": at("joint"), "from": "joint", "to": "-2"},
    ),
    Refusal(
        "a count where the database has branches",
        "'-1' cannot be counted from lone and new in <project>: " + UNCOUNTED,
        {"sql": at("lone", "new"), "from": "lone,new", "to": "-1"},
    ),
    Refusal(
        "a count beside a whole revision",
        "'-1, lone' cannot be counted from lone and new in <project>: " + UNCOUNTED,
        {"sql": at("lone", "new"), "from": "lone,new", "to": "-1,lone"},
    ),
    Refusal(
        "a count from a revision whose migration file is gone",
        "'-1' cannot be counted from gone, because its migration file is not in <project>. Write the whole revision "
        "into alembic_downgrade_to, or set alembic_downgrade_release to the commit that was running.",
        {"sql": at("gone"), "from": "gone", "to": "-1"},
    ),
    Refusal(
        "code that was reverted before the database",
        "The database <database> stands at gone, but its migration file is not in <project>: the code was reverted "
        "before the database. Set alembic_downgrade_release to the commit that was running.",
        {"sql": at("gone"), "from": "gone"},
    ),
    Refusal(
        "a migration whose downgrade begins with raise",
        "The downgrade() of the migration newest begins with raise (migrations/versions/newest.py, line 15): it cannot "
        "be undone. Write what undoes it, or take a revision above it as alembic_downgrade_to.",
        {"sql": at("newest"), "from": "newest"},
    ),
    Refusal(
        "a migration without downgrade",
        "The migration lone (migrations/versions/lone.py) has no downgrade(), so it cannot be undone. Write one, or "
        "take a revision above it as alembic_downgrade_to.",
        {"sql": at("lone"), "from": "lone", "to": "base", "edit": ("lone", "def downgrade", "def undo")},
    ),
    Refusal(
        "a migration whose downgrade fails on a copy of the schema",
        "The migration late (migrations/versions/late.py) failed: RuntimeError: postgresql://u:********@db",
        {"sql": at("late"), "from": "late"},
    ),
    Refusal(
        "a downgrade after which the upgrade fails",
        "A failed rollback could not be undone: after the downgrade of a copy without rows, the upgrade does not work. "
        "Correct the migration. The migration twice (migrations/versions/twice.py) failed: "
        " OperationalError: (sqlite3.OperationalError) table twice already "
        "exists <more>",
        {"sql": [*at("twice"), "CREATE TABLE twice (id)"], "from": "twice", "to": "newer"},
    ),
    Refusal(
        "a migration file that cannot be read",
        "Alembic cannot use <file>: <problem> (newest.py, line 3)",
        {"edit": ("newest", "from alembic import op", "from alembic import")},
    ),
    Refusal(
        "no configuration of Alembic",
        "There is no other.ini in <project>. Set alembic_downgrade_project to the directory that holds it, and "
        "alembic_downgrade_config to its name.",
        {"config": "other.ini"},
    ),
    Refusal(
        "a section of the configuration that there is not",
        "Alembic cannot use <file>: No <what is missing>",
        {"section": "shop"},
    ),
    Refusal(
        "an empty revision",
        "alembic_downgrade_to is empty. Write a revision there; 'alembic history' lists them.",
        {"to": ""},
    ),
    Refusal(
        "a change that is not named by its revision",
        "alembic_downgrade_from is '-1', which only tells a way. Write the revision that the change brought, so that "
        "nothing else is undone; 'alembic history' lists them.",
        {"from": "-1"},
    ),
    Refusal(
        "an interpreter that there is not",
        "'/nowhere/python <folder> <request>' could not start: No such file or directory.",
        {"python": ["/nowhere/python"]},
    ),
    Refusal(
        "an interpreter without Alembic",
        "Alembic cannot be imported by <python> (No module named 'alembic'). Install the app's environment (uv sync "
        "--frozen, in <project>), or name its interpreter in alembic_downgrade_python.",
        {"python": [sys.executable, "-I", "-S"]},
    ),
    Refusal(
        "a release without a repository",
        "No checkout of a release can be made of <project>: fatal: not a git repository (or any of the parent "
        "directories): .git. Set alembic_downgrade_project to the directory in the repository, or take "
        "alembic_downgrade_release out.",
        {"release": "abc"},
    ),
    Refusal(
        "connections that cannot be led elsewhere",
        "The app's env.py makes its database connections by itself (create_engine with creator=, say), so they cannot "
        "be led to a copy. Let it use a URL.",
        {"engine": "creator"},
    ),
    Refusal(
        "a database in memory",
        "The app's env.py connects to a database in memory, so there is nothing to downgrade.",
        {"engine": "memory"},
    ),
    Refusal(
        "another kind of database",
        "The app's env.py connects to a database of the kind oracle. This phase can downgrade PostgreSQL, SQLite, "
        "MySQL and MariaDB. Downgrade it by a script of your own (method: script).",
        {"engine": "oracle"},
    ),
]


@pytest.mark.parametrize("row", REFUSALS, ids=[row.case for row in REFUSALS])
def test_preflight_refuses_with_a_sentence(tmp_path, row):
    params = dict(row.given)
    shop = Shop(tmp_path, engine=params.pop("engine", "relative"), more=MORE).totals()
    shop.sql(*params.pop("sql", ["SELECT 1"]))
    revision, old, new = params.pop("edit", ("new", "", ""))
    path = shop.versions / f"{revision}.py"
    path.write_text(path.read_text().replace(old, new))
    before = shop.files()
    with pytest.raises(PhaseError) as caught:
        shop.run("preflight", **params)
    assert row.matches(str(caught.value)), str(caught.value)
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
