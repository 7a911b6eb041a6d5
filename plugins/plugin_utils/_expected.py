# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a rollback will take, as rehearsed and as planned. Pure functions. Private to this collection."""

from __future__ import annotations

import statistics
import typing as t

from ._history_process import seconds_between
from ._history_schema import ROLLBACK
from ._history_view import duration_words
from ._outcome import MAIN, OK, REHEARSE

STOP, START, DESTROYS = "service_stop", "service_start", "alembic_downgrade"
Phases = t.Sequence[t.Mapping[str, t.Any]]
Runs = t.Sequence[t.Mapping[str, t.Any]]
EARLIER, REHEARSED, PLANNED = "earlier runs", "rehearsal", "plan"  # where an expectation comes from
ENOUGH = 10  # earlier runs; how long it took a year ago says little


def took(run: t.Mapping[str, t.Any]) -> dict[str, float]:
    """Seconds that the main of each phase took on all hosts together, by the phase's id; only where it ended well.

    :arg run: as ``Store.runs`` gives it.
    """
    found: dict[str, float] = {}
    mains = [row for row in run["phases"] if row["step"] == MAIN]
    for phase in {row["phase"]: None for row in mains}:
        rows = [row for row in mains if row["phase"] == phase]
        if all(row["status"] == OK and row["finished"] for row in rows):
            found[phase] = seconds_between(min(r["started"] for r in rows), max(r["finished"] for r in rows)) or 0.0
    return found


def rehearsed_seconds(run: t.Mapping[str, t.Any] | None) -> dict[int, float]:
    """Seconds that the main of a phase took in a rehearsal, on the slowest host, by the phase's index."""
    found: dict[int, float] = {}
    for row in run["phases"] if run else ():
        seconds = ((row["after"] or {}).get("seconds") or {}).get(MAIN) if row["step"] == REHEARSE else None
        if seconds is not None:
            found[row["index"]] = max(found.get(row["index"], 0.0), float(seconds))
    return found


def eta(phases: Phases, runs: Runs, rehearsed: t.Mapping[int, float]) -> dict[int, tuple[float, str]]:
    """How long each phase is expected to take, in seconds, and where that is known from, by the phase's index.

    The median of the last earlier rollbacks, else as rehearsed, else as planned. A phase of which nothing is known is
    missing.

    :arg phases: of the plan, each with ``index``, ``id`` and ``estimate`` (seconds or None).
    :arg runs: the runs of the change, newest first, as ``Store.runs`` gives them.
    :arg rehearsed: as ``rehearsed_seconds`` gives it.
    """
    known: dict[str, list[float]] = {}
    for run in [run for run in runs if _did_work(run)][:ENOUGH]:
        for name, seconds in took(run).items():
            known.setdefault(name, []).append(seconds)
    found: dict[int, tuple[float, str]] = {}
    for phase in phases:
        index = phase["index"]
        if phase["id"] in known:
            found[index] = (statistics.median(known[phase["id"]]), EARLIER)
        elif index in rehearsed:
            found[index] = (rehearsed[index], REHEARSED)
        elif phase["estimate"] is not None:
            found[index] = (float(phase["estimate"]), PLANNED)
    return found


def _did_work(run: t.Mapping[str, t.Any]) -> bool:
    """Whether it is a rollback that changed something: one that found nothing left to do says nothing of times."""
    if run["kind"] != ROLLBACK or run["check_mode"]:
        return False
    return any(row["changed"] for row in run["phases"] if row["step"] == MAIN)


def expected_words(phases: Phases, rehearsed: t.Mapping[int, float]) -> list[str]:
    """The expected downtime and time in all, and the point of no return, as sentences.

    :arg phases: of the plan, each with ``index``, ``name`` and ``estimate`` (seconds or None), in their order.
    :arg rehearsed: seconds that a phase took, by its index.
    """
    names = [phase["name"] for phase in phases]
    words = []
    if STOP in names and START in names[names.index(STOP) :]:
        down = phases[names.index(STOP) : len(names) - names[::-1].index(START)]
        words.append(f"Expected downtime: {_sum(down, rehearsed)}.")
    words.append(f"In all: {_sum(phases, rehearsed)}.")
    if DESTROYS in names:
        before = names[: names.index(DESTROYS)]
        words.append(f"Until {DESTROYS} begins{f', after {before[-1]}' if before else ''}, stopping costs nothing.")
    return words


def _sum(phases: Phases, rehearsed: t.Mapping[int, float]) -> str:
    known = {phase["index"]: rehearsed.get(phase["index"], phase["estimate"]) for phase in phases}
    total = sum(seconds for seconds in known.values() if seconds is not None)
    unknown = [phase["name"] for phase in phases if known[phase["index"]] is None]
    tried = [phase["name"] for phase in phases if phase["index"] in rehearsed]
    planned = [phase["name"] for phase in phases if phase["index"] not in rehearsed and phase["estimate"] is not None]
    sources = [
        *([f"{', '.join(tried)} as rehearsed"] if tried else []),
        *([f"{', '.join(planned)} as the plan estimates"] if planned else []),
        *([f"nothing is known of {', '.join(unknown)}"] if unknown else []),
    ]
    if not total:
        return f"not known; give the phases an estimate in the plan ({', '.join(unknown)})"
    return f"{'at least ' if unknown else ''}{duration_words(total)} ({'; '.join(sources)})"
