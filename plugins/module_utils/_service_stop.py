# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of service_stop. Private to this collection."""

from __future__ import annotations

import time
import typing as t

from ._command import PhaseError
from ._phase import Context, Report
from ._service_act import stop_all
from ._service_drain import drain, undrain
from ._service_manager import FAILED, RUNNING, STOPPED, States
from ._service_steps import as_facts, bring_up, diff_of, look, noted_services, told, who
from ._services import Service, by_manager, hold_services, read_states
from ._words import listed


def stop_preflight(ctx: Context) -> Report:
    """Note which services run, with all units that go with them."""
    services, states, report = look(ctx, "service_stop")
    for manager, names in by_manager(s for s in services if states[s.name].active or states[s.name].enabled).items():
        report.msg = " ".join([report.msg, *manager.comes_back(ctx.commands, names)])
    return report


def stop_main(ctx: Context) -> Report:
    """Drain; keep all from being started; stop what is active, in the order given."""
    services = noted_services(ctx, "service_stop")
    states = read_states(ctx.commands, services)
    active = [s.name for s in services if states[s.name].active]
    diff = diff_of(services, states, dict.fromkeys(active, STOPPED))
    after = {"services": dict({s.name: states[s.name].word for s in services}, **dict.fromkeys(active, STOPPED))}
    after["pids"] = {}
    if ctx.check:
        return _stop_check(ctx, states, active, Report("", bool(active), after=after, diff=diff))
    begun = time.monotonic()
    drained = drain(ctx, services) if active or not ctx.point.standalone else ""
    holds = _hold(ctx, services)
    stop_all(ctx.commands, services, states)
    _check_stopped(ctx, services)
    said = f"Stopped {listed(active, 'then')} in {time.monotonic() - begun:.1f} s."
    if not active:
        said, diff = f"There is nothing to stop: {told(states)}.", []
    if holds:
        said += f" Kept from being started again by {listed(holds)}."
    facts = {"stopped": active, "holds": holds}
    changed = bool(active or drained or holds)
    return Report(f"{drained} {said}".strip(), changed, after=after, diff=diff, facts=facts)


def _stop_check(ctx: Context, states: States, active: list[str], report: Report) -> Report:
    report.msg = f"Would stop {listed(active, 'then')}." if active else f"There is nothing to stop: {told(states)}."
    if active and ctx.params["drain"]:
        report.msg = f"Would drain, then stop {listed(active, 'then')}."
    report.facts = {"stopped": active, "holds": []}
    report.diff = report.diff if active else []
    return report


def _hold(ctx: Context, services: t.Sequence[Service]) -> list[str]:
    """Before the stop, so that no socket, timer or watchdog is quicker. Preflight's units are the note of it."""
    if not ctx.params["hold"]:
        return []
    return hold_services(ctx.commands, services, who(ctx))


def _check_stopped(ctx: Context, services: t.Sequence[Service]) -> None:
    again = [name for name, state in read_states(ctx.commands, services).items() if state.active]
    if again:
        raise PhaseError(
            f"{listed(again)} was stopped and has been started again by something else on this host. "
            "Find what did it (a timer, a watchdog, a person), end that, and run the same command again."
        )


def stop_recover(ctx: Context) -> Report:
    """Start exactly those that ran before, wait until they are up again, and take the host back in."""
    services = noted_services(ctx, "service_stop")
    before = ctx.before.get("services", {})
    ran = [s for s in services if before.get(s.name) == RUNNING]
    failed = [s.name for s in services if before.get(s.name) == FAILED]
    note = f" {listed(failed)} had failed before and is left alone." if failed else ""
    states = read_states(ctx.commands, services)
    # A unit file that was put back has its old time again, and systemd sees a change only where the time is newer.
    first, held = bring_up(ctx, services, ran, states, later=False)
    started = list(first)
    drained = ctx.prepared.get("drained") is not None
    if drained:
        note += f" {undrain(ctx)}".rstrip()
        ctx.note(drained=None)
    now = as_facts(read_states(ctx.commands, services))
    if not started:
        said = f"All services that ran before run.{note}"
        return Report(said, bool(held or drained), after=now, facts={"started": []})
    diff = diff_of(services, states, dict.fromkeys(started, RUNNING))
    said = f"Started {listed(started, 'then')} again.{note}"
    return Report(said, True, after=now, diff=diff, facts={"started": started})
