# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The app's interpreter that preflight leaves waiting for main: when it works, when not, and what becomes of it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import threading
import time
import venv
from pathlib import Path

import pytest

pytest.importorskip("alembic")

import alembic
from ansible_collections.changeops.rollback.plugins.module_utils import _alembic_ahead, _alembic_parts
from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.plugins.module_utils._restore_point import WorkLock
from ansible_collections.changeops.rollback.plugins.module_utils._run_close import closed
from ansible_collections.changeops.rollback.plugins.module_utils._run_point import RunPoint
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.alembic_pg import PgShop
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.alembic_shop import DROP, ENV, Shop

PHASE = "R1/3-alembic_downgrade"
ENGINE = """
with open({place!r} + "/workers", "a") as stream:
    stream.write(f"{{os.getpid()}}\\n")
engine = create_engine('sqlite:///var/shop.db', poolclass=pool.NullPool)
"""
# The migration tells that it is at work, and goes on when it is let.
HELD = """import os, time
    open({place!r} + "/reached", "w").close()
    while os.path.exists({place!r} + "/hold"):
        time.sleep(0.02)
    """


def until(what, seconds=60):
    """Wait until ``what`` is true."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


def ended(pid):
    """Whether a process has ended; our own children are zombies then."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


class Ahead:
    """A run's downgrade, with an interpreter in a virtual environment of its own."""

    def __init__(self, place):
        self.place, self.hold, self.reached = place, place / "hold", place / "reached"
        self.shop = Shop(place, down=HELD.format(place=str(place)) + DROP).totals()
        self.env = self.shop.root / "migrations" / "env.py"
        self.env.write_text(ENV.format(engine=ENGINE.format(place=str(place)), options=""))
        self.state, self.point = place / "state", place / "state" / PHASE
        self.state.mkdir()
        (self.state / "lock.json").write_text(json.dumps({"run": "R1"}))
        self.socket = self.state / f"{PHASE}.sock"
        self.venv = place / "venv"
        self.python = [str(self.venv / "bin" / "python")]
        self.make_venv()

    def make_venv(self):
        venv.create(str(self.venv), symlinks=True, with_pip=False)
        (self.packages() / "installed.pth").write_text(f"{Path(alembic.__file__).parents[1]}\n")

    def packages(self):
        [packages] = self.venv.glob("lib/python*/site-packages")
        return packages

    def run(self, step, **params):
        return self.shop.run(step, **{"python": self.python, **params})

    def waiting(self):
        """The processes that were left and are there."""
        found, word = [], str(self.point / "driver" / "wait.json").encode()
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if word in (entry / "cmdline").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
        return found

    def left(self):
        """Run preflight; returns the process that it left."""
        assert self.run("preflight").pending
        [pid] = self.waiting()
        return pid

    def worked(self):
        """The process that had env.py last."""
        return int((self.place / "workers").read_text().split()[-1])

    def meanwhile(self, act):
        """Do something when the migration is at work in main."""
        self.reached.unlink()
        self.hold.touch()
        thread = threading.Thread(target=lambda: (until(self.reached.exists), act()))
        thread.start()
        return thread


@pytest.fixture
def ahead(tmp_path, monkeypatch):
    monkeypatch.setenv("CHANGEOPS_RUN", "R1")
    monkeypatch.setattr(_alembic_ahead, "PATIENCE", 60.0)  # a busy machine
    ahead = Ahead(tmp_path)
    yield ahead
    with contextlib.suppress(FileNotFoundError):
        ahead.hold.unlink()
    for pid in ahead.waiting():
        os.kill(pid, signal.SIGKILL)


def test_main_is_done_by_the_process_that_waits(ahead, monkeypatch):
    before = ahead.shop.dump()
    monkeypatch.setenv("CHANGEOPS_TIME_LEFT", "100")
    pid = ahead.left()
    assert ahead.worked() != pid, "it has read nothing of the app"
    monkeypatch.setenv("CHANGEOPS_TIME_LEFT", "90")
    monkeypatch.setenv("SSH_CLIENT", "10.0.0.1 40000 22")
    monkeypatch.setenv("SUDO_COMMAND", "/bin/sh -c echo BECOME-SUCCESS-abc; /usr/bin/python3")
    assert ahead.run("main").changed
    assert (ahead.worked(), ahead.shop.revision()) == (pid, "old")
    until(lambda: ended(pid))
    assert not ahead.run("main").changed, "it works once"
    assert ahead.run("recover").changed
    assert (ahead.shop.revision(), ahead.shop.dump()) == ("new", before)


def test_it_reads_the_app_when_it_is_asked(ahead):
    pid = ahead.left()
    ahead.env.write_text(ahead.env.read_text() + "\nraise ValueError('another environment')\n")
    with pytest.raises(PhaseError, match="another environment"):
        ahead.run("main")
    assert (ahead.worked(), ahead.shop.revision()) == (pid, "new")


