# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``config_restore`` has to change: the files there compared with those before the change. Private.

Files in git come from the commit before the change, others from a kept copy. Nothing is changed here.
"""

from __future__ import annotations

import dataclasses
import os
import typing as t
from pathlib import Path

from ._command import PhaseError
from ._files import ABSENT, FILE, FOLDER, LINK, SPECIAL, Found, link_to, look, walk
from ._git import Git
from ._git_commits import named_commits
from ._phase import Context

_GIT_LINK, _GIT_EXECUTABLE, _GIT_SUBMODULE = "120000", "100755", "160000"


@dataclasses.dataclass(frozen=True)
class Change:
    """One file that is to be written or removed.

    ``now`` and ``then``: what lies at ``path`` (absolute) and what is to lie there. ``content``: where the content for
    it lies, None for links and removals. ``origin``: where that comes from, in words.
    """

    path: str
    now: Found
    then: Found
    content: Path | None = None
    origin: str = ""


@dataclasses.dataclass
class Survey:
    """All changes, removals first; the state of all files that config_restore is answerable for; what to warn of."""

    changes: list[Change] = dataclasses.field(default_factory=list)
    state: dict[str, str | None] = dataclasses.field(default_factory=dict)
    warnings: list[str] = dataclasses.field(default_factory=list)
    faults: list[str] = dataclasses.field(default_factory=list)

    def want(self, path: str, now: Found, then: Found, content: Path | None = None, origin: str = "") -> None:
        """Note that ``then`` is to lie at ``path``."""
        self.state[path] = now.sha256
        if now.kind in (FOLDER, SPECIAL):
            self.faults.append(
                f"{path} is {'a folder' if now.kind == FOLDER else 'a socket, pipe or device'} now, "
                "and was a file before the change; move it away."
            )
        elif not now.same_content(then) or (then.kind == FILE and now.mode != then.mode):
            self.faults.extend(_not_writable(path, now))
            self.changes.append(Change(path, now, then, content, origin))


def survey(ctx: Context, scratch: Path, later: bool = False) -> Survey:
    """Compare; the files that are wanted from git are written below ``scratch``.

    :arg later: warn of files that were changed by later commits too.
    :raises PhaseError: something cannot be restored; all faults are named.
    """
    found = Survey()
    place = _Place(ctx)
    in_git: list[str] = []
    outside: list[tuple[str, str]] = []
    for item in ctx.params["paths"]:
        try:
            path, source = place.resolve(item)
        except PhaseError as exc:
            found.faults.append(str(exc))
            continue
        if source is None:
            in_git.append(path)
        else:
            outside.append((path, source))
    if in_git and place.git is not None:
        _compare_git(ctx, place, found, list(dict.fromkeys(in_git)), scratch / "tree", later)
    for path, source in outside:
        _compare_source(place, found, path, source)
    if found.faults:
        raise PhaseError(
            "The config cannot be restored: {}".format(" ".join(dict.fromkeys(found.faults))), faults=found.faults
        )
    return found


class _Place:
    """Where relative paths start, and what they may not leave."""

    def __init__(self, ctx: Context) -> None:
        repo = ctx.params["repo"]
        self.repo = os.path.abspath(repo) if repo else ""
        self.top = os.path.realpath(Git(ctx.commands, repo).top()) if repo else ""
        self.git = Git(ctx.commands, self.top) if repo else None

    def inside(self, path: str) -> bool:
        """Whether ``path`` (resolved) lies in the work tree."""
        return bool(self.top) and os.path.commonpath([self.top, path]) == self.top

    def leads_out(self, found: Survey, path: str, follow: bool = False) -> bool:
        """Whether a symlink above ``path`` (or ``path`` itself, with ``follow``) leads out of the work tree."""
        parent, last = os.path.split(path)
        final = os.path.realpath(path) if follow else os.path.join(os.path.realpath(parent), last)
        if self.inside(final):
            return False
        found.faults.append(f"{path} leads out of {self.top}, to {final}; name that file by its absolute path.")
        return True

    def resolve(self, item: t.Any) -> tuple[str, str | None]:
        """The absolute path of an item, its parents resolved, and its source; None where it is taken from git.

        :raises PhaseError: the item is no path, or leads out of where it belongs.
        """
        source = None
        name = item
        if isinstance(item, dict):
            unknown = sorted(set(item) - {"path", "source"})
            if unknown:
                raise PhaseError(
                    f"config_restore_paths: {item} has the unknown key '{unknown[0]}'; write path and source."
                )
            name, source = item.get("path"), item.get("source")
        if not isinstance(name, str) or not name:
            raise PhaseError(f"config_restore_paths: {item!r} is no path; write a path, or path and source.")
        relative = not os.path.isabs(name)
        if relative and not self.repo:
            raise PhaseError(f"{name} is relative and there is no repository; set config_restore_repo (rollback_repo).")
        whole = os.path.join(self.repo or "/", name).rstrip("/") or "/"
        parent, last = os.path.split(whole)
        path = os.path.realpath(whole) if last in (".", "..") else os.path.join(os.path.realpath(parent), last)
        inside = self.inside(path)
        if relative and not inside:
            raise PhaseError(f"{name} leads out of {self.top}, to {path}; name such a file by its absolute path.")
        if inside and os.path.relpath(path, self.top).split(os.sep)[0] == ".git":
            raise PhaseError(f"{name} is git's own; it is no config.")
        if source is None and not inside:
            raise PhaseError(f"{name} is outside git, so say where its kept copy lies: {{path: {name}, source: ...}}.")
        if source is None and path == self.top:
            raise PhaseError(f"{name} is the whole repository; list the files and folders that are config.")
        if source is not None and not (isinstance(source, str) and os.path.isabs(source)):
            raise PhaseError(f"The source of {name} must be an absolute path, not {source!r}.")
        return path, source


def base_commit(git: Git, commit: str, commits: t.Sequence[str]) -> str:
    """The commit that config in git is taken from: ``commit``, else the one before the oldest of ``commits``.

    :raises PhaseError: there is no such commit, or it cannot be told which one it is.
    """
    if commit:
        return git.resolve_fixed(commit)
    if not commits:
        raise PhaseError(
            "It is not said which commit the config is to be taken from. Set config_restore_commits (the change's "
            "commits; a plan's git_revert_commits are taken by themselves) or config_restore_commit."
        )
    full = [git.resolve_fixed(one) for one in commits]
    oldest = full[0]
    if len(full) > 1:
        oldest = git.run("merge-base", "--octopus", *full, check=False).out.strip()
        if oldest not in full:
            raise PhaseError(
                "The commits {} are not on one line of history, so no commit stands before all of them. Name the one "
                "that the config is to be taken from: config_restore_commit.".format(", ".join(commits))
            )
    done = git.run("rev-parse", "--verify", "--quiet", f"{oldest}^1", check=False)
    if done.rc:
        raise PhaseError(
            f"Commit {oldest} has no parent in {git.repo}, so there is no config from before it. "
            f"If the clone is shallow: git -C {git.repo} fetch --unshallow"
        )
    return done.out.strip()


def _under(name: str, items: t.Iterable[str]) -> bool:
    return any(name == item or name.startswith(item + "/") for item in items)


def _compare_git(ctx: Context, place: _Place, found: Survey, paths: list[str], tree: Path, later: bool) -> None:
    """Compare files and folders in git with the commit before the change."""
    git = t.cast("Git", place.git)
    commits = [full for name in ctx.params["commits"] or [] for full in named_commits(git, name)]
    base = base_commit(git, ctx.params["commit"], commits)
    items = [os.path.relpath(path, place.top) for path in paths]
    wanted = _wanted(git, base, items)
    index = _index(git, items)
    for item in items:
        if not any(_under(name, [item]) for name in (*wanted, *index)) and not _ever(git, item):
            found.faults.append(
                f"git knows no '{item}' in {place.top}, neither in {base[:10]} nor later; check how it is spelt."
            )
    added = _added(git, commits) if commits else set(index)
    cleared = set()
    for name in sorted(added.intersection(index).difference(wanted)):
        path = os.path.join(place.top, name)
        now = look(path)
        if now.kind in (FILE, LINK) and not place.leads_out(found, path):
            found.want(path, now, Found(ABSENT))
            cleared.add(path)
    if wanted:
        git.export(base, tree, *wanted)
    keeps_mode = git.run("config", "--type=bool", "core.fileMode", check=False).out.strip() != "false"
    for name, mode in wanted.items():
        path = os.path.join(place.top, name)
        if mode == _GIT_SUBMODULE:
            found.warnings.append(f"{name} is a submodule; it is left alone.")
            continue
        now = _now(path, cleared)
        own_link = _GIT_LINK in (mode, index.get(name))  # git says that the entry itself is, or was, the symlink
        follow = now.kind == LINK and not own_link
        if not _under(path, cleared) and place.leads_out(found, path, follow):
            continue
        if mode == _GIT_LINK:
            found.want(path, now, link_to(os.readlink(str(tree / name))), origin=base[:10])
            continue
        if follow:
            path = os.path.realpath(path)
            now = look(path)
        like = now if now.kind == FILE else _new_access(path)
        bits = _with_x(like.mode, mode == _GIT_EXECUTABLE) if keeps_mode or now.kind != FILE else like.mode
        then = dataclasses.replace(look(str(tree / name)), mode=bits, uid=like.uid, gid=like.gid)
        found.want(path, now, then, tree / name, base[:10])
    if later and commits:
        _warn_of_later(git, place, found, base, commits)


def _now(path: str, cleared: set[str]) -> Found:
    """What lies at ``path`` once the files ``cleared`` are removed."""
    if _under(path, cleared):
        return Found(ABSENT)
    now = look(path)
    if now.kind == FOLDER and all(
        one in cleared or (os.path.isdir(one) and not os.path.islink(one)) for one in walk(path)
    ):
        return Found(ABSENT)
    return now


def _compare_source(place: _Place, found: Survey, path: str, source: str) -> None:
    """Compare a file with its kept copy."""
    file = look(os.path.realpath(source))
    if file.kind != FILE:
        found.faults.append(f"There is no kept copy {source} for {path}; put it there, or correct its source.")
        return
    if place.inside(path) and place.leads_out(found, path, follow=True):
        return
    final = os.path.realpath(path)
    now = look(final)
    like = now if now.kind == FILE else file
    if now.kind != FILE and os.geteuid() != 0 and file.uid != os.geteuid():
        found.warnings.append(
            f"{final} will belong to uid {os.geteuid()}, because only root can give it to uid {file.uid}."
        )
        like = dataclasses.replace(_new_access(final), mode=file.mode)
    if not os.path.isdir(os.path.dirname(final)):
        found.faults.append(f"There is no folder {os.path.dirname(final)} for {path}; make it first.")
        return
    found.want(final, now, dataclasses.replace(file, mode=like.mode, uid=like.uid, gid=like.gid), Path(source), source)


def _wanted(git: Git, base: str, items: list[str]) -> dict[str, str]:
    """Mode by name of what ``base`` has of ``items``."""
    return _modes(git.run("ls-tree", "-r", "-z", "--full-tree", base, "--", *items).out)


def _index(git: Git, items: list[str]) -> dict[str, str]:
    """Mode by name of what is tracked now of ``items``."""
    return _modes(git.run("--literal-pathspecs", "ls-files", "--stage", "-z", "--", *items).out)


def _modes(out: str) -> dict[str, str]:
    """Mode by name, from lines of ``<mode> ...<tab><name>`` that end with NUL."""
    modes = {}
    for line in out.split("\0"):
        head, _tab, name = line.partition("\t")
        if "\ufffd" in name:  # what stands for bytes that could not be decoded would name another file
            raise PhaseError(f"The name of {name!r} is not UTF-8; restore this file by path and source.")
        if name:
            modes[name] = head.split(" ")[0]
    return modes


def _added(git: Git, commits: t.Sequence[str]) -> set[str]:
    """The files that ``commits`` added, each compared with its first parent."""
    names: set[str] = set()
    for commit in commits:
        full = git.resolve_fixed(commit)
        out = git.run("diff-tree", "-r", "-z", "--no-renames", "--diff-filter=A", "--name-only", f"{full}^1", full).out
        names.update(name for name in out.split("\0") if name)
    return names


def _ever(git: Git, item: str) -> bool:
    return bool(git.run("--literal-pathspecs", "log", "-1", "--format=%H", "HEAD", "--", item).out.strip())


def _warn_of_later(git: Git, place: _Place, found: Survey, base: str, commits: t.Sequence[str]) -> None:
    """Warn of files that will lose the work of commits that are not the change's."""
    own = {git.resolve_fixed(commit) for commit in commits}
    for change in found.changes:
        name = os.path.relpath(change.path, place.top)
        out = git.run("--literal-pathspecs", "log", "--no-merges", "--format=%H", f"{base}..HEAD", "--", name).out
        others = [commit[:10] for commit in out.split() if commit not in own]
        if others:
            found.warnings.append(
                f"{name} was changed by {', '.join(others)} too, since the commit before the change. "
                "It becomes what it was before all of them."
            )


