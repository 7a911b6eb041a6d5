# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""verify against a real HTTP server, SQLite files, commands and services."""

from __future__ import annotations

import http.server
import sqlite3
import sys
import threading
import time

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils import _verify
from ansible_collections.changeops.rollback.plugins.module_utils._checks import KINDS, as_text, short
from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.plugins.module_utils._phase import run_step
from ansible_collections.changeops.rollback.plugins.module_utils._processes import probe
from ansible_collections.changeops.rollback.plugins.module_utils._restore_point import RestorePoint

VERIFY = {"preflight": _verify.preflight, "main": _verify.main, "recover": _verify.recover}
DEFAULTS = {
    "http": {"status": 200, "contains": None, "headers": {}, "validate_certs": True},
    "rows": {"tables": [], "except": [], "exactly": False},
    "command": {"chdir": None, "rc": 0, "contains": None},
}


class Handler(http.server.BaseHTTPRequestHandler):
    """/ok, /moved (to /ok), /broken, /secret, /slow, /token (wants a header), /later (ok the fourth time)."""

    asked = 0

    def do_GET(self):
        type(self).asked += 1
        status, body = {
            "/ok": (200, "status: ok"),
            "/moved": (302, ""),
            "/broken": (503, "database <b>is</b> gone"),
            "/secret": (500, "password=hunter2 " + "x " * 500_000),
            "/token": (200 if self.headers["Authorization"] == "Bearer abc" else 401, ""),
            "/later": (200 if self.asked > 3 else 503, ""),
            "/slow": (200, "."),
        }[self.path]
        self.send_response(status)
        self.send_header("Location", "/ok")
        self.end_headers()
        self.wfile.write(body.encode())
        for _step in range(100 if self.path == "/slow" else 0):
            time.sleep(0.05)
            self.wfile.write(b".")

    def log_message(self, *args):
        pass


@pytest.fixture
def url(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # this host is asked without it
    monkeypatch.setattr(Handler, "asked", 0)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.handle_error = lambda *args: None
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "shop's #1.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(
            "CREATE TABLE alembic_version (version_num TEXT); INSERT INTO alembic_version VALUES ('51b7d9aa0001');"
            "CREATE TABLE customers (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT);"
            "INSERT INTO customers (name) VALUES ('a'), ('b'), (NULL);"
            'CREATE TABLE "odd ""name" (x); INSERT INTO "odd ""name" VALUES (1);'
        )
    connection.close()
    return str(path)


def run(tmp_path, step, *checks, check=False, services=(), **params):
    """Run a step on checks that are given by what differs from the defaults."""
    items = []
    for given in checks:
        item = {**dict.fromkeys(["name", *KINDS]), "timeout": 5.0, "retries": 0, "delay": 0.05, **given}
        for kind, defaults in DEFAULTS.items():
            if item[kind] is not None:
                item[kind] = {**defaults, **item[kind]}
        items.append(item)
    params = {"checks": items, "services": list(services), "timeout": 20.0, "wait": 1.0, "stays_up": 0.3, **params}
    params["restore_point"] = "R1/verify"
    return run_step(step, params, RestorePoint(str(tmp_path / "state" / "R1" / "verify")), VERIFY, check)


def evidence(tmp_path, check, **params):
    """Whether the check holds, and its evidence."""
    try:
        (result,) = run(tmp_path, "main", check, **params).facts["checks"]
    except PhaseError as exc:
        (result,) = exc.facts["checks"]
    assert set(result) == {"name", "ok", "evidence", "attempts", "seconds"}
    assert len(result["evidence"]) <= 300
    return result["ok"], result["evidence"]


