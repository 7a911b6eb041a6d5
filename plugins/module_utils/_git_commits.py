# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which commits are meant by the hashes, tags and ranges that somebody gave. Private to this collection.

What a name means must not depend on the host, so only names that do not move count, and a shallow clone is asked only
for what it can tell like a whole one.
"""

from __future__ import annotations

import typing as t

from ._command import PhaseError
from ._git import Git

RANGE = ".."


class Selection(t.NamedTuple):
    """The commits to revert.

    ``commits``: full hashes, newest first. ``merges``: those of them that are merges. ``mainline``: which parent of a
    merge is kept, from 1. ``given``: the names as they were written.
    """

    commits: list[str]
    merges: frozenset[str]
    mainline: int
    given: list[str]

    def only(self, commits: list[str]) -> Selection:
        """The same with some of the commits."""
        return self._replace(commits=commits)

    def options(self, commit: str) -> list[str]:
        """What ``git revert`` wants to be told for ``commit``."""
        return ["--mainline", str(self.mainline)] if commit in self.merges else []


def named_commits(git: Git, name: str) -> list[str]:
    """The full hashes of the commits that a hash, a tag or a range ``a..b`` names; of a range, newest first.

    :raises PhaseError: an end is unknown or moves, the range is empty, or this clone cannot tell what is in it.
    """
    if RANGE not in name:
        return [git.resolve_fixed(name)]
    first, _dots, last = name.partition(RANGE)
    if not first or not last or last.startswith("."):
        raise PhaseError(
            f"'{name}' is not a range that means the same at all times. Write the commit before the first one to "
            "revert, two dots, and the last one, as hashes or tags: 51b7d9a..4f1c2e9"
        )
    start, end = git.resolve_fixed(first), git.resolve_fixed(last)
    lines = git.line("rev-list", "--topo-order", "--parents", end, f"^{start}").splitlines()
    parents = {commit: rest for commit, *rest in map(str.split, lines)}
    if not parents:
        turned = f" It is the wrong way round: write {last}{RANGE}{first}" if git.is_ancestor(end, start) else ""
        raise PhaseError(f"There is no commit in the range {name}.{turned or ' Correct it in the plan.'}")
    if git.boundary() and not _whole(parents, start, end):
        raise PhaseError(
            f"{git.repo} is a shallow clone, and what lies in the range {name} reaches beyond what it has. "
            f"Fetch the rest: {git.fetch_words()}"
        )
    return list(parents)


def _whole(parents: t.Mapping[str, t.Sequence[str]], start: str, end: str) -> bool:
    """Whether a range is one line from ``end`` back to ``start``: only then a shallow clone knows all that is in it."""
    here = end
    for _commit in parents:
        before = parents.get(here, ())
        if len(before) != 1:
            return False
        here = before[0]
    return here == start


def newest_first(git: Git, commits: list[str]) -> list[str]:
    """Sort commits so that each stands before those that it builds on."""
    if len(commits) < 2:
        return commits
    base = git.run("merge-base", "--octopus", *commits, check=False).out.strip()
    within = [f"^{base}^@"] if base else []
    known = frozenset(commits)
    lines = git.run("rev-list", "--topo-order", "--stdin", stdin="\n".join([*commits, *within, ""])).out
    return [commit for commit in lines.split() if commit in known]


def revertible(git: Git, names: list[str], head: str, mainline: int) -> Selection:
    """The commits to revert on top of ``head``.

    Reverting a merge takes back all that it had brought, so commits that it brought are not reverted once more.

    :arg mainline: which parent of a merge to keep, from 1; 0 refuses merges.
    :raises PhaseError: a commit is unknown, not in the history of ``head``, the first one, or a merge.
    """
    if not names:
        raise PhaseError("No commit was named. Give the commits to revert: git_revert_commits: [<hash>]")
    came_by: dict[str, str] = {}
    for name in names:
        found = named_commits(git, name)
        if not git.is_ancestor(found[0], head):
            shallow = f" (Or this shallow clone cannot tell: {git.fetch_words()})" if git.boundary() else ""
            raise PhaseError(
                f"Commit {name} is in {git.repo} but not in the history of what is checked out there ({head[:10]}), "
                "so there is nothing to revert. Check out the release that contains it, or correct git_revert_commits."
                + shallow
            )
        for commit in found:
            came_by.setdefault(commit, name)
    lines = git.run("rev-list", "--no-walk", "--parents", "--stdin", stdin="\n".join([*came_by, ""])).out
    parents = {commit: rest for commit, *rest in map(str.split, lines.splitlines())}
    for commit, name in came_by.items():
        _refuse_by_parents(git, commit, name, parents[commit], mainline)
    merges = frozenset(commit for commit in came_by if len(parents[commit]) > 1)
    brought: set[str] = set()
    for merge in merges:
        brought.update(git.line("rev-list", merge, f"^{merge}^{mainline}").split()[1:])
    left = [commit for commit in came_by if commit not in brought]
    return Selection(left if len(names) == 1 else newest_first(git, left), merges, mainline, names)


def _refuse_by_parents(git: Git, commit: str, name: str, parents: list[str], mainline: int) -> None:
    """Refuse a commit that cannot be told from what was before it."""
    shown = commit[:10] if RANGE not in name else f"{commit[:10]} of {name}"
    if not parents and commit in git.boundary():
        raise PhaseError(
            f"Commit {shown} is the oldest that the shallow clone {git.repo} has: what was before it is missing. "
            f"Fetch the rest: {git.fetch_words()}"
        )
    if not parents:
        raise PhaseError(
            f"Commit {shown} is the first one in {git.repo}: there was nothing before it to go back to. "
            "Correct git_revert_commits."
        )
    if len(parents) == 1 or 0 < mainline <= len(parents):
        return
    sides = "; ".join(f"{n}: {parent[:10]} {git.subject(parent)}" for n, parent in enumerate(parents, 1))
    if mainline:
        raise PhaseError(
            f"Commit {shown} has no parent {mainline} to keep. It merges {sides}. Correct git_revert_mainline."
        )
    raise PhaseError(
        f"Commit {shown} is a merge, of {sides}. To keep the first and take back all that the merge brought: "
        "git_revert_mainline: 1"
    )
