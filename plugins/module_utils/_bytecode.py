# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take over what was compiled in one virtual environment into another one. Private to this collection.

An install command rarely compiles what it installs, so a new environment would have the app do it at its first start,
which is in the downtime, and takes a second or more. Most packages are the same in both.
"""

from __future__ import annotations

import filecmp
import importlib.util
import struct
from pathlib import Path


def take_over(old: Path, new: Path) -> None:
    """Copy the compiled files of ``old`` for those of its sources that are the same in ``new``."""
    for compiled in old.glob("lib/python*/site-packages/**/__pycache__/*.pyc"):
        target = new / compiled.relative_to(old)
        try:
            source = Path(importlib.util.source_from_cache(str(compiled)))
            content = compiled.read_bytes()
            twin = new / source.relative_to(old)
            if target.exists() or content[4:16] != _stamp(source) or not filecmp.cmp(str(source), str(twin), False):
                continue
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(content[:4] + _stamp(twin) + content[16:])
        except (OSError, ValueError):
            continue  # it is compiled when it is needed


def _stamp(source: Path) -> bytes:
    """How a compiled file names its source: not by a hash, but by time and size (PEP 552)."""
    known = source.stat()
    return struct.pack("<LLL", 0, int(known.st_mtime) & 0xFFFFFFFF, known.st_size & 0xFFFFFFFF)
