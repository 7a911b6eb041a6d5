# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The main job on a real app: rolled back, again, dry, in the document's order, locked, refused."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from ansible_collections.changeops.rollback.tests.unit.plugins.plugin_utils.places import Web, serving
from harness import Ops, Shop, assert_nobody_waits, assert_rolled_back, tables

OVER = [{"start": "2020-01-01T00:00", "end": "2020-01-02T00:00", "zone": "UTC"}]  # a maintenance window


def snapshot(*roots: Path) -> dict[str, str]:
    """Every file below ``roots`` with mode and digest, but what the app and Python write while they run."""
    found = {}
    for root in roots:
        for path in sorted(root.rglob("*")):
            own = path.suffix in (".log", ".pyc") or path.name == "work.lock"
            if path.is_file() and not path.is_symlink() and not own:
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                found[str(path)] = f"{path.stat().st_mode:o} {digest}"
    return found


def test_rolled_back_and_a_second_run_changes_nothing(ops: Ops, shop: Shop) -> None:
    before, commits = shop.state(), [shop.git("rev-parse", "--short=10", "HEAD")]
    with serving(Web()) as web:
        ops.group_vars["notify_places"] = [{"kind": "webhook", "url": web.url()}]
        ops.group_vars["rollback_maintenance"] = OVER
        ops.write()
        outside = ops.rollback()
        assert "C001 may be rolled back in its maintenance windows only." in outside.stdout
        assert (outside.returncode, shop.state()) == (2, before)
        del ops.group_vars["rollback_maintenance"]
        (ops.root / "history.sqlite").unlink()
        ops.extra["maintenance"] = OVER
        ops.write()
        done = ops.rollback("-e", "outside_window=the shop is down", "-e", "notes=incident 4711")
        assert done.returncode == 0
    assert_rolled_back(shop, before)
    assert_nobody_waits(ops)
    assert_told(ops, web)
    commits.append(shop.git("rev-parse", "--short=10", "HEAD"))
    assert_both_tables(ops, shop, commits, done.stdout)
    assert_private_and_complete(ops, shop)
    first = snapshot(shop.repo, ops.root / "state")
    del ops.group_vars["notify_places"], ops.extra["maintenance"]
    ops.write()
    again = ops.rollback()
    assert again.returncode == 0
    assert "Nothing is left to do" in again.stdout
    assert snapshot(shop.repo, ops.root / "state") == first
    one, two = ops.history()
    assert [one["outcome"], two["outcome"]] == ["succeeded", "succeeded"]
    assert two["resumes"] is None
    assert not any(phase["changed"] for phase in two["phases"])
    names = [phase["role"].rsplit(".")[-1] for phase in one["phases"] if phase["step"] == "main"]
    assert names == [phase["role"] for phase in ops.phases]
    assert_written_down(ops, shop, commits)


def assert_written_down(ops: Ops, shop: Shop, commits: list[str]) -> None:
    """The report has what the run found, beside the plan; written once more, nothing changes."""
    dry = ops.run("report.yml", "--check", "--diff")
    assert dry.returncode == 0
    assert "+- [x] Health checks pass" in dry.stdout
    assert not (ops.root / "reports").exists()
    assert ops.run("report.yml").returncode == 0
    document = (ops.root / "reports" / "C001.md").read_text()
    assert f"git -C {shop.repo} revert --no-edit {shop.facts['commits']['bad']}" in document
    assert re.search(r"- \[x\] Health checks pass — healthy on shop1: HTTP 200 in \d+ ms", document)
    assert f"- [x] Data integrity verified — rows kept on shop1: {len(shop.rows())} rows in 1 table" in document
    assert re.search(r"\| Revert Database +\| — +\| \d", document), "estimated nowhere, but done"
    assert f"lost invoices.total ({len(shop.rows())} values); exported invoices" in document
    assert f"shop1: commit {commits[0]} → {commits[1]}; revision " in document
    assert len(re.findall(r"^\| \d{4}-\d\d-\d\d .*\| Yes ", document, re.MULTILINE)) == 2
    assert "[x] rolled back" in (ops.root / "reports" / "README.md").read_text()
    first = snapshot(ops.root / "reports")
    again = ops.run("report.yml", "-e", "change=C001", "--limit", "shop1")
    assert "changed=0" in again.stdout
    assert snapshot(ops.root / "reports") == first


