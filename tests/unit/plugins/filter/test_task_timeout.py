# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter task_timeout, with the clock of this machine."""

from __future__ import annotations

import time
import typing as t

import pytest
from ansible.errors import AnsibleError
from ansible_collections.changeops.rollback.plugins.filter.task_timeout import FilterModule
from ansible_collections.changeops.rollback.plugins.plugin_utils import _reached

task_timeout = FilterModule().filters()["task_timeout"]
PHASE = {"role": "acme.own.step", "timeout": 40, "index": 2}


@pytest.fixture(autouse=True)
def forgotten() -> t.Iterator[None]:
    yield
    _reached.forget()


def test_it_is_what_is_left() -> None:
    assert 10 < task_timeout({"timeout": 30}, PHASE, "main", time.time() - 10) <= 20
    _reached.begin(2, ["web1"], time.time() - 10)
    assert 20 < task_timeout({"timeout": None}, PHASE, "main", 0) <= 30
    _reached.begin(3, ["web1"], time.time())
    assert task_timeout({"timeout": None}, PHASE, "main", 0) == 40, "that is the time of another phase"


def test_it_fails_when_the_time_is_up() -> None:
    with pytest.raises(AnsibleError, match="gives was up before this task began"):
        task_timeout({"timeout": 5}, PHASE, "main", time.time() - 10)