def _with_x(mode: int, executable: bool) -> int:
    """``mode`` with git's executable bit: whoever may read may execute. Git looks at the owner's bit only."""
    if bool(mode & 0o100) == executable:
        return mode
    return mode | (mode & 0o444) >> 2 if executable else mode & ~0o111


def _new_access(path: str) -> Found:
    """Owner and mode for a file that is not there yet: as if the owner of its folder had made it."""
    folder = os.path.dirname(path)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    status = os.stat(folder)
    root = os.geteuid() == 0
    return Found(
        FILE, mode=0o644, uid=status.st_uid if root else os.geteuid(), gid=status.st_gid if root else os.getegid()
    )


def _not_writable(path: str, now: Found) -> t.Iterator[str]:
    """Why ``path`` cannot be replaced by this user with its owner kept, in sentences."""
    folder = os.path.dirname(path)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    if not os.access(folder, os.W_OK | os.X_OK):
        yield f"uid {os.geteuid()} may not write in {folder}, so {path} cannot be replaced; use become or become_user."
    elif now.kind == FILE and os.geteuid() not in (0, now.uid):
        yield f"{path} belongs to uid {now.uid}, which uid {os.geteuid()} cannot keep; use become or become_user."
    elif now.kind == FILE and os.geteuid() != 0 and now.gid not in (*os.getgroups(), os.getegid()):
        yield f"{path} belongs to gid {now.gid}, which uid {os.geteuid()} cannot keep; use become or become_user."
