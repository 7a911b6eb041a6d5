# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep, compare and put back single files with owner, mode and time. Private to this collection.

What is kept lies in the restore point with mode 0600, whatever the original's mode is; that mode is in the record.
Everything is written beside its target, synced and renamed: a reader sees the old content or the new one.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import os
import stat
import typing as t
from pathlib import Path

from ._command import PhaseError
from ._restore_point import make_private, sha256_file, sync_directory

ABSENT, FILE, FOLDER, LINK, SPECIAL = "absent", "file", "folder", "link", "special"
_BLOCK = 1 << 20


@dataclasses.dataclass(frozen=True)
class Found:
    """What lies at a path, without its content.

    ``kind``: absent, file, folder, link or special (sockets, devices). ``mode``: permission bits. ``size``: bytes.
    ``sha256``: of a file's content or of a link's target, else None. ``target``: where a link points, else None.
    ``xattrs``: a file's extended attributes (ACL, SELinux context), in Base64, by name.
    """

    kind: str
    mode: int = 0
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    size: int = 0
    sha256: str | None = None
    target: str | None = None
    xattrs: dict[str, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def read(cls, record: t.Mapping[str, t.Any]) -> Found:
        """From a record that ``record`` made; further keys are ignored."""
        return cls(**{field.name: record[field.name] for field in dataclasses.fields(cls) if field.name in record})

    def record(self) -> dict[str, t.Any]:
        """As JSON values."""
        return dataclasses.asdict(self)

    def same_content(self, other: Found) -> bool:
        """Whether a reader would find the same at both; owner, mode and time aside."""
        return (self.kind, self.sha256) == (other.kind, other.sha256)

    def same_access(self, other: Found) -> bool:
        """Whether owner and mode are the same."""
        return (self.mode, self.uid, self.gid) == (other.mode, other.uid, other.gid)


def link_to(target: str) -> Found:
    """A symlink to ``target``."""
    digest = hashlib.sha256(os.fsencode(target)).hexdigest()
    return Found(LINK, size=len(os.fsencode(target)), sha256=digest, target=target)


def look(path: str, digest: bool = True) -> Found:
    """What lies at ``path``; symlinks are not followed.

    :arg digest: read files for their SHA-256.
    """
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return Found(ABSENT)
    mode = status.st_mode
    kind = FOLDER if stat.S_ISDIR(mode) else SPECIAL
    found = Found(kind, stat.S_IMODE(mode), status.st_uid, status.st_gid, status.st_mtime_ns)
    if stat.S_ISLNK(mode):
        link = link_to(os.readlink(path))
        return dataclasses.replace(found, kind=LINK, size=link.size, sha256=link.sha256, target=link.target)
    if stat.S_ISREG(mode):
        sha256 = sha256_file(Path(path)) if digest else None
        return dataclasses.replace(found, kind=FILE, size=status.st_size, sha256=sha256, xattrs=_xattrs(path))
    return found


def walk(path: str, skip: str = "") -> t.Iterator[str]:
    """``path`` and, where it is a folder, all that lies below it, in the order of the names.

    :arg skip: a folder that is left out.
    :raises OSError: a folder cannot be read.
    """
    if path == skip:
        return
    yield path
    if os.path.isdir(path) and not os.path.islink(path):
        with os.scandir(path) as entries:
            names = sorted(entry.name for entry in entries)
        for name in names:
            yield from walk(os.path.join(path, name), skip)


def keep(path: str, copy: Path) -> Found:
    """Copy the file ``path`` to ``copy`` (mode 0600), read the copy back, and return what was copied.

    :raises PhaseError: what was read back is not what was written, or the file changed while it was read.
    """
    make_private(copy.parent)
    found = look(path, digest=False)
    with open(path, "rb") as source:
        digest = _write(str(copy), source, 0o600)
    if sha256_file(copy) != digest:
        raise PhaseError(f"{copy} was written and reads back differently. Check the disk, then run the same again.")
    now = look(path, digest=False)
    if (now.kind, now.size, now.mtime_ns) != (found.kind, found.size, found.mtime_ns):
        copy.unlink()
        raise PhaseError(
            f"{path} changed while it was being kept. Find out what writes to it, then run the same again."
        )
    return dataclasses.replace(found, sha256=digest)


def put_file(path: str, content: Path, like: Found) -> None:
    """Give the file ``path`` the content of ``content``, with owner and mode of ``like``.

    It keeps the extended attributes (ACL, SELinux context) of the file that it replaces.
    """
    with content.open("rb") as source:
        _write(path, source, like.mode, dataclasses.replace(like, xattrs=_xattrs(path)))


@contextlib.contextmanager
def put_beside(path: str, content: Path, like: Found) -> t.Iterator[str]:
    """For as long as the block lasts, the name of a file beside ``path`` that is what ``put_file`` would make of it."""
    temporary = temporary_name(path)
    try:
        with content.open("rb") as source:
            _write_temporary(temporary, source, like.mode, dataclasses.replace(like, xattrs=_xattrs(path)))
        yield temporary
    finally:
        remove(temporary)


def put_link(path: str, target: str) -> None:
    """Make ``path`` a symlink to ``target`` in one step."""
    temporary = temporary_name(path)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    os.symlink(target, temporary)
    status = os.lstat(os.path.dirname(path))
    if os.geteuid() == 0:
        os.lchown(temporary, status.st_uid, status.st_gid)
    os.replace(temporary, path)
    sync_directory(Path(path).parent)


def set_access(path: str, like: Found) -> None:
    """Give the file ``path`` owner and mode of ``like``."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        _own(fd, like)
        os.fchmod(fd, like.mode)
        os.fsync(fd)
    finally:
        os.close(fd)


def remove(path: str) -> None:
    """Remove the file or symlink ``path`` durably; one that is gone is no error."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        os.unlink(path)
        sync_directory(Path(path).parent)


def put_back(path: str, found: Found, copy: Path) -> None:
    """Make ``path`` what ``found`` says it was; ``copy`` is the kept content of a file.

    :raises PhaseError: the kept copy is missing or damaged.
    """
    if found.kind == ABSENT:
        remove(path)
    elif found.kind == LINK:
        put_link(path, t.cast("str", found.target))
        if os.geteuid() == 0:
            os.lchown(path, found.uid, found.gid)
        if found.mtime_ns:
            os.utime(path, ns=(found.mtime_ns, found.mtime_ns), follow_symlinks=False)
    else:
        fault = damage(copy, found)
        if fault:
            raise PhaseError(f"{path} cannot be put back: {fault}")
        with copy.open("rb") as source:
            _write(path, source, found.mode, found, mtime=True)


def damage(copy: Path, found: Found) -> str:
    """What is wrong with the kept ``copy`` of a file, as a sentence; empty if it is as it was written."""
    try:
        now = look(str(copy))
    except OSError as exc:
        return f"the kept copy {copy} cannot be read ({exc.strerror})."
    if now.kind != FILE:
        return f"the kept copy {copy} is missing."
    if (now.size, now.sha256) != (found.size, found.sha256):
        return f"the kept copy {copy} is damaged: its SHA-256 is {now.sha256}, and {found.sha256} was written."
    return ""


def temporary_name(path: str) -> str:
    """Where new content for ``path`` is written. Always the same, so that what a killed run left is found again."""
    folder, name = os.path.split(path)
    return os.path.join(folder, f".{name}.changeops")


def _own(fd: int, like: Found) -> None:
    status = os.fstat(fd)
    if (status.st_uid, status.st_gid) != (like.uid, like.gid):
        os.fchown(fd, like.uid, like.gid)


def _write(path: str, source: t.BinaryIO, mode: int, like: Found | None = None, mtime: bool = False) -> str:
    """Write ``source`` to a new file beside ``path``, rename it to ``path`` and return its SHA-256."""
    temporary = temporary_name(path)
    try:
        digest = _write_temporary(temporary, source, mode, like, mtime)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync_directory(Path(path).parent)
    return digest


def _write_temporary(temporary: str, source: t.BinaryIO, mode: int, like: Found | None, mtime: bool = False) -> str:
    """Write ``source`` to the new file ``temporary``, with owner and attributes of ``like``; return its SHA-256."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    digest = hashlib.sha256()
    # exclusive: in a folder that somebody else may write to, the name must not be a planted symlink
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "wb") as stream:
        for block in iter(lambda: source.read(_BLOCK), b""):
            digest.update(block)
            stream.write(block)
        stream.flush()
        if like is not None:
            for name, value in like.xattrs.items():
                with contextlib.suppress(OSError):  # not every user may set every one, nor every file system
                    os.setxattr(stream.fileno(), name, base64.b64decode(value))
            _own(stream.fileno(), like)
        os.fchmod(stream.fileno(), mode)
        if like is not None and mtime:
            os.utime(stream.fileno(), ns=(like.mtime_ns, like.mtime_ns))
        os.fsync(stream.fileno())
    return digest.hexdigest()


def _xattrs(path: str) -> dict[str, str]:
    """The extended attributes of the file ``path``; none where it is no file, or the system has no such thing."""
    if not hasattr(os, "listxattr") or not os.path.isfile(path) or os.path.islink(path):
        return {}
    found = {}
    with contextlib.suppress(OSError):
        for name in os.listxattr(path):
            with contextlib.suppress(OSError):
                found[name] = base64.b64encode(os.getxattr(path, name)).decode("ascii")
    return found