def test_it_holds_nothing_while_it_waits(ahead):
    """No lock, no database, and nothing of who left it: somebody may wait for the other end."""
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    try:
        pid = ahead.left()
        there = [os.readlink(str(link)) for link in Path(f"/proc/{pid}/fd").iterdir()]
    finally:
        os.close(reading)
        os.close(writing)
    others = [name for name in there if name != "/dev/null"]
    assert len(others) < len(there)
    assert [name for name in others if name.startswith("pipe:") or name.endswith((".db", ".lock"))] == []
    assert len([name for name in others if name.startswith("socket:")]) == 1
    assert os.getsid(pid) == pid
    assert oct(ahead.socket.stat().st_mode & 0o777) == "0o600"
    assert oct(ahead.socket.parent.stat().st_mode & 0o777) == "0o700"


def kill(ahead, pid, monkeypatch):
    os.kill(pid, signal.SIGKILL)


def unlink(ahead, pid, monkeypatch):
    ahead.socket.unlink()


def stop(ahead, pid, monkeypatch):
    os.kill(pid, signal.SIGSTOP)
    monkeypatch.setattr(_alembic_ahead, "PATIENCE", 0.2)


def another_variable(ahead, pid, monkeypatch):
    monkeypatch.setenv("SHOP_MODE", "other")


def another_package(ahead, pid, monkeypatch):
    (ahead.packages() / "new-1.0.dist-info").mkdir()


def another_link_to_the_interpreter(ahead, pid, monkeypatch):
    path = Path(ahead.python[0])
    target = os.readlink(str(path))
    path.rename(path.with_name("before"))
    path.symlink_to(target)


def another_environment(ahead, pid, monkeypatch):
    ahead.venv.rename(ahead.place / "aside")
    ahead.make_venv()


def another_path_of_the_interpreter(ahead, pid, monkeypatch):
    (ahead.place / "same").symlink_to(ahead.venv)
    ahead.python = [str(ahead.place / "same" / "bin" / "python")]


def a_wrapper_now(ahead, pid, monkeypatch):
    ahead.python = ["env", *ahead.python]


def another_folder(ahead, pid, monkeypatch):
    ahead.shop.root.rename(ahead.place / "aside")
    shutil.copytree(str(ahead.place / "aside"), str(ahead.shop.root))


def another_version_of_ours(ahead, pid, monkeypatch):
    source = _alembic_parts._source
    monkeypatch.setattr(_alembic_parts, "_source", lambda part: source(part) + b"# newer\n")


def another_account(ahead, pid, monkeypatch):
    monkeypatch.setattr(_alembic_ahead, "account", lambda: [1, 1, [1]])


def nobody_who_could_end_it(ahead, pid, monkeypatch):
    monkeypatch.setattr(os, "getpgid", lambda _pid: 1)


