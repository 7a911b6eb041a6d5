# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The history store, on SQLite and on a PostgreSQL of its own, with real processes."""

from __future__ import annotations

import datetime
import json
import multiprocessing
import os
import stat
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils._redact import redacted
from ansible_collections.changeops.rollback.plugins.plugin_utils import _history
from ansible_collections.changeops.rollback.plugins.plugin_utils._history import (
    Asked,
    HistoryError,
    Store,
    store_url,
)
from ansible_collections.changeops.rollback.plugins.plugin_utils._history_notes import add_notes
from ansible_collections.changeops.rollback.plugins.plugin_utils._history_process import Process, this_process
from ansible_collections.changeops.rollback.plugins.plugin_utils._history_spool import replay, spool

START = datetime.datetime(2026, 11, 22, 23, 15, tzinfo=datetime.UTC)
ELSEWHERE = Process("ops2", "another boot", 77, "123")
GONE = Process(**{**vars(this_process(os.getpid())), "pid_started": "1"})
ASKED = Asked("C001", "digest-1", "dana", "dana@ops1")
FORK = multiprocessing.get_context("fork")


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime.datetime:
        self.now += datetime.timedelta(seconds=1)
        return self.now

    def later(self, seconds: float) -> None:
        self.now += datetime.timedelta(seconds=seconds)


def row(host: str = "web1", status: str = "ok", step: str = "main", index: int = 1, **more: t.Any) -> dict[str, t.Any]:
    return {
        "host": host,
        "index": index,
        "step": step,
        "phase": f"{index}-git_revert",
        "role": "changeops.rollback.git_revert",
        "status": status,
        "changed": False,
        "started": "2026-11-22T23:15:10.000Z",
        "finished": None,
        "message": "",
        "before": None,
        "after": None,
        **more,
    }


def write(store: Store, run: str, rows: list[dict[str, t.Any]], outcome: str = "") -> None:
    with store.transaction() as connection:
        store.save_rows(connection, run, rows)
        if outcome:
            store.end_run(connection, run, outcome, f"It {outcome}.", _history.utc(store.clock()))


# Opening a run

# What the run before did: (rows, outcome); what it was to the next: fresh or resumed.
MAIN, NOTHING, PREFLIGHT = [row()], [], [row(step="preflight")]
BEFORE = [
    ("failed", [(MAIN, "failed")], 0),
    ("interrupted in main", [(MAIN, "interrupted")], 0),
    ("interrupted in preflight", [(PREFLIGHT, "interrupted")], None),
    ("interrupted in a phase that did nothing", [([row(status="skipped")], "interrupted")], None),
    ("succeeded", [(MAIN, "succeeded")], None),
    ("recovered", [(MAIN, "recovered")], None),
    ("refused", [(PREFLIGHT, "refused")], None),
    ("failed, then refused", [(MAIN, "failed"), (PREFLIGHT, "refused")], 0),
    ("failed, then interrupted before it did anything", [(MAIN, "failed"), (PREFLIGHT, "interrupted")], 0),
    ("failed, then failed again", [(MAIN, "failed"), (MAIN, "failed")], 0),
    ("failed, then succeeded", [(MAIN, "failed"), (MAIN, "succeeded")], None),
    ("succeeded, then failed", [(MAIN, "succeeded"), (MAIN, "failed")], 1),
]


@pytest.mark.parametrize(("earlier", "whose"), [c[1:] for c in BEFORE], ids=[c[0] for c in BEFORE])
def test_a_run_resumes_what_was_left_half_way(
    tmp_path: Path, earlier: list[tuple[list[dict[str, t.Any]], str]], whose: int | None
) -> None:
    store, points = Store(f"sqlite:///{tmp_path}/h.sqlite", Clock()), []
    for rows, outcome in earlier:
        run = store.open_run(ASKED, ELSEWHERE)
        points.append(run["restore_point"])
        write(store, run["id"], rows, outcome)
    opened = store.open_run(ASKED, ELSEWHERE)
    assert opened["restore_point"] == (opened["id"] if whose is None else points[whose])
    assert (opened["resumes"] is not None) is (whose is not None)
    assert set(points) <= {*opened["dead_runs"]}


