# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An alert starts the workflow of its change in AWX, once, by ansible-rulebook with its webhook.

AWX is a web server here, which answers what ansible-rulebook asks and keeps what it is told to start.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import shutil
import socket
import subprocess
import threading
import time
import typing as t
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml
from harness import BIN

TOKEN = "alertmanager's-own"


class Awx(http.server.ThreadingHTTPServer):
    """An AWX with the workflow; what it started goes on for ever."""

    def __init__(self) -> None:
        self.started: list[dict[str, t.Any]] = []
        super().__init__(("127.0.0.1", 0), _Api)
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Api(http.server.BaseHTTPRequestHandler):
    server: Awx

    def answer(self, **body: t.Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/api/v2/unified_job_templates/":
            asks = {f"ask_{what}_on_launch": what == "limit" for what in ("limit", "labels", "inventory", "variables")}
            workflow = {
                "id": 7,
                "type": "workflow_job_template",
                "name": "Rehearse, ask, roll back",
                "related": {"launch": "/api/v2/workflow_job_templates/7/launch/"},
                "summary_fields": {"organization": {"name": "Rollback"}},
            }
            self.answer(count=1, next=None, results=[workflow | asks])
        elif path == "/api/v2/workflow_jobs/":
            jobs = [{"id": 9 + index, "status": "running"} for index in range(len(self.server.started))]
            self.answer(count=len(jobs), next=None, results=jobs)
        else:
            self.answer(version="24.6.1")

    def do_POST(self) -> None:
        assert self.path == "/api/v2/workflow_job_templates/7/launch/"
        assert self.headers["Authorization"] == "Bearer awx-token"
        self.server.started.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        number = 8 + len(self.server.started)
        self.answer(id=number, url=f"/api/v2/workflow_jobs/{number}/")

    def log_message(self, *_args: t.Any) -> None:
        pass


@pytest.fixture
def awx() -> t.Iterator[Awx]:
    with Awx() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def post(port: int, *alerts: dict[str, t.Any], token: str = TOKEN) -> int:
    """Send what Alertmanager sends, a group of alerts; returns the status of the answer, 0 where nobody listens."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/",
        data=json.dumps({"version": "4", "status": "firing", "receiver": "rollback", "alerts": alerts}).encode(),
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {token}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as answer:
        return answer.code
    except OSError:
        return 0


def alert(status: str = "firing", **labels: str) -> dict[str, t.Any]:
    return {"status": status, "labels": {"alertname": "ShopFails", **labels}, "annotations": {}, "fingerprint": "1f"}


@contextlib.contextmanager
def rulebook(awx: Awx, place: Path, **variables: t.Any) -> t.Iterator[int]:
    """Run the rulebook by its name; yields the port of its webhook once that listens."""
    if not shutil.which("java"):
        pytest.skip("ansible-rulebook needs Java, which is not installed here (apt-get install default-jre-headless).")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (place / "variables.yml").write_text(
        yaml.safe_dump({"rollback_webhook_host": "127.0.0.1", "rollback_webhook_port": port, **variables})
    )
    log = place / "rulebook.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [BIN / "ansible-rulebook", "--rulebook", "changeops.rollback.rollback_on_alert", "--vars", "variables.yml"],
            cwd=place,
            env={
                **os.environ,
                "PATH": f"{BIN}:{os.environ['PATH']}",
                "EDA_CONTROLLER_URL": awx.url,
                "EDA_CONTROLLER_TOKEN": "awx-token",
            },
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    try:
        until = time.monotonic() + 300
        while not post(port, token="nobody's"):
            assert process.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(30)
        print(log.read_text())


def test_alert_starts_the_workflow_of_its_change_once(awx: Awx, tmp_path: Path) -> None:
    with rulebook(awx, tmp_path, rollback_webhook_token=TOKEN) as port:
        assert post(port, alert(change="C001"), token="guessed") == 401
        group = [alert(change="C001"), alert("resolved", change="C002"), alert()]
        assert post(port, *group) == post(port, *group) == 200
        assert post(port, alert(change="C003")) == 200  # seen after all of those, while the first workflow goes on
        until = time.monotonic() + 30
        while len(awx.started) < 2 and time.monotonic() < until:
            time.sleep(0.05)
    assert sorted(awx.started, key=lambda one: one["extra_vars"]["change"]) == [
        {"limit": "", "extra_vars": {"change": "C001", "notes": "alert ShopFails"}},
        {"limit": "", "extra_vars": {"change": "C003", "notes": "alert ShopFails"}},
    ]


def test_without_a_token_nobody_is_let_in(awx: Awx, tmp_path: Path) -> None:
    with rulebook(awx, tmp_path) as port:
        for token in ("", "{{ rollback_webhook_token }}", "{{rollback_webhook_token}}", "None"):
            assert post(port, alert(change="C001"), token=token) in (401, 500), token
    assert awx.started == []
