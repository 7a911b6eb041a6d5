# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rehearsal of alembic_downgrade with all data: what it says is lost is lost, and it leaves no trace."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
import typing as t

import pytest

pytest.importorskip("alembic")

from ansible_collections.changeops.rollback.plugins.module_utils import _alembic_rehearsal as rehearsal
from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.alembic_pg import PgShop
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.alembic_shop import ADD, DROP, Shop
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal

pytestmark = pytest.mark.usefixtures("forked_alembic")


class Case(t.NamedTuple):
    """Statements of the change, of its downgrade, and of what the app wrote since; and what the downgrade destroys."""

    up: list[str]
    down: list[str]
    wrote: list[str]
    destroys: list[str]
    unchanged: list[str]


OTHER = "CREATE TABLE other (a int)"
ROWS = "INSERT INTO invoices (id, name) VALUES (1, 'one'), (2, 'two'), (3, 'three')"
CASES = {
    "a column": Case(
        ['ALTER TABLE invoices ADD "Total" int'],
        ['ALTER TABLE invoices DROP COLUMN "Total"'],
        ['UPDATE invoices SET "Total" = 7 WHERE id < 3'],
        ["invoices.Total (2 values)"],
        ["other"],
    ),
    "a table": Case(
        ["CREATE TABLE notes (id int PRIMARY KEY, text varchar(9))"],
        ["DROP TABLE notes"],
        ["INSERT INTO notes VALUES (1, 'a'), (2, NULL)"],
        ["notes (the table, 2 rows)"],
        ["invoices", "other"],
    ),
    "rows of a data migration": Case(
        ["UPDATE invoices SET state = 'paid' WHERE id < 1"],
        [
            "UPDATE invoices SET state = 'open' WHERE id = 2",
            "DELETE FROM invoices WHERE id = 3",
            "INSERT INTO invoices (id, name) VALUES (9, 'nine')",
        ],
        ["UPDATE invoices SET state = 'paid'"],
        ["rows of invoices (1 changed, 1 deleted, 1 added)"],
        ["other"],
    ),
    "rows of a table without a primary key": Case(
        ["INSERT INTO other VALUES (5)"],
        ["DELETE FROM other WHERE a = 5"],
        ["INSERT INTO other VALUES (6), (6)"],
        ["rows of other (1 changed)"],
        ["invoices"],
    ),
    "nothing, where a column gets another name": Case(
        ["ALTER TABLE invoices RENAME COLUMN state TO status"],
        ["ALTER TABLE invoices RENAME COLUMN status TO state"],
        [],
        [],
        ["other"],
    ),
}


def code(statements: t.Sequence[str]) -> str:
    return "\n    ".join(f"op.execute({line!r})" for line in statements)


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def shop_of(request, tmp_path, monkeypatch):
    """Makes an app of a case, with either kind of database."""

    def make(case):
        if request.param == "SQLite":
            shop = Shop(tmp_path, code(case.up), code(case.down))
            shop.sql(OTHER)
            for line in [ROWS, *case.up, *case.wrote]:
                shop.sql(line)
            return shop
        pytest.importorskip("psycopg")
        socket = request.getfixturevalue("postgresql")
        shop = PgShop(tmp_path, monkeypatch, socket, case.up, case.down, setup=[OTHER, ROWS])
        shop.sql(*case.wrote, "SELECT 1")
        return shop

    return make


def found(shop):
    """What a rehearsal must leave as it is."""
    return (shop.rows(), shop.databases()) if isinstance(shop, PgShop) else shop.files()


def traces(shop):
    return [path for path in shop.state.rglob("*") if not path.is_dir()]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_it_says_is_what_the_downgrade_destroys(shop_of, case):
    shop = shop_of(case)
    shop.accepted = ["invoices", "notes", "other"]
    before = found(shop)
    report = shop.run("rehearse")
    assert found(shop) == before and traces(shop) == []
    assert report.facts["destroys"] == case.destroys
    assert report.facts["unchanged"] == case.unchanged
    assert ("No primary key tells the rows of other apart" in report.msg) == ("other (1 changed)" in str(case.destroys))
    assert set(report.facts["seconds"]) == {"main", "recover"}
    assert not report.changed
    shop.run("preflight")
    exported = shop.run("main").facts["exported"]
    assert set(report.facts["loss"]) <= set(exported)


