# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one place that runs commands on a host. Private to this collection.

Commands are argument lists, never shell text. Each runs in a session of its own, so that it can be ended
as a whole at the deadline, with messages in English, so that they can be read by the caller.
"""

from __future__ import annotations

import contextlib
import copy
import os
import pwd
import shlex
import shutil
import signal
import subprocess
import sys
import time
import typing as t

from ._redact import redact

TERM_GRACE = 3.0  # seconds between SIGTERM and SIGKILL
# Runs a command, and kills its own process group when whoever started it is gone.
GUARD = """
import os, signal, subprocess, sys, threading
def watch():
    os.read(0, 1)
    os.killpg(0, signal.SIGKILL)
threading.Thread(target=watch, daemon=True).start()
code = subprocess.call(sys.argv[1:], stdin=subprocess.DEVNULL)
os._exit(code if code >= 0 else 128 - code)
"""


class PhaseError(Exception):
    """What went wrong, in a sentence that ends with what to type or do next.

    ``facts`` are returned beside the message, for programs.
    """

    def __init__(self, message: str, **facts: t.Any) -> None:
        super().__init__(redact(message))
        self.facts = facts


class Completed(t.NamedTuple):
    """A command that ended: its return code and what it printed (decoded, undecodable bytes replaced)."""

    argv: list[str]
    rc: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """The last lines of what it printed (errors first choice), redacted, for use in a sentence."""
        text = (self.err.strip() or self.out.strip() or "it printed nothing").splitlines()
        return redact(" / ".join(line.strip() for line in text[-6:] if line.strip()))


def english(environ: t.Mapping[str, str]) -> dict[str, str]:
    """Return ``environ`` with messages in English and the character set left as it was."""
    env = dict(environ)
    ctype = env.pop("LC_ALL", None) or env.get("LC_CTYPE") or env.get("LANG")
    if ctype:
        env["LC_CTYPE"] = ctype
    env.update(LC_MESSAGES="C", LANGUAGE="C")
    return env


def end_group(pgid: int, grace: float = TERM_GRACE) -> None:
    """End process group ``pgid``: SIGTERM, ``grace`` seconds, SIGKILL. A group that is gone is no error."""
    for sig, wait in ((signal.SIGTERM, grace), (signal.SIGKILL, 1.0)):
        try:
            os.killpg(pgid, sig)
        except ProcessLookupError:
            return
        until = time.monotonic() + wait
        while time.monotonic() < until:
            with contextlib.suppress(ChildProcessError):  # a child of ours stays in its group until it is waited for
                os.waitpid(pgid, os.WNOHANG)
            try:
                os.killpg(pgid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.02)


def took_too_long(shown: str, limit: float | None) -> PhaseError:
    """What is said of a command that was ended at its deadline, after ``limit`` seconds."""
    return PhaseError(
        f"'{shown}' was ended, with all that it had started, because it did not finish within {limit or 0:g} s.",
        timed_out=True,
    )


def _becoming(uid: int, environ: dict[str, str]) -> t.Callable[[], None]:
    """What a child of root does to work as ``uid``, whose home ``environ`` gets."""
    account = pwd.getpwuid(uid)
    environ.update(HOME=account.pw_dir, USER=account.pw_name, LOGNAME=account.pw_name)

    def drop() -> None:
        os.initgroups(account.pw_name, account.pw_gid)
        os.setgid(account.pw_gid)
        os.setuid(uid)

    return drop


class Commands:
    """Runs commands until a common deadline.

    :arg timeout: seconds from now until the deadline, for all commands together; None for no deadline.
    :arg environ: the environment that commands start from.
    :arg on_start: called with the process group id of each command that starts (the work lock notes it).
    :arg inherit: file descriptors that commands keep open (the work lock's, so that it lives as long as they do).
    """

    def __init__(
        self,
        timeout: float | None = None,
        environ: t.Mapping[str, str] | None = None,
        on_start: t.Callable[[int], None] | None = None,
        inherit: t.Sequence[int] = (),
    ) -> None:
        self.deadline = None if timeout is None else time.monotonic() + timeout
        self.timeout = timeout
        self.environ = english(os.environ if environ is None else environ)
        self.on_start = on_start
        self.inherit = tuple(inherit)

    def remaining(self, limit: float | None = None) -> float | None:
        """Seconds until the deadline or ``limit``, whichever is sooner; None where there is neither."""
        left = None if self.deadline is None else max(0.0, self.deadline - time.monotonic())
        return left if limit is None else (limit if left is None else min(limit, left))

    def within(self, seconds: float) -> Commands:
        """The same, with a deadline that is at most ``seconds`` from now."""
        sooner = copy.copy(self)
        sooner.timeout = self.remaining(seconds)
        sooner.deadline = time.monotonic() + t.cast("float", sooner.timeout)
        return sooner

    def environment(self, changes: t.Mapping[str, str | None]) -> dict[str, str]:
        """The environment that a command gets; a value of None removes the name."""
        return {name: value for name, value in {**self.environ, **changes}.items() if value is not None}

    def run(
        self,
        argv: t.Sequence[str | os.PathLike[str]],
        cwd: str | os.PathLike[str] | None = None,
        env: t.Mapping[str, str | None] | None = None,
        check: bool = True,
        stdin: str | bytes | None = None,
        timeout: float | None = None,
        daemon: bool = False,
        errors: str = "replace",
        uid: int | None = None,
        output: t.IO[bytes] | None = None,
    ) -> Completed:
        """Run ``argv`` and return what it printed.

        :arg env: changes to the environment; a value of None removes the name.
        :arg check: raise PhaseError on a return code other than 0.
        :arg stdin: what the command reads; nothing by default.
        :arg timeout: seconds for this command alone, within the common deadline.
        :arg daemon: the command leaves a service behind; it does not inherit the work lock, and its output goes to
            a file that is read back, so that a service that keeps the output open does not keep us waiting.
        :arg errors: what becomes of bytes that are not UTF-8, as for ``bytes.decode``.
        :arg uid: the account that it runs as, where this is root.
        :arg output: a file that gets what it prints, instead of what is returned.
        :raises PhaseError: the program is missing, it failed (with ``check``), or it was ended at the deadline.
        """
        args = [os.fspath(a) for a in argv]
        environ = self.environment(env or {})
        drop = None
        if uid is not None and uid != os.geteuid():
            drop = _becoming(uid, environ)
        shown = redact(" ".join(shlex.quote(a) for a in args))
        if daemon:
            rc, out, err = self._run_daemon(args, cwd, environ, shown, timeout)
        else:
            rc, out, err = self._run_piped(args, cwd, environ, shown, timeout, stdin, drop, output)
        done = Completed(args, rc, out.decode("utf-8", errors), err.decode("utf-8", "replace"))
        if check and rc != 0:
            raise PhaseError(f"'{shown}' failed with exit code {rc}: {done.said}", rc=rc, cmd=args)
        return done

    @contextlib.contextmanager
    def running(
        self, argv: t.Sequence[str], cwd: str | os.PathLike[str], environ: t.Mapping[str, str], output: t.IO[bytes]
    ) -> t.Iterator[subprocess.Popen[bytes]]:
        """Let ``argv`` run meanwhile, and end its process group afterwards; it ends too where this process is killed.

        :arg environ: all of its environment.
        :arg output: where what it prints goes.
        :raises PhaseError: there is no such program.
        """
        shown = redact(" ".join(shlex.quote(word) for word in argv))
        if not shutil.which(
            os.path.join(os.fspath(cwd), argv[0]) if "/" in argv[0] else argv[0], path=environ.get("PATH")
        ):
            raise PhaseError(f"'{shown}' could not start: there is no program '{argv[0]}' that can be run.")
        guarded = [sys.executable, "-I", "-S", "-c", GUARD, *argv]
        process = self._start(
            guarded, shown, cwd=cwd, env=dict(environ), stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            yield process
        finally:
            end_group(process.pid)
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            t.cast("t.IO[bytes]", process.stdin).close()
            process.wait()

    def leave(
        self, argv: t.Sequence[str], cwd: str | os.PathLike[str], environ: t.Mapping[str, str], keep: t.Sequence[int]
    ) -> None:
        """Start ``argv``, and let it live on by itself: nothing of ours is open there but the files ``keep``.

        :arg environ: all of its environment.
        :raises PhaseError: it could not start.
        """
        null = subprocess.DEVNULL
        process = Commands()._start(
            list(argv), shlex.join(argv), cwd=cwd, env=environ, stdin=null, stdout=null, stderr=null, pass_fds=keep
        )
        process.returncode = 0  # nobody is going to wait for it

    def _start(self, args: list[str], shown: str, **kw: t.Any) -> subprocess.Popen[bytes]:
        try:
            process = subprocess.Popen(args, start_new_session=True, **kw)
        except (OSError, ValueError) as exc:  # the latter is a NUL in an argument
            where = kw.get("cwd")
            if where and not os.path.isdir(where):
                raise PhaseError(f"'{shown}' could not start: there is no directory {where}.") from exc
            why = getattr(exc, "strerror", None) or str(exc)
            if isinstance(exc, FileNotFoundError) and "/" not in args[0]:
                why = (
                    f"there is no program '{args[0]}' on PATH ({kw['env'].get('PATH', '')}). Install it, write its "
                    "whole path, or add its folder to PATH in the environment of this phase"
                )
            raise PhaseError(f"'{shown}' could not start: {why}.") from exc
        if self.on_start:
            self.on_start(process.pid)
        return process

    def _too_long(self, process: subprocess.Popen[bytes], shown: str, limit: float | None) -> PhaseError:
        end_group(process.pid)
        with contextlib.suppress(ProcessLookupError):  # Python 3.8 does not look whether it is there
            process.kill()
        process.wait()
        return took_too_long(shown, limit)

    def _run_piped(
        self,
        args: list[str],
        cwd: t.Any,
        environ: dict[str, str],
        shown: str,
        timeout: float | None,
        stdin: str | bytes | None,
        drop: t.Callable[[], None] | None,
        output: t.IO[bytes] | None = None,
    ) -> tuple[int, bytes, bytes]:
        process = self._start(
            args,
            shown,
            cwd=cwd,
            env=environ,
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=output or subprocess.PIPE,
            stderr=subprocess.STDOUT if output else subprocess.PIPE,
            pass_fds=self.inherit,
            preexec_fn=drop,
        )
        data = stdin.encode("utf-8", "surrogateescape") if isinstance(stdin, str) else stdin
        try:
            out, err = process.communicate(data, timeout=self.remaining(timeout))
        except subprocess.TimeoutExpired:
            raise self._too_long(process, shown, timeout if timeout is not None else self.timeout) from None
        return process.returncode, out or b"", err or b""

    def _run_daemon(
        self, args: list[str], cwd: t.Any, environ: dict[str, str], shown: str, timeout: float | None
    ) -> tuple[int, bytes, bytes]:
        import tempfile

        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            process = self._start(args, shown, cwd=cwd, env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
            try:
                rc = process.wait(timeout=self.remaining(timeout))
            except subprocess.TimeoutExpired:
                raise self._too_long(process, shown, timeout if timeout is not None else self.timeout) from None
            out.seek(0)
            err.seek(0)
            return rc, out.read(), err.read()
