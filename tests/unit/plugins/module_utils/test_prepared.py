# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules that lie on the host already, and the process that has them in memory."""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils import _prepared_server, _prepared_start
from ansible_collections.changeops.rollback.plugins.module_utils._restore_point import RestorePoint

START = Path(_prepared_start.__file__).read_text()
SERVER = Path(_prepared_server.__file__).read_text()
PACKAGE = "ansible_collections/changeops/rollback/plugins/"
MODULES = PACKAGE.replace("/", ".") + "modules."
PROBE = """\
import json, os, sys, time
from ansible.module_utils.basic import AnsibleModule
if __name__ == "__main__":
    module = AnsibleModule({"fail": {"type": "bool"}, "wait": {"type": "float", "default": 0.0}})
    umask = os.umask(0)
    if module.params["wait"]:
        open("started", "w").close()
        time.sleep(module.params["wait"])
    said = {"file": __file__, "pid": os.getpid(), "place": os.getcwd(), "umask": umask, "word": os.environ.get("WORD")}
    (module.fail_json if module.params["fail"] else module.exit_json)(msg="done", **said)
"""


RUN = {"CHANGEOPS_RUN": "R1"}


def archive(probe: str = PROBE, name: str = "probe", server: str = SERVER) -> str:
    """A module with what it imports, as Ansible packs it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        for folder in ("", "changeops/", "changeops/rollback/", *(PACKAGE[20:] + end for end in ("", "modules/"))):
            file.writestr(f"ansible_collections/{folder}__init__.py", "")
        file.writestr(PACKAGE + "module_utils/__init__.py", "")
        file.writestr(PACKAGE + "module_utils/_prepared_server.py", server)
        file.writestr(f"{PACKAGE}modules/{name}.py", probe)
    return base64.b64encode(packed.getvalue()).decode()


class Host:
    """Starts a module as the controller does: Python reads the script from its input."""

    def __init__(self, place: Path) -> None:
        self.state = place / "state"
        self.home = place / "home"
        self.home.mkdir()

    def script(
        self, sent: str = "", key: str = "one", name: str = "probe", point: str = "", leave: bool = True, **args: object
    ) -> str:
        params = {"_ansible_target_log_info": None, "_ansible_tracebacks_for": [], **args}
        values = {
            "state_dir": str(self.state),
            "key": key,
            "module": MODULES + name,
            "params": json.dumps({"ANSIBLE_MODULE_ARGS": params}),
            "profile": "legacy",
            "archive": sent,
            "point": point,
            "leave": leave,
        }
        return f"{START}\n\nstart(**{values!r})\n"

    def popen(self, script: str, **environ: str) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        env = {**os.environ, "HOME": str(self.home), **environ}
        env.pop("XDG_STATE_HOME", None)
        argv = [sys.executable, "-c", script]
        return subprocess.Popen(argv, env=env, stdout=pipe, stderr=pipe, text=True, cwd=str(self.home))

    def start(self, *args: object, environ: dict[str, str] | None = None, **kwargs: object) -> dict[str, object]:
        running = self.popen(self.script(*args, **kwargs), **(environ or {}))
        out, err = running.communicate(timeout=60)
        assert out, err
        return dict(json.loads(out), rc=running.returncode)

    def kept(self, key: str = "one") -> Path:
        return self.state / "program" / key


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_module_is_sent_once(host: Host) -> None:
    assert host.start() == {"changeops_prepared": False, "rc": 0}
    first = host.start(archive())
    assert (first["msg"], first["rc"]) == ("done", 0)
    again = host.start()
    assert again["msg"] == "done" and str(again["file"]).startswith(str(host.kept()))
    assert list(host.kept().rglob("*.pyc")), "Python compiles it at each start"
    modes = [oct(path.stat().st_mode & 0o777) for path in (host.state, host.kept().parent, host.kept())]
    assert modes == ["0o711", "0o700", "0o700"]


def test_another_version_is_another_module(host: Host) -> None:
    host.start(archive())
    assert host.start(key="two") == {"changeops_prepared": False, "rc": 0}
    assert host.start(archive(PROBE.replace("done", "new")), key="two")["msg"] == "new"
    assert host.start()["msg"] == "done"


def test_another_module_adds_to_what_is_there(host: Host) -> None:
    host.start(archive())
    probe = host.kept() / PACKAGE / "modules" / "probe.py"
    before = probe.stat().st_ino
    assert host.start(name="other") == {"changeops_prepared": False, "rc": 0}
    assert host.start(archive(name="other"), name="other")["msg"] == "done"
    assert probe.stat().st_ino == before
    assert host.start()["msg"] == "done"


def test_a_module_that_was_not_written_to_its_end_is_sent_again(host: Host) -> None:
    host.start(archive())
    (host.kept() / PACKAGE / "modules" / "probe.py").unlink()
    assert host.start() == {"changeops_prepared": False, "rc": 0}
    assert host.start(archive())["msg"] == "done"


def test_what_was_not_used_for_long_goes(host: Host) -> None:
    for key in ("old", "recent"):
        host.start(archive(), key=key)
    os.utime(str(host.kept("old")), (0, time.time() - _prepared_start.FORGOTTEN - 60))
    host.start(archive())
    assert sorted(path.name for path in host.kept().parent.iterdir()) == ["one", "recent"]


@pytest.mark.parametrize("folder", ["state", "state/program", "state/program/one"])
def test_nothing_is_run_from_where_others_may_write(host: Host, folder: str) -> None:
    host.start(archive(PROBE.replace("done", "of somebody else")))
    (host.state.parent / folder).chmod(0o777)
    assert host.start() == {"changeops_prepared": False, "rc": 0}
    assert host.start(archive())["msg"] == "done"


def test_a_link_is_not_followed(host: Host, tmp_path: Path) -> None:
    host.start(archive(PROBE.replace("done", "elsewhere")))
    host.kept().rename(tmp_path / "elsewhere")
    host.kept().symlink_to(tmp_path / "elsewhere")
    assert host.start() == {"changeops_prepared": False, "rc": 0}
    assert host.start(archive())["msg"] == "done"


def test_check_mode_leaves_nothing(host: Host, tmp_path: Path) -> None:
    assert host.start(archive(), leave=False, environ={"TMPDIR": str(tmp_path)})["msg"] == "done"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home"]
    host.start(archive())
    for path in list(host.kept().rglob("*.pyc")):
        path.unlink()
    point = tmp_path / "point"
    point.mkdir()
    found = host.start(leave=False, point=str(point))
    assert str(found["file"]).startswith(str(host.kept())), "it uses what is there"
    assert not [*host.kept().rglob("*.pyc"), *point.iterdir()]


def test_only_a_run_has_it_kept_in_memory(host: Host, tmp_path: Path) -> None:
    """Told by a server that leaves a file at once: what would come up later cannot be waited for."""
    point = tmp_path / "mine"
    point.mkdir()
    host.start(archive(server="def listen(path, place, key):\n    open(path, 'w').close()\n"), point=str(point))
    assert not list(point.iterdir())
    host.start(point=str(point), environ=RUN)
    assert [str(path) for path in point.iterdir()] == [_prepared_start.socket_in(str(point))]


HOME_STATE = "/home/shop/.local/state/changeops"


@pytest.mark.parametrize(
    ("euid", "xdg", "state_dir", "bases"),
    [
        (0, "", "", ["/var/lib/changeops"]),
        (0, "/srv/xdg", "", ["/var/lib/changeops"]),
        (0, "", "/srv/state", ["/srv/state"]),
        (1000, "", "", [HOME_STATE]),
        (1000, "/srv/xdg", "", ["/srv/xdg/changeops"]),
        (1000, "", "/srv/state", ["/srv/state", HOME_STATE]),
        (1000, "", "~/state", ["/home/shop/state", HOME_STATE]),
    ],
)
def test_places(monkeypatch: pytest.MonkeyPatch, euid: int, xdg: str, state_dir: str, bases: list[str]) -> None:
    """The first is beside the restore points: the file that is sent alone cannot ask the one that knows where."""
    monkeypatch.setattr(os, "geteuid", lambda: euid)
    monkeypatch.setenv("HOME", "/home/shop")
    monkeypatch.setenv("XDG_STATE_HOME", xdg)
    assert _prepared_start.places(state_dir, "one") == [f"{base}/program/one" for base in bases]
    beside = RestorePoint(os.path.join(state_dir, "R1", "backup")).state_dir
    own = RestorePoint("R1/backup").state_dir if euid else beside
    assert [str(path) for path in dict.fromkeys((beside, own))] == bases


def test_a_place_is_told_from_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert _prepared_start.places("state", "one") == []


def test_without_any_place_it_runs_all_the_same_and_leaves_nothing(host: Host, tmp_path: Path) -> None:
    host.state.write_text("no directory")
    (host.home / ".local").write_text("no directory")
    found = host.start(archive(), environ={"TMPDIR": str(tmp_path)})
    assert found["msg"] == "done"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "state"]


class Served:
    """A host with a process that has the module in memory."""

    def __init__(self, host: Host, point: Path) -> None:
        self.host = host
        self.point = point
        self.point.mkdir(parents=True)
        host.start(archive(), point=str(point), environ=RUN)
        self.socket = Path(_prepared_start.socket_in(str(point)))
        until = time.monotonic() + 20
        while not self.socket.exists():
            assert time.monotonic() < until, "nobody listens"
            time.sleep(0.02)
        self.pids = self.listening()

    def listening(self) -> list[int]:
        """The processes that were started for this restore point and are there."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(self.point).encode() in words and b"start(" in words:
                found.append(int(entry.name))
        return found


@pytest.fixture
def served(host: Host, tmp_path: Path):
    served = Served(host, tmp_path / ("a long name " * 12) / "point")
    yield served
    for pid in served.listening():
        os.kill(pid, signal.SIGKILL)


def test_it_runs_the_module_with_the_caller_s_output_and_environment(served: Served) -> None:
    umask = os.umask(0o027)
    try:
        first = served.host.start(point=str(served.point), environ={"WORD": "ä b"})
    finally:
        os.umask(umask)
    again = served.host.start(point=str(served.point), fail=True)
    assert (first["rc"], first["word"], first["umask"]) == (0, "ä b", 0o027)
    assert first["place"] == str(served.host.home)
    assert (again["rc"], again["failed"], again["word"]) == (1, True, None)
    assert first["pid"] != again["pid"]


def test_it_really_was_that_process(served: Served) -> None:
    probe = served.host.kept() / PACKAGE / "modules" / "probe.py"
    running = served.host.popen(served.host.script(point=str(served.point)))
    out, _err = running.communicate(timeout=60)
    assert json.loads(out)["pid"] != running.pid
    probe.unlink()  # what is not there is not asked of it, and nothing else can run it
    assert served.host.start(point=str(served.point)) == {"changeops_prepared": False, "rc": 0}


def test_another_version_is_not_asked_of_it(served: Served) -> None:
    found = served.host.start(archive(PROBE.replace("done", "new")), key="two", point=str(served.point))
    assert found["msg"] == "new"


def test_nobody_waits_for_it(host: Host, tmp_path: Path) -> None:
    """Not even a wrapper of Python that waits for a pipe to be closed, as faketime does."""
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    point = tmp_path / "point"
    point.mkdir()
    running = subprocess.Popen(
        [sys.executable, "-c", host.script(archive(), point=str(point))],
        env={**os.environ, **RUN, "HOME": str(host.home)},
        stdout=subprocess.PIPE,
        close_fds=False,
    )
    os.close(writing)
    os.set_blocking(reading, True)
    signal.alarm(30)
    try:
        assert running.communicate()[0]
        assert os.read(reading, 1) == b""
    finally:
        signal.alarm(0)
        os.close(reading)
        for path in point.glob("*.sock"):
            path.unlink()


def test_it_ends_when_the_socket_is_gone(served: Served) -> None:
    assert served.pids
    served.socket.unlink()
    until = time.monotonic() + 10
    while served.listening():
        assert time.monotonic() < until, "it is still there"
        time.sleep(0.05)
    assert served.host.start()["msg"] == "done"


def test_without_it_modules_start_as_ever(served: Served) -> None:
    for pid in served.pids:
        os.kill(pid, signal.SIGKILL)
    assert served.socket.exists()
    assert served.host.start(point=str(served.point))["msg"] == "done"


def test_a_module_that_is_killed_is_a_failure(served: Served) -> None:
    running = served.host.popen(served.host.script(point=str(served.point), wait=60))
    until = time.monotonic() + 20
    while not (served.host.home / "started").exists():  # killed before that, it is started anew, and rightly
        assert time.monotonic() < until
        time.sleep(0.02)
    for pid in set(served.listening()) - {*served.pids, running.pid}:
        os.kill(pid, signal.SIGKILL)
    out, _err = running.communicate(timeout=20)
    assert (out, running.returncode) == ("", 1)
    assert served.host.start(point=str(served.point))["msg"] == "done"
