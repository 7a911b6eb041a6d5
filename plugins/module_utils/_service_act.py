# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stop services until they are gone, start them until they are up and stay up. Private to this collection."""

from __future__ import annotations

import time
import typing as t

from ._command import Commands, PhaseError
from ._processes import Trace, describe, probe, who_holds
from ._redact import redact
from ._service_family import start_order
from ._service_manager import FAILED, RUNNING, State, States
from ._service_supervisord import Supervisord
from ._services import Service, read_states
from ._words import listed

POLL = 0.02  # seconds between two looks at processes and ports
STATUS_EVERY = 1.0  # seconds between two questions to a manager, each of which starts a process
START_GRACE = 3.0  # seconds that a start command's service has until its status command must agree

# --- stopping


def stop_service(commands: Commands, service: Service, state: State) -> None:
    """Stop a service and wait until its processes are gone and its ports are free.

    :raises PhaseError: it could not be stopped, or something of it is left at the deadline.
    """
    trace = Trace(state.pids, state.cgroup)
    try:
        done = service.manager.stop(commands, service.name)
        if done.rc != 0 and read_states(commands, [service])[service.name].active:
            raise PhaseError(
                f"{service.name} could not be stopped: {done.said}. Stop it by hand and run the same command again.",
                service=service.name,
            )
        while trace.left() or not _ports_free(service) or not service.manager.gone(commands, service.name):
            if commands.remaining() == 0.0:
                raise _still_there(commands, service, trace)
            time.sleep(POLL)
    except PhaseError as exc:
        if exc.facts.get("timed_out"):
            raise _still_there(commands, service, trace) from None
        raise


def _ports_free(service: Service) -> bool:
    return all(probe(service.address, port) is False for port in service.ports)


def _still_there(commands: Commands, service: Service, trace: Trace) -> PhaseError:
    left = trace.left()
    faults = [f"{describe(pid)} is still there" for pid in left]
    faults += [who_holds(port) for port in service.ports if probe(service.address, port) is not False]
    advice = "End it, or give the phase a longer timeout"
    if isinstance(service.manager, Supervisord) and left:
        advice += ", or set stopasgroup=true and killasgroup=true for the program in supervisord's configuration"
    return PhaseError(
        f"{service.name} was told to stop, and after {commands.timeout or 0:g} s "
        f"{listed(faults) if faults else 'it still runs'}. {advice}, and run the same command again.",
        service=service.name,
        left=left,
    )


def stop_all(commands: Commands, services: t.Sequence[Service], states: States) -> list[str]:
    """Stop in the order given those that are active; returns their names."""
    names = []
    for service in services:
        state = states[service.name]
        if state.active:
            stop_service(commands, service, state)
            names.append(service.name)
    return names


# --- starting


def start_service(commands: Commands, service: Service, state: State) -> State:
    """Start a service and wait until it is up: running, and its ports accept connections.

    :raises PhaseError: it died, or it is not up at the deadline.
    """
    while state.stopping and commands.remaining() != 0.0:
        time.sleep(POLL)
        state = read_states(commands, [service])[service.name]
    if state.active and state.word == FAILED:  # its manager tries again and again, and would not start it anew
        stop_service(commands, service, state)
        state = State(FAILED, state.said)
    if not state.active and not service.socket:  # systemd itself holds the port of a socket
        state = _check_ports(commands, service, state)
    if not state.active:
        _start(commands, service, state.word == FAILED)
    if state.ends:
        return read_states(commands, [service])[service.name]
    try:
        return _wait_up(commands, service)
    except PhaseError as exc:
        if exc.facts.get("timed_out"):
            raise _not_up(commands, service, "its manager does not answer") from None
        raise


def _check_ports(commands: Commands, service: Service, state: State) -> State:
    """Refuse a port that is taken, unless by the service itself, which came up with an earlier one in the meantime."""
    taken = [who_holds(port) for port in service.ports if probe(service.address, port) is not False]
    if taken:
        state = read_states(commands, [service])[service.name]
        if not state.active:
            raise PhaseError(
                f"{service.name} cannot be started: {listed(taken)}. End that, and run the same command again.",
                service=service.name,
            )
    return state


def _start(commands: Commands, service: Service, failed: bool) -> None:
    try:
        done = service.manager.start(commands, service.name, failed)
    except PhaseError as exc:
        if exc.facts.get("timed_out"):
            raise died(commands, service, f"could not be started: {exc}") from None
        raise
    if done.rc != 0 and not read_states(commands, [service])[service.name].up:
        raise died(commands, service, f"could not be started: {done.said}")


def _wait_up(commands: Commands, service: Service) -> State:
    begun = time.monotonic()
    seen = False
    while True:
        state = read_states(commands, [service])[service.name]
        seen = seen or state.active
        if state.word != RUNNING and (seen or time.monotonic() - begun > START_GRACE):
            raise died(commands, service, f"did not stay up: its manager says {state.said}")
        trace = Trace(state.pids)
        asked = time.monotonic()
        while state.up and trace.alive() and time.monotonic() - asked < STATUS_EVERY:
            if all(probe(service.address, port) is True for port in service.ports):
                return state
            if commands.remaining() == 0.0:
                break
            time.sleep(POLL)
        if commands.remaining() == 0.0:
            raise _not_up(commands, service, f"its manager says {state.said}")
        time.sleep(POLL)


def _not_up(commands: Commands, service: Service, why: str) -> PhaseError:
    closed = [str(port) for port in service.ports if probe(service.address, port) is not True]
    if closed:
        why = f"port {listed(closed)} does not accept connections"
    return died(commands, service, f"is not up after {commands.timeout or 0:g} s: {why}")


def died(commands: Commands, service: Service, what: str) -> PhaseError:
    # the deadline may have passed, and the log is worth two seconds more
    patient = Commands(2.0, commands.environ)
    try:
        log = [redact(line) for line in service.manager.log(patient, service.name) if line.strip()]
    except PhaseError:
        log = []
    ending = f" Its log ends: {' / '.join(line.strip()[:200] for line in log[-6:])}" if log else ""
    return PhaseError(f"{service.name} {what.rstrip('.')}.{ending}", service=service.name, log=log)


def start_all(commands: Commands, services: t.Sequence[Service], states: States) -> States:
    """Start in REVERSE of the order given those that are not up, each when the one before is up."""
    todo = [service for service in start_order(services) if not states[service.name].up]
    return {service.name: start_service(commands, service, states[service.name]) for service in todo}


def flapping(
    commands: Commands, services: t.Sequence[Service], first: States, seconds: float
) -> tuple[list[tuple[Service, str]], States]:
    """Watch the services that were started (``first``) for ``seconds``.

    Returns those that did not stay up, and why; and how all ``services`` stand then.
    """
    watched = [(service, Trace(first[service.name].pids)) for service in services if service.name in first]
    until = time.monotonic() + seconds
    while watched and time.monotonic() < until and all(trace.alive() for _service, trace in watched):
        time.sleep(POLL)
    found = []
    now = read_states(commands, services)
    for service, trace in watched:
        was, state = first[service.name], now[service.name]
        why = ""
        if was.ends:
            continue
        if not state.up:
            why = f"its manager says {state.said}"
        elif set(state.pids) != set(was.pids) or state.restarts != was.restarts:
            why = "it died and its manager restarted it"
        elif not trace.alive():  # a manager may take a moment to see it
            why = "it died"
        if why:
            found.append((service, f"did not stay up for {seconds:g} s: {why}"))
    return found, now
