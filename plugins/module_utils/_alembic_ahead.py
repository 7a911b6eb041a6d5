# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts the app's interpreter ahead, so that the downtime does not wait until it has Alembic. Private.

Preflight leaves a process of it that has imported all that is installed and waits (``_alembic_wait``); main hands its
request over. Wherever that process is not there, or not what would be started now, an interpreter is started as ever.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shlex
import shutil
import socket
import struct
import typing as t
from array import array
from pathlib import Path

from ._alembic_wait import account, stamp
from ._command import Commands, Completed, PhaseError, end_group, took_too_long
from ._redact import redact
from ._restore_point import write_json

PATIENCE = 5.0  # seconds for its answer
KILLED = -9  # the return code of one that says nothing in the end


class Start(t.NamedTuple):
    """How an interpreter is started: the words, the last of which is the file with the request, where, and with what
    changes to the environment (a value of None removes the name).
    """

    argv: t.Sequence[str]
    folder: Path
    env: t.Mapping[str, str | None]

    def program(self, environ: t.Mapping[str, str]) -> str | None:
        """The interpreter's path; None for a script or another program that starts one, in a way not known here."""
        name, *more = self.argv[:-2]
        path = os.path.join(str(self.folder), name) if "/" in name else shutil.which(name, path=environ.get("PATH"))
        if more or not path:
            return None
        try:
            with open(path, "rb") as file:
                return path if file.read(4) == b"\x7fELF" else None
        except OSError:
            return None


def leave(start: Start, place: Path, installed: dict[str, t.Any], commands: Commands) -> None:
    """Start it and let it wait. Where that does not work, nobody waits.

    :arg place: where the socket is to be, by which it is asked.
    :arg installed: what the driver said that it needs of the interpreter.
    """
    environ = commands.environment(start.env)
    program = start.program(environ)
    if not program:
        return
    order = Path(start.argv[-1]).with_name("wait.json")
    with contextlib.suppress(OSError, PhaseError), socket.socket(socket.AF_UNIX) as listening:
        new = place.with_name(f"{place.name}.{os.getpid()}")
        umask = os.umask(0o177)
        try:
            _through_folder(new, listening.bind)
        finally:
            os.umask(umask)
        listening.listen(1)
        number = listening.fileno()
        about = {"action": "wait", "socket": str(place), "inode": new.stat().st_ino, "listening": number}
        write_json(order, {**installed, **about, "python": [program, stamp([program])]})
        new.rename(place)
        commands.leave([*start.argv[:-1], str(order)], cwd=start.folder, environ=environ, keep=[number])


def ask(start: Start, place: Path, commands: Commands) -> Completed | None:
    """Let the process that waits there do what the request says; None where it does not, and so has done nothing.

    :raises PhaseError: it was ended at the deadline.
    """
    environ = commands.environment(start.env)
    program = start.program(environ)
    if not program or not place.exists():
        return None
    with contextlib.ExitStack() as stack:
        line = stack.enter_context(socket.socket(socket.AF_UNIX))
        out, err = os.pipe(), os.pipe()
        for fd in (out[0], err[0]):
            stack.callback(os.close, fd)
        try:
            pid = _hand_over(line, start, place, [program, out[1], err[1]], environ, commands)
        except (OSError, ValueError):
            return None
        finally:
            os.close(out[1])
            os.close(err[1])
        return _follow(pid, start, {"line": line.fileno(), "out": out[0], "err": err[0]}, commands)


def _through_folder(path: Path, call: t.Callable[[str], t.Any]) -> None:
    """Name a socket by its open folder, since its path may have 107 bytes."""
    folder = os.open(str(path.parent), os.O_RDONLY)
    try:
        call(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)


def _hand_over(
    line: socket.socket, start: Start, place: Path, given: list[t.Any], environ: dict[str, str], commands: Commands
) -> int:
    """Returns the process that works from now on, as the leader of a group of its own.

    :arg given: the interpreter, and where its output goes.
    :raises OSError, ValueError: there is none.
    """
    program, out, err = given
    line.settimeout(PATIENCE)
    _through_folder(place, line.connect)
    _pid, uid, _gid = struct.unpack("3i", line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    if uid != os.geteuid():
        raise ValueError("another account listens there")
    umask = os.umask(0o077)
    os.umask(umask)
    request = {
        "python": [program, stamp([program])],
        "folder": str(start.folder),
        "request": start.argv[-1],
        "umask": umask,
    }
    data = json.dumps({**request, "account": account(), "environ": environ}).encode()
    files = array("i", [out, err, *commands.inherit])
    line.sendmsg([b"%16d" % len(data)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)])
    line.sendall(data)
    pid = int(line.recv(16))
    if os.getpgid(pid) != pid:
        raise ValueError("it could not be ended with all that it starts")
    if commands.on_start:
        commands.on_start(pid)
    line.sendall(b"g")
    return pid


def _follow(pid: int, start: Start, streams: dict[str, int], commands: Commands) -> Completed:
    """Read what it prints until it has ended."""
    read: dict[str, list[bytes]] = {name: [] for name in streams}
    left = dict(streams)
    while left:
        ready = select.select(list(left.values()), [], [], commands.remaining())[0]
        if not ready:
            end_group(pid)
            raise took_too_long(redact(" ".join(map(shlex.quote, start.argv))), commands.timeout)
        for name in [name for name, fd in left.items() if fd in ready]:
            block = b""
            with contextlib.suppress(ConnectionError):
                block = os.read(left[name], 1 << 16)
            read[name].append(block)
            if not block:
                del left[name]
    said = b"".join(read["line"])
    out, err = (b"".join(read[name]).decode("utf-8", "replace") for name in ("out", "err"))
    return Completed(list(start.argv), said[0] if said else KILLED, out, err)
