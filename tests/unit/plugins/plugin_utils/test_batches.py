# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import types
import typing as t

import pytest
from ansible.executor.playbook_executor import PlaybookExecutor
from ansible_collections.changeops.rollback.plugins.plugin_utils._batches import batch_size, split

HOSTS = [f"web{number}" for number in range(1, 9)]


@pytest.mark.parametrize(
    ("number", "serial", "sizes"),
    [
        pytest.param(8, [], [8], id="no serial"),
        pytest.param(8, [3], [3, 3, 2], id="a number"),
        pytest.param(8, ["25%"], [2, 2, 2, 2], id="a percentage"),
        pytest.param(8, [1, "25%", "100%"], [1, 2, 5], id="a canary, some, the rest"),
        pytest.param(8, [1, 2], [1, 2, 2, 2, 1], id="the last size holds"),
        pytest.param(7, ["40%"], [2, 2, 2, 1], id="a percentage is rounded down"),
        pytest.param(3, ["10%"], [1, 1, 1], id="one host at least"),
        pytest.param(2, [5], [2], id="more than there are"),
        pytest.param(2, [1, 1, 1, 1], [1, 1], id="more batches than hosts"),
        pytest.param(0, ["25%"], [], id="no hosts"),
        pytest.param(0, [], [], id="no hosts and no serial"),
    ],
)
def test_split(number: int, serial: list[t.Any], sizes: list[int]) -> None:
    hosts = HOSTS[:number]
    batches = split(hosts, serial)
    assert [len(batch) for batch in batches] == sizes
    assert [host for batch in batches for host in batch] == hosts


@pytest.mark.parametrize("number", [1, 2, 3, 7, 8])
@pytest.mark.parametrize("serial", [[1], [3], ["1%"], ["25%"], ["29%"], ["33%", 2], [1, "25%", "100%"]])
def test_batches_are_those_of_ansibles_own_serial(number: int, serial: list[t.Any]) -> None:
    executor = types.SimpleNamespace(_inventory=types.SimpleNamespace(get_hosts=lambda *_args, **_more: HOSTS[:number]))
    play = types.SimpleNamespace(hosts="all", order=None, serial=serial)
    assert split(HOSTS[:number], serial) == PlaybookExecutor._get_serialized_batches(t.cast("t.Any", executor), play)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        *(("1", 1), ("20", 20), ("25%", "25%"), ("100%", "100%"), ("1%", "1%")),
        *((text, None) for text in ("", "0", "-1", "0%", "101%", "2.5", "25 %", "all", "1e3", "%")),
    ],
)
def test_batch_size(text: str, size: int | str | None) -> None:
    assert batch_size(text) == size
