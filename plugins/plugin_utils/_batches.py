# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a plan's `serial` splits hosts into batches. Pure functions. Private to this collection."""

from __future__ import annotations

import re
import typing as t

_PERCENT = re.compile(r"([1-9]\d?|100)%")
_NUMBER = re.compile(r"[1-9]\d{0,5}")


def batch_size(text: str) -> int | str | None:
    """Give the size of a batch: a number of hosts, or a percentage such as "25%"; None when it is neither."""
    if _NUMBER.fullmatch(text):
        return int(text)
    return text if _PERCENT.fullmatch(text) else None


def split(hosts: t.Sequence[str], serial: t.Sequence[int | str]) -> list[list[str]]:
    """Split hosts into batches, in their order; all of them are one batch where ``serial`` is empty.

    The rules are those of Ansible's own ``serial``: a percentage is of all hosts, rounded down, and one host at least;
    the last size holds until no host is left.
    """
    left, sizes = list(hosts), list(serial) or ["100%"]
    batches = []
    while left:
        size = sizes.pop(0) if len(sizes) > 1 else sizes[0]
        number = size if isinstance(size, int) else len(hosts) * int(size.rstrip("%")) // 100 or 1
        batches.append(left[:number])
        left = left[number:]
    return batches
