# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts the driver of Alembic in a fork of this process, which has imported Alembic: a new interpreter would have to.

The fork is a process as the interpreter would be: its session, environment, directory, open files and exit code are
those that it was started with. What a new interpreter does is seen in test_alembic_environment.py, and with each
rollback of the integration tests.
"""

from __future__ import annotations

import contextlib
import importlib.machinery
import logging
import os
import runpy
import signal
import sys
import traceback
import typing as t

import alembic.command  # noqa: F401  for the forks
import sqlalchemy.dialects.sqlite  # noqa: F401  for the forks
from ansible_collections.changeops.rollback.plugins.module_utils import _alembic_parts as parts
from ansible_collections.changeops.rollback.plugins.module_utils._command import Commands

start = Commands._start
source_to_code = importlib.machinery.SourceFileLoader.source_to_code
# All of the driver is compiled here once: it lies in another directory for each test.
COMPILED = {
    source: compile(source, part.__name__, "exec", dont_inherit=True)
    for part, source in ((part, parts._source(part)) for part in parts.DRIVER)
}


def compiled(self, data, path, *, _optimize=-1):
    """As `SourceFileLoader.source_to_code`; the driver has been compiled."""
    return COMPILED.get(bytes(data)) or source_to_code(self, data, path, _optimize=_optimize)


def start_forked(self: Commands, args: list[str], shown: str, **kw: t.Any) -> t.Any:
    """As `Commands._start`. The driver is forked, but where it would run as another account."""
    driver = args[0] == sys.executable and os.path.isdir(os.path.join(args[1], "changeops_alembic"))
    if driver and not kw.get("preexec_fn") and not _sqlite_is_open():
        kw["preexec_fn"] = lambda: _be_driver(args, kw["env"], kw.get("pass_fds", ()))
    return start(self, args, shown, **kw)


def _sqlite_is_open() -> bool:
    """Whether this process has a database of SQLite open, whose locks a fork would take for its own."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{name}").endswith((".db", ".db-wal", ".sqlite")):
                return True
    return False


def _be_driver(args: list[str], env: t.Mapping[str, str], keep: t.Sequence[int]) -> t.NoReturn:
    """What the program would do that is not executed. It has the directory, session and standard streams already."""
    code = 1
    try:
        for name in os.listdir("/proc/self/fd"):
            if int(name) > 2 and int(name) not in keep:
                with contextlib.suppress(OSError):  # that of the list itself
                    os.close(int(name))
        os.environ.clear()
        os.environ.update(env)
        sys.argv = args[1:]
        sys.path[:0] = env["PYTHONPATH"].split(os.pathsep) if "PYTHONPATH" in env else []
        sys.dont_write_bytecode, sys.pycache_prefix = "PYTHONDONTWRITEBYTECODE" in env, env.get("PYTHONPYCACHEPREFIX")
        importlib.machinery.SourceFileLoader.source_to_code = compiled
        sys.stdin, sys.stdout, sys.stderr = (os.fdopen(fd, mode) for fd, mode in enumerate("rww"))
        logging.root.handlers.clear()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        runpy.run_path(args[1], run_name="__main__")
        code = 0
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else int(exc.code is not None)
        if code and not isinstance(exc.code, int):
            print(exc.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
