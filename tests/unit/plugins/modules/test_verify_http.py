# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""verify's http checks against a real server."""

from __future__ import annotations

import http.server
import json
import os
import re
import socketserver
import threading
import time

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils._json_values import differences, same
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.verify_bench import evidence, run

DOCUMENT = {
    "status": "failing",
    "checks": {"database": {"rows": 12000, "db.pool": 5}, "list": [{"id": 7}, True, None]},
    "session": {"token": "canary-in-the-answer", "note": "x" * 200},
    "deep": {"password": "canary-under-a-name"},
}
SECRET = 'canary"of the header'


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers by path; /echo gives back the request as it came."""

    protocol_version = "HTTP/1.0"
    elsewhere = ""

    def do_GET(self):
        length = int(self.headers.get("Content-Length") or 0)
        seen = {"method": self.command, "body": self.rfile.read(length).decode(), "headers": dict(self.headers)}
        status, body = {
            "/ok": (200, "status: ok"),
            "/moved": (302, ""),
            "/away": (302, ""),
            "/broken": (503, "database <b>is</b> gone"),
            "/secret": (500, "password=hunter2 " + "x " * 500_000),
            "/json": (200, json.dumps(DOCUMENT)),
            "/failing": (503, json.dumps(DOCUMENT)),
            "/big": (200, json.dumps(["x" * 1_100_000])),
            "/deep": (200, "[" * 100_000),
            "/echo": (200, json.dumps(seen)),
            "/slow": (200, "."),
        }[self.path]
        self.send_response(status)
        self.send_header("Location", self.elsewhere + "/echo" if self.path == "/away" else "/ok")
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(body.encode())
        for _step in range(100 if self.path == "/slow" else 0):
            time.sleep(0.05)
            self.wfile.write(b".")

    do_POST = do_PUT = do_HEAD = do_GET

    def log_message(self, *args):
        pass

    def address_string(self):
        return "here"


def serve(server):
    server.handle_error = lambda *args: None
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server


@pytest.fixture(scope="module")
def url():
    first = serve(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler))
    other = serve(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler))
    Handler.elsewhere = f"http://127.0.0.1:{other.server_port}"
    yield f"http://127.0.0.1:{first.server_port}"
    for server in (first, other):
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # this host is asked without it
    monkeypatch.setenv("SHOP_TOKEN", SECRET)


@pytest.mark.parametrize(
    ("options", "ok", "says"),
    [
        ({"url": "/ok"}, True, "HTTP 200"),
        ({"url": "/ok", "contains": "status: ok"}, True, "HTTP 200, contains 'status: ok'"),
        ({"url": "/moved", "contains": "ok"}, True, "HTTP 200, contains 'ok'"),
        ({"url": "/moved", "status": [301, 302]}, True, "HTTP 302"),
        ({"url": "/broken", "status": [200, 503]}, True, "HTTP 503"),
        ({"url": "/ok", "method": "head"}, True, "HTTP 200"),
        ({"url": "/broken"}, False, "HTTP 503, expected 200: database <b>is</b> gone"),
        ({"url": "/broken", "status": [200, 204]}, False, "HTTP 503, expected 200 or 204: database <b>is</b> gone"),
        ({"url": "/ok", "contains": "well"}, False, "HTTP 200, does not contain 'well': status: ok"),
        ({"url": "/secret"}, False, "HTTP 500, expected 200: password=******** " + "x " * 49 + "x..."),
        ({"url": "/json", "json": {"checks.database.rows": 12000}}, True, "HTTP 200, 1 JSON value as expected"),
        ({"url": "/failing", "status": 503, "json": {"status": "failing"}}, True, "HTTP 503, 1 JSON value as expected"),
        (
            {"url": "/failing", "json": {"status": "ok", "checks.database.rows": 11990}},
            False,
            'HTTP 503, expected 200, status: "failing", expected "ok", checks.database.rows: 12000, expected 11990',
        ),
        ({"url": "/ok", "json": {"status": "ok"}}, False, "HTTP 200, the answer is no JSON (text/plain): status: ok"),
        ({"url": "/deep", "json": {"a": 1}}, False, "HTTP 200, the answer is no JSON (text/plain): (one long word)"),
        ({"url": "/big", "json": {"0": 1}}, False, "HTTP 200, the answer is longer than 1 MiB"),
        ({"url": "/json", "json": {"session.token": 1}}, False, "HTTP 200, session.token: ********, expected 1"),
        ({"url": "/json", "json": {"deep.password": "no"}}, False, 'HTTP 200, deep.password: ********, expected "no"'),
        ({"url": "/json", "json": {"session.note": 1}}, False, f'HTTP 200, session.note: "{"x" * 56}..., expected 1'),
    ],
)
def test_answers(tmp_path, url, options, ok, says):
    holds, said = _asked(tmp_path, {**options, "url": url + options["url"]})
    assert (holds, said) == (ok, says)
    assert "canary" not in said and "hunter2" not in said


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        (
            {"method": "POST", "body": {"a": [1]}},
            {"method": "POST", "body": '{"a": [1]}', "headers.Content-Type": "application/json"},
        ),
        ({"method": "PUT", "body": "a=1"}, {"method": "PUT", "body": "a=1"}),
        ({"headers": {"X-One": 1}}, {"method": "GET", "body": "", "headers.X-One": "1"}),
        ({"basic_auth": "shop:no secret"}, {"headers.Authorization": "********"}),
    ],
)
def test_requests(tmp_path, url, options, sent):
    check = {"http": {**options, "url": url + "/echo", "json": sent}}
    holds, said = evidence(tmp_path, check)
    if "basic_auth" in options:  # what was sent is a secret, so it is not shown; the right one is accepted below
        sent = {"headers.Authorization": "Basic c2hvcDpubyBzZWNyZXQ="}
        assert "c2hvcD" not in said
        holds, said = evidence(tmp_path, {"http": {**check["http"], "json": sent}})
    assert holds, said


def _asked(tmp_path, options, files=()):
    holds, said = evidence(tmp_path, {"http": options}, environment_files=files)
    return holds, re.sub(r" in \d+ ms", "", said)


def test_secrets_come_from_environment_files_and_are_never_shown(tmp_path, url):
    (tmp_path / "env").write_text("SHOP_USER_PASSWORD=canary-from-a-file\n")
    options = {
        "url": url + "/echo",
        "headers": {"Authorization": "Bearer ${SHOP_TOKEN}", "X-Plain": "${SHOP_USER_PASSWORD}"},
        "json": {"headers.Authorization": f"Bearer {SECRET}", "headers.X-Plain": "canary-from-a-file"},
    }
    files = [str(tmp_path / "env")]
    assert evidence(tmp_path, {"http": options}, environment_files=files)[0]
    shown = {"headers.Authorization": 'HTTP 200, headers.Authorization: "Bearer ********", expected 1'}
    shown["headers.X-Plain"] = 'HTTP 200, headers.X-Plain: "********", expected 1'
    for path, says in shown.items():
        assert _asked(tmp_path, {**options, "json": {path: 1}}, files) == (False, says)
    for wrong in ({"json": {"headers": 1}}, {"json": {}, "contains": "nothing"}, {"json": {}, "status": [204]}):
        assert "canary" not in _asked(tmp_path, {**options, **wrong}, files)[1]
    password = {"url": url + "/echo", "basic_auth": "shop:${SHOP_USER_PASSWORD}", "json": {"headers.Authorization": 1}}
    says = 'HTTP 200, headers.Authorization: "Basic ********", expected 1'
    assert _asked(tmp_path, password, files) == (False, says)
    kept = "".join(path.read_text() for path in (tmp_path / "state").rglob("*.json"))
    assert kept and "canary" not in kept


def test_another_server_does_not_get_the_headers(tmp_path, url):
    """The redirect leads to another port, which is another server."""
    headers = {"Authorization": "Bearer ${SHOP_TOKEN}", "X-Key": "1"}
    check = {"http": {"url": url + "/away", "headers": headers, "json": {"headers.X-Key": "1"}}}
    holds, said = evidence(tmp_path, check)
    assert not holds and "headers.X-Key is not there, headers has" in said and "Authorization" not in said


def test_a_unix_socket(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short

    class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        daemon_threads = True

    class Local(Handler):
        def setup(self):
            super().setup()
            self.client_address = ("here", 0)

    with serve(Server("s", Local)) as server:
        check = {"http": {"url": "http://shop/echo", "unix_socket": "s", "json": {"headers.Host": "shop"}}}
        assert evidence(tmp_path, check)[0]
        server.shutdown()
    assert evidence(tmp_path, check) == (False, "no answer: [Errno 111] Connection refused")
    os.unlink("s")
    assert evidence(tmp_path, check) == (False, "no answer: [Errno 2] No such file or directory")


def test_no_server_and_one_that_never_ends(tmp_path, url):
    assert evidence(tmp_path, {"http": {"url": "http://127.0.0.1:9/"}}) == (
        False,
        "no answer: [Errno 111] Connection refused",
    )
    begun = time.monotonic()
    # each byte comes in time, all of them do not
    assert evidence(tmp_path, {"http": {"url": url + "/slow"}, "timeout": 0.3}) == (
        False,
        "no whole answer within 0.3 s",
    )
    assert time.monotonic() - begun < 1.2


def test_what_may_change_something_is_not_asked_in_preflight(tmp_path, url):
    checks = [{"http": {"url": url + "/broken", "method": method}} for method in ("GET", "POST")]
    report = run(tmp_path, "preflight", *checks)
    assert [check["name"] for check in report.facts["checks"]] == [f"GET {url}/broken"]


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({"status": "failing", "checks.list.0.id": 7, "checks.list.1": True, "checks.list.2": None}, []),
        ({"checks.database.db.pool": 5, "checks.database.rows": 12000.0}, []),
        ({"checks.list.0": {"id": 7}, "checks.list": [{"id": 7}, True, None]}, []),
        ({"status": 1}, ['status: "failing", expected 1']),
        ({"checks.list.1": 1}, ["checks.list.1: true, expected 1"]),
        ({"checks.database.rows": "12000"}, ['checks.database.rows: 12000, expected "12000"']),
        ({"checks.list.3": 1}, ["checks.list.3 is not there, checks.list is a list of 3"]),
        ({"checks.pool": 1}, ["checks.pool is not there, checks has database and list"]),
        ({"status.x": 1}, ['status.x is not there, status is "failing"']),
        ({"x": 1}, ["x is not there, the answer has checks, deep, session and status"]),
        ({"": 1}, [" is not there, the answer has checks, deep, session and status"]),
    ],
)
def test_json_values(wanted, says):
    assert differences(wanted, DOCUMENT, str) == says


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (1, 1.0, True),
        (1, True, False),
        (0, False, False),
        (1, "1", False),
        (None, False, False),
        ({"a": [1, {"b": 1}]}, {"a": [1.0, {"b": 1}]}, True),
        ({"a": [True]}, {"a": [1]}, False),
        ([1], [1, 2], False),
        ({"a": 1}, {"b": 1}, False),
    ],
)
def test_same(one, other, equal):
    assert [same(*pair) for pair in ((one, other), (other, one))] == [equal, equal]