def test_a_living_run_refuses_a_second_one(url: str) -> None:
    clock = Clock()
    store = Store(url, clock)
    first = store.open_run(ASKED, ELSEWHERE)
    clock.later(50)
    store.beat(first["id"])
    clock.later(40)
    with pytest.raises(HistoryError) as refused:
        store.open_run(ASKED, this_process(os.getpid()))
    assert str(refused.value) == (
        f"C001 is being rolled back by dana@ops1 since 1 min (run {first['id']}). Its last sign of life was 42 s "
        "ago; after 60 s without one it counts as dead. Wait for it, or if you are sure that "
        f"it is dead: ansible-playbook rollback.yml -e change=C001 -e break_lock={first['id']}"
    )
    other = store.open_run(Asked("C002", "d", "dana", "dana@ops1"), this_process(os.getpid()))
    assert first["id"] not in other["dead_runs"]


@pytest.mark.parametrize(
    ("holder", "silent", "broken"),
    [
        pytest.param(ELSEWHERE, 61, False, id="silent for a minute on another machine"),
        pytest.param(GONE, 0, False, id="its process id belongs to another process now"),
        pytest.param(Process(**{**vars(GONE), "pid": 2**22 + 1}), 0, False, id="its process is gone"),
        pytest.param(ELSEWHERE, 0, True, id="its lock is broken on request"),
    ],
)
def test_a_dead_run_is_closed_and_resumed(url: str, holder: Process, silent: float, broken: bool) -> None:
    clock = Clock()
    store = Store(url, clock)
    first = store.open_run(ASKED, holder)
    write(store, first["id"], [row("web1", "running"), row("web2", "ok")])
    clock.later(silent)
    breaking = Asked(**{**vars(ASKED), "break_lock": first["id"] if broken else ""})
    opened = store.open_run(breaking, this_process(os.getpid()))
    assert (opened["restore_point"], opened["resumes"]) == (first["id"], first["id"])
    assert opened["broke_lock"] == (first["id"] if broken else "")
    assert first["id"] in opened["dead_runs"]
    closed = store.runs(ELSEWHERE, run=first["id"])[0]
    how = "Its lock was broken" if broken else "Its process ended without closing it"
    assert (closed["outcome"], closed["summary"]) == ("interrupted", f"{how} while main of git_revert ran on web1.")


