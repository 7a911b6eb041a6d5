# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The phase ``config_restore``: files and folders as they were before the change. Private to this collection.

What is to be done is decided afresh at each step, file by file: between preflight and main the code has usually
been reverted, and with it the config that lies in git. Before main touches a file it notes what was there and what
it will write (``replaced`` in ``state.json``) and keeps the content as ``files/<SHA-256>``. So recover can tell a file
that main had not reached from one that it had written, and both from one that somebody has edited since.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import typing as t
from pathlib import Path

from ._command import PhaseError
from ._config_diff import diff_of, said_of
from ._config_items import command
from ._config_wanted import Change, Survey, survey
from ._files import (
    ABSENT,
    FILE,
    FOLDER,
    LINK,
    Found,
    damage,
    keep,
    look,
    put_back,
    put_beside,
    put_file,
    put_link,
    remove,
    set_access,
    temporary_name,
    walk,
)
from ._phase import Context, Report
from ._redact import redact_config

_SELINUX = "/sys/fs/selinux/enforce"  # there where SELinux is enabled

Record = t.Dict[str, t.Any]


def preflight(ctx: Context) -> Report:
    """Prove that each file can be restored, and keep what main will replace or remove."""
    with _scratch(ctx) as scratch:
        found = survey(ctx, scratch, later=not ctx.resumed)
        report = _report(
            found, "would become what it was before the change", "The config is as it was before the change."
        )
        report.pending = bool(found.changes)
        _validation(ctx)
        _validate_each(ctx, found.changes)
        if not ctx.check and "kept" not in ctx.prepared:
            report.prepared = {"kept": {change.path: _keep(ctx, change).record() for change in found.changes}}
    report.changed = False
    report.before, report.after = found.state, {}
    return report


def main(ctx: Context) -> Report:
    """Replace and remove what differs."""
    with _scratch(ctx) as scratch:
        found = survey(ctx, scratch)
        report = _report(
            found,
            "would become what it was before the change" if ctx.check else "is what it was before the change again",
            "The config is as it was before the change already.",
        )
        report.before = {}  # what preflight found; between it and now the code was reverted
        if not ctx.check and found.changes:
            _validate_each(ctx, found.changes)
            _note(ctx, found.changes)
            for change in found.changes:
                _act(ctx, change)
        if not ctx.check and (found.changes or ctx.resumed):
            _validate_all(ctx)
    report.after = dict(found.state, **{change.path: change.then.sha256 for change in found.changes})
    return report


def can_undo(ctx: Context) -> Report:
    """See that what was kept is there, and tell which files would be left alone, because somebody edited them since."""
    replaced = ctx.prepared.get("replaced", [])
    found = [(record, look(record["path"]), Found.read(record["was"])) for record in replaced]
    # Of what a folder stands for by now, the files in it are put back before, each by itself.
    known = [record for record, now, _was in found if now.kind == FOLDER or _known(now, record)]
    for record, _now, was in found:
        fault = damage(_copy(ctx, was), was) if was.kind == FILE and record in known else ""
        if fault:
            raise PhaseError(f"{record['path']} could not be put back: {fault}")
    names = ", ".join(record["path"] for record in known)
    return Report(
        f"{names} can be put back." if names else "No config is to be put back.",
        warnings=[
            f"{record['path']} was edited since the rollback, and would be left as it is."
            for record in replaced
            if record not in known
        ],
    )


def _known(now: Found, record: Record) -> bool:
    """Whether a file is as it was before main or as main wrote it."""
    return now.same_content(Found.read(record["was"])) or now.same_content(Found.read(record["wrote"]))


def recover(ctx: Context) -> Report:
    """Put back what was there right before main, where what main wrote is still there."""
    shutil.rmtree(str(ctx.point.scratch_path), ignore_errors=True)
    done, left = [], []
    for record in reversed(ctx.prepared.get("replaced", [])):
        path, was = record["path"], Found.read(record["was"])
        remove(temporary_name(path))
        now = look(path)
        if was.kind == ABSENT and now.kind == FOLDER:
            continue  # main had not come to replace that folder by a file; what was in it is put back by itself
        if not _known(now, record):
            left.append(record)
            continue
        there = now.same_content(was)  # main had not come so far, or it is put back already
        if not there:
            _make_folders(path)
            put_back(path, was, _copy(ctx, was))
        elif now.kind == FILE and not now.same_access(was):
            set_access(path, was)
            there = False
        for folder in reversed(record["made"]):
            with contextlib.suppress(OSError):  # it was not made yet, or somebody else's files are in it
                os.rmdir(folder)
        if not there:
            done.append(path)
    ctx.note(replaced=left[::-1])
    warnings = [
        "{} was edited after it had been restored, so it was left alone. {}".format(
            record["path"],
            "What was there before is in {}.".format(_copy(ctx, Found.read(record["was"])))
            if record["was"]["kind"] == FILE
            else "Before, there was {}.".format(said_of(Found.read(record["was"]))),
        )
        for record in left
    ]
    msg = f"Put back {', '.join(done)}." if done else "No config had to be put back."
    if left:
        msg += f" Left alone, because edited since: {', '.join(record['path'] for record in left)}."
    return Report(msg, changed=bool(done), warnings=warnings, after={path: look(path).sha256 for path in done})


