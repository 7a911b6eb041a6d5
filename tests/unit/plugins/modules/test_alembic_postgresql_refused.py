# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What alembic_downgrade refuses on PostgreSQL, and what ends it in the middle: the old database or the new one."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time

import pytest

pytest.importorskip("alembic")
pytest.importorskip("psycopg")

from ansible_collections.changeops.rollback.plugins.module_utils._alembic_pg_tables import read_tables
from ansible_collections.changeops.rollback.plugins.module_utils._alembic_pg_transaction import Transaction
from ansible_collections.changeops.rollback.plugins.module_utils._alembic_server import OURS, Server
from ansible_collections.changeops.rollback.plugins.module_utils._alembic_sqlite import DriverError
from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.alembic_pg import PgShop
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal

pytestmark = pytest.mark.usefixtures("forked_alembic")

ADD = ["ALTER TABLE invoices ADD total numeric"]
DROP = ["ALTER TABLE invoices DROP total"]
ROWS = "INSERT INTO invoices SELECT g, 'n' || g, 'open', g * 1.10 FROM generate_series(1, 50) g"
SLOW = "op.execute('ALTER TABLE invoices DROP total')\n    import pathlib, time\n    "
SLOW += "while pathlib.Path('slow').exists(): pathlib.Path('reached').touch(); time.sleep(0.02)"
OWN = "op.execute('ALTER TABLE invoices DROP total')\n    import os\n    "
OWN += "sa.create_engine(os.environ['SHOP_URL']).connect()"
RAW = "op.execute('ALTER TABLE invoices DROP total')\n    op.get_bind().connection.dbapi_connection.commit()"

# ``step`` is refused; ``make``: how the shop's project differs; ``sql``: what an administrator does before, ``after``
# afterwards; ``session``: what another session has done.
REFUSALS = [
    Refusal(
        "another session on the database",
        "The database <database> is in use by session <pid> (psql, user postgres). Nothing was changed in "
        "it. Where sessions of other roles come from is hidden from app. Stop that, and run the same command again.",
        {"step": "main", "session": ("postgres", "psql", "SELECT 1")},
    ),
    Refusal(
        "an app whose migrations do not see what others write, while these may be at work",
        "The app's env.py runs migrations with the isolation level repeatable read, in which what others write "
        "meanwhile cannot be seen, and so not be kept. Nothing was changed in <database>. Take isolation_level out of "
        "its engine, or schema_compatible out of the plan and stop every app.",
        {
            "step": "main",
            "session": ("app", "web2", "SELECT 1"),
            "make": {"engine": ", isolation_level='REPEATABLE READ'"},
            "options": {"schema_compatible": True},
        },
    ),
    Refusal(
        "another session of the same role",
        "The database <database> is in use by session <pid> (cron.py, user app, on the server itself, query of <time> "
        "UTC). Nothing was changed in it. Stop that, and run the same command again.",
        {"step": "main", "session": ("app", "cron.py", "SELECT 1")},
    ),
    Refusal(
        "a prepared transaction on the database",
        "The database <database> is in use by the prepared transaction 'two' of postgres. Nothing was changed in it. "
        "Stop that, and run the same command again.",
        {
            "step": "main",
            "sql": "BEGIN; DELETE FROM invoices; PREPARE TRANSACTION 'two'",
            "after": "ROLLBACK PREPARED 'two'",
        },
    ),
    Refusal(
        "another run on the same database that takes too long",
        "Another run, from another host maybe, has been migrating the database <database> for longer than this "
        "phase may take. Nothing was changed. Wait for it, and run the same command again.",
        {"step": "main", "session": ("app", "", f"SELECT pg_advisory_lock({0x63686F70}, 0)"), "timeout": 12.0},
    ),
    Refusal(
        "a database that was migrated since preflight",
        "The database <database> stands at other, where nobody expects it: somebody migrated it since preflight. "
        "Nothing was changed in it.",
        {"step": "main", "sql": "UPDATE alembic_version SET version_num = 'other'"},
    ),
    Refusal(
        "an env.py that connects elsewhere than in preflight",
        "The app's env.py now connects to postgres on <server>; in preflight it was <database>. Nothing was "
        "changed. Look at the environment of this phase.",
        {"step": "main", "database": "postgres"},
    ),
    Refusal(
        "a migration that fails on the data",
        "The migration new (migrations/versions/new.py) failed: IntegrityError: "
        '(psycopg.errors.NotNullViolation) column "state" of relation "invoices" contains null values <more>',
        {
            "step": "main",
            "up": [*ADD, "ALTER TABLE invoices ALTER state DROP NOT NULL"],
            "down": ["ALTER TABLE invoices ALTER state SET NOT NULL", *DROP],
            "sql": "UPDATE invoices SET state = NULL",
        },
    ),
    Refusal(
        "a table of another role",
        "The downgrade changes the table invoices of <database>, which belongs to postgres; the app's env.py "
        "connects as "
        "app, which may not change it. Give env.py the URL of its owner in the environment files of this phase.",
        {"step": "preflight", "sql": "ALTER TABLE invoices OWNER TO postgres; GRANT ALL ON invoices TO app"},
    ),
    Refusal(
        "a table of another role, where nothing could be tried",
        "The migration new (migrations/versions/new.py) failed: <error> must be owner of table invoices <more>",
        {
            "step": "main",
            "make": {"createdb": False},
            "sql": "ALTER TABLE invoices OWNER TO postgres; GRANT ALL ON invoices TO app",
        },
    ),
    Refusal(
        "an engine in autocommit mode",
        "The app's env.py runs migrations in autocommit mode, so a failure could not be taken back. Nothing was "
        "changed. Take isolation_level='AUTOCOMMIT' out of its engine.",
        {"step": "preflight", "make": {"engine": ", isolation_level='AUTOCOMMIT'"}},
    ),
    Refusal(
        "a migration that ends the transaction",
        "A migration ends the transaction by itself (COMMIT), so a failure after that could not be taken back. "
        "Nothing was changed.",
        {"step": "preflight", "down": [*DROP, "COMMIT"]},
    ),
    Refusal(
        "a migration that commits with means of its driver",
        "A migration committed by itself, with means of its driver, so the downgrade of <database> cannot be one step. "
        "What it did until then stays: look with 'alembic current'.",
        {"step": "preflight", "make": {"python_down": RAW}},
    ),
    Refusal(
        "a migration with a connection of its own",
        "A migration opens a connection of its own to the database. What it does there would stay when the rest "
        "is taken back, so nothing was changed. Let it use op.get_bind().",
        {"step": "preflight", "make": {"python_down": OWN}},
    ),
    Refusal(
        "a column that goes from a table without a primary key",
        "The downgrade of <database> from new to old destroys loose.v (1 values), which the plan does not accept. No "
        "primary key tells the rows of loose apart, so all of it is exported, and it comes back as a whole, but not "
        "once the app has written to it. Nothing was changed. If that may be lost, write into the plan: rollback: "
        "{accept_loss: [invoices, loose.v]}",
        {
            "step": "preflight",
            "make": {"setup": ["CREATE TABLE loose (a int)"]},
            "up": [*ADD, "ALTER TABLE loose ADD v text"],
            "down": [*DROP, "ALTER TABLE loose DROP v"],
            "sql": "INSERT INTO loose VALUES (1, 'x'), (2, NULL)",
            "options": {"accept_loss": ["invoices"]},
        },
    ),
    Refusal(
        "a database server that does not answer",
        "The app's env.py failed: OperationalError: (psycopg.OperationalError) connection is bad: <what the "
        "driver says>",
        {"step": "preflight", "host": "/nonexistent"},
    ),
]


