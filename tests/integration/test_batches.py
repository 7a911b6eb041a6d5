# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A change rolls over its hosts in batches: a bad one is put back, those before it stay, the rest is not touched."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
import yaml
from harness import tables
from test_phase_order import barriers

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
HOSTS = ["h1", "h2", "h3", "h4"]
# a canary, then half of the hosts, then the rest
SERIAL = [1, "50%", "100%"]
# the second phase is not for h3
PHASES = [("one", "all"), ("two", "all:!h3"), ("three", "all")]


class Fleet:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.log = root / "log"
        self.bad, self.reached = root / "bad", root / "reached"
        hosts: dict[str, dict[str, t.Any]] = {name: self.host(name) for name in HOSTS}
        shared = {
            "ansible_connection": "local",
            "ansible_python_interpreter": "{{ ansible_playbook_python }}",
            "rollback_history_url": f"sqlite:///{root}/history.sqlite",
        }
        (root / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts, "vars": shared}}))
        (root / "changes").mkdir()
        self.plan({"serial": SERIAL})

    def host(self, name: str) -> dict[str, t.Any]:
        """A host with a config file, and a check that fails or takes its time where the file `bad` says so."""
        kept, check = self.root / "kept.conf", self.root / "check.sh"
        kept.write_text("good")
        self.repo(self.conf(name).parent)
        self.conf(name).write_text("bad")
        check.write_text(
            f'case "$(cat {self.bad} 2>/dev/null)" in\n'
            f'  "$1 fails") exit 1 ;;\n  "$1 waits") rm {self.bad}; echo $$ > {self.reached}; exec sleep 60 ;;\nesac\n'
        )
        argv = ["sh", str(check), name]
        return {
            "rollback_state_dir": str(self.root / "state" / name),
            "rollback_repo": str(self.conf(name).parent),
            "rollback_config": [{"path": "app.conf", "source": str(kept)}],
            "rollback_checks": [{"name": "works", "command": {"argv": argv}, "retries": 0}],
        }

    def repo(self, path: Path) -> None:
        """A git work tree with the same commit everywhere."""
        path.mkdir(parents=True)
        dates = {"GIT_AUTHOR_DATE": "2026-11-20T10:00:00Z", "GIT_COMMITTER_DATE": "2026-11-20T10:00:00Z"}
        names = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        for args in (["init", "-q", "-b", "main"], ["commit", "-q", "--allow-empty", "-m", "App"]):
            subprocess.run(["git", "-C", path, *names, *args], env={**os.environ, **dates}, check=True)

    def conf(self, name: str) -> Path:
        return self.root / name / "app" / "app.conf"

    def good(self) -> list[str]:
        """The hosts on which the config is restored."""
        return [name for name in HOSTS if self.conf(name).read_text() == "good"]

    def plan(self, more: dict[str, t.Any]) -> None:
        phases = [
            {"role": "acme.own.step", "hosts": hosts, "vars": {"step_name": name, "step_log": str(self.log)}}
            for name, hosts in PHASES
        ]
        plan = {"title": "Batches", "date": "2026-11-20", "hosts": "all", "phases": phases, **more}
        (self.root / "changes" / "C001.yml").write_text(yaml.safe_dump(plan, sort_keys=False))

    def start(self, fail: str = "") -> subprocess.Popen[str]:
        environ = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(HERE / "collections"),
            "ANSIBLE_CONFIG": str(HERE / "ansible.cfg"),
            "HOME": str(self.root),
        }
        argv = [BIN / "ansible-playbook", "-i", "hosts.yml", "changeops.rollback.rollback", "-e", "change=C001"]
        argv += ["-e", json.dumps({"step_fail": fail})]
        with (self.root / "output").open("w") as output:
            return subprocess.Popen(argv, cwd=self.root, env=environ, text=True, stdout=output, stderr=output)

    def rollback(self, fail: str = "") -> tuple[int, list[tuple[str, str, list[str]]]]:
        """Roll back with a fresh log; returns the exit code, and the log as (step, phase, hosts)."""
        self.log.write_text("")
        code = self.start(fail).wait(timeout=600)
        print((self.root / "output").read_text())
        return code, barriers([line.split() for line in self.log.read_text().splitlines()])

    def killed(self) -> None:
        """Start a rollback and kill it, and what it started, when a check takes its time."""
        process = self.start()
        until = time.monotonic() + 600
        while not (self.reached.exists() and self.reached.read_text().strip()):
            assert process.poll() is None, (self.root / "output").read_text()
            assert time.monotonic() < until, "the check was never reached"
            time.sleep(0.05)
        process.kill()
        process.wait()
        os.kill(int(self.reached.read_text()), signal.SIGKILL)

    def mains(self) -> list[tuple[str, str]]:
        """The phases that ran in the last run, and where, in their order."""
        with contextlib.closing(sqlite3.connect(self.root / "history.sqlite")) as db:
            [run] = db.execute("SELECT id FROM runs ORDER BY started DESC, id DESC LIMIT 1").fetchone()
            rows = db.execute("SELECT phase, host FROM phases WHERE run = ? AND step = 'main' ORDER BY started", [run])
            return rows.fetchall()

    def last_run(self) -> tuple[str, str]:
        with contextlib.closing(sqlite3.connect(self.root / "history.sqlite")) as db:
            return db.execute("SELECT outcome, summary FROM runs ORDER BY started DESC, id DESC").fetchone()

    def points(self) -> list[str]:
        """The hosts on which a restore point is left open."""
        return [name for name in HOSTS if any((self.root / "state" / name).glob("*/run.json"))]


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


