# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stops a rollback at a place, so that a test can do harm there, and looks how all ends.

At the start and the end of a phase ``callbacks/pause_at.py`` stops ansible-playbook. In the middle a wrapper around the
program that does the phase's work stops, or fails, on the host.
"""

from __future__ import annotations

import json
import subprocess
import threading
import time
import typing as t
from pathlib import Path

from hosts import Host

HERE = Path(__file__).parent
DIRECTORY = "/run/fault"


class Work(t.NamedTuple):
    """The command that does a phase's work: the program, a word on its command line, and where its middle is."""

    program: str
    word: str
    middle: str


# The middle is where harm does most: with the database downgraded and nothing noted, with the revert committed and the
# work tree as it was.
WORK = {
    "backup": Work("git", "update-ref", "before"),
    "service_stop": Work("systemctl", "stop", "before"),
    "alembic_downgrade": Work("shop-python", "alembic_downgrade/driver", "after"),
    "git_revert": Work("git", "reset", "before"),
    "config_restore": Work("git", "ls-tree", "before"),
    "service_start": Work("systemctl", "start", "after"),
    "verify": Work("shop-check", "", "before"),
}
PROGRAMS = {"git": "/usr/bin/git", "systemctl": "/usr/bin/systemctl", "shop-check": "/bin/true"}

# Once, for the next command that has the word: wait or fail, before the work or after it.
WRAPPER = """\
#!/bin/sh
arm={directory}/{program}
if [ -e $arm ] && case "$*" in *"$(cat $arm)"*) true ;; *) false ;; esac; then
  act=$(cat $arm.act)
  if mv $arm $arm.$$ 2>/dev/null; then
    code=0
    case $act in *-after) {real} "$@" || code=$? ;; esac
    case $act in
      fail-*)
        # the driver of the downgrade tells by this file that it has ended well
        if [ {program} = shop-python ]; then rm -f "$1/reply.json"; fi
        echo "{program} was told to fail" >&2; exit 1 ;;
    esac
    echo $$ >{directory}/reached
    while [ ! -e {directory}/go ]; do sleep 0.05; done
    case $act in *-after) exit $code ;; esac
  fi
fi
exec {real} "$@"
"""


def wait_for(what: t.Callable[[], bool], said: t.Callable[[], str], seconds: float = 600) -> None:
    """Wait until ``what`` is true; ``said`` tells what went on meanwhile."""
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, f"this was never reached:\n{said()}"
        time.sleep(0.05)


class Place:
    """On one host: the wrappers, and what is told to them."""

    def __init__(self, host: Host, programs: t.Mapping[str, str]) -> None:
        self.host = host
        self.programs = programs

    def prepare(self) -> None:
        """Make the wrappers, which sudo finds before the programs; forget others, and what was told before."""
        files = {
            program: WRAPPER.format(directory=DIRECTORY, program=program, real=real)
            for program, real in self.programs.items()
        }
        before = " ".join(f"/usr/local/bin/{program}" for program in PROGRAMS)
        lines = [f"rm -rf {DIRECTORY} {before}; mkdir -m 777 {DIRECTORY}"]
        for program, text in files.items():
            lines.append(
                f"cat >/usr/local/bin/{program} <<'WRAPPER'\n{text}WRAPPER\nchmod 755 /usr/local/bin/{program}"
            )
        self.host.sh("\n".join(lines))

    def arm(self, program: str, word: str, act: str) -> None:
        """Tell the wrapper what to do at the next command that has ``word``."""
        folder = f"{DIRECTORY}/{program}"
        self.host.sh(f"printf %s '{act}' >{folder}.act; printf %s '{word}' >{folder}; chmod 666 {folder} {folder}.act")

    def reached(self) -> bool:
        """Look for two seconds: to ask the host anew each time costs more than what goes on there."""
        look = f"for n in $(seq 40); do [ -e {DIRECTORY}/reached ] && exit; sleep 0.05; done; exit 1"
        return self.host.run("sh", "-c", look, check=False).returncode == 0

    def go(self) -> None:
        self.host.sh(f"touch {DIRECTORY}/go")


class Run:
    """One ``ansible-playbook rollback.yml``, which can be held at a phase's start and end."""

    def __init__(self, ops: t.Any, phase: str) -> None:
        self.root: Path = ops.root
        for path in [*self.root.glob("paused-*"), *self.root.glob("go-*")]:
            path.unlink()
        (self.root / "pause.json").write_text(json.dumps({"phase": phase}))
        self.process: subprocess.Popen[str] = ops.start("rollback.yml", "-e", "change=C001")
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        with self.process.stdout as stream:
            self.lines += iter(stream.readline, "")

    def said(self) -> str:
        return "".join(self.lines)

    def wait_for(self, place: str) -> None:
        """Wait until the run is held at ``place``."""
        wait_for(lambda: (self.root / f"paused-{place}").exists() or self.ended, self.said)
        assert not self.ended, self.said()

    def go(self, *places: str) -> None:
        for place in places:
            (self.root / f"go-{place}").touch()

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def result(self, seconds: float = 900) -> int:
        """The exit code, as a shell tells it, when it has ended."""
        code = self.process.wait(seconds)
        self._reader.join(10)
        print(self.said())
        (self.root / "pause.json").unlink()
        return code if code >= 0 else 128 - code


class Writers:
    """On each host one that works with the app all the time; what the app acknowledged is noted beside the app."""

    def __init__(self, hosts: t.Mapping[Host, int]) -> None:
        self.hosts = hosts
        self.source = (HERE / "writer.py").read_text()

    def start(self) -> None:
        for host, port in self.hosts.items():
            host.sh("cat >/opt/writer.py; rm -f /var/log/writer.log", stdin=self.source)
            host.sh(
                f"systemd-run --quiet --collect --unit=writer /usr/bin/python3 /opt/writer.py {port}"
                f" {host.name} /var/log/writer.log"
            )

    def stop(self) -> None:
        for host in self.hosts:
            host.run("/usr/bin/systemctl", "stop", "writer", check=False)

    def acknowledged(self) -> list[tuple[int, str, int | None]]:
        """What must be there: invoice, its number, and its total where one was entered."""
        found = []
        for host in self.hosts:
            for line in host.sh("cat /var/log/writer.log").splitlines():
                id_, number, total = json.loads(line)
                found.append((id_, number, total))
        return found
