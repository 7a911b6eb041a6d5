# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The phase verify: required and wanted checks, retries, staying healthy, and what is refused."""

from __future__ import annotations

import http.server
import json
import sys
import threading
import time

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils._check_kind import short
from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.verify_bench import results, run
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal


class Handler(http.server.BaseHTTPRequestHandler):
    """/ok, /broken, /later (ok the fourth time), /ill (no longer after a while)."""

    asked = 0
    ill_from = float("inf")

    def do_GET(self):
        type(self).asked += 1
        status = {
            "/ok": 200,
            "/broken": 503,
            "/later": 200 if self.asked > 3 else 503,
            "/ill": 200 if time.monotonic() < self.ill_from else 500,
        }[self.path]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(b"password=hunter2")

    def log_message(self, *args):
        pass


@pytest.fixture
def url(monkeypatch):
    monkeypatch.setattr(Handler, "asked", 0)
    monkeypatch.setattr(Handler, "ill_from", float("inf"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_checks_are_tried_again_and_in_turns(tmp_path, url):
    # preflight, which main runs first, asks once
    later = {"http": {"url": url + "/later"}, "retries": 5, "delay": 0.1}
    report = run(tmp_path, "main", later, {"command": {"argv": ["true"]}})
    first, second = report.facts["checks"]
    assert (first["ok"], first["attempts"], second["attempts"]) == (True, 3, 1)
    assert second["seconds"] < first["seconds"]
    assert not report.changed


def test_all_failures_are_named_together(tmp_path, url):
    checks = [
        {"http": {"url": url + "/broken"}, "retries": 2},
        {"http": {"url": url + "/ok"}},
        {"name": "Enough customers", "command": {"argv": ["sh", "-c", "echo 3; exit 1"]}},
    ]
    with pytest.raises(PhaseError) as caught:
        run(tmp_path, "main", *checks)
    message = str(caught.value)
    assert message.startswith(f"2 of 3 checks do not hold. GET {url}/broken: HTTP 503")
    assert "(3 attempts)" in message
    assert message.endswith("Enough customers: exit code 1, expected 0: 3 (1 attempts).")
    assert [check["ok"] for check in caught.value.facts["checks"]] == [False, True, False]
    assert [check["ok"] for check in caught.value.facts["after"]["checks"].values()] == [False, True, False]


FAILS = {"name": "smoke", "command": {"argv": ["sh", "-c", "echo token=hunter2; exit 1"]}}
HOLDS = {"name": "fine", "command": {"argv": ["true"]}}
SAID = "smoke: exit code 1, expected 0: token=******** (1 attempts)."


def test_a_wanted_check_that_does_not_hold_is_a_warning(tmp_path):
    report = run(tmp_path, "main", HOLDS, {**FAILS, "required": False})
    assert report.msg == f"1 of 2 checks hold: fine (exit code 0). Wanted, but not so: {SAID}"
    assert report.warnings == [f"Wanted, but not so: {SAID}"]
    assert report.after == {
        "checks": {
            "fine": {"ok": True, "evidence": "exit code 0"},
            "smoke": {"ok": False, "evidence": "exit code 1, expected 0: token=********"},
        }
    }
    state = json.loads((tmp_path / "state" / "R1" / "verify" / "state.json").read_text())
    assert state["progress"] == "done" and state["after"] == report.after


def test_wanted_checks_are_named_beside_required_ones(tmp_path):
    with pytest.raises(PhaseError) as caught:
        run(tmp_path, "main", HOLDS, {**FAILS, "required": False}, {**FAILS, "name": "must"})
    assert str(caught.value) == (
        "1 of 3 checks do not hold. must: exit code 1, expected 0: token=******** (1 attempts). "
        f"Wanted, but not so: {SAID}"
    )


def test_the_app_must_stay_healthy(tmp_path, url):
    begun = time.monotonic()
    report = run(tmp_path, "main", {"name": "web", "http": {"url": url + "/ill"}}, HOLDS, stays_healthy=1.3)
    assert time.monotonic() - begun > 1.3
    assert report.msg.startswith("All 2 checks hold and stayed so for 1.3 s: web (HTTP 200 in ")
    web, command = report.facts["checks"]
    assert (web["attempts"], command["attempts"]) == (3, 1)  # a command may change something
    Handler.ill_from = time.monotonic() + 0.5
    found = results(tmp_path, {"name": "web", "http": {"url": url + "/ill"}}, stays_healthy=30.0, timeout=60.0)["web"]
    assert not found["ok"] and found["evidence"].startswith("it held, and no longer after 1.")
    assert "expected 200: password=********" in found["evidence"]
    assert time.monotonic() - begun < 15  # and not only at the end


def test_what_is_wanted_may_fall_ill(tmp_path, url):
    checks = [
        {"name": "ill", "http": {"url": url + "/ill"}, "required": False},
        {"name": "web", "http": {"url": url + "/ok"}},
    ]
    run(tmp_path, "preflight", *checks)
    Handler.ill_from = time.monotonic() + 0.5
    report = run(tmp_path, "main", *checks, stays_healthy=1.5)
    ill, web = report.facts["checks"]
    assert (ill["ok"], web["ok"]) == (False, True)
    assert report.warnings[0].startswith("Wanted, but not so: ill: it held, and no longer after 1.")


def test_the_phase_deadline_ends_everything(tmp_path, url):
    begun = time.monotonic()
    with pytest.raises(PhaseError, match="false"):
        run(tmp_path, "main", {"command": {"argv": ["false"]}, "retries": 1000}, timeout=0.5)
    checks = [{"name": "late", "command": {"argv": ["sleep", "1"]}}, {"name": "web", "http": {"url": url + "/ok"}}]
    with pytest.raises(PhaseError, match=r"web: the phase's timeout came before it had held for 2.5 s"):
        run(tmp_path, "main", *checks, timeout=3.0, stays_healthy=2.5)
    assert time.monotonic() - begun < 8


def test_preflight_tells_and_requires_nothing(tmp_path, url):
    marker = tmp_path / "ran"
    report = run(
        tmp_path,
        "preflight",
        {"http": {"url": url + "/broken"}, "retries": 50},
        {"http": {"url": url + "/ok"}},
        {"command": {"argv": [sys.executable, "-c", f"open({str(marker)!r}, 'w')"]}},
        {"files": {"paths": [str(tmp_path)]}},
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
    run(tmp_path, "main", HOLDS)
    report = run(tmp_path, "recover", HOLDS)
    assert report.msg == "verify changes nothing, so there is nothing to put back." and not report.changed


REFUSALS = [
    Refusal(
        "no checks",
        "verify has no checks. List them in rollback_checks (or verify_checks), or leave verify out of the plan.",
        [],
    ),
    Refusal(
        "a URL that is none",
        "Check 'GET ftp://x/': 'ftp://x/' is no URL. Write http://host:port/path or https://host/path, with spaces and "
        "other special characters percent-encoded.",
        [{"http": {"url": "ftp://x/"}}],
    ),
    Refusal(
        "a URL with a space",
        "Check 'GET http://x/a b': 'http://x/a b' is no URL. Write http://host:port/path or https://host/path, with "
        "spaces and other special characters percent-encoded.",
        [{"http": {"url": "http://x/a b"}}],
    ),
    Refusal(
        "a URL with a password",
        "Check 'GET http://shop:********@x/': 'http://shop:********@x/' holds a user. Give user and password in "
        "`basic_auth`, the password as ${VARIABLE}.",
        [{"http": {"url": "http://shop:hunter2@x/"}}],
    ),
    Refusal(
        "https on a unix socket",
        "Check 'GET https://x/': 'https://x/' cannot be asked on a unix socket. Write http://.",
        [{"http": {"url": "https://x/", "unix_socket": "/run/x"}}],
    ),
    Refusal(
        "a method that is none",
        "Check 'GET /X http://x/': 'GET /x' is no method. Write GET, HEAD or POST.",
        [{"http": {"url": "http://x/", "method": "GET /x"}}],
    ),
    Refusal(
        "a variable that is not set",
        "Check 'GET http://x/': the variable NOWHERE is not set. Name the file that sets it in "
        "rollback_environment_files, or correct the variable's name.",
        [{"http": {"url": "http://x/", "headers": {"X-Key": "${NOWHERE}"}, "basic_auth": "shop:${NOWHERE}"}}],
    ),
    Refusal(
        "a header of several lines",
        "Check 'GET http://x/': the header 'X-Key' cannot be sent: only one line of ASCII characters can. Correct it.",
        [{"http": {"url": "http://x/", "headers": {"X-Key": "hunter2\r\nX-Other: 1"}}}],
    ),
    Refusal(
        "a file of a database that is not there",
        "Check 'rows of /nowhere.db': there is no file /nowhere.db on this host. Give the path of the SQLite file.",
        [{"rows": {"database": "/nowhere.db"}}],
    ),
    Refusal(
        "a URL of an SQLite file with a relative path",
        "Check 'rows of sqlite:///x.db': 'sqlite:///x.db' names no absolute path. Write sqlite:////srv/shop/shop.db, "
        "or the path alone.",
        [{"rows": {"database": "sqlite:///x.db"}}],
    ),
    Refusal(
        "a database's URL with a password",
        "Check 'rows of postgresql://shop:********@db1/shop': The URL of PostgreSQL database shop on db1 holds a "
        "password, which would be logged. Take it out, and put PGPASSWORD or PGPASSFILE into a file of "
        "rollback_environment_files; or name the variable there that holds the whole URL.",
        [{"rows": {"database": "postgresql://shop:hunter2@db1/shop"}}],
    ),
    Refusal(
        "a database's variable that is not set",
        "Check 'rows of ${NOWHERE}': the variable NOWHERE is not set. Name the file that sets it in "
        "rollback_environment_files, or correct the variable's name.",
        [{"rows": {"database": "${NOWHERE}"}}],
    ),
    Refusal(
        "no columns",
        "Check 'content of t in /bin/sh': `columns` is empty. Name the columns whose values must be kept, the key "
        "first.",
        [{"content": {"database": "/bin/sh", "table": "t", "columns": []}}],
    ),
    Refusal(
        "rows of a file that is no database",
        "Check 'rows of /bin/sh': the rows of /bin/sh cannot be counted within 5 s: /bin/sh: file is not a "
        "database. Correct `database`, name fewer `tables`, or raise `timeout`.",
        [{"rows": {"database": "/bin/sh"}}],
    ),
    Refusal(
        "content of a file that is no database",
        "Check 'content of t in /bin/sh': the rows of t cannot be read within 5 s: /bin/sh: file is not a "
        "database. Correct `table` and `columns`, or raise `timeout`.",
        [{"content": {"database": "/bin/sh", "table": "t", "columns": ["id"]}}],
    ),
    Refusal(
        "rows of a table that is not there",
        "Check 'rows of <path>': <path> has no table customers. Correct `tables`.",
        [{"rows": {"database": "{empty}", "tables": ["customers"]}}],
    ),
    Refusal(
        "a negative number",
        "Check 'command true': timeout must be more than 0; retries and delay must not be negative.",
        [{"command": {"argv": ["true"]}, "retries": -1}],
    ),
    Refusal(
        "two checks of the same name",
        "Two checks are called 'command true'. Give one of them another `name`.",
        [{"command": {"argv": ["true"]}}] * 2,
    ),
    Refusal(
        "several faults",
        "Check 'service a': there is no service a in rollback_services (or verify_services). Add it there. Check "
        "'service b': there is no service b in rollback_services (or verify_services). Add it there.",
        [{"service": "a"}, {"service": "b"}],
    ),
    Refusal(
        "more time to stay healthy than there is",
        "The app cannot be watched for 600 s within the phase's timeout of 20 s. Give the phase a longer `timeout` in "
        "the plan, or lower verify_stays_healthy.",
        600.0,
    ),
    Refusal(
        "a negative time to stay healthy",
        "stays_healthy must not be negative. Correct verify_stays_healthy.",
        -1.0,
    ),
]


@pytest.mark.parametrize("step", ["preflight", "main"])
@pytest.mark.parametrize("row", REFUSALS, ids=[row.case for row in REFUSALS])
def test_refused(tmp_path, row, step):
    (tmp_path / "empty.db").touch()
    checks, params = row.given, {}
    if isinstance(checks, float):
        checks, params = [HOLDS], {"stays_healthy": checks}
    if "{empty}" in str(checks):
        checks = [{"rows": dict(checks[0]["rows"], database=str(tmp_path / "empty.db"))}]
    with pytest.raises(PhaseError) as caught:
        run(tmp_path, step, *checks, **params)
    assert row.matches(str(caught.value)), str(caught.value)


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