@pytest.mark.parametrize(
    ("options", "ok", "says"),
    [
        ({"url": "/ok"}, True, "HTTP 200 in "),
        ({"url": "/ok", "contains": "status: ok"}, True, "contains 'status: ok'"),
        ({"url": "/moved", "contains": "ok"}, True, "HTTP 200 in "),
        ({"url": "/broken", "status": 503}, True, "HTTP 503 in "),
        ({"url": "/token", "headers": {"Authorization": "Bearer abc"}}, True, "HTTP 200"),
        ({"url": "/token"}, False, "HTTP 401"),
        ({"url": "/broken"}, False, "expected 200: database <b>is</b> gone"),
        ({"url": "/ok", "contains": "well"}, False, "does not contain 'well': status: ok"),
        ({"url": "/secret"}, False, "password=******** x x x"),
    ],
)
def test_http(tmp_path, url, options, ok, says):
    found = evidence(tmp_path, {"http": {**options, "url": url + options["url"]}})
    assert found[0] is ok and says in found[1]


def test_http_without_a_server_and_with_a_slow_one(tmp_path, url):
    assert evidence(tmp_path, {"http": {"url": "http://127.0.0.1:9/"}}) == (
        False,
        "no answer: [Errno 111] Connection refused",
    )
    begun = time.monotonic()
    evidence(tmp_path, {"http": {"url": url + "/slow"}, "timeout": 0.3})
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize(
    ("kind", "options", "ok", "says"),
    [
        ("revision", {"expected": ["51b7d9aa0001"]}, True, "at revision 51b7d9aa0001"),
        ("revision", {"expected": ["51b7"]}, True, "at revision 51b7d9aa0001"),
        ("revision", {"expected": ["51b"]}, False, "expected 51b"),
        ("revision", {"expected": ["base"]}, False, "at revision 51b7d9aa0001, expected base"),
        ("revision", {"expected": ["51b7d9aa0001", "aaaa"]}, False, "expected 51b7d9aa0001 and aaaa"),
        ("sql", {"query": "SELECT count(*) FROM customers", "expected": 3}, True, "3"),
        ("sql", {"query": "SELECT count(*) > 2 FROM customers", "expected": True}, True, "1"),
        ("sql", {"query": "SELECT name FROM customers WHERE id = 3", "expected": "NULL"}, True, "NULL"),
        ("sql", {"query": "SELECT 'password=hunter2'", "expected": "x"}, False, "password=********, expected x"),
        ("sql", {"query": "SELECT 1 FROM customers WHERE id = 9", "expected": 1}, False, "no row, expected 1"),
        ("sql", {"query": "DELETE FROM customers", "expected": 1}, False, "attempt to write a readonly database"),
        ("sql", {"query": "SELECT nonsense", "expected": 1}, False, "no such column: nonsense"),
    ],
)
def test_database(tmp_path, database, kind, options, ok, says):
    found = evidence(tmp_path, {kind: {"database": database, **options}})
    assert found[0] is ok and says in found[1]


def test_a_database_without_revisions_is_at_base(tmp_path):
    sqlite3.connect(tmp_path / "empty.db").close()
    (tmp_path / "empty.db").touch()
    check = {"revision": {"database": str(tmp_path / "empty.db"), "expected": ["base"]}}
    assert evidence(tmp_path, check) == (True, "at revision base")


def test_a_query_ends_at_its_timeout(tmp_path, database):
    query = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    check = {"sql": {"database": database, "query": query, "expected": 1}, "timeout": 0.3}
    assert evidence(tmp_path, check) == (False, "no answer within 0.3 s")


ALL, ODD = "4 rows in 2 tables, 4 before", 'odd "name'


