# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take secrets out of text. Private to this collection; shared by hosts and controller."""

from __future__ import annotations

import re

MASK = "********"

# scheme://user:password@host. The look-behinds keep the time linear on long words.
_URL_PASSWORD = re.compile(
    r"(?<![A-Za-z0-9+.\-])(?P<head>[A-Za-z][A-Za-z0-9+.\-]*://[^\s:/@]*:)(?P<secret>[^\s@]+)(?=@)"
)
# PASSWORD=x, api_key: "x", "token": "x"; the name may have more around the telling word.
_NAMED_SECRET = re.compile(
    r"(?<![\w.\-])(?P<head>[\w.\-]*"
    r"(?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|private[_-]?key|credential)[\w.\-]*"
    r"[\"']?\s*[=:]\s*)(?P<secret>\"[^\"]*\"|'[^']*'|[^\s,;}\]]+)",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """Return ``text`` with passwords in URLs and the values of secret-looking names masked."""
    text = _URL_PASSWORD.sub(lambda m: m.group("head") + MASK, text)
    return _NAMED_SECRET.sub(lambda m: m.group("head") + MASK, text)
