# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PostgreSQL by psql: addresses, a real server, and no password where others can read it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils._command import Commands, PhaseError
from ansible_collections.changeops.rollback.plugins.module_utils._libpq import by_address, by_variable, url_variables
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal

PASSWORD = "canary/p@ss:word"
ENCODED = "canary%2Fp%40ss%3Aword"
PLAIN = {name: value for name, value in os.environ.items() if not name.startswith("PG")}


@pytest.mark.parametrize(
    ("url", "variables"),
    [
        ("postgresql:///shop", {"PGDATABASE": "shop"}),
        ("postgres://db1", {"PGHOST": "db1"}),
        ("postgresql://app@db1:5433/shop", {"PGUSER": "app", "PGHOST": "db1", "PGPORT": "5433", "PGDATABASE": "shop"}),
        ("postgresql+asyncpg://db1/shop?ssl=require", {"PGHOST": "db1", "PGDATABASE": "shop", "PGSSLMODE": "require"}),
        (f"postgresql://a%40b:{ENCODED}@db1/s", {"PGUSER": "a@b", "PGPASSWORD": PASSWORD, "PGHOST": "db1"}),
        ("postgresql://u:p:q@db1/s", {"PGPASSWORD": "p:q", "PGHOST": "db1"}),
        ("postgresql://[::1]:5433/shop", {"PGHOST": "::1", "PGPORT": "5433"}),
        ("postgresql://db1:5432,db2/shop", {"PGHOST": "db1,db2", "PGPORT": "5432,"}),
        ("postgresql:///shop?host=db1:5432&host=db2:5433", {"PGHOST": "db1,db2", "PGPORT": "5432,5433"}),
        ("postgresql:///shop?host=/run/pg&port=5433", {"PGHOST": "/run/pg", "PGPORT": "5433"}),
        ("postgresql://%2Frun%2Fpg/shop", {"PGHOST": "/run/pg", "PGDATABASE": "shop"}),
        ("postgresql:///?service=shop&prepared_statement_cache_size=0", {"PGSERVICE": "shop"}),
    ],
)
def test_a_url_becomes_the_variables_of_libpq(url, variables):
    found = url_variables(url)
    assert {name: found.get(name) for name in variables} == variables
    assert "PGPASSWORD" in variables or "PGPASSWORD" not in found


@pytest.mark.parametrize(
    "url",
    [
        "",
        "shop",
        "mysql://db1/shop",
        "postgresql://u:p@ss@db1/s",
        "postgresql://u:p/ss@db1/s",
        "postgresql://u:p#ss@h/s",
    ],
)
def test_what_is_no_url_is_not_guessed_at(url):
    assert url_variables(url) is None


@pytest.fixture(scope="module")
def server(postgresql):
    """A server with a database `shop`, and a user `reader` who needs a password."""
    rules = Path(postgresql, "data", "pg_hba.conf")
    before = rules.read_text()
    rules.write_text("local all reader scram-sha-256\n" + before)
    quoted = PASSWORD.replace("'", "''")
    for sql in (
        "SELECT pg_reload_conf()",
        "CREATE DATABASE shop",
        f"CREATE ROLE reader LOGIN PASSWORD '{quoted}'",
    ):
        subprocess.run(["psql", "-h", postgresql, "-U", "postgres", "-qc", sql], check=True, capture_output=True)
    yield postgresql
    for sql in ("DROP DATABASE shop", "DROP ROLE reader"):
        subprocess.run(["psql", "-h", postgresql, "-U", "postgres", "-qc", sql], check=True, capture_output=True)
    rules.write_text(before)


def connect(server, password=PASSWORD, **variables):
    return by_address(
        Commands(30.0, {**PLAIN, **({"PGPASSWORD": password} if password else {}), **variables}),
        f"postgresql://reader@/shop?host={server}",
    )


def test_a_query_gives_rows_as_text(server):
    database = connect(server)
    assert database.name == f"PostgreSQL database shop on {server}"
    query = "SELECT * FROM (VALUES (1, 'a,\"b\nc', NULL), (2, '', 'é')) AS t"
    assert database.query(query) == [["1", 'a,"b\nc', None], ["2", "", "é"]]
    assert database.query("SELECT ''") == [[""]]
    assert database.query("SELECT 1 WHERE false") == []
    assert database.major() >= 12


def test_a_service_is_an_address_and_another_variable_does_not_win_over_a_url(server, tmp_path):
    (tmp_path / "services").write_text(f"[shop]\nhost={server}\ndbname=shop\nuser=reader\n[other]\nhost=/nowhere\n")
    variables = {"PGSERVICEFILE": str(tmp_path / "services"), "PGPASSWORD": PASSWORD}
    commands = Commands(30.0, {**PLAIN, **variables})
    assert by_address(commands, "shop").query("SELECT current_database()") == [["shop"]]
    assert by_address(commands, "shop").conninfo == "service='shop'"
    assert connect(server, PGSERVICE="other", PGHOSTADDR="192.0.2.1", **variables).query("SELECT 1") == [["1"]]


