# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The services that a phase works on, from its option. Private to this collection."""

from __future__ import annotations

import dataclasses
import os
import re
import typing as t

from ._command import Commands, PhaseError
from ._service_command import Given
from ._service_manager import Manager, States
from ._service_script import Script
from ._service_supervisord import Supervisord
from ._service_systemd import Systemd

SERVICES_ARGUMENT: dict[str, t.Any] = {
    "type": "list",
    "elements": "dict",
    "default": [],
    "options": {
        "name": {"type": "str", "required": True},
        "manager": {
            "type": "str",
            "default": "service",
            "choices": ["service", "systemd", "supervisord", "command"],
        },
        "scope": {"type": "str", "choices": ["system", "user"]},
        "config": {"type": "path"},
        "supervisorctl": {"type": "path"},
        "start": {"type": "list", "elements": "str"},
        "stop": {"type": "list", "elements": "str"},
        "status": {"type": "list", "elements": "str"},
        "running_when": {"type": "str", "choices": ["exit_code", "output"]},
        "pid_file": {"type": "path"},
        "port": {"type": "int"},
        "ports": {"type": "list", "elements": "int", "default": []},
        "address": {"type": "str", "default": "127.0.0.1"},
    },
    "required_if": [("manager", "command", ("start", "stop", "status"))],
}

# Which options belong to which manager alone.
_BELONGS = {
    "scope": ("systemd",),
    "config": ("supervisord",),
    "supervisorctl": ("supervisord",),
    "start": ("command",),
    "stop": ("command",),
    "status": ("command",),
    "running_when": ("command",),
    "pid_file": ("command", "service"),
}
BOOTED = "/run/systemd/system"  # is there where systemd is the init, see sd_booted(3)
PATTERN = re.compile(r"[*?\[]")  # stands for several units
_NAME = re.compile(r"[A-Za-z0-9_][^\s/]*\Z")


@dataclasses.dataclass(frozen=True)
class Service:
    """A service: its manager, and the ports that it listens on at ``address``.

    Where a service has several units (see ``_service_family``) each is one of these. ``group``: the service as given.
    ``listed``: this very unit was given. ``socket``: a socket of the group listens for it.
    """

    name: str
    manager: Manager
    ports: tuple[int, ...] = ()
    address: str = "127.0.0.1"
    group: str = ""
    listed: bool = True
    socket: bool = False


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
    manager = item.get("manager") or "service"
    if manager == "systemd" or (manager == "service" and os.path.isdir(BOOTED)):
        return Systemd(item.get("scope") or "system")
    if manager == "service":
        return Script(item.get("pid_file") or "")
    if manager == "supervisord":
        return Supervisord(item.get("config") or "", item.get("supervisorctl") or "")
    start, stop, status = (tuple(item.get(verb) or ()) for verb in ("start", "stop", "status"))
    return Given(start, stop, status, item.get("pid_file") or "", item.get("running_when") or "exit_code")


def _item_faults(item: dict[str, t.Any], seen: set[str]) -> list[str]:
    name, manager = item["name"], item.get("manager") or "service"
    faults = []
    if not _NAME.match(name):
        faults.append(f"'{name}' cannot be the name of a service. Use letters, digits and . _ - @ : without spaces.")
    if name in seen:
        faults.append(f"{name} is listed twice. List each service once.")
    for option, owners in _BELONGS.items():
        if item.get(option) and manager not in owners:
            faults.append(f"{name}: `{option}` is for manager {owners[0]}; this service has manager {manager}.")
    template = re.match(r"(.+@)(\.[a-z]+)?\Z", name)
    if template and manager in ("systemd", "service"):
        one, many = (f"{template.group(1)}{which}{template.group(2) or ''}" for which in ("1", "*"))
        faults.append(f"{name} is a template. Name an instance ({one}) or all that are loaded ({many}).")
    if PATTERN.search(name) and manager in ("systemd", "service") and (item.get("port") or item.get("ports")):
        faults.append(f"{name}: a port belongs to one instance. List the instances that have ports by name.")
    if manager == "command":
        faults += [f"{name}: `{verb}` is empty." for verb in ("start", "stop", "status") if not item.get(verb)]
    for port in [item.get("port"), *(item.get("ports") or [])]:
        if port is not None and not 0 < port < 65536:
            faults.append(f"{name}: {port} is no port. Ports are 1 to 65535.")
    return faults


def by_manager(services: t.Iterable[Service]) -> dict[Manager, list[str]]:
    """The names of services, grouped so that each manager is asked once."""
    found: dict[Manager, list[str]] = {}
    for service in services:
        found.setdefault(service.manager, []).append(service.name)
    return found


def read_states(commands: Commands, services: t.Sequence[Service]) -> States:
    """How the services stand. By name, in the order given."""
    found: States = {}
    for manager, names in by_manager(services).items():
        found.update(manager.states(commands, names))
    return {service.name: found[service.name] for service in services}


def held_services(commands: Commands, services: t.Sequence[Service]) -> list[Service]:
    """Those that are kept from being started."""
    names = {n for manager, names in by_manager(services).items() for n in manager.held(commands, names)}
    return [service for service in services if service.name in names]


def hold_services(commands: Commands, services: t.Sequence[Service], who: str) -> list[str]:
    """Keep services from being started; the files that are new for it."""
    return [path for manager, names in by_manager(services).items() for path in manager.hold(commands, names, who)]


def release_services(commands: Commands, services: t.Sequence[Service], later: bool = False) -> list[str]:
    """Let services be started again; those that were held. What a start does not wait for is left to ``later``."""
    groups = by_manager(services).items()
    return [name for manager, names in groups for name in manager.release(commands, names, later)]
