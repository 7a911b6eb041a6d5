# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which phases of a plan cannot work in the order they have. Pure functions. Private to this collection."""

from __future__ import annotations

import typing as t

from ._plan import Phase

_CHANGING = ("alembic_downgrade", "git_revert", "config_restore")


def clashes(phases: t.Sequence[Phase]) -> list[tuple[int, str]]:
    """Find phases that cannot work in the order they have.

    Only what goes wrong for certain is a fault: hosts are patterns here, so whether two of them overlap is not known.
    """
    faults = []
    for position, phase in enumerate(phases):
        earlier = phases[:position]
        running = next((other for other in reversed(earlier) if other.ours in ("service_stop", "service_start")), None)
        changed = next((other for other in earlier if other.ours in _CHANGING and other.hosts == phase.hosts), None)
        twin = next((other for other in earlier if _same(other, phase)), None)
        if twin is not None:
            text = f"is the same as phase {twin.index}. Take one of them out, or give them different hosts or vars."
        elif phase.ours == "service_start" and not any(other.ours == "service_stop" for other in earlier):
            text = "starts services that no earlier phase stopped. Put `- role: service_stop` before it."
        elif phase.ours == "backup" and changed is not None:
            text = (
                f"comes after phase {changed.index} ({changed.name}), so it would keep a host that is changed already."
            )
            text += f" Put it before phase {changed.index}."
        elif running is not None and running.ours == "service_start" and _below(phase, running):
            text = f"would work below the services that phase {running.index} (service_start) started."
            text += f" Put it before phase {running.index}."
        else:
            continue
        faults.append((phase.line, f"Phase {phase.index} ({phase.name}) {text}"))
    return faults


def _same(one: Phase, other: Phase) -> bool:
    return (one.role, one.hosts, one.vars) == (other.role, other.hosts, other.vars)


def _below(phase: Phase, started: Phase) -> bool:
    """Whether a phase changes what started services run on. A database is shared, code and config are a host's own."""
    return phase.ours == "alembic_downgrade" or (phase.ours in _CHANGING and phase.hosts == started.hosts)
