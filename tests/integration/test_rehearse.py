# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""rehearse.yml on the app with SQLite and supervisord: what it says, and that it leaves everything as it was."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

from harness import Ops, Shop, assert_rolled_back

SUMMARY = "C001: READY. The downgrade of "


def everything(root: Path) -> dict[str, t.Any]:
    """The content and time of each file below a directory; git notes in the time of an object that it was asked for."""
    return {
        str(path): (path.read_bytes(), "objects" in path.parts or path.stat().st_mtime_ns)
        for path in sorted(root.rglob("*"))
        if path.is_file() and "log" not in path.name and not path.name.endswith((".pyc", ".pid"))
    }


def test_ready_and_nothing_is_touched_and_then_the_rollback_may_begin(ops: Ops, shop: Shop) -> None:
    ops.extra["rollback"] = {"require_rehearsal": "7d", "accept_loss": ["invoices.total"]}
    for phase in ops.phases:
        phase["estimate"] = "10s"
    ops.write()
    refused = ops.rollback()
    assert refused.returncode != 0
    said = " ".join(refused.stdout.split())
    assert "C001 was never rehearsed. It has to have been rehearsed with this plan, and found READY, within 7 d" in said
    assert ops.history()[-1]["outcome"] == "refused"

    before, files = shop.state(), everything(shop.root)
    done = ops.rehearse()
    assert done.returncode == 0
    assert everything(shop.root) == files and shop.state() == before
    assert not list((ops.root / "state").rglob("*"))
    (line,) = [line for line in done.stdout.splitlines() if line.startswith(SUMMARY)]
    values = len([total for total in before["totals"].values() if total is not None])
    assert f"It destroys invoices.total ({values} values). Unchanged: " in line
    assert "Expected downtime: " in done.stdout and "alembic_downgrade as rehearsed" in done.stdout
    run = ops.history()[-1]
    assert (run["kind"], run["outcome"], run["finished"] is not None) == ("rehearsal", "succeeded", True)
    (rehearsed,) = [phase for phase in run["phases"] if phase["step"] == "rehearse" and "alembic" in phase["phase"]]
    found = json.loads(rehearsed["after"])
    assert found["loss"]["invoices"]["values"] == {"total": values}
    assert found["seconds"]["main"] > 0
    # The code that is gone back to was installed in a copy, and its app answered on the copy of the database.
    assert set(found["fit"]) == {"install", "start"}
    for words in ("sync --frozen' works in a copy of ", "The app of that code starts on the downgraded copy ("):
        assert words in line
    assert "arg spec" not in line, "what a role's own check says is no finding"

    status = ops.run("status.yml")
    assert "READY" in status.stdout
    rolled_back = ops.rollback()
    assert rolled_back.returncode == 0
    assert "C001 was rehearsed " in rolled_back.stdout and "found READY" in rolled_back.stdout
    assert_rolled_back(shop, before)


def test_all_that_stands_in_the_way_is_said_at_once(ops: Ops, shop: Shop) -> None:
    (shop.repo / "shop" / "main.py").write_text("dirty")
    ops.phase("alembic_downgrade")["vars"]["alembic_downgrade_to"] = "0000"
    ops.write()
    before = shop.state()
    done = ops.rehearse()
    assert done.returncode != 0
    run = ops.history()[-1]
    assert (run["kind"], run["outcome"]) == ("rehearsal", "refused")
    assert run["summary"].startswith("NOT READY. alembic_downgrade on shop1: ")
    assert " git_revert on shop1: " in run["summary"]
    assert f"C001: {run['summary']}" in done.stdout
    assert shop.state() == before
    assert not list((ops.root / "state").rglob("*"))
