# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a rehearsal will do for a rollback, and what is said of it."""

from __future__ import annotations

import datetime
import typing as t

import pytest
from ansible_collections.changeops.rollback.plugins.plugin_utils._history import Asked, Refused, Store, utc
from ansible_collections.changeops.rollback.plugins.plugin_utils._history_process import Process
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal

HERE = Process("ops1", "boot", 77, "123")
NOW = datetime.datetime(2026, 11, 22, 23, 15, tzinfo=datetime.UTC)
DAY = 86400
ASKED = Asked("C001", "digest-1", "dana", "dana@ops1")
TYPE = (
    "It has to have been rehearsed with this plan, and found READY, within 7 d before it is rolled back. Rehearse it: "
    "ansible-playbook rehearse.yml -e change=C001. Where there is no time for that: ansible-playbook rollback.yml "
    "-e change=C001 -e rollback_require_rehearsal=no"
)


class Rehearsed(t.NamedTuple):
    """A rehearsal: days ago, how it ended (None: it did not), of which plan."""

    days: float
    outcome: str | None
    digest: str = "digest-1"


REFUSALS = [
    Refusal(
        "a rollback that was never rehearsed, where it has to be", f"C001 was never rehearsed. {TYPE}", {"was": []}
    ),
    Refusal(
        "one that was rehearsed too long ago",
        f"C001 was rehearsed 8 d ago and found READY. {TYPE}",
        {"was": [Rehearsed(8, "succeeded")]},
    ),
    Refusal(
        "one whose last rehearsal found obstacles",
        f"C001 was rehearsed 24 h 0 min ago and found NOT READY. {TYPE}",
        {"was": [Rehearsed(2, "succeeded"), Rehearsed(1, "refused")]},
    ),
    Refusal(
        "one whose plan was edited since",
        f"C001 was rehearsed 24 h 0 min ago and found READY, with another plan than the one of now. {TYPE}",
        {"was": [Rehearsed(1, "succeeded", "digest-0")]},
    ),
]


@pytest.fixture
def store(url: str) -> Store:
    return Store(url, lambda: NOW)


def rehearse(store: Store, was: list[Rehearsed]) -> None:
    for one in was:
        store.clock = lambda: NOW - datetime.timedelta(days=one.days)  # noqa: B023  it is asked in this loop only
        asked = Asked("C001", one.digest, "dana", "dana@ops1", check_mode=True, kind="rehearsal")
        run = store.open_run(asked, HERE)
        if one.outcome:
            with store.transaction() as connection:
                store.end_run(connection, run["id"], one.outcome, "", utc(store.clock()))
    store.clock = lambda: NOW


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.case)
def test_a_rollback_without_its_rehearsal_is_refused_and_on_record(store: Store, refusal: Refusal) -> None:
    rehearse(store, refusal.given["was"])
    with pytest.raises(Refused) as refused:
        store.open_run(Asked(**{**vars(ASKED), "rehearsed_within": 7 * DAY}), HERE)
    assert str(refused.value) == refusal.says
    assert store.runs(HERE)[0]["outcome"] == "refused"


@pytest.mark.parametrize(
    ("was", "within", "words", "cell"),
    [
        ([], 0, "C001 was never rehearsed.", "never"),
        ([Rehearsed(1, None)], 0, "C001 was never rehearsed.", "never"),
        ([Rehearsed(6, "succeeded")], 7 * DAY, "C001 was rehearsed 6 d ago and found READY.", "6 d ago, READY"),
        ([Rehearsed(3, "refused"), Rehearsed(2, "succeeded"), Rehearsed(1, None)], 7 * DAY,
         "C001 was rehearsed 2 d ago and found READY.", "2 d ago, READY"),
        ([Rehearsed(5, "refused")], 0, "C001 was rehearsed 5 d ago and found NOT READY.", "5 d ago, NOT READY"),
        ([Rehearsed(5, "succeeded", "digest-0")], 0,
         "C001 was rehearsed 5 d ago and found READY, with another plan than the one of now.", "5 d ago, another plan"),
    ],
)  # fmt: skip
def test_a_rollback_tells_of_its_rehearsal(
    store: Store, was: list[Rehearsed], within: int, words: str, cell: str
) -> None:
    rehearse(store, was)
    run = store.open_run(Asked(**{**vars(ASKED), "rehearsed_within": within}), HERE)
    assert (run["kind"], run["rehearsed"]) == ("rollback", words)
    assert store.rehearsal("C001", "digest-1").cell == cell


def test_a_dry_run_and_one_that_finishes_a_job_need_none(store: Store) -> None:
    needs = {"rehearsed_within": DAY}
    dry = store.open_run(Asked(**{**vars(ASKED), **needs, "check_mode": True}), HERE)
    left = store.open_run(ASKED, HERE)
    row: dict[str, t.Any] = {
        "host": "web1",
        "index": 1,
        "step": "main",
        "phase": "1-backup",
        "role": "r",
        "status": "ok",
    }
    row.update(changed=True, started=utc(NOW), finished=None, message="", before=None, after=None)
    with store.transaction() as connection:
        store.save_rows(connection, left["id"], [row])
        store.end_run(connection, left["id"], "failed", "", utc(NOW))
    assert store.open_run(Asked(**{**vars(ASKED), **needs}), HERE)["resumes"] == left["id"]
    assert dry["resumes"] is None