@pytest.mark.parametrize(
    ("options", "change", "ok", "says"),
    [
        ({}, "", True, ALL),
        ({}, "INSERT INTO customers (name) VALUES ('d')", True, "5 rows in 2 tables, 4 before"),
        ({}, "DELETE FROM alembic_version", True, ALL),
        ({"exactly": True}, "INSERT INTO customers (name) VALUES ('d')", False, "customers had 3 rows and has 4"),
        ({}, "DELETE FROM customers WHERE id = 1", False, "table customers had 3 rows and has 2"),
        ({}, "DROP TABLE customers", False, "table customers (3 rows) is gone"),
        ({"except": ["customers"]}, "DROP TABLE customers", True, "1 rows in 1 table, 1 before"),
        ({"tables": [ODD]}, "DROP TABLE customers", True, "1 rows in 1 table, 1 before"),
    ],
)
def test_rows(tmp_path, database, options, change, ok, says):
    check = {"rows": {"database": database, **options}}
    counted = run(tmp_path, "preflight", check).before["rows"][f"rows of {database}"]
    assert all(count == {"customers": 3, ODD: 1}[table] for table, count in counted.items())
    with sqlite3.connect(database) as connection:
        connection.executescript(change)
    connection.close()
    found = evidence(tmp_path, check)
    assert found[0] is ok and says in found[1]


@pytest.mark.parametrize(
    ("options", "ok", "says"),
    [
        ({"argv": ["sh", "-c", "echo fine"]}, True, "exit code 0: fine"),
        ({"argv": ["sh", "-c", "pwd"], "chdir": "/usr", "contains": "/usr"}, True, "exit code 0: /usr"),
        ({"argv": ["sh", "-c", "exit 4"], "rc": 4}, True, "exit code 4"),
        ({"argv": ["sh", "-c", "echo token=hunter2; exit 4"]}, False, "exit code 4, expected 0: token=********"),
        ({"argv": ["echo", "fine"], "contains": "well"}, False, "does not print 'well': fine"),
        ({"argv": ["/nowhere/program"]}, False, "could not start: No such file"),
        ({"argv": ["sleep", "600"]}, False, "did not finish within 0.4 s"),
    ],
)
def test_command(tmp_path, options, ok, says):
    found = evidence(tmp_path, {"command": options, "timeout": 0.4 if "sleep" in options["argv"] else 5.0})
    assert found[0] is ok and says in found[1]


def test_service_up_flapping_and_down(rig, tmp_path):
    ports = [rig.supervised("up"), rig.supervised("down", autostart=False)]
    rig.supervised("flaps", die=0.5, more="startsecs=0\nautorestart=true")
    rig.start_supervisord()
    rig.until(lambda: probe("127.0.0.1", ports[0]))
    found = {}
    for name in ("up", "down", "flaps"):
        found[name] = evidence(tmp_path, {"service": name}, services=rig.items, stays_up=1.2)
    assert [ok for ok, _said in found.values()] == [True, False, False]
    assert "stayed up for 1.2 s" in found["up"][1] and "STOPPED" in found["down"][1]


def test_checks_are_tried_again_and_in_turns(tmp_path, url):
    # preflight, which main runs first, asks once
    later = {"http": {"url": url + "/later"}, "retries": 5, "delay": 0.1}
    report = run(tmp_path, "main", later, {"command": {"argv": ["true"]}})
    first, second = report.facts["checks"]
    assert (first["ok"], first["attempts"], second["attempts"]) == (True, 3, 1)
    assert second["seconds"] < first["seconds"]
    assert not report.changed


def test_all_failures_are_named_together(tmp_path, url, database):
    checks = [
        {"http": {"url": url + "/broken"}, "retries": 2},
        {"http": {"url": url + "/ok"}},
        {"name": "Enough customers", "sql": {"database": database, "query": "SELECT 3", "expected": 4}},
    ]
    with pytest.raises(PhaseError) as caught:
        run(tmp_path, "main", *checks)
    message = str(caught.value)
    assert message.startswith("2 of 3 checks do not hold. ")
    assert f"GET {url}/broken: HTTP 503" in message and "(3 attempts)" in message
    assert "Enough customers: 3, expected 4" in message
    assert [check["ok"] for check in caught.value.facts["checks"]] == [False, True, False]


