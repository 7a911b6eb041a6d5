# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the commit that rolls code back, in a scratch repository. Private to this collection.

The commit depends on nothing but its parent, the commits that it reverts, and what the plan says: it has the same hash
on every host, whoever runs it, wherever and whenever.
"""

from __future__ import annotations

import datetime
import re
import shlex
import shutil
import typing as t
from pathlib import Path

from ._command import PhaseError
from ._git import Git, named, printable
from ._git_commits import Selection

AUTHOR = re.compile(r"(?P<name>[^<>\n]*[^<>\s])\s*<(?P<mail>[^<>\s]+)>\Z")
STATUS = {"A": "added", "D": "deleted", "M": "modified", "T": "modified"}
SUBMODULE = "160000"
LATER = 5  # later commits named in one sentence


class Change(t.TypedDict):
    """One file that differs between two commits; ``old`` and ``new`` are its blobs (zeros where there is none)."""

    path: str
    status: str
    old: str
    new: str


class Signature(t.NamedTuple):
    """Who the commit is by, and when (Unix time)."""

    name: str
    mail: str
    when: int

    @property
    def environment(self) -> dict[str, str | None]:
        """For git. The time zone is pinned with the time."""
        who: dict[str, str | None] = {}
        for role in ("AUTHOR", "COMMITTER"):
            who[f"GIT_{role}_NAME"] = self.name
            who[f"GIT_{role}_EMAIL"] = self.mail
            who[f"GIT_{role}_DATE"] = f"@{self.when} +0000"
        return who


class Conflict(Exception):
    """Reverting ``commit`` conflicts in ``files``."""

    def __init__(self, commit: str, files: list[str]) -> None:
        super().__init__(commit)
        self.commit = commit
        self.files = files


def signature(author: str, date: str, not_before: int, default: int) -> Signature:
    """Check the author and the date that the user gave.

    :arg author: ``Name <mail>``.
    :arg date: ISO 8601 date, or date and time; UTC unless it says otherwise. Empty: ``default``.
    :arg not_before: when the parent was committed. Git walks history by time, so that a child must not be older.
    """
    match = AUTHOR.match(author.strip())
    if not match:
        raise PhaseError(f"The author '{author}' is not of the form 'Name <mail>'.")
    when = default
    if date.strip():
        try:
            moment = datetime.datetime.fromisoformat(date.strip())
        except ValueError:
            raise PhaseError(f"The date '{date}' is not an ISO date such as 2026-11-20.") from None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=datetime.timezone.utc)
        when = int(moment.timestamp())
    return Signature(match.group("name").strip(), match.group("mail"), max(when, not_before))


def scratch_repository(git: Git, path: Path) -> Git:
    """Make a repository at ``path`` that borrows the objects of ``git``, in which nothing is written by this."""
    kind = git.line("rev-parse", "--show-object-format")
    git.commands.run(["git", "init", "--quiet", "--template=", f"--object-format={kind}", str(path)])
    objects, shallow = git.git_paths("objects", "shallow")
    info = path / ".git" / "objects" / "info"
    info.mkdir(exist_ok=True)
    (info / "alternates").write_text(f"{objects.resolve()}\n")
    if shallow.exists():
        shutil.copy(str(shallow), str(path / ".git" / "shallow"))
    # Files as they are in git: what filters and conversions of line ends make of them does not matter for a revert,
    # and a filter such as git-lfs would fetch every large file of the repository.
    (path / ".git" / "info").mkdir(exist_ok=True)
    (path / ".git" / "info" / "attributes").write_text("* -filter -text -ident -working-tree-encoding\n")
    return Git(git.commands, path)


def check_out(scratch: Git, commit: str) -> None:
    """Make the scratch repository's work tree what it would be elsewhere, filters and all."""
    info = scratch.repo / ".git" / "info" / "attributes"
    if info.exists():
        info.unlink()
        (scratch.repo / ".git" / "index").unlink()  # or git would take the files for written already
    scratch.run("checkout", "--quiet", "--force", "--detach", commit)


def refuse_missing(git: Git, scratch: Git, selection: Selection) -> None:
    """Refuse where a partial clone lacks files that the revert needs: in the downtime there may be no way to get them.

    :arg git: the partial clone, which would fetch them by itself; ``scratch`` does not.
    """
    if git.run("config", "--get-regexp", r"^remote\..*\.promisor$", check=False).rc:
        return
    pairs = "".join(f"{commit}\n" for commit in selection.commits)
    raw = scratch.run("diff-tree", "-r", "-m", "--raw", "--no-renames", "--no-abbrev", "--stdin", stdin=pairs).out
    blobs = [word for line in raw.splitlines() if line.startswith(":") for word in line.split()[2:4] if word.strip("0")]
    found = scratch.run("cat-file", "--batch-check", stdin="".join(f"{blob}\n" for blob in blobs)).out
    if " missing" in found:
        words = git.say(f"show --format= --stat {' '.join(commit[:10] for commit in selection.commits)}")
        raise PhaseError(
            f"{git.repo} is a partial clone and lacks files of the commits to revert. Fetch them beforehand: {words}"
        )


