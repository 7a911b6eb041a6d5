# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services with an init script, of sysvinit or OpenRC. Private to this collection."""

from __future__ import annotations

import dataclasses
import difflib
import glob
import os
import shutil
import typing as t

from ._command import Commands, Completed
from ._service_command import pids_in
from ._service_manager import FAILED, RUNNING, STOPPED, Manager, State

FOLDER = "/etc/init.d"  # sysvinit has its scripts there, and OpenRC too
CRASHED = 32  # what OpenRC's status ends with for a service whose process has gone, see openrc-run(8)


@dataclasses.dataclass(frozen=True)
class Script(Manager):
    """Init scripts, as ``service NAME start`` and OpenRC's ``rc-service NAME start`` run them."""

    pid_file: str = ""

    def _run(self, commands: Commands, name: str, verb: str, daemon: bool = False) -> Completed:
        return commands.run([_program(), name, verb], check=False, daemon=daemon)

    def states(self, commands: Commands, names: t.Sequence[str]) -> dict[str, State]:
        """The status command's exit codes are the LSB's: 0 is running, all others but OpenRC's 32 are stopped."""
        return {name: self._state(commands, name) for name in names}

    def _state(self, commands: Commands, name: str) -> State:
        if not os.path.exists(os.path.join(FOLDER, name)):
            return State(STOPPED, "unknown", known=False)
        done = self._run(commands, name, "status")
        said = f"exit code {done.rc} of its status"
        enabled = _at_boot(name)
        if done.rc == 0:
            return State(RUNNING, said, active=True, up=True, pids=pids_in(self.pid_file), enabled=enabled)
        return State(FAILED if done.rc == CRASHED else STOPPED, said, enabled=enabled)

    def start(self, commands: Commands, name: str, failed: bool) -> Completed:
        """Run the script; what it leaves behind holds neither our lock nor our pipes."""
        if failed and _program() == "rc-service":
            self._run(commands, name, "zap")  # else OpenRC takes it for started
        return self._run(commands, name, "start", daemon=True)

    def stop(self, commands: Commands, name: str) -> Completed:
        """Run the script."""
        return self._run(commands, name, "stop")

    def gone(self, commands: Commands, name: str) -> bool:
        """Whether the status agrees."""
        return not self._state(commands, name).active

    def comes_back(self, commands: Commands, names: t.Sequence[str]) -> list[str]:
        """Scripts that are run at boot."""
        return [f"If the host reboots meanwhile, init starts {name} again." for name in names if _at_boot(name)]

    def unknown(self, commands: Commands, name: str) -> str:
        """Scripts with similar names."""
        there = sorted(os.listdir(FOLDER)) if os.path.isdir(FOLDER) else []
        near = difflib.get_close_matches(name, there, n=5) or there[:5]
        return f"There is no init script {FOLDER}/{name}. " + (
            f"There is {', '.join(near)}." if near else f"There is nothing in {FOLDER}."
        )

    def faults(self, name: str) -> list[str]:
        """A host without the program."""
        if shutil.which(_program()):
            return []
        return [
            f"{name}: this host has neither systemd nor the program service. "
            "Set its `manager` to supervisord or command, whatever starts it."
        ]


def _program() -> str:
    return "rc-service" if shutil.which("rc-service") else "service"


def _at_boot(name: str) -> bool:
    """Whether a runlevel of sysvinit or OpenRC has it."""
    quoted = glob.escape(name)
    return bool(glob.glob(f"/etc/rc[2-5].d/S[0-9][0-9]{quoted}") or glob.glob(f"/etc/runlevels/*/{quoted}"))