@contextlib.contextmanager
def nothing():
    yield


@pytest.mark.parametrize("row", REFUSALS, ids=[row.case for row in REFUSALS])
def test_it_refuses_with_a_sentence_and_leaves_everything(tmp_path, monkeypatch, postgresql, row):
    given = dict(row.given)
    up, down = given.get("up", ADD), given.get("down", DROP)
    shop = PgShop(tmp_path, monkeypatch, postgresql, up, down, **given.get("make", {}))
    shop.sql(ROWS)
    if given["step"] == "main" and "createdb" not in given.get("make", {}):
        shop.run("preflight")
    shop.alone()
    for statement in given.get("sql", "SELECT 1").split("; "):
        with shop.connect(host=postgresql, dbname=shop.name, user="postgres", autocommit=True) as con:
            con.execute(given["sql"] if "PREPARE" in given.get("sql", "") else statement)
        if "PREPARE" in statement or "PREPARE" in given.get("sql", ""):
            break
    if "host" in given:
        monkeypatch.setenv("SHOP_URL", shop.url().replace(postgresql, given["host"]))
    if "database" in given:
        monkeypatch.setenv("SHOP_URL", shop.url().replace(shop.name, given["database"]))
    user, program, done = given.get("session", ("app", "", ""))
    before = shop.rows()
    with shop.open(user=user, application_name=program) if done else nothing() as other:
        if done:
            other.execute(done)
        with pytest.raises(PhaseError) as caught:
            shop.run(given["step"], timeout=given.get("timeout", 60.0), **given.get("options", {}))
    assert row.matches(str(caught.value)), str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert shop.rows() == before
    assert shop.databases() == []
    if "after" in given:
        shop.admin(given["after"])


