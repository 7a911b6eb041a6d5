# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the logs of an app ended, so that later only what is new is read. Private to this collection.

A place in a file is an inode and an offset, one in the journal a cursor: no clock, which may be wrong or jump.
verify's preflight notes the places in ``logs.json`` of its part of the restore point; service_start notes them anew
right before it starts anything, so that what the release that was rolled back wrote until its end does not count.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import os
import re
import typing as t
from pathlib import Path

from ._command import Commands, PhaseError
from ._restore_point import read_json, write_json

NAME = "logs.json"
LINE_LIMIT = 1 << 16  # bytes of a line that are looked at

Marks = t.Dict[str, t.Any]


@dataclasses.dataclass(frozen=True)
class Mark:
    """Where a log file ended: its inode and size. ``others``: the files that it was rotated to, see `Rotated.known`."""

    inode: int
    size: int
    others: list[list[int]]


class Rotated(t.NamedTuple):
    """A file that a log file was rotated to."""

    mtime: int
    inode: int
    size: int
    path: str

    @property
    def known(self) -> list[int]:
        """What tells it apart from another file that was given its inode after it was removed."""
        return [self.inode, self.size, self.mtime]


def mark_of(path: str) -> Mark:
    """Where the log file ``path`` ends now; a file that is not there has nothing in it."""
    others = [one.known for one in _rotated(path)]
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return Mark(0, 0, others)
    return Mark(status.st_ino, status.st_size, others)


def _rotated(path: str) -> list[Rotated]:
    """The files that ``path`` was rotated to, oldest first: ``app.log.1``, ``app-20261125.log``."""
    folder, name = os.path.split(os.path.realpath(path))
    stem, suffix = os.path.splitext(name)
    pattern = rf"{re.escape(name)}[.-].+|{re.escape(stem)}[._-]\d[\dT._-]*{re.escape(suffix)}(\.gz)?"
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                if re.fullmatch(pattern, entry.name) and entry.is_file():
                    status = entry.stat()
                    found.append(Rotated(status.st_mtime_ns, status.st_ino, status.st_size, entry.path))
    return sorted(found)


def new_lines(path: str, mark: Mark) -> t.Iterator[str]:
    """The lines that were written since ``mark``, also to what the log file was rotated to in the meantime.

    :raises PhaseError: they cannot be found any more.
    """
    try:
        status: os.stat_result | None = os.stat(path)
    except FileNotFoundError:
        status = None
    if status and status.st_ino == mark.inode and status.st_size >= mark.size:
        yield from _lines(path, mark.size)
        return
    if mark.inode:
        yield from _lines_of_rotated(path, mark)
    if status:  # a new file, or the old one emptied (copytruncate)
        yield from _lines(path, 0)


def _lines_of_rotated(path: str, mark: Mark) -> t.Iterator[str]:
    fresh = [one for one in _rotated(path) if one.known not in mark.others]
    names = [one.path for one in fresh]
    # while it is being packed, a file is there twice
    fresh = [one for one in fresh if not (one.path.endswith(".gz") and one.path[:-3] in names)]
    # the marked file has kept its inode, unless it was copied or packed
    old = next((one for one in fresh if one.inode == mark.inode), fresh[0] if fresh else None)
    if not old:
        raise PhaseError(f"{path} was rotated or removed since, and what it was rotated to cannot be found beside it")
    yield from _lines(old.path, mark.size)
    for one in fresh:
        if one != old:
            yield from _lines(one.path, 0)


def _lines(path: str, offset: int) -> t.Iterator[str]:
    opened: t.Any = gzip.open(path, "rb") if path.endswith(".gz") else open(path, "rb")  # noqa: SIM115
    with opened as stream:
        stream.seek(offset)
        for line in iter(lambda: stream.readline(LINE_LIMIT), b""):
            yield line.decode("utf-8", "replace")


def journal_end(unit: str, commands: Commands) -> str:
    """The cursor of the last entry that ``unit``, an option of journalctl, selects; empty where there is none.

    Of the same selection: after a cursor of another one journalctl (of systemd 252) leaves out the first entry.
    """
    done = commands.run(["journalctl", unit, "-n", "1", "-q", "--no-pager", "--show-cursor", "-o", "cat"])
    lines = [line for line in done.out.splitlines() if line.startswith("-- cursor: ")]
    return lines[-1][len("-- cursor: ") :] if lines else ""


def write_marks(part: Path, files: t.Iterable[str], units: t.Iterable[str], since: str, commands: Commands) -> None:
    """Note in ``part`` where the files, and the journals of units as journalctl's options have them, end now."""
    marks: Marks = {
        "since": since,
        "files": {path: dataclasses.asdict(mark_of(path)) for path in files},
        "units": {unit: journal_end(unit, commands) for unit in units},
    }
    write_json(part / NAME, marks)
    if os.geteuid() == 0:  # service_start is often root where verify is not, and has to leave the file to it
        owner = os.stat(str(part))
        os.chown(str(part / NAME), owner.st_uid, owner.st_gid)


def read_marks(part: Path) -> Marks:
    """What was noted there."""
    return t.cast("Marks", read_json(part / NAME) or {"since": "", "files": {}, "units": {}})


def mark_start(root: Path, commands: Commands) -> list[str]:
    """Note anew, for every phase of a run that watches logs, where they end now; returns warnings."""
    faults = []
    for path in sorted(root.glob(f"*/{NAME}")):
        try:
            marks = read_marks(path.parent)
            write_marks(path.parent, marks["files"], marks["units"], "service_start began", commands)
        except (OSError, PhaseError) as exc:
            faults.append(f"Where the logs end now could not be noted for {path.parent.name} ({exc}).")
    return faults
