# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which changes lie on top of which, by what, and in which order they can be rolled back. Pure functions. Private.

A change lies on top of another one where it came later and its commits touch the same files, its migrations build on
the other's, or it changed config that the other's rollback restores. A change that is rolled back lies on nothing.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
import typing as t

from ..module_utils._stack import GONE, HERE, UNKNOWN, below
from ._plan import Plan

Values = t.Mapping[str, t.Any]
Found = t.Iterator[tuple[str, str, "Overlap"]]  # a change, one that lies on top of it, and by what

_SHORTEST = 4  # letters of a revision that is not written whole
_REVISION = re.compile(r"\w+")


@dataclasses.dataclass(frozen=True)
class Overlap:
    """What two changes have in common: names of files, revisions of the upper one, paths of config.

    ``sure``: the upper one is there and came later. Else it may be.
    """

    files: frozenset[str] = frozenset()
    revisions: frozenset[str] = frozenset()
    config: frozenset[str] = frozenset()
    sure: bool = True

    def __or__(self, other: Overlap) -> Overlap:
        if self.sure != other.sure:
            return self if self.sure else other
        return Overlap(
            self.files | other.files, self.revisions | other.revisions, self.config | other.config, self.sure
        )


@dataclasses.dataclass(frozen=True)
class Stack:
    """What lies on what, on all hosts together.

    ``overlaps``: for each change those on top of it. ``age``: what sorts changes from old to new.
    """

    overlaps: dict[str, dict[str, Overlap]]
    age: dict[str, tuple[t.Any, ...]]

    def above(self, change: str, without: t.Collection[str] = ()) -> list[str]:
        """The changes that lie on top of one, newest first; not those ``without`` whose migrations do not."""
        found = [
            upper
            for upper, overlap in self.overlaps.get(change, {}).items()
            if overlap.sure and (upper not in without or overlap.revisions)
        ]
        return self._newest_first(found)

    def unsure(self, change: str) -> list[str]:
        """The changes that may lie on top of one."""
        found = self.overlaps.get(change, {})
        return self._newest_first(upper for upper, overlap in found.items() if not overlap.sure)

    def order(self, *changes: str, without: t.Collection[str] = ()) -> tuple[list[str], list[str]]:
        """The order in which ``changes``, and all that lies on top of them, can be rolled back.

        The second list are those that lie on top of each other, so that none of them can go first; then the first list
        ends before them.
        """
        above, ahead = dict[str, list[str]](), list(changes)
        while ahead:
            one = ahead.pop()
            if one not in above:
                above[one] = self.above(one, without)
                ahead += above[one]
        waiting = {change: set(uppers) for change, uppers in above.items()}
        done: list[str] = []
        while waiting:
            free = self._newest_first(change for change, uppers in waiting.items() if not uppers)
            if not free:
                return done, self._newest_first(change for change in waiting if change in _reached(change, waiting))
            done.append(free[0])
            del waiting[free[0]]
            for uppers in waiting.values():
                uppers.discard(free[0])
        return done, []

    def heaps(self) -> list[list[str]]:
        """The changes that lie on top of each other in some way, heap by heap; none that lies alone."""
        beside: dict[str, set[str]] = {}
        for lower in self.overlaps:
            for upper in self.above(lower):
                beside.setdefault(lower, set()).add(upper)
                beside.setdefault(upper, set()).add(lower)
        found, left = [], self._newest_first(beside)[::-1]
        while left:
            heap = _reached(left[0], beside)
            found.append([change for change in left if change in heap])
            left = [change for change in left if change not in heap]
        return found

    def _newest_first(self, changes: t.Iterable[str]) -> list[str]:
        return sorted(changes, key=self.age.__getitem__, reverse=True)


def _reached(start: str, ways: t.Mapping[str, t.Iterable[str]]) -> set[str]:
    """All that ``ways`` lead to from ``start``, which counts where one leads back to it."""
    found, ahead = set[str](), [start]
    while ahead:
        more = [one for one in ways.get(ahead.pop(), ()) if one not in found]
        found.update(more)
        ahead += more
    return found


def place_of(plan: Plan, hosts: t.Sequence[str], shown: str) -> dict[str, t.Any]:
    """What of a plan tells where its change lies, as JSON values; ``look`` is for the module ``status``.

    :arg hosts: the names of those that the plan and its phases are for.
    :arg shown: the plan's path, as messages give it.
    """
    databases = [phase.vars for phase in plan.phases if phase.ours == "alembic_downgrade"]
    ends = {
        end: sorted({word for given in databases for word in _revisions(given.get(f"alembic_downgrade_{end}"))})
        for end in ("from", "to")
    }
    reason = f"{plan.change} cannot be rolled back: {plan.reason}" if not plan.possible else ""
    back = [str(phase.vars["git_revert_to"]) for phase in plan.phases if phase.vars.get("git_revert_to")]
    look = {"change": plan.change, "commits": plan.commits, "to": "".join(back[:1]), "config": _config(plan)}
    return {"change": plan.change, "path": shown, "date": plan.date, "hosts": list(hosts), **ends, "never": reason} | {
        "look": look
    }


def _revisions(given: t.Any) -> list[str]:
    """The whole revisions that are named; ``base``, ``head`` and ways such as ``-1`` are none."""
    words = given if isinstance(given, list) else str(given or "").split(",")
    found = [str(word).strip() for word in words]
    return [word for word in found if _REVISION.fullmatch(word) and word not in ("base", "head", "heads")]


