# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the steps of service_stop and service_start have in common. Private to this collection."""

from __future__ import annotations

import os
import typing as t

from ._command import Commands, PhaseError
from ._phase import Context, Report
from ._service_act import start_all, stop_all
from ._service_drain import drain_faults
from ._service_family import TRIGGERS, find_units, required, unfold
from ._service_manager import FAILED, RUNNING, STOPPED, WORKING, States
from ._service_systemd import Systemd
from ._services import Service, read_states, release_services, services_from
from ._words import listed


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


def noted_services(ctx: Context, phase: str) -> list[Service]:
    """The services of the phase, with all the units that preflight found for them."""
    return unfold(listed_services(ctx.params, phase), ctx.before.get("units", {}))


def look(ctx: Context, phase: str) -> tuple[list[Service], States, Report]:
    """What both preflights do: find the units, see that they can be worked on, note how they stand.

    :raises PhaseError: with all faults at once.
    """
    services = listed_services(ctx.params, phase)
    _check_managers(services, drain_faults(ctx.params))
    # what this run has stopped may be loaded no more: the first preflight's look counts
    units, warnings = (ctx.before.get("units", {}), []) if ctx.before else find_units(ctx.commands, services)
    services = unfold(services, units)
    states = check_services(ctx.commands, services)
    masked = [name for name, state in states.items() if state.masked and state.active]
    if masked:
        raise PhaseError(
            f"{listed(masked)} runs and is masked, so it could not be started again. "
            f"Unmask it: systemctl unmask {' '.join(masked)}"
        )
    before = as_facts(states)
    if units:
        before["units"] = units
    warnings = warnings + rights(services, os.geteuid())
    return services, states, Report(f"{told(states)}.", before=before, warnings=warnings)


def who(ctx: Context) -> str:
    """Who holds services, for people."""
    return ctx.point.phase if ctx.point.standalone else f"the run with restore point {ctx.point.root.name}"


def bring_up(
    ctx: Context, services: t.Sequence[Service], wanted: t.Sequence[Service], states: States, later: bool
) -> tuple[States, list[str]]:
    """Start those ``wanted`` that are not up; then let all others be started again too, by whoever does.

    Until then those are held, so that a target does not start what did not run. Returns the states of what was
    started, and the names of what had been held.

    :arg later: leave to after the start what it does not need, see ``_service_hold.release``.
    """
    idle = [s for s in services if s not in wanted]
    held = release_services(ctx.commands, [*wanted, *required(ctx.commands, wanted, idle)], later)
    first = start_all(ctx.commands, wanted, _let_sockets_start(ctx, services, wanted, states))
    return first, held + release_services(ctx.commands, services)


def _let_sockets_start(
    ctx: Context, services: t.Sequence[Service], wanted: t.Sequence[Service], states: States
) -> States:
    """systemd does not start a socket whose service runs, after an interrupted stop say: that is stopped first."""
    groups = {s.group for s in wanted if s.name.endswith(".socket") and not states[s.name].up}
    running = [s for s in services if s.group in groups and not s.name.endswith(TRIGGERS) and states[s.name].active]
    if not running:
        return states
    stop_all(ctx.commands, running, states)
    return read_states(ctx.commands, services)


def as_facts(states: States) -> dict[str, t.Any]:
    """States as they are kept and returned: a word and the main processes for each service."""
    return {
        "services": {name: state.word for name, state in states.items()},
        "pids": {name: list(state.pids) for name, state in states.items() if state.pids},
    }


def told(states: States) -> str:
    """``shop-web runs (process 4711), shop-worker is stopped``."""
    words = {RUNNING: "runs", STOPPED: "is stopped", FAILED: "has failed", WORKING: "is at work"}
    return listed(
        [
            f"{name} {words[state.word]}" + (f" (process {listed([str(p) for p in state.pids])})" if state.pids else "")
            for name, state in states.items()
        ]
    )


def _check_managers(services: t.Sequence[Service], others: t.Sequence[str] = ()) -> None:
    faults = [fault for service in services for fault in service.manager.faults(service.name)]
    if faults or others:
        raise PhaseError(" ".join([*faults, *others]))


def check_services(commands: Commands, services: t.Sequence[Service]) -> States:
    """The states of all services, each of which exists and can be worked on.

    :raises PhaseError: with all faults at once.
    """
    _check_managers(services)
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
