# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures of the rounds, and what comes of them: medians, ratios, and what is reached. Pure functions.

``Figures`` is what tests/benchmarks/recorded.json has::

    rounds      how many there were of each contender
    machine     words about what it ran on
    rigs        {"sqlite-1": {contender: {measure: [of each round]}}}; of ours also ``steps``, {step: [seconds]}
    engine      {"100": {measure: [of each round]}}, simulated hosts
    history     {"sqlite-1": {measure: [of each round]}}
    plans       seconds to load 100 plans
"""

from __future__ import annotations

import dataclasses
import statistics
import typing as t

CONTENDERS = ("script", "pyinfra", "playbook", "ours")
WORSE = 1.5  # times the recorded ratio is too much
Figures = dict[str, t.Any]


@dataclasses.dataclass(frozen=True)
class Reach:
    """Something to reach: ``value`` has to be at most ``most``. None: it was not measured."""

    words: str
    most: float
    value: float | None
    unit: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether it is."""
        return None if self.value is None else self.value <= self.most


def median(values: t.Sequence[float] | None) -> float | None:
    """The median, None of nothing."""
    return statistics.median(values) if values else None


def ratio(value: float | None, of: float | None) -> float | None:
    """The first by the second, None where one is missing."""
    return None if value is None or not of else value / of


def of_rig(figures: Figures, rig: str, contender: str, measure: str) -> float | None:
    """The median of a measure of one contender."""
    return median(figures.get("rigs", {}).get(rig, {}).get(contender, {}).get(measure))


def compared(figures: Figures, rig: str, measure: str, other: str) -> float | None:
    """How many times the other's median ours is."""
    return ratio(of_rig(figures, rig, "ours", measure), of_rig(figures, rig, other, measure))


def per_host(figures: Figures, size: int, measure: str) -> float | None:
    """The median of a measure of simulated hosts, for each of them."""
    return ratio(median(figures.get("engine", {}).get(str(size), {}).get(measure)), size)


def reach(figures: Figures) -> list[Reach]:
    """All that is to be reached, in the order in which a reader asks for it."""
    rows = []
    for rig, most in (("sqlite-1", 0.8), ("sqlite-10", 0.7), ("postgresql-10", 0.7)):
        where = words_of(rig)
        rows.append(Reach(f"downtime by the script's, {where}", most, compared(figures, rig, "downtime", "script")))
        words = f"downtime by the ordinary playbook's, {where}"
        rows.append(Reach(words, 0.25, compared(figures, rig, "downtime", "playbook")))
    rows.append(Reach("total by the script's, 1 host, SQLite", 1.7, compared(figures, "sqlite-1", "total", "script")))
    for rig in ("sqlite-10", "postgresql-10"):
        words = f"total by pyinfra's, {words_of(rig)}"
        rows.append(Reach(words, 1.0, compared(figures, rig, "total", "pyinfra")))
    hundred, thousand = (per_host(figures, size, "cpu") for size in (100, 1000))
    growth = ratio(thousand, hundred)
    rows += [
        Reach("controller CPU for each of 100 simulated hosts", 0.9, hundred, "s"),
        Reach("that for each of 1,000, by that for each of 100", 1.1, growth),
        Reach(
            "controller memory at 1,000 simulated hosts",
            200,
            median(figures.get("engine", {}).get("1000", {}).get("memory")),
            "MB",
        ),
    ]
    for rig, spent in figures.get("history", {}).items():
        share = median(spent.get("share"))
        rows.append(Reach(f"the history's share of the total, {words_of(rig)}", 3, share and share * 100, "%"))
    plans = figures.get("plans")
    rows.append(Reach("loading 100 plans", 50, plans and plans * 1000, "ms"))
    return rows


def words_of(rig: str) -> str:
    """A rig in words."""
    database, hosts = rig.split("-")
    return f"{hosts} host{'' if hosts == '1' else 's'}, {'SQLite' if database == 'sqlite' else 'one PostgreSQL'}"


def worse(recorded: Figures, now: t.Mapping[str, t.Mapping[str, t.Sequence[float]]], rig: str) -> list[str]:
    """What has become worse by half than the recorded figures of a rig, in sentences.

    :arg now: rounds of the script and of ours, by contender and measure. Other work on the machine only adds to them,
        so the best round counts.
    """
    words = []
    for measure in ("downtime", "total"):
        before = compared(recorded, rig, measure, "script")
        here = ratio(min(now["ours"][measure]), min(now["script"][measure]))
        if before is not None and here is not None and here > WORSE * before:
            words.append(
                f"The {measure} of ours is {here:.2f} times the script's ({now['ours'][measure]} by "
                f"{now['script'][measure]} s), and {before:.2f} times in tests/benchmarks/recorded.json. Look for what "
                "made it slower; where that is wanted, record it anew: make bench"
            )
    return words
