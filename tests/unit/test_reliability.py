# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fault matrix is whole, and docs/reliability.md says what it says."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))
import fault_table
import reliability
from fault_summary import TEST, FaultSummary
from fault_table import FAULTS, PHASES, POLICIES, POSITIONS, Case, Expected, LeftOut

EVERYTHING = [Case(*one) for one in itertools.product(FAULTS, PHASES, POSITIONS, POLICIES)]


def test_each_combination_has_an_end_or_a_reason():
    assert [case.id for case in EVERYTHING if fault_table.row_of(case) is None] == []


def test_each_row_is_of_use():
    used = {id(fault_table.row_of(case)) for case in EVERYTHING}
    assert [row for row in fault_table.TABLE if id(row) not in used] == []


def test_each_fault_phase_position_and_policy_is_tried():
    tried = fault_table.cases()
    assert {case.fault for case in tried} == set(FAULTS)
    for fault in ("task fails", "SIGKILL"):
        assert {case.phase for case in tried if case.fault == fault} == set(PHASES)
        assert {case.position for case in tried if case.fault == fault} == set(POSITIONS)
    assert {case.policy for case in tried} == set(POLICIES)


def test_the_short_matrix_has_every_fault_at_both_and_three_in_every_phase():
    short = fault_table.selected("")
    for phase in ("alembic_downgrade", "git_revert"):
        assert {case.fault for case in short if case.phase == phase} == set(FAULTS)
    for fault in ("task fails", "sshd killed", "SIGKILL"):
        assert {case.phase for case in short if case.fault == fault} == set(PHASES)
    assert len(fault_table.selected("all")) == len(fault_table.cases()) > len(short)


@pytest.mark.parametrize("row", [row for row in fault_table.TABLE if isinstance(row, Expected)])
def test_an_end_is_one_that_may_be(row: Expected):
    end = row.end
    assert (end.outcome == "succeeded") == (end.code == 0)
    if end.outcome in ("succeeded", "recovered"):
        assert end.lock == fault_table.FREE
        assert end.release == (fault_table.OLD if end.outcome == "succeeded" else fault_table.NEW)
    else:
        assert end.says


def test_each_reason_is_a_sentence():
    reasons = [row.reason for row in fault_table.TABLE if isinstance(row, LeftOut)]
    assert [reason for reason in reasons if not reason.endswith(".") or len(reason.split()) < 4] == []


def test_the_page_is_made_of_the_table():
    assert reliability.PAGE.read_text() == reliability.page(), "Type: python tests/integration/reliability.py"


class Report:
    def __init__(self, name: str, passed: bool, **result: object) -> None:
        self.nodeid, self.passed = f"{TEST}{name}]", passed
        self.user_properties = [("fault", result)] if result else []


def test_a_case_that_did_not_run_counts_as_failed():
    summary = FaultSummary()
    names = ["one", "two", "three"]
    summary.pytest_xdist_node_collection_finished(None, [f"{TEST}{name}]" for name in names])
    summary.pytest_runtest_logreport(Report("one", True, policy="recover", outcome="recovered", lost=0, mixed=0))
    summary.pytest_runtest_logreport(Report("two", False, policy="stop", outcome="failed", lost=2, mixed=1))
    assert summary.lines() == [
        "  not as the table says: three",
        "  not as the table says: two",
        "3 cases: 2 run, 1 ended as the table says, 1 did not run",
        "0 rolled back, 1 recovered, 1 stopped as told, 0 not put back, 0 interrupted; "
        "2 acknowledged values lost, 1 hosts mixed",
    ]
