# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of the time that a rollback takes."""

from __future__ import annotations

import pytest
from ansible_collections.changeops.rollback.plugins.plugin_utils._expected import eta, expected_words

ORDER = ("backup", "service_stop", "alembic_downgrade", "git_revert", "service_start", "verify")


def phases(names: tuple[str, ...], estimates: dict[str, int]) -> list[dict]:
    return [{"index": n, "name": name, "estimate": estimates.get(name)} for n, name in enumerate(names, 1)]


@pytest.mark.parametrize(
    ("found", "rehearsed", "words"),
    [
        (
            phases(ORDER, dict.fromkeys(ORDER, 60)),
            {3: 90.0},
            [
                "Expected downtime: 4 min 30 s (alembic_downgrade as rehearsed; service_stop, git_revert, "
                "service_start as the plan estimates).",
                "In all: 6 min 30 s (alembic_downgrade as rehearsed; backup, service_stop, git_revert, service_start, "
                "verify as the plan estimates).",
                "Until alembic_downgrade begins, after service_stop, stopping costs nothing.",
            ],
        ),
        (
            phases(("service_stop", "git_revert", "service_start"), {"git_revert": 5}),
            {},
            [
                "Expected downtime: at least 5.0 s (git_revert as the plan estimates; nothing is known of "
                "service_stop, service_start).",
                "In all: at least 5.0 s (git_revert as the plan estimates; nothing is known of service_stop, "
                "service_start).",
            ],
        ),
        (
            phases(("config_restore", "verify"), {}),
            {},
            ["In all: not known; give the phases an estimate in the plan (config_restore, verify)."],
        ),
    ],
)
def test_expected(found: list[dict], rehearsed: dict[int, float], words: list[str]) -> None:
    assert expected_words(found, rehearsed) == words


def run(seconds: float, **more: object) -> dict:
    """A rollback in which the main of phase 1 took some seconds on the slower of two hosts."""
    row = {"phase": "1-backup", "step": "main", "status": "ok", "changed": True, "started": "2026-11-22T23:15:00.000Z"}
    ends = [f"2026-11-22T23:15:{end:06.3f}Z" for end in (seconds / 2, seconds)]
    rows = [{**row, "host": host, "finished": end} for host, end in zip(("web1", "web2"), ends, strict=True)]
    return {"kind": "rollback", "check_mode": False, "phases": rows, **more}


def odd(seconds: float, **more: object) -> dict:
    """The same with something else in its rows."""
    found = run(seconds)
    return {**found, "phases": [{**row, **more} for row in found["phases"]]}


@pytest.mark.parametrize(
    ("runs", "rehearsed", "estimate", "found"),
    [
        ([run(4), run(50), run(6)], {1: 9.0}, 60, {1: (6.0, "earlier runs")}),
        ([run(4), run(6)], {}, 60, {1: (5.0, "earlier runs")}),
        (
            [run(3, kind="rehearsal"), run(3, check_mode=True), run(3, kind="undo")],
            {1: 9.0},
            60,
            {1: (9.0, "rehearsal")},
        ),
        ([odd(3, changed=False)], {}, 60, {1: (60.0, "plan")}),
        ([odd(3, status="failed")], {}, 60, {1: (60.0, "plan")}),
        ([odd(3, finished=None)], {}, 60, {1: (60.0, "plan")}),
        ([odd(3, phase="1-verify")], {}, 60, {1: (60.0, "plan")}),
        ([run(4)] * 10 + [run(50)] * 30, {}, None, {1: (4.0, "earlier runs")}),
        ([], {}, None, {}),
    ],
    ids=[
        "median",
        "even",
        "other kinds",
        "nothing changed",
        "failed",
        "cut off",
        "another plan",
        "long ago",
        "unknown",
    ],
)
def test_expected_time_of_a_phase(runs: list[dict], rehearsed: dict, estimate: int | None, found: dict) -> None:
    plan = [{"index": 1, "id": "1-backup", "name": "backup", "estimate": estimate}]
    assert eta(plan, runs, rehearsed) == found
