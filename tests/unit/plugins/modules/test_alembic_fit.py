# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The code that is gone back to: whether it fits the downgraded database, and that trying it leaves nothing."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time

import pytest

pytest.importorskip("alembic")

from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.plugins.module_utils._processes import probe, processes
from ansible_collections.changeops.rollback.plugins.modules import git_revert
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.alembic_pg import PgShop
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.alembic_shop import Shop
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.git_work_tree import Repo, snapshot
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal

pytestmark = pytest.mark.usefixtures("forked_alembic")

# The app of the earlier release. It writes a row when it starts, and notes what it sees.
APP = """
import http.server, json, os, subprocess, sys, time
import sqlalchemy as sa
{first}
engine = sa.create_engine(os.environ["SHOP_URL"])
with engine.begin() as con:
    columns = sorted(c["name"] for c in sa.inspect(con).get_columns("invoices"))
    con.exec_driver_sql("INSERT INTO invoices (id, name) VALUES (99, 'started')")
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with open(os.environ["SEEN"], "w") as seen:
            config = open("config/app.conf").read() + open(os.environ["SHOP_ENV"]).read()
            what = {{"cwd": os.getcwd(), "columns": columns, "config": config, "key": os.environ.get("SHOP_KEY")}}
            json.dump(dict(what, port=int(sys.argv[1]), url=os.environ["SHOP_URL"]), seen)
        self.send_response({status})
        self.end_headers()
        self.wfile.write(b"said")
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Health).serve_forever()
"""
SLEEPER = "import time; time.sleep(600)"
LEFT = f"subprocess.Popen([sys.executable, '-c', {SLEEPER!r}])\n"
LEFT += f"subprocess.Popen([sys.executable, '-c', {SLEEPER!r}], start_new_session=True)"
TEST = "import os, sys\nprint('seen', 'SHOP_URL' in os.environ)\nsys.exit({code})\n"


class Code:
    """An app in git, whose last commit is the bad one, and how it is started."""

    def __init__(self, shop, tmp_path, first="", status=200, tests=0, head_goes_back=True):
        self.shop, self.seen = shop, tmp_path / "seen.json"
        new = shop.versions / "new.py"
        text = new.read_text()
        if head_goes_back:
            new.unlink()
        self.repo = Repo(shop.root, tmp_path / "nowhere")
        self.repo.git("init", "-q")
        for name, value in (("user.name", "U"), ("user.email", "u@example.org")):
            self.repo.git("config", name, value)
        self.env_file, self.kept = tmp_path / "shop.env", tmp_path / "kept.env"
        self.env_file.write_text("SHOP_KEY=new-key\n")
        self.kept.write_text("SHOP_KEY=old-key\n")
        app = APP.format(first=first, status=status)
        good = {"serve.py": app, "check.py": TEST.format(code=tests), "config/app.conf": "limit=1\n"}
        self.repo.commit("Release", dict(good, **{".gitignore": "var/\n__pycache__/\nslow\n"}))
        new.write_text(text)
        self.bad = self.repo.commit("Bad", {"serve.py": "raise SystemExit('bad')", "config/app.conf": "limit=2\n"})
        self.options = {name: spec.get("default") for name, spec in git_revert.ARGUMENTS.items()}
        self.options.update(repo=str(shop.root), commits=[self.bad])
        self.app = {
            "command": [sys.executable, "serve.py", "{port}"],
            "environment": {
                "SHOP_URL": "{database_url}",
                "SEEN": str(self.seen),
                "SHOP_ENV": "{config}" + str(self.env_file),
            },
            "health": "http://127.0.0.1:{port}/health",
            "test": [sys.executable, "check.py"],
            "timeout": 20.0,
        }

    def rehearse(self, **params):
        paths = ["config", {"path": str(self.env_file), "source": str(self.kept)}]
        config = {"repo": str(self.shop.root), "paths": paths, "commits": [self.bad], "commit": ""}
        fit = {"code": [self.options], "app": self.app, "config": config}
        files = [str(self.env_file)]
        return self.shop.run("rehearse", **dict({"fit": fit, "environment_files": files}, **params))

    def found(self):
        """What a rehearsal must leave as it is."""
        rows = (self.shop.rows(), self.shop.databases()) if isinstance(self.shop, PgShop) else self.shop.dump()
        files = [path for path in self.shop.state.rglob("*") if not path.is_dir()]
        return rows, snapshot(self.shop.root), files, self.processes()

    def processes(self):
        """The processes that a rehearsal may have left."""
        found, mark = [], f"CHANGEOPS_REHEARSAL={self.shop.state}".encode()
        for pid in processes():
            with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as stream:
                found += [pid] if mark in stream.read() else []
        return found


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def shop_of(request, tmp_path, monkeypatch):
    """Makes an app with either kind of database."""

    def make():
        if request.param == "SQLite":
            shop = Shop(tmp_path).totals()
        else:
            pytest.importorskip("psycopg")
            up, down = ["ALTER TABLE invoices ADD total int"], ["ALTER TABLE invoices DROP COLUMN total"]
            shop = PgShop(tmp_path, monkeypatch, request.getfixturevalue("postgresql"), up, down)
        return shop

    return make


