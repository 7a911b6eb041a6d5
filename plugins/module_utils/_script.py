# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A script of the user's: what runs it, and whether it can be run. Private to this collection."""

from __future__ import annotations

import base64
import os
import shlex
import shutil
import typing as t
from pathlib import Path

from ._command import Commands, PhaseError
from ._redact import redact
from ._restore_point import RestorePoint, make_private, write_file

SHELLS = ("ash", "bash", "dash", "ksh", "sh", "zsh")
SHEBANG, HEAD = b"#!", 512


class Script(t.NamedTuple):
    """``given``: as the plan has it. ``runs``: what runs it and where it lies."""

    given: str
    runs: list[str]
    arguments: list[str]

    @property
    def argv(self) -> list[str]:
        return [*self.runs, *self.arguments]

    @property
    def shown(self) -> str:
        """Its command as the plan has it, without secrets."""
        return redact(" ".join(shlex.quote(word) for word in (self.given, *self.arguments)))


def interpreter(head: bytes, path: Path, search: str) -> list[str]:
    """What the first line of a script names: a program, and perhaps one argument, as the kernel reads it. Empty for a
    program that needs none.

    :arg head: the first bytes of the file.
    :arg search: PATH, for ``#!/usr/bin/env bash``.
    :raises PhaseError: it names nothing that can be run.
    """
    if not head.startswith(SHEBANG):
        if b"\0" in head:
            return []
        raise PhaseError(f"{path} does not say what runs it. Begin it with a line such as #!/bin/sh.")
    line = head.split(b"\n", 1)[0][len(SHEBANG) :]
    if line.endswith(b"\r"):
        raise PhaseError(f"The lines of {path} end as on Windows (CR LF). Make them end in LF: sed -i 's/\\r$//'.")
    words = line.decode("utf-8", "replace").strip().split(None, 1)
    if not words or not os.path.isfile(words[0]) or not os.access(words[0], os.X_OK):
        named = words[0] if words else "nothing"
        raise PhaseError(f"{path} is to be run by {named}, as its first line says, which is no program on this host.")
    called = words[1].split()[0] if len(words) > 1 else ""
    if os.path.basename(words[0]) == "env" and not called.startswith("-") and not shutil.which(called, path=search):
        raise PhaseError(f"{path} is to be run by '{called}', as its first line says, which is not on PATH ({search}).")
    return words


def prove(path: Path, given: str, arguments: t.Sequence[str], commands: Commands) -> Script:
    """See that the script at ``path`` can be run; a shell's is read through by that shell.

    :arg given: as the plan has it.
    :raises PhaseError: it is not there, nothing runs it, or its shell finds a fault in it.
    """
    if not path.is_file():
        raise PhaseError(
            f"There is no script {path} on this host. Correct its path; or write it without the first '/', and it is "
            "taken from your ops repository."
        )
    with path.open("rb") as stream:
        runs = interpreter(stream.read(HEAD), path, commands.environ.get("PATH", os.defpath))
    if not runs and not os.access(str(path), os.X_OK):
        raise PhaseError(f"{path} is a program that may not be run: chmod +x {path}")
    if {os.path.basename(word) for word in runs} & set(SHELLS):
        read = commands.run([*runs, "-n", str(path)], check=False)
        if read.rc != 0:
            raise PhaseError(f"{given} is no script that {runs[-1]} understands: {read.said}")
    return Script(given, [*runs, str(path)], list(arguments))


def kept(point: RestorePoint, name: str, content: str | None, given: str) -> Path:
    """Where a script lies: one from the ops repository is kept in the restore point, one of the host is left there.

    :arg content: of a script from the ops repository, in base64.
    """
    path = Path(os.path.expanduser(given))
    if path.is_absolute():
        return path
    here = point.part / "scripts" / name / path.name
    if content:
        point.make()
        make_private(here.parent.parent)
        make_private(here.parent)
        write_file(here, base64.b64decode(content), 0o700)
    return here
