# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""undo.yml on the app with SQLite and supervisord: the change is back, with every row and value that anyone wrote."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import subprocess
import typing as t
from pathlib import Path

import pytest
from harness import Ops, Shop, assert_rolled_back
from test_faults import HOLD_DATABASE, background

NEW, EDITED, DELETED = "2026-A1", 7, 9


def write_since(shop: Shop) -> None:
    """What the app's users do while the change is rolled back: a new invoice, one edited, one deleted."""
    with contextlib.closing(sqlite3.connect(shop.database, timeout=10, isolation_level=None)) as db:
        db.execute("INSERT INTO invoices (number, issued, amount) VALUES (?, '2026-11-26', 4200)", (NEW,))
        db.execute("UPDATE invoices SET amount = 77 WHERE id = ?", (EDITED,))
        db.execute("DELETE FROM invoices WHERE id = ?", (DELETED,))


def assert_undone(shop: Shop, before: dict[str, t.Any], since: bool = False) -> None:
    """All is as before the rollback; ``since``: but for what ``write_since`` wrote, which stays."""
    after = shop.state()
    same = ("commit", "branch", "dirty", "revision", "files", "health")
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    if not since:
        assert (after["rows"], after["totals"]) == (before["rows"], before["totals"])
        return
    (new,) = [id_ for id_, number in shop.select("SELECT id, number FROM invoices") if number == NEW]
    totals = {**before["totals"], new: None}
    del totals[DELETED]
    assert after["totals"] == totals, "each value that there was, and none for the row that is new"
    assert shop.select(f"SELECT amount FROM invoices WHERE id IN ({EDITED}, {new}) ORDER BY id") == [(77,), (4200,)]
    assert len(after["rows"]) == len(before["rows"])


def restore_point(ops: Ops) -> tuple[Path, dict[str, t.Any]]:
    (path,) = (ops.root / "state").glob("*/run.json")
    return path.parent, json.loads(path.read_text())


def test_every_row_and_value_is_back_and_what_was_written_since_stays(ops: Ops, shop: Shop) -> None:
    ops.write()
    before = shop.state()
    refused = ops.undo()
    assert refused.returncode != 0
    assert "The undo of C001 was refused: There is no restore point of C001 on this host" in refused.stdout
    assert shop.state() == before

    assert ops.rollback().returncode == 0
    run = ops.history()[-1]["id"]
    write_since(shop)
    rolled_back = shop.state()
    (ops.root / "state" / "hold.json").stat()
    checked = ops.undo("--check")
    assert checked.returncode == 0
    assert shop.state() == rolled_back
    assert restore_point(ops)[1]["outcome"] == "succeeded"

    # a survey that is not answered gives an empty text
    undone = ops.run("undo.yml", "-e", f"run={run} change=")
    assert undone.returncode == 0
    assert_undone(shop, before, since=True)
    assert not (ops.root / "state" / "hold.json").exists(), "it may be shipped again"
    assert not (ops.root / "state" / "lock.json").exists()
    last = ops.history()[-1]
    assert (last["kind"], last["outcome"], last["summary"]) == ("undo", "succeeded", "7 phases undone on 1 host.")
    assert "C001: undo succeeded in " in undone.stdout
    assert "1 rows of invoices were deleted since, so their values of total were not put back" in undone.stdout
    assert "undo succeeded" in ops.run("status.yml").stdout

    again = ops.undo()
    assert again.returncode != 0
    assert f"C001 is not rolled back on this host: run {run} was undone at " in again.stdout
    assert_undone(shop, before, since=True)


def rolled_back_and_no_start_of_what_was(ops: Ops, shop: Shop) -> tuple[t.Any, t.Any, Path]:
    """Roll back, and move away what the release that comes back starts with; how the shop stood before and stands, and
    where that was."""
    ops.write()
    before = shop.state()
    assert ops.rollback().returncode == 0
    write_since(shop)
    (kept,) = restore_point(ops)[0].glob("*git_revert/environments/0")
    (server,) = kept.glob("lib/python*/site-packages/uvicorn")
    shutil.move(server, ops.root / "uvicorn")
    return before, shop.state(), server


