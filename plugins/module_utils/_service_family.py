# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Units of systemd that go together: what starts a unit, and what goes down with it. Private to this collection.

A phase names shop-web; its shop-web.socket would start it again, and a worker with PartOf=shop-web.service is stopped
with it. All of these are stopped, held and put back exactly as they were. Instances (shop-worker@*.service) are looked
up once, in preflight, because a stopped instance is no longer loaded.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ._command import Commands, PhaseError
from ._service_systemd import Systemd
from ._services import PATTERN, Service
from ._words import listed

Units = t.Dict[str, t.List[str]]  # by the name of a service as given: its units, in the order in which they are stopped

_PROPERTIES = "Id,ActiveState,TriggeredBy,Triggers,ConsistsOf,RequiredBy,BoundBy,After,Wants,Requires"
# What starts a unit is stopped before it. A socket is started before its service, which expects it; one that is up
# already makes systemd refuse to start the socket.
_RANK = {".timer": 0, ".path": 0, ".socket": 1}
TRIGGERS = tuple(_RANK)


@dataclasses.dataclass(frozen=True)
class Unit:
    """What systemd knows of a unit's relations, each the names of other units."""

    name: str
    active: bool
    family: frozenset[str]
    needed_by: frozenset[str]
    after: frozenset[str]
    wants: frozenset[str]


def find_units(commands: Commands, services: t.Sequence[Service]) -> tuple[Units, list[str]]:
    """The units of all services that are more than the one named, and warnings.

    :raises PhaseError: a pattern that matches nothing, or a unit that would go down with one of these unnoticed.
    """
    units: Units = {}
    warnings: list[str] = []
    for manager in dict.fromkeys(s.manager for s in services):
        if isinstance(manager, Systemd):
            found, said = _find(commands, manager, [s.name for s in services if s.manager == manager])
            units.update(found)
            warnings += said
    return units, warnings


def _find(commands: Commands, manager: Systemd, names: t.Sequence[str]) -> tuple[Units, list[str]]:
    roots = {name: _roots(commands, manager, name) for name in names}
    ids = [unit for mine in roots.values() for unit in mine]
    given: dict[str, str] = {}  # full names, by which systemd knows them, and as they were given
    known: dict[str, Unit] = {}
    for asked, unit in zip(ids, _units(commands, manager, ids)):
        given.setdefault(unit.name, asked)
        known[unit.name] = unit
    full = {asked: unit for unit, asked in given.items()}
    todo = set(known)
    while todo:
        todo = {other for name in todo for other in known[name].family} - set(known)
        known.update({unit.name: unit for unit in _units(commands, manager, sorted(todo)) if unit.name in todo})
        todo &= set(known)
    _check_needed(commands, manager, known)
    seen: set[str] = set()
    units = {}
    for name, mine in roots.items():
        family: set[str] = set()
        for root in mine:
            family |= _reach(full.get(root, root), known) - seen
        seen |= family
        order = [given.get(unit, unit) for unit in _stop_order([known[unit] for unit in sorted(family)])]
        if order != [name]:
            units[name] = order
    return units, _warnings([known[unit] for unit in given], known)


def _roots(commands: Commands, manager: Systemd, name: str) -> list[str]:
    if not PATTERN.search(name):
        return [name]
    found = manager.loaded(commands, name)
    if not found:
        raise PhaseError(
            f"systemd has no loaded unit that matches {name}. A stopped instance is not loaded: "
            "start it, or list it by its own name."
        )
    return found


def _units(commands: Commands, manager: Systemd, names: t.Sequence[str]) -> list[Unit]:
    if not names:
        return []
    return [_unit(values) for values in manager.show(commands, _PROPERTIES, names)]


def _unit(values: t.Mapping[str, str]) -> Unit:
    def names(*keys: str) -> frozenset[str]:
        return frozenset(name for key in keys for name in values.get(key, "").split())

    return Unit(
        values.get("Id", ""),
        active=values.get("ActiveState") not in ("inactive", "failed"),
        family=names("TriggeredBy", "Triggers", "ConsistsOf"),
        needed_by=names("RequiredBy", "BoundBy"),
        after=names("After"),
        wants=names("Wants", "Requires"),
    )


