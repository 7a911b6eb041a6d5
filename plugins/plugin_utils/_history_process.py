# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who runs a rollback, from where, and whether that process still lives. Private to this collection."""

from __future__ import annotations

import dataclasses
import datetime
import getpass
import os
import socket
import subprocess
import sys
import typing as t
from pathlib import Path

from ..module_utils._words import age
from ._awx import job_of, person_of, place_of

SILENT_AFTER = 60.0  # seconds without a heartbeat after which a run on another machine counts as dead


@dataclasses.dataclass(frozen=True)
class Process:
    """An ansible-playbook: the host's name, what tells machines and containers apart, process id and its start."""

    controller: str
    machine: str
    pid: int
    pid_started: str


def started(pid: int) -> str:
    """When process ``pid`` started, as a text to compare; empty where there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        if Path("/proc/self/stat").exists():
            return ""
        done = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return done.stdout.strip()
    # The name, in parentheses, may hold spaces and parentheses itself. The state is field 3, the start is field 22.
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in ("Z", "X") else fields[19]


def _machine() -> str:
    """What differs between two machines, two boots and two containers of one host name; empty where unknown."""
    if sys.platform != "linux":
        return sys.platform
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def this_process(pid: int) -> Process:
    """Describe process ``pid`` of this machine."""
    return Process(socket.gethostname(), _machine(), pid, started(pid))


def _is_near(run: t.Mapping[str, t.Any], here: Process) -> bool:
    """Whether ``run`` is on the same machine and in the same container, so that its process can be seen from here."""
    return bool(here.machine) and (run["controller"], run["machine"]) == (here.controller, here.machine)


def _silent(run: t.Mapping[str, t.Any], now: datetime.datetime) -> float:
    return (now - datetime.datetime.fromisoformat(run["heartbeat"])).total_seconds()


def alive(run: t.Mapping[str, t.Any], here: Process, now: datetime.datetime) -> bool:
    """Whether the process behind the open ``run`` lives.

    On the same machine the process tells; a process elsewhere, also in another container, is known by its heartbeat.
    """
    if _is_near(run, here):
        return bool(run["pid_started"]) and started(run["pid"]) == run["pid_started"]
    return _silent(run, now) < SILENT_AFTER


def silence_words(run: t.Mapping[str, t.Any], here: Process, now: datetime.datetime) -> str:
    """When a run elsewhere gave its last sign of life, with a blank for what follows; empty for one that is near."""
    if _is_near(run, here):
        return ""
    silent = age(_silent(run, now))
    return f"Its last sign of life was {silent} ago; after {SILENT_AFTER:.0f} s without one it counts as dead. "


def who(variables: t.Mapping[str, t.Any], environ: t.Mapping[str, str]) -> tuple[str, str]:
    """Who runs it and from where.

    :arg variables: of the play, with what AWX tells a job.
    :returns: (person, ``user@host`` or the AWX job).
    """
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user id without a name
        user = str(os.geteuid())
    job = job_of(variables, environ)
    if job is None:
        return environ.get("SUDO_USER") or user, f"{user}@{socket.gethostname()}"
    return person_of(job, variables), place_of(job)


def holder_words(run: t.Mapping[str, t.Any]) -> str:
    """Who runs it, as in ``dana@ops1`` or ``dana (AWX job 12)``."""
    by, place = run["executed_by"], run["executed_from"]
    return str(place) if place.startswith(f"{by}@") else f"{by} ({place})"


def seconds_between(start: str, end: str | None) -> float | None:
    """Seconds between two times in ISO format; None where the second is not known yet."""
    if end is None:
        return None
    return round((datetime.datetime.fromisoformat(end) - datetime.datetime.fromisoformat(start)).total_seconds(), 3)
