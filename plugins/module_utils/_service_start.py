# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of service_start. Private to this collection."""

from __future__ import annotations

import os
import time
import typing as t

from ._command import PhaseError
from ._log_marks import mark_start
from ._phase import Context, Report
from ._service_act import died, flapping, start_all, stop_all
from ._service_manager import FAILED, RUNNING, STOPPED, State, States
from ._service_steps import as_facts, check_services, diff_of, listed_services, rights, told
from ._services import Service, read_states
from ._words import listed


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
    warnings = [] if _alone(ctx) else mark_start(ctx.point.root, ctx.commands)
    begun = time.monotonic()
    first = start_all(ctx.commands, wanted, states)
    mine = [s for s in services if s.name in first]
    faults = [died(ctx.commands, *fault) for fault in flapping(ctx.commands, mine, first, ctx.params["stays_up"])]
    if faults:
        raise PhaseError(" ".join(str(fault) for fault in faults), **faults[0].facts)
    now = as_facts(read_states(ctx.commands, services))
    diff = diff_of(services, states, dict.fromkeys(todo, RUNNING))
    said = f"Started {listed(todo, 'then')}; up and staying up after {time.monotonic() - begun:.1f} s."
    return Report(said, True, after=now, diff=diff, warnings=warnings, facts={"started": todo})


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
