# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The phases service_stop and service_start: stop until gone, start until up and staying up. Private."""

from __future__ import annotations

import os
import time
import typing as t

from ._command import Commands, PhaseError
from ._phase import Context, Report
from ._processes import Trace, describe, probe, who_holds
from ._redact import redact
from ._services import FAILED, RUNNING, STOPPED, Service, State, Supervisord, Systemd, read_states, services_from

POLL = 0.02  # seconds between two looks at processes and ports
STATUS_EVERY = 1.0  # seconds between two questions to a manager, each of which starts a process
START_GRACE = 3.0  # seconds that a start command's service has until its status command must agree

States = t.Dict[str, State]


def listed(names: t.Sequence[str], last: str = "and") -> str:
    """``a, b and c``."""
    return f" {last} ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def listed_services(params: dict[str, t.Any], phase: str) -> list[Service]:
    """The services of the phase.

    :raises PhaseError: there is none, or they have faults.
    """
    services = services_from(params["services"])
    if not services:
        raise PhaseError(
            f"{phase} has no services. List the app's services in rollback_services (or {phase}_services), "
            f"or leave {phase} out of the plan."
        )
    return services


def as_facts(states: States) -> dict[str, t.Any]:
    """States as they are kept and returned: a word and the main processes for each service."""
    return {
        "services": {name: state.word for name, state in states.items()},
        "pids": {name: list(state.pids) for name, state in states.items() if state.pids},
    }


def told(states: States) -> str:
    """``shop-web runs (process 4711), shop-worker is stopped``."""
    words = {RUNNING: "runs", STOPPED: "is stopped", FAILED: "has failed"}
    return listed(
        [
            f"{name} {words[state.word]}" + (f" (process {listed([str(p) for p in state.pids])})" if state.pids else "")
            for name, state in states.items()
        ]
    )


def check_services(commands: Commands, services: t.Sequence[Service]) -> States:
    """The states of all services, each of which exists and can be worked on.

    :raises PhaseError: with all faults at once.
    """
    faults = [fault for service in services for fault in service.manager.faults(service.name)]
    if faults:
        raise PhaseError(" ".join(faults))
    states = read_states(commands, services)
    faults = [s.manager.unknown(commands, s.name) for s in services if not states[s.name].known]
    if faults:
        raise PhaseError(" ".join(faults))
    return states


def rights(services: t.Sequence[Service], euid: int) -> list[str]:
    """Warnings for units that an ordinary user can rarely stop."""
    units = [s.name for s in services if s.manager == Systemd("system")]
    if not units or euid == 0:
        return []
    return [
        f"{listed(units)} belong to the system and this user is not root. Set become: true on the phase, "
        "or make sure that a polkit rule lets this user stop and start them."
    ]


def diff_of(services: t.Sequence[Service], states: States, words: dict[str, str]) -> list[dict[str, str]]:
    """One line for each service, before and after; ``words`` holds those that change."""
    before = [f"{s.name}: {states[s.name].word}\n" for s in services]
    after = [f"{s.name}: {words.get(s.name, states[s.name].word)}\n" for s in services]
    return [
        {"before_header": "services", "after_header": "services", "before": "".join(before), "after": "".join(after)}
    ]


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
    if not state.active:
        taken = [who_holds(port) for port in service.ports if probe(service.address, port) is not False]
        if taken:
            raise PhaseError(
                f"{service.name} cannot be started: {listed(taken)}. End that, and run the same command again.",
                service=service.name,
            )
        _start(commands, service, state.word == FAILED)
    try:
        return _wait_up(commands, service)
    except PhaseError as exc:
        if exc.facts.get("timed_out"):
            raise _not_up(commands, service, "its manager does not answer") from None
        raise


def _start(commands: Commands, service: Service, failed: bool) -> None:
    try:
        done = service.manager.start(commands, service.name, failed)
    except PhaseError as exc:
        if exc.facts.get("timed_out"):
            raise _died(commands, service, f"could not be started: {exc}") from None
        raise
    if done.rc != 0 and not read_states(commands, [service])[service.name].up:
        raise _died(commands, service, f"could not be started: {done.said}")


