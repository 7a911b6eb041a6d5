# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which migration builds on which, and what lies between two places. Private; runs in the app's own interpreter.

A place is a list of revisions, as a version table holds it: none is Alembic's ``base``, several are the heads of
branches. What counts is everything that such revisions build on, by ``down_revision`` or by ``depends_on``.
"""

from __future__ import annotations

import ast
import os
import re
import typing as t

from ._alembic_sqlite import DriverError

_COUNTED = re.compile(r"(?:(?P<label>.+)@|(?P<revision>\w+))?-(?P<steps>\d+)|(?P<branch>.+)@base")
Place = t.List[str]


def relative(word: str) -> bool:
    """Whether a target is told by the way to it, from where the database stands: ``-1``, ``shop@-2``, ``shop@base``."""
    match = _COUNTED.fullmatch(word)
    return bool(match and not match.group("revision"))


class Graph:
    """The migrations of an Alembic project."""

    def __init__(self, scripts: t.Any) -> None:
        self.scripts = scripts
        self._downs: dict[str, tuple[str, ...]] = {}

    def find(self, word: str) -> t.Any:
        """The migration that ``word`` names; None where there is none, or more than one."""
        try:
            return self.scripts.get_revision(word)
        except Exception:  # every version of Alembic has its own
            return None

    def known(self, place: t.Sequence[str]) -> bool:
        """Whether the files of all these revisions are here."""
        return all(self.find(revision) for revision in place)

    def downs(self, revision: str) -> tuple[str, ...]:
        """What a revision builds on: full revisions."""
        if revision not in self._downs:
            self._downs[revision] = tuple(self.scripts.get_revision(revision)._all_down_revisions)
        return self._downs[revision]

    def applied(self, place: t.Sequence[str]) -> set[str]:
        """All revisions that a database at ``place`` has behind it."""
        found: set[str] = set()
        ahead = [self.scripts.get_revision(revision).revision for revision in place]
        while ahead:
            revision = ahead.pop()
            if revision not in found:
                found.add(revision)
                ahead += self.downs(revision)
        return found

    def building_on(self, some: t.Iterable[str], applied: set[str]) -> set[str]:
        """Those of ``applied`` that build on any of ``some``, which are among them."""
        above: dict[str, list[str]] = {}
        for revision in applied:
            for down in self.downs(revision):
                above.setdefault(down, []).append(revision)
        found: set[str] = set()
        ahead = list(some)
        while ahead:
            revision = ahead.pop()
            if revision not in found:
                found.add(revision)
                ahead += above.get(revision, [])
        return found

    def tops(self, applied: set[str]) -> Place:
        """The place where a database stands that has these revisions behind it."""
        return sorted(applied.difference(*(self.downs(revision) for revision in applied)))

    def same(self, one: t.Sequence[str], other: t.Sequence[str]) -> bool:
        """Whether two places are the same, also where one of them names what another of its revisions builds on."""
        if sorted(one) == sorted(other):
            return True
        return self.known(one) and self.known(other) and self.applied(one) == self.applied(other)

    def between(self, newer: t.Sequence[str], older: t.Sequence[str]) -> Place | None:
        """The revisions that ``newer`` has and ``older`` has not, in the order in which they can be undone.

        None where ``older`` has revisions that ``newer`` has not, or where a file is missing.
        """
        if not (self.known(newer) and self.known(older)):
            return None
        applied, left = self.applied(newer), self.applied(older)
        if not left <= applied:
            return None
        waiting = dict.fromkeys(applied - left, 0)
        for revision in applied - left:
            for down in self.downs(revision):
                if down in waiting:
                    waiting[down] += 1
        undone = []
        free = sorted((revision for revision, above in waiting.items() if not above), reverse=True)
        while free:  # the last one first: one branch is undone before the next
            undone.append(free.pop())
            for down in sorted(self.downs(undone[-1]), reverse=True):
                if down in waiting:
                    waiting[down] -= 1
                    free += [down] * (not waiting[down])
        return undone

    def beside(self, newer: t.Sequence[str], older: t.Sequence[str]) -> Place:
        """What a way from ``newer`` to ``older`` undoes, and ``alembic downgrade`` to ``older`` would leave.

        That is what does not build on ``older``, while something does that builds on it as well.
        """
        applied, left = self.applied(newer), self.applied(older)
        above = self.building_on(older, applied)
        return self.tops(self.applied(sorted(above - left)) - left - above)

    def resolve(self, words: t.Sequence[str], start: t.Sequence[str] = ()) -> Place | None:
        """The place that ``words`` name; None where that cannot be told.

        :arg start: where words that only tell the way (see ``relative``) begin.
        """
        ways = [word for word in words if relative(word)]
        if ways and (len(ways) < len(words) or not self.known(start)):
            return None
        if ways:
            applied = self.applied(start)
            for word in ways:
                gone = self._gone(word, applied)
                if gone is None:
                    return None
                applied -= self.building_on(gone, applied)
            return self.tops(applied)
        place: set[str] = set()
        for word in words:
            match = _COUNTED.fullmatch(word)
            found = self._down(match.group("revision"), int(match.group("steps"))) if match else self._named(word)
            if found is None:
                return None
            place.update(found[-1])
        return sorted(place)

    def _named(self, word: str) -> list[Place] | None:
        script = self.find(word)
        return [[]] if word == "base" else [[script.revision]] if script else None

    def _down(self, word: str, steps: int) -> list[Place] | None:
        """The places on the way from a revision ``steps`` down, itself first: to a merge, not past one."""
        way = self._named(word)
        for _step in range(steps if way else 0):
            if way is None or len(way[-1]) != 1:
                return None
            way.append(list(self.find(way[-1][0])._versioned_down_revisions))
        return way

    def _gone(self, word: str, applied: set[str]) -> set[str] | None:
        """The revisions that a way like ``shop@-2`` leads over."""
        match = t.cast("t.Match[str]", _COUNTED.fullmatch(word))
        label = match.group("label") or match.group("branch")
        branch = {revision for revision in applied if label and label in self.find(revision).branch_labels}
        if match.group("branch"):
            return branch or None
        below = {down for revision in branch for down in self.find(revision)._versioned_down_revisions}
        heads = sorted(branch - below) if label else self.tops(applied)
        way = self._down(heads[0], int(match.group("steps"))) if len(heads) == 1 else None
        return None if way is None else {revision for place in way[:-1] for revision in place}

    def refuse_irreversible(self, undone: t.Sequence[str]) -> None:
        """Look for migrations that say themselves that they cannot be undone.

        :raises DriverError: one of them has no ``downgrade``, or one that begins with ``raise``.
        """
        for revision in undone:
            script = self.find(revision)
            path = os.path.relpath(script.path)
            if not callable(getattr(script.module, "downgrade", None)):
                raise DriverError(
                    f"The migration {revision} ({path}) has no downgrade(), so it cannot be undone. "
                    "Write one, or take a revision above it as alembic_downgrade_to."
                )
            line = raises_first(script.path)
            if line:
                raise DriverError(
                    f"The downgrade() of the migration {revision} begins with raise ({path}, line {line}): it cannot "
                    "be undone. Write what undoes it, or take a revision above it as alembic_downgrade_to."
                )


def raises_first(path: str) -> int | None:
    """The line of the ``raise`` that ``downgrade()`` in a migration file begins with; None where it does not."""
    if not path.endswith(".py") or not os.path.exists(path):
        return None
    with open(path, "rb") as stream:
        module = ast.parse(stream.read())
    for item in module.body:
        if isinstance(item, ast.FunctionDef) and item.name == "downgrade":
            body = item.body[1:] if ast.get_docstring(item) is not None else item.body
            return body[0].lineno if body and isinstance(body[0], ast.Raise) else None
    return None
