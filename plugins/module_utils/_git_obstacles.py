# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in the way of a switch in a work tree, and what to type about it. Private to this collection."""

from __future__ import annotations

import contextlib
import os
import shlex
import typing as t
from pathlib import Path

from ._command import PhaseError
from ._git import Git, named, owner, printable
from ._git_rehearsal import Change

# git's name for the state file of each unfinished operation, and what ends it.
UNFINISHED = {
    "MERGE_HEAD": ("a merge", "merge --abort"),
    "REVERT_HEAD": ("a revert", "revert --abort"),
    "CHERRY_PICK_HEAD": ("a cherry-pick", "cherry-pick --abort"),
    "rebase-merge": ("a rebase", "rebase --abort"),
    "rebase-apply": ("a rebase or git am", "rebase --abort"),
    "BISECT_LOG": ("a bisection", "bisect reset"),
}
SPARE = 16 << 20  # bytes that git may need beside the files: index, objects, logs


def locks(git: Git) -> list[Path]:
    """The lock files that a killed git leaves behind."""
    branch = git.branch()
    names = ["index.lock", "HEAD.lock"] + ([f"refs/heads/{branch}.lock"] if branch else [])
    return [path for path in git.git_paths(*names) if path.exists()]


def refuse_unfinished(git: Git) -> None:
    """Refuse to work in the middle of somebody's work."""
    for path, (what, words) in zip(git.git_paths(*UNFINISHED), UNFINISHED.values()):
        if path.exists():
            raise PhaseError(
                f"{what[0].upper()}{what[1:]} is unfinished in {git.repo}. Finish it, or give it up: {git.say(words)}"
            )
    for lock in locks(git):
        raise PhaseError(
            f"{lock} exists: another git works in {git.repo}, or was killed there. "
            f"If none does (ps -ef | grep git), type: rm {shlex.quote(str(lock))}"
        )
    dirty = git.dirty()
    if dirty:
        raise PhaseError(
            f"{git.repo} has uncommitted changes in {named(dirty)}. They would be lost or in the way. "
            f"Keep them with: {git.say('stash')} (or: {git.say('commit -a')})",
            files=[printable(name) for name in dirty],
        )


def refuse_in_the_way(git: Git, files: t.Sequence[Change]) -> None:
    """Refuse where untracked files stand where the switch would write; git would overwrite ignored ones."""
    obstacles = _in_the_way(git, files)
    if obstacles:
        raise PhaseError(
            f"Untracked files in {git.repo} stand where the rollback brings files back: {named(obstacles)}. "
            f"Move them away, for example: mv {shlex.quote(str(git.repo / printable(obstacles[0])))} /tmp/",
            files=[printable(name) for name in obstacles],
        )


def through_link(top: Path, name: str) -> bool:
    """Whether a folder above ``name`` is a symlink: what lies there is another file."""
    return any((top / parent).is_symlink() for parent in Path(name).parents)


def _in_the_way(git: Git, files: t.Sequence[Change]) -> list[str]:
    found: list[str] = []
    tracked = set(git.names("ls-files", "-z"))
    for change in files:
        if change["status"] != "added":
            continue
        for name in (change["path"], *(str(p) for p in Path(change["path"]).parents if str(p) != ".")):
            path = git.repo / name
            if not os.path.lexists(str(path)) or name in tracked or through_link(git.repo, name):
                continue
            if path.is_symlink() or not path.is_dir():
                found.append(name)
            elif name == change["path"]:
                found += git.names("--literal-pathspecs", "ls-files", "--others", "-z", "--", name)
    return list(dict.fromkeys(found))