PREFLIGHT = [("preflight", "one", HOSTS), ("preflight", "two", ["h1", "h2", "h4"]), ("preflight", "three", HOSTS)]
CANARY = [("main", "one", ["h1"]), ("main", "two", ["h1"]), ("main", "three", ["h1"])]
SECOND = [("main", "one", ["h2", "h3"]), ("main", "two", ["h2"]), ("main", "three", ["h2", "h3"])]
REST = [("main", "one", ["h4"]), ("main", "two", ["h4"]), ("main", "three", ["h4"])]


def back(hosts: list[str], first: str = "three") -> list[tuple[str, str, list[str]]]:
    """How hosts are put back, beginning with the phase that failed."""
    phases = [("three", hosts), ("two", [host for host in hosts if host != "h3"]), ("one", hosts)]
    names = [name for name, _hosts in phases]
    return [("recover", name, where) for name, where in phases[names.index(first) :] if where]


class Case(t.NamedTuple):
    """What fails, what runs after the preflights, how the run ends, and which hosts are left half-way."""

    fail: str
    runs: list[tuple[str, str, list[str]]]
    outcome: str
    summary: str
    half_way: tuple[str, ...] = ()
    on_failure: str = "recover"


CASES = {
    "all goes well": Case("", [*CANARY, *SECOND, *REST], "succeeded", "3 phases done on 4 hosts."),
    "the canary fails": Case(
        "main-two-h1",
        [*CANARY[:2], *back(["h1"], "two")],
        "recovered",
        "Put back: 1 host (h1). Untouched: 3 hosts (h2, h3 and h4).",
    ),
    "the second batch fails": Case(
        "main-three-h3",
        [*CANARY, *SECOND, *back(["h2", "h3"])],
        "recovered",
        "Rolled back: 1 host (h1). Put back: 2 hosts (h2 and h3). Untouched: 1 host (h4).",
    ),
    "the second batch fails in its first phase": Case(
        "main-one-h2",
        [*CANARY, *SECOND[:1], *back(["h2", "h3"], "one")],
        "recovered",
        "Rolled back: 1 host (h1). Put back: 2 hosts (h2 and h3). Untouched: 1 host (h4).",
    ),
    "the last batch fails": Case(
        "main-three-h4",
        [*CANARY, *SECOND, *REST, *back(["h4"])],
        "recovered",
        "Rolled back: 3 hosts (h1, h2 and h3). Put back: 1 host (h4).",
    ),
    "a host of the second batch cannot be put back": Case(
        "main-three-h3 recover-three-h3",
        [*CANARY, *SECOND, ("recover", "three", ["h2", "h3"]), *back(["h2"], "two")],
        "failed",
        "Rolled back: 1 host (h1). Put back: 1 host (h2). Not as before: 1 host (h3). Untouched: 1 host (h4).",
        ("h3",),
    ),
    "the plan says on_failure: stop": Case(
        "main-three-h3",
        [*CANARY, *SECOND],
        "failed",
        "Nothing was put back. Rolled back: 1 host (h1). Not as before: 2 hosts (h2 and h3). Untouched: 1 host (h4).",
        ("h2", "h3"),
        "stop",
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_batches(fleet: Fleet, case: Case) -> None:
    fleet.plan({"serial": SERIAL, "on_failure": case.on_failure})
    code, lines = fleet.rollback(case.fail)
    assert (code == 0) == (case.outcome == "succeeded")
    assert lines == [*PREFLIGHT, *case.runs]
    outcome, summary = fleet.last_run()
    assert outcome == case.outcome
    assert summary.endswith(case.summary)
    assert fleet.points() == list(case.half_way)


def test_no_host_is_touched_where_a_preflight_of_a_later_batch_fails(fleet: Fleet) -> None:
    code, lines = fleet.rollback("preflight-three-h4")
    assert code != 0
    assert lines == PREFLIGHT
    assert fleet.last_run()[0] == "refused"


def test_a_resumed_run_that_fails_puts_back_all_that_is_left(fleet: Fleet) -> None:
    assert fleet.rollback("main-three-h3 recover-three-h3")[0] != 0
    code, lines = fleet.rollback("main-one-h2")
    assert code != 0
    assert lines == [*PREFLIGHT, *CANARY, *SECOND[:1], *back(["h2", "h3", "h4"])]
    assert fleet.last_run()[0] == "recovered"


REAL = [{"role": "config_restore"}, {"role": "verify"}]
# What is rolled back already is only verified.
GOES_ON = [
    [("2-verify", "h1")],
    [("1-config_restore", "h2"), ("1-config_restore", "h3")],
    [("2-verify", "h2"), ("2-verify", "h3")],
    [("1-config_restore", "h4")],
    [("2-verify", "h4")],
]


def in_groups(mains: list[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    """The hosts of one phase of one batch in any order."""
    found, rest = [], mains
    for group in GOES_ON:
        found.append(sorted(rest[: len(group)]))
        rest = rest[len(group) :]
    return [*found, rest] if rest else found


def test_each_batch_is_verified_before_the_next(fleet: Fleet) -> None:
    fleet.plan({"serial": SERIAL, "phases": REAL})
    fleet.bad.write_text("h3 fails")
    never = fleet.conf("h4").stat().st_mtime_ns
    assert fleet.rollback()[0] != 0
    assert fleet.good() == ["h1"]
    assert fleet.conf("h4").stat().st_mtime_ns == never
    assert fleet.last_run()[0] == "recovered"
    before, after = tables((fleet.root / "output").read_text(), "C001, before:", "C001, after:")
    assert " !" not in before
    assert "h1 is odd: config " in after
    assert "h1: config " in after
    assert "h2, h3 and h4: as before." in after


def test_a_run_that_was_killed_is_finished_batch_by_batch(fleet: Fleet) -> None:
    fleet.plan({"serial": SERIAL, "phases": REAL})
    fleet.bad.write_text("h2 waits")
    fleet.killed()
    assert fleet.good() == ["h1", "h2", "h3"]
    assert fleet.rollback()[0] == 0
    assert fleet.good() == HOSTS
    assert in_groups(fleet.mains()) == GOES_ON