def assert_told(ops: Ops, web: Web) -> None:
    """Who is told, and what: the refusal, the start, the point of no return and the end. The history has the reason."""
    assert web.events() == ["refused", "started", "point_of_no_return", "succeeded"]
    [run] = ops.history()
    last = web.got[-1].json
    assert (last["run"], last["title"], last["hosts"]) == (run["id"], "Add invoice totals", ["shop1"])
    assert 0 < last["downtime"] < last["duration"]
    noted = [(note["kind"], note["text"]) for note in json.loads(run["notes"])]
    assert noted == [("note", "incident 4711"), ("outside_window", "the shop is down")]


def assert_both_tables(ops: Ops, shop: Shop, commits: list[str], printed: str) -> None:
    """The run printed the bad release before its first phase and the good one at its end; so does the history."""
    bad, good = (f"main no {shop.facts['revisions'][which]} " for which in ("bad", "good"))
    [run] = ops.history()
    kept = ops.run("history.yml", "-e", f"run={run['id']}").stdout
    assert printed.index("C001, before:") < printed.index("TASK [Phase | preflight backup,")
    assert printed.index("C001, after:") > printed.index("PLAY RECAP")
    for text, headings in ((printed, ("C001, before:", "C001, after:")), (kept, ("Before:", "After:"))):
        before, after = tables(text, *headings)
        assert f"shop1 {commits[0]} {bad}" in before
        assert f"shop1 {commits[1]} {good}" in after
        assert f"shop1: commit {commits[0]} → {commits[1]}; revision " in after
        assert "shop.env, config/app.toml)." in after
        assert after.count("shop-web running") == 1, "it is no difference"


def assert_private_and_complete(ops: Ops, shop: Shop) -> None:
    """The restore point has all that is needed for the way back, and is nobody else's business."""
    (point,) = [path for path in (ops.root / "state").iterdir() if path.is_dir() and path.name != "program"]
    # An environment that was moved aside keeps its modes, for the way back; nobody else can enter the folder above.
    assert [path.stat().st_mode & 0o777 for path in point.glob("*/environments")] == [0o700]
    for path in (point, *point.rglob("*")):
        if not path.is_symlink() and "environments" not in path.parts[:-1]:
            assert path.stat().st_mode & 0o077 == 0, path
    manifest = json.loads(next(point.glob("*-backup/manifest.json")).read_text())
    assert shop.facts["commits"]["bad"] in json.dumps(manifest)
    assert shop.facts["revisions"]["bad"] in json.dumps(manifest)
    assert shop.git("for-each-ref", "refs/changeops")


def test_check_mode_tells_the_truth_and_writes_one_row(ops: Ops, shop: Shop) -> None:
    before, files = shop.state(), snapshot(shop.repo, shop.root / "etc")
    dry = ops.rollback("--check", "--diff")
    assert dry.returncode == 0
    assert shop.state() == before
    assert snapshot(shop.repo, shop.root / "etc") == files
    assert not (ops.root / "state").exists()
    assert ops.waiting() == []
    (run,) = ops.history()
    assert run["check_mode"]
    assert "config/app.toml" in dry.stdout
    assert "shop/totals.py" in dry.stdout
    assert re.search(r"DROP COLUMN total|invoices", dry.stdout)
    assert "shop.env" in dry.stdout
    assert "C001, before:" in dry.stdout
    assert "C001, after:" not in dry.stdout, "a dry run leaves all as it is"
    assert ops.rollback().returncode == 0
    assert_rolled_back(shop, before)


def test_code_reverted_before_the_database(ops: Ops, shop: Shop) -> None:
    """The order of the usual document, which breaks Alembic by itself."""
    downgrade = ops.phase("alembic_downgrade")
    ops.phases.remove(downgrade)
    ops.phases.insert(ops.phases.index(ops.phase("git_revert")) + 1, downgrade)
    ops.write()
    before = shop.state()
    assert ops.rollback().returncode == 0
    assert_rolled_back(shop, before)
    assert ops.history()[-1]["outcome"] == "succeeded"
    assert_nobody_waits(ops)


