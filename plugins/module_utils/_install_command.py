# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run an install command of uv, pip, poetry, npm or any other tool in a copy of the app. Private to this collection.

The one thing to see to is that the command never reaches the environment that the app runs with now. uv and poetry are
told by variables where to make theirs; pip installs into the environment that it lies in, so it is given a copy.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import typing as t
from pathlib import Path

from ._command import Commands, PhaseError

# Where people have uv and poetry without having them on the PATH of a task: ssh and sudo read no profile.
PLACES = ("~/.local/bin", "~/.cargo/bin", "/usr/local/bin", "/opt/poetry/bin")
_PIP = re.compile(r"pip[\d.]*\Z")
_PYTHON = re.compile(r"python[\d.]*\Z")
# With these, pip and "uv pip" install elsewhere than into the environment that they would find.
_ELSEWHERE = ("--target", "-t", "--prefix", "--root", "--user", "--python", "-p", "--system")


def is_environment(path: Path) -> bool:
    """Whether a directory is what an install command makes as a whole."""
    return path.name == "node_modules" or (path / "pyvenv.cfg").is_file()


def resolved(argv: t.Sequence[str], environ: t.Mapping[str, str]) -> list[str]:
    """The command with a program that is found: on PATH, or where people have uv and poetry.

    :raises PhaseError: there is no such program.
    """
    program, path = argv[0], environ.get("PATH", os.defpath)
    if "/" in program or shutil.which(program, path=path):
        return list(argv)
    found = shutil.which(program, path=os.pathsep.join(os.path.expanduser(place) for place in PLACES))
    if not found:
        raise PhaseError(
            f"There is no program '{program}' on the PATH of this task ({path}), nor in {', '.join(PLACES)}. Install "
            f"it, or give its full path: git_revert_install: [/path/to/{program}, ...]"
        )
    return [found, *argv[1:]]


def moved(argv: t.Sequence[str], folder: Path, project: Path) -> list[str]:
    """The command, with a program inside the project as the one at the same place in ``folder``, a copy of it, where
    there is one.
    """
    program = Path(argv[0])
    if program.is_absolute() and project in program.parents:
        there = folder / program.relative_to(project)
        program = there if there.exists() else program
    elif not program.is_absolute() and len(program.parts) > 1:
        program = (folder if (folder / program).exists() else project) / program
    return [str(program), *argv[1:]]


