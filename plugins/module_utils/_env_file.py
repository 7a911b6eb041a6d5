# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Environment files: ``KEY=value`` lines, as systemd's ``EnvironmentFile=`` and dotenv have them. Private.

The syntax is that of systemd.exec(5), with dotenv's ``export`` before a key. A file is read whole before anything is
done with it: a line that is neither an assignment, a comment nor empty is a fault.
"""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

from ._command import PhaseError

_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=(.*)", re.DOTALL)
_QUOTED = re.compile(r"'([^']*)'|\"((?:[^\"\\]|\\.)*)\"", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


class Assignment(t.NamedTuple):
    """``key=value`` in lines ``first`` to ``last`` of a file, counted from 0, ``last`` included."""

    key: str
    value: str
    first: int
    last: int


def assignments(text: str, where: str) -> list[Assignment]:
    """All assignments of a file, in its order; of two with the same key the later one counts.

    :arg where: the file's name, for messages. A message never holds a value.
    :raises PhaseError: a line cannot be read.
    """
    lines = text.splitlines()
    found = []
    number = 0
    while number < len(lines):
        first, line = number, lines[number]
        number += 1
        if not line.strip() or line.lstrip()[0] in "#;":
            continue
        match = _ASSIGNMENT.match(line)
        if not match:
            raise PhaseError(f"{where}:{first + 1}: this line is neither KEY=value nor a comment (#). Correct it.")
        key, raw = match.groups()
        while not _is_whole(raw):
            if number == len(lines):
                raise PhaseError(f"{where}:{first + 1}: the quotes that begin here do not end. Correct it.")
            raw += "\n" + lines[number]
            number += 1
        found.append(Assignment(key, _value(raw), first, number - 1))
    return found


def read_environment(paths: t.Iterable[str]) -> dict[str, str]:
    """The variables of several files; a later file wins.

    :raises PhaseError: a file cannot be read.
    """
    found: dict[str, str] = {}
    for path in paths:
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as exc:
            said = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
            raise PhaseError(
                f"The environment file {path} cannot be read: {said}. Correct it in rollback_environment_files."
            ) from exc
        found.update((one.key, one.value) for one in assignments(text, path))
    return found


def _is_whole(raw: str) -> bool:
    """Whether a value ends where its line ends: no open quote, no backslash as the last character."""
    text = raw.lstrip()
    if text[:1] in ("'", '"'):
        return bool(_QUOTED.match(text))
    return not re.search(r"(?<!\\)(?:\\\\)*\\\Z", raw)


def _value(raw: str) -> str:
    text = raw.strip()
    match = _QUOTED.match(text)
    if match and not text[match.end() :].strip():
        single, double = match.groups()
        if single is not None:
            return single
        return _ESCAPED.sub(
            lambda m: "" if m.group(1) == "\n" else m.group(1) if m.group(1) in '"\\`$' else m.group(0), double
        )
    return _ESCAPED.sub(lambda m: "" if m.group(1) == "\n" else m.group(1), text)