def test_code_reverted_before_the_database_and_back_again(ops: Ops, shop: Shop) -> None:
    downgrade = ops.phase("alembic_downgrade")
    ops.phases.remove(downgrade)
    ops.phases.insert(ops.phases.index(ops.phase("git_revert")) + 1, downgrade)
    ops.write()
    ops.flag.write_text("verify")
    before = shop.state()
    done = ops.rollback()
    assert done.returncode != 0
    assert shop.state() == before
    assert ops.history()[-1]["outcome"] == "recovered"
    first, second = tables(done.stdout, "C001, before:", "C001, after:")
    [line] = {re.search(r"shop1 \w{10} main no .* shop-web running", table)[0] for table in (first, second)}
    assert shop.facts["revisions"]["bad"] in line
    assert "All hosts are as they were before." in second


def test_one_run_at_a_time(ops: Ops, shop: Shop) -> None:
    """A second run of the same change is refused, with holder and the command that breaks the lock."""
    ops.flag.write_text("slow")
    ops.slow.write_text("check")
    before = shop.state()
    first = ops.start("rollback.yml", "-e", "change=C001")
    while not ops.reached.exists():
        assert first.poll() is None
    second = ops.rollback()
    out = first.communicate(timeout=120)[0]
    assert second.returncode != 0
    assert "-e break_lock=" in second.stdout
    assert "This host is locked" not in second.stdout, "the history knows it first, before any host is asked"
    assert first.returncode == 0, out
    assert_rolled_back(shop, before)


def test_two_histories_cannot_collide_on_one_host(ops: Ops, shop: Shop) -> None:
    """Another controller, with a history of its own, is stopped by the lock on the host."""
    ops.slow.write_text("check")
    before = shop.state()
    first = ops.start("rollback.yml", "-e", "change=C001")
    while not ops.reached.exists():
        assert first.poll() is None
    second = ops.rollback("-e", f"rollback_history_url=sqlite:///{ops.root}/other.sqlite")
    out = first.communicate(timeout=120)[0]
    assert second.returncode != 0
    assert "This host is locked: C001 is being rolled back by" in second.stdout
    assert first.returncode == 0, out
    assert_rolled_back(shop, before)


def test_an_edited_plan_does_not_resume(ops: Ops, shop: Shop) -> None:
    ops.extra["on_failure"] = "stop"
    ops.flag.write_text("verify")
    ops.write()
    assert ops.rollback().returncode != 0
    plan = (ops.root / "changes" / "C001.yml").read_text()
    (ops.root / "changes" / "C001.yml").write_text(plan + "# edited\n")
    edited = ops.rollback()
    assert edited.returncode != 0
    assert "edited" in edited.stdout
    assert [run["outcome"] for run in ops.history()] == ["failed", "refused"]
    (ops.root / "changes" / "C001.yml").write_text(plan)
    ops.flag.unlink()
    assert ops.rollback().returncode == 0


def test_a_refused_run_has_touched_nothing(ops: Ops, shop: Shop) -> None:
    """A dirty work tree: preflight refuses, and nothing of it is left behind."""
    (shop.repo / "shop" / "main.py").write_text("# edited on the host\n")
    before, files = shop.state(), snapshot(shop.repo, shop.root / "etc")
    done = ops.rollback()
    assert done.returncode != 0
    assert "shop/main.py" in done.stdout
    assert shop.state() == before
    assert snapshot(shop.repo, shop.root / "etc") == files
    assert sorted(path.name for path in (ops.root / "state").iterdir()) == ["program", "work.lock"]
    (run,) = ops.history()
    assert run["outcome"] == "refused"
    assert not [phase for phase in run["phases"] if phase["step"] == "main"]


def test_a_limit_that_leaves_nothing_touches_nothing(ops: Ops) -> None:
    done = ops.rollback("--limit", "nowhere")
    assert done.returncode != 0
    assert "nowhere" in done.stdout
    assert "Traceback" not in done.stdout
    assert not (ops.root / "history.sqlite").exists()