def test_the_code_runs_on_the_downgraded_copy_with_the_restored_config(shop_of, tmp_path):
    code = Code(shop_of(), tmp_path, first=LEFT)
    before = code.found()
    report = code.rehearse()
    assert code.found() == before
    seen = json.loads(code.seen.read_text())
    assert seen["columns"] == ["id", "name", "state"]
    assert (seen["config"], seen["key"]) == ("limit=1\nSHOP_KEY=old-key\n", "old-key")
    assert seen["cwd"].startswith(str(code.shop.state)) and not os.path.exists(seen["cwd"])
    live = getattr(code.shop, "name", str(code.shop.root))
    assert live not in seen["url"]
    assert probe("127.0.0.1", seen["port"]) is False
    assert set(report.facts["fit"]) == {"test", "start"}
    assert "Its migrations lead to old, as the database will stand." in report.msg
    assert "The app of that code starts on the downgraded copy" in report.msg
    assert "hunter2" not in repr(report) and "old-key" not in repr(report)
    assert report.facts["destroys"] != []


def test_an_install_command_gets_a_copy_of_its_own(tmp_path):
    code = Code(Shop(tmp_path).totals(), tmp_path)
    made = [sys.executable, "-m", "venv", "--without-pip", "--system-site-packages", ".venv"]
    code.options["install"] = made
    code.repo.write({".git/info/exclude": ".venv/\n"})
    site = os.pathsep.join(sys.path)
    code.app["command"][0] = ".venv/bin/python"
    code.app["environment"]["PYTHONPATH"] = site
    before = code.found()
    report = code.rehearse()
    assert code.found() == before
    assert set(report.facts["fit"]) == {"install", "test", "start"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"app": None}, "Its app was not started, because rollback_app does not say how"),
        ({"app": {"test": [sys.executable, "check.py"]}}, "Its app was not started, because rollback_app does not"),
    ],
    ids=["no rollback_app", "tests only"],
)
def test_what_it_is_not_told_of_is_no_obstacle(tmp_path, change, says):
    code = Code(Shop(tmp_path).totals(), tmp_path)
    code.app = change["app"]
    assert says in code.rehearse().msg
    assert not code.seen.exists()


def test_a_host_that_shares_a_database_tries_the_code_alone(tmp_path):
    code = Code(Shop(tmp_path).totals(), tmp_path)
    report = code.rehearse(done_by="web1")
    assert "web1, which has the same database" in report.msg
    assert "The app is started on web1, where the downgraded copy is." in report.msg
    assert set(report.facts["fit"]) == {"test"} and not code.seen.exists()


def gate(first="", **options):
    return lambda shop, tmp_path: Code(shop, tmp_path, first=first, **options)


def app(**values):
    def make(shop, tmp_path):
        code = Code(shop, tmp_path)
        code.app.update(values)
        return code

    return make


def install_fails(shop, tmp_path):
    code = Code(shop, tmp_path)
    code.options["install"] = ["false"]
    return code


def silent(shop, tmp_path):
    code = Code(shop, tmp_path, first="print('token=hunter2', flush=True); time.sleep(600)")
    code.app["timeout"] = 1.5
    return code


def bad_status(shop, tmp_path):
    code = Code(shop, tmp_path, status=500)
    code.app["timeout"] = 2.0
    return code