def is_reverted(git: Git, commit: str, head: str) -> bool:
    """True where the history says that ``commit`` was reverted, and that this was not reverted in turn."""
    by = git.line(
        "log", "--no-show-signature", "--format=%H", "-F", f"--grep=This reverts commit {commit}", f"{commit}..{head}"
    )
    return any(not is_reverted(git, revert, head) for revert in by.split())


def revert_tree(scratch: Git, selection: Selection, head: str, who: Signature) -> str:
    """Revert the commits on top of ``head`` and return the resulting tree.

    :raises Conflict: it does not go without a conflict.
    """
    scratch.run("checkout", "--quiet", "--force", "--detach", head)
    for commit in selection.commits:
        done = scratch.run(
            "revert", "--no-commit", *selection.options(commit), commit, check=False, env=who.environment
        )
        if done.rc:
            files = scratch.names("diff", "--name-only", "--diff-filter=U", "-z")
            scratch.run("reset", "--quiet", "--hard", head)
            if not files:
                raise PhaseError(f"Commit {commit[:10]} could not be reverted in a scratch copy: {done.said}")
            raise Conflict(commit, files)
    return scratch.line("write-tree")


def rehearse_revert(
    scratch: Git, selection: Selection, head: str, who: Signature, subject: str
) -> tuple[str, list[str]]:
    """Make the commit that reverts the commits, in the scratch repository.

    Returns it with the commits that it reverts; it is ``head`` itself where they are reverted already.
    """
    commits = selection.commits
    try:
        tree = revert_tree(scratch, selection, head, who)
    except Conflict:
        # What was reverted already and edited since conflicts with reverting it once more.
        commits = [commit for commit in commits if not is_reverted(scratch, commit, head)]
        if not commits:
            return head, []
        try:
            tree = revert_tree(scratch, selection.only(commits), head, who)
        except Conflict as exc:
            raise _conflict_error(scratch, exc, selection, head) from None
    if tree == scratch.line("rev-parse", f"{head}^{{tree}}"):
        return head, []
    message = "\n".join(f"This reverts commit {commit}." for commit in commits)
    made = scratch.run(
        "commit-tree", tree, "-p", head, "-F", "-", stdin=f"{subject}\n\n{message}\n", env=who.environment
    )
    return made.out.strip(), commits


def _conflict_error(git: Git, conflict: Conflict, selection: Selection, head: str) -> PhaseError:
    """Say what conflicts, which later commits touch the same files, and what to do."""
    commit, files = conflict.commit, conflict.files
    lines = git.line(
        "--literal-pathspecs", "log", "--no-show-signature", "--no-merges", "--format=%H %s", f"{commit}..{head}",
        "--", *files,
    ).splitlines()  # fmt: skip
    later = [line for line in lines if line.split()[0] not in selection.commits]
    advice = ""
    if later:
        shown = "; ".join(f"{line[:10]} {line.partition(' ')[2]}" for line in later[:LATER])
        more = f" and {len(later) - LATER} more" if len(later) > LATER else ""
        advice = f" Later commits changed the same files: {shown}{more}."
        if not more:
            names = ", ".join([line[:10] for line in later] + selection.given)
            advice += f" To roll them back too: git_revert_commits: [{names}]."
    return PhaseError(
        f"Reverting {commit[:10]} ({git.subject(commit)}) conflicts in {named(files)}.{advice} To go back to "
        f"all that was before it: git_revert_method: checkout with git_revert_to: "
        f"{git.resolve(selection.commits[-1] + '^')}",
        files=[printable(name) for name in files],
        commit=commit,
    )


def changes(git: Git, old: str, new: str) -> list[Change]:
    """The files that differ between two commits.

    :raises PhaseError: a submodule differs; switching would leave its files as they are.
    """
    out = git.names("diff-tree", "-r", "--raw", "--no-renames", "--no-abbrev", "-z", old, new)
    found = []
    for info, path in zip(out[::2], out[1::2]):
        old_mode, new_mode, old_blob, new_blob, status = info[1:].split()
        if SUBMODULE in (old_mode, new_mode):
            raise PhaseError(
                f"The rollback would move the submodule {printable(path)}, which this phase does not do. "
                f"Roll it back by a phase of its own: git_revert_repo: {shlex.quote(str(git.repo / path))}"
            )
        found.append(Change(path=path, status=STATUS.get(status[0], "modified"), old=old_blob, new=new_blob))
    return found
