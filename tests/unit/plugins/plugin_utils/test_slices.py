# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What slices of a run have in common."""

from __future__ import annotations

import os
import typing as t

import pytest
from ansible_collections.changeops.rollback.plugins.plugin_utils._history_process import Process, this_process
from ansible_collections.changeops.rollback.plugins.plugin_utils._outcome import End, decide
from ansible_collections.changeops.rollback.plugins.plugin_utils._slices import (
    Part,
    Slice,
    Watch,
    end_of,
    part_of,
    share,
    together,
    whole_end,
)
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal

HOSTS = ["w1", "w2", "w3", "w4", "w5"]
HERE = this_process(os.getpid())
ELSEWHERE = Process("automation-job-7", "another boot", 77, "123")


@pytest.mark.parametrize(
    ("text", "found"),
    [("2/3", Slice(2, 3)), (" 1/2 ", Slice(1, 2)), ("1/1", None), ("", None), (None, None)],
)
def test_a_slice_is_read(text: t.Any, found: Slice | None) -> None:
    assert part_of(text) == found


@pytest.mark.parametrize(
    ("database", "total", "parts"),
    [
        ([], 1, [HOSTS]),
        ([], 2, [["w1", "w3", "w5"], ["w2", "w4"]]),
        (["w2"], 2, [["w2", "w3", "w5"], ["w1", "w4"]]),
        (["w1", "w5"], 3, [["w1", "w4", "w5"], ["w2"], ["w3"]]),
        (["w1", "w2", "w3"], 3, [["w1", "w2", "w3"], ["w4"], ["w5"]]),
    ],
)
def test_every_host_is_in_one_slice_and_the_databases_in_the_first(
    database: list[str], total: int, parts: list[list[str]]
) -> None:
    found = [share(HOSTS, database, Slice(number, total)) for number in range(1, total + 1)]
    assert sorted(host for part in found for host in part) == HOSTS
    assert set(database) <= set(found[0])
    assert [sorted(part) for part in found] == parts


NO_SLICE = "which is no slice. Say which of how many, 1000 at most, such as 2/3."
REFUSALS = [
    Refusal("no slice", f"rollback_slice is '3', {NO_SLICE}", "3"),
    Refusal("a slice that there is not", f"rollback_slice is '3/2', {NO_SLICE}", "3/2"),
    Refusal("more slices than hosts", "6 slices are more than its 5 hosts. Start fewer.", ([], "1/6")),
    Refusal(
        "slices where each host may work on a database",
        "w1, w2, w3 and w4 may work on a database, which slice 1 does alone, so w5 is left for slices 2 to 3. "
        "Where hosts share a database give the phase alembic_downgrade one of them, such as `hosts: w1`, or start "
        "fewer slices.",
        (HOSTS[:4], "1/3"),
    ),
    Refusal(
        "two slices where each host works on a database",
        "w1, w2, w3 and 2 more may work on a database, which slice 1 does alone, so no host is left for slice 2. "
        "Where hosts share a database give the phase alembic_downgrade one of them, such as `hosts: w1`, or start "
        "fewer slices.",
        (HOSTS, "1/2"),
    ),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.case)
def test_refusals(refusal: Refusal) -> None:
    database, text = refusal.given if isinstance(refusal.given, tuple) else ([], refusal.given)
    with pytest.raises(ValueError) as caught:
        share(HOSTS, database, t.cast(Slice, part_of(text)))
    assert refusal.matches(str(caught.value)), caught.value


def part(number: int = 2, process: Process = ELSEWHERE, heartbeat: str = "1", **end: t.Any) -> Part:
    given = end_of(End(**end)) if end else None
    return Part(number, 2, (f"w{number}",), f"AWX job {number}", process, heartbeat, given)


def test_a_slice_elsewhere_is_gone_when_its_heart_stood_still_for_a_minute_of_watching() -> None:
    clock = [0.0]
    watch = Watch(HERE, lambda: clock[0])
    seen = []
    # (seconds, heartbeat); None: the history was away
    for clock[0], heartbeat in [
        (0, "1"),
        (50, "1"),
        (55, "2"),
        (110, "2"),
        (112, None),
        (113, "2"),
        (172, "2"),
        (174, "2"),
    ]:
        if heartbeat is None:
            watch.blind()
        else:
            seen.append(bool(watch.gone([part(heartbeat=heartbeat)])))
    assert seen == [False, False, False, False, False, False, True]


@pytest.mark.parametrize(
    ("one", "gone"),
    [
        (part(process=HERE), False),
        (part(process=Process(HERE.controller, HERE.machine, HERE.pid, "1")), True),
        (part(process=HERE, finished=True), True),
    ],
    ids=["at work", "its process is gone", "ended"],
)
def test_a_slice_here_is_known_by_its_process(one: Part, gone: bool) -> None:
    assert Watch(HERE).gone([one]) == ({2} if gone else set())


def test_what_slices_tell_is_one() -> None:
    told = [{"reached": 2, "waits": False, "unable": ["w1"]}, {"reached": 3, "waits": True, "unable": []}]
    assert together(told) == {"reached": 3, "waits": True, "unable": ["w1"]}
    assert together([{"unable": ["w1"]}, {"unable": ["w1", "w2"]}]) == {"unable": ["w1", "w2"]}


def test_a_run_ends_as_all_its_slices_do() -> None:
    ends = [{"closed": {f"w{number}": "succeeded"}, "finished": True} for number in (1, 2)]
    assert decide([], whole_end([part(n, **end) for n, end in enumerate(ends, 1)])).outcome == "succeeded"
    one = part(1, closed={"w1": "interrupted"}, failed=frozenset({"w1"}), finished=True)
    decision = decide([], whole_end([one, part(2)]))
    said = "Slice 2 of 2 (w2; AWX job 2) ended without a word. No host had been changed."
    assert (decision.outcome, decision.summary) == ("interrupted", said)
