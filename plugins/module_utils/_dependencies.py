# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the app needs, installed before the stop and put in its place in the downtime. Private to this collection.

Preflight runs the install command in a copy of the earlier release, below the restore point. The environments that
this makes (virtual environments, ``node_modules``) are what main moves in, so that the downtime needs no network and
no package index, whatever the tool. Those that were in their place are moved into the restore point, and recover moves
them back as they were: no network there either.

An environment knows its own path, so a prepared one is made to name the place where it goes (see ``_relocation.py``).
"""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import typing as t
from pathlib import Path

from ._bytecode import take_over
from ._command import PhaseError
from ._install_command import Trial, is_environment, resolved
from ._phase import Context
from ._relocation import move, relocate

HINT = (
    "Nothing was changed. Correct it (git_revert_install), or do without the trial: git_revert_rehearse_install: false"
)
# What a command leaves beside an environment and what the app does without.
BY_THE_WAY = ("/__pycache__/", ".egg-info/", "/build/lib", "/build/bdist")


class Prepared(t.TypedDict):
    """One environment that preflight made: where it lies, where it goes, and where the old one is kept."""

    fresh: str
    path: str
    kept: str
    existed: bool


class Dependencies:
    """The install command of a phase.

    :arg app: the app's directory in the work tree, where the command runs.
    """

    def __init__(self, ctx: Context, app: Path) -> None:
        self.ctx = ctx
        self.app = app
        self.argv: list[str] = ctx.params["install"]
        self.shown = shlex.join(self.argv)

    def attempt(self, tree: Path, top: Path, what: str) -> Trial:
        """Run the command in a copy of the earlier release.

        :arg tree: the copy of the work tree.
        :arg top: the top of the work tree.
        :arg what: the release, for messages.
        :raises PhaseError: it fails, or cannot be tried there.
        """
        aside = self.ctx.point.scratch_path / "venv"
        try:
            trial = Trial(self.ctx.commands, self.argv, self.app, top, tree, aside)
            trial.refuse(self.shown)
            if trial.live:
                self._refuse_foreign(trial.live)
            trial.files = _files(tree)
            trial.begun = trial.begin()
            trial.empty = trial.installed()
            cwd = tree / self.app.relative_to(top)
            done = self.ctx.commands.run(trial.words, cwd=cwd, env=trial.environment, check=False)
        except PhaseError as exc:
            raise PhaseError(f"{exc} {HINT}", **exc.facts) from exc
        if done.rc:
            raise PhaseError(
                f"The install command '{self.shown}' fails (exit code {done.rc}) in a copy of {what}: "
                f"{done.said.rstrip('.')}. {HINT}"
            )
        return trial

    def prepare(self, trial: Trial) -> dict[str, t.Any]:
        """Note the environments that the command made in the copy, and make them fit for the app's place."""
        tree, top, aside = trial.tree, trial.top, trial.aside
        made = [(fresh, top / fresh.relative_to(tree)) for fresh in _environments(tree)]
        if trial.live and trial.fresh == aside and is_environment(aside):
            made.append((aside, trial.live))
        if trial.begun and trial.installed() == trial.empty:
            # the command has another one: an empty one must not replace what the app has
            made = [(fresh, path) for fresh, path in made if fresh != trial.fresh]
        beside = [name for name in _files(tree) - trial.files if not any(word in name for word in BY_THE_WAY)]
        return {
            "environments": [
                self._prepare(fresh, path, {str(fresh): str(path), str(tree): str(top)}, n)
                for n, (fresh, path) in enumerate(made)
            ],
            "run_install": bool(beside) or not made,
        }

    def said(self, prepared: dict[str, t.Any]) -> str:
        """What the trial showed, for the user."""
        found = [one["path"] for one in prepared["environments"]]
        words = f" '{self.shown}' works there."
        if found:
            words += f" What it made is ready to be put in place of {', '.join(found)}."
        if prepared["run_install"]:
            words += " It is run again in the downtime" + (
                ", for the files that it makes beside that." if found else "."
            )
        return words

    def _prepare(self, fresh: Path, path: Path, places: dict[str, str], number: int) -> Prepared:
        self._refuse_foreign(path)
        relocate(fresh, places)
        take_over(path, fresh)
        kept = self.ctx.point.part / "environments" / str(number)
        place = os.path.realpath(str(path))  # a symlink stays, and what it points to is replaced
        return Prepared(fresh=str(fresh), path=place, kept=str(kept), existed=os.path.isdir(place))

    def _refuse_foreign(self, path: Path) -> None:
        """Refuse an environment of another user: it would be replaced by one of this user."""
        place = path.resolve()
        if not place.is_dir():
            return
        owner = _user(place.stat().st_uid)
        if owner != _user(os.geteuid()) or not os.access(str(place.parent), os.W_OK):
            raise PhaseError(
                f"{place} belongs to {owner}, and this task runs as {_user(os.geteuid())}, who cannot replace it. Run "
                f"the phase as its owner: become_user: {owner}"
            )

    def install(self, standing: str) -> None:
        """Put the prepared environments in place; run the command where that is not all that it does.

        :arg standing: what to tell the user beside a failure.
        """
        if not self.argv:
            return
        for one in self._prepared:
            self._swap(one)
        if self.ctx.prepared.get("run_install", True):
            self._run(standing)

    def put_back(self, standing: str) -> None:
        """Put the environments back that were there before; run the command where nothing was prepared."""
        if not self.argv:
            return
        for one in self._prepared:
            path, kept = Path(one["path"]), Path(one["kept"])
            if kept.is_dir() or not one["existed"]:
                shutil.rmtree(str(path), ignore_errors=True)
            if kept.is_dir():
                move(kept, path)
        if self.ctx.prepared.get("run_install", True):
            self._run(standing)

    def refuse_gone(self) -> None:
        """Refuse where an environment that ``put_back`` would bring back is not kept any more.

        :raises PhaseError: names it.
        """
        gone = [one for one in self._prepared if one["existed"] and not Path(one["kept"]).is_dir()]
        if self.argv and gone:
            raise PhaseError(
                f"{gone[0]['kept']}, where the environment {gone[0]['path']} was kept, is gone. Bring it back from a "
                "backup of the host, or deploy the release with your deploy tool."
            )

    @property
    def _prepared(self) -> list[Prepared]:
        return t.cast("t.List[Prepared]", self.ctx.prepared.get("environments", []))

    def _swap(self, one: Prepared) -> None:
        """Move the old environment to the restore point and the new one in; goes on where it was interrupted."""
        path, fresh, kept = Path(one["path"]), Path(one["fresh"]), Path(one["kept"])
        if one["existed"] and not kept.is_dir():
            kept.parent.mkdir(mode=0o700, exist_ok=True)
            move(path, kept)
        if fresh.is_dir():
            shutil.rmtree(str(path), ignore_errors=True)  # what is left of an interrupted move
            move(fresh, path)
        if not path.is_dir():
            raise PhaseError(
                f"{fresh}, which preflight prepared for {path}, is gone. Run recover, which puts the old one back."
            )

    def _run(self, standing: str) -> None:
        try:
            argv = resolved(self.argv, self.ctx.commands.environ)
            self.ctx.commands.run(argv, cwd=self.app, env={"VIRTUAL_ENV": None, "npm_config_prefer_offline": "true"})
        except PhaseError as exc:
            raise PhaseError(f"The install command failed in {self.app}: {exc} {standing}", **exc.facts) from exc


def _environments(tree: Path) -> list[Path]:
    """The environments below a directory, the topmost ones."""
    found = []
    for folder, names, _files in os.walk(str(tree)):
        paths = [Path(folder) / name for name in names if name != ".git"]
        made = [path for path in paths if is_environment(path)]
        found += made
        names[:] = [path.name for path in paths if path not in made]
    return sorted(found)


def _files(tree: Path) -> set[str]:
    """The files below a directory, without those of environments and git."""
    found = set()
    for folder, names, files in os.walk(str(tree)):
        names[:] = [name for name in names if name != ".git" and not is_environment(Path(folder) / name)]
        found |= {os.path.join(folder, name) for name in files}
    return found


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