def test_the_phase_deadline_ends_retries(tmp_path):
    begun = time.monotonic()
    with pytest.raises(PhaseError, match="false"):
        run(tmp_path, "main", {"command": {"argv": ["false"]}, "retries": 1000}, timeout=0.5)
    assert time.monotonic() - begun < 5


def test_preflight_tells_and_requires_nothing(tmp_path, url, database):
    marker = tmp_path / "ran"
    report = run(
        tmp_path,
        "preflight",
        {"http": {"url": url + "/broken"}, "retries": 50},
        {"revision": {"database": database, "expected": ["51b7"]}},
        {"command": {"argv": [sys.executable, "-c", f"open({str(marker)!r}, 'w')"]}},
        {"rows": {"database": database}},
    )
    assert [check["ok"] for check in report.facts["checks"]] == [False, True]
    assert f"1 of 2 that can be tried hold; not yet: GET {url}/broken." in report.msg
    assert report.pending is None and not report.changed
    assert not marker.exists()


def test_check_mode_runs_no_check(tmp_path):
    marker = tmp_path / "ran"
    report = run(tmp_path, "main", {"name": "mark", "command": {"argv": ["touch", str(marker)]}}, check=True)
    assert report.msg == "Would run 1 checks: mark." and not marker.exists()


def test_recover_has_nothing_to_put_back(tmp_path):
    run(tmp_path, "main", {"command": {"argv": ["true"]}})
    report = run(tmp_path, "recover", {"command": {"argv": ["true"]}})
    assert report.msg == "verify changes nothing, so there is nothing to put back." and not report.changed


@pytest.mark.parametrize(
    ("checks", "says"),
    [
        ([], r"verify has no checks\. List them in rollback_checks"),
        ([{"http": {"url": "ftp://x/"}}], "'ftp://x/' is no URL"),
        ([{"service": "web"}], "there is no service web in rollback_services"),
        ([{"rows": {"database": "/nowhere.db"}}], r"there is no file /nowhere\.db"),
        ([{"rows": {"database": "sqlite:///x.db"}}], "is a URL. Give the path of the SQLite file"),
        ([{"command": {"argv": []}}], "`argv` is empty"),
        ([{"command": {"argv": ["true"]}, "retries": -1}], "must not be negative"),
        ([{"command": {"argv": ["true"]}}] * 2, "Two checks are called 'command true'"),
        ([{"service": "a"}, {"service": "b"}], "service a in .*service b in "),
    ],
)
@pytest.mark.parametrize("step", ["preflight", "main"])
def test_faults_are_named(tmp_path, checks, says, step):
    with pytest.raises(PhaseError, match=says):
        run(tmp_path, step, *checks)


@pytest.mark.parametrize(
    ("content", "tables", "says"),
    [(b"no database " * 100, [], "cannot be counted.*not a database"), (b"", ["customers"], "has no table customers")],
)
def test_rows_that_cannot_be_counted_are_named(tmp_path, content, tables, says):
    (tmp_path / "x.db").write_bytes(content)
    with pytest.raises(PhaseError, match=says):
        run(tmp_path, "preflight", {"rows": {"database": str(tmp_path / "x.db"), "tables": tables}})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\n  b", "a b"),
        ("x" * 1_000_000, "(one long word)"),
        ("x" * 30, "x" * 17 + "..."),
        ("password=hunter2", "password=********"),
        ("a " * 30 + "token=" + "s" * 500, "a " * 8 + "a..."),
        ("token=" + "s" * 500, "(one long word)"),
    ],
)
def test_short_is_quick_and_masks_secrets(text, said):
    begun = time.monotonic()
    assert short(text, 20) == said
    assert time.monotonic() - begun < 0.5


@pytest.mark.parametrize(("value", "text"), [(None, "NULL"), (True, "1"), (False, "0"), (1.5, "1.5"), ("a", "a")])
def test_as_text(value, text):
    assert as_text(value) == text
