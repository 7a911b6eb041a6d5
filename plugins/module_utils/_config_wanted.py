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
from ._config_items import Item, new_access, not_writable, read_item, whole_items, with_x
from ._env_file import assignments, edited
from ._files import ABSENT, FILE, FOLDER, LINK, SPECIAL, Found, link_to, look, walk
from ._git import Git
from ._git_commits import named_commits
from ._phase import Context

_GIT_LINK, _GIT_EXECUTABLE, _GIT_SUBMODULE = "120000", "100755", "160000"


@dataclasses.dataclass(frozen=True)
class Change:
    """One file that is to be written or removed.

    ``now`` and ``then``: what lies at ``path`` (absolute) and what is to lie there. ``content``: where the content for
    it lies, None for links and removals. ``origin``: where that comes from, in words. ``item``: what asks for it.
    """

    path: str
    now: Found
    then: Found
    content: Path | None = None
    origin: str = ""
    item: Item = dataclasses.field(default=Item(""))


@dataclasses.dataclass
class Survey:
    """All changes, removals first; the state of all files that config_restore is answerable for; what to warn of."""

    changes: list[Change] = dataclasses.field(default_factory=list)
    state: dict[str, str | None] = dataclasses.field(default_factory=dict)
    warnings: list[str] = dataclasses.field(default_factory=list)
    faults: list[str] = dataclasses.field(default_factory=list)

    def want(
        self, item: Item, path: str, now: Found, then: Found, content: Path | None = None, origin: str = ""
    ) -> None:
        """Note that ``then`` is to lie at ``path``, with the owner and mode that ``item`` asks for."""
        self.state[path] = now.sha256
        then = item.access(then)
        if now.kind in (FOLDER, SPECIAL):
            self.faults.append(
                f"{path} is {'a folder' if now.kind == FOLDER else 'a socket, pipe or device'} now, "
                "and was a file before the change; move it away."
            )
        elif not now.same_content(then) or (then.kind == FILE and not now.same_access(then)):
            self.faults.extend(not_writable(path, now, then))
            self.changes.append(Change(path, now, then, content, origin, item))


def survey(ctx: Context, scratch: Path, later: bool = False) -> Survey:
    """Compare; the files that are wanted from git are written below ``scratch``.

    :arg later: warn of files that were changed by later commits too.
    :raises PhaseError: something cannot be restored; all faults are named.
    """
    found = Survey()
    place = _Place(ctx)
    in_git: dict[str, Item] = {}
    outside: list[tuple[str, Item]] = []
    for given in whole_items(ctx.params):
        try:
            item = read_item(given)
            path = place.resolve(item)
        except PhaseError as exc:
            found.faults.append(str(exc))
            continue
        if item.in_git:
            in_git[path] = item
        else:
            outside.append((path, item))
    if in_git and place.git is not None:
        _compare_git(ctx, place, found, in_git, scratch / "tree", later)
    for number, (path, item) in enumerate(outside):
        try:
            _compare_given(place, found, path, item, scratch / f"given-{number}")
        except PhaseError as exc:
            found.faults.append(str(exc))
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

    def resolve(self, item: Item) -> str:
        """The absolute path of an item, its parents resolved.

        :raises PhaseError: it leads out of where it belongs, or it is not said where its content comes from.
        """
        name = item.path
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
        if item.in_git and not inside:
            raise PhaseError(
                f"{name} is outside git, so say where its content comes from: source (a kept copy on the host), "
                f"content, template or keys, as {{path: {name}, source: ...}}."
            )
        if item.in_git and path == self.top:
            raise PhaseError(f"{name} is the whole repository; list the files and folders that are config.")
        return path


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


