# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Phases go wrong in three ways, on an app with SQLite and supervisord: those phases where these two matter.

All phases, with all that can break, are in test_fault_matrix.py, on hosts with PostgreSQL and systemd.

(a) The phase fails: everything is put back, with every value of the column that the downgrade had dropped.
(b) The same with ``on_failure: stop``: the run ends as failed, the next one finishes the job.
(c) ansible-playbook is killed in the middle of the phase, while its child still works: the next run finishes the job.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import types
import typing as t
from pathlib import Path

import pytest
from harness import BIN, Ops, Shop, assert_nobody_waits, assert_rolled_back

ROOT = Path(__file__).parents[2]
HOLD_DATABASE = """
import pathlib, sqlite3, sys, time
db = sqlite3.connect(sys.argv[1]); db.execute("SELECT count(*) FROM invoices").fetchall()
while pathlib.Path(sys.argv[2]).exists(): time.sleep(0.05)
"""

# Holds the port until the code is the bad release again: so the phase fails, and its recovery can work.
HOLD_PORT = """
import pathlib, socket, subprocess, sys, time
port, repo, bad, flag = sys.argv[1:]
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("127.0.0.1", int(port))); s.listen()
head = lambda: subprocess.check_output(["git", "-C", repo, "rev-parse", "HEAD"], text=True).strip()
while pathlib.Path(flag).exists() and head() != bad: time.sleep(0.05)
"""


def background(code: str, *args: object) -> list[str]:
    """An argument list that leaves ``code`` running in the background, once it has begun."""
    script = 'nohup setsid "$@" > /dev/null 2>&1 & sleep 1'
    return ["sh", "-c", script, "sh", sys.executable, "-c", code, *map(str, args)]


class Fault(t.NamedTuple):
    """How a phase is made to fail between its preflight and its main, how that is mended, what the history says."""

    phase: str
    sabotage: t.Callable[[Ops], list[str]]
    mend: t.Callable[[Ops], object]
    cause: str
    vars: t.Mapping[str, t.Any] = types.MappingProxyType({})


FAULTS = [
    Fault(
        "service_stop",
        lambda ops: [
            "sh",
            "-c",
            'kill -STOP "$("$1" -c "$2" pid shop-web)"',
            "sh",
            str(BIN / "supervisorctl"),
            ops.shop.facts["supervisord_config"],
        ],
        lambda ops: None,
        "shop-web",
        {"service_stop_timeout": 3},
    ),
    Fault(
        "alembic_downgrade",
        lambda ops: background(HOLD_DATABASE, ops.shop.database, ops.flag),
        lambda ops: None,
        "python",
    ),
    Fault(
        "git_revert",
        lambda ops: ["touch", str(ops.shop.repo / ".git" / "index.lock")],
        lambda ops: (ops.shop.repo / ".git" / "index.lock").unlink(),
        "index.lock",
    ),
    Fault(
        "service_start",
        lambda ops: background(
            HOLD_PORT, ops.shop.facts["port"], ops.shop.repo, ops.shop.facts["commits"]["bad"], ops.flag
        ),
        lambda ops: None,
        "shop-web",
    ),
]


@pytest.fixture
def faulty(ops: Ops, request: pytest.FixtureRequest) -> t.Iterator[tuple[Ops, Fault]]:
    fault: Fault = request.param
    ops.before(fault.phase, sabotage_argv=fault.sabotage(ops))
    ops.phase(fault.phase).setdefault("vars", {}).update(fault.vars)
    ops.flag.write_text(fault.phase)
    yield ops, fault
    ops.flag.unlink(missing_ok=True)


PHASES = pytest.mark.parametrize("faulty", FAULTS, ids=[fault.phase for fault in FAULTS], indirect=True)


@PHASES
def test_a_failed_phase_is_recovered_with_every_value(faulty: tuple[Ops, Fault], shop: Shop) -> None:
    ops, fault = faulty
    ops.write()
    before = shop.state()
    assert before["totals"] and before["health"] == 503
    done = ops.rollback()
    assert done.returncode != 0
    after = shop.state()
    if fault.phase == "git_revert":
        fault.mend(ops)
    assert after == before
    run = ops.history()[-1]
    assert run["outcome"] == "recovered"
    assert fault.phase in run["summary"] and "shop1" in run["summary"]
    assert fault.cause in run["summary"]
    assert not (ops.root / "state" / "lock.json").exists()
    assert_nobody_waits(ops)


def test_a_playbook_of_one_s_own_without_the_observer_puts_all_back_too(ops: Ops, shop: Shop) -> None:
    """Nobody sees there which phase has started."""
    ops.flag.write_text("verify")
    ops.write()
    own = (ROOT / "playbooks" / "rollback.yml").read_text()
    (ops.root / "rollback.yml").write_text(own)
    before = shop.state()
    done = ops.rollback()
    assert done.returncode != 0 and "not told to fail" in done.stdout
    assert shop.state() == before


