# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Units of systemd as services. Private to this collection."""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
import shutil
import typing as t

from ._command import Commands, Completed, PhaseError
from ._service_manager import FAILED, LOG_LINES, RUNNING, STOPPED, Manager, State


@dataclasses.dataclass(frozen=True)
class Systemd(Manager):
    """Units of systemd, of the system or of the user that we are."""

    scope: str = "system"

    def _run(self, commands: Commands, *args: str, check: bool = False) -> Completed:
        env = {}
        if self.scope == "user" and "XDG_RUNTIME_DIR" not in commands.environ:
            # it is not set after sudo, and systemctl cannot find the user's bus without it
            env["XDG_RUNTIME_DIR"] = f"/run/user/{os.geteuid()}"
        return commands.run(["systemctl", f"--{self.scope}", "--no-ask-password", *args], check=check, env=env)

    def states(self, commands: Commands, names: t.Sequence[str]) -> dict[str, State]:
        """One ``systemctl show`` for all: a block for each unit, in the order asked for."""
        properties = "LoadState,ActiveState,SubState,MainPID,ControlGroup,NRestarts"
        done = self._run(commands, "show", f"--property={properties}", "--", *names, check=True)
        blocks = [block for block in re.split(r"\n\s*\n", done.out.strip()) if block.strip()]
        if len(blocks) != len(names):
            raise PhaseError(
                f"systemctl describes {len(blocks)} units for {' '.join(names)}. "
                "Give each service the name of one unit, without wildcards."
            )
        return {name: parse_unit(block) for name, block in zip(names, blocks)}

    def start(self, commands: Commands, name: str, failed: bool) -> Completed:
        """Start the unit, also one that failed too often within its start limit."""
        if failed:
            self._run(commands, "reset-failed", "--", name)
        return self._run(commands, "start", "--", name)

    def stop(self, commands: Commands, name: str) -> Completed:
        """Stop the unit; returns when systemd is done with it."""
        return self._run(commands, "stop", "--", name)

    def log(self, commands: Commands, name: str) -> list[str]:
        """The journal's last lines."""
        if not shutil.which("journalctl"):
            return []
        option = ["--user-unit", name] if self.scope == "user" else ["-u", name]
        argv = ["journalctl", *option, "-n", str(LOG_LINES), "--no-pager", "-q", "-o", "cat"]
        return commands.run(argv, check=False).out.splitlines()

    def unknown(self, commands: Commands, name: str) -> str:
        """Units with similar names."""
        done = self._run(commands, "list-unit-files", "--type=service", "--no-legend", "--plain", "--no-pager")
        units = [line.split()[0] for line in done.out.splitlines() if line.split()]
        wanted = name if name.endswith(".service") else f"{name}.service"
        near = difflib.get_close_matches(wanted, units, n=5)
        kind = "the user's systemd" if self.scope == "user" else "systemd"
        there = f"Units with similar names: {', '.join(near)}." if near else "Try: systemctl list-unit-files."
        return f"{kind} has no unit {name}. {there}"


def parse_unit(block: str) -> State:
    """The state of one unit from what ``systemctl show`` prints about it."""
    values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
    active, sub = values.get("ActiveState", ""), values.get("SubState", "")
    restarting = active == "activating" and sub.startswith("auto-restart")
    word = STOPPED if active == "inactive" else FAILED if active == "failed" or restarting else RUNNING
    pid = int(values.get("MainPID") or 0)
    return State(
        word,
        f"{active} ({sub})",
        active=active not in ("inactive", "failed"),
        up=active in ("active", "reloading", "refreshing"),
        pids=(pid,) if pid else (),
        restarts=int(values.get("NRestarts") or 0),
        cgroup=values.get("ControlGroup", ""),
        known=values.get("LoadState") not in ("not-found", "bad-setting", "error"),
        stopping=active == "deactivating",
    )
