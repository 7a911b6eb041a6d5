# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines of a shell as whole commands. Pure functions. Private to this collection."""

from __future__ import annotations

import dataclasses
import re
import typing as t

_OPENS = re.compile(r"(if|for|while|until|case|select)\s|(function\s+\w|[\w-]+\s*\(\)).*\{?$|\{\s*$|\($")
_CLOSES = re.compile(r"(fi|done|esac)\b.*|[})].*")
_HEREDOC = re.compile(r"(?<!<)<<-?\s*['\"]?(\w+)['\"]?")


@dataclasses.dataclass(frozen=True)
class Chunk:
    """A whole command with the lines that it stands in."""

    lines: tuple[int, ...]
    text: str

    @property
    def line(self) -> int:
        return self.lines[0]


def chunks(lines: t.Iterable[tuple[int, str]]) -> list[Chunk]:
    """Put lines of a shell together that are one command: continued ones, here documents, loops, conditions."""
    found: list[Chunk] = []
    numbers: list[int] = []
    texts: list[str] = []
    depth, ending = 0, ""
    for number, raw in lines:
        text = raw.strip()
        if not texts:
            text = re.sub(r"^\$\s+", "", text)
        numbers.append(number)
        texts.append(raw.rstrip() if texts else text)
        if ending:
            ending = "" if text == ending else ending
        else:
            heredoc = _HEREDOC.search(text)
            ending = heredoc[1] if heredoc else ""
            depth += bool(_OPENS.match(text)) and not re.search(r";\s*(fi|done|esac)\b|\}\s*$", text)
            depth -= bool(_CLOSES.match(text)) and depth > 0
        if ending or depth or (text.endswith("\\") and not text.endswith("\\\\")):
            continue
        found.append(Chunk(tuple(numbers), "\n".join(texts)))
        numbers, texts = [], []
    if texts:
        found.append(Chunk(tuple(numbers), "\n".join(texts)))
    return found


def split(text: str) -> list[str]:
    """The commands of a line that is joined with && or ;."""
    parts, quote, start = [], "", 0
    for position, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter == ";" or (text[position : position + 2] == "&&"):
            parts.append(text[start:position])
            start = position + (1 if letter == ";" else 2)
    return [part.strip() for part in [*parts, text[start:]] if part.strip()]
