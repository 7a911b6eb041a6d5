# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs of supervisord as services. Private to this collection."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import typing as t

from ._command import Commands, Completed, PhaseError
from ._service_manager import FAILED, LOG_LINES, RUNNING, STOPPED, Manager, State
from ._words import listed

# supervisord's words for a process: ours, whether it is active, whether it is up.
# EXITED ended by itself and is not to be started again, like STOPPED.
_SUPERVISORD = {
    "RUNNING": (RUNNING, True, True),
    "STARTING": (RUNNING, True, False),
    "STOPPING": (RUNNING, True, False),
    "BACKOFF": (FAILED, True, False),
    "STOPPED": (STOPPED, False, False),
    "EXITED": (STOPPED, False, False),
    "FATAL": (FAILED, False, False),
    "UNKNOWN": (FAILED, False, False),
}
_SUPERVISORD_LINE = re.compile(r"(\S+)\s+({})\b\s*(.*)".format("|".join(_SUPERVISORD)))


@dataclasses.dataclass(frozen=True)
class Supervisord(Manager):
    """Programs of a supervisord; ``group:*`` is all programs of a group."""

    config: str = ""
    supervisorctl: str = ""

    def _run(self, commands: Commands, *args: str) -> Completed:
        config = ["-c", self.config] if self.config else []
        return commands.run([self.supervisorctl or "supervisorctl", *config, *args], check=False)

    def states(self, commands: Commands, names: t.Sequence[str]) -> dict[str, State]:
        """One ``supervisorctl status`` for all. Its exit code is 3 or 4 when one of them does not run."""
        done = self._run(commands, "status", *names)
        found = parse_supervisord(done.out, names)
        if not any(state.known for state in found.values()) and "ERROR (no such" not in done.out:
            self._no_answer(done)
        return found

    def _no_answer(self, done: Completed) -> t.NoReturn:
        where = self.config or "its default configuration"
        raise PhaseError(
            f"supervisord with {where} does not answer: {done.said}. "
            f"Start it (supervisord -c {self.config or 'FILE'}), or correct `config` of the service."
        )

    def start(self, commands: Commands, name: str, failed: bool) -> Completed:
        """Start the program; returns when it has been up for its ``startsecs``."""
        return self._run(commands, "start", name)

    def stop(self, commands: Commands, name: str) -> Completed:
        """Stop the program; returns when its main process has ended."""
        return self._run(commands, "stop", name)

    def log(self, commands: Commands, name: str) -> list[str]:
        """The last lines of what it printed: errors, or else output."""
        if name.endswith(":*"):
            return []
        for channel in ("stderr", "stdout"):
            done = self._run(commands, "tail", "-3000", name, channel)
            if done.rc == 0 and done.out.strip() and "ERROR (" not in done.out.splitlines()[0]:
                return done.out.splitlines()[-LOG_LINES:]
        return []

    def comes_back(self, commands: Commands, names: t.Sequence[str]) -> list[str]:
        """Programs with ``autostart=true``, which supervisord starts when it is itself started."""
        rows = [line.split() for line in self._run(commands, "avail").out.splitlines()]
        auto = {row[0] for row in rows if "auto" in row[1:]}
        mine = [name for name in names if any(_means(name, program) for program in auto)]
        if not mine:
            return []
        return [f"If supervisord is itself restarted meanwhile, it starts {listed(mine)} again (autostart=true)."]

    def unknown(self, commands: Commands, name: str) -> str:
        """All programs that there are."""
        found = [m.group(1) for m in map(_SUPERVISORD_LINE.match, self._run(commands, "status").out.splitlines()) if m]
        there = f"It has {', '.join(found)}." if found else "It has none."
        return f"supervisord with {self.config or 'its default configuration'} has no program {name}. {there}"

    def faults(self, name: str) -> list[str]:
        """A missing supervisorctl or configuration."""
        program = self.supervisorctl or "supervisorctl"
        if not shutil.which(program):
            return [f"{name}: there is no program {program} on this host. Set `supervisorctl` of it to the path."]
        if self.config and not os.path.isfile(self.config):
            return [f"{name}: there is no file {self.config}. Set `config` of it to the path of supervisord.conf."]
        return []


def parse_supervisord(text: str, names: t.Sequence[str]) -> dict[str, State]:
    """The states of ``names`` from what ``supervisorctl status`` prints."""
    lines = [match.groups() for match in map(_SUPERVISORD_LINE.match, text.splitlines()) if match]
    found = {}
    for name in names:
        found[name] = _together([line for line in lines if _means(name, line[0])])
    return found


def _means(name: str, program: str) -> bool:
    """Whether ``name``, as a service is called, is ``program`` or its group, as supervisorctl prints it."""
    group, _colon, rest = name.partition(":")
    if rest in ("", "*") and ":" in name:
        return program == group or program.startswith(f"{group}:")
    return program in (name, group if group == rest else name)  # supervisorctl says `web` for `web:web`


def _together(lines: list[tuple[t.Any, ...]]) -> State:
    """One state for the programs of a group: the worst that is active, else the worst."""
    if not lines:
        return State(STOPPED, "unknown", known=False)
    kinds = [_SUPERVISORD[word] for _name, word, _rest in lines]
    words = {kind[0] for kind in kinds}
    pids = [re.match(r"pid (\d+)", rest) for _name, _word, rest in lines]
    return State(
        FAILED if FAILED in words else RUNNING if RUNNING in words else STOPPED,
        ", ".join(sorted({f"{word} {rest}".strip() for _name, word, rest in lines})),
        active=any(kind[1] for kind in kinds),
        up=all(kind[2] for kind in kinds),
        pids=tuple(int(match.group(1)) for match in pids if match),
        stopping=any(word == "STOPPING" for _name, word, _rest in lines),
    )
