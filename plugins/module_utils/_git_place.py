# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The work tree that is rolled back: look at it, switch it, mend a half-done switch. Private to this collection."""

from __future__ import annotations

import contextlib
import os
import shutil
import typing as t
from pathlib import Path

from ._command import PhaseError
from ._git import Git, named, quoted
from ._git_obstacles import locks, through_link
from ._git_rehearsal import Change
from ._phase import Context
from ._restore_point import make_private

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
        self.app = self.repo / self.below
        self.ref = f"refs/changeops/{ctx.point.root.name}/{ctx.point.phase}"

    def position(self) -> dict[str, str]:
        """Where the work tree stands."""
        return {"commit": self.git.head(), "branch": self.git.branch()}

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
            then = f"Put it where it was ({self.git.say(words)}) and run the same command again."
        raise PhaseError(
            f"Somebody moved {self.repo} since preflight: it stands at {_spot(here)}, where {_spot(found)} (before the "
            f"rollback) or {_spot(goal)} (after it) was expected. Look at it with: {self.git.say('log --oneline -5')}. "
            + then
        )

    def refuse_moved(self, here: dict[str, str]) -> None:
        """Refuse to undo where the work tree has moved on since the rollback.

        :raises PhaseError: says how to take the change back in from there.
        """
        goal = self.goal()
        if here != goal:
            raise PhaseError(
                f"{self.repo} has moved on since the rollback: it stands at {_spot(here)}, and was left at "
                f"{_spot(goal)}. Undo what came after it first. To keep that, and bring the change back on top of it, "
                f"revert the revert where you deploy from: git revert {goal['commit'][:10]}"
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
                + f". Look at it with: {self.git.say('status')}"
            )

    def settle(self, files: list[Change]) -> list[str]:
        """Make ``files`` as HEAD has them, after a switch that was interrupted at any point. Returns warnings.

        The tree had no changes when the switch began, so what differs now in ``files`` is half of the switch. A file
        that is neither as before nor as after it may be half-written, or somebody's: it is set aside first. Other
        files are not touched.
        """
        for lock in locks(self.git):
            lock.unlink()  # we hold the work lock, so no git of ours still runs, and we noted that one was started
        aside = self.set_aside(files)
        self.git.run("reset", "--quiet")  # the index as HEAD has it; files stay
        # S: outside of a sparse checkout, so that it is in the index and no file
        head = {entry[2:]: entry[0] for entry in self.git.names("ls-files", "-t", "-z")}
        for change in files:
            if head.get(change["path"], "S") == "S" and not through_link(self.repo, change["path"]):
                self._remove(change["path"])
        present = [change["path"] for change in files if head.get(change["path"], "S") != "S"]
        self.git.run("checkout-index", "--force", "-z", "--stdin", stdin="".join(f"{p}\0" for p in present))
        self.git.run("update-index", "-q", "--refresh", check=False)
        if not aside:
            return []
        return [
            f"In {self.repo}, {named(aside)} had content of neither release. "
            f"It was kept in {self.ctx.point.part / 'set-aside'} before it was replaced."
        ]

    def _remove(self, name: str) -> None:
        """Remove a file, and the folders that this leaves empty, as git does."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
            (self.repo / name).unlink()
        with contextlib.suppress(OSError):
            for parent in list(Path(name).parents)[:-1]:
                (self.repo / parent).rmdir()

    def set_aside(self, files: list[Change]) -> list[str]:
        """Copy what is in ``files`` neither before nor after the change into the restore point."""
        names = {c["path"]: c for c in files if not through_link(self.repo, c["path"])}
        present = [name for name in names if (self.repo / name).is_file() and not (self.repo / name).is_symlink()]
        blobs = self.git.run("hash-object", "--stdin-paths", stdin="".join(quoted(name) + "\n" for name in present)).out
        aside = [n for n, blob in zip(present, blobs.split()) if blob not in (names[n]["old"], names[n]["new"])]
        for name in aside:
            copy = self.ctx.point.part / "set-aside" / name
            make_private(copy.parent)
            shutil.copy2(str(self.repo / name), str(copy))
        return aside

    def forget_target(self) -> None:
        """Remove the ref that kept the target while HEAD was not yet there."""
        self.git.run("update-ref", "-d", self.ref, check=False)


def _spot(place: dict[str, str]) -> str:
    """A place for a sentence."""
    return f"{place['commit'][:10]} on {place['branch'] or 'no branch'}"
