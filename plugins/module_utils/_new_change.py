# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a change is made of, as a host knows it, and copies of config from before it. Private to this collection."""

from __future__ import annotations

import os
import pwd
import shutil
import typing as t
from pathlib import Path

from ._command import PhaseError
from ._git import AsOwner, Git, git_of_owner, owner
from ._git_commits import named_commits, newest_first
from ._stack import MIGRATION, QUOTED

RECENT = 5  # commits that are named where nobody says which ones the change is
FIELDS = ("commit", "parents", "author", "date", "subject")


def read_change(params: t.Mapping[str, t.Any], check: bool) -> dict[str, t.Any]:
    """The commits and migrations of a change, and where config was kept, as the module returns them.

    :raises PhaseError: the commits cannot be told.
    """
    git = git_of_owner(params["repo"], AsOwner(params["timeout"], dict(os.environ)))
    git.top()
    head = git.head()
    since = "" if params["commits"] else params["since"] or _last_tag(git, head)
    since_commit = git.resolve_fixed(since) if since else ""
    names = params["commits"] or ([f"{since_commit}..{head}"] if since else [])
    commits = list(dict.fromkeys(commit for name in names for commit in named_commits(git, name)))
    commits = newest_first(git, commits) if len(names) > 1 else commits
    shipped = bool(commits) and all(git.is_ancestor(commit, head) for commit in commits)
    there = os.stat(params["repo"])
    found: dict[str, t.Any] = {
        "head": head,
        "since": since,
        "since_commit": since_commit,
        "commits": _told(git, commits),
        "recent": [] if commits else _told(git, git.line("rev-list", f"--max-count={RECENT}", "HEAD").split()),
        "shipped": shipped,
        "migrations": _migrations(git, commits),
        "owner": owner(there.st_uid),
        "user": pwd.getpwuid(os.geteuid()).pw_name,
    }
    return {**found, **_keep(params["keep"], shipped, check)}


def _last_tag(git: Git, head: str) -> str:
    """The last tag before HEAD: one that HEAD has itself is the change's."""
    for start in ("HEAD", "HEAD^"):
        done = git.run("describe", "--tags", "--abbrev=0", start, check=False)
        tag = done.out.strip() if done.rc == 0 else ""
        if tag and git.line("rev-parse", f"refs/tags/{tag}^{{commit}}") != head:
            return tag
    return ""


def _told(git: Git, commits: t.Sequence[str]) -> list[dict[str, t.Any]]:
    """What each commit says of itself, in the order given."""
    if not commits:
        return []
    out = git.run(
        *("log", "--no-walk=unsorted", "--stdin", "--no-show-signature", "-z"),
        *("--date=format-local:%Y-%m-%d", "--format=%H%x01%P%x01%an%x01%ad%x01%s"),
        stdin="\n".join([*commits, ""]),
        env={"TZ": "UTC"},
    ).out
    found = [dict(zip(FIELDS, entry.split("\1"))) for entry in out.split("\0") if entry.strip()]
    return [dict(one, merge=len(one.pop("parents").split()) > 1) for one in found]


def _migrations(git: Git, commits: t.Sequence[str]) -> dict[str, list[str]]:
    """The revisions that the commits added, as they end (``from``) and as they began (``to``); empty where none did."""
    if not commits:
        return {"from": [], "to": []}
    added = git.names(
        *("log", "--no-walk=unsorted", "--stdin", "-m", "--first-parent", "--no-show-signature", "--name-only"),
        *("--no-renames", "--diff-filter=A", "-z", "--format=", "--", "*.py"),
        stdin="\n".join([*commits, ""]),
    )
    downs: dict[str, list[str]] = {}
    for path in dict.fromkeys(name.lstrip("\n") for name in added):
        text = git.run("cat-file", "blob", f"{commits[0]}:{path}", check=False).out
        said = {}
        for line in text.splitlines():
            name = line.split("=", 1)[0].split(":", 1)[0].strip()
            if name in MIGRATION and line.startswith(name) and name not in said:
                said[name] = QUOTED.findall(line.partition("=")[2])
        if said.get("revision") and "down_revision" in said:
            downs[said["revision"][0]] = said["down_revision"] + said.get("depends_on", [])
    below = [one for ones in downs.values() for one in ones]
    ends = sorted(revision for revision in downs if revision not in below)
    begins = sorted({one for one in below if one not in downs})
    return {"from": ends, "to": begins or ["base"] if ends else []}


def _keep(items: t.Sequence[t.Mapping[str, str]], shipped: bool, check: bool) -> dict[str, t.Any]:
    """Copy files to where ``config_restore`` will look for them. A copy that is there already stays as it is."""
    kept, missing, warnings = [], [], []
    for item in items:
        path, source = item["path"], item["source"]
        if os.path.lexists(source):
            continue
        if shipped or not os.path.isfile(path):
            missing.append(source)
            why = "the change is in the code here already" if shipped else f"there is no file {path}"
            warnings.append(
                f"{source} was not made of {path}, because {why}. Put the file there as it was before the change; "
                "a rollback needs it."
            )
            continue
        kept.append(source)
        if not check:
            _copy(Path(os.path.realpath(path)), Path(source))
    return {"kept": kept, "missing": missing, "warnings": warnings}


def _copy(path: Path, source: Path) -> None:
    """A copy with owner, mode and time, in folders that nobody else may enter."""
    status = path.stat()
    for folder in [*reversed(source.parents)]:
        if not folder.is_dir():
            folder.mkdir(mode=0o700)
            _give(folder, status)
    part = source.with_name(f".{source.name}.{os.getpid()}")
    try:
        shutil.copy2(str(path), str(part))
        _give(part, status)
        os.replace(str(part), str(source))
    except OSError as exc:
        if part.exists():
            part.unlink()
        raise PhaseError(
            f"{path} could not be kept as {source}: {exc.strerror or exc}. Mend that, or run it with -b."
        ) from exc


def _give(path: Path, status: os.stat_result) -> None:
    if os.geteuid() == 0:
        os.chown(str(path), status.st_uid, status.st_gid)
