# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Units of systemd as services. Private to this collection."""

from __future__ import annotations

import dataclasses
import difflib
import os
import pwd
import re
import shutil
import typing as t

from ._command import Commands, Completed, PhaseError
from ._service_hold import drop_ins, held, hold, may_hold, release
from ._service_manager import FAILED, LOG_LINES, RUNNING, STOPPED, WORKING, Manager, State
from ._words import listed


@dataclasses.dataclass(frozen=True)
class Systemd(Manager):
    """Units of systemd, of the system or of the user that we are."""

    scope: str = "system"

    def run(self, commands: Commands, *args: str) -> Completed:
        """Run ``systemctl`` for this scope."""
        env = {}
        if self.scope == "user" and "XDG_RUNTIME_DIR" not in commands.environ:
            # it is not set after sudo, and systemctl cannot find the user's bus without it
            env["XDG_RUNTIME_DIR"] = f"/run/user/{os.geteuid()}"
        return commands.run(["systemctl", f"--{self.scope}", "--no-ask-password", *args], check=False, env=env)

    def _show(self, commands: Commands, properties: str, names: t.Sequence[str]) -> list[dict[str, str]]:
        done = self.run(commands, "show", f"--property={properties}", "--", *names)
        if done.rc != 0:
            raise PhaseError(self._no_answer(done))
        blocks = [block for block in re.split(r"\n\s*\n", done.out.strip()) if block.strip()]
        return [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in blocks]

    def _no_answer(self, done: Completed) -> str:
        if self.scope == "user":
            user = pwd.getpwuid(os.geteuid()).pw_name
            return (
                f"The systemd of user {user} does not answer: {done.said}. "
                f"Let it run without a login: loginctl enable-linger {user}"
            )
        return (
            f"systemd does not answer: {done.said}. Where another init runs, in a container say, "
            "set the service's `manager` to service, supervisord or command."
        )

    def show(self, commands: Commands, properties: str, names: t.Sequence[str]) -> list[dict[str, str]]:
        """Properties of units, in the order asked for.

        :raises PhaseError: systemd does not answer, or one of the names is a pattern.
        """
        blocks = self._show(commands, properties, names)
        if len(blocks) != len(names):
            raise PhaseError(
                f"systemctl describes {len(blocks)} units for {' '.join(names)}. "
                "Give each service the name of one unit, without wildcards."
            )
        return blocks

    def loaded(self, commands: Commands, pattern: str) -> list[str]:
        """The loaded units that match ``pattern``."""
        return sorted(block["Id"] for block in self._show(commands, "Id", [pattern]) if block.get("Id"))

    def states(self, commands: Commands, names: t.Sequence[str]) -> dict[str, State]:
        """One ``systemctl show`` for all."""
        properties = "LoadState,ActiveState,SubState,MainPID,ControlGroup,NRestarts,Type,RemainAfterExit,UnitFileState"
        return {name: unit_state(block) for name, block in zip(names, self.show(commands, properties, names))}

    def start(self, commands: Commands, name: str, failed: bool) -> Completed:
        """Start the unit, also one that failed too often within its start limit."""
        if failed:
            self.run(commands, "reset-failed", "--", name)
        return self.run(commands, "start", "--", name)

    def stop(self, commands: Commands, name: str) -> Completed:
        """Stop the unit; returns when systemd is done with it."""
        return self.run(commands, "stop", "--", name)

    def log(self, commands: Commands, name: str) -> list[str]:
        """The journal's last lines."""
        if not shutil.which("journalctl"):
            return []
        option = ["--user-unit", name] if self.scope == "user" else ["-u", name]
        argv = ["journalctl", *option, "-n", str(LOG_LINES), "--no-pager", "-q", "-o", "cat"]
        return commands.run(argv, check=False).out.splitlines()

    def held(self, commands: Commands, names: t.Sequence[str]) -> list[str]:
        """Those with a drop-in that holds them, see ``_service_hold``."""
        return held(commands, self, names)

    def hold(self, commands: Commands, names: t.Sequence[str], who: str) -> list[str]:
        """A drop-in for each unit by which a start of it fails."""
        return hold(commands, self, names, who)

    def release(self, commands: Commands, names: t.Sequence[str], later: bool) -> list[str]:
        """Remove the drop-ins."""
        return release(commands, self, names, later)

    def comes_back(self, commands: Commands, names: t.Sequence[str]) -> list[str]:
        """Where this user may not write drop-ins."""
        if may_hold(self.scope):
            return []
        return [
            f"{listed(names)} cannot be kept from starting at boot or by another unit, because this user may not write "
            f"{drop_ins(self.scope)}."
        ]

    def unknown(self, commands: Commands, name: str) -> str:
        """Units with similar names."""
        done = self.run(commands, "list-unit-files", "--type=service", "--no-legend", "--plain", "--no-pager")
        units = [line.split()[0][: -len(".service")] for line in done.out.splitlines() if line.split()]
        wanted = name[: -len(".service")] if name.endswith(".service") else name
        near = [f"{unit}.service" for unit in difflib.get_close_matches(wanted, units, n=5)]
        kind = "the user's systemd" if self.scope == "user" else "systemd"
        there = f"Units with similar names: {', '.join(near)}." if near else "Try: systemctl list-unit-files."
        return f"{kind} has no unit {name}. {there}"

    def faults(self, name: str) -> list[str]:
        """A host without systemd."""
        if shutil.which("systemctl"):
            return []
        return [
            f"{name}: there is no systemctl on this host. Set its `manager` to service, supervisord or command, "
            "whatever starts it."
        ]


def unit_state(values: t.Mapping[str, str]) -> State:
    """The state of one unit from its properties, as systemd names and writes them."""
    active, sub = values.get("ActiveState", ""), values.get("SubState", "")
    restarting = active == "activating" and sub.startswith("auto-restart")
    ends = values.get("Type") == "oneshot" and values.get("RemainAfterExit") != "yes"
    word = STOPPED if active == "inactive" else FAILED if active == "failed" or restarting else RUNNING
    pid = int(values.get("MainPID") or 0)
    return State(
        WORKING if ends and word == RUNNING else word,
        f"{active} ({sub})",
        active=active not in ("inactive", "failed"),
        up=active in ("active", "reloading", "refreshing"),
        pids=(pid,) if pid else (),
        restarts=int(values.get("NRestarts") or 0),
        cgroup=values.get("ControlGroup", ""),
        known=values.get("LoadState") not in ("not-found", "bad-setting", "error"),
        stopping=active == "deactivating",
        ends=ends,
        masked=values.get("LoadState") == "masked",
        enabled=values.get("UnitFileState") in ("enabled", "enabled-runtime"),
    )
