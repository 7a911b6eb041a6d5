# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import multiprocessing
import os
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.changeops.rollback.plugins.plugin_utils._history import Asked, Store, now_utc
from ansible_collections.changeops.rollback.plugins.plugin_utils._history_notes import add_notes
from ansible_collections.changeops.rollback.plugins.plugin_utils._history_process import Process, this_process
from ansible_collections.changeops.rollback.plugins.plugin_utils._last_words import last_words
from ansible_collections.changeops.rollback.plugins.plugin_utils._outcome import Decision
from ansible_collections.changeops.rollback.plugins.plugin_utils._recorder import (
    Recorder,
    artifacts,
)

FORK = multiprocessing.get_context("fork")
HERE = this_process(os.getpid())
ELSEWHERE = Process("ops2", "another boot", 77, "123")
ASKED = Asked("C001", "digest-1", "dana", "dana@ops1")
PHASE = (2, "2-git_revert", "changeops.rollback.git_revert", "main")


class Fixture(t.NamedTuple):
    store: Store
    spool: Path
    recorder: Recorder
    warnings: list[str]

    def phases(self) -> list[tuple[str, str, str]]:
        return [(p["host"], p["status"], p["message"]) for p in self.store.runs(HERE)[0]["phases"]]

    def outcome(self) -> str | None:
        return t.cast("str | None", self.store.runs(HERE)[0]["outcome"])


@pytest.fixture
def it(tmp_path: Path) -> t.Iterator[Fixture]:
    store, warnings = Store(f"sqlite:///{tmp_path}/h.sqlite", now_utc), list[str]()
    run = store.open_run(ASKED, HERE)
    recorder = Recorder(store, tmp_path / "spool", run, ["web1"], warnings.append, heartbeat=0.02)
    yield Fixture(store, tmp_path / "spool", recorder, warnings)
    recorder.close(finished=True)


def test_a_phase_is_on_record_before_it_touches_its_first_host(it: Fixture) -> None:
    it.recorder.begin("web1", *PHASE)
    assert it.phases() == [("web1", "running", "")]


def test_a_failure_is_on_record_at_once(it: Fixture) -> None:
    it.recorder.begin("web1", *PHASE)
    it.recorder.end("web1", 2, "main", "failed", message="conflict, token=abc")
    assert it.phases() == [("web1", "failed", "conflict, token=********")]


@pytest.mark.parametrize(
    ("ended", "outcome", "words"),
    [
        ({"web1": "succeeded"}, "succeeded", "1 phase done on 1 host."),
        ({"web1": "recovered"}, "recovered", "git_revert failed on web1: conflict. Put back on 1 host."),
        ({"web1": "failed"}, "failed", "git_revert failed on web1: conflict. Nothing was put back."),
        ({"web1": "refused"}, "refused", "Preflight of git_revert failed on web1: conflict. No host was changed."),
    ],
)
def test_what_came_of_it_is_told_while_it_is_still_open(
    it: Fixture, ended: dict[str, str], outcome: str, words: str
) -> None:
    """As the last task tells it, and then as the record has it."""
    step = "preflight" if outcome == "refused" else "main"
    place = (*PHASE[:3], step)
    bad = outcome != "succeeded"
    it.recorder.begin("web1", *place)
    it.recorder.end("web1", 2, step, "failed" if bad else "ok", not bad, "conflict" if bad else "done")
    if outcome == "recovered":
        it.recorder.begin("web1", *PHASE[:3], "recover")
        it.recorder.end("web1", 2, "recover", "ok", True, "put back")
    it.recorder.closed("web1", ended["web1"])
    told = artifacts()
    assert (told["rollback_outcome"], told["rollback_summary"]) == (outcome, words)
    assert it.outcome() is None
    assert (told["rollback_downtime"], told["rollback_loss"]) == (0.0, [])
    assert list(told["rollback_phase_durations"]) == ([] if bad else ["2-git_revert"])
    it.recorder.close(True, {"web1"} if bad else ())
    assert artifacts() == {}
    [run] = it.store.runs(HERE)
    assert (run["outcome"], run["summary"]) == (outcome, words)


def test_the_heartbeat_keeps_a_run_alive(it: Fixture) -> None:
    def beat() -> str:
        with it.store.transaction() as connection:
            return str(connection.exec_driver_sql("SELECT heartbeat FROM runs").scalar_one())

    first, until = beat(), time.monotonic() + 5
    while beat() == first and time.monotonic() < until:
        time.sleep(0.02)
    assert beat() > first


def test_a_fork_never_finds_the_heartbeat_inside_sqlite(tmp_path: Path) -> None:
    """Without the guard around forks one of these children hangs before long."""
    store = Store(f"sqlite:///{tmp_path}/h.sqlite", now_utc)
    run = store.open_run(ASKED, HERE)
    recorder = Recorder(store, tmp_path / "spool", run, ["web1"], print, heartbeat=0.001)
    try:
        for _attempt in range(20):
            child = FORK.Process(target=add_notes, args=(store, run["id"], [{"text": "x"}]), daemon=True)
            child.start()
            child.join(10)
            assert child.exitcode == 0
    finally:
        recorder.close(finished=True)
    assert len(store.runs(HERE)[0]["notes"]) == 20


