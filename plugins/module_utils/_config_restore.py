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
from ._config_wanted import Change, Survey, survey
from ._files import (
    ABSENT,
    FILE,
    FOLDER,
    LINK,
    Found,
    keep,
    look,
    put_back,
    put_file,
    put_link,
    remove,
    set_access,
    temporary_name,
    walk,
)
from ._phase import Context, Report
from ._redact import redact

_SHOWN = 1 << 18  # bytes; larger files are named in the diff, not shown

Record = t.Dict[str, t.Any]


def preflight(ctx: Context) -> Report:
    """Prove that each file can be restored, and keep what main will replace or remove."""
    with _scratch(ctx) as scratch:
        found = survey(ctx, scratch, later=not ctx.resumed)
        report = _report(
            found, "would become what it was before the change", "The config is as it was before the change."
        )
        report.pending = bool(found.changes)
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
            _note(ctx, found.changes)
            for change in found.changes:
                _act(change)
    report.after = dict(found.state, **{change.path: change.then.sha256 for change in found.changes})
    return report


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
        there = now.same_content(was)  # main had not come so far, or it is put back already
        if not there and not now.same_content(Found.read(record["wrote"])):
            left.append(record)
            continue
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
            else "Before, there was {}.".format(_said(Found.read(record["was"]))),
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


def _act(change: Change) -> None:
    path, then = change.path, change.then
    if then.kind == ABSENT:
        remove(path)
        return
    if look(path, digest=False).kind == FOLDER:  # all that was in it has been removed
        for one in reversed(list(walk(path))):
            os.rmdir(one)
    _make_folders(path)
    if then.kind == LINK:
        put_link(path, t.cast("str", then.target))
    elif change.now.same_content(then):
        set_access(path, then)
    else:
        put_file(path, t.cast("Path", change.content), then)


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
        diff=[_diff(change) for change in found.changes],
        warnings=found.warnings,
    )


def _diff(change: Change) -> dict[str, str]:
    """A change as Ansible shows it, without secrets."""
    now, then = change.now, change.then
    before = _shown(now, Path(change.path))
    after = _shown(then, change.content)
    if before == after:
        after += "(the difference is in a masked value)\n" if not now.same_content(then) else ""
    if FILE == now.kind == then.kind and now.mode != then.mode:
        before, after = f"mode: {now.mode:04o}\n{before}", f"mode: {then.mode:04o}\n{after}"
    return {
        "before": before,
        "after": after,
        "before_header": f"{change.path} ({_said(now)})" if now.kind != FILE else change.path,
        "after_header": f"{change.path} ({_said(then)})"
        if then.kind != FILE
        else f"{change.path} (from {change.origin})",
    }


def _said(found: Found) -> str:
    return {ABSENT: "no such file", LINK: f"a symlink to {found.target}"}.get(found.kind, f"a {found.kind}")


def _shown(found: Found, content: Path | None) -> str:
    if found.kind == LINK:
        return f"-> {found.target}\n"
    if found.kind != FILE or content is None:
        return ""
    data = content.read_bytes() if found.size <= _SHOWN else b"\0"
    with contextlib.suppress(UnicodeDecodeError):
        if b"\0" not in data:
            return redact(data.decode("utf-8"))
    return f"(not shown: {found.size} bytes, SHA-256 {found.sha256})\n"
