# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A driver that was started ahead, and waits for its request. Private; runs in the app's own interpreter.

It has imported what is installed, and nothing of the app, which may change until then; no database is open. It works
for one request, and only where a driver that is started now would be the same. Else it ends, as it does when its socket
is gone or nobody has asked for long, and another one is started: see ``_alembic_ahead``.
"""

from __future__ import annotations

import array
import contextlib
import hashlib
import importlib
import json
import os
import select
import socket
import struct
import sys
import time
import typing as t

IDLE = 900.0  # seconds without a request after which it ends
LOOK = 1.0  # seconds between two looks whether the socket is still there
# What belongs to a login or to the moment, and is read by nothing that is imported here.
OF_THE_MOMENT = {
    *("CHANGEOPS_TIME_LEFT", "XDG_SESSION_ID"),
    *("SSH_AUTH_SOCK", "SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY"),
    "SUDO_COMMAND",  # has a word by which Ansible knows its own task
}
# What is imported ahead, where preflight had it.
PACKAGES = {
    *("sqlalchemy", "greenlet", "alembic", "mako", "markupsafe"),
    *("psycopg", "psycopg_c", "psycopg_binary", "psycopg2", "pg8000", "asyncpg", "aiosqlite"),
    *("pymysql", "MySQLdb", "mysql", "mariadb", "asyncmy", "aiomysql"),
}

Order = t.Dict[str, t.Any]


def installed() -> Order:
    """What another process of this interpreter can have before it knows what to do: ``imports``, the modules of Alembic
    and the database's driver; ``files``, of which these and the interpreter are made; and their ``stamp``.
    """
    base = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    known = (os.path.dirname(os.__file__) + os.sep, base + os.sep)
    loaded = [getattr(module, "__file__", None) or "" for module in list(sys.modules.values())]
    files = [path for path in loaded if "-packages" + os.sep in path or path.startswith(known)]
    files += [path for path in sys.path if path.endswith("-packages")]  # whatever comes and goes there
    files += [sys.executable, os.path.join(sys.prefix, "pyvenv.cfg")]
    names = [name for name in list(sys.modules) if name.partition(".")[0] in PACKAGES]
    return {"imports": names, "files": files, "stamp": stamp(files)}


def stamp(paths: t.Iterable[str]) -> str:
    """Another one when one of these files was changed or exchanged, or a link to it."""
    digest = hashlib.sha256()
    for path in paths:
        with contextlib.suppress(OSError):
            link, file = os.lstat(path), os.stat(path)
            found = (link.st_ino, link.st_mtime_ns, file.st_dev, file.st_ino, file.st_mtime_ns, file.st_size)
            digest.update(f"{path} {found}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def environment() -> dict[str, str]:
    """What this process was started with; ``os.environ`` may have been changed since, also by Python."""
    with open("/proc/self/environ", "rb") as stream:
        pairs = [pair.partition(b"=") for pair in stream.read().split(b"\0") if pair]
    return lasting({os.fsdecode(name): os.fsdecode(value) for name, _equals, value in pairs})


def lasting(environ: t.Mapping[str, str]) -> dict[str, str]:
    """An environment without what is of the moment."""
    return {name: value for name, value in environ.items() if name not in OF_THE_MOMENT}


def account() -> list[t.Any]:
    """Whose rights this process has."""
    return [os.geteuid(), os.getegid(), sorted(os.getgroups())]


@contextlib.contextmanager
def waited(order: Order) -> t.Iterator[str]:
    """Wait for the request, and give the path of the file that has it, with the streams and the environment of the
    process that asks; that one is told how it ended. Where there is no request the process ends.

    :arg order: ``socket`` (its path) and ``inode``; ``listening``, the number of the open file that listens there;
        ``python``, the program that was started, with its stamp; and what ``installed`` said to preflight.
    """
    for name in order["imports"]:
        with contextlib.suppress(Exception):  # what is needed and missing is told by who needs it
            importlib.import_module(name)
    with socket.socket(fileno=order["listening"]) as listening:
        line = _accept(listening, order)
    with line:
        request = _take(line, order)
        code = 1
        try:
            yield request
            code = 0
        finally:
            with contextlib.suppress(OSError):
                line.sendall(bytes([code]))


def _accept(listening: socket.socket, order: Order) -> socket.socket:
    until = time.monotonic() + IDLE
    with contextlib.suppress(OSError):
        while os.stat(order["socket"]).st_ino == order["inode"] and time.monotonic() < until:
            if select.select([listening], [], [], LOOK)[0]:
                return listening.accept()[0]
    raise SystemExit


def _take(line: socket.socket, order: Order) -> str:
    """Take over what the process that asks has given."""
    _pid, uid, _gid = struct.unpack("3i", line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    if uid != os.geteuid():
        raise SystemExit
    asked, fds = _read(line)
    if not _same(asked, order):
        raise SystemExit
    line.sendall(b"%16d" % os.getpid())
    # Only now it may begin: who asks has noted which process it is that works.
    if line.recv(1) != b"g":
        raise SystemExit
    for number, fd in enumerate(fds[:2], 1):
        os.dup2(fd, number)
        os.close(fd)
    # the others stay open: the lock of the work on this host
    for name in OF_THE_MOMENT:
        os.environ.pop(name, None)
        if name in asked["environ"]:
            os.environ[name] = asked["environ"][name]
    os.umask(asked["umask"])
    importlib.invalidate_caches()
    return str(asked["request"])


def _read(line: socket.socket) -> tuple[Order, list[int]]:
    """The request, and the files that came with it."""
    fds = array.array("i")
    size, more, _flags, _address = line.recvmsg(16, socket.CMSG_LEN(8 * fds.itemsize))
    for level, kind, data in more:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    left, blocks = int(size or b"0"), []
    while left > 0:
        block = line.recv(min(left, 1 << 16))
        if not block:
            raise SystemExit
        blocks.append(block)
        left -= len(block)
    return json.loads(b"".join(blocks) or b"{}"), list(fds)


def _same(asked: Order, order: Order) -> bool:
    """Whether what is asked for is what this process is, and would be if it were started now."""
    return (
        asked.get("python") == order["python"]
        and asked["account"] == account()
        and lasting(asked["environ"]) == environment()
        and os.path.samefile(asked["folder"], ".")
        and stamp(order["files"]) == order["stamp"]
    )