def refuse_unwritable(git: Git, files: t.Sequence[Change], blobs: Git) -> None:
    """Refuse where this user cannot write what the switch will write, or should not.

    :arg blobs: a repository that has the content of ``files``.
    """
    top = git.repo.stat()
    if os.geteuid() == 0 != top.st_uid:
        raise PhaseError(
            f"{git.repo} belongs to {owner(top.st_uid)}, and what root writes there {owner(top.st_uid)} could not "
            f"change any more. Run the phase as the owner: become_user: {owner(top.st_uid)}"
        )
    if os.statvfs(str(git.repo)).f_flag & os.ST_RDONLY:
        raise PhaseError(
            f"{git.repo} is on a file system that is mounted read-only. See why (dmesg), then make it writable: "
            f"mount -o remount,rw {shlex.quote(_mount_point(git.repo))}"
        )
    closed = [path for path in _written(git, files) if not os.access(str(path), os.W_OK)]
    if closed:
        more = f" and {len(closed) - 1} more" if len(closed) > 1 else ""
        who = owner(os.geteuid())
        raise PhaseError(
            f"{who} may not write in {closed[0]}{more}, perhaps because somebody worked there as another user. "
            f"Give it back: chown -R {who} {shlex.quote(str(git.repo))}"
        )
    new = [change["new"] for change in files if change["status"] != "deleted"]
    sizes = blobs.run("cat-file", "--batch-check=%(objectsize)", stdin="".join(f"{blob}\n" for blob in new)).out
    needed = sum(int(size) for size in sizes.split()) + SPARE
    room = os.statvfs(str(git.repo))
    if room.f_bavail * room.f_frsize < needed or (room.f_files and room.f_favail < len(new)):
        raise PhaseError(full(git.repo, needed, room.f_bavail * room.f_frsize))


def refuse_filters(git: Git, files: t.Sequence[Change], target: str, scratch: Git) -> None:
    """Refuse where a filter of git's fails for a file that the switch writes; git-lfs fetches what it lacks by this.

    :arg scratch: the repository that has ``target``.
    """
    names = [change["path"] for change in files if change["status"] != "deleted"]
    words = git.names("check-attr", "-z", "--stdin", "filter", stdin="\0".join(names)) if names else []
    filtered = [name for name, value in zip(words[::3], words[2::3]) if value not in ("unspecified", "unset", "set")]
    if not filtered:
        return
    try:
        git.export(target, scratch.repo.parent / "filtered", *filtered, objects=scratch.repo / ".git" / "objects")
    except PhaseError as exc:
        raise PhaseError(
            f"Git's filter for {named(filtered)} (git-lfs, say) fails in a copy of {target[:10]}, so the switch would "
            f"fail as well: {exc} Make the filter work for this user, or bring what it lacks: "
            f"{git.say('lfs fetch --all')}"
        ) from exc


def full(repo: Path, needed: int, free: int) -> str:
    """Say that the file system has too little room."""
    return (
        f"The file system of {repo} is full: the switch needs {needed >> 20} MB, and {free >> 20} MB are free (or "
        f"inodes are used up). Make room: df -h {shlex.quote(str(repo))} ; df -i {shlex.quote(str(repo))}"
    )


@contextlib.contextmanager
def nearly_full_told(place: Path) -> t.Iterator[None]:
    """Say of a failure that there is hardly any room at ``place``: git says only which file it could not write."""
    try:
        yield
    except PhaseError as exc:
        room = os.statvfs(str(place))
        free = room.f_bavail * room.f_frsize
        if free >= SPARE and (room.f_favail or not room.f_files):
            raise
        where = shlex.quote(str(place))
        raise PhaseError(
            f"{exc} The file system of {place}, where the rollback is rehearsed, has {free >> 20} MB left (or inodes "
            f"are used up). Make room: df -h {where} ; df -i {where}",
            **exc.facts,
        ) from exc


def _mount_point(path: Path) -> str:
    here = path.resolve()
    while not os.path.ismount(str(here)):
        here = here.parent
    return str(here)


def _written(git: Git, files: t.Sequence[Change]) -> list[Path]:
    """The directories and logs that git writes into for a switch that changes ``files``."""
    names = [".", "objects", "objects/pack", "refs/heads", "logs", "logs/HEAD", f"logs/refs/heads/{git.branch()}"]
    places = git.git_paths(*names)
    places += [place for place in places[1].glob("??") if place.is_dir()]
    for folder in {os.path.dirname(change["path"]) for change in files}:
        place = git.repo / folder
        while not place.is_dir():
            place = place.parent
        places.append(place)
    return [place for place in dict.fromkeys(places) if place.exists()]