def test_a_whole_url_comes_from_a_variable(server):
    url = f"postgresql+psycopg://reader:{ENCODED}@/shop?host={server}"
    database = by_variable(Commands(30.0, {**PLAIN, "SHOP_URL": url}), "SHOP_URL")
    assert database.query("SELECT current_user") == [["reader"]]
    assert database.conninfo == f"user='reader' dbname='shop' host='{server}'"


def test_the_password_is_in_no_argument(server, tmp_path):
    argv = tmp_path / "argv"
    (tmp_path / "psql").write_text(f'#!{sys.executable}\nimport sys\nopen({str(argv)!r}, "w").write(repr(sys.argv))\n')
    (tmp_path / "psql").chmod(0o755)
    url = f"postgresql://reader:{ENCODED}@/shop?host={server}"
    by_variable(Commands(30.0, {**PLAIN, "U": url, "PATH": str(tmp_path)}), "U").query("SELECT 1")
    assert "SELECT 1" in argv.read_text()
    assert "canary" not in argv.read_text()


@pytest.mark.parametrize("sql", ["CREATE TABLE t (a int)", "SELECT 1; CREATE TABLE t (a int)"])
def test_a_query_cannot_write(server, sql):
    with pytest.raises(PhaseError, match="cannot execute CREATE TABLE in a read-only transaction"):
        connect(server).query(sql)


@pytest.mark.parametrize("sql", [r"\! touch {mark}", "SELECT 1 \\\\ \\! touch {mark}", "SELECT 1\n\\! touch {mark}"])
def test_a_query_never_meets_a_shell(server, tmp_path, sql):
    mark = tmp_path / "mark"
    with pytest.raises(PhaseError, match="syntax error"):
        connect(server).query(sql.format(mark=mark))
    assert not mark.exists()


REFUSALS = [
    Refusal(
        "an address that is none",
        "'shop;ls' is no PostgreSQL database. Write a URL (postgresql://user@host/database) or the name of a service "
        "in pg_service.conf.",
        {"address": "shop;ls"},
    ),
    Refusal(
        "a password in an address",
        "The URL of PostgreSQL database shop on db1 holds a password, which would be logged. Take it out, and put "
        "PGPASSWORD or PGPASSFILE into a file of rollback_environment_files; or name the variable there that holds the "
        "whole URL.",
        {"address": f"postgresql://reader:{ENCODED}@db1/shop"},
    ),
    Refusal(
        "an address that cannot be read",
        "The URL in the address of a database cannot be read. Write postgresql://user@host:port/database, with special "
        "characters in it percent-encoded (%40 for @, %2F for /).",
        {"address": f"postgresql://reader:{PASSWORD}@db1/shop"},
    ),
    Refusal(
        "a variable that is not set",
        "The variable SHOP_URL is not set. Name the file that sets it in rollback_environment_files, or correct the "
        "variable's name.",
        {"variable": None},
    ),
    Refusal(
        "a variable that holds no URL",
        "The URL in the variable SHOP_URL cannot be read. Write postgresql://user@host:port/database, with special "
        "characters in it percent-encoded (%40 for @, %2F for /).",
        {"variable": f"mysql://reader:{PASSWORD}@db1/shop"},
    ),
    Refusal(
        "no psql on the host",
        "psql is not on PATH, and PostgreSQL database shop on <socket> is asked by it. Install PostgreSQL's client "
        "(apt-get install postgresql-client, dnf install postgresql).",
        {"PATH": "/nowhere"},
    ),
    Refusal(
        "no password",
        "There is no connection to PostgreSQL database shop on <socket>: psql: error: connection to server on socket "
        '"<path>" failed: fe_sendauth: no password supplied. Start it, or correct its address; a password comes '
        "from rollback_environment_files (PGPASSWORD or PGPASSFILE, or the variable with the whole URL).",
        {"password": None},
    ),
    Refusal(
        "a wrong password",
        "There is no connection to PostgreSQL database shop on <socket>: psql: error: connection to server on socket "
        '"<path>" failed: FATAL: password authentication failed for user "reader". Start it, or correct its address; '
        "a password comes from rollback_environment_files (PGPASSWORD or PGPASSFILE, or the variable with the whole "
        "URL).",
        {"password": "canary"},
    ),
    Refusal(
        "a query that the database refuses",
        'psql failed on PostgreSQL database shop on <socket> (exit code 1): ERROR: syntax error at or near "SELEC" / '
        "LINE 1: SELEC 1 / ^.",
        {"sql": "SELEC 1"},
    ),
]


@pytest.mark.parametrize("row", REFUSALS, ids=[row.case for row in REFUSALS])
def test_refused(server, row):
    given = dict(row.given)
    sql = given.pop("sql", "SELECT 1")
    with pytest.raises(PhaseError) as caught:
        if "address" in given:
            by_address(Commands(30.0, PLAIN), given["address"])
        elif "variable" in given:
            value = given["variable"]
            by_variable(Commands(30.0, {**PLAIN, **({"SHOP_URL": value} if value else {})}), "SHOP_URL")
        else:
            connect(server, **given).query(sql)
    assert row.matches(str(caught.value)), str(caught.value)
    assert "canary" not in str(caught.value)
