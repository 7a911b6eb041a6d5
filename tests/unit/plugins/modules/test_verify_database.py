# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""verify's checks of databases: SQLite files, and a real PostgreSQL server."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import time

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils._check_database import as_text
from ansible_collections.changeops.rollback.plugins.module_utils._command import Commands, PhaseError
from ansible_collections.changeops.rollback.plugins.module_utils._read_database import database_at
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.verify_bench import evidence, run

SCHEMA = """
    CREATE TABLE alembic_version (version_num TEXT);
    INSERT INTO alembic_version VALUES ('51b7d9aa0001');
    CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT, paid BOOLEAN);
    INSERT INTO customers VALUES (1, 'a', true), (2, 'b,"c', false), (3, NULL, NULL);
    CREATE TABLE "odd ""name" (x INTEGER);
    INSERT INTO "odd ""name" VALUES (1);
"""
ODD = 'odd "name'
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


class Sqlite:
    """A file, as a check names it: by a path, or by the URL in a variable."""

    def __init__(self, folder):
        self.path = str(folder / "shop's #1.db")
        self.address = self.path
        self.run(SCHEMA)

    def run(self, sql):
        connection = sqlite3.connect(self.path)
        connection.executescript(sql)
        connection.close()


class Server:
    """A database of its own on the server."""

    def __init__(self, folder):
        self.folder = folder
        self.address = f"postgresql://postgres@/verify?host={folder}"
        self.psql("postgres", "CREATE DATABASE verify")
        self.run(SCHEMA)

    def psql(self, database, sql):
        argv = ["psql", "-h", self.folder, "-U", "postgres", "-d", database, "-qc", sql]
        subprocess.run(argv, check=True, capture_output=True)

    def run(self, sql):
        self.psql("verify", sql)


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def database(request, tmp_path, monkeypatch):
    if request.param == "SQLite":
        yield Sqlite(tmp_path)
        return
    made = Server(request.getfixturevalue("postgresql"))
    yield made
    made.psql("postgres", "DROP DATABASE verify WITH (FORCE)")


def test_revision_and_sql(tmp_path, database):
    """One database for all of them, as a PostgreSQL one takes a while to make."""
    server = isinstance(database, Server)
    yes = "t" if server else "1"
    for kind, options, ok, says in [
        ("revision", {"expected": "51b7d9aa0001"}, True, "at revision 51b7d9aa0001"),
        ("revision", {"expected": "51b7"}, True, "at revision 51b7d9aa0001"),
        ("revision", {"expected": "51b"}, False, "at revision 51b7d9aa0001, expected 51b"),
        ("revision", {"expected": "base"}, False, "at revision 51b7d9aa0001, expected base"),
        (
            "revision",
            {"expected": ["51b7d9aa0001", "aaaa"]},
            False,
            "at revision 51b7d9aa0001, expected 51b7d9aa0001 and aaaa",
        ),
        ("revision", {"expected": "base", "version_table": "other"}, True, "at revision base"),
        ("sql", {"query": "SELECT count(*) FROM customers", "expected": 3}, True, "3"),
        ("sql", {"query": "SELECT count(*) > 2 FROM customers", "expected": True}, True, yes),
        ("sql", {"query": "SELECT name FROM customers WHERE id = 3", "expected": "NULL"}, True, "NULL"),
        ("sql", {"query": "SELECT name FROM customers WHERE id = 2", "expected": 'b,"c'}, True, 'b,"c'),
        ("sql", {"query": "SELECT 'password=hunter2'", "expected": "x"}, False, "password=********, expected x"),
        ("sql", {"query": "SELECT 1 FROM customers WHERE id = 9", "expected": 1}, False, "no row, expected 1"),
    ]:
        found = evidence(tmp_path, {kind: {"database": database.address, **options}})
        assert found == (ok, says), options
    for query, says in [
        ("DELETE FROM customers", "in a read-only transaction" if server else "attempt to write a readonly database"),
        ("SELECT nonsense", 'column "nonsense" does not exist' if server else "no such column: nonsense"),
        ("\\! touch " + str(tmp_path / "ran"), 'syntax error at or near "\\"' if server else "unrecognized token"),
    ]:
        ok, said = evidence(tmp_path, {"sql": {"database": database.address, "query": query, "expected": 1}})
        assert not ok and says in said, said
    assert not (tmp_path / "ran").exists()


