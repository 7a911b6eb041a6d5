# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A process that has this collection's modules in memory, and runs one when it is asked to. Private.

What a module imports takes longer than most of what it does. So the preflights of a run leave a process on the host
that has imported all of it; each module from then on is a fork of that. It listens on a socket in the restore point,
for its own account only, and ends when the socket is gone, as it is when the run ends, or when nobody has asked for
long. Then, and wherever it cannot be reached, modules start as ever.
"""

from __future__ import annotations

import array
import contextlib
import importlib
import json
import os
import select
import signal
import socket
import struct
import sys
import time
import typing as t

SOCKETS = "*.sock"  # in the restore point: ours, one for each account, and those of ``_alembic_ahead``
IDLE = 900.0  # seconds without a request after which it ends
LOOK = 1.0  # seconds between two looks whether the socket is still there
MODULES = "ansible_collections.changeops.rollback.plugins.modules"


def listen(path: str, place: str, key: str) -> None:
    """Start it, detached from this process; returns at once.

    :arg path: where the socket is to be. :arg place: what it imports from. :arg key: names the version of that.
    """
    if os.fork():
        os.wait()
        return
    try:
        os.setsid()
        if os.fork() == 0:
            # Also what it knows nothing of: who started Python may wait for the other end of it.
            for fd in map(int, os.listdir("/proc/self/fd")):
                with contextlib.suppress(OSError):
                    os.close(fd)
            for _standard in range(3):
                os.open(os.devnull, os.O_RDWR)
            _serve(path, place, key)
    finally:
        os._exit(0)


def _serve(path: str, place: str, key: str) -> None:
    loader = importlib.import_module("ansible.module_utils._internal._ansiballz._loader")
    _import_new(place)
    folder = os.open(os.path.dirname(path), os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as listening, contextlib.suppress(OSError):
        new = f"{path}.{os.getpid()}"
        listening.bind(f"/proc/self/fd/{folder}/{os.path.basename(new)}")
        listening.listen(8)
        os.rename(new, path)  # who finds it is heard
        mine, until = os.stat(path).st_ino, time.monotonic() + IDLE
        while os.stat(path).st_ino == mine and time.monotonic() < until:
            asked, _out, _err = select.select([listening], [], [], LOOK)
            if not asked:
                _import_new(place)
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            if asked:
                line, _address = listening.accept()
                if os.fork() == 0:
                    listening.close()
                    os.close(folder)
                    _answer(line, key, place, loader)
                line.close()
                until = time.monotonic() + IDLE
        if os.stat(path).st_ino == mine:
            os.unlink(path)


def _import_new(place: str) -> None:
    """Import the modules that lie there by now."""
    importlib.invalidate_caches()
    for name in sorted(os.listdir(os.path.join(place, *MODULES.split(".")))):
        if name.endswith(".py") and name != "__init__.py":
            importlib.import_module(f"{MODULES}.{name[:-3]}")


def _answer(line: socket.socket, key: str, place: str, loader: t.Any) -> None:
    """Run the module that is asked for, in this process, and end with it."""
    code = 1
    try:
        os.setsid()
        _pid, uid, _gid = struct.unpack("3i", line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        request, output = _read(line)
        known = request["key"] == key and os.path.exists(os.path.join(place, *request["module"].split(".")) + ".py")
        if uid != os.geteuid() or not known or len(output) != 2:
            return
        line.sendall(b"r")
        for fd, given in enumerate(output, 1):
            os.dup2(given, fd)
            os.close(given)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.environ.clear()
        os.environ.update(request["environ"])
        os.umask(request["umask"])
        with contextlib.suppress(OSError):
            os.chdir(request["cwd"])
        code = _run(request, place, loader)
        with contextlib.suppress(OSError):
            line.sendall(bytes([code]))
    finally:
        os._exit(code)


def _run(request: dict[str, t.Any], place: str, loader: t.Any) -> int:
    importlib.invalidate_caches()
    try:
        loader.run_module(
            json_params=request["params"].encode(),
            profile=request["profile"],
            module_fqn=request["module"],
            modlib_path=place,
            extensions={},
        )
    except SystemExit as exc:
        return exc.code if isinstance(exc.code, int) else int(bool(exc.code))
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
    return 0


def _read(line: socket.socket) -> tuple[dict[str, t.Any], list[int]]:
    """The request, and where its output is to go."""
    fds = array.array("i")
    size, more, _flags, _address = line.recvmsg(16, socket.CMSG_LEN(2 * fds.itemsize))
    for level, kind, data in more:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    left, blocks = int(size), []
    while left > 0:
        block = line.recv(min(left, 1 << 16))
        if not block:
            raise ConnectionError("the request is not whole")
        blocks.append(block)
        left -= len(block)
    return json.loads(b"".join(blocks)), list(fds)