def test_one_that_fails_is_rolled_back_again(ops: Ops, shop: Shop) -> None:
    """The release that comes back cannot start: by then the code, the config and the database are put back."""
    before, rolled_back, _server = rolled_back_and_no_start_of_what_was(ops, shop)
    failed = ops.undo()
    assert failed.returncode != 0
    assert_rolled_back(shop, {**before, "rows": rolled_back["rows"]})
    assert restore_point(ops)[1]["outcome"] == "succeeded", "it can be undone still"
    assert (ops.root / "state" / "hold.json").exists()
    last = ops.history()[-1]
    assert (last["kind"], last["outcome"]) == ("undo", "recovered")
    assert last["summary"].startswith("service_stop failed on shop1: shop-web ")
    assert "C001 is rolled back, as before." in failed.stdout


@pytest.mark.parametrize("then", ["undo", "rollback"])
def test_one_whose_way_back_fails_too_is_half_way_and_either_way_is_open(ops: Ops, shop: Shop, then: str) -> None:
    """The release that comes back cannot start, and the one that is rolled back to cannot be checked out again."""
    lock = shop.repo / ".git" / "index.lock"
    ops.before("git_revert", sabotage_argv=["touch", str(lock)])
    before, rolled_back, server = rolled_back_and_no_start_of_what_was(ops, shop)
    ops.flag.write_text("")
    failed = ops.undo()
    assert failed.returncode != 0
    assert shop.health()[0] == 0, "no app runs on a database that is not its own"
    said = " ".join(failed.stdout.split())
    assert "It could not be rolled back again (" in said and "index.lock" in said
    assert "ansible-playbook undo.yml -e change=C001 puts the change back, and ansible-playbook rollback.yml" in said
    point, about = restore_point(ops)
    assert f"This host is half-way, and its restore point {point} stays open." in said
    assert about.get("outcome") != "undone"
    assert (ops.root / "state" / "hold.json").exists()
    last = ops.history()[-1]
    assert (last["kind"], last["outcome"]) == ("undo", "failed")
    assert last["summary"].startswith("service_stop failed on shop1: shop-web ") and "git_revert" in last["summary"]

    lock.unlink()
    ops.flag.unlink()
    (moved,) = shop.repo.glob(".venv/lib/python*/site-packages")
    shutil.move(ops.root / "uvicorn", moved if then == "undo" else server)
    assert ops.run(f"{then}.yml", "-e", "change=C001").returncode == 0
    if then == "undo":
        assert_undone(shop, before, since=True)
    else:
        assert_rolled_back(shop, {**before, "rows": rolled_back["rows"]})
    assert not (ops.root / "state" / "lock.json").exists()


def test_killed_in_the_middle_it_is_finished_or_rolled_back(ops: Ops, shop: Shop) -> None:
    ops.write()
    before = shop.state()
    assert ops.rollback().returncode == 0
    ops.slow.write_text("reset")
    ops.killed("undo.yml")
    assert ops.rollback().returncode == 0
    assert_rolled_back(shop, before)
    assert [run["outcome"] for run in ops.history()] == ["succeeded", "interrupted", "succeeded"]
    assert ops.history()[-1]["resumes"] == ops.history()[-2]["id"]

    ops.slow.write_text("start")
    ops.killed("undo.yml")
    assert ops.undo().returncode == 0
    assert_undone(shop, before)
    assert restore_point(ops)[1]["outcome"] == "undone"


def test_with_stop_it_stays_half_way_and_the_next_undo_finishes(ops: Ops, shop: Shop) -> None:
    ops.extra["on_failure"] = "stop"
    lock = shop.repo / ".git" / "index.lock"
    ops.flag.write_text("")
    ops.before("git_revert", sabotage_argv=["touch", str(lock)])
    ops.write()
    before = shop.state()
    assert ops.rollback().returncode != 0
    lock.unlink()
    ops.flag.unlink()
    assert (shop.health()[0], shop.totals()) == (0, None), "the rollback is half-way"
    assert ops.undo().returncode == 0
    assert_undone(shop, before)
    assert ops.rollback().returncode == 0
    ops.flag.write_text("")
    subprocess.run(background(HOLD_DATABASE, shop.database, ops.flag), check=True)
    failed = ops.undo()
    assert failed.returncode != 0
    assert shop.health()[0] == 0, "no app runs on a database that is not its own"
    said = " ".join(failed.stdout.split())
    assert "Nothing was rolled back again, because the plan says on_failure: stop." in said
    assert ops.history()[-1]["outcome"] == "failed"
    ops.flag.unlink()
    assert ops.undo().returncode == 0
    assert_undone(shop, before)
