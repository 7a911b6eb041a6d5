# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Extra paths of a backup, as one archive that somebody may want by hand. Private to this collection.

GNU tar writes it, because it keeps owners, ACLs, attributes and holes, and says which files changed under it. What is
in it is chosen here. Nothing restores it by itself: later writes are not in it.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import os
import re
import shlex
import time
import typing as t
from pathlib import Path

from ._command import PhaseError
from ._files import FILE, SPECIAL, Found, look, walk
from ._phase import Context
from ._restore_point import sha256_file, sync_directory

NAME = "archive.tar.gz"
_KEEP = ("--xattrs", "--acls", "--selinux", "--numeric-owner")
_NAMES = ("--directory=/", "--no-recursion", "--null", "--files-from=-")
_HEADER = 1024  # bytes that a member needs beside its content
# What tar says of files that others write to; anything else that it cannot do is a fault.
_CHANGED = re.compile(
    r"(?:\S*/)?tar: (.*?): (file changed as we read it|File removed before we read it|File shrank by .*"
    r"|(?:Warning: )?Cannot \w+: No such file or directory)"
)


@dataclasses.dataclass(frozen=True)
class Listing:
    """What an archive is to hold: absolute paths, how many of them are files, and bytes (uncompressed, at most)."""

    paths: list[str]
    files: int
    size: int


def survey(ctx: Context, warnings: list[str]) -> Listing | None:
    """What ``archive`` names, without what ``exclude`` names; None where there is nothing to archive.

    :raises PhaseError: something cannot be archived; all of that is named.
    """
    if not ctx.params.get("archive"):
        return None
    faults: list[str] = []
    found: dict[str, Found] = {}
    for item in ctx.params["archive"]:
        path = os.path.normpath(item)
        if not os.path.isabs(item):
            faults.append(f"{item} is not absolute.")
        elif not os.path.lexists(path):
            faults.append(f"{item} does not exist.")
        else:
            _look_below(ctx, path, found, faults)
    for path, one in found.items():
        if one.kind == SPECIAL and _is_device(path):
            faults.append(f"{path} is a device.")
        elif one.kind == FILE and not os.access(path, os.R_OK):
            faults.append(f"{path} cannot be read (Permission denied).")
    if faults:
        raise PhaseError(
            "Not everything can be archived: {} Correct backup_archive, leave it out by backup_exclude, or read it as "
            "another user (become_user).".format(" ".join(faults)),
            faults=faults,
        )
    _need_tar(ctx)
    special = [path for path, one in found.items() if one.kind == SPECIAL]
    warnings.extend(f"{path} is a socket or pipe; it is not archived." for path in special)
    paths = [path for path in found if path not in special]
    sizes = [_allocated(path) for path in paths if found[path].kind == FILE]
    return Listing(paths, len(sizes), sum(sizes) + _HEADER * len(paths))


def make(ctx: Context, listing: Listing, store: Path, warnings: list[str]) -> dict[str, t.Any]:
    """Write the archive into ``store``, read it back, and return its record for the manifest.

    :raises PhaseError: it could not be written, or does not read back as what is there.
    """
    begun = time.monotonic()
    path, part = store / NAME, store / f".{NAME}.part"
    os.close(os.open(str(part), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
    names = b"".join(os.fsencode(name.lstrip("/") or ".") + b"\0" for name in listing.paths)
    done = ctx.commands.run(
        ["tar", "--create", "--gzip", "--sparse", *_KEEP, "--ignore-failed-read", f"--file={part}", *_NAMES],
        stdin=names,
        check=False,
    )
    faults = []
    for line in done.err.splitlines():
        changed = _CHANGED.fullmatch(line)
        if changed:
            warnings.append(f"/{changed.group(1)} changed while it was archived; it is in there as far as it was read.")
        elif "Cannot" in line or done.rc > 1:
            faults.append(line)
        else:
            warnings.append(f"tar said of the archive: {line}")
    if faults or done.rc > 1:
        raise PhaseError(
            f"{path} could not be written: {' / '.join(faults[-6:]) or done.said}. Correct that, or leave it out by "
            "backup_exclude; then run the same again."
        )
    _read_back(ctx, part)
    digest = sha256_file(part)
    with part.open("rb") as stream:
        os.fsync(stream.fileno())
    os.replace(str(part), str(path))
    sync_directory(store)
    return {
        "kept": NAME,
        "size": path.stat().st_size,
        "sha256": digest,
        "files": listing.files,
        "seconds": round(time.monotonic() - begun, 1),
        "look": shlex.join(["tar", "-tvzf", str(path)]),
        "restore": shlex.join(["tar", "-xpzf", str(path), *_KEEP, "-C", "/"]),
    }


def _read_back(ctx: Context, part: Path) -> None:
    """Compare the archive with what is there.

    :raises PhaseError: it is damaged: a file that has not changed since is another one in there.
    """
    done = ctx.commands.run(["tar", "--compare", "--gzip", *_KEEP, "--directory=/", f"--file={part}"], check=False)
    differs: dict[str, list[str]] = {}
    for line in done.out.splitlines():
        name, _colon, what = line.rpartition(": ")
        differs.setdefault(name, []).append(what)
    damaged = [
        name
        for name, said in differs.items()
        if not {"Mod time differs", "Size differs"}.intersection(said) and "Contents differ" in said
    ]
    if damaged or done.rc > 1:
        said = ", ".join("/" + name for name in damaged) or done.said
        raise PhaseError(f"{part} was written and reads back differently: {said}. Check the disk, then run it again.")


def _look_below(ctx: Context, start: str, found: dict[str, Found], faults: list[str]) -> None:
    skipped = ""
    try:
        for path in walk(start, str(ctx.point.state_dir)):
            if skipped and path.startswith(skipped):
                continue
            if _excluded(path, ctx.params.get("exclude") or []):
                skipped = path + "/"
                continue
            found[path] = look(path, digest=False)
    except OSError as exc:
        faults.append(f"{exc.filename} cannot be read ({exc.strerror}).")


def _excluded(path: str, patterns: t.Iterable[str]) -> bool:
    """Whether a pattern names the path, or its last part where the pattern has no slash."""
    return any(fnmatch.fnmatchcase(path if "/" in one else os.path.basename(path), one.rstrip("/")) for one in patterns)


def _is_device(path: str) -> bool:
    return os.lstat(path).st_mode & 0o170000 in (0o060000, 0o020000)


def _allocated(path: str) -> int:
    """Bytes that a file has on the disk, its holes not counted."""
    status = os.lstat(path)
    return min(status.st_size, status.st_blocks * 512)


def _need_tar(ctx: Context) -> None:
    try:
        said = ctx.commands.run(["tar", "--version"], check=False).out
    except PhaseError:
        said = ""
    if "GNU tar" not in said:
        raise PhaseError(
            "There is no GNU tar on this host, which writes backup_archive. Install it (apt-get install tar, dnf "
            "install tar, apk add tar)."
        )