def _config(plan: Plan) -> list[str] | None:
    """The paths that the plan restores as config; None where they are the app's own."""
    phases = [phase.vars for phase in plan.phases if phase.ours == "config_restore"]
    if any("config_restore_paths" not in given for given in phases):
        return None
    items = [
        item
        for given in phases
        if isinstance(given["config_restore_paths"], list)
        for item in given["config_restore_paths"]
    ]
    paths = [item.get("path") if isinstance(item, dict) else item for item in items]
    return [path for path in paths if isinstance(path, str) and path]


def stack_of(places: t.Sequence[Values], found: t.Mapping[str, Values]) -> Stack:
    """What lies on what.

    :arg places: as ``place_of`` gives them.
    :arg found: what the module ``status`` returned, by host; also of hosts that could not be read.
    """
    overlaps: dict[str, dict[str, Overlap]] = {}
    newest = {place["change"]: -1 for place in places}
    known: list[t.Any] = []
    for host, result in found.items():
        mine = [place for place in places if host in place["hosts"]]
        told, names = result.get("changes") or {}, {place["change"] for place in mine}
        changes = {name: told[name] for name in told if name in names}
        facts = (mine, changes, result.get("revisions") or {}, result.get("migrations") or {})
        if facts in known:  # most hosts are alike
            continue
        known.append(facts)
        for lower, upper, overlap in itertools.chain(_in_code(changes), _in_database(*facts), _outside(mine, changes)):
            on_top = overlaps.setdefault(lower, {})
            on_top[upper] = on_top[upper] | overlap if upper in on_top else overlap
        for change, stands in changes.items():
            newest[change] = max([newest.get(change, -1), *stands["commits"]])
    return Stack(
        overlaps, {place["change"]: (newest[place["change"]], place["date"], place["change"]) for place in places}
    )


def _in_code(changes: t.Mapping[str, Values]) -> Found:
    """Files that two changes touched, the upper one later; and files of the upper one that the other restores."""
    touching: dict[str, list[tuple[str, list[int]]]] = {}
    for change, stands in changes.items():
        for name, numbers in stands["files"].items():
            touching.setdefault(name, []).append((change, numbers))
    for name, several in touching.items():
        for (lower, first), (upper, last) in itertools.permutations(several, 2):
            if _later(last, first):
                yield lower, upper, Overlap(files=frozenset([name]))
    for lower, stands in changes.items():
        restored = {path for path in stands["config"] if not path.startswith("/")} if stands["commits"] else set()
        for name, several in touching.items():
            if restored and name not in stands["files"] and below(name, restored):
                for upper, numbers in several:
                    if _later(numbers, stands["commits"]):
                        yield lower, upper, Overlap(config=frozenset([name]))


def _in_database(
    places: t.Sequence[Values],
    changes: t.Mapping[str, Values],
    revisions: t.Mapping[str, t.Sequence[str]],
    migrations: t.Mapping[str, t.Sequence[str]],
) -> Found:
    """Migrations that build on those of another change, by the code, the plans, and where the databases stand."""
    rows = {row for rows in revisions.values() for row in rows if row != "base"}
    written = {word for place in places for word in (*place["from"], *place["to"])}
    whole = _whole(written.union(rows, migrations, *migrations.values()))
    downs = {revision: set(some) for revision, some in migrations.items()}
    for place in places:
        for word in place["from"]:
            downs.setdefault(whole[word], set()).update(whole[one] for one in place["to"])

    def behind(words: t.Iterable[str]) -> set[str]:
        """The revisions, and all that they build on."""
        return {whole[word] for word in words}.union(*(_reached(whole[word], downs) for word in words))

    stands, applied = {whole[row] for row in rows}, behind(rows)

    def state(place: Values) -> str:
        """Whether a change's migrations are in the database; where that cannot be told, whether its code is there."""
        if {whole[word] for word in place["from"]} <= applied:
            return HERE
        if behind(place["from"]) & stands:  # the database stands below them
            return GONE
        return str(changes[place["change"]]["state"]) if place["change"] in changes else UNKNOWN

    states = {place["change"]: state(place) for place in places if place["from"]}
    standing = [place for place in places if states.get(place["change"], GONE) != GONE]
    for upper in standing:
        change, under = upper["change"], behind(upper["to"])
        for lower in standing:
            if lower is not upper and under & {whole[word] for word in lower["from"]}:
                yield lower["change"], change, Overlap(revisions=frozenset(upper["from"]), sure=states[change] == HERE)


def _later(some: t.Sequence[int], others: t.Sequence[int]) -> bool:
    """Whether one of some commits came after one of others; one that two plans name came after none of them."""
    return max({*some}.difference(others), default=-1) > min(others)


def _whole(words: set[str]) -> dict[str, str]:
    """Each revision with the longest one that begins with it, for a plan may write less than all of it."""
    found: dict[str, str] = {}
    for word in sorted(words, reverse=True):  # a longer one comes first
        longer = next(reversed(found), "")
        found[word] = found[longer] if len(word) >= _SHORTEST and longer.startswith(word) else word
    return found


def _outside(places: t.Sequence[Values], changes: t.Mapping[str, Values]) -> Found:
    """Files outside the work tree that two plans restore. Where commits do not tell which came later, the dates may."""
    dated = {place["change"]: place["date"] for place in places}
    restoring: dict[str, list[str]] = {}
    for change, stands in changes.items():
        for path in stands["config"] if stands["state"] != GONE else []:
            if path.startswith("/"):
                restoring.setdefault(path, []).append(change)
    for path, several in restoring.items():
        for lower, upper in itertools.permutations(several, 2):
            first, last = (changes[change]["commits"] for change in (lower, upper))
            known = bool(first and last)
            later = _later(last, first) if known else dated[upper] >= dated[lower]
            if later:
                yield lower, upper, Overlap(config=frozenset([path]), sure=known)
