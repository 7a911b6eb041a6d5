# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The services that a phase works on, from its option. Private to this collection."""

from __future__ import annotations

import dataclasses
import re
import typing as t

from ._command import Commands, PhaseError
from ._service_command import Given
from ._service_manager import Manager, State
from ._service_supervisord import Supervisord
from ._service_systemd import Systemd

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
