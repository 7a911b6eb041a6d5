# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of run_script. Private to this collection.

In the restore point::

    output.log      what the script and the recover script printed, 0600
    kept/           for the scripts themselves, which know it as ROLLBACK_KEEP
    scripts/        those that came from the ops repository
"""

from __future__ import annotations

import fcntl
import os
import time
import typing as t
from pathlib import Path

from ._command import Completed, PhaseError
from ._phase import Context, Report
from ._restore_point import make_private
from ._script import Script, kept, prove

TAIL = 8192  # bytes of its output that the last lines are taken from
MAIN, RECOVER = "script", "recover"  # the options that name a script, and what is noted of each
KEEP, REACHED = "ROLLBACK_KEEP", "ROLLBACK_SCRIPT"
ENDED, CUT_SHORT = "finished", "unfinished"


def _script(ctx: Context, name: str) -> Script:
    """The script of option ``name``, proven to run.

    :raises PhaseError: as ``_script.prove``.
    """
    given = ctx.params[name]
    path = kept(ctx.point, name, ctx.params[f"{name}_content"], given)
    arguments = ctx.params["arguments" if name == MAIN else "recover_arguments"]
    return prove(path, given, arguments, ctx.commands)


def _made(ctx: Context) -> str:
    """Why the script has nothing to do here; empty where it has."""
    if ctx.prepared.get(MAIN) == ENDED:
        return f"{ctx.params[MAIN]} had come to its end in this rollback already."
    creates = ctx.params["creates"]
    if creates and os.path.exists(os.path.expanduser(creates)) and not ctx.prepared.get(MAIN):
        return f"{creates} is there, so {ctx.params[MAIN]} has nothing to do."
    return ""


def script_preflight(ctx: Context) -> Report:
    """See that both scripts can be run, and where."""
    directory = ctx.params["directory"]
    if directory and not os.path.isdir(directory):
        raise PhaseError(f"run_script_directory: there is no directory {directory} on this host.")
    script = _script(ctx, MAIN)
    if ctx.params[RECOVER]:
        _script(ctx, RECOVER)
    made = _made(ctx)
    pending: bool | None = False
    if not made:
        pending = None if ctx.params["follows"] else True
    return Report(made or f"Will run {script.shown}.", pending=pending)


def script_main(ctx: Context) -> Report:
    """Run the script, unless it has come to its end already."""
    made = _made(ctx)
    if made:
        return Report(made)
    script = _script(ctx, MAIN)
    if ctx.check:
        return Report(f"Would run {script.shown}.", True)
    ctx.note(script=CUT_SHORT)
    report = _run(ctx, script, {})
    ctx.note(script=ENDED)
    return report


def script_recover(ctx: Context) -> Report:
    """Run the recover script, where the script had begun."""
    reached = ctx.prepared.get(MAIN)
    if not reached:
        return Report("The script had not begun here, so there is nothing to put back.")
    if not ctx.params[RECOVER]:
        said = f"{ctx.params[MAIN]} has no recover script (run_script_recover), so what it did stays as it is."
        return Report(said, warnings=[said])
    report = _run(ctx, _script(ctx, RECOVER), {REACHED: reached})
    ctx.note(script=None)
    return report


def _run(ctx: Context, script: Script, more: t.Mapping[str, str]) -> Report:
    """Run it to its end.

    :raises PhaseError: it failed or took too long; with the last lines of what it printed.
    """
    keep, log = ctx.point.part / "kept", ctx.point.part / "output.log"
    make_private(keep)
    began = time.monotonic()
    fd = os.open(str(log), os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "r+b", buffering=0) as output:
        output.write(f"--- {script.given}, {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}\n".encode())
        start = output.seek(0, os.SEEK_END)
        try:
            done = ctx.commands.run(
                script.argv, ctx.params["directory"] or None, {KEEP: str(keep), **more}, check=False, output=output
            )
        except PhaseError as exc:
            raise PhaseError(f"{exc} {_last_words(output, start, log)}", **exc.facts) from exc
        finally:
            # A server that it has left running must not keep the host from what comes next.
            for inherited in ctx.commands.inherit:
                fcntl.flock(inherited, fcntl.LOCK_UN)
        if done.rc != 0:
            raise PhaseError(
                f"{script.shown} failed with exit code {done.rc}. {_last_words(output, start, log)}", rc=done.rc
            )
    took = round(time.monotonic() - began, 1)
    return Report(
        f"Ran {script.shown} in {took} s. Its output is in {log}.", True, after={"log": str(log), "seconds": took}
    )


def _last_words(output: t.IO[bytes], start: int, log: Path) -> str:
    output.seek(max(start, output.seek(0, os.SEEK_END) - TAIL))
    text = output.read().decode("utf-8", "replace")
    return f"It said last: {Completed([], 0, text, '').said} (all of it is in {log})"
