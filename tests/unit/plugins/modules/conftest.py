# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What several modules are tested with: real services (supervisord's and ones with commands), a git work tree."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils._phase import run_step
from ansible_collections.changeops.rollback.plugins.module_utils._restore_point import RestorePoint
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.git_work_tree import GITCONFIG, Repo, tree

# A service that does what its options say: it listens on `port`; at SIGTERM it lingers for `linger` seconds; it dies
# after `die` seconds with a secret in its last words; it opens the port only after `late` seconds; a `child` keeps the
# port for so many seconds after its parent has gone. It notes in `events` that it has started.
SERVER = """
import json, os, signal, socket, sys, time
o = json.loads(sys.argv[1])
def end(*_):
    time.sleep(o.get("linger", 0))
    os._exit(0)
signal.signal(signal.SIGTERM, end)
with open(o["events"], "a") as events:
    events.write(o["name"] + "\\n")
if "die" in o:
    time.sleep(o["die"])
    sys.exit("Traceback: cannot connect with password=hunter2")
time.sleep(o.get("late", 0))
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("127.0.0.1", o["port"]))
s.listen(8)
if "child" in o and os.fork() == 0:
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(0.01)
    time.sleep(o["child"])
    os._exit(0)
while True:
    s.accept()[0].close()
"""

# start, stop and status as an init script has them
SCRIPT = """#!/bin/sh
case $1 in
  start) {python} {server} '{options}' >{log} 2>&1 & echo $! >{pid_file} ;;
  stop) kill "$(cat {pid_file})" && rm {pid_file} ;;
  status) kill -0 "$(cat {pid_file})" 2>/dev/null || exit 3 ;;
esac
"""


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="session", autouse=sys.version_info < (3, 9))
def spawned():
    """Start commands as newer Pythons do."""
    import _posixsubprocess

    from ansible_collections.changeops.rollback.tests.unit.plugins.modules.spawned import spawn

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_posixsubprocess, "fork_exec", spawn)
        yield


@pytest.fixture(scope="module")
def forked_alembic():
    """Start the driver of Alembic in forks, which need not import Alembic anew."""
    from ansible_collections.changeops.rollback.tests.unit.plugins.modules.forked_alembic import Commands, start_forked

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Commands, "_start", start_forked)
        yield


