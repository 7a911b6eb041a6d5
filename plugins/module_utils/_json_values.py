# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values in a JSON document, by their path. Private to this collection."""

from __future__ import annotations

import json
import typing as t

from ._check_kind import some

SHOWN = 60  # characters of a value


def differences(wanted: t.Mapping[str, t.Any], document: t.Any, hide: t.Callable[[str], str]) -> list[str]:
    """``path: found, expected wanted`` for each path whose value is another one, or is not there.

    :arg hide: takes secrets out of a text, before it is cut.
    """
    found = []
    for path, value in wanted.items():
        try:
            there = _at(document, path.split("."), [], hide)
        except LookupError as exc:
            found.append(f"{path} is not there, {exc}")
            continue
        if not same(there, value):
            found.append(f"{path}: {_shown(there, hide)}, expected {_shown(value, hide)}")
    return found


def _at(value: t.Any, path: list[str], gone: list[str], hide: t.Callable[[str], str]) -> t.Any:
    """The value at ``path``: keys of objects and, counted from 0, the places in lists.

    :raises LookupError: there is none; the message says what is there instead.
    """
    if not path:
        return value
    if isinstance(value, dict):
        for count in range(len(path), 0, -1):  # the longest key that is there: a key may hold dots
            key = ".".join(path[:count])
            if key in value:
                return _at(value[key], path[count:], [*gone, key], hide)
    elif isinstance(value, list) and path[0].isdecimal() and int(path[0]) < len(value):
        return _at(value[int(path[0])], path[1:], [*gone, path[0]], hide)
    where = ".".join(gone) or "the answer"
    if isinstance(value, dict):
        raise LookupError(f"{where} has {hide(some(sorted(value), 5)) if value else 'nothing'}")
    if isinstance(value, list):
        raise LookupError(f"{where} is a list of {len(value)}")
    raise LookupError(f"{where} is {_shown(value, hide)}")


def same(one: t.Any, other: t.Any) -> bool:
    """Whether two JSON values are equal: 1 is 1.0, and neither is true or "1"."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _shown(value: t.Any, hide: t.Callable[[str], str]) -> str:
    text = hide(json.dumps(value, ensure_ascii=False))
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."
