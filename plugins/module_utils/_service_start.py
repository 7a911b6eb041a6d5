# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of service_start. Private to this collection."""

from __future__ import annotations

import time
import typing as t

from ._command import PhaseError
from ._log_marks import mark_start
from ._phase import Context, Report
from ._service_act import died, flapping, stop_all
from ._service_drain import drain, undrain
from ._service_family import TRIGGERS, start_order
from ._service_manager import FAILED, RUNNING, STOPPED, State, States
from ._service_steps import as_facts, bring_up, diff_of, look, noted_services, told, who
from ._services import Service, held_services, hold_services, read_states
from ._words import listed


def _alone(ctx: Context) -> bool:
    # in check mode the restore point is a throw-away, so the option has to tell
    return ctx.point.standalone or not ctx.params.get("restore_point")


def _to_start(ctx: Context, services: t.Sequence[Service], states: States) -> list[Service]:
    """Those that ran, or were wanted and failed, before the run; a job is not to be done twice.

    When the role is used alone: all that are listed, and what starts them, sockets and timers, if it is enabled.
    """
    before = ctx.before.get("services", {})
    if _alone(ctx):
        return [s for s in services if s.listed or (states[s.name].enabled and s.name.endswith(TRIGGERS))]
    return [s for s in services if before.get(s.name) in (RUNNING, FAILED) and not states[s.name].ends]


def start_preflight(ctx: Context) -> Report:
    """Note which services run now: these are started again."""
    services, states, report = look(ctx, "service_start")
    masked = [s.name for s in services if states[s.name].masked and s.listed and _alone(ctx)]
    if masked:
        raise PhaseError(
            f"{listed(masked)} is masked, so it cannot be started. Unmask it (systemctl unmask {' '.join(masked)}) "
            "or take it out of service_start_services."
        )
    idle = [name for name, state in states.items() if state.word == STOPPED]
    if idle and not _alone(ctx) and not ctx.resumed:
        report.msg += f" What is stopped now is not started by this run: {listed(idle)}."
    return report


def start_main(ctx: Context) -> Report:
    """Start what ran before, in reverse of the order given, see that it stays up, then take the host back in."""
    services = noted_services(ctx, "service_start")
    states = read_states(ctx.commands, services)
    wanted = _to_start(ctx, services, states)
    todo = [s.name for s in start_order(wanted) if not states[s.name].up]
    if ctx.check:
        return _start_check(ctx, services, wanted, states, todo)
    held = [s.name for s in held_services(ctx.commands, services)]
    # noted before acting: recover stops these and no others, and holds again what was held
    ctx.note(
        started=sorted({*ctx.prepared.get("started", []), *todo}), held=sorted({*ctx.prepared.get("held", []), *held})
    )
    warnings = mark_start(ctx.point.root, ctx.commands) if todo and not _alone(ctx) else []
    begun = time.monotonic()
    first, _held = bring_up(ctx, services, wanted, states, later=True)
    fallen, end = flapping(ctx.commands, services, first, ctx.params["stays_up"])
    faults = [died(ctx.commands, *fault) for fault in fallen]
    if faults:
        raise PhaseError(" ".join(str(fault) for fault in faults), **faults[0].facts)
    seconds = time.monotonic() - begun
    undrained = _undrain(ctx, todo)
    now = as_facts(end)
    changed = bool(todo or held or undrained)
    if not todo:
        why = f"There is nothing to start: {told(states)}. {undrained}".strip()
        return Report(why, changed, after=now, facts={"started": []})
    diff = diff_of(services, states, dict.fromkeys(todo, RUNNING))
    said = f"Started {listed(todo, 'then')}; up and staying up after {seconds:.1f} s. {undrained}".strip()
    return Report(said, changed, after=now, diff=diff, warnings=warnings, facts={"started": todo})


def _undrain(ctx: Context, started: list[str]) -> str:
    if not ctx.params["undrain"] or ctx.prepared.get("undrained") or (_alone(ctx) and not started):
        return ""
    ctx.note(undrained=False)  # begun: recover drains again
    said = undrain(ctx)
    ctx.note(undrained=True)
    return said


def _start_check(
    ctx: Context, services: t.Sequence[Service], wanted: t.Sequence[Service], states: States, todo: list[str]
) -> Report:
    words = dict.fromkeys([s.name for s in wanted], RUNNING)
    after = {"services": {s.name: words.get(s.name, states[s.name].word) for s in services}, "pids": {}}
    if _alone(ctx):
        said = f"Would start {listed(todo, 'then')}." if todo else f"There is nothing to start: {told(states)}."
        diff = diff_of(services, states, words) if todo else []
        return Report(said, bool(todo), after=after, diff=diff, facts={"started": todo})
    names = [s.name for s in start_order(wanted)]
    # in a run these have been stopped by now, which check mode did not do
    stopped = {s.name: State(STOPPED, "") if s in wanted else states[s.name] for s in services}
    said = f"Would start {listed(names, 'then')} again." if names else "Would start nothing, as nothing ran before."
    said += " Would undrain then." if ctx.params["undrain"] else ""
    diff = diff_of(services, stopped, words) if names else []
    return Report(said, bool(names), after=after, diff=diff, facts={"started": names})


def start_recover(ctx: Context) -> Report:
    """Stop what main started, so that the earlier phases can be put back."""
    services = noted_services(ctx, "service_start")
    began = ctx.prepared.get("started", [])
    if ctx.undo:  # whoever started it since
        began = [name for name, word in ctx.before.get("services", {}).items() if word in (RUNNING, FAILED)]
    # a socket may have started its service since, so what goes together is stopped together
    groups = {s.group for s in services if s.name in began}
    mine = [s for s in services if s.group in groups]
    if not mine and not ctx.prepared.get("held") and ctx.prepared.get("undrained") is None:
        return Report("service_start had started nothing, so there is nothing to stop.", facts={"stopped": []})
    states = read_states(ctx.commands, mine)
    warnings = _drain_again(ctx, services)
    hold_services(ctx.commands, [s for s in services if s.name in ctx.prepared.get("held", [])], who(ctx))
    stopped = stop_all(ctx.commands, mine, states)
    ctx.note(started=[], held=[])  # a second recovery must not stop what service_stop's recovery has started since
    now = as_facts(read_states(ctx.commands, services))
    said = f"Stopped {listed(stopped, 'then')}." if stopped else "What service_start had started is stopped already."
    diff = diff_of(mine, states, dict.fromkeys(stopped, STOPPED)) if stopped else []
    return Report(said, bool(stopped), after=now, diff=diff, warnings=warnings, facts={"stopped": stopped})


def _drain_again(ctx: Context, services: t.Sequence[Service]) -> list[str]:
    """What cannot be drained is stopped all the same, because the earlier phases wait to be put back."""
    if ctx.prepared.get("undrained") is None:
        return []
    try:
        ctx.note(drained=None)
        drain(ctx, services)
        ctx.note(undrained=None)
    except PhaseError as exc:
        return [str(exc)]
    return []