def test_a_signal_in_the_middle_of_a_write_does_not_hang(it: Fixture) -> None:
    it.recorder.begin("web1", *PHASE)
    it.recorder._lock.acquire()  # as if the main thread was writing when the signal came
    lines = it.recorder.close(finished=False, signal="SIGTERM")
    it.recorder._lock.release()
    assert it.outcome() == "interrupted"
    assert lines[0].startswith("C001: interrupted after ")
    assert list(it.spool.glob("*")) == []


READ = {
    "repo": "/srv/shop",
    "code": None,
    "revisions": {},
    "digest": "c" * 64,
    "files": {},
    "services": {},
    "unread": {},
}


@pytest.mark.parametrize("signal", ["", "SIGTERM"])
@pytest.mark.parametrize("away", [False, True], ids=["there", "away"])
def test_the_tables_are_kept_however_the_run_ends(it: Fixture, signal: str, away: bool) -> None:
    if away:
        with it.store.transaction() as connection:
            connection.exec_driver_sql("ALTER TABLE truth RENAME TO gone")
    assert "cccccccccc" in it.recorder.stands("before", "web1", READ)
    it.recorder.flush()
    assert it.recorder.stands("after", "web1", {**READ, "digest": "d" * 64}) == ""
    if away:
        with it.store.transaction() as connection:
            connection.exec_driver_sql("ALTER TABLE gone RENAME TO truth")
    shown = it.recorder.close(finished=not signal, signal=signal)
    assert "web1: config cccccccccc → dddddddddd." in shown[0]
    [run] = it.store.runs(HERE, run=it.recorder.run["id"])
    digests = {moment: [row["found"]["digest"][0] for row in rows] for moment, rows in run["truth"].items()}
    assert digests == {"before": ["c"], "after": ["d"]}


def test_a_store_that_fails_warns_once_and_loses_nothing(it: Fixture) -> None:
    def rename(old: str, new: str) -> None:
        with it.store.transaction() as connection:
            connection.exec_driver_sql(f"ALTER TABLE {old} RENAME TO {new}")

    rename("phases", "away")
    for index, status in ((1, "ok"), (2, "failed")):
        it.recorder.begin("web1", index, f"{index}-phase", "phase", "main")
        it.recorder.end("web1", index, "main", status)
    assert len(it.warnings) == 1
    assert "no such table" in it.warnings[0]
    rename("away", "phases")
    it.recorder.close(finished=True, failed=["web1"])
    assert it.phases() == [("web1", "ok", ""), ("web1", "failed", "")]
    assert (it.outcome(), list(it.spool.glob("*"))) == ("failed", [])


def test_while_slices_are_waited_for_no_phase_is_at_work_and_what_came_of_it_is_not_known(it: Fixture) -> None:
    it.recorder.begin("web1", *PHASE)
    it.recorder.end("web1", 2, "main", "ok")
    it.recorder.settle()
    it.recorder.flush()
    assert it.phases() == [("web1", "ok", "")]
    part = {**it.recorder.run, "slice": {"number": 1, "total": 2, "joined": False}}
    slice_of_it = Recorder(it.store, it.spool, part, ["web1"], it.warnings.append)
    assert slice_of_it.artifacts() == {}
    slice_of_it._stop.set()


def test_a_closed_run_lets_the_next_one_begin(it: Fixture) -> None:
    it.recorder.begin("web1", *PHASE)
    it.recorder.end("web1", 2, "main", "ok", changed=True)
    it.recorder.closed("web1", "succeeded")
    assert it.recorder.close(finished=True)[0].startswith("C001: succeeded in ")
    assert it.store.open_run(ASKED, ELSEWHERE)["resumes"] is None


@pytest.mark.parametrize(
    ("check_mode", "outcome", "down", "first", "more"),
    [
        (False, "succeeded", 7.0, "C001: succeeded in 21.4 s, down for 7.0 s. It is done. (run R1)", 2),
        (False, "recovered", 7.0, "C001: recovered after 21.4 s, down for 7.0 s — It is done. (run R1)", 3),
        (False, "succeeded", None, "C001: succeeded in 21.4 s. It is done. (run R1)", 2),
        (True, "succeeded", 7.0, "C001: dry run succeeded in 21.4 s — It is done. (run R1)", 0),
    ],
)
def test_the_last_words_say_how_long_services_were_stopped(
    check_mode: bool, outcome: str, down: float | None, first: str, more: int
) -> None:
    run = {"id": "R1", "change": "C001", "kind": "rollback", "check_mode": check_mode}
    words = last_words(run, Decision(outcome, "It is done.", True), 21.4, down)
    assert (words[0], len(words) - 1) == (first, more)
