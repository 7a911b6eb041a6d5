# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One restore point for the accounts that the phases of a run work as. Private to this collection.

Root keeps it. An access list (POSIX ACL) lets the other accounts of the run, and nobody else, make their parts in the
run's directory, and take the work lock. A part belongs to the account of its phase and is private as ever. The list is
written as Linux keeps it, since hosts need not have ``setfacl``: a version, then for each entry a kind, rights and an
account (include/uapi/linux/posix_acl_xattr.h).
"""

from __future__ import annotations

import os
import stat
import struct
import typing as t
from pathlib import Path

from ._command import PhaseError

_LIST = "system.posix_acl_access"
_VERSION, _NOBODY = 2, 0xFFFFFFFF
_OWNER, _USER, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x10, 0x20
_RIGHTS = {"r": 4, "w": 2, "x": 1}


def is_shared(path: Path) -> bool:
    """Whether ``path`` has an access list."""
    try:
        return _LIST in os.listxattr(str(path))
    except (AttributeError, OSError):  # not on Linux, or on a file system that has none
        return False


def share(path: Path, uids: t.Iterable[int], rights: str) -> None:
    """Give exactly these accounts ``rights`` (letters of rwx) to what is ours; nobody can remove what another made.

    :raises PhaseError: the file system keeps no access lists.
    """
    mode = path.stat().st_mode
    given = sum(_RIGHTS[letter] for letter in rights)
    entries = [(_OWNER, (mode >> 6) & 7, _NOBODY)]
    entries += [(_USER, given, uid) for uid in sorted(set(uids))]
    entries += [(_GROUP, 0, _NOBODY), (_MASK, given, _NOBODY), (_OTHER, 0, _NOBODY)]
    if stat.S_ISDIR(mode):
        path.chmod(0o1700)
    data = struct.pack("<I", _VERSION) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(str(path), _LIST, data)
    except (AttributeError, OSError) as exc:
        raise PhaseError(
            f"The phases of this plan work as several accounts, and the file system of {path} keeps no access lists "
            "by which they could share a restore point. Set rollback_state_dir to a directory on another one."
        ) from exc


def keep_to_owner(path: Path, mode: int) -> None:
    """Take back what was shared."""
    if is_shared(path):
        os.removexattr(str(path), _LIST)
    path.chmod(mode)