def test_a_locked_table_is_not_waited_for_and_the_holder_is_named(tmp_path, monkeypatch, postgresql):
    sa = pytest.importorskip("sqlalchemy")
    shop = PgShop(tmp_path, monkeypatch, postgresql, ADD, DROP)
    server = Server()
    engine = sa.create_engine(shop.url())
    with shop.open(application_name="report.py") as other, engine.connect() as con, other.transaction():
        other.execute("SELECT * FROM invoices")
        work = Transaction(server, list.__eq__, [], [], time.monotonic() + 3)
        work.con = con
        server.own = {con.execute(sa.text("SELECT pg_backend_pid()")).scalar()}
        tables = read_tables(con, (None, "alembic_version"))
        started = time.monotonic()
        with pytest.raises(
            DriverError, match=r"The table invoices of .* is locked by session \d+ \(report.py, user app"
        ):
            work.lock(tables.values())
        assert time.monotonic() - started < 3
    engine.dispose()


def run_apart(shop, step="main", **params):
    """Run a step in a process of its own."""
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            shop.run(step, **params)
        os._exit(0)
    return child


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@pytest.mark.parametrize("step", ["main", "recover"])
@pytest.mark.parametrize("end", ["kill -9", "connection lost"])
def test_an_end_in_the_middle_leaves_the_old_database_and_the_next_run_succeeds(
    tmp_path, monkeypatch, postgresql, end, step
):
    up = SLOW.replace("DROP total", "ADD total numeric")
    shop = PgShop(tmp_path, monkeypatch, postgresql, ADD, DROP, python_down=SLOW, python_up=up)
    shop.sql(ROWS)
    first = shop.dump()
    shop.run("preflight")
    if step == "recover":
        shop.run("main")
    shop.alone()
    before = shop.rows()
    (shop.root / "slow").touch()
    (shop.root / "reached").unlink(missing_ok=True)
    child = run_apart(shop, step)
    until((shop.root / "reached").exists)
    if end == "kill -9":
        group = int(subprocess.run(["pgrep", "-P", str(child)], capture_output=True, text=True, check=True).stdout)
        os.killpg(group, signal.SIGKILL)
    else:
        query = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}' AND application_name = '{}'"
        )
        assert shop.admin(query.format(shop.name, OURS), "postgres") == [(True,)]
    (shop.root / "slow").unlink()
    os.waitpid(child, 0)
    shop.alone()
    assert shop.rows() == before
    assert shop.run(step).changed
    assert shop.revision() == ("old" if step == "main" else "new")
    if step == "main":
        assert shop.run("recover").changed
    assert shop.dump() == first


def test_who_comes_while_the_migrations_run_is_seen_before_the_commit(tmp_path, monkeypatch, postgresql):
    shop = PgShop(tmp_path, monkeypatch, postgresql, ADD, DROP, python_down=SLOW)
    shop.sql(ROWS)
    shop.run("preflight")
    shop.alone()
    before = shop.rows()
    (shop.root / "slow").touch()
    refused = []

    def downgrade():
        with pytest.raises(PhaseError) as caught:
            shop.run("main")
        refused.append(str(caught.value))

    thread = threading.Thread(target=downgrade)
    thread.start()
    until((shop.root / "reached").exists)
    with shop.open(application_name="late.py"):
        (shop.root / "slow").unlink()
        thread.join()
    assert "is in use by session" in refused[0] and "late.py" in refused[0]
    assert shop.rows() == before


def test_a_downgrade_that_committed_and_was_not_noted_any_more_is_recovered(tmp_path, monkeypatch, postgresql):
    shop = PgShop(tmp_path, monkeypatch, postgresql, ADD, DROP)
    shop.sql(ROWS)
    before = shop.dump()
    shop.run("main")
    state = shop.point().read()
    shop.point().write(
        progress="started", after={}, prepared={k: v for k, v in state["prepared"].items() if k != "exported"}
    )
    assert not shop.run("main").changed
    assert shop.run("recover").changed
    assert shop.dump() == before


def test_two_hosts_with_one_database_make_one_downgrade_and_one_export(tmp_path, monkeypatch, postgresql):
    shop = PgShop(tmp_path, monkeypatch, postgresql, ADD, DROP)
    shop.sql(ROWS)
    before = shop.dump()
    points = ["host1/R1/3-alembic_downgrade", "host2/R1/3-alembic_downgrade"]
    for point in points:
        shop.run("preflight", point=point)
    reports = {}
    for point in points:
        reports[point] = threading.Thread(target=lambda p=point: reports.update({p: shop.run("main", point=p)}))
        reports[point].start()
    for thread in [value for value in reports.values() if isinstance(value, threading.Thread)]:
        thread.join()
    assert sorted(report.changed for report in reports.values()) == [False, True]
    assert len(list(tmp_path.rglob("export.json"))) == 1
    first = next(point for point in points if not reports[point].changed)
    report = shop.run("recover", point=first)
    assert (report.changed, report.msg) == (
        False,
        f"The database {shop.name} on {postgresql} was downgraded from another host, which has to put it back.",
    )
    assert shop.run("recover", point=next(point for point in points if point != first)).changed
    assert shop.dump() == before
