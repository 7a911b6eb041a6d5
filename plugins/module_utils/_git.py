# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one place that knows how to run git. Private to this collection.

Git runs without the repository's hooks, without signing, without garbage collection, without asking for a password and
with plain English output, whatever the user and the repository have configured. Needs git 2.30 or newer.
"""

from __future__ import annotations

import os
import re
import shlex
import tempfile
import typing as t
from pathlib import Path

from ._command import Commands, Completed, PhaseError

# Each is a setting with which somebody's configuration would change what we do or what we read.
SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",  # may be a hook as well
    "gc.auto=0",
    "maintenance.auto=false",
    "advice.detachedHead=false",
    "commit.gpgsign=false",
    "rerere.enabled=false",
    "i18n.commitEncoding=UTF-8",
    "i18n.logOutputEncoding=UTF-8",
)

# What must not come from outside: it would send git to another repository, index or identity.
ENVIRONMENT: dict[str, str | None] = {
    "GIT_DIR": None,
    "GIT_WORK_TREE": None,
    "GIT_COMMON_DIR": None,
    "GIT_INDEX_FILE": None,
    "GIT_OBJECT_DIRECTORY": None,
    "GIT_ALTERNATE_OBJECT_DIRECTORIES": None,
    "GIT_NAMESPACE": None,
    "GIT_PREFIX": None,
    "GIT_EXTERNAL_DIFF": None,
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",  # reading must not write, not even a refreshed index
    "GIT_PAGER": "cat",
    "GIT_EDITOR": "true",
    "LC_ALL": "C",
}

HASH = re.compile(r"[0-9a-f]{4,64}\Z")


class Git:
    """Git in one repository.

    :arg commands: runs the commands (and knows the deadline).
    :arg repo: the work tree, as git's ``-C``.
    """

    def __init__(self, commands: Commands, repo: str | os.PathLike[str]) -> None:
        self.commands = commands
        self.repo = Path(repo)

    def run(
        self,
        *args: str,
        check: bool = True,
        stdin: str | bytes | None = None,
        env: t.Mapping[str, str | None] | None = None,
    ) -> Completed:
        """Run ``git <args>`` in the repository; arguments as for ``Commands.run``."""
        settings = [word for setting in SETTINGS for word in ("-c", setting)]
        return self.commands.run(
            ["git", *settings, "-C", str(self.repo), *args],
            env=dict(ENVIRONMENT, **(env or {})),
            check=check,
            stdin=stdin,
        )

    def line(self, *args: str) -> str:
        """What ``git <args>`` prints, without the end of line."""
        return self.run(*args).out.rstrip("\n")

    def top(self) -> Path:
        """The top directory of the work tree.

        :raises PhaseError: there is no work tree here, or git refuses to work in it for this user.
        """
        if not self.repo.is_dir():
            raise PhaseError(f"There is no directory {self.repo}. Give the directory of the app's git work tree.")
        done = self.run("rev-parse", "--show-toplevel", check=False)
        if "dubious ownership" in done.err:
            raise PhaseError(
                f"{self.repo} belongs to another user than the one that this task runs as (uid {os.geteuid()}), so git "
                "refuses to work in it. Run the phase as the owner: become_user."
            )
        if done.rc:
            raise PhaseError(
                f"{self.repo} is not a git work tree ({done.said}). Give the directory of the app's git work tree."
            )
        return Path(done.out.rstrip("\n"))

    def git_paths(self, *names: str) -> list[Path]:
        """Where each of ``names`` lies in git's own directory (which differs in linked work trees)."""
        args = [word for name in names for word in ("--git-path", name)]
        return [self.repo / line for line in self.line("rev-parse", *args).splitlines()]

    def head(self) -> str:
        """The commit that HEAD is at, as a full hash.

        :raises PhaseError: there is no commit yet.
        """
        done = self.run("rev-parse", "--verify", "--quiet", "HEAD^{commit}", check=False)
        if done.rc:
            raise PhaseError(f"{self.repo} has no commit yet, so there is nothing to go back to.")
        return done.out.strip()

    def branch(self) -> str:
        """The branch that HEAD is on, without ``refs/heads/``; empty where HEAD is detached."""
        ref = self.run("symbolic-ref", "--quiet", "HEAD", check=False).out.strip()
        return ref[len("refs/heads/") :] if ref.startswith("refs/heads/") else ref

    def resolve(self, rev: str) -> str:
        """The full hash of the commit that ``rev`` names.

        :raises PhaseError: there is no such commit, or more than one.
        """
        done = self.run("rev-parse", "--verify", f"{rev}^{{commit}}", check=False) if rev[:1] not in ("", "-") else None
        if done is None or done.rc:
            several = " (more than one object has a name that begins so)" if done and "ambiguous" in done.err else ""
            raise PhaseError(
                f"There is no commit '{rev}' in {self.repo}{several}. Correct it in the plan, or bring it here: "
                f"git -C {shlex.quote(str(self.repo))} fetch"
            )
        return done.out.strip()

    def resolve_fixed(self, rev: str) -> str:
        """Like ``resolve``, for names that mean the same commit tomorrow: a hash or a tag.

        :raises PhaseError: as for ``resolve``, or the name moves, like a branch or ``HEAD~1``.
        """
        if not HASH.match(rev.lower()):
            tag = self.run("rev-parse", "--verify", "--quiet", f"refs/tags/{rev}^{{commit}}", check=False)
            if tag.rc == 0:
                return tag.out.strip()
            if self.run("rev-parse", "--verify", "--quiet", f"{rev}^{{commit}}", check=False).rc == 0:
                raise PhaseError(
                    f"'{rev}' does not name the same commit at all times. "
                    f"Give its hash instead, which is {self.resolve(rev)} in {self.repo} now, or a tag."
                )
        return self.resolve(rev)

    def is_ancestor(self, earlier: str, later: str) -> bool:
        """True where ``earlier`` is ``later`` or in its history."""
        return self.run("merge-base", "--is-ancestor", earlier, later, check=False).rc == 0

    def dirty(self) -> list[str]:
        """The tracked files that differ from HEAD, in the work tree or in the index."""
        out = self.run("status", "--porcelain=v1", "-z", "--no-renames", "--untracked-files=no").out
        return [entry[3:] for entry in out.split("\0") if entry]

    def is_clean(self) -> bool:
        """True where no tracked file differs from HEAD."""
        return not self.dirty()

    def commit_time(self, rev: str) -> int:
        """When ``rev`` was committed, as Unix time."""
        return int(self.line("log", "-1", "--no-show-signature", "--format=%ct", rev))

    def subject(self, rev: str) -> str:
        """The first line of the message of ``rev``."""
        return self.line("log", "-1", "--no-show-signature", "--format=%s", rev)

    def export(self, rev: str, into: Path, *paths: str) -> None:
        """Write the files of ``rev`` below ``into``, as a checkout would; nothing is written into the repository.

        :arg paths: files and directories, relative to the top of the work tree; everything if none is given.
        """
        into.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=str(into.parent), prefix=".index-") as place:
            git, env = Git(self.commands, self.top()), {"GIT_INDEX_FILE": os.path.join(place, "index")}
            git.run("read-tree", rev, env=env)
            names = git.run("--literal-pathspecs", "ls-files", "--cached", "-z", "--", *paths, env=env).out
            # A prefix ends with a slash: without it git would write "into" + name beside the directory.
            git.run("checkout-index", "--force", "-z", "--stdin", f"--prefix={into}/", stdin=names, env=env)

    def show(self, rev: str, path: str) -> bytes | None:
        """The content of the file ``path`` (relative to the top of the work tree) in ``rev``; None if there is none."""
        with tempfile.TemporaryDirectory(prefix="changeops-") as place:
            into = Path(place) / "tree"
            self.export(rev, into, path)
            file = into / path
            return file.read_bytes() if file.is_file() else None