def test_several_heads(tmp_path, database):
    database.run("INSERT INTO alembic_version VALUES ('aaaa00000000')")
    check = {"revision": {"database": database.address, "expected": ["aaaa", "51b7"]}}
    assert evidence(tmp_path, check) == (True, "at revision 51b7d9aa0001 and aaaa00000000")


def test_a_query_ends_at_its_timeout(tmp_path, database):
    begun = time.monotonic()
    check = {"sql": {"database": database.address, "query": ENDLESS, "expected": 1}, "timeout": 0.5}
    assert evidence(tmp_path, check) == (False, "no answer within 0.5 s")
    assert time.monotonic() - begun < 4
    if isinstance(database, Server):  # the server has ended it too
        busy = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%RECURSIVE n(i)%'"
        busy += " AND pid <> pg_backend_pid()"
        check["sql"].update(query=busy, expected=0)
        assert evidence(tmp_path, {**check, "retries": 20})[0]


def after(tmp_path, database, check, sql, root):
    """What the check finds when preflight was followed by ``sql``."""
    run(tmp_path, "preflight", check, root=root)
    database.run(f"BEGIN; {sql}; COMMIT")
    return evidence(tmp_path, check, root=root)


def test_rows(tmp_path, database):
    check = {"rows": {"database": database.address}}
    report = run(tmp_path, "preflight", check)
    assert list(report.before["kept"].values()) == ["4 rows in 2 tables"]
    for number, (options, sql, ok, says) in enumerate(
        [
            ({}, "SELECT 1", True, "4 rows in 2 tables, 4 before"),
            ({}, "DELETE FROM alembic_version", True, "4 rows in 2 tables, 4 before"),
            ({}, "INSERT INTO customers (id, name) VALUES (4, 'd')", True, "5 rows in 2 tables, 4 before"),
            (
                {"exactly": True},
                "INSERT INTO customers (id, name) VALUES (5, 'd')",
                False,
                "table customers had 4 rows and has 5",
            ),
            ({}, "DELETE FROM customers WHERE id = 1", False, "table customers had 5 rows and has 4"),
            ({"tables": [ODD]}, "DELETE FROM customers WHERE id = 2", True, "1 rows in 1 table, 1 before"),
            ({}, "ALTER TABLE customers RENAME TO kept", False, "table customers (3 rows) is gone"),
            ({"except": ["kept"]}, "DROP TABLE kept", True, "1 rows in 1 table, 1 before"),
        ]
    ):
        check = {"rows": {"database": database.address, **options}}
        assert after(tmp_path, database, check, sql, f"rows{number}") == (ok, says)


