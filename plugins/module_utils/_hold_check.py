# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a commit that is about to be shipped contains what is held. Private to this collection.

It does where a held commit is in its history and no revert of that commit is; a revert that was itself reverted does
not count. So the revert may be shipped, and what is built on it, and also one that somebody made elsewhere: git says in
the message what a revert takes back, and so does git_revert.
"""

from __future__ import annotations

import os
import typing as t

from ._command import PhaseError
from ._git import HASH, AsOwner, Git, git_of_owner
from ._git_rehearsal import is_reverted
from ._hold import Hold
from ._words import listed

SHORT = 7  # characters of a hash that is compared with the full one where there is no repository to ask
WITHOUT = "or compare only whole hashes: hold_repo: ''"


def refuse_held(holds: t.Sequence[Hold], commit: str, repo: str, commands: AsOwner) -> None:
    """Refuse to ship what is held.

    :arg commit: what is to be shipped: a hash, a tag or a branch; or the name of a release.
    :arg repo: a repository on this host that has it; empty where there is none, and only whole hashes are compared.
    :raises PhaseError: it is or contains what is held, or that cannot be told.
    """
    if not holds:
        return
    wrong = [(one, f"is {_short(name)}") for one in holds for name in _named(one) if _same(name, commit)]
    if not wrong and repo:
        wrong = _contained(holds, commit, git_of_owner(repo, commands))
    elif not wrong and not _is_hash(commit) and any(one["commits"] for one in holds):
        raise PhaseError(
            f"Something is held on this host, and without a repository it cannot be told which commit {commit} is. "
            "Give its full hash, or a repository that has it: hold_repo: /srv/shop"
        )
    if wrong:
        because = listed([f"it {how} of {told(one)}" for one, how in wrong])
        changes = ",".join(dict.fromkeys(one["change"] for one, _how in wrong))
        raise PhaseError(
            f"{commit} must not be shipped: {because}. Ship what does not have it, or has its revert; or, to ship it "
            f"all the same, lift the hold: -e release_hold={changes}",
            held=[one for one, _how in wrong],
        )


def told(one: Hold) -> str:
    """A hold for a sentence: the change, who rolled it back and when."""
    title = f" ({one['title']})" if one["title"] else ""
    return f"{one['change']}{title}, which {one['executed_by']} rolled back at {one['since']} (run {one['run']})"


def _named(one: Hold) -> list[str]:
    return [name for name in dict.fromkeys([*one["commits"], one["release"]]) if name]


def _is_hash(name: str) -> bool:
    return len(name) >= SHORT and bool(HASH.match(name.lower()))


def _short(name: str) -> str:
    return name[:10] if len(name) >= 40 and _is_hash(name) else name


def _same(name: str, given: str) -> bool:
    """Whether both name the same; either may be the beginning of the other's hash."""
    if not (_is_hash(name) and _is_hash(given)):
        return name == given
    name, given = name.lower(), given.lower()
    return name.startswith(given) or given.startswith(name)


def _contained(holds: t.Sequence[Hold], commit: str, git: Git) -> list[tuple[Hold, str]]:
    """The holds of what is in the history of ``commit``, each with words for it.

    :raises PhaseError: that cannot be told.
    """
    full = _resolve(git, commit)
    boundary = git.boundary()
    cut = bool(boundary) and not boundary.isdisjoint(git.line("rev-list", "--max-parents=0", full).split())
    found = [(one, _held_in(git, one, full, cut)) for one in holds]
    return [(one, f"contains {name[:10]}") for one, name in found if name]


def _resolve(git: Git, commit: str) -> str:
    """The full hash of what is to be shipped.

    :raises PhaseError: it is not in the repository.
    """
    if not git.repo.is_dir() or git.run("rev-parse", "--git-dir", check=False).rc:
        raise PhaseError(
            f"Something is held on this host, and {git.repo} is no git repository that could tell what {commit} "
            f"contains. Give one: hold_repo: /srv/shop/repo, {WITHOUT}"
        )
    full = _known(git, commit)
    if not full:
        raise PhaseError(
            f"Something is held on this host, and {git.repo} has no commit {commit}, so it cannot be told what that "
            f"contains. Bring it here before: {git.say('fetch')}, {WITHOUT}"
        )
    return full


def _known(git: Git, name: str) -> str:
    """The full hash of a commit; empty where the repository does not have it."""
    if name[:1] == "-":
        return ""
    return git.run("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", check=False).out.strip()


def _held_in(git: Git, one: Hold, commit: str, cut: bool) -> str:
    """The first held commit that ``commit`` contains; empty where there is none.

    :arg cut: the clone lacks a part of its history.
    :raises PhaseError: such a clone cannot tell.
    """
    # Deploy tools keep their clone below the folder of the app.
    mine = f"{os.path.realpath(str(git.repo))}/".startswith(f"{os.path.realpath(one['repo'])}/")
    for name in one["commits"]:
        full = _known(git, name)
        contained = bool(full) and git.is_ancestor(full, commit)
        if not contained and not (cut and (full or mine)):
            continue
        if full and is_reverted(git, full, commit):
            continue
        if contained:
            return full
        raise PhaseError(
            f"{git.repo} is a shallow clone, so it cannot be told whether {commit[:10]} contains {name[:10]} of "
            f"{told(one)}. Fetch the rest: {git.fetch_words()}"
        )
    return ""
