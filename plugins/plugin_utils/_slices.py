# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run that several playbooks do side by side, each on its part of the hosts. Private to this collection.

The slices go in step: at a barrier each waits until all have come. Pure functions, and what they need to know of time.
"""

from __future__ import annotations

import dataclasses
import re
import time
import typing as t

from ._history_process import SILENT_AFTER, Process, started
from ._outcome import End, some

LARGEST = 1000
Told = t.Mapping[str, t.Any]


@dataclasses.dataclass(frozen=True)
class Slice:
    """One of ``total`` slices, numbered from 1 on."""

    number: int
    total: int

    def __str__(self) -> str:
        return f"slice {self.number} of {self.total}"


def part_of(text: t.Any) -> Slice | None:
    """The slice that ``2/3`` means, None where nothing is said or there is but one.

    :raises ValueError: it is neither; with a sentence.
    """
    said = str(text or "").strip()
    if not said:
        return None
    found = re.fullmatch(r"(\d{1,4})/(\d{1,4})", said)
    number, total = map(int, found.groups()) if found else (0, 0)
    if not 1 <= number <= total <= LARGEST:
        raise ValueError(
            f"rollback_slice is '{said}', which is no slice. Say which of how many, {LARGEST} at most, such as 2/3."
        )
    return Slice(number, total) if total > 1 else None


def share(hosts: t.Sequence[str], database: t.Collection[str], which: Slice, limit: t.Any = None) -> list[str]:
    """The hosts of a slice, in their order. Those that work on a database are all in the first: it is done on one node.

    :arg limit: of the playbook, which slices cannot have.
    :raises ValueError: a slice would have none; with the reason.
    """
    if limit:
        raise ValueError("slices share all hosts of the plan, so run them without --limit.")
    first = [host for host in hosts if host in database]
    others = [host for host in hosts if host not in database]
    if first and len(others) < which.total - 1:
        rest = f"slices 2 to {which.total}" if which.total > 2 else "slice 2"
        left = f"{some(others)} {'is' if len(others) == 1 else 'are'}" if others else "no host is"
        raise ValueError(
            f"{some(first)} may work on a database, which slice 1 does alone, so {left} left for {rest}. Where hosts "
            f"share a database give the phase alembic_downgrade one of them, such as `hosts: {first[0]}`, or start "
            "fewer slices."
        )
    if len(hosts) < which.total:
        raise ValueError(f"{which.total} slices are more than its {len(hosts)} hosts. Start fewer.")
    # where the first slice has hosts already, the deal begins with the second
    begin = which.number - (2 if first else 1)
    mine = {*(first if which.number == 1 else ()), *others[begin % which.total :: which.total]}
    return [host for host in hosts if host in mine]


@dataclasses.dataclass(frozen=True)
class Part:
    """A slice as the history has it. ``end``: how it ended, None until then."""

    number: int
    total: int
    hosts: tuple[str, ...]
    executed_from: str
    process: Process
    heartbeat: str
    end: t.Mapping[str, t.Any] | None = None

    @property
    def lost(self) -> bool:
        """Whether the others have given it up."""
        return self.end is not None and "lost" in self.end

    @property
    def words(self) -> str:
        return f"slice {self.number} of {self.total} ({some(self.hosts)}; {self.executed_from})"


class Watch:
    """Tells which slices will not come any more.

    One has ended, or its process has, where that is on this machine. One elsewhere is given up when its heartbeat stood
    still for a minute *while it was watched*: neither clocks that differ nor a history that was away count.
    """

    def __init__(self, here: Process, clock: t.Callable[[], float] = time.monotonic) -> None:
        self._here = here
        self._clock = clock
        self._seen: dict[int, tuple[str, float]] = {}

    def blind(self) -> None:
        """The history cannot be read just now, nor can a slice have written to it."""
        self._seen.clear()

    def gone(self, parts: t.Iterable[Part]) -> set[int]:
        return {part.number for part in parts if self._gone(part)}

    def _gone(self, part: Part) -> bool:
        if part.end is not None:
            return True
        process = part.process
        if (process.controller, process.machine) == (self._here.controller, self._here.machine):
            return not process.pid_started or started(process.pid) != process.pid_started
        beat, since = self._seen.get(part.number, ("", 0.0))
        if beat != part.heartbeat:
            self._seen[part.number] = (part.heartbeat, self._clock())
            return False
        return self._clock() - since >= SILENT_AFTER


def together(told: t.Iterable[Told]) -> dict[str, t.Any]:
    """What all slices told at a barrier, as one: lists one after the other, else the largest; true beats false."""
    whole: dict[str, t.Any] = {}
    for one in told:
        for name, value in one.items():
            known = whole.get(name)
            if isinstance(value, list):
                whole[name] = [*(known or []), *(item for item in value if item not in (known or []))]
            else:
                whole[name] = value if known is None else max(known, value)
    return whole


def end_of(end: End) -> dict[str, t.Any]:
    """How a slice ended, as the history keeps it."""
    return {
        "closed": dict(end.closed),
        "failed": sorted(end.failed),
        "finished": end.finished,
        "signal": end.signal,
        "problems": [list(problem) for problem in end.problems],
    }


def whole_end(parts: t.Sequence[Part]) -> End:
    """How a run ended whose slices have all ended; one of them that has not told how is lost."""
    lost = [part for part in parts if part.end is None or part.lost]
    ends = [part.end for part in parts if part.end is not None and not part.lost]
    words = "; ".join(part.words for part in lost)
    return End(
        hosts=frozenset(host for part in parts for host in part.hosts),
        closed={host: outcome for end in ends for host, outcome in end["closed"].items()},
        failed=frozenset(host for end in ends for host in end["failed"]),
        finished=not lost and all(end["finished"] for end in ends),
        signal=next((end["signal"] for end in ends if end["signal"]), ""),
        problems=tuple((host, message) for end in ends for host, message in end["problems"]),
        how=f"{words[:1].upper()}{words[1:]} ended without a word" if lost else "",
    )