def test_an_edited_plan_is_not_resumed(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/h.sqlite", Clock())
    first = store.open_run(ASKED, ELSEWHERE)
    write(store, first["id"], MAIN, "failed")
    with pytest.raises(HistoryError, match=rf"The plan of C001 was edited since run {first['id']} began") as refused:
        store.open_run(Asked("C001", "digest-2", "dana", "dana@ops1"), ELSEWHERE)
    assert "put it back as it was, for example with git checkout" in str(refused.value)
    assert store.open_run(ASKED, ELSEWHERE)["resumes"] == first["id"]


def test_a_dry_run_takes_no_lock_and_resumes_nothing(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/h.sqlite", Clock())
    dry = Asked(**{**vars(ASKED), "check_mode": True})
    failed = store.open_run(ASKED, ELSEWHERE)
    write(store, failed["id"], MAIN, "failed")
    first = store.open_run(dry, ELSEWHERE)
    real = store.open_run(ASKED, ELSEWHERE)
    second = store.open_run(dry, ELSEWHERE)
    assert [run["resumes"] for run in (first, real, second)] == [None, failed["id"], None]


def _open_at_once(url: str, barrier: t.Any, results: t.Any) -> None:
    store = Store(url)
    barrier.wait()
    try:
        results.put(store.open_run(ASKED, this_process(os.getpid()))["id"])
    except HistoryError as exc:
        results.put(str(exc))
    barrier.wait()  # stay alive until all have tried


def _in_processes(function: t.Callable[..., None], number: int, *arguments: t.Any) -> None:
    workers = [FORK.Process(target=function, args=(*arguments, i), daemon=True) for i in range(number)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0


def test_of_runs_that_open_at_once_exactly_one_gets_the_lock(url: str) -> None:
    number = 4
    barrier, results = FORK.Barrier(number, timeout=30), FORK.Queue()
    _in_processes(lambda _number: _open_at_once(url, barrier, results), number)
    answers = [results.get(timeout=10) for _answer in range(number)]
    winners = [answer for answer in answers if "-C001-" in answer and " " not in answer]
    assert len(winners) == 1
    assert sum(f"(run {winners[0]})" in answer for answer in answers) == number - 1


def _write_many(url: str, run: str, worker: int) -> None:
    store = Store(url)
    for index in range(20):
        write(store, run, [row(f"web{worker}", index=index)])
        store.beat(run)


def test_concurrent_writers_lose_nothing(url: str) -> None:
    run = Store(url).open_run(ASKED, ELSEWHERE)["id"]
    _in_processes(lambda i: _write_many(url, run, i), 4)
    phases = Store(url).runs(ELSEWHERE)[0]["phases"]
    assert {(p["host"], p["index"]) for p in phases} == {(f"web{w}", i) for w in range(4) for i in range(20)}


def test_a_closed_run_frees_its_lock_and_keeps_its_record(url: str) -> None:
    store = Store(url, Clock())
    run = store.open_run(ASKED, ELSEWHERE)
    states = {"before": {"commit": "4f1c2e9"}, "after": {"commit": "51d0e2f", "files": ["a", "b"]}}
    write(store, run["id"], [row(status="running")])
    write(store, run["id"], [row(status="ok", changed=True, message="Done.", **states)], "succeeded")
    assert add_notes(store, run["id"], [{"text": "Asked for by password=hunter2 Lee"}])
    assert add_notes(store, run["id"], [{"text": "Incident 4711"}, {"text": "Mended"}])
    assert not add_notes(store, "R0", [{"text": "x"}])
    found = store.runs(ELSEWHERE, change="C001")[0]
    assert (found["outcome"], found["summary"]) == ("succeeded", "It succeeded.")
    assert found["duration"] > 0
    assert [note["text"] for note in found["notes"]] == [
        "Asked for by password=******** Lee",
        "Incident 4711",
        "Mended",
    ]
    assert [(p["status"], p["changed"], p["before"], p["after"]) for p in found["phases"]] == [
        ("ok", True, states["before"], states["after"])
    ]
    assert store.open_run(ASKED, ELSEWHERE)["resumes"] is None
    assert store.runs(ELSEWHERE, change="C009") == []


def test_what_a_run_says_of_its_end_beats_what_others_supposed(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/h.sqlite", Clock())
    run = store.open_run(ASKED, ELSEWHERE)["id"]
    write(store, run, MAIN, "interrupted")
    write(store, run, [], "succeeded")
    write(store, run, [], "failed")
    assert store.runs(ELSEWHERE)[0]["outcome"] == "succeeded"


def test_a_run_that_died_unnoticed_is_shown_as_interrupted(tmp_path: Path) -> None:
    clock = Clock()
    store = Store(f"sqlite:///{tmp_path}/h.sqlite", clock)
    run = store.open_run(ASKED, ELSEWHERE)
    write(store, run["id"], [row("web1", "running"), row("web2", "ok")])
    assert store.runs(GONE)[0]["outcome"] is None
    clock.later(61)
    shown = store.runs(GONE)[0]
    assert shown["outcome"] == "interrupted"
    assert shown["summary"] == "Its process ended without closing it while main of git_revert ran on web1."


# The store itself


@pytest.mark.parametrize(
    ("option", "variable", "environ", "expected"),
    [
        ("sqlite:////a", "sqlite:////b", {"CHANGEOPS_HISTORY_URL": "sqlite:////c"}, "sqlite:////a"),
        ("", "sqlite:////b", {"CHANGEOPS_HISTORY_URL": "sqlite:////c"}, "sqlite:////b"),
        (None, None, {"CHANGEOPS_HISTORY_URL": "sqlite:////c"}, "sqlite:////c"),
        (None, None, {"XDG_STATE_HOME": "/x"}, "sqlite:////x/changeops/history.sqlite"),
    ],
)
def test_where_the_history_lies(
    option: str | None, variable: str | None, environ: dict[str, str], expected: str
) -> None:
    assert store_url(option, variable, environ) == expected


def test_the_file_is_private(tmp_path: Path) -> None:
    Store(f"sqlite:///{tmp_path}/changeops/history.sqlite")
    modes = [stat.S_IMODE(os.stat(tmp_path / "changeops" / name).st_mode) for name in (".", "history.sqlite")]
    assert modes == [0o700, 0o600]


def test_a_newer_schema_is_refused(url: str) -> None:
    store = Store(url)
    with store.transaction() as connection:
        connection.exec_driver_sql("UPDATE version SET version = 99")
    with pytest.raises(
        HistoryError, match=r"made by a newer changeops\.rollback \(its schema is 99, this one knows 5\)"
    ):
        Store(url)


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        ("history.sqlite", "is not a database URL"),
        ("mysql://a:secret@b/c", "SQLite or PostgreSQL, not in mysql."),
        ("postgresql://u:hunter2@127.0.0.1:1/x", "The history x on 127.0.0.1 cannot be used: connection"),
        ("sqlite:////proc/nowhere/h.sqlite", "cannot be made"),
    ],
)
def test_a_bad_url_is_a_sentence_without_its_password(bad: str, sentence: str) -> None:
    with pytest.raises(HistoryError) as refused:
        Store(bad)
    assert sentence in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_missing_sqlalchemy_says_what_to_install(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['sqlalchemy'] = None\n"
        "from ansible_collections.changeops.rollback.plugins.plugin_utils._history import Store, HistoryError\n"
        "try: Store('sqlite://', python=sys.executable)\n"
        "except HistoryError as exc: print(exc)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert f"Install it there: {sys.executable} -m pip install sqlalchemy" in done.stdout


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            {"password": "x", "n": 1, "on": True, "none": None},
            {"password": "********", "n": 1, "on": True, "none": None},
        ),
        ({"api_key": ["x", 7]}, {"api_key": ["********", "********"]}),
        ({"url": "postgresql://u:p4ss@h/d"}, {"url": "postgresql://u:********@h/d"}),
        ([{"deep": ("token=abc",)}], [{"deep": ["token=********"]}]),
    ],
)
def test_secrets_are_taken_out_of_states(value: t.Any, expected: t.Any) -> None:
    assert redacted(value) == expected


