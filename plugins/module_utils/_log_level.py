# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a line of a log is worse than a warning. Private to this collection.

Many formats are in use, and none of them needs to be named: the first word for a level that a line has is its level,
so that ``INFO the page /errors ERROR was shown`` is information.
"""

from __future__ import annotations

import json
import re
import typing as t

_WORSE = "emerg|emergency|panic|alert|crit|critical|fatal|severe|err|error"
_OTHER = "warn|warning|notice|info|information|informational|debug|trace|log|verbose|fine|finer|finest|config"

# A level in capitals as a word of its own. In any case in [brackets], also as nginx and Apache have them
# ([core:error]), after level= or severity=, or before a colon at the beginning of the line.
_LEVEL = re.compile(
    rf"(?<![\w/.=-])(?P<capital>{_WORSE.upper()}|{_OTHER.upper()})(?![\w/=-])"
    rf"|(?i:\[(?:[\w.-]*:)?(?P<bracket>{_WORSE}|{_OTHER})\]"
    rf"|(?<![\w?&])(?:level|lvl|severity|loglevel|levelname)=\"?(?P<named>{_WORSE}|{_OTHER})\b"
    rf"|^(?P<first>{_WORSE}|{_OTHER})\s?:)"
)
_IS_WORSE = re.compile(_WORSE, re.IGNORECASE)
# What has no level and is none the less the end of something.
_CRASH = re.compile(
    r"Traceback \(most recent call last\):|(?:goroutine|panic:|fatal error:) |thread '[^']*' panicked at|"
    r"Exception in thread |Uncaught |Unhandled(?:PromiseRejection| rejection)|Segmentation fault"
)
# glog and klog: E1125 02:00:00.123456
_GLOG = re.compile(r"([IWEF])\d{4} \d\d:\d\d:\d\d")
# <PRIORITY> of syslog and of sd-daemon(3)
_SYSLOG = re.compile(r"<(\d{1,3})>")

_KEYS = ("level", "levelname", "severity", "lvl", "loglevel", "log_level", "log.level", "level_name", "@level")


def is_worse(line: str) -> bool:
    """Whether a line is an error or worse."""
    line = line.strip()
    if line.startswith("{"):
        worse = _of_json(line)
        if worse is not None:
            return worse
    syslog = _SYSLOG.match(line)
    if syslog:
        return int(syslog.group(1)) % 8 <= 3
    glog = _GLOG.match(line)
    if glog:
        return glog.group(1) in "EF"
    if _CRASH.match(line):
        return True
    level = _LEVEL.search(line)
    return bool(level) and _is_word(level.group(level.lastgroup or 0)) if level else False


def _is_word(level: str) -> bool:
    return _IS_WORSE.fullmatch(level) is not None


def _of_json(line: str) -> bool | None:
    """Whether a JSON line is worse; None where it has no level."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict):
        return None
    level: t.Any = next((entry[key] for key in _KEYS if key in entry), None)
    if level is None and isinstance(entry.get("log"), dict):  # ECS
        level = entry["log"].get("level")
    if isinstance(level, (int, float)):  # bunyan and pino: 50 is error
        return level >= 50
    return _is_word(level.strip()) if isinstance(level, str) else None