class Rig:
    """Services in a directory of their own, and the steps of a phase on them."""

    def __init__(self, place):
        self.place = place
        self.events = place / "events"
        self.config = place / "supervisord.conf"
        self.server = place / "server.py"
        self.server.write_text(SERVER)
        self.items = []
        self.programs = ""
        self.supervisord = None
        self.supervisorctl = str(Path(sys.executable).parent / "supervisorctl")

    def _options(self, name, options):
        options = dict(options, name=name, events=str(self.events), port=options.get("port") or free_port())
        return json.dumps(options), options["port"]

    def supervised(self, name, autostart=True, more="startsecs=0", wait_for_port=True, **options):
        """Another program for supervisord; returns its port."""
        text, port = self._options(name, options)
        self.programs += (
            f"[program:{name}]\ncommand={sys.executable} {self.server} '{text}'\n"
            f"autostart={str(autostart).lower()}\nstopwaitsecs=3\n{more}\n"
            f"stdout_logfile={self.place}/{name}.out\nstderr_logfile={self.place}/{name}.err\n"
        )
        item = {"name": name, "manager": "supervisord", "config": str(self.config)}
        item["supervisorctl"] = self.supervisorctl
        if wait_for_port:
            item["port"] = port
        self.items.append(item)
        return port

    def commanded(self, name, pid_file=True, **options):
        """A service with commands, not started; returns its port."""
        text, port = self._options(name, options)
        script, pids = self.place / f"{name}.sh", self.place / f"{name}.pid"
        parts = {"python": sys.executable, "server": self.server, "pid_file": pids, "log": self.place / f"{name}.log"}
        script.write_text(SCRIPT.format(options=text, **parts))
        script.chmod(0o755)
        item = {"name": name, "manager": "command", "port": port, **{v: [str(script), v] for v in VERBS}}
        if pid_file:
            item["pid_file"] = str(pids)
        self.items.append(item)
        return port

    def start_supervisord(self):
        head = f"[unix_http_server]\nfile={self.place}/s\n[supervisorctl]\nserverurl=unix://{self.place}/s\n"
        head += "[rpcinterface:supervisor]\n"
        head += "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n"
        head += f"[supervisord]\nnodaemon=true\nlogfile={self.place}/log\npidfile={self.place}/pid\n"
        head += f"childlogdir={self.place}\n"
        self.config.write_text(head + self.programs)
        argv = [str(Path(sys.executable).parent / "supervisord"), "-c", str(self.config)]
        self.supervisord = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.until((self.place / "s").exists)

    @staticmethod
    def until(condition, seconds=10.0):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.02)

    def ctl(self, *args):
        argv = [self.supervisorctl, "-c", str(self.config), *args]
        return subprocess.run(argv, check=False, capture_output=True, text=True).stdout

    def run(self, name, verb):
        item = next(item for item in self.items if item["name"] == name)
        subprocess.run(item[verb], check=True)

    def started(self):
        """The names of services in the order in which they have started since the last call."""
        names = self.events.read_text().split() if self.events.exists() else []
        self.events.unlink(missing_ok=True)
        return names

    def step(self, functions, step, check=False, phase="service", root="R1", timeout=20.0, **params):
        params = {**OPTIONS, "services": self.items, "timeout": timeout, **params}
        params.setdefault("restore_point", None if root == "standalone" else f"{root}/{phase}")
        point = RestorePoint(str(self.place / "state" / root / phase))
        return run_step(step, params, point, functions, check)

    def close(self):
        if self.supervisord:
            self.supervisord.terminate()
            self.supervisord.wait(20)
        for pids in self.place.glob("*.pid"):
            with contextlib.suppress(OSError, ValueError):
                pid = int(pids.read_text())
                if str(self.place) in Path(f"/proc/{pid}/cmdline").read_text():  # the number may be somebody else's now
                    os.kill(pid, signal.SIGKILL)


VERBS = ("start", "stop", "status")

OPTIONS = {
    "wait": 1.0,
    "stays_up": 0.3,
    "hold": True,
    "drain": [],
    "undrain": [],
    "drain_wait": 0.0,
    "drain_timeout": 5.0,
}


@pytest.fixture
def rig():
    # not tmp_path: the path of a socket must be short
    place = Path(tempfile.mkdtemp(prefix="svc"))
    made = Rig(place)
    yield made
    made.close()
    shutil.rmtree(place)


@pytest.fixture(scope="session")
def history(tmp_path_factory):
    """Release 1, then the bad commit (it changes, adds and deletes a file), then an unrelated one."""
    made = Repo(tmp_path_factory.mktemp("history"), Path("/nonexistent"))
    made.git("init", "--quiet", "--initial-branch=main")
    made.git("config", "user.name", "U")
    made.git("config", "user.email", "u@example.org")
    made.good = made.commit("Release 1", {"app.py": "one\n", "old.py": "old\n", "lib/x.py": "x\n", "README": "r\n"})
    made.bad = made.commit("Add invoice totals", {"app.py": "two\n", "old.py": None, "new/y.py": "y\n"})
    made.last = made.commit("Say more", {"README": "more\n"}, "2026-11-02T10:00:00Z")
    return made


@pytest.fixture
def repo(history, tmp_path, monkeypatch):
    """A copy of that repository, one run of git_revert on it, and a user whose git knows a name."""
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(GITCONFIG)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    made = Repo(tmp_path / "srv" / "shop", tmp_path / "state")
    shutil.copytree(history.path, made.path, symlinks=True)
    made.good, made.bad, made.last = history.good, history.bad, history.last
    made.options = {"commits": [made.bad[:10]]}
    made.files = tree(made.path)
    return made
