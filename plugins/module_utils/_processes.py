# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes and ports of a host, read from /proc: who is still there, who holds a port. Private to this collection."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import time
import typing as t

from ._redact import redact

CGROUP_ROOTS = ("/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified")
PROBE_TIMEOUT = 0.5  # seconds that a listening port may take to accept
ESTABLISHED, LISTEN = "01", "0A"  # states in /proc/net/tcp, see include/net/tcp_states.h


class Stat(t.NamedTuple):
    """What /proc/<pid>/stat says, see proc(5). ``started`` (clock ticks since boot) tells a reused pid apart."""

    state: str
    parent: int
    group: int
    session: int
    started: int


def stat(pid: int) -> Stat | None:
    """What is known of process ``pid``; None where it is gone or only waits for its parent (a zombie)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return None
    # the name of the program stands in parentheses and may contain anything, parentheses too
    fields = text[text.rfind(")") + 2 :].split()
    if fields[0] in "ZX":
        return None
    return Stat(fields[0], int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19]))


def processes() -> dict[int, Stat]:
    """All processes that can be seen."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            known = stat(int(name))
            if known:
                found[int(name)] = known
    return found


def describe(pid: int) -> str:
    """``process 4711 (python server.py)``, without secrets."""
    command = ""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as stream:
        program, *rest = stream.read(4000).decode("utf-8", "replace").split("\0")
        command = " ".join([os.path.basename(program), *rest]).strip()
    return f"process {pid} ({redact(command)[:100]})" if command else f"process {pid}"


def marked(mark: str) -> list[int]:
    """The processes of this user that have ``mark`` (``NAME=value``) in their environment, wherever they went."""
    return [pid for pid in processes() if pid != os.getpid() and mark.encode() in _environment(pid)]


def end_marked(mark: str) -> None:
    """Kill the processes that ``marked`` finds."""
    for _attempt in range(20):
        found = marked(mark)
        if not found:
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def _environment(pid: int) -> list[bytes]:
    try:
        with open(f"/proc/{pid}/environ", "rb") as stream:
            return stream.read().split(b"\0")
    except OSError:
        return []


class Trace:
    """The processes of a service, noted while it runs, to see when the last of them is gone.

    These are the main processes, their descendants in the same session, their process groups and the control group.

    :arg pids: the main processes.
    :arg cgroup: the control group as systemd names it, ``/system.slice/shop-web.service``.
    """

    def __init__(self, pids: t.Iterable[int], cgroup: str = "") -> None:
        self.noted: dict[int, int] = {}
        self.groups: set[int] = set()
        self.cgroup = cgroup.strip("/")
        self.dead = False
        table = processes()
        for pid in pids:
            if pid not in table:
                self.dead = self.dead or not _hidden(pid)
                continue
            self.noted[pid] = table[pid].started
            if table[pid].group == pid:
                self.groups.add(pid)
            self._add_children(pid, table)

    def _add_children(self, parent: int, table: dict[int, Stat]) -> None:
        for pid, known in table.items():
            if known.parent == parent and known.session == table[parent].session and pid not in self.noted:
                self.noted[pid] = known.started
                self._add_children(pid, table)

    def alive(self) -> bool:
        """Whether every process is there and the same one."""
        return not self.dead and all(self._is_same(pid, started) for pid, started in self.noted.items())

    def left(self) -> list[int]:
        """The processes that are still there."""
        found = {pid for pid, started in self.noted.items() if self._is_same(pid, started)}
        if any(_group_exists(group) for group in self.groups):
            found.update(pid for pid, known in processes().items() if known.group in self.groups)
        if self.cgroup:
            found.update(_in_cgroup(self.cgroup))
        return sorted(found)

    @staticmethod
    def _is_same(pid: int, started: int) -> bool:
        known = stat(pid)
        return known is not None and known.started == started


def _hidden(pid: int) -> bool:
    """Whether ``pid`` is somebody else's process on a host where /proc shows only one's own (hidepid)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return not os.path.exists(f"/proc/{pid}/stat")
    return False


def _group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _in_cgroup(cgroup: str) -> set[int]:
    found: set[int] = set()
    for root in CGROUP_ROOTS:
        for place, _folders, files in os.walk(os.path.join(root, cgroup)):
            if "cgroup.procs" in files:
                with contextlib.suppress(OSError), open(os.path.join(place, "cgroup.procs")) as stream:
                    found.update(int(line) for line in stream.read().split())
    return {pid for pid in found if stat(pid)}


def probe(address: str, port: int) -> bool | None:
    """Whether something accepts connections there: True, False (the port is free), None (it is held and silent)."""
    try:
        with socket.create_connection((address, port), PROBE_TIMEOUT) as connection:
            # Linux can connect a socket to itself when it happens to pick the very port as its own
            return bool(connection.getsockname() != connection.getpeername())
    except socket.timeout:
        return None
    except OSError as exc:
        return None if exc.errno == errno.ETIMEDOUT else False


def holders(port: int) -> list[int]:
    """The processes that listen on ``port``, as far as this user may see them."""
    inodes = _listening(port)
    found = set()
    for pid in processes():
        with contextlib.suppress(OSError):
            for fd in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    if os.readlink(f"/proc/{pid}/fd/{fd}") in inodes:
                        found.add(pid)
                        break
    return sorted(found)


def _listening(port: int) -> set[str]:
    return {f"socket:[{inode}]" for local, state, inode in _sockets() if state == LISTEN and local == port}


def _sockets() -> t.Iterator[tuple[int, str, str]]:
    """The TCP sockets of this host: port, state, inode."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError), open(table) as stream:
            for line in stream.readlines()[1:]:
                fields = line.split()
                yield int(fields[1].rpartition(":")[2], 16), fields[3], fields[9]


def connections(ports: t.Container[int]) -> int:
    """How many connections to these ports of this host are open."""
    return sum(1 for local, state, _inode in _sockets() if state == ESTABLISHED and local in ports)


def who_holds(port: int) -> str:
    """``port 8080 is held by process 4711 (python server.py)``, for use in a sentence."""
    pids = holders(port)
    if not pids:
        return f"port {port} is held by a process that this user may not see"
    return f"port {port} is held by " + " and ".join(describe(pid) for pid in pids)
