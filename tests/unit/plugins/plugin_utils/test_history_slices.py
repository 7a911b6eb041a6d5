# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Slices join one run, meet, and close it, with a history on PostgreSQL and real processes."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import typing as t

import pytest
import sqlalchemy as sa
from ansible_collections.changeops.rollback.plugins.plugin_utils._history import Asked, HistoryError, Store, utc
from ansible_collections.changeops.rollback.plugins.plugin_utils._history_process import this_process
from ansible_collections.changeops.rollback.plugins.plugin_utils._history_slices import arrive, end_slice, give_up, look
from ansible_collections.changeops.rollback.plugins.plugin_utils._outcome import End
from ansible_collections.changeops.rollback.plugins.plugin_utils._slices import Slice, Watch

FORK = multiprocessing.get_context("fork")
HERE = this_process(os.getpid())
GONE = dataclasses.replace(HERE, pid_started="1")
TOTAL = 4


@pytest.fixture
def url(postgresql: str) -> str:
    server = f"postgresql+psycopg://postgres@/postgres?host={postgresql}"
    admin = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(sa.text("DROP DATABASE IF EXISTS slices WITH (FORCE)"))
        connection.execute(sa.text("CREATE DATABASE slices"))
    admin.dispose()
    return server.replace("/postgres?", "/slices?")


def asked(number: int, total: int = TOTAL, digest: str = "d1", hosts: tuple[str, ...] = (), **more: t.Any) -> Asked:
    part = Slice(number, total)
    return Asked("C001", digest, "dana", f"AWX job {number}", part=part, hosts=hosts or (f"w{number}",), **more)


def _open(url: str, number: int, results: t.Any) -> None:
    run = Store(url).open_run(asked(number), HERE)
    results.put((run["id"], run["joined"]))


def _end(url: str, run: str, number: int, results: t.Any) -> None:
    store = Store(url)
    end = End(closed={f"w{number}": "succeeded"})
    decision = end_slice(store, run, number, end, HERE, utc(store.clock()))
    results.put(decision.outcome if decision else None)


def at_once(target: t.Any, *args: t.Any) -> list[t.Any]:
    results = FORK.Queue()
    processes = [FORK.Process(target=target, args=(*args, n, results)) for n in range(1, TOTAL + 1)]
    for one in processes:
        one.start()
    found = [results.get(timeout=60) for _one in processes]
    for one in processes:
        one.join()
    return found


def test_slices_that_come_and_go_at_once_are_one_run_that_one_of_them_opens_and_one_closes(url: str) -> None:
    opened = at_once(_open, url)
    assert len({run for run, _joined in opened}) == 1
    assert sorted(joined for _run, joined in opened) == [False, True, True, True]
    ended = at_once(_end, url, opened[0][0])
    assert sorted(ended, key=str) == [None, None, None, "succeeded"]
    (run,) = Store(url).runs(HERE)
    assert (run["outcome"], run["summary"]) == ("succeeded", "There was nothing left to do.")


OTHERS = {
    "the same slice again": asked(1),
    "another number of slices": asked(2, 3),
    "an edited plan": asked(2, digest="d2"),
    "a host that another slice has": asked(2, hosts=("w1", "w2")),
    "the run as a whole": dataclasses.replace(asked(2), part=None),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_what_is_no_slice_of_the_run_is_refused_while_it_is_at_work(url: str, other: Asked) -> None:
    store = Store(url)
    run = store.open_run(asked(1), HERE)
    with pytest.raises(HistoryError, match=f"C001 is being rolled back by .* [(]run {run['id']}[)]"):
        store.open_run(other, HERE)


def test_slices_meet_and_see_who_failed(url: str) -> None:
    store = Store(url)
    run = store.open_run(asked(1), HERE)["id"]
    store.open_run(asked(2), GONE)
    arrive(store, run, 1, "ready", {"pending": True})
    arrive(store, run, 1, "ready", {"pending": True})  # the answer to the first was lost
    arrive(store, run, 2, "failure", {})
    parts, met, failed = look(store, run, "ready")
    assert ([part.number for part in parts], met, failed) == ([1, 2], {1: {"pending": True}}, {2})
    before = parts[1].heartbeat
    store.beat(run, 2)
    assert look(store, run, "ready")[0][1].heartbeat > before


def test_a_slice_that_is_given_up_by_one_is_so_for_all_and_is_lost_unless_it_says_how_it_ended(url: str) -> None:
    store = Store(url)
    run = store.open_run(asked(1, 2), HERE)["id"]
    store.open_run(asked(2, 2), HERE)
    give_up(store, run, [2])
    [part] = [part for part in look(store, run, "ready")[0] if part.lost]
    assert (part.number, Watch(GONE).gone([part])) == (2, {2})
    end = End(closed={"w2": "succeeded"}, finished=True)
    assert end_slice(store, run, 2, end, HERE, utc(store.clock())) is None
    assert [part.lost for part in look(store, run, "ready")[0]] == [False, False]
    give_up(store, run, [1, 2])  # what has ended stays as it is
    decision = end_slice(store, run, 2, end, HERE, utc(store.clock()))
    assert decision and (decision.outcome, decision.summary.split(" (")[0]) == ("interrupted", "Slice 1 of 2")


def test_a_slice_that_was_killed_is_named_and_the_next_run_goes_on(url: str) -> None:
    store = Store(url)
    run = store.open_run(asked(1, 2), HERE)
    store.open_run(asked(2, 2), GONE)
    row = {
        **{"index": 1, "step": "main", "phase": "1-git_revert", "role": "changeops.rollback.git_revert"},
        **{"changed": False, "started": run["started"], "finished": None, "message": "", "before": None, "after": None},
    }
    rows = [dict(row, host="w1", status="ok"), dict(row, host="w2", status="running")]
    with store.transaction() as connection:
        store.save_rows(connection, run["id"], rows)
    end = End(closed={"w1": "interrupted"}, failed=frozenset({"w1"}))
    decision = end_slice(store, run["id"], 1, end, HERE, utc(store.clock()))
    assert decision and decision.outcome == "interrupted"
    assert decision.summary == ("Slice 2 of 2 (w2; AWX job 2) ended without a word while main of git_revert ran on w2.")
    resumed = store.open_run(asked(2, 2), HERE)
    assert (resumed["resumes"], resumed["restore_point"]) == (run["id"], run["restore_point"])
    assert store.open_run(asked(1, 2), HERE)["id"] == resumed["id"]
