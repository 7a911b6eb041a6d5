# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts commands as newer Pythons do, without a copy of this process's page tables: pytest has so much memory that on
Python 3.8 its forks were more than half of the CPU while git_revert was tested.

What a command is started with stays the same. Where `posix_spawn` cannot do that, or cannot start it, Python does.
"""

from __future__ import annotations

import _posixsubprocess
import os
import signal
import threading
import typing as t

fork_exec = _posixsubprocess.fork_exec
one_at_a_time = threading.Lock()  # the working directory is that of all threads


def spawn(*given: t.Any) -> int:
    """As `_posixsubprocess.fork_exec` of Python 3.8; returns the process id."""
    args, executables, _close_fds, keep, cwd, env = given[:6]
    p2cread, _p2cwrite, _c2pread, c2pwrite, _errread, errwrite, _errpipe_read, errpipe_write = given[6:14]
    restore_signals, start_new_session, preexec_fn = given[14:]
    streams = [(fd, at) for at, fd in enumerate((p2cread, c2pwrite, errwrite)) if fd != -1]
    program = next((path for path in executables if os.access(path, os.X_OK)), None)
    can = preexec_fn is None and list(keep) == [errpipe_write] and all(fd > 2 for fd, _at in streams)
    if can and program:
        try:
            return _spawn(args, program, cwd, env, streams, restore_signals, start_new_session)
        except (OSError, NotImplementedError):
            pass  # the other way knows how to say why
    return fork_exec(*given)


def _spawn(args, program, cwd, env, streams, restore_signals, start_new_session):
    known = os.environb if env is None else dict(one.split(b"=", 1) for one in env)
    actions = [(os.POSIX_SPAWN_DUP2, fd, at) for fd, at in streams]
    default = [signal.SIGPIPE, signal.SIGXFSZ] if restore_signals else []
    with one_at_a_time:
        here = os.open(".", os.O_RDONLY)
        try:
            if cwd is not None:
                os.chdir(cwd)
            return os.posix_spawn(
                program, args, known, file_actions=actions, setsigdef=default, setsid=start_new_session
            )
        finally:
            os.fchdir(here)
            os.close(here)
