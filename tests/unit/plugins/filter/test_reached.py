# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter reached: what the observer noted, for the batch that it was noted for."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.changeops.rollback.plugins.filter.reached import FilterModule
from ansible_collections.changeops.rollback.plugins.plugin_utils import _reached

reached = FilterModule().filters()["reached"]


@pytest.fixture(autouse=True)
def watched() -> t.Iterator[None]:
    _reached.forget()
    yield
    _reached.forget()


def test_any_phase_may_have_started_where_nobody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_reached, "_last", [_reached.UNWATCHED])
    assert ["backup", "verify"][: reached({"index": 1, "hosts": ["web1"]})] == ["backup", "verify"]


def test_no_phase_has_started_before_the_first() -> None:
    assert reached({"index": 0, "hosts": []}) == 0
    assert reached({"index": 1, "hosts": ["web1"]}) == 0


def test_it_is_that_of_the_batch_at_work() -> None:
    _reached.begin(1, "web1", 100.0)
    _reached.begin(2, "web1", 101.0)
    assert reached({"index": 1, "hosts": ["web1", "web2"]}) == 2
    assert reached({"index": 2, "hosts": ["web3"]}) == 0, "the next batch has begun with nothing yet"
    _reached.forget()
    assert reached({"index": 1, "hosts": ["web1", "web2"]}) == 0, "another play has the same hosts"


def test_the_time_of_a_phase_counts_from_its_first_task() -> None:
    _reached.begin(2, "web1", 100.0)
    _reached.begin(2, "web1", 109.0)
    assert _reached.phase_began(2, 110.0) == 100.0
    assert _reached.phase_began(3, 110.0) == 110.0
