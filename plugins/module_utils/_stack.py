# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where changes lie in the history of a work tree, and what each of them touched there. Private to this collection.

It only reads, with as many calls of git for a hundred changes as for two. What lies on what, the controller works out
of this (``plugin_utils/_stack.py``).
"""

from __future__ import annotations

import bisect
import os
import re
import typing as t

from ._git import HASH, STEPS, Git, printable
from ._git_commits import RANGE

HERE, GONE, UNKNOWN = "here", "gone", "unknown"
MIGRATION = ("revision", "down_revision", "depends_on")  # what a file of Alembic's says of itself, at the top level
QUOTED = re.compile(r"""["']([^"']+)["']""")
REVERTS = re.compile(r"^This reverts commit ([0-9a-f]{40,64})\b", re.MULTILINE)

Asked = t.Mapping[str, t.Any]
Numbers = t.List[int]


class History:
    """The commits behind HEAD, numbered: what builds on another one has the higher number."""

    def __init__(self, git: Git) -> None:
        self._git = git
        newest_first = [line.split() for line in git.line("rev-list", "--topo-order", "--parents", "HEAD").splitlines()]
        self.number = {commit: number for number, (commit, *_parents) in enumerate(reversed(newest_first))}
        self._merges = {commit for commit, *parents in newest_first if len(parents) > 1}
        self._sorted = sorted(self.number)
        tags = git.line("for-each-ref", "--format=%(refname) %(objectname) %(*objectname)", "refs/tags").splitlines()
        self._tags = {name[len("refs/tags/") :]: objects[-1] for name, *objects in map(str.split, tags)}

    def commits(self, name: str) -> list[str]:
        """Those of the commits that a hash, a tag or a range names; none where it names nothing here."""
        first, dots, last = name.partition(RANGE)
        if not dots:
            return [one for one in [self._one(name)] if one in self.number]
        start, end = self._one(first), self._one(last)
        if not start or end not in self.number:
            return []
        return [one for one in self._git.line("rev-list", end, f"^{start}").split() if one in self.number]

    def _one(self, name: str) -> str:
        base, steps = t.cast("re.Match[str]", STEPS.match(name)).groups()
        commit = self._tags.get(base) or self._by_hash(base.lower())
        if not commit or not steps:
            return commit
        return self._git.run("rev-parse", "--verify", "--quiet", f"{commit}{steps}^{{commit}}", check=False).out.strip()

    def _by_hash(self, start: str) -> str:
        at = bisect.bisect_left(self._sorted, start)
        found = [commit for commit in self._sorted[at : at + 2] if commit.startswith(start)]
        return found[0] if HASH.match(start) and len(found) == 1 else ""

    def reverted(self, commits: t.Collection[str]) -> set[str]:
        """Those of the commits of which the history says that they were reverted, and that this was not reverted.

        Reverting a merge takes back what it had brought.
        """
        if not commits:
            return set()
        oldest = min(commits, key=self.number.__getitem__)
        out = self._git.run(
            *("log", "--no-show-signature", "--format=%H%n%B%x00", "--basic-regexp", "--grep=^This reverts commit "),
            f"{oldest}..HEAD",
        ).out
        by: dict[str, list[str]] = {}
        for entry in filter(None, (part.strip() for part in out.split("\0"))):
            for commit in REVERTS.findall(entry):
                by.setdefault(commit, []).append(entry.split("\n", 1)[0])
        undone: dict[str, bool] = {}
        # A revert is younger than what it reverts, so it is judged first.
        for commit in sorted((one for one in by if one in self.number), key=self.number.__getitem__, reverse=True):
            undone[commit] = any(not undone.get(revert) for revert in by[commit])
            if undone[commit] and commit in self._merges:
                undone.update(dict.fromkeys(self._git.line("rev-list", commit, f"^{commit}^1").split(), True))
        return {commit for commit in commits if undone.get(commit)}

    def after(self, name: str) -> dict[int, list[str]] | None:
        """What going back to a commit takes along: the files, by the number of that commit; nothing where HEAD is it.

        None where there is no such commit.
        """
        commit = self._one(name)
        if commit not in self.number:
            return None
        names = self._git.names("diff", "--name-only", "--no-renames", "--no-ext-diff", "-z", commit, "HEAD")
        return {self.number[commit]: names} if names else {}

    def touched(self, commits: t.Collection[str]) -> dict[str, list[str]]:
        """The files, by commit, that each changed; a merge by what it brought to its first parent."""
        if not commits:
            return {}
        out = self._git.run(
            *("log", "--no-walk=unsorted", "--stdin", "-m", "--first-parent", "--no-show-signature", "--name-only"),
            *("--no-renames", "--no-ext-diff", "-z", "--format=%x01%H"),
            stdin="\n".join([*commits, ""]),
            errors="surrogateescape",
        ).out
        found = {}
        for entry in out.split("\1")[1:]:
            commit, *names = entry.split("\0")
            found[commit.strip()] = [name.lstrip("\n") for name in names if name.strip("\n")]
        return found


def changes_in(git: Git, asked: t.Sequence[Asked], config: t.Sequence[str]) -> dict[str, dict[str, t.Any]]:
    """How each change stands in a work tree; none where fewer than two are asked for, for nothing lies on one alone.

    ``state``: whether a commit of it is ``here`` and not reverted, or all are ``gone``; ``unknown`` where it names
    none. ``commits`` and ``files``: the numbers of its commits that are here, of all and by file. Only files that
    others touched too, or that are somebody's config. ``config``: its paths, relative to the top of the work tree where
    they are in there.

    :arg asked: each with ``change``, ``commits``, ``to`` (without commits: what its rollback goes back to, which stands
        for all that came after it) and ``config``, which is None for the app's own.
    :arg config: that of the app; what is outside the work tree is every change's, and tells nothing.
    :raises PhaseError: there is no work tree, or no commit.
    """
    if len(asked) < 2:
        return {}
    top, history = os.path.realpath(git.top()), History(git)
    named = {one["change"]: [c for name in one["commits"] or [] for c in history.commits(name)] for one in asked}
    reverted = history.reverted({commit for commits in named.values() for commit in commits})
    left = {change: [one for one in dict.fromkeys(commits) if one not in reverted] for change, commits in named.items()}
    touched = history.touched({commit for commits in left.values() for commit in commits})
    found: dict[str, dict[str, t.Any]] = {}
    times: dict[str, int] = {}
    for one in asked:
        change, files = one["change"], t.cast("dict[str, Numbers]", {})
        here: dict[int, list[str]] | None = None
        if one["commits"]:
            here = {history.number[commit]: touched.get(commit, []) for commit in left[change]}
        elif one.get("to"):
            here = history.after(one["to"])
        for number, names in sorted((here or {}).items()):
            for name in names:
                files.setdefault(printable(name), []).append(number)
        times.update({name: times.get(name, 0) + 1 for name in files})
        given = one.get("config")
        paths = [_place(git, top, path) for path in (config if given is None else given)]
        found[change] = {
            "state": HERE if here else UNKNOWN if here is None else GONE,
            "commits": sorted(here or ()),
            "files": files,
            "config": sorted({path for path in paths if given is not None or not os.path.isabs(path)}),
        }
    restored = {path for one in found.values() for path in one["config"]}
    for one in found.values():
        one["files"] = {
            name: numbers for name, numbers in one["files"].items() if times[name] > 1 or below(name, restored)
        }
    return found


def missing_in(git: Git, asked: t.Sequence[Asked]) -> dict[str, list[str]]:
    """The commits of each change that are not in the repository, neither behind HEAD nor anywhere else."""
    names = [(one["change"], name) for one in asked for name in [*(one["commits"] or []), one.get("to")] if name]
    ends = [(change, name, end) for change, name in names for end in re.split(r"\.\.\.?", name) if end]
    if not ends:
        return {}
    lines = "".join(f"{' '.join(end.split())}^{{commit}}\n" for _change, _name, end in ends)
    out = git.run("cat-file", "--batch-check=%(objecttype)", stdin=lines, errors="surrogateescape").out.splitlines()
    found: dict[str, list[str]] = {}
    for (change, name, _end), line in zip(ends, out):
        if line.endswith(" missing") and name not in found.setdefault(change, []):
            found[change].append(name)
    return {change: commits for change, commits in found.items() if commits}


def migrations_in(git: Git) -> dict[str, list[str]]:
    """The revisions of Alembic's migrations in a work tree, each with those that it builds on.

    It is read off the lines that say so. Where one says it in another way, it is not among them.
    """
    out = git.run("grep", "-I", "-z", "-E", f"^({'|'.join(MIGRATION)})[ :=]", "--", "*.py", check=False).out
    said: dict[str, dict[str, list[str]]] = {}
    for path, _nul, line in (line.partition("\0") for line in out.splitlines()):
        name = re.split("[ :=]", line, maxsplit=1)[0]
        said.setdefault(path, {})[name] = QUOTED.findall(line.partition("=")[2])
    return {
        one["revision"][0]: sorted(one["down_revision"] + one.get("depends_on", []))
        for one in said.values()
        if one.get("revision") and "down_revision" in one
    }


def _place(git: Git, top: str, path: str) -> str:
    """A config path relative to the top of the work tree, or whole where it is outside."""
    whole = os.path.realpath(os.path.join(str(git.repo), path))
    inside = os.path.relpath(whole, top)
    return whole if inside.split(os.sep)[0] == os.pardir else printable(inside)


def below(name: str, paths: t.Container[str]) -> bool:
    """Whether a file is one of ``paths``, or in a folder of theirs."""
    parts = name.split("/")
    return any("/".join(parts[:end]) in paths for end in range(1, len(parts) + 1))
