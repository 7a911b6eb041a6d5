# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one place that knows how to run git. Private to this collection.

Git runs without the repository's hooks, without signing, without garbage collection, without asking for a password and
with plain English output, whatever the user and the repository have configured. Needs git 2.30 or newer.
"""

from __future__ import annotations

import os
import pwd
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
    "submodule.recurse=false",
    "merge.renames=true",  # the same revert gives the same files on every host
    "merge.directoryRenames=conflict",
    "merge.renameLimit=7000",
    "diff.renames=true",
    "diff.algorithm=default",
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
    "GIT_NO_REPLACE_OBJECTS": "1",  # refs/replace are one clone's own
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",  # reading must not write, not even a refreshed index
    "GIT_PAGER": "cat",
    "GIT_EDITOR": "true",
    "LC_ALL": "C",
}

SHOWN = 10  # files named in one sentence
HASH = re.compile(r"[0-9a-f]{4,64}\Z")
STEPS = re.compile(r"(.*?)((?:[~^][0-9]*)*)\Z", re.DOTALL)  # a name, and steps back from it


def owner(uid: int) -> str:
    """The name of a user, to be typed; a number where it has none here."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def quoted(name: str) -> str:
    """A file's name in quotes, with escapes, as git writes and reads it."""
    plain = (chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\{byte:03o}" for byte in os.fsencode(name))
    return '"' + "".join(plain) + '"'


def printable(name: str) -> str:
    """A file's name for a sentence or a result: as it is, or quoted where it holds what cannot be shown."""
    return name if name.isprintable() else quoted(name)


def named(files: t.Sequence[str]) -> str:
    """Files for a sentence; the first few of many."""
    more = f" and {len(files) - SHOWN} more" if len(files) > SHOWN else ""
    return ", ".join(printable(name) for name in files[:SHOWN]) + more


class AsOwner(Commands):
    """Runs commands as ``uid``, where this is root: git refuses to read the work tree of somebody else."""

    uid: int | None = None

    def run(self, argv: t.Sequence[str | os.PathLike[str]], *args: t.Any, **kwargs: t.Any) -> Completed:
        """Run ``argv`` as ``Commands.run`` does."""
        return super().run(argv, *args, **dict(kwargs, uid=self.uid))


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
        errors: str = "replace",
        timeout: float | None = None,
    ) -> Completed:
        """Run ``git <args>`` in the repository; arguments as for ``Commands.run``."""
        settings = [word for setting in SETTINGS for word in ("-c", setting)]
        done = self.commands.run(
            ["git", *settings, "-C", str(self.repo), *args],
            env=dict(ENVIRONMENT, **(env or {})),
            check=False,
            stdin=stdin,
            errors=errors,
            timeout=timeout,
        )
        if check and done.rc:
            words = " ".join(shlex.quote(word) for word in args)
            raise PhaseError(f"'{self.say(words)}' failed with exit code {done.rc}: {done.said}", rc=done.rc)
        return done

    def names(self, *args: str, stdin: str | None = None, env: t.Mapping[str, str | None] | None = None) -> list[str]:
        """The names of files that ``git <args>`` prints with NUL between them; they need not be UTF-8 (PEP 383)."""
        out = self.run(*args, stdin=stdin, env=env, errors="surrogateescape").out
        return [name for name in out.split("\0") if name]

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
        if "dubious ownership" in done.err or "owned by someone else" in done.err:
            whose = owner(self.repo.stat().st_uid)
            raise PhaseError(
                f"{self.repo} belongs to {whose}, and this task runs as {owner(os.geteuid())}, so git refuses to work "
                f"in it. Run the phase as the owner: become_user: {whose}"
            )
        if done.rc and self.run("rev-parse", "--git-dir", check=False).rc == 0:
            raise PhaseError(
                f"{self.repo} has no files to roll back: it is a bare repository, or git's own directory. Give the "
                "directory of the app's git work tree."
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

    def boundary(self) -> set[str]:
        """The commits of a shallow clone whose parents it does not have; git takes them for the first ones."""
        (file,) = self.git_paths("shallow")
        return set(file.read_text().split()) if file.exists() else set()

    def say(self, words: str) -> str:
        """A git command to type."""
        return f"git -C {shlex.quote(str(self.repo))} {words}"

    def fetch_words(self) -> str:
        """What brings here what is missing, to be typed."""
        return self.say("fetch --unshallow" if self.boundary() else "fetch")

    def resolve(self, rev: str) -> str:
        """The full hash of the commit that ``rev`` names.

        :raises PhaseError: there is no such commit, or more than one.
        """
        done = self.run("rev-parse", "--verify", f"{rev}^{{commit}}", check=False) if rev[:1] not in ("", "-") else None
        if done is None or done.rc:
            several = " (more than one object has a name that begins so)" if done and "ambiguous" in done.err else ""
            shallow = ", which is a shallow clone" if self.boundary() else ""
            raise PhaseError(
                f"There is no commit '{rev}' in {self.repo}{several}{shallow}. Correct it in the plan, or bring it "
                f"here: {self.fetch_words()}"
            )
        return done.out.strip()

    def resolve_fixed(self, rev: str) -> str:
        """Like ``resolve``, for names that mean the same commit tomorrow: a hash or a tag, ``^`` or ``~1`` behind it.

        :raises PhaseError: as for ``resolve``, or the name moves, like a branch or ``HEAD~1``.
        """
        name, steps = t.cast("re.Match[str]", STEPS.match(rev)).groups()
        tag = self.run("rev-parse", "--verify", "--quiet", f"refs/tags/{name}^{{commit}}", check=False)
        if tag.rc == 0:
            return self.resolve(tag.out.strip() + steps)
        commit = self.resolve(rev)
        # A branch may be called like a short hash, and git takes the branch then.
        if not (HASH.match(name.lower()) and self.resolve(name).startswith(name.lower())):
            raise PhaseError(
                f"'{rev}' does not name the same commit at all times. "
                f"Give its hash instead, which is {commit} in {self.repo} now, or a tag."
            )
        return commit

    def is_ancestor(self, earlier: str, later: str) -> bool:
        """True where ``earlier`` is ``later`` or in its history."""
        return self.run("merge-base", "--is-ancestor", earlier, later, check=False).rc == 0

    def dirty(self) -> list[str]:
        """The tracked files that differ from HEAD, in the work tree or in the index."""
        args = ["--porcelain=v1", "-z", "--no-renames", "--untracked-files=no", "--ignore-submodules=dirty"]
        return [entry[3:] for entry in self.names("status", *args)]

    def is_clean(self) -> bool:
        """True where no tracked file differs from HEAD."""
        return not self.dirty()

    def commit_time(self, rev: str) -> int:
        """When ``rev`` was committed, as Unix time."""
        return int(self.line("log", "-1", "--no-show-signature", "--format=%ct", rev))

    def subject(self, rev: str) -> str:
        """The first line of the message of ``rev``."""
        return self.line("log", "-1", "--no-show-signature", "--format=%s", rev)

    def export(self, rev: str, into: Path, *paths: str, objects: Path | None = None) -> None:
        """Write the files of ``rev`` below ``into``, as a checkout would; nothing is written into the repository.

        :arg paths: files and directories, relative to the top of the work tree; everything if none is given.
        :arg objects: a directory of objects that ``rev`` needs beside the repository's own.
        """
        into.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=str(into.parent), prefix=".index-") as place:
            git, env = Git(self.commands, self.top()), {"GIT_INDEX_FILE": os.path.join(place, "index")}
            if objects:
                env["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = str(objects)
            git.run("read-tree", "--no-sparse-checkout", rev, env=env)
            names = git.names("--literal-pathspecs", "ls-files", "--cached", "-z", "--", *paths, env=env)
            # A prefix ends with a slash: without it git would write "into" + name beside the directory.
            git.run("checkout-index", "--force", "-z", "--stdin", f"--prefix={into}/", stdin="\0".join(names), env=env)

    def show(self, rev: str, path: str) -> bytes | None:
        """The content of the file ``path`` (relative to the top of the work tree) in ``rev``; None if there is none."""
        with tempfile.TemporaryDirectory(prefix="changeops-") as place:
            into = Path(place) / "tree"
            self.export(rev, into, path)
            file = into / path
            return file.read_bytes() if file.is_file() else None


def git_of_owner(repo: str, commands: AsOwner) -> Git:
    """Git in ``repo``, for root as the owner of it."""
    if os.geteuid() == 0 and os.path.isdir(repo):
        commands.uid = os.stat(repo).st_uid
    return Git(commands, repo)