def test_in_a_run_its_restore_point_stays_as_it_is(tmp_path):
    shop = Shop(tmp_path).totals()
    shop.run("preflight")
    before = {path: path.read_bytes() for path in traces(shop)}
    shop.run("rehearse")
    assert {path: path.read_bytes() for path in traces(shop)} == before
    assert shop.run("main").changed
    assert "stands at old already" in shop.run("rehearse").msg
    assert shop.run("recover").changed


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_the_app_goes_on_writing_meanwhile(tmp_path, journal):
    shop = Shop(tmp_path).totals(range(3000))
    shop.sql(f"PRAGMA journal_mode = {journal}")
    ended = threading.Event()
    wrote = []
    live = sqlite3.connect(shop.database, timeout=5, check_same_thread=False)

    def write():
        with contextlib.closing(live) as con:
            while not ended.is_set():
                con.execute("INSERT INTO invoices (name, total) VALUES ('live', 5)")
                con.commit()
                wrote.append(1)
                time.sleep(0.002)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        report = shop.run("rehearse")
    finally:
        ended.set()
        writer.join()
    number = report.facts["loss"]["invoices"]["values"]["total"]
    assert 3000 <= number <= 3000 + len(wrote)
    assert shop.sql("SELECT count(*) FROM invoices WHERE name = 'live'") == [(len(wrote),)]
    assert len(wrote) > 20


ROW = "if op.get_bind().exec_driver_sql('SELECT 1 FROM invoices').first():\n        raise ValueError('a row')\n    "
COLUMN = ["ALTER TABLE invoices ADD total int"], ["ALTER TABLE invoices DROP COLUMN total"]
KINDS = ("SQLite", "PostgreSQL")


@pytest.fixture(params=KINDS)
def shop_with(request, tmp_path, monkeypatch):
    """Makes an app with a column ``total`` more, with either kind of database; its migration may be given as code."""

    def make(up=None, down=None, **more):
        if request.param == "SQLite":
            return Shop(tmp_path, up or ADD, down or DROP).totals()
        pytest.importorskip("psycopg")
        socket = request.getfixturevalue("postgresql")
        given = {"python_up": up, "python_down": down, "setup": [ROWS], **more}
        shop = PgShop(tmp_path, monkeypatch, socket, *COLUMN, **given)
        shop.sql("UPDATE invoices SET total = 7", "SELECT 1")
        return shop

    return make


def without_downgrade(make, _monkeypatch, _tmp_path):
    shop = make()
    path = shop.versions / "new.py"
    path.write_text(path.read_text().replace("def downgrade", "def undo"))
    return shop


