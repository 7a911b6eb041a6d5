# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a command and writes what it cost the machine that it runs on: python measured.py OUT.json COMMAND...

All that the command starts is counted, also what outlives it: ssh's masters, which detach themselves, become children
of this process, are ended when the command has, and are waited for.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
SHARE = 0.05  # of the time at most is spent on looking at memory


def children(pid: int) -> list[int]:
    """The children of a process, and theirs."""
    found: list[int] = []
    with contextlib.suppress(OSError):  # it has ended meanwhile
        for thread in os.listdir(f"/proc/{pid}/task"):
            for child in map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split()):
                found += [child, *children(child)]
    return found


def memory(pids: list[int]) -> int:
    """KiB of memory that processes use together; what several of them share counts once."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError, StopIteration):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            total += int(next(line for line in lines if line.startswith("Pss:")).split()[1])
    return total


class Peak(threading.Thread):
    """Looks at the memory of this process's children now and then, and knows the most that it saw."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most = 0
        self.stop = threading.Event()

    def run(self) -> None:
        wait = 0.1
        while not self.stop.wait(wait):
            began = time.monotonic()
            self.most = max(self.most, memory(children(os.getpid())))
            wait = max(0.25, (time.monotonic() - began) / SHARE)


def reap(until: int) -> int:
    """Wait for children until the one with this PID has ended; returns its exit code."""
    while True:
        pid, status = os.wait()
        if pid == until:
            return os.waitstatus_to_exitcode(status)


def end_the_rest() -> None:
    """End what the command left running, and wait for it."""
    with contextlib.suppress(ChildProcessError):
        while True:
            for pid in children(os.getpid()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
            os.wait()


def main(out: str, *argv: str) -> int:
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    peak = Peak()
    peak.start()
    began = time.monotonic()
    command = subprocess.Popen(argv)  # kept: one that is thrown away may wait for the command itself, before `reap`
    code = command.returncode = reap(command.pid)
    total = time.monotonic() - began
    peak.stop.set()
    end_the_rest()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cost = {
        "total": round(total, 3),
        "cpu": round(used.ru_utime + used.ru_stime, 3),
        "memory": round(peak.most / 1024, 1),
        "largest": round(used.ru_maxrss / 1024, 1),
        "code": code,
    }
    Path(out).write_text(json.dumps(cost))
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
