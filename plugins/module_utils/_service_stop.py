# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of service_stop. Private to this collection."""

from __future__ import annotations

import os
import time

from ._command import PhaseError
from ._phase import Context, Report
from ._service_act import start_all, stop_all
from ._service_manager import FAILED, RUNNING, STOPPED
from ._service_steps import as_facts, check_services, diff_of, listed_services, rights, told
from ._services import read_states
from ._words import listed


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
