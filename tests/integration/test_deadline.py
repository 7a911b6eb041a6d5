# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The time that a plan gives to a run and to a phase: what still runs on the host then, and what the record says."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
# Long enough for the preflights on a slow machine; then the phase in question only sleeps.
RUN = "60s"

FOREIGN = {"role": "acme.own.sabotage", "vars": {"sabotage_argv": ["sh", "work.sh"], "sabotage_flag": "work.sh"}}
OURS = {
    "role": "verify",
    "vars": {
        # The role's own timeout is longer than the run's.
        "verify_timeout": 900,
        "verify_checks": [{"name": "slow", "command": {"argv": ["sh", "work.sh"]}, "timeout": 900}],
    },
}
STEP = {"role": "acme.own.step", "vars": {"step_name": "after"}}


class Late(t.NamedTuple):
    """``phase`` of a run that may take ``timeout``: whether its work outlives it, and the words of the record."""

    phase: dict[str, t.Any]
    timeout: str
    outlives: bool
    said: str


GIVEN_UP = "sabotage failed on h1: 'Break something, as long as the flag is there' was given up after"
LATE = {
    "another role, the phase's time": Late({**FOREIGN, "timeout": "2s"}, "", True, GIVEN_UP),
    "another role, the run's time": Late(FOREIGN, RUN, True, GIVEN_UP),
    "one of ours, the run's time": Late(OURS, RUN, False, "The run's time, `timeout` in the plan, is up."),
}

REFUSALS = [
    Refusal(
        "a run whose time is up before its preflights are done",
        "C001 was refused: The run's time, `timeout` in the plan, was up before this phase began on this host. | "
        "Nothing was touched.",
        OURS,
    ),
    Refusal(
        "the same, with a role of your own",
        "C001 was refused: The time that `timeout` in the plan gives was up before this task began. | "
        "Nothing was touched.",
        STEP,
    ),
]


class Place:
    """A user's repository for one host, with what is left behind."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.log, self.pid = root / "log", root / "pid"
        (root / "work.sh").write_text(f"echo $$ > {self.pid}\nexec sleep 600\n")

    def start(self, timeout: str, *phases: dict[str, t.Any], **vars_: str) -> subprocess.Popen[str]:
        shared = {
            "ansible_connection": "local",
            "ansible_python_interpreter": "{{ ansible_playbook_python }}",
            "rollback_history_url": f"sqlite:///{self.root}/history.sqlite",
            "rollback_state_dir": str(self.root / "state"),
            "step_log": str(self.log),
            **vars_,
        }
        (self.root / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {"h1": {}}, "vars": shared}}))
        plan = {"title": "Late", "date": "2026-11-20", "hosts": "all", "phases": list(phases)}
        (self.root / "changes").mkdir()
        text = yaml.safe_dump(plan | ({"timeout": timeout} if timeout else {}))
        (self.root / "changes" / "C001.yml").write_text(text.replace("work.sh", str(self.root / "work.sh")))
        environ = {
            **os.environ, "ANSIBLE_COLLECTIONS_PATH": str(HERE / "collections"), "HOME": str(self.root),
            "ANSIBLE_CONFIG": str(HERE / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "COLUMNS": "1000",
        }  # fmt: skip
        argv = [BIN / "ansible-playbook", "-i", "hosts.yml", "changeops.rollback.rollback", "-e", "change=C001"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen(argv, cwd=self.root, env=environ, text=True, **pipes)

    def last(self) -> tuple[str, str]:
        with contextlib.closing(sqlite3.connect(self.root / "history.sqlite")) as db:
            return t.cast("tuple[str, str]", db.execute("SELECT outcome, summary FROM runs").fetchone())

    def alive(self) -> bool:
        return Path(f"/proc/{int(self.pid.read_text())}").exists()

    def close(self) -> None:
        if self.pid.exists() and self.alive():
            os.kill(int(self.pid.read_text()), signal.SIGKILL)


def said_by(process: subprocess.Popen[str]) -> tuple[int, str]:
    """The exit code of what was started, when it has ended, and what it said."""
    out = process.communicate()[0]
    print(out)
    return process.returncode, out


def test_a_phase_that_takes_too_long_fails_and_the_run_recovers(tmp_path: Path) -> None:
    before = {"role": "acme.own.step", "vars": {"step_name": "before"}}
    with contextlib.ExitStack() as stack:
        started = []
        # all at the same time, since most of theirs is sleep
        for number, late in enumerate(LATE.values()):
            (tmp_path / str(number)).mkdir()
            place = Place(tmp_path / str(number))
            stack.callback(place.close)
            started.append((place, late, stack.enter_context(place.start(late.timeout, before, late.phase, STEP))))
        for place, late, process in started:
            code, said = said_by(process)
            assert code != 0
            assert place.alive() is late.outlives
            outcome, summary = place.last()
            assert outcome == "recovered"
            assert late.said in summary
            assert ("may still run on h1" in said) is late.outlives
            steps = [line for line in place.log.read_text().splitlines() if not line.startswith("preflight")]
            assert steps == ["main before h1", "recover before h1"]


@pytest.mark.parametrize("refusal", REFUSALS, ids=[refusal.case for refusal in REFUSALS])
def test_a_run_whose_time_is_up_before_anything_is_touched_is_refused(tmp_path: Path, refusal: Refusal) -> None:
    place = Place(tmp_path)
    # what is asked for before the preflights takes all of the second
    with place.start("1s", refusal.given, rollback_repo="{{ lookup('ansible.builtin.pipe', 'sleep 1.1') }}") as process:
        code, said = said_by(process)
    assert code != 0
    assert refusal.found_in(said)
    assert place.last()[0] == "refused"
    assert not place.log.exists() and not place.pid.exists()