def _reach(start: str, known: t.Mapping[str, Unit]) -> set[str]:
    found: set[str] = set()
    todo = [start]
    while todo:
        name = todo.pop()
        if name in known and name not in found:
            found.add(name)
            todo += known[name].family
    return found


def _stop_order(units: t.Sequence[Unit]) -> list[str]:
    """What starts others first, then those that systemd starts after others; else by name."""
    left = sorted(units, key=lambda unit: (_rank(unit.name), unit.name))
    order = []
    while left:
        rank = _rank(left[0].name)
        free = [u for u in left if _rank(u.name) == rank and not any(u.name in o.after for o in left if o is not u)]
        order.append((free or left)[0])
        left.remove(order[-1])
    return [unit.name for unit in order]


def _rank(name: str) -> int:
    return _RANK.get(name[name.rfind(".") :], 2)


def _check_needed(commands: Commands, manager: Systemd, known: t.Mapping[str, Unit]) -> None:
    """Refuse where systemd would stop more than is listed: nobody would start that again."""
    others = sorted({name for unit in known.values() for name in unit.needed_by} - set(known))
    active = {unit.name for unit in _units(commands, manager, others) if unit.active}
    faults = []
    for unit in known.values():
        needed_by = sorted(unit.needed_by & active)
        if needed_by:
            faults.append(
                f"Stopping {unit.name} stops {listed(needed_by)} too, which requires it and is not listed. "
                f"List {listed(needed_by)} before {unit.name} in rollback_services."
            )
    if faults:
        raise PhaseError(" ".join(faults))


def _warnings(targets: t.Iterable[Unit], known: t.Mapping[str, Unit]) -> list[str]:
    return [
        f"{unit.name} wants {listed(others)}, which keeps running when {unit.name} is stopped, because it has no "
        f"PartOf={unit.name}. List it too if it is part of the app."
        for unit in targets
        if unit.name.endswith(".target")
        for others in [sorted(o for o in unit.wants - set(known) if o.endswith(".service"))]
        if others
    ]


def unfold(services: t.Sequence[Service], units: Units) -> list[Service]:
    """The services with all their units, in the order in which they are stopped."""
    by_name = {s.name: s for s in services}
    found: list[Service] = []
    for service in services:
        names = units.get(service.name, [service.name])
        socket = any(name.endswith(".socket") for name in names)
        ports = {name: by_name[name].ports if name in by_name else () for name in names}
        if service.name in names and service.name != names[-1]:  # they are free when the last of the units is gone
            ports[names[-1]] += service.ports
            ports[service.name] = ()
        for name in names:
            mine = name in by_name or bool(PATTERN.search(service.name))
            found.append(
                dataclasses.replace(
                    service, name=name, ports=ports[name], group=service.name, listed=mine, socket=socket
                )
            )
    return found


def start_order(services: t.Sequence[Service]) -> list[Service]:
    """The reverse of the order in which they are stopped, but a socket before its service."""
    groups: dict[str, list[Service]] = {}
    for service in reversed(services):
        groups.setdefault(service.group, []).append(service)
    return [s for group in groups.values() for s in sorted(group, key=lambda s: not s.name.endswith(".socket"))]


def required(commands: Commands, wanted: t.Sequence[Service], others: t.Sequence[Service]) -> list[Service]:
    """Those of ``others`` without which one of ``wanted`` does not start."""
    found: set[tuple[Systemd, str]] = set()
    for manager in {s.manager for s in others}:
        names = [s.name for s in wanted if s.manager == manager]
        if isinstance(manager, Systemd) and names:
            for values in manager.show(commands, "Requires,Requisite,BindsTo", names):
                found |= {(manager, name) for value in values.values() for name in value.split()}
    return [s for s in others if isinstance(s.manager, Systemd) and (s.manager, s.name) in found]
