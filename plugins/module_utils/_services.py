# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services of a host and who manages them: systemd, supervisord or given commands. Private to this collection."""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
import shutil
import typing as t

from ._command import Commands, Completed, PhaseError
from ._processes import stat

SERVICES_ARGUMENT: dict[str, t.Any] = {
    "type": "list",
    "elements": "dict",
    "default": [],
    "options": {
        "name": {"type": "str", "required": True},
        "manager": {"type": "str", "required": True, "choices": ["systemd", "supervisord", "command"]},
        "scope": {"type": "str", "choices": ["system", "user"]},
        "config": {"type": "path"},
        "supervisorctl": {"type": "path"},
        "start": {"type": "list", "elements": "str"},
        "stop": {"type": "list", "elements": "str"},
        "status": {"type": "list", "elements": "str"},
        "pid_file": {"type": "path"},
        "port": {"type": "int"},
        "ports": {"type": "list", "elements": "int", "default": []},
        "address": {"type": "str", "default": "127.0.0.1"},
    },
    "required_if": [("manager", "command", ("start", "stop", "status"))],
}

# Which options belong to which manager alone.
_BELONGS = {
    "scope": "systemd",
    "config": "supervisord",
    "supervisorctl": "supervisord",
    "start": "command",
    "stop": "command",
    "status": "command",
    "pid_file": "command",
}
_NAME = re.compile(r"[A-Za-z0-9_][^\s/]*\Z")
LOG_LINES = 20

RUNNING, STOPPED, FAILED = "running", "stopped", "failed"


@dataclasses.dataclass(frozen=True)
class State:
    """How a service stands.

    ``word``: running, stopped, or failed (its manager wants it to run and could not keep it up). ``active``: it has
    processes, or its manager is about to start some. ``up``: it has finished starting. ``said``: the manager's words.
    ``restarts``: how often its manager restarted it by itself. ``known``: its manager has such a service. ``stopping``:
    it was told to stop and is not gone yet, so a start now would come too early.
    """

    word: str
    said: str
    active: bool = False
    up: bool = False
    pids: tuple[int, ...] = ()
    restarts: int = 0
    cgroup: str = ""
    known: bool = True
    stopping: bool = False


class Manager:
    """What starts and stops services. Subclasses are values: equal ones are asked for all their services at once."""

    def states(self, commands: Commands, names: t.Sequence[str]) -> dict[str, State]:
        """How the services stand, in as few process starts as there can be."""
        raise NotImplementedError

    def start(self, commands: Commands, name: str, failed: bool) -> Completed:
        """Start a service; ``failed``: it had failed before."""
        raise NotImplementedError

    def stop(self, commands: Commands, name: str) -> Completed:
        """Stop a service."""
        raise NotImplementedError

    def gone(self, commands: Commands, name: str) -> bool:
        """Whether a service without a process is down for good, where stopping does not wait for that."""
        return True

    def log(self, commands: Commands, name: str) -> list[str]:
        """The last lines of the service's log; empty where they cannot be had."""
        return []

    def unknown(self, commands: Commands, name: str) -> str:
        """A sentence for a service that the manager does not know: what there is instead."""
        return ""

    def faults(self, name: str) -> list[str]:
        """What would keep ``start`` and ``stop`` from working, each a sentence."""
        return []


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
        group, _colon, program = name.partition(":")
        if program in ("", "*") and ":" in name:
            mine = [line for line in lines if line[0] == group or line[0].startswith(f"{group}:")]
        else:  # supervisorctl says `web` for `web:web`
            mine = [line for line in lines if line[0] in (name, group if group == program else name)]
        found[name] = _together(mine)
    return found


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


@dataclasses.dataclass(frozen=True)
class Given(Manager):
    """A service with its own commands (argument lists)."""

    start_argv: tuple[str, ...] = ()
    stop_argv: tuple[str, ...] = ()
    status_argv: tuple[str, ...] = ()
    pid_file: str = ""

    def states(self, commands: Commands, names: t.Sequence[str]) -> dict[str, State]:
        """Exit code 0 of the status command is running; 3 (as the LSB says) and all others are stopped."""
        done = commands.run(self.status_argv, check=False)
        if done.rc != 0:
            return {name: State(STOPPED, f"exit code {done.rc} of its status command") for name in names}
        state = State(RUNNING, "exit code 0 of its status command", active=True, up=True, pids=self._pids())
        return dict.fromkeys(names, state)

    def _pids(self) -> tuple[int, ...]:
        try:
            with open(self.pid_file) as stream:
                pid = int(stream.read().split()[0])
        except (OSError, ValueError, IndexError):
            return ()
        return (pid,) if pid > 0 and stat(pid) else ()

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


@dataclasses.dataclass(frozen=True)
class Service:
    """A service: its manager, and the ports that it listens on at ``address``."""

    name: str
    manager: Manager
    ports: tuple[int, ...] = ()
    address: str = "127.0.0.1"


def services_from(items: t.Sequence[dict[str, t.Any]]) -> list[Service]:
    """Services from the module's option, checked.

    :raises PhaseError: with all faults at once.
    """
    faults: list[str] = []
    found: list[Service] = []
    for item in items:
        faults.extend(_item_faults(item, {service.name for service in found}))
        ports = ([item["port"]] if item.get("port") is not None else []) + list(item.get("ports") or [])
        address = item.get("address") or "127.0.0.1"
        found.append(Service(item["name"], _manager(item), tuple(dict.fromkeys(ports)), address))
    if faults:
        raise PhaseError(" ".join(faults))
    return found


def _manager(item: dict[str, t.Any]) -> Manager:
    if item["manager"] == "systemd":
        return Systemd(item.get("scope") or "system")
    if item["manager"] == "supervisord":
        return Supervisord(item.get("config") or "", item.get("supervisorctl") or "")
    start, stop, status = (tuple(item.get(verb) or ()) for verb in ("start", "stop", "status"))
    return Given(start, stop, status, item.get("pid_file") or "")


def _item_faults(item: dict[str, t.Any], seen: set[str]) -> list[str]:
    name, manager = item["name"], item["manager"]
    faults = []
    if not _NAME.match(name):
        faults.append(f"'{name}' cannot be the name of a service. Use letters, digits and . _ - @ : without spaces.")
    if name in seen:
        faults.append(f"{name} is listed twice. List each service once.")
    for option, owner in _BELONGS.items():
        if item.get(option) and manager != owner:
            faults.append(f"{name}: `{option}` is for manager {owner}; this service has manager {manager}.")
    if manager == "command":
        faults += [f"{name}: `{verb}` is empty." for verb in ("start", "stop", "status") if not item.get(verb)]
    for port in [item.get("port"), *(item.get("ports") or [])]:
        if port is not None and not 0 < port < 65536:
            faults.append(f"{name}: {port} is no port. Ports are 1 to 65535.")
    return faults


def read_states(commands: Commands, services: t.Sequence[Service]) -> dict[str, State]:
    """How the services stand, each manager asked once. By name, in the order given."""
    grouped: dict[Manager, list[str]] = {}
    for service in services:
        grouped.setdefault(service.manager, []).append(service.name)
    found: dict[str, State] = {}
    for manager, names in grouped.items():
        found.update(manager.states(commands, names))
    return {service.name: found[service.name] for service in services}
