# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is noted of a person's answers, through a rollback and back."""

from __future__ import annotations

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.plugins.module_utils._manual_step import (
    manual_main,
    manual_preflight,
    manual_recover,
)
from ansible_collections.changeops.rollback.plugins.module_utils._phase import run_step
from ansible_collections.changeops.rollback.plugins.module_utils._restore_point import RestorePoint

STEPS = {"preflight": manual_preflight, "main": manual_main, "recover": manual_recover}
BACK = "Fill the queue again."


@pytest.fixture
def step(tmp_path):
    point = RestorePoint(str(tmp_path / "state" / "C001-1a2b" / "3-manual_step"))

    def run(name, word=None, remark="", recover="", check=False, follows=False):
        answer = {"answer": word, "remark": remark, "by": "dana", "place": "dana@ops1", "at": "2026-11-27 02:11"}
        params = {"recover": recover, "answer": answer if word else None, "follows": follows, "timeout": 9, "wait": 1}
        return run_step(name, params, point, STEPS, check)

    return run


def assert_waits(step, name, **kwargs):
    with pytest.raises(PhaseError) as failure:
        step(name, **kwargs)
    assert failure.value.facts["waiting"]


@pytest.mark.parametrize(
    ("word", "changed", "said"),
    [
        ("done", True, "Done by dana (dana@ops1) at 2026-11-27 02:11 UTC: 312 purged"),
        ("skip", False, "Skipped by dana (dana@ops1) at 2026-11-27 02:11 UTC: 312 purged"),
    ],
)
def test_an_answer_is_asked_for_once(step, word, changed, said):
    assert step("preflight").pending is True
    assert_waits(step, "main")
    assert_waits(step, "main")
    report = step("main", word, "312 purged")
    assert (report.msg, report.changed) == (said, changed)
    assert report.after == {
        "answer": word, "remark": "312 purged", "by": "dana", "place": "dana@ops1", "at": "2026-11-27 02:11",
    }  # fmt: skip
    again = step("main")
    assert (again.msg, again.changed) == (said, False)
    assert step("preflight").pending is False


def test_in_a_plan_that_tells_it_follows(step):
    assert step("preflight", follows=True).pending is None


def test_what_failed_is_asked_for_again(step):
    with pytest.raises(PhaseError, match=r"Failed, says dana .* no access") as failure:
        step("main", "failed", "no access")
    assert failure.value.facts["after"]["answer"] == "failed"
    assert_waits(step, "main")
    assert step("main", "done").msg.endswith("UTC.")


def test_a_dry_run_asks_nothing(step):
    assert step("main", check=True).msg == "Would wait for a person."


@pytest.mark.parametrize("word", ["done", "failed", None])
def test_what_had_been_asked_is_put_back(step, word):
    step("preflight")
    with pytest.raises(PhaseError) if word != "done" else pytest.MonkeyPatch.context():
        step("main", word)
    assert_waits(step, "recover", recover=BACK)
    with pytest.raises(PhaseError, match="Failed, says dana"):
        step("recover", "failed", recover=BACK)
    assert step("recover", "done", recover=BACK).changed
    assert "nothing to put back" in step("recover", recover=BACK).msg
    assert_waits(step, "main")  # rolled back again, it is asked for again


def test_without_a_text_what_was_done_stays(step):
    step("main", "done")
    assert step("recover").warnings


def test_what_was_skipped_or_not_reached_is_not_put_back(step):
    step("preflight")
    assert "Nobody had been asked" in step("recover", recover=BACK).msg
    step("main", "skip")
    assert "had been skipped" in step("recover", recover=BACK).msg