@contextlib.contextmanager
def _scratch(ctx: Context) -> t.Iterator[Path]:
    """A place for the wanted files, gone afterwards: they may hold secrets."""
    place = ctx.point.scratch()
    try:
        yield place
    finally:
        shutil.rmtree(str(place), ignore_errors=True)


def _copy(ctx: Context, found: Found) -> Path:
    return ctx.point.part / "files" / (found.sha256 or "none")


def _keep(ctx: Context, change: Change) -> Found:
    """Keep the content of what is there now, once, and return what it is."""
    now = look(change.path) if change.now.kind == FILE else change.now
    if now.kind != FILE:
        return now
    copy = _copy(ctx, now)
    if look(str(copy)).sha256 == now.sha256:
        return now
    kept = keep(change.path, copy)
    if kept.sha256 != now.sha256:
        raise PhaseError(
            f"{change.path} changed while it was being kept. Find out what writes it, then run the same again."
        )
    return kept


def _note(ctx: Context, changes: list[Change]) -> None:
    """Note durably what is there and what is to be written.

    A main that is resumed keeps the notes on files that the killed one had come to: what was there before that.
    """
    removed = {change.path for change in changes if change.then.kind == ABSENT}
    records: dict[str, Record] = {record["path"]: record for record in ctx.prepared.get("replaced", [])}
    for change in changes:
        was = _keep(ctx, change)
        records.setdefault(
            change.path,
            {"path": change.path, "was": was.record(), "made": _missing_folders(change.path, removed)},
        )["wrote"] = change.then.record()
    ctx.note(replaced=list(records.values()))


def _validation(ctx: Context) -> list[str]:
    """The command that says whether all of the config is valid."""
    return command(ctx.params.get("validate"), "config_restore_validate")


def _validate_each(ctx: Context, changes: list[Change]) -> None:
    """Run the files' own validations, each on the new file beside the place that it is for.

    Not in check mode, in which nothing is written there.

    :raises PhaseError: a new file is not valid; none has taken its place.
    """
    for change in changes:
        if ctx.check or not change.item.validate or change.then.kind != FILE:
            continue
        content = t.cast("Path", change.content)
        there = os.path.isdir(os.path.dirname(change.path))
        with put_beside(change.path if there else str(content), content, change.then) as new:
            said = _invalid(ctx, [part.replace("%s", new) for part in change.item.validate], change.item.secret)
        if said:
            raise PhaseError(
                f"{change.path} would not be valid, so nothing was replaced. {said} Correct what it comes from "
                f"({change.origin}), or its validate."
            )


def _validate_all(ctx: Context) -> None:
    """Run the validation of all of the config, now that it is in place.

    :raises PhaseError: it is not valid; what was there before has been put back.
    """
    argv = _validation(ctx)
    said = _invalid(ctx, argv, False) if argv else ""
    if said:
        recover(ctx)
        raise PhaseError(
            f"The restored config is not valid, so what was there before was put back. {said} Correct what "
            "config_restore_paths restores, or config_restore_validate."
        )


def _invalid(ctx: Context, argv: list[str], secret: bool) -> str:
    """Why a validation refuses, as a sentence; empty if it does not."""
    done = ctx.commands.run(argv, check=False)
    if not done.rc:
        return ""
    lines = redact_config(done.err.strip() or done.out.strip() or "it printed nothing").splitlines()
    said = "what it printed is not shown, because the file is secret" if secret else " / ".join(lines[-6:])
    return "'{}' ended with exit code {}: {}.".format(" ".join(argv), done.rc, said.rstrip("."))


def _act(ctx: Context, change: Change) -> None:
    path, then = change.path, change.then
    if then.kind == ABSENT:
        remove(path)
        return
    if look(path, digest=False).kind == FOLDER:  # all that was in it has been removed
        for one in reversed(list(walk(path))):
            os.rmdir(one)
    made = _missing_folders(path)
    _make_folders(path)
    if then.kind == LINK:
        put_link(path, t.cast("str", then.target))
    elif change.now.same_content(then):
        set_access(path, then)
    else:
        put_file(path, t.cast("Path", change.content), then)
    if change.now.kind != FILE:
        _label(ctx, [*made, path])


def _label(ctx: Context, paths: list[str]) -> None:
    """Give new files the SELinux context that the host's policy has for them, where there is SELinux.

    A file that replaces another one has that one's.
    """
    if os.path.exists(_SELINUX) and shutil.which("restorecon", path=ctx.commands.environ.get("PATH")):
        ctx.commands.run(["restorecon", *paths], check=False)


def _missing_folders(path: str, removed: t.Container[str] = ()) -> list[str]:
    """The folders that are to be made for ``path`` once the files ``removed`` are gone, outermost first."""
    missing = []
    folder = os.path.dirname(path)
    while folder in removed or not os.path.lexists(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    return missing[::-1]


def _make_folders(path: str) -> None:
    """Make the missing folders above ``path``; they belong to whom the folder above them belongs to."""
    for folder in _missing_folders(path):
        os.mkdir(folder, 0o755)
        if os.geteuid() == 0:
            status = os.stat(os.path.dirname(folder))
            os.chown(folder, status.st_uid, status.st_gid)


def _report(found: Survey, verb: str, nothing: str) -> Report:
    names = ", ".join(change.path for change in found.changes)
    return Report(
        f"{names} {verb}." if names else nothing,
        changed=bool(names),
        before=found.state,
        diff=[diff_of(change) for change in found.changes],
        warnings=found.warnings,
    )
