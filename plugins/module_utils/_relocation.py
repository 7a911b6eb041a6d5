# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Move directories, and make a virtual environment name the place where it goes. Private to this collection.

A virtual environment has its path in the first line of its scripts, in ``activate``, and the app's in the ``.pth``,
finder, ``direct_url.json`` and ``RECORD`` of an editable install. Nothing else in it does: CPython corrects the paths
in compiled files by itself when it loads them (``_fix_co_filename`` in importlib).
"""

from __future__ import annotations

import errno
import os
import shutil
import typing as t
from pathlib import Path

from ._restore_point import sync_directory

_PLACES = (
    "pyvenv.cfg",
    "bin/*",
    "lib*/python*/site-packages/*.pth",
    "lib*/python*/site-packages/*.egg-link",
    "lib*/python*/site-packages/__editable__*",
    "lib*/python*/site-packages/*.dist-info/direct_url.json",
    "lib*/python*/site-packages/*.dist-info/RECORD",
)


def relocate(environment: Path, names: t.Mapping[str, str]) -> None:
    """Replace paths in the files of an environment; the first name that fits wins.

    A file is written anew, never changed in place: uv links files of its cache into environments.
    """
    for pattern in _PLACES:
        for path in sorted(environment.glob(pattern)):
            if path.is_symlink() or not path.is_file():
                continue
            old = path.read_bytes()
            new = old
            for before, after in names.items():
                new = new.replace(os.fsencode(before), os.fsencode(after))
            if new != old and b"\0" not in old:
                temporary = path.with_name(f".{path.name}.changeops")
                temporary.write_bytes(new)
                shutil.copymode(str(path), str(temporary))
                os.replace(str(temporary), str(path))


def move(source: Path, target: Path) -> None:
    """Move a directory; between file systems by a copy. Each of both names the whole of it or nothing."""
    try:
        os.rename(str(source), str(target))
    except OSError as exc:
        if exc.errno != errno.EXDEV:
            raise
        half = target.with_name(f".{target.name}.changeops")
        shutil.rmtree(str(half), ignore_errors=True)
        shutil.copytree(str(source), str(half), symlinks=True)
        os.rename(str(half), str(target))
        # half of a source must not be taken for the whole by what goes on after a crash
        gone = source.with_name(f".{source.name}.changeops")
        shutil.rmtree(str(gone), ignore_errors=True)
        os.rename(str(source), str(gone))
        shutil.rmtree(str(gone), ignore_errors=True)
    sync_directory(target.parent)