class Trial:
    """An install command as it is run in a copy.

    :arg argv: the command.
    :arg app: the app's directory, where the command would run.
    :arg top: the top of the work tree, which the app's directory is or lies in.
    :arg tree: the copy of the work tree in which it is tried.
    :arg aside: where an environment is made that does not lie in the work tree.
    """

    def __init__(
        self, commands: Commands, argv: t.Sequence[str], app: Path, top: Path, tree: Path, aside: Path
    ) -> None:
        self.commands, self.app, self.top, self.tree, self.aside = commands, app, top, tree, aside
        self.argv = resolved(argv, commands.environ)
        self.tool = self._tool()
        # how it was before the command ran: files of the copy, whether an environment was made, and what that had
        self.files: set[str] = set()
        self.begun = False
        self.empty: set[str] = set()

    def _tool(self) -> str:
        """What kind of command it is: uv, poetry, pip, or something else (empty)."""
        program, elsewhere = os.path.basename(self.argv[0]), any(w.split("=")[0] in _ELSEWHERE for w in self.argv[1:])
        if program == "uv" and self.argv[1:2] == ["pip"] and elsewhere:
            return "elsewhere"
        if program in ("uv", "poetry"):
            return program
        as_module = _PYTHON.match(program) and self.argv[1:3] == ["-m", "pip"]
        return ("elsewhere" if elsewhere else "pip") if _PIP.match(program) or as_module else ""

    @functools.cached_property
    def live(self) -> Path | None:
        """The virtual environment that the command changes, as far as it is known before it has run."""
        if self.tool in ("uv", "") and self._uv_told:
            return self.app / self._uv_told
        if self.tool == "uv":
            # that of a workspace lies at its root
            folders = [folder for folder in (self.app, *self.app.parents) if self.top in (folder, *folder.parents)]
            return next((f / ".venv" for f in folders if is_environment(f / ".venv")), self.app / ".venv")
        if self.tool == "poetry":
            argv = [self.argv[0], "env", "info", "--path"]
            done = self.commands.run(argv, cwd=self.app, env={"VIRTUAL_ENV": None}, check=False)
            path = done.out.strip() if done.rc == 0 else ""
            return Path(path) if path and os.path.isdir(path) else self.app / ".venv"
        return (self.app / self.argv[0]).parent.parent if self.tool == "pip" else None

    @property
    def _uv_told(self) -> str:
        """Where uv was told to have its environment; it may also be called by a script."""
        return self.commands.environ.get("UV_PROJECT_ENVIRONMENT", "")

    @functools.cached_property
    def fresh(self) -> Path:
        """Where that environment is made when the command is tried."""
        inside = os.path.relpath(str(self.live or self.app / ".venv"), str(self.top))
        return self.aside if inside.startswith("..") else self.tree / inside

    def refuse(self, shown: str) -> None:
        """Refuse a command that would change what runs now."""
        if self.tool == "pip" and not (self.live and (self.live / "pyvenv.cfg").is_file()):
            raise PhaseError(
                f"'{shown}' does not install into a virtual environment, so it would change what the whole host uses. "
                "Give the pip of the app's environment with its path: git_revert_install: [.venv/bin/pip, install, "
                "--require-hashes, -r, requirements.lock]"
            )
        if self.tool == "elsewhere" or any(str(self.top) in word for word in self.words):
            raise PhaseError(
                f"The install command '{shown}' names a place of its own to install into, so it cannot be tried "
                "beforehand: it would change what runs now. Write it relative to the work tree."
            )

    @property
    def words(self) -> list[str]:
        """The command for the trial: a program of the app's environment is that of the new one."""
        if self.tool != "pip":
            return self.argv
        program = str(self.fresh / "bin" / os.path.basename(self.argv[0]))
        return [program, *(word.replace(f"{self.live}/", f"{self.fresh}/") for word in self.argv[1:])]

    @property
    def environment(self) -> dict[str, str | None]:
        """Variables for the trial."""
        found: dict[str, str | None] = {"VIRTUAL_ENV": None}
        if self._uv_told:
            found["UV_PROJECT_ENVIRONMENT"] = str(self.fresh)
        if self.tool == "poetry":
            found["POETRY_VIRTUALENVS_IN_PROJECT"] = "true"
            if self.fresh == self.aside:
                found["VIRTUAL_ENV"] = str(self.fresh)  # poetry uses the one that is active
        return found

    def installed(self) -> set[str]:
        """What is installed in the environment that the command was expected to make."""
        return {path.name for path in self.fresh.glob("lib/python*/site-packages/*")}

    def begin(self) -> bool:
        """Make an empty environment like the app's: the same Python, and the same pip. False where it has none yet."""
        if self.live is None or not (self.live / "bin" / "python").exists():
            return False
        self.fresh.parent.mkdir(parents=True, exist_ok=True)
        python = str(self.live / "bin" / "python")
        self.commands.run([python, "-m", "venv", "--without-pip", self.fresh], env={"VIRTUAL_ENV": None})
        for site in self.live.glob("lib/python*/site-packages"):
            for found in [*site.glob("pip"), *site.glob("pip-*.dist-info")]:
                shutil.copytree(str(found), str(self.fresh / found.relative_to(self.live)), symlinks=True)
        for script in self.live.glob("bin/pip*"):
            copy = self.fresh / "bin" / script.name
            copy.write_bytes(script.read_bytes().replace(os.fsencode(str(self.live)), os.fsencode(str(self.fresh))))
            copy.chmod(0o755)
        return True
