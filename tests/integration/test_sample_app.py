# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sample app: it deploys, breaks as C001 breaks it, can be copied, and leaves nothing running."""

from __future__ import annotations

import http.client
import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

ROLE = Path(__file__).parents[2] / "roles" / "sample_app"
ROWS = 400


def call(*args, rc=0):
    """Run deploy.py as the role does; return the facts that it prints, or what it said when it was to fail."""
    command = [sys.executable, ROLE / "files" / "deploy.py", *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == rc, done.stderr
    return json.loads(done.stdout) if rc == 0 else done.stderr


def get(facts, path):
    with closing(http.client.HTTPConnection("127.0.0.1", facts["port"], timeout=10)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def query(facts, sql):
    with closing(sqlite3.connect(facts["database"])) as connection:
        return connection.execute(sql).fetchall()


def git(facts, *args):
    return subprocess.check_output(["git", "-C", facts["repo"], *args], text=True).strip()


def processes(facts):
    """Return the command lines of all processes that name the instance's directory."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if any(facts["root"] + "/" in part for part in command):
            found[int(entry.name)] = " ".join(command)
    return found


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    root = tmp_path_factory.mktemp("good") / "app"
    yield call("deploy", root, "--rows", ROWS)
    call("stop", root)


@pytest.fixture(scope="module")
def bad(good, tmp_path_factory):
    root = tmp_path_factory.mktemp("bad") / "app"
    call("clone", good["root"], root)
    yield call("release", root)
    call("stop", root)


@pytest.fixture
def copy(good, tmp_path):
    yield call("clone", good["root"], tmp_path / "app")
    call("stop", tmp_path / "app")


def test_the_good_release_is_healthy(good):
    status, said = get(good, "/health")
    assert (status, said["status"], said["release"]) == (200, "ok", "1.2.0")
    assert get(good, "/invoices/count") == (200, {"count": ROWS})
    assert [row["id"] for row in get(good, "/invoices?limit=2")[1]] == [ROWS, ROWS - 1]
    assert query(good, "SELECT version_num FROM alembic_version") == [(good["revisions"]["good"],)]


def test_it_has_a_history_that_was_pushed(good):
    subjects = git(good, "log", "--format=%s").splitlines()
    assert subjects == ["List the newest invoices", "Add customers", "First release: invoices"]
    assert git(good, "rev-parse", "HEAD", "origin/main").split() == [good["commits"]["good"]] * 2
    assert git(good, "status", "--porcelain") == ""


def test_the_bad_release_runs_but_its_health_fails(bad):
    status, said = get(bad, "/health")
    assert (status, said["status"], said["release"]) == (503, "failing", "1.3.0")
    assert "totals.rounding is 'swedish'" in said["checks"]["config"]
    assert get(bad, "/invoices/count") == (200, {"count": bad["rows"]})
    assert bad["rows"] > ROWS


def test_the_bad_release_is_one_commit_of_code_dependency_migration_and_config(bad):
    assert git(bad, "rev-list", f"{bad['commits']['good']}..HEAD") == bad["commits"]["bad"]
    changed = set(git(bad, "show", "--format=", "--name-only", "HEAD").splitlines())
    assert {
        "shop/totals.py",
        "pyproject.toml",
        "uv.lock",
        "migrations/versions/8ae1f0c2_invoice_totals.py",
        "config/app.toml",
    } <= changed


def test_the_env_file_changed_and_the_earlier_one_is_kept(good, bad):
    kept = Path(bad["kept_env_file"]).read_text()
    assert Path(bad["env_file"]).read_text() == kept + "SHOP_TOTALS=show\n"
    assert kept == Path(good["env_file"]).read_text().replace(good["root"], bad["root"])


def test_every_invoice_has_a_total_that_cannot_be_computed_again(bad):
    assert query(bad, "SELECT count(*) FROM invoices WHERE total IS NULL") == [(0,)]
    fees = {total - round(amount * 1.19) for amount, total in query(bad, "SELECT amount, total FROM invoices")}
    assert len(fees) > ROWS / 4
    assert query(bad, "SELECT total FROM invoices WHERE id = 7") == [(100_007,)]


def test_dependencies_are_those_of_the_release(good, bad):
    installed = {
        facts["release"]: {path.name for path in Path(facts["repo"]).glob(".venv/lib/python*/site-packages/*")}
        for facts in (good, bad)
    }
    assert "humanize" in installed["1.3.0"] - installed["1.2.0"]
    assert "pytest" not in installed["1.2.0"] | installed["1.3.0"]


@pytest.mark.parametrize("release", ["good", "bad"])
def test_its_own_unit_tests_pass(release, request):
    facts = request.getfixturevalue(release)
    environ = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTEST_ADDOPTS")}
    done = subprocess.run(
        [facts["uv"], "run", "--isolated", "--frozen", "--group", "dev", "pytest", "-q", "-p", "no:cacheprovider"],
        check=False,
        cwd=facts["repo"],
        env=environ | {"UV_PYTHON": facts["python"], "UV_SYSTEM_CERTS": "true"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert git(facts, "status", "--porcelain") == ""


def test_c001_is_shipped_once(bad):
    assert "is not at release 1.2.0" in call("release", bad["root"], rc=1)


def test_a_copy_is_the_same_app_on_another_port(good, copy):
    assert copy["port"] != good["port"]
    assert good["root"] + "/" not in json.dumps(copy) + Path(copy["env_file"]).read_text()
    assert get(copy, "/health") == get(good, "/health")
    assert query(copy, "SELECT * FROM invoices") == query(good, "SELECT * FROM invoices")
    assert git(copy, "status", "--porcelain", "--branch") == "## main...origin/main"
    alembic = subprocess.check_output([f"{copy['repo']}/.venv/bin/alembic", "current"], cwd=copy["repo"], text=True)
    assert copy["revisions"]["good"] in alembic


def test_stop_leaves_nothing_running(good, copy):
    assert len(processes(copy)) == 2
    assert call("stop", copy["root"]) == {"ended": 2}
    assert processes(copy) == {}
    assert not Path(copy["sockets"]).exists()
    assert get(good, "/health")[0] == 200


def test_stop_ends_the_app_when_supervisord_was_killed(copy):
    supervisord = next(pid for pid, command in processes(copy).items() if "supervisord" in command)
    os.kill(supervisord, signal.SIGKILL)
    call("stop", copy["root"])
    assert processes(copy) == {}


def test_deploy_begins_afresh(bad, tmp_path):
    root = tmp_path / "app"
    one = call("clone", bad["root"], root)
    try:
        two = call("deploy", root, "--rows", 50)
        assert two["port"] == one["port"]
        assert get(two, "/health")[1]["release"] == "1.2.0"
        assert get(two, "/invoices/count") == (200, {"count": 50})
        assert two["commits"]["good"] == one["commits"]["good"]
        assert len(processes(two)) == 2
    finally:
        call("stop", root)


def test_a_directory_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    assert "There is no sample app in" in call("deploy", tmp_path, rc=1)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_the_role_deploys_ships_and_stops(tmp_path):
    playbook = tmp_path / "play.yml"
    shown = "{{ sample_app_instance.release }} {{ sample_app_instance.rows }}"
    role = {"name": "changeops.rollback.sample_app"}
    tasks = [
        {"name": "Deploy", "include_role": role},
        {"name": "Show the good", "debug": {"msg": f"good: {shown}"}},
        {"name": "Ship", "include_role": role | {"tasks_from": "release_c001"}},
        {"name": "Show the bad", "debug": {"msg": f"bad: {shown}"}},
        {"name": "Stop", "include_role": role | {"tasks_from": "stop"}},
    ]
    variables = {"sample_app_dir": str(tmp_path / "app"), "sample_app_rows": 60}
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "vars": variables, "tasks": tasks}
    playbook.write_text(json.dumps([play]))
    ansible = Path(sys.executable).parent / "ansible-playbook"
    try:
        done = subprocess.run(
            [ansible, playbook], capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "good: 1.2.0 60" in done.stdout
        assert "bad: 1.3.0 63" in done.stdout
        assert processes({"root": str(tmp_path / "app")}) == {}
    finally:
        call("stop", tmp_path / "app")
