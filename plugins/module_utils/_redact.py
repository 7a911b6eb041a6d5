# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take secrets out of text. Private to this collection; shared by hosts and controller."""

from __future__ import annotations

import re
import typing as t

MASK = "********"

# scheme://user:password@host. The look-behinds keep the time linear on long words.
_URL_PASSWORD = re.compile(
    r"(?<![A-Za-z0-9+.\-])(?P<head>[A-Za-z][A-Za-z0-9+.\-]*://[^\s:/@]*:)(?P<secret>[^\s@]+)(?=@)"
)
# https://token@host, as hubs of git have it
_URL_TOKEN = re.compile(r"(?<![A-Za-z0-9+.\-])(?P<head>https?://)[^\s:/@]+(?=@)", re.IGNORECASE)
_TELLING = r"(?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|private[_-]?key|credential)"
# PASSWORD=x, api_key: "x", "token": "x"; the name may have more around the telling word.
_NAMED_SECRET = re.compile(
    r"(?<![\w.\-])(?P<head>[\w.\-]*" + _TELLING + r"[\w.\-]*[\"']?\s*[=:]\s*)"
    r"(?P<secret>\"(?:[^\"\\]|\\[\s\S])*\"|'[^']*'|[^\s,;}\]]+)",
    re.IGNORECASE,
)
_KEY_BLOCK = re.compile(
    r"(?P<head>-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----).*?(?=-----END [A-Z ]{0,30}PRIVATE KEY-----|\Z)", re.DOTALL
)
# In a config file the rest of a line belongs to the name that begins it: PASSWORD=two words, requirepass x.
_SECRET_LINE = re.compile(
    r"(?P<head>(?P<indent>\s*)(?![#;\s]|//).*?(?:" + _TELLING + r"|authorization|requirepass|[_-]key\b)"
    r"[\w.\-]*[\"']?(?:\s*[=:])?\s*)(?P<secret>\S.*)?",
    re.IGNORECASE,
)
_QUOTE = re.compile(r"\"\"\"|'''|\"|'")


def redact(text: str) -> str:
    """Return ``text`` with passwords in URLs, private keys and the values of secret-looking names masked."""
    text = _URL_PASSWORD.sub(lambda m: m.group("head") + MASK, text)
    text = _URL_TOKEN.sub(lambda m: m.group("head") + MASK, text)
    text = _KEY_BLOCK.sub(lambda m: m.group("head") + MASK, text)
    return _NAMED_SECRET.sub(lambda m: m.group("head") + MASK, text)


def redacted(value: t.Any, name: str = "") -> t.Any:
    """A JSON value without secrets; ``name`` is the key that it stands under."""
    if isinstance(value, t.Mapping):
        return {str(key): redacted(item, str(key)) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [redacted(item, name) for item in value]
    if value is None or isinstance(value, bool):
        return value
    if name and redact(f"{name}=x") != f"{name}=x":
        return MASK
    if isinstance(value, (int, float)):  # Ansible's own kinds of numbers become plain ones
        return int(value) if isinstance(value, int) else float(value)
    return redact(str(value))


def redact_config(text: str) -> str:
    """``redact`` for the text of a config file: all that may belong to a secret-looking name is masked.

    That is the rest of its line, the lines on which a quoted or continued value goes on, and the lines below that are
    indented deeper (of a YAML block, a JSON list).
    """
    shown: list[str] = []
    depth: int | None = None
    ends = ""  # what a masked value goes on until
    for line in text.splitlines(keepends=True):
        if ends:
            ends = ends if _goes_on(ends, line) else ""
            continue
        indent = len(line) - len(line.lstrip())
        if depth is not None and (indent > depth or not line.strip()):
            continue
        depth = None
        match = _SECRET_LINE.match(line)
        if match:
            depth = indent
            value = match.group("secret") or ""
            quote = _QUOTE.match(value)
            ends = quote.group() if quote else "\\"
            ends = ends if _goes_on(ends, value[len(ends) :] if quote else value) else ""
            line = match.group("head") + MASK + "\n"  # noqa: PLW2901
        shown.append(line)
    return redact("".join(shown))


def _goes_on(ends: str, text: str) -> bool:
    """Whether a value goes on after the line ``text``: its quote is still open, or a backslash ends it."""
    return text.rstrip().endswith(ends) if ends == "\\" else ends not in re.sub(r"\\.", "", text)
