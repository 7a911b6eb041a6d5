# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A history that the first version made is brought up to date, on SQLite and PostgreSQL, and loses nothing."""

from __future__ import annotations

import multiprocessing
import typing as t
from pathlib import Path

import pytest
import sqlalchemy as sa
from ansible_collections.changeops.rollback.plugins.plugin_utils import _history_schema as schema
from ansible_collections.changeops.rollback.plugins.plugin_utils._history import Asked, Store
from ansible_collections.changeops.rollback.plugins.plugin_utils._history_process import Process

ELSEWHERE = Process("ops2", "another boot", 77, "123")
ASKED = Asked("C001", "digest-1", "dana", "dana@ops1")
FORK = multiprocessing.get_context("fork")
FIRST = (Path(__file__).parent / "history_v1.sql").read_text().split(";\n")
RUN = "20261120T101500-C001-77aa"
ROW = {"moment": "before", "host": "web1", "said": "", "found": {"code": {"commit": "4f1c2e9"}, "unread": {}}}


def engine_of(url: str) -> sa.Engine:
    return sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))


@pytest.fixture
def first(url: str) -> str:
    """The URL of a history of version 1."""
    if url.startswith("sqlite:"):
        Path(url.removeprefix("sqlite:///")).parent.mkdir()
    engine = engine_of(url)
    with engine.begin() as connection:
        for statement in FIRST:
            if statement.strip():
                connection.exec_driver_sql(statement)
    engine.dispose()
    return url


def shape(url: str) -> dict[str, t.Any]:
    """Tables and their columns, and the version, as the database has them."""
    engine = engine_of(url)
    with engine.connect() as connection:
        look = sa.inspect(connection)
        tables = {
            table: sorted(column["name"] for column in look.get_columns(table)) for table in look.get_table_names()
        }
        keys = {table: look.get_pk_constraint(table)["constrained_columns"] for table in tables}
        versions = connection.exec_driver_sql("SELECT version FROM version").fetchall()
    engine.dispose()
    return {"tables": tables, "keys": keys, "versions": [tuple(row) for row in versions]}


def test_a_history_of_version_1_ends_like_a_new_one_and_keeps_its_runs(first: str, tmp_path: Path) -> None:
    assert "truth" not in shape(first)["tables"]
    store = Store(first)
    new = f"sqlite:///{tmp_path}/new.sqlite"
    Store(new)
    assert shape(first) == shape(new)
    [run] = store.runs(ELSEWHERE, run=RUN)
    assert (run["outcome"], run["summary"], run["duration"]) == ("failed", "It failed.", 60)
    assert run["notes"][0]["text"] == "Incident 4711"
    assert [(p["host"], p["status"], p["before"]) for p in run["phases"]] == [("web1", "failed", {"commit": "4f1c2e9"})]
    assert run["truth"] == {}, "that version had no such tables"
    assert store.open_run(ASKED, ELSEWHERE)["resumes"] == RUN


def _open(url: str, barrier: t.Any, results: t.Any) -> None:
    barrier.wait()
    try:
        Store(url)
        results.put("")
    except Exception as exc:
        results.put(repr(exc))


def test_of_several_that_find_it_at_once_one_brings_it_up_to_date(first: str) -> None:
    barrier, results = FORK.Barrier(4), FORK.Queue()
    workers = [FORK.Process(target=_open, args=(first, barrier, results), daemon=True) for _number in range(4)]
    for worker in workers:
        worker.start()
    assert [results.get(timeout=60) for _worker in workers] == [""] * 4
    for worker in workers:
        worker.join(60)
    assert shape(first)["versions"] == [(schema.SCHEMA_VERSION,)]


def test_a_step_that_fails_leaves_it_as_it_was(first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def half_way(connection: t.Any) -> None:
        schema.TRUTH.create(connection)
        raise RuntimeError("no more space")

    before = shape(first)
    monkeypatch.setitem(schema.STEPS, 2, half_way)
    with pytest.raises(RuntimeError):
        Store(first)
    assert shape(first) == before
    monkeypatch.undo()
    Store(first)
    assert "truth" in shape(first)["tables"]


def test_the_truth_tables_of_a_run_are_kept(url: str) -> None:
    store = Store(url)
    run, other = (
        store.open_run(asked, ELSEWHERE)["id"] for asked in (ASKED, Asked(**{**vars(ASKED), "check_mode": True}))
    )
    gone = {"moment": "after", "host": "web2", "said": "unreachable: timed out", "found": None}
    later = {**ROW, "found": {"code": {"commit": "51d0e2f"}, "unread": {}}}
    with store.transaction() as connection:
        store.save_rows(connection, run, [], [ROW, {**ROW, "moment": "after"}, gone])
        store.save_rows(connection, run, [], [{**later, "moment": "after"}])
        store.save_rows(connection, other, [], [later])
    [found] = store.runs(ELSEWHERE, run=run)
    assert found["truth"] == {
        "before": [{"host": "web1", "said": "", "found": ROW["found"]}],
        "after": [
            {"host": "web1", "said": "", "found": later["found"]},
            {"host": "web2", "said": "unreachable: timed out", "found": None},
        ],
    }
    assert all("truth" not in one for one in store.runs(ELSEWHERE)), "a list of runs does not load them"
