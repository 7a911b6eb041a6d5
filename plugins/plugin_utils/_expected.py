# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a rollback will take, as rehearsed and as planned. Pure functions. Private to this collection."""

from __future__ import annotations

import typing as t

from ._history_view import duration_words

STOP, START, DESTROYS = "service_stop", "service_start", "alembic_downgrade"
Phases = t.Sequence[t.Mapping[str, t.Any]]


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