# What could not be written


def test_a_spool_is_read_back_into_its_own_store(tmp_path: Path) -> None:
    store, other = (Store(f"sqlite:///{tmp_path}/{name}.sqlite", Clock()) for name in ("a", "b"))
    run = store.open_run(ASKED, ELSEWHERE)["id"]
    end = {"outcome": "failed", "summary": "It failed.", "finished": "2026-11-22T23:20:00.000Z"}
    path = spool(tmp_path / "spool", store.digest, run, [row(status="running")])
    spool(tmp_path / "spool", store.digest, run, [row(status="failed", message="token=hunter2")], end)
    with path.open("a") as stream:
        stream.write('{"store": "cut in the mid')
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "hunter2" not in path.read_text()
    assert replay(tmp_path / "spool", other) == 0
    spool(tmp_path / "spool", store.digest, "run-of-an-earlier-database", [row()])
    assert replay(tmp_path / "spool", store) == 1
    assert not path.exists()
    found = store.runs(ELSEWHERE)[0]
    assert (found["outcome"], [p["status"] for p in found["phases"]]) == ("failed", ["failed"])


def test_a_spool_that_cannot_be_written_back_stays(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/a.sqlite", Clock())
    run = store.open_run(ASKED, ELSEWHERE)["id"]
    path = spool(tmp_path / "spool", store.digest, run, [row()])
    with store.transaction() as connection:
        connection.exec_driver_sql("ALTER TABLE phases RENAME TO away")
    with pytest.raises(HistoryError, match="no such table"):
        replay(tmp_path / "spool", store)
    assert json.loads(path.read_text())["rows"][0]["host"] == "web1"


# Who