def full(make, monkeypatch, tmp_path):
    """Leave no room for a copy; the server's disk is full as soon as somebody fills the copy."""
    shop = make()
    monkeypatch.setattr(rehearsal, "free_space", lambda folder: (1, 1000))
    tool = tmp_path / "bin" / "psql"
    tool.parent.mkdir()
    said = 'ERROR:  could not extend file "base/7/8": No space left on device'
    fails = f"cat >/dev/null; echo '{said}' >&2; exit 3"
    real = shutil.which("psql")
    tool.write_text(f'#!/bin/sh\ncase "$*" in *dbname=*changeops_copy*) {fails} ;; esac\nexec {real} "$@"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    return shop


FAILS = (
    "The rehearsal with all data failed, on a copy of the database. The migration new (migrations/versions/new.py) "
    "failed: ValueError: a row"
)
SCHEMA_ONLY = "Or rehearse it on a copy of the schema alone: -e alembic_downgrade_rehearse_data=false"
# ``make`` makes the app; ``kind``: of which database the sentence is, else of both.
REFUSALS = [
    Refusal(
        "a rehearsal of a migration without downgrade",
        "The migration new (migrations/versions/new.py) has no downgrade(), so it cannot be undone. Write one, or take "
        "a revision above it as alembic_downgrade_to.",
        {"make": without_downgrade},
    ),
    Refusal(
        "a rehearsal of a migration whose downgrade begins with raise",
        "The downgrade() of the migration new begins with raise (migrations/versions/new.py, line <number>): it cannot "
        "be undone. Write what undoes it, or take a revision above it as alembic_downgrade_to.",
        {"make": lambda make, *_: make(down="raise NotImplementedError")},
    ),
    Refusal(
        "a rehearsal whose downgrade fails on the app's data",
        FAILS,
        {"make": lambda make, *_: make(down=ROW + code(COLUMN[1]))},
    ),
    Refusal(
        "a rehearsal whose upgrade fails on the app's data",
        FAILS,
        {"make": lambda make, *_: make(up=ROW + code(COLUMN[0]))},
    ),
    Refusal(
        "a rehearsal without room for a copy of a SQLite database",
        "The rehearsal with all data needs <size> MB in <restore point>, and only 0.0 MB are free there. Make room, "
        f"and run the same command again. {SCHEMA_ONLY}",
        {"make": full, "kind": "SQLite"},
    ),
    Refusal(
        "a rehearsal without room for a copy of a PostgreSQL database",
        "The rehearsal with all data failed, on a copy of the database. No copy of <database> with its data, about "
        "<size> MB, could be made on its server: psql says: ERROR: could not extend file <file>: No space left on "
        f"device. Make room there, and run the same command again. {SCHEMA_ONLY}",
        {"make": full, "kind": "PostgreSQL"},
    ),
]


NO_RIGHT = Refusal(
    "a rehearsal with a database user who may not create databases",
    "The rehearsal with all data failed, on a copy of the database. No copy of <database> with its data, about <size> "
    "MB, could be made on its server: psql says: ERROR: permission denied to create database. Let an administrator of "
    'the server run: ALTER ROLE "app" CREATEDB; Or rehearse it on a copy of the schema alone: '
    "-e alembic_downgrade_rehearse_data=false",
)
# brought about in a test of its own
REFUSALS.append(NO_RIGHT)


ON_EACH = [(kind, row) for row in REFUSALS if row.given for kind in KINDS if row.given.get("kind", kind) == kind]


@pytest.mark.parametrize(
    ("shop_with", "refusal"), ON_EACH, ids=[f"{kind}, {row.case}" for kind, row in ON_EACH], indirect=["shop_with"]
)
def test_what_it_finds_is_said_and_nothing_is_touched(shop_with, monkeypatch, tmp_path, refusal):
    shop = refusal.given["make"](shop_with, monkeypatch, tmp_path)
    before = found(shop)
    with pytest.raises(PhaseError) as failed:
        shop.run("rehearse")
    assert refusal.found_in(str(failed.value)), str(failed.value)
    assert found(shop) == before and traces(shop) == []


def test_who_may_not_create_databases_is_told_so(tmp_path, monkeypatch, postgresql):
    case = CASES["a column"]
    shop = PgShop(tmp_path, monkeypatch, postgresql, case.up, case.down, createdb=False)
    with pytest.raises(PhaseError) as failed:
        shop.run("rehearse")
    assert NO_RIGHT.matches(str(failed.value)), str(failed.value)
    assert traces(shop) == []
    report = shop.run("rehearse", rehearse_data=False)
    assert "was not even tried on a copy of its schema, only its statements were worked out" in report.msg
    assert report.warnings[0].startswith("The downgrade of ") and "CREATEDB" in report.warnings[0]


@pytest.mark.parametrize("kind", ["SQLite", "PostgreSQL"])
def test_one_that_was_killed_is_cleared_up_by_the_next(tmp_path, monkeypatch, request, kind):
    wait = (
        "import pathlib, time\n    while pathlib.Path('slow').exists():\n"
        "        pathlib.Path('reached').touch()\n        time.sleep(0.02)"
    )
    if kind == "SQLite":
        shop = Shop(tmp_path, down=f"{wait}\n    {DROP}").totals()
    else:
        up, down = ["ALTER TABLE invoices ADD total int"], f"{wait}\n    op.execute('ALTER TABLE invoices DROP total')"
        shop = PgShop(tmp_path, monkeypatch, request.getfixturevalue("postgresql"), up, [], python_down=down)
    before = found(shop)
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            # the migration of preflight, on a copy of the schema, need not wait
            threading.Timer(0, lambda: _when(shop, lambda: _copied(shop), (shop.root / "slow").touch)).start()
            shop.run("rehearse")
        os._exit(0)
    _when(shop, (shop.root / "reached").exists, lambda: None)
    group = int(subprocess.run(["pgrep", "-P", str(child)], capture_output=True, text=True, check=True).stdout)
    os.kill(child, signal.SIGKILL)
    os.killpg(group, signal.SIGKILL)
    os.waitpid(child, 0)
    for name in ("slow", "reached"):
        (shop.root / name).unlink()
    if kind == "PostgreSQL":
        shop.alone()
        assert shop.databases() != []
    else:
        assert traces(shop) != []
    assert shop.run("rehearse", wait=10.0).facts["destroys"] != []
    assert found(shop) == before and traces(shop) == []


def _copied(shop):
    if isinstance(shop, PgShop):
        return any("_copy_" in name for name in shop.databases())
    return any(path.name == "copy.sqlite" for path in traces(shop))


def _when(shop, what, then):
    until = time.monotonic() + 30
    while not what():
        assert time.monotonic() < until
        time.sleep(0.01)
    then()


def test_two_at_once_are_one_after_the_other(shop_with):
    shop = shop_with(down="import time\n    time.sleep(1)\n    " + code(COLUMN[1]))
    before = found(shop)
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            shop.run("rehearse")
        os._exit(0)
    _when(shop, lambda: any(path.is_dir() for path in shop.state.rglob("rehearsal")), lambda: None)
    with pytest.raises(PhaseError, match="Another rehearsal of 3-alembic_downgrade is at work on this host"):
        shop.run("rehearse")
    os.waitpid(child, 0)
    assert shop.run("rehearse", wait=30.0).facts["destroys"] != []
    assert found(shop) == before and traces(shop) == []


# each as the text that PostgreSQL reads: NaN is there, a number with a zero at its end, bytes that are no text
TYPES = {
    "bytea": r"'\x00ff5c27'",
    "numeric": "'NaN'",
    "numeric(40,20)": "123456789012345.10000000000000000000",
    "float8": "'NaN'",
    "timestamptz": "'infinity'",
    "json": """'{"b": 1,  "a": [1.0, 1e2], "b": 2}'""",
    "jsonb": """'{"a": 1.10}'""",
    "text[]": """ARRAY['a,b', '"', NULL, 'NULL', '', '{}']""",
    "numeric[]": "'{NaN,1.10,NULL}'",
}


def test_types_that_do_not_survive_text_come_back_on_the_copy(tmp_path, monkeypatch, postgresql):
    columns = ", ".join(f"c{n} {kind}" for n, kind in enumerate(TYPES))
    up = ["ALTER TABLE invoices " + ", ".join(f"ADD c{n} {kind}" for n, kind in enumerate(TYPES))]
    up += [f"CREATE TABLE loose ({columns})"]
    down = ["ALTER TABLE invoices " + ", ".join(f"DROP c{n}" for n in range(len(TYPES))), "DROP TABLE loose"]
    shop = PgShop(tmp_path, monkeypatch, postgresql, up, down, setup=[ROWS])
    for number, value in enumerate(TYPES.values()):
        shop.sql(
            f"UPDATE invoices SET c{number} = {value} WHERE id < 3", f"INSERT INTO loose (c{number}) VALUES ({value})"
        )
    before = shop.dump()
    report = shop.run("rehearse")
    values = {f"c{n}": 2 for n in range(len(TYPES))}
    assert report.facts["loss"]["invoices"]["values"] == values
    assert report.facts["loss"]["loose"]["rows"] == len(TYPES)
    assert shop.dump() == before