# What comes after a stop is no matter of SQLite or supervisord, so one phase is enough.
@pytest.mark.parametrize("faulty", FAULTS[1:2], ids=["alembic_downgrade"], indirect=True)
def test_with_stop_it_fails_and_the_next_run_finishes(faulty: tuple[Ops, Fault], shop: Shop) -> None:
    ops, fault = faulty
    ops.extra["on_failure"] = "stop"
    ops.write()
    before = shop.state()
    done = ops.rollback()
    assert done.returncode != 0
    run = ops.history()[-1]
    assert run["outcome"] == "failed"
    for word in (fault.phase, "shop1", fault.cause):
        assert word in run["summary"]

    ops.flag.unlink()
    done = ops.rollback()
    assert done.returncode == 0
    assert_rolled_back(shop, before)
    last = ops.history()[-1]
    assert (last["outcome"], last["resumes"], last["restore_point"]) == ("succeeded", run["id"], run["restore_point"])


class Kill(t.NamedTuple):
    """The word on a command line in the middle of a phase's main; the program that carries it takes 4 s."""

    phase: str
    word: str


KILLS = [
    Kill("alembic_downgrade", "alembic_downgrade/driver"),
    Kill("service_start", "start"),
]


@pytest.mark.parametrize("kill", KILLS, ids=[kill.phase for kill in KILLS])
def test_killed_in_the_middle_the_next_run_finishes(ops: Ops, shop: Shop, kill: Kill) -> None:
    ops.flag.write_text(kill.phase)
    ops.before(kill.phase, sabotage_argv=["sh", "-c", 'printf %s "$1" > "$2"', "sh", kill.word, str(ops.slow)])
    if kill.phase == "alembic_downgrade":
        python = ops.wrapper("app-python", shop.repo / ".venv" / "bin" / "python")
        ops.phase(kill.phase)["vars"]["alembic_downgrade_python"] = [str(python)]
    ops.write()
    before = shop.state()
    child = ops.killed()
    assert Path(f"/proc/{child}").exists(), "the child should still work when the next run begins"
    ops.flag.unlink()
    done = ops.rollback()
    assert done.returncode == 0
    assert not Path(f"/proc/{child}").exists(), "something still works beside the next run"
    assert_rolled_back(shop, before)
    first, second = ops.history()
    assert first["outcome"] == "interrupted"
    assert kill.phase in first["summary"]
    assert (second["outcome"], second["resumes"], second["restore_point"]) == (
        "succeeded",
        first["id"],
        first["restore_point"],
    )


# In the app's interpreter: stop, or fail, before the downgraded copy takes the place of the database.
IN_THE_MIDDLE = """\
import os, sys, time
def harm(event, args):
    if event == "os.rename" and os.fsdecode(args[1]) == {database!r} and os.path.exists({slow!r}):
        with open({slow!r}) as stream:
            word = stream.read()
        os.unlink({slow!r})
        with open({reached!r}, "w") as stream:
            stream.write(str(os.getpid()))
        if word == "fail":
            raise RuntimeError("told to fail")
        time.sleep(600)
sys.addaudithook(harm)
"""


def harmed(ops: Ops, shop: Shop, word: str) -> None:
    """Have the app's own interpreter, which preflight starts ahead, come to harm."""
    names = {"database": str(shop.database), "slow": str(ops.slow), "reached": str(ops.reached)}
    [packages] = shop.repo.glob(".venv/lib/python*/site-packages")
    (packages / "harm.py").write_text(IN_THE_MIDDLE.format(**names))
    (packages / "harm.pth").write_text("import harm\n")
    ops.slow.write_text(word)


def until_reached(ops: Ops, running: subprocess.Popen[str]) -> int:
    """Returns the interpreter that was started ahead, when it is in the middle of the downgrade."""
    until = time.monotonic() + 120
    while not (ops.reached.exists() and ops.reached.read_text()):
        assert running.poll() is None and time.monotonic() < until
        time.sleep(0.02)
    return int(ops.reached.read_text())


@pytest.mark.parametrize("harm", ["driver killed", "module killed", "migration fails"])
def test_harm_to_the_interpreter_that_was_started_ahead_is_recovered(ops: Ops, shop: Shop, harm: str) -> None:
    before = shop.state()
    harmed(ops, shop, "fail" if harm == "migration fails" else "wait")
    running = ops.start("rollback.yml", "-e", "change=C001")
    pid = until_reached(ops, running)
    if harm != "migration fails":
        assert ops.waiting() == [pid], "it was started in the downtime"
        lock = json.loads((ops.root / "state" / "work.lock").read_text())
        assert lock["pgid"] == pid
        if harm == "module killed":
            os.kill(lock["pid"], signal.SIGKILL)
            time.sleep(1)
            assert ops.waiting() == [pid], "it works on, under the lock, and recovery waits for it"
        os.kill(pid, signal.SIGKILL)
    print(running.communicate(timeout=300)[0])
    assert running.returncode != 0
    run = ops.history()[-1]
    assert run["outcome"] == "recovered", run["summary"]
    assert "alembic_downgrade" in run["summary"]
    assert shop.state() == before
    assert_nobody_waits(ops)


def test_the_interpreter_that_was_started_ahead_outlives_no_resume(ops: Ops, shop: Shop) -> None:
    before = shop.state()
    harmed(ops, shop, "wait")
    child = ops.killed()
    assert ops.waiting() == [child], "the child should still work when the next run begins"
    assert ops.rollback().returncode == 0
    assert_rolled_back(shop, before)
    assert [run["outcome"] for run in ops.history()] == ["interrupted", "succeeded"]
    assert_nobody_waits(ops)