def _wait_up(commands: Commands, service: Service) -> State:
    begun = time.monotonic()
    seen = False
    while True:
        state = read_states(commands, [service])[service.name]
        seen = seen or state.active
        if state.word != RUNNING and (seen or time.monotonic() - begun > START_GRACE):
            raise _died(commands, service, f"did not stay up: its manager says {state.said}")
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
    return _died(commands, service, f"is not up after {commands.timeout or 0:g} s: {why}")


def _died(commands: Commands, service: Service, what: str) -> PhaseError:
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
    return {s.name: start_service(commands, s, states[s.name]) for s in reversed(services) if not states[s.name].up}


def flapping(
    commands: Commands, services: t.Sequence[Service], first: States, seconds: float
) -> list[tuple[Service, str]]:
    """Watch services that are up for ``seconds``; returns those that did not stay up, and why."""
    traces = [Trace(first[service.name].pids) for service in services]
    until = time.monotonic() + seconds
    while time.monotonic() < until and all(trace.alive() for trace in traces):
        time.sleep(POLL)
    found = []
    now = read_states(commands, services)
    for service, trace in zip(services, traces):
        was, state = first[service.name], now[service.name]
        why = ""
        if not state.up:
            why = f"its manager says {state.said}"
        elif set(state.pids) != set(was.pids) or state.restarts != was.restarts:
            why = "it died and its manager restarted it"
        elif not trace.alive():  # a manager may take a moment to see it
            why = "it died"
        if why:
            found.append((service, f"did not stay up for {seconds:g} s: {why}"))
    return found


# --- the steps


def stop_preflight(ctx: Context) -> Report:
    """Note which services run."""
    services = listed_services(ctx.params, "service_stop")
    states = check_services(ctx.commands, services)
    return Report(f"{told(states)}.", before=as_facts(states), warnings=rights(services, os.geteuid()))


def stop_main(ctx: Context) -> Report:
    """Stop what is active, in the order given."""
    services = listed_services(ctx.params, "service_stop")
    states = read_states(ctx.commands, services)
    active = [s.name for s in services if states[s.name].active]
    diff = diff_of(services, states, dict.fromkeys(active, STOPPED))
    after = {"services": dict({s.name: states[s.name].word for s in services}, **dict.fromkeys(active, STOPPED))}
    after["pids"] = {}
    if not active:
        return Report(f"There is nothing to stop: {told(states)}.", after=after, facts={"stopped": []})
    if ctx.check:
        return Report(f"Would stop {listed(active, 'then')}.", True, after=after, diff=diff, facts={"stopped": active})
    begun = time.monotonic()
    stop_all(ctx.commands, services, states)
    again = [name for name, state in read_states(ctx.commands, services).items() if state.active]
    if again:
        raise PhaseError(
            f"{listed(again)} was stopped and has been started again by something else on this host. "
            "Find what did it (a timer, a watchdog, a person), end that, and run the same command again."
        )
    said = f"Stopped {listed(active, 'then')} in {time.monotonic() - begun:.1f} s."
    return Report(said, True, after=after, diff=diff, facts={"stopped": active})


def stop_recover(ctx: Context) -> Report:
    """Start exactly those that ran before, and wait until they are up again."""
    services = listed_services(ctx.params, "service_stop")
    before = ctx.before.get("services", {})
    ran = [s for s in services if before.get(s.name) == RUNNING]
    failed = [s.name for s in services if before.get(s.name) == FAILED]
    note = f" {listed(failed)} had failed before and is left alone." if failed else ""
    states = read_states(ctx.commands, services)
    started = list(start_all(ctx.commands, ran, states))
    now = as_facts(read_states(ctx.commands, services))
    if not started:
        return Report(f"All services that ran before run.{note}", after=now, facts={"started": []})
    diff = diff_of(services, states, dict.fromkeys(started, RUNNING))
    said = f"Started {listed(started, 'then')} again.{note}"
    return Report(said, True, after=now, diff=diff, facts={"started": started})


def _alone(ctx: Context) -> bool:
    # in check mode the restore point is a throw-away, so the option has to tell
    return ctx.point.standalone or not ctx.params.get("restore_point")


