# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The work tree that is rolled back: look at it, switch it, mend a half-done switch. Private to this collection."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import typing as t
from pathlib import Path

from ._command import PhaseError
from ._git import Git
from ._git_rehearsal import Change
from ._phase import Context
from ._restore_point import make_private

# git's name for the state file of each unfinished operation, and what ends it.
UNFINISHED = {
    "MERGE_HEAD": ("a merge", "merge --abort"),
    "REVERT_HEAD": ("a revert", "revert --abort"),
    "CHERRY_PICK_HEAD": ("a cherry-pick", "cherry-pick --abort"),
    "rebase-merge": ("a rebase", "rebase --abort"),
    "rebase-apply": ("a rebase or git am", "rebase --abort"),
    "BISECT_LOG": ("a bisection", "bisect reset"),
}
SHOWN = 10  # files named in one sentence
SCRATCH_REF = "refs/heads/target"  # where the scratch repository keeps the commit


class Place:
    """The repository that a step works on."""

    def __init__(self, ctx: Context) -> None:
        given = Path(ctx.params["repo"]).expanduser()
        self.ctx = ctx
        self.repo = Git(ctx.commands, given).top()
        self.git = Git(ctx.commands, self.repo)
        # The app may live below the top of the work tree; its install command runs there.
        self.below = os.path.relpath(os.path.realpath(str(given)), os.path.realpath(str(self.repo)))
        self.ref = f"refs/changeops/{ctx.point.root.name}/{ctx.point.phase}"

    def say(self, words: str) -> str:
        """A git command to type."""
        return f"git -C {shlex.quote(str(self.repo))} {words}"

    def locks(self) -> list[Path]:
        """The lock files that a killed git leaves behind."""
        branch = self.git.branch()
        names = ["index.lock", "HEAD.lock"] + ([f"refs/heads/{branch}.lock"] if branch else [])
        return [path for path in self.git.git_paths(*names) if path.exists()]

    def position(self) -> dict[str, str]:
        """Where the work tree stands."""
        return {"commit": self.git.head(), "branch": self.git.branch()}

    def refuse_unfinished(self) -> None:
        """Refuse to work in the middle of somebody's work."""
        for path, (what, words) in zip(self.git.git_paths(*UNFINISHED), UNFINISHED.values()):
            if path.exists():
                raise PhaseError(
                    f"{what[0].upper()}{what[1:]} is unfinished in {self.repo}. Finish it, or give it up: "
                    f"{self.say(words)}"
                )
        for lock in self.locks():
            raise PhaseError(
                f"{lock} exists: another git works in {self.repo}, or was killed there. "
                f"If none does (ps -ef | grep git), type: rm {shlex.quote(str(lock))}"
            )
        dirty = self.git.dirty()
        if dirty:
            raise PhaseError(
                f"{self.repo} has uncommitted changes in {named(dirty)}. They would be lost or in the way. "
                f"Keep them with: {self.say('stash')} (or: {self.say('commit -a')})",
                files=dirty,
            )

    def refuse_in_the_way(self, files: list[Change]) -> None:
        """Refuse where untracked files stand where the switch would write; git would overwrite ignored ones."""
        obstacles = self._in_the_way(files)
        if obstacles:
            raise PhaseError(
                f"Untracked files in {self.repo} stand where the rollback brings files back: {named(obstacles)}. "
                f"Move them away, for example: mv {shlex.quote(str(self.repo / obstacles[0]))} /tmp/",
                files=obstacles,
            )

    def _in_the_way(self, files: list[Change]) -> list[str]:
        found: list[str] = []
        tracked = set(self.git.run("ls-files", "-z").out.split("\0"))
        for change in files:
            if change["status"] != "added":
                continue
            names = [change["path"], *(str(p) for p in Path(change["path"]).parents if str(p) != ".")]
            for name in names:
                path = self.repo / name
                if not os.path.lexists(str(path)) or name in tracked:
                    continue
                if path.is_symlink() or not path.is_dir():
                    found.append(name)
                elif name == change["path"]:
                    found += self._untracked(name)
        return list(dict.fromkeys(found))

    def _untracked(self, name: str) -> list[str]:
        """The untracked files below the directory ``name``."""
        out = self.git.run("--literal-pathspecs", "ls-files", "--others", "-z", "--", name).out
        return [entry for entry in out.split("\0") if entry]

    @property
    def moves_branch(self) -> bool:
        """The branch goes along (method revert), rather than HEAD leaving it (method checkout)."""
        return bool(self.ctx.params["method"] == "revert")

    def found(self) -> dict[str, str]:
        """Where the last preflight before main found the work tree."""
        return {"commit": self.ctx.prepared["base"], "branch": self.ctx.prepared["branch"]}

    def goal(self, prepared: dict[str, t.Any] | None = None) -> dict[str, str]:
        """Where main brings the work tree."""
        prepared = prepared or self.ctx.prepared
        if prepared["target"] == prepared["base"]:
            return {"commit": prepared["base"], "branch": prepared["branch"]}
        return {"commit": prepared["target"], "branch": prepared["branch"] if self.moves_branch else ""}

    def half_done(self) -> bool:
        """True where a switch, forth or back, may have been interrupted in the middle.

        The ref is looked at as well: it is made before the switch and removed after it, also by a main that goes on
        working on this host after its controller was killed.
        """
        stage = self.ctx.prepared.get("stage")
        if stage in ("switching", "recovering"):
            return True
        ref = self.git.run("rev-parse", "--verify", "--quiet", self.ref, check=False).out.strip()
        return stage == "rehearsed" and self.ctx.resumed and ref == self.ctx.prepared["target"]

    def refuse_elsewhere(self, here: dict[str, str], then: str = "") -> None:
        """Refuse where somebody moved the work tree since preflight.

        :arg then: what to do about it; by default, to put it where preflight found it.
        """
        found, goal = self.found(), self.goal()
        if here in (found, goal):
            return
        if not then:
            words = f"reset --keep {found['commit']}" if here["branch"] else f"checkout {found['branch']}"
            then = f"Put it where it was ({self.say(words)}) and run the same command again."
        raise PhaseError(
            f"Somebody moved {self.repo} since preflight: it stands at {_spot(here)}, where {_spot(found)} (before the "
            f"rollback) or {_spot(goal)} (after it) was expected. Look at it with: {self.say('log --oneline -5')}. "
            + then
        )

    def bring(self, target: str) -> None:
        """Bring the objects of ``target`` over from the scratch repository and keep them with a ref."""
        if not self.moves_branch:
            self.git.run("update-ref", self.ref, target)
            return
        scratch = self.ctx.point.scratch_path / "tree"
        if not scratch.is_dir():
            raise PhaseError(f"{scratch}, where preflight made the commit, is gone. Run preflight again.")
        refspec = f"+{SCRATCH_REF}:{self.ref}"
        self.git.run(
            "fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head", str(scratch), refspec
        )

    def switch(self, commit: str, branch: str) -> None:
        """Go to ``commit`` on ``branch`` (empty: on none); what somebody changed in other files is kept."""
        env = {"GIT_REFLOG_ACTION": "changeops.rollback"}
        if self.moves_branch:
            # Files that were only touched would count as changed otherwise.
            self.git.run("update-index", "-q", "--refresh", check=False)
            self.git.run("reset", "--quiet", "--keep", commit, env=env)
        elif branch:
            self.git.run("checkout", "--quiet", branch, "--", env=env)
        else:
            self.git.run("checkout", "--quiet", "--detach", commit, env=env)

    def prove(self, expected: dict[str, str]) -> None:
        """Check that a switch ended where it should have."""
        here, files = self.position(), {change["path"] for change in self.ctx.prepared["files"]}
        wrong = [name for name in self.git.dirty() if name in files]
        if here != expected or wrong:
            raise PhaseError(
                f"After the switch, {self.repo} stands at {_spot(here)} where {_spot(expected)} was expected"
                + (f", and differs in {named(wrong)}" if wrong else "")
                + f". Look at it with: {self.say('status')}"
            )

    def settle(self, files: list[Change]) -> list[str]:
        """Make ``files`` as HEAD has them, after a switch that was interrupted at any point. Returns warnings.

        The tree had no changes when the switch began, so what differs now in ``files`` is half of the switch. A file
        that is neither as before nor as after it may be half-written, or somebody's: it is set aside first. Other
        files are not touched.
        """
        for lock in self.locks():
            lock.unlink()  # we hold the work lock, so no git of ours still runs, and we noted that one was started
        aside = self.set_aside(files)
        self.git.run("reset", "--quiet")  # the index as HEAD has it; files stay
        head = {name for name in self.git.run("ls-files", "-z").out.split("\0") if name}
        for change in files:
            if change["path"] not in head:
                with contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
                    (self.repo / change["path"]).unlink()
        present = [change["path"] for change in files if change["path"] in head]
        self.git.run("checkout-index", "--force", "-z", "--stdin", stdin="".join(f"{p}\0" for p in present))
        self.git.run("update-index", "-q", "--refresh", check=False)
        if not aside:
            return []
        return [
            f"In {self.repo}, {named(aside)} had content of neither release. "
            f"It was kept in {self.ctx.point.part / 'set-aside'} before it was replaced."
        ]

    def set_aside(self, files: list[Change]) -> list[str]:
        """Copy what is in ``files`` neither before nor after the change into the restore point."""
        present = [c for c in files if (self.repo / c["path"]).is_file() and not (self.repo / c["path"]).is_symlink()]
        blobs = self.git.run("hash-object", "--stdin-paths", stdin="".join(c["path"] + "\n" for c in present)).out
        aside = [c["path"] for c, blob in zip(present, blobs.split()) if blob not in (c["old"], c["new"])]
        for name in aside:
            copy = self.ctx.point.part / "set-aside" / name
            make_private(copy.parent)
            shutil.copy2(str(self.repo / name), str(copy))
        return aside

    def install(self, standing: str) -> None:
        """Run the install command in the work tree.

        :arg standing: what to tell the user beside the failure.
        """
        argv = self.ctx.params["install"]
        if argv:
            try:
                self.ctx.commands.run(argv, cwd=self.repo / self.below, env={"VIRTUAL_ENV": None})
            except PhaseError as exc:
                raise PhaseError(f"The install command failed in {self.repo}: {exc} {standing}", **exc.facts) from exc

    def forget_target(self) -> None:
        """Remove the ref that kept the target while HEAD was not yet there."""
        self.git.run("update-ref", "-d", self.ref, check=False)


def named(files: t.Sequence[str]) -> str:
    """Files for a sentence; the first few of many."""
    more = f" and {len(files) - SHOWN} more" if len(files) > SHOWN else ""
    return ", ".join(files[:SHOWN]) + more


def _spot(place: dict[str, str]) -> str:
    """A place for a sentence."""
    return f"{place['commit'][:10]} on {place['branch'] or 'no branch'}"