def _compare_git(ctx: Context, place: _Place, found: Survey, paths: dict[str, Item], tree: Path, later: bool) -> None:
    """Compare files and folders in git with the commit before the change."""
    git = t.cast("Git", place.git)
    commits = [full for name in ctx.params["commits"] or [] for full in named_commits(git, name)]
    base = base_commit(git, ctx.params["commit"], commits)
    asked = {os.path.relpath(path, place.top): item for path, item in paths.items()}
    items = list(asked)
    wanted = _wanted(git, base, items)
    index = _index(git, items)
    for listed in items:
        if not any(_under(name, [listed]) for name in (*wanted, *index)) and not _ever(git, listed):
            found.faults.append(
                f"git knows no '{listed}' in {place.top}, neither in {base[:10]} nor later; check how it is spelt."
            )
    added = _added(git, commits) if commits else set(index)
    cleared = set()
    for name in sorted(added.intersection(index).difference(wanted)):
        path = os.path.join(place.top, name)
        now = look(path)
        if now.kind in (FILE, LINK) and not place.leads_out(found, path):
            found.want(_item_of(name, asked), path, now, Found(ABSENT))
            cleared.add(path)
    if wanted:
        git.export(base, tree, *wanted)
    keeps_mode = git.run("config", "--type=bool", "core.fileMode", check=False).out.strip() != "false"
    for name, mode in wanted.items():
        path = os.path.join(place.top, name)
        if mode == _GIT_SUBMODULE:
            found.warnings.append(f"{name} is a submodule; it is left alone.")
            continue
        item = _item_of(name, asked)
        now = _now(path, cleared)
        own_link = _GIT_LINK in (mode, index.get(name))  # git says that the entry itself is, or was, the symlink
        follow = now.kind == LINK and not own_link
        if not _under(path, cleared) and place.leads_out(found, path, follow):
            continue
        if mode == _GIT_LINK:
            found.want(item, path, now, link_to(os.readlink(str(tree / name))), origin=base[:10])
            continue
        if follow:
            path = os.path.realpath(path)
            now = look(path)
        like = now if now.kind == FILE else new_access(path)
        bits = with_x(like.mode, mode == _GIT_EXECUTABLE) if keeps_mode or now.kind != FILE else like.mode
        then = dataclasses.replace(look(str(tree / name)), mode=bits, uid=like.uid, gid=like.gid)
        found.want(item, path, now, then, tree / name, base[:10])
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


def _item_of(name: str, asked: dict[str, Item]) -> Item:
    """The item that asks for the file ``name``: of several the one that says most."""
    return asked[max((path for path in asked if _under(name, [path])), key=len)]


def _compare_given(place: _Place, found: Survey, path: str, item: Item, scratch: Path) -> None:
    """Compare a file that does not come from git with what it is to be.

    :arg scratch: where content is put that lies nowhere yet.
    :raises PhaseError: an environment file cannot be read, or written as is asked.
    """
    if place.inside(path) and place.leads_out(found, path, follow=True):
        return
    final = os.path.realpath(path)
    now = look(final)
    if not os.path.isdir(os.path.dirname(final)):
        found.faults.append(f"There is no folder {os.path.dirname(final)} for {path}; make it first.")
        return
    kept = look(os.path.realpath(item.source)) if item.source else None
    if kept is not None and kept.kind != FILE:
        found.faults.append(f"There is no kept copy {item.source} for {path}; put it there, or correct its source.")
        return
    like = now if now.kind == FILE else kept or new_access(final)
    if now.kind != FILE and kept is not None and os.geteuid() != 0 and kept.uid != os.geteuid() and item.uid is None:
        found.warnings.append(
            f"{final} will belong to uid {os.geteuid()}, because only root can give it to uid {kept.uid}."
        )
        like = dataclasses.replace(new_access(final), mode=kept.mode)
    if now.kind != FILE and kept is None and item.secret:
        like = dataclasses.replace(like, mode=0o600)
    content = _content(final, now, item, scratch)
    then = dataclasses.replace(look(os.path.realpath(content)), mode=like.mode, uid=like.uid, gid=like.gid)
    found.want(item, final, now, then, content, item.origin)


def _content(path: str, now: Found, item: Item, scratch: Path) -> Path:
    """Where the content that ``item`` wants for ``path`` lies."""
    if item.content is not None:
        scratch.write_bytes(item.content.encode("utf-8"))
        return scratch
    keys = item.keys
    if item.only:
        there = {one.key: one.value for one in assignments(_text(str(item.source)), str(item.source))}
        keys = {key: there.get(key) for key in item.only}
    if keys is None:
        return Path(str(item.source))
    if now.kind != FILE:
        raise PhaseError(f"There is no file {path}, so no keys in it can be changed; give it content or source.")
    text = edited(_text(path), path, keys)
    says = {one.key: one.value for one in assignments(text, path)}
    for key, value in keys.items():
        if says.get(key) != value:
            raise PhaseError(f"The value of {key} cannot be written to {path} so that it reads back; change its value.")
    scratch.write_bytes(text.encode("utf-8"))
    return scratch


def _text(path: str) -> str:
    try:
        return Path(path).read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        raise PhaseError(
            f"{path} is not UTF-8 text, so no keys in it can be changed; give it content or source."
        ) from None


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
