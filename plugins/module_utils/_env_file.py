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
_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]*")


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


def edited(text: str, where: str, wanted: t.Mapping[str, str | None]) -> str:
    """``text`` with the keys of ``wanted`` changed, each to its value, or removed where that is None.

    Every other line stays as it is, and so does the line of a key that has its value already. A key that is not there
    is added at the end.

    :raises PhaseError: a line of the text cannot be read.
    """
    lines: list[str | None] = list(text.splitlines(keepends=True))
    end = "\r\n" if "\r\n" in text else "\n"
    there = assignments(text, where)
    found = {one.key: one for one in there}  # of two the later one counts
    for one in there:
        counts = one is found[one.key]
        if one.key not in wanted or (counts and one.value == wanted[one.key]):
            continue
        head = (lines[one.first] or "").partition("=")[0]
        lines[one.first : one.last + 1] = [None] * (one.last + 1 - one.first)
        value = wanted[one.key]
        if counts and value is not None:
            lines[one.first] = f"{head}={quoted(value)}{end}"
    body = "".join(line for line in lines if line is not None)
    for key, value in wanted.items():
        if key not in found and value is not None:
            body += ("" if not body or body.endswith("\n") else end) + f"{key}={quoted(value)}{end}"
    return body


def quoted(value: str) -> str:
    """A value as systemd, shells and dotenv read it back."""
    if _PLAIN.fullmatch(value):
        return value
    if "'" not in value and "\\" not in value:
        return f"'{value}'"
    return '"{}"'.format(re.sub(r'(["\\`$])', r"\\\1", value))
