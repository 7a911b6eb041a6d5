# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services that are started and stopped by given commands. Private to this collection."""

from __future__ import annotations

import dataclasses
import shutil
import typing as t

from ._command import Commands, Completed, PhaseError
from ._processes import stat
from ._service_manager import RUNNING, STOPPED, Manager, State


@dataclasses.dataclass(frozen=True)
class Given(Manager):
    """A service with its own commands (argument lists)."""

    start_argv: tuple[str, ...] = ()
    stop_argv: tuple[str, ...] = ()
    status_argv: tuple[str, ...] = ()
    pid_file: str = ""
    running_when: str = "exit_code"

    def states(self, commands: Commands, names: t.Sequence[str]) -> dict[str, State]:
        """What the status command says: by its exit code (3, as the LSB says, and all others but 0 are stopped), or by
        printing something, as ``docker compose ps -q`` does."""
        done = commands.run(self.status_argv, check=False)
        said = f"exit code {done.rc} of its status command"
        running = done.rc == 0
        if self.running_when == "output":
            if not running:  # neither stopped nor running: the engine is down, say
                raise PhaseError(
                    f"The status command of {names[0]} failed with exit code {done.rc}: {done.said}. "
                    "With `running_when: output` it has to end with 0, and print something only when the service runs."
                )
            running = bool(done.out.strip())
            said = f"{'something' if running else 'nothing'} printed by its status command"
        if not running:
            return {name: State(STOPPED, said) for name in names}
        return dict.fromkeys(names, State(RUNNING, said, active=True, up=True, pids=pids_in(self.pid_file)))

    def start(self, commands: Commands, name: str, failed: bool) -> Completed:
        """Run the start command; what it leaves behind holds neither our lock nor our pipes."""
        return commands.run(self.start_argv, check=False, daemon=True)

    def stop(self, commands: Commands, name: str) -> Completed:
        """Run the stop command."""
        return commands.run(self.stop_argv, check=False)

    def gone(self, commands: Commands, name: str) -> bool:
        """Whether the status command agrees."""
        return not self.states(commands, [name])[name].active

    def faults(self, name: str) -> list[str]:
        """Commands whose program is missing."""
        given = {"start": self.start_argv, "stop": self.stop_argv, "status": self.status_argv}
        return [
            f"{name}: the {verb} command cannot run, there is no program {argv[0]} on this host."
            for verb, argv in given.items()
            if not shutil.which(argv[0])
        ]


def pids_in(pid_file: str) -> tuple[int, ...]:
    """The process whose id stands in ``pid_file``, if it is alive."""
    try:
        with open(pid_file) as stream:
            pid = int(stream.read().split()[0])
    except (OSError, ValueError, IndexError):
        return ()
    return (pid,) if pid > 0 and stat(pid) else ()