CHANGES = [
    kill,
    unlink,
    stop,
    another_variable,
    another_package,
    another_link_to_the_interpreter,
    another_environment,
    another_path_of_the_interpreter,
    a_wrapper_now,
    another_folder,
    another_version_of_ours,
    another_account,
    nobody_who_could_end_it,
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_what_is_not_as_it_was_is_started_as_ever(ahead, monkeypatch, change):
    pid = ahead.left()
    with monkeypatch.context() as patch:
        change(ahead, pid, patch)
        assert ahead.run("main").changed
    assert (ahead.worked() != pid, ahead.shop.revision()) == (True, "old")
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
    if change not in (another_path_of_the_interpreter, a_wrapper_now):
        until(lambda: ended(pid), 20)
    assert ahead.shop.revision() == "old"


@pytest.mark.parametrize(
    "case", ["stand-alone", "no run", "rehearsing", "rehearse", "check mode", "a script", "nothing to do"]
)
def test_nobody_is_left_waiting(ahead, monkeypatch, case):
    params = {"stand-alone": {"point": "standalone/alembic_downgrade"}, "rehearsing": {"rehearsing": True}}
    params["check mode"] = {"check": True}
    step = "rehearse" if case == "rehearse" else "preflight"
    if case == "no run":
        monkeypatch.delenv("CHANGEOPS_RUN")
    elif case == "a script":
        script = ahead.place / "app-python"
        script.write_text(f'#!/bin/sh\nexec {ahead.python[0]} "$@"\n')
        script.chmod(0o755)
        ahead.python = [str(script)]
    elif case == "nothing to do":
        ahead.run("preflight")
        ahead.run("main")
        (ahead.state / "R1").rename(ahead.place / "aside")
    ahead.run(step, **params.get(case, {}))
    assert ahead.waiting() == []
    assert list(ahead.state.rglob("*.sock")) == []


def test_the_end_of_the_run_ends_it(ahead):
    pid = ahead.left()
    (ahead.state / "R1" / "run.json").write_text(json.dumps({"change": "C001", "run": "R1"}))
    closed(RunPoint(str(ahead.state / "R1")), {"run": "R1", "outcome": "failed", "keep": 3}, False)
    assert not ahead.socket.exists() and ahead.point.exists()
    until(lambda: ended(pid), 10)


def test_the_next_preflight_leaves_another_one(ahead):
    first, _second = ahead.left(), ahead.run("preflight")
    until(lambda: ended(first), 10)
    [pid] = [pid for pid in ahead.waiting() if not ended(pid)]
    assert ahead.run("main").changed
    assert ahead.worked() == pid


def test_it_does_not_wait_for_ever(ahead, monkeypatch):
    source = _alembic_parts._source
    monkeypatch.setattr(_alembic_parts, "_source", lambda part: source(part).replace(b"IDLE = 900.0", b"IDLE = 0.1"))
    pid = ahead.left()
    until(lambda: ended(pid), 20)
    assert ahead.run("main").changed


def test_at_the_deadline_it_is_ended(ahead):
    pid, before = ahead.left(), ahead.shop.dump()
    ahead.meanwhile(lambda: None)
    with pytest.raises(PhaseError, match="did not finish within 8 s") as told:
        ahead.run("main", timeout=8.0)
    assert told.value.facts == {"timed_out": True}
    assert ahead.worked() == pid
    until(lambda: ended(pid), 1)
    assert (ahead.shop.revision(), ahead.shop.dump()) == ("new", before)


def test_killed_in_the_middle_it_has_changed_nothing(ahead):
    pid, before = ahead.left(), ahead.shop.dump()
    ahead.meanwhile(lambda: os.kill(pid, signal.SIGKILL))
    with pytest.raises(PhaseError, match="Alembic could not be run with"):
        ahead.run("main")
    assert ahead.worked() == pid
    assert (ahead.shop.revision(), ahead.shop.dump()) == ("new", before)


def test_what_it_says_is_told_without_secrets(ahead):
    pid = ahead.left()
    ahead.env.write_text(
        ahead.env.read_text() + "\nimport sys\nprint('password=hunter2', file=sys.stderr, flush=True)\nos._exit(3)\n"
    )
    with pytest.raises(PhaseError, match=r"password=\*+"):
        ahead.run("main")
    assert ahead.worked() == pid


@pytest.mark.parametrize("end", [True, False], ids=["ended", "waited for"])
def test_the_death_of_the_module_leaves_it_under_the_lock(ahead, end):
    """As with one that was started by main: it works on, and who comes next waits for it or ends it."""
    pid = ahead.left()
    ahead.reached.unlink()
    ahead.hold.touch()
    module = os.fork()
    if module == 0:
        with contextlib.suppress(BaseException):
            ahead.run("main")
        os._exit(0)
    until(ahead.reached.exists)
    os.kill(module, signal.SIGKILL)
    os.waitpid(module, 0)
    lock = WorkLock(ahead.state / "work.lock", "the next one")
    assert (lock.holder()["pgid"], ended(pid)) == (pid, False)
    with (ahead.state / "work.lock").open() as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if not end:
        threading.Timer(0.5, ahead.hold.unlink).start()
    found = lock.acquire(0.0 if end else 60.0, end=True)
    lock.release()
    assert found["ended"] == end
    until(lambda: ended(pid), 10)
    assert ahead.shop.revision() == ("new" if end else "old")
    if end:
        ahead.hold.unlink()
    assert ahead.run("main").changed == end
    assert ahead.shop.revision() == "old"


def test_of_a_server_the_driver_is_imported_and_nothing_is_connected(tmp_path, monkeypatch, postgresql):
    monkeypatch.setenv("CHANGEOPS_RUN", "R1")
    monkeypatch.setattr(_alembic_ahead, "PATIENCE", 60.0)
    down = ["ALTER TABLE invoices DROP COLUMN total"]
    shop = PgShop(tmp_path, monkeypatch, postgresql, ["ALTER TABLE invoices ADD total int"], down)
    (shop.state).mkdir()
    (shop.state / "lock.json").write_text(json.dumps({"run": "R1"}))
    shop.run("preflight")
    order = json.loads((shop.state / PHASE / "driver" / "wait.json").read_text())
    assert {"psycopg", "sqlalchemy.dialects.postgresql.psycopg", "alembic.config"} <= set(order["imports"])
    assert not [name for name in order["imports"] if "env_py" in name]
    assert "hunter2" not in json.dumps(order)
    shop.alone()
    assert shop.run("main").changed
    assert shop.sql("SELECT version_num FROM alembic_version") == [("old",)]
