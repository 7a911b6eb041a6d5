# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long phases are going to take, from what is in a store."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.changeops.rollback.plugins.plugin_utils._history import Asked, Store, now_utc, utc
from ansible_collections.changeops.rollback.plugins.plugin_utils._history_process import this_process
from ansible_collections.changeops.rollback.plugins.plugin_utils._history_times import expected

PHASES = [
    {"index": index, "id": f"{index}-{name}", "name": name, "estimate": estimate}
    for index, (name, estimate) in enumerate([("stop", 5), ("downgrade", 60), ("verify", 7), ("report", None)], 1)
]


def row(index: int, host: str, began: int, ended: int, **values: t.Any) -> dict[str, t.Any]:
    known = {"host": host, "index": index, "phase": PHASES[index - 1]["id"], "role": "r", "step": "main"}
    at = {"started": f"2026-11-27T02:00:{began:02}.000Z", "finished": f"2026-11-27T02:00:{ended:02}.000Z"}
    return {**known, **at, "status": "ok", "changed": True, "message": "", "before": None, "after": None, **values}


def run(store: Store, rows: list[dict[str, t.Any]], outcome: str = "succeeded", **asked: t.Any) -> None:
    opened = store.open_run(Asked("C001", "d1", "dana", "dana@ops1", **asked), this_process(os.getpid()))
    with store.transaction() as connection:
        store.save_rows(connection, opened["id"], rows)
        store.end_run(connection, opened["id"], outcome, "", utc(now_utc()))


@pytest.mark.parametrize(
    ("batches", "known"),
    [
        ([["a", "b"]], {"1": (4.0, "earlier runs"), "2": (33.0, "rehearsal"), "3": (7.0, "plan")}),
        ([["a"], ["b"]], {"1": (5.0, "plan"), "2": (33.0, "rehearsal"), "3": (7.0, "plan")}),
    ],
    ids=["hosts together", "in batches"],
)
def test_what_is_expected(tmp_path: Path, batches: list[list[str]], known: dict[str, tuple[float, str]]) -> None:
    store = Store(f"sqlite:///{tmp_path}/history.sqlite")
    for took in (2, 4, 9):  # on all hosts together, of which one began later
        run(store, [row(1, "a", 0, took - 1), row(1, "b", 1, took), row(2, "a", 9, 10, status="failed")], "failed")
    run(store, [row(1, "a", 0, 50, changed=False)])  # there was nothing left to do
    run(store, [row(1, "a", 0, 50)], check_mode=True)
    run(store, [row(1, "a", 0, 50)], kind="undo")
    seconds = [{"seconds": {"main": number}} for number in (20.0, 33.0)]
    tried = [row(2, host, 0, 9, step="rehearse", after=after) for host, after in zip("ab", seconds, strict=True)]
    run(store, tried, kind="rehearsal", check_mode=True)
    with store.transaction() as connection:
        assert expected(connection, "C001", {"phases": PHASES, "batches": batches}) == known
        assert expected(connection, "C002", {"phases": PHASES[3:]}) == {}