def test_content(tmp_path, database):
    rest = {"database": database.address, "table": "customers"}
    names, kept = {"columns": ["id", "name"]}, "all 3 rows are as they were; there are"
    yes = "true" if isinstance(database, Server) else "1"
    for number, (options, sql, ok, says) in enumerate(
        [
            (names, "SELECT 1", True, f"{kept} 3"),
            (names, "UPDATE customers SET paid = true", True, f"{kept} 3"),
            (names, "INSERT INTO customers (id, name) VALUES (4, 'd')", True, f"{kept} 4"),
            (
                {**names, "exactly": True},
                "INSERT INTO customers (id, name) VALUES (5, 'e')",
                False,
                "there were 4 rows and there are 5",
            ),
            (names, "UPDATE customers SET name = 'x' WHERE id = 2", False, "1 row has changed or gone: id 2"),
            (names, "UPDATE customers SET name = '' WHERE id = 3", False, "1 row has changed or gone: id 3"),
            # two that are the same, one of which goes
            (
                {"columns": ["paid"]},
                "DELETE FROM customers WHERE id = 1",
                False,
                f"1 row has changed or gone: paid {yes}",
            ),
            (
                {"columns": ["id"]},
                "DELETE FROM customers",
                False,
                "4 of 4 rows have changed or gone: id 2, 3, 4 and 1 more",
            ),
            ({"columns": ["id"]}, "DROP TABLE customers", False, "customers"),
        ]
    ):
        holds, said = after(tmp_path, database, {"content": {**rest, **options}}, sql, f"content{number}")
        assert holds is ok and (said == says or (number == 8 and says in said)), said
    kept = json.loads((tmp_path / "state" / "content0" / "verify" / "kept.json").read_text())
    ((_name, digests),) = kept.items()
    assert sorted(digests.values()) == [["1"], ["2"], ["3"]]  # and no other value
    with pytest.raises(PhaseError, match=r"no such column|does not exist"):
        database.run("CREATE TABLE customers (id INTEGER)")
        run(tmp_path, "preflight", {"content": {**rest, "columns": ["id", "nothing"]}}, root="wrong")


def test_a_resumed_run_compares_with_what_its_first_preflight_found(tmp_path):
    database = Sqlite(tmp_path)
    checks = [
        {"rows": {"database": database.address}},
        {"content": {"database": database.address, "table": "customers", "columns": ["id"]}},
    ]
    run(tmp_path, "preflight", *checks)
    database.run("DELETE FROM customers WHERE id = 1")
    run(tmp_path, "preflight", *checks)
    added = {"name": "added since", "rows": {"database": database.address}}
    with pytest.raises(PhaseError) as caught:
        run(tmp_path, "main", *checks, added)
    said = str(caught.value)
    assert "3 of 3 checks do not hold" in said
    assert "table customers had 3 rows and has 2" in said and "id 1" in said
    assert "added since: preflight of this run took down nothing to compare with; was the check added since?" in said


@pytest.mark.parametrize(
    "address", ["{path}", "sqlite:///{path}", "${{SHOP_DATABASE}}", "${{SHOP_URL}}", "${{FOLDER}}/{name}"]
)
def test_addresses_of_a_file(tmp_path, address):
    database = Sqlite(tmp_path)
    folder, name = os.path.split(database.path)
    environ = {
        "SHOP_DATABASE": "sqlite+aiosqlite:///" + database.path,
        "SHOP_URL": "sqlite:///" + database.path,
        "FOLDER": folder,
    }
    address = address.format(path=database.path.replace("#", "%23") if "://" in address else database.path, name=name)
    environ = {key: value.replace("#", "%23") if "://" in value else value for key, value in environ.items()}
    found = database_at(address, Commands(5.0, environ))
    assert found.query("SELECT count(*) FROM customers", 5.0) == [["3"]]


def test_the_url_of_a_server_comes_from_an_environment_file(tmp_path, postgresql):
    """With its password, which is nowhere to be seen."""
    (tmp_path / "env").write_text(f"SHOP_URL=postgresql+psycopg://postgres:canary@/postgres?host={postgresql}\n")
    files = [str(tmp_path / "env")]
    check = {"sql": {"database": "${SHOP_URL}", "query": "SELECT 1", "expected": 2}}
    assert evidence(tmp_path, check, environment_files=files) == (False, "1, expected 2")
    check = {"sql": {"database": "${SHOP_URL}", "query": "SELECT nonsense", "expected": 2}}
    holds, said = evidence(tmp_path, check, environment_files=files)
    assert not holds and "canary" not in said and "nonsense" in said


@pytest.mark.parametrize(("value", "text"), [(None, "NULL"), (True, "1"), (False, "0"), (1.5, "1.5"), ("a", "a")])
def test_as_text(value, text):
    assert as_text(value) == text
