# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which phase a run has come to. Private to this collection.

The observer notes it in the process of ansible-playbook when a phase's first task starts. Every task is a fork of that,
so the filters find it here. A task that notes it would be one more on each host while the services are down. Where no
observer watches, in a copy of our playbook without its callback plugin say, any phase may have started.
"""

from __future__ import annotations

import typing as t


class Reached(t.NamedTuple):
    """The phase whose ``main`` started last: its number, the first host of its batch (None: of whichever), and when, in
    seconds since the epoch."""

    number: int
    first: str | None
    began: float


UNWATCHED = Reached(1_000_000, None, 0.0)  # more phases than a plan has
_last: list[Reached] = [UNWATCHED]


def begin(number: int, first: str | None, now: float) -> None:
    """Note that a task of a phase's ``main`` starts; of the phase's further tasks nothing is noted."""
    reached = Reached(number, first, now)
    if not _last or _last[0][:2] != reached[:2]:
        _last[:] = [reached]


def forget() -> None:
    """A play begins, and is watched."""
    _last.clear()


def reached_on(hosts: t.Container[str]) -> int:
    """The number of the phase that started last on these hosts, the ones of a batch; 0 where none has."""
    return _last[0].number if _last and (_last[0].first is None or _last[0].first in hosts) else 0


def phase_began(number: int, now: float) -> float:
    """When the main of the phase began; ``now`` where that is not known."""
    return _last[0].began if _last and _last[0].number == number else now