def _to_start(ctx: Context, services: t.Sequence[Service]) -> list[Service]:
    """Those that ran, or were wanted and failed, before the run; all of them when the role is used alone."""
    before = ctx.before.get("services", {})
    return [s for s in services if _alone(ctx) or before.get(s.name) in (RUNNING, FAILED)]


def start_preflight(ctx: Context) -> Report:
    """Note which services run now: these are started again."""
    services = listed_services(ctx.params, "service_start")
    states = check_services(ctx.commands, services)
    report = Report(f"{told(states)}.", before=as_facts(states), warnings=rights(services, os.geteuid()))
    idle = [name for name, state in states.items() if state.word == STOPPED]
    if idle and not _alone(ctx) and not ctx.resumed:
        report.msg += f" What is stopped now is not started by this run: {listed(idle)}."
    return report


def start_main(ctx: Context) -> Report:
    """Start what ran before, in reverse of the order given, and see that it stays up."""
    services = listed_services(ctx.params, "service_start")
    wanted = _to_start(ctx, services)
    states = read_states(ctx.commands, services)
    todo = [s.name for s in reversed(wanted) if not states[s.name].up]
    if ctx.check:
        return _start_check(ctx, services, wanted, states, todo)
    if not todo:
        why = f"There is nothing to start: {told(states)}."
        return Report(why, after=as_facts(states), facts={"started": []})
    # noted before acting: recover stops these and no others
    ctx.note(started=sorted({*ctx.prepared.get("started", []), *todo}))
    begun = time.monotonic()
    first = start_all(ctx.commands, wanted, states)
    mine = [s for s in services if s.name in first]
    faults = [_died(ctx.commands, *fault) for fault in flapping(ctx.commands, mine, first, ctx.params["stays_up"])]
    if faults:
        raise PhaseError(" ".join(str(fault) for fault in faults), **faults[0].facts)
    now = as_facts(read_states(ctx.commands, services))
    diff = diff_of(services, states, dict.fromkeys(todo, RUNNING))
    said = f"Started {listed(todo, 'then')}; up and staying up after {time.monotonic() - begun:.1f} s."
    return Report(said, True, after=now, diff=diff, facts={"started": todo})


def _start_check(
    ctx: Context, services: t.Sequence[Service], wanted: t.Sequence[Service], states: States, todo: list[str]
) -> Report:
    words = dict.fromkeys([s.name for s in wanted], RUNNING)
    after = {"services": {s.name: words.get(s.name, states[s.name].word) for s in services}, "pids": {}}
    if _alone(ctx):
        said = f"Would start {listed(todo, 'then')}." if todo else f"There is nothing to start: {told(states)}."
        diff = diff_of(services, states, words) if todo else []
        return Report(said, bool(todo), after=after, diff=diff, facts={"started": todo})
    names = [s.name for s in reversed(wanted)]
    # in a run these have been stopped by now, which check mode did not do
    stopped = {s.name: State(STOPPED, "") if s in wanted else states[s.name] for s in services}
    said = f"Would start {listed(names, 'then')} again." if names else "Would start nothing, as nothing ran before."
    diff = diff_of(services, stopped, words) if names else []
    return Report(said, bool(names), after=after, diff=diff, facts={"started": names})


def start_recover(ctx: Context) -> Report:
    """Stop what main started, so that the earlier phases can be put back."""
    services = listed_services(ctx.params, "service_start")
    mine = [s for s in services if s.name in ctx.prepared.get("started", [])]
    if not mine:
        return Report("service_start had started nothing, so there is nothing to stop.", facts={"stopped": []})
    states = read_states(ctx.commands, mine)
    stopped = stop_all(ctx.commands, mine, states)
    ctx.note(started=[])  # a second recovery must not stop what service_stop's recovery has started since
    now = as_facts(read_states(ctx.commands, services))
    said = f"Stopped {listed(stopped, 'then')}." if stopped else "What service_start had started is stopped already."
    diff = diff_of(mine, states, dict.fromkeys(stopped, STOPPED)) if stopped else []
    return Report(said, bool(stopped), after=now, diff=diff, facts={"stopped": stopped})
