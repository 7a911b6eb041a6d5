# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of changes that lie on top of each other, and what to type then. Pure functions. Private."""

from __future__ import annotations

import typing as t

from ..module_utils._words import listed
from ._stack import Overlap, Stack, Values

SHOWN = 5  # names in one sentence
ROLLBACK = "ansible-playbook rollback.yml -e change="


def refusal(stack: Stack, places: t.Sequence[Values], change: str, under: t.Collection[str] = ()) -> str:
    """Why a change cannot be rolled back as things lie, and the order to take; empty where nothing lies on top of it.

    :arg under: changes that are to stay on top of it, where only files are in the way.
    """
    by_change = {place["change"]: place for place in places}
    order, tangle = stack.order(change, without=under)
    if len(order) == 1 and not tangle:
        return ""
    first = stack.above(change, under)
    said = [_lies(stack, by_change, change, upper) for upper in first]
    for lower in reversed(order[:-1]):
        said += [_lies(stack, by_change, lower, one) for one in stack.above(lower, under) if one not in first]
    more = [f"{len(said) - SHOWN} more are on top of these."] if len(said) > SHOWN else []
    stuck = [by_change[one]["never"] for one in order if by_change[one]["never"]]
    parts = [*said[:SHOWN], *more, *stuck]
    if tangle:
        parts.append(
            f"{listed(tangle)} lie on top of each other, so none of them can go first. Roll them back as one, with a "
            "plan that has the commits of all of them in git_revert_commits."
        )
    elif not stuck:
        parts.append(f"Roll back {order[0]} first: {ROLLBACK}{order[0]}, then {', then '.join(order[1:])}.")
    if not any(stack.overlaps[change][upper].revisions for upper in first):
        them = "them" if len(first) > 1 else "it"
        parts.append(
            f"To leave {them} on top, where {listed(first)} can do without {change}: -e run_under={','.join(first)}"
        )
    return " ".join(parts)


def doubts(stack: Stack, places: t.Sequence[Values], change: str, under: t.Collection[str] = ()) -> list[str]:
    """What cannot be told, a sentence for each plan."""
    by_change = {place["change"]: place for place in places}
    return [
        f"{_named(by_change[upper])} may have come after {change}: it {_what(stack.overlaps[change][upper], change)}. "
        f"Whether it is there cannot be told. If it is, roll it back first: {ROLLBACK}{upper}"
        for upper in stack.unsure(change)
        if upper not in under
    ]


def unread(plans: t.Sequence[Values], change: str) -> str:
    """That some plans have faults, so that it is not known where their changes lie; empty where none has."""
    broken = [plan for plan in plans if not plan["place"] and plan["change"] != change]
    if not broken:
        return ""
    return (
        f"Whether {_some([plan['change'] for plan in broken])} came after {change} is not known, because the plan has "
        f"faults. {broken[0]['fault']}"
    )


def under(stack: Stack, change: str) -> str:
    """What a change lies under, for a table."""
    above = stack.above(change)
    return f"under {_some(above)}" if above else ""


def orders(stack: Stack, changes: t.Container[str]) -> list[str]:
    """The order to take for each heap that one of ``changes`` is in, as a sentence."""
    said = []
    for heap in stack.heaps():
        if any(change in changes for change in heap):
            order, tangle = stack.order(*heap)
            words = [f"The order to roll back in: {', then '.join(order)}."] if len(order) > 1 else []
            if tangle:
                words.append(f"{listed(tangle)} lie on top of each other: roll them back as one, with one plan.")
            said.append(" ".join(words))
    return said


def _lies(stack: Stack, places: t.Mapping[str, Values], lower: str, upper: str) -> str:
    return f"{_named(places[upper])} came after {lower} and {_what(stack.overlaps[lower][upper], lower)}."


def _what(overlap: Overlap, lower: str) -> str:
    words = []
    if overlap.files:
        words.append(f"touches the same files ({_some(sorted(overlap.files))})")
    if overlap.revisions:
        words.append(f"has a migration on top ({_some(sorted(overlap.revisions))})")
    if overlap.config:
        words.append(f"changed config that {lower} restores ({_some(sorted(overlap.config))})")
    return listed(words)


def _named(place: Values) -> str:
    return f"{place['change']} ({place['path']})"


def _some(names: t.Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
