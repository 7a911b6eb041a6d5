# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The charts of a change's report, from its view. Pure functions. Private to this collection."""

from __future__ import annotations

import datetime
import typing as t

from ._expected import DESTROYS
from ._history_process import seconds_between
from ._history_schema import REHEARSAL
from ._history_view import duration_words
from ._outcome import BAD, MAIN, PREFLIGHT, RECOVER, SKIPPED
from ._report_svg import PLANNED, Bar, Lane, Run, history, timeline

MOST_LANES = 40
MOST_RUNS = 30
PLAN = "as planned"

Values = t.Mapping[str, t.Any]
Hosts = t.Sequence[Values]


def draw_run(last: Values, phases: t.Sequence[Values]) -> str:
    """The timeline of a run; empty where it did nothing on any host.

    :arg last: as the view has it, with ``timeline`` and ``downtime``.
    :arg phases: of the view, each with ``index``, ``name`` and ``estimate``.
    """
    hosts = worked(last)
    if not hosts:
        return ""
    down, point = _down(last, hosts), no_return(hosts)
    words = ["Each host has a lane with its phases, by number, one after the other."]
    if down is not None:
        words.append(f"A service was down for {duration_words(down[1] - down[0])}.")
    if point is not None:
        words.append(f"The point of no return was passed {duration_words(point)} after the run began.")
    began = datetime.datetime.fromisoformat(last["started"])
    title = f"Phases of run {last['id']} by host"
    return timeline(lanes(telling(hosts), phases), title, " ".join(words), began, down, point)


def worked(last: Values) -> list[dict[str, t.Any]]:
    """The hosts of a run with what was done on each; what was only skipped is left out.

    What never ended, because the run was killed, lasts as long as the run did.
    """
    whole, hosts = last["duration"] or 0.0, []
    for one in last["timeline"]:
        spans = []
        for span in one["spans"]:
            start = max(span["offset"], 0.0)
            took = span["seconds"] if span["seconds"] is not None else max(whole - start, 0.0)
            if span["status"] != SKIPPED:
                spans.append({**span, "offset": start, "seconds": took})
        if spans:
            hosts.append({"host": one["host"], "spans": spans})
    return hosts


def _ends(hosts: Hosts) -> float:
    return float(max(span["offset"] + span["seconds"] for one in hosts for span in one["spans"]))


def _down(last: Values, hosts: Hosts) -> tuple[float, float] | None:
    """From when to when a service was down, in seconds since the run began; to the run's end where it stayed down."""
    window = last["downtime"]
    if window is None:
        return None
    begin = seconds_between(last["started"], window["started"]) or 0.0
    end = seconds_between(last["started"], window["finished"])
    return begin, end if end is not None else max(_ends(hosts), begin)


def no_return(hosts: Hosts) -> float | None:
    """When the first step that destroys something began, in seconds since the run did; None where none did."""
    begins = [
        span["offset"] for one in hosts for span in one["spans"] if (span["name"], span["step"]) == (DESTROYS, MAIN)
    ]
    return min(begins, default=None)


def telling(hosts: Hosts) -> list[Values]:
    """Of more than ``MOST_LANES`` hosts those on which something failed, then those that took longest."""
    if len(hosts) <= MOST_LANES:
        return list(hosts)
    worst = sorted(hosts, key=lambda one: (not _failed(one), -sum(span["seconds"] for span in one["spans"])))
    return sorted(worst[:MOST_LANES], key=lambda one: str(one["host"]))


def lanes(hosts: Hosts, phases: t.Sequence[Values]) -> list[Lane]:
    """The plan's estimates as a lane, then one for each host."""
    planned = _planned(hosts, phases)
    return [*([Lane(PLAN, planned)] if planned else []), *(Lane(one["host"], _bars(one["spans"])) for one in hosts)]


def _failed(host: Values) -> bool:
    return any(span["status"] in BAD for span in host["spans"])


def _bars(spans: t.Sequence[Values]) -> list[Bar]:
    """The preflights of a host as one bar, then a bar for each of its phases."""
    before = [span for span in spans if span["step"] not in (MAIN, RECOVER)]
    bars = []
    if before:
        start = min(span["offset"] for span in before)
        end = max(span["offset"] + span["seconds"] for span in before)
        bad = [span for span in before if span["status"] in BAD]
        said = f", {bad[0]['name']} {bad[0]['status']}" if bad else ""
        title = f"{PREFLIGHT}{said}, {duration_words(end - start)}"
        bars.append(Bar(PREFLIGHT, title, start, end, PREFLIGHT, bad[0]["status"] if bad else ""))
    for span in spans:
        if span["step"] in (MAIN, RECOVER):
            of = "" if span["step"] == MAIN else f"{RECOVER} of "
            title = f"{of}{span['index']} {span['name']}, {span['status']}, {duration_words(span['seconds'])}"
            end = span["offset"] + span["seconds"]
            bars.append(Bar(str(span["index"]), title, span["offset"], end, span["step"], span["status"]))
    return bars


def _planned(hosts: Hosts, phases: t.Sequence[Values]) -> list[Bar]:
    """The estimates one after the other, from where the first phase began."""
    at = min((span["offset"] for one in hosts for span in one["spans"] if span["step"] == MAIN), default=0.0)
    bars = []
    for phase in phases:
        took = phase["estimate"]
        if took:
            title = f"{phase['index']} {phase['name']}, estimated {duration_words(took)}"
            bars.append(Bar(str(phase["index"]), title, at, at + took, PLANNED))
            at += took
    return bars


def draw_history(runs: t.Sequence[Values]) -> str:
    """The chart of the last runs; empty without any.

    :arg runs: the view's ``history``, newest first.
    """
    marks = [_run(run) for run in reversed(runs[:MOST_RUNS])]
    if not marks:
        return ""
    described = "; ".join(one.title for one in marks)
    return history(marks, "The last runs, their outcomes and durations", f"From the earliest to the last: {described}.")


def _run(run: Values) -> Run:
    took = f" in {duration_words(run['duration'])}" if run["duration"] is not None else ""
    title = f"{run['date']} {'dry run' if run['dry'] else run['kind']} {run['outcome'] or 'running'}{took}"
    return Run(run["outcome"], run["duration"], run["started"][:10], run["started"][11:16], title, aside(run))


def aside(run: Values) -> bool:
    """Whether a run of the view's ``history`` touched no host on purpose."""
    return bool(run["dry"]) or run["kind"] == REHEARSAL