SHOWN = "'<python> serve.py '{port}''"
AGAIN = "Correct the plan, or how it is started (rollback_app)."
REFUSALS = [
    Refusal(
        "code that goes back to another migration than the database",
        "The code that is gone back to (<commit>) does not fit the database: its migrations lead to new "
        "(migrations/versions/new.py), and the database will stand at old. Correct alembic_downgrade_to, or what "
        "git_revert goes back by.",
        gate(head_goes_back=False),
    ),
    Refusal(
        "an app that does not start on the downgraded database",
        f"The app of the code that is gone back to (<commit>) does not start on the downgraded copy: {SHOWN} ended "
        "with exit code 1 after <seconds> s. It printed: cannot work without total, password=******** " + AGAIN,
        gate("sys.exit('cannot work without total, password=hunter2')"),
    ),
    Refusal(
        "an app that does not answer",
        f"The app of the code that is gone back to (<commit>) does not start on the downgraded copy: {SHOWN} did not "
        "answer http://127.0.0.1:<port>/health within 1.5 s (<cause>). It printed: "
        "token=******** " + AGAIN,
        silent,
    ),
    Refusal(
        "an app that answers with an error",
        f"The app of the code that is gone back to (<commit>) does not start on the downgraded copy: {SHOWN} did not "
        "answer http://127.0.0.1:<port>/health within 2 s (HTTP 500 in <time> ms, expected 200: said). It printed: "
        "<what it printed>. " + AGAIN,
        bad_status,
    ),
    Refusal(
        "code whose own tests fail",
        "The tests of the code that is gone back to (<commit>) fail: '<python> check.py' ended with exit code 3: seen "
        "False. Correct what they find, or the command (rollback_app, test).",
        gate(tests=3),
    ),
    Refusal(
        "code whose install command fails",
        "The install command 'false' fails (exit code 1) in a copy of <commit>: it printed nothing. Nothing was "
        "changed. Correct it (git_revert_install), or do without the trial: git_revert_rehearse_install: false",
        install_fails,
    ),
    Refusal(
        "a program for the app that is not there",
        "'no-such-server <port>' could not start: there is no program 'no-such-server' that can be run.",
        app(command=["no-such-server", "{port}"]),
    ),
    Refusal(
        "a rollback_app with no health",
        "rollback_app needs both command and health, to start the app and to see that it works.",
        app(health=""),
    ),
    Refusal(
        "a rollback_app that asks at the live app's port",
        "rollback_app has to say {port} in health, and in command or environment: a free port is put there, so that "
        "neither is the live app's.",
        app(health="http://127.0.0.1:8000/health"),
    ),
    Refusal(
        "a rollback_app with the database's password on a command line",
        "rollback_app says {database_url} in command or health, where everybody on the host could read its password. "
        "Give it to the app in environment.",
        app(command=["serve", "{port}", "{database_url}"]),
    ),
    Refusal(
        "a rollback_app that would use the live database",
        "rollback_app does not say how the app is told its database, so it would use the live one. Write {database} or "
        '{database_url} where it goes, as in environment: {DATABASE_URL: "{database_url}"}',
        app(environment={}),
    ),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.case)
def test_what_does_not_fit_is_said_and_nothing_is_left(tmp_path, refusal):
    code = refusal.given(Shop(tmp_path).totals(), tmp_path)
    before = code.found()
    with pytest.raises(PhaseError) as failed:
        code.rehearse()
    assert refusal.matches(str(failed.value)), str(failed.value)
    assert "hunter2" not in str(failed.value)
    assert code.found() == before


def test_one_that_was_killed_leaves_no_process_and_is_cleared_up_by_the_next(shop_of, tmp_path):
    slow = "print(1) if not os.path.exists(os.environ['SEEN'] + '.slow') else time.sleep(600)"
    code = Code(shop_of(), tmp_path, first=slow)
    (tmp_path / "seen.json.slow").touch()
    before = code.found()
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            code.rehearse()
        os._exit(0)
    until = time.monotonic() + 60
    while not any(b"serve.py" in cmdline(pid) for pid in code.processes()):
        assert time.monotonic() < until
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while code.processes():
        assert time.monotonic() < until
        time.sleep(0.05)
    (tmp_path / "seen.json.slow").unlink()
    assert code.found() != before
    code.rehearse(wait=10.0)
    assert code.found() == before


def cmdline(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as stream:
            return stream.read()
    except OSError:
        return b""
