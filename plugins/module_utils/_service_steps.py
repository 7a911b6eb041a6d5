# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the steps of service_stop and service_start have in common. Private to this collection."""

from __future__ import annotations

import typing as t

from ._command import Commands, PhaseError
from ._service_manager import FAILED, RUNNING, STOPPED, States
from ._service_systemd import Systemd
from ._services import Service, read_states, services_from
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
