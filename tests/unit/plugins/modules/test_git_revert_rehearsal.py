# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rehearsal of git_revert where no database is downgraded: what is tried in a copy, and that it leaves nothing."""

from __future__ import annotations

import sys

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.git_work_tree import snapshot

SERVER = """
import http.server, pathlib, sys
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        works = pathlib.Path("app.py").read_text() == "one\\n" and pathlib.Path("installed").exists()
        self.send_response(200 if works else 503)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Health).serve_forever()
"""
APP = {
    "command": [sys.executable, "-c", SERVER, "{port}"],
    "environment": {},
    "health": "http://127.0.0.1:{port}/",
    "test": [],
    "timeout": 5.0,
}
INSTALL = [sys.executable, "-c", "open('installed', 'w')"]


def left(repo):
    return [path for path in repo.point.state_dir.rglob("*") if not path.is_dir()]


@pytest.mark.parametrize(
    ("app", "says", "seconds"),
    [
        (APP, "The app of that code starts (", {"install", "start"}),
        (dict(APP, test=["true"]), "Its tests pass: 'true' (", {"install", "test", "start"}),
        (
            dict(APP, environment={"DATABASE_URL": "{database_url}"}),
            "Its app was not started, since there is no downgraded copy here that it could use.",
            {"install"},
        ),
        (None, "Its app was not started, because rollback_app does not say how", {"install"}),
    ],
    ids=["starts", "is tested", "needs a database", "no rollback_app"],
)
def test_the_code_is_tried_in_a_copy(repo, app, says, seconds):
    before = snapshot(repo.path)
    report = repo.run("rehearse", install=INSTALL, fit={"app": app})
    assert says in report.msg
    assert set(report.facts["fit"]) == seconds
    assert snapshot(repo.path) == before and left(repo) == [] and not report.changed
    assert repo.run("preflight", install=INSTALL).facts["commit"] == report.facts["commit"]


@pytest.mark.parametrize(
    ("options", "app", "says"),
    [
        ({"install": ["false"]}, APP, "The install command 'false' fails (exit code 1) in a copy of "),
        ({"install": ["sh", "-c", "echo x >> README"]}, APP, " changes tracked files: README."),
        ({"install": []}, dict(APP, timeout=1.0), "did not answer http://127.0.0.1:"),
        ({"install": []}, dict(APP, test=["false"]), "The tests of the code that is gone back to ("),
    ],
    ids=["install fails", "install changes the code", "the app is not well", "tests fail"],
)
def test_what_fails_is_said_and_nothing_is_left(repo, options, app, says):
    before = snapshot(repo.path)
    with pytest.raises(PhaseError) as failed:
        repo.run("rehearse", fit={"app": app}, **options)
    assert says in str(failed.value)
    assert snapshot(repo.path) == before and left(repo) == []


def test_what_is_reverted_already_is_not_tried(repo):
    repo.run("preflight")
    repo.run("main")
    assert "Nothing to do." in repo.run("rehearse", fit={"app": APP}, install=["false"]).msg
