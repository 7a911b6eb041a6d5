# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A user's own deploy after a rollback: the bad commit is refused, the revert is taken, and a hold can be lifted."""

from __future__ import annotations

import json
import subprocess

import pytest
import yaml
from harness import Ops, Shop

DEPLOY = [
    {
        "name": "Deploy the shop",
        "hosts": "shop",
        "gather_facts": False,
        "any_errors_fatal": True,
        "roles": [{"role": "changeops.rollback.hold", "vars": {"hold_commit": "{{ commit }}"}}],
        "tasks": [
            {
                "name": "Ship it",
                "ansible.builtin.command": {
                    "argv": ["git", "-C", "{{ rollback_repo }}", "reset", "--quiet", "--hard", "{{ commit }}"]
                },
            }
        ],
    }
]


def ship(ops: Ops, commit: str, *args: str) -> subprocess.CompletedProcess[str]:
    (ops.root / "deploy.yml").write_text(yaml.safe_dump(DEPLOY, sort_keys=False))
    return ops.run("deploy.yml", "-e", f"commit={commit}", *args)


@pytest.fixture
def bad(shop: Shop) -> str:
    return shop.git("rev-parse", shop.facts["commits"]["bad"])


def test_a_deploy_after_a_rollback(ops: Ops, shop: Shop, bad: str) -> None:
    assert ship(ops, bad).returncode == 0, "nothing is held"
    assert ops.rollback("--check").returncode == 0
    assert ops.rollback().returncode == 0
    [run] = [run for run in ops.history() if not run["check_mode"]]
    hold = ops.root / "state" / "hold.json"
    [found] = json.loads(hold.read_text())["held"]
    since = found.pop("since")
    assert run["started"][:16].replace(" ", "T") <= since
    assert found == {
        "change": "C001",
        "title": "Add invoice totals",
        "run": run["id"],
        "executed_by": run["executed_by"],
        "repo": str(shop.repo),
        "commits": [bad],
        "release": bad,
    }
    assert (hold.stat().st_mode & 0o777, hold.parent.stat().st_mode & 0o777) == (0o644, 0o711)

    revert = shop.git("rev-parse", "HEAD")
    for commit in (bad, f"{revert}~1"):
        refused = ship(ops, commit)
        assert refused.returncode != 0
        said = f"which {run['executed_by']} rolled back at {since} (run {run['id']})"
        printed = " ".join(refused.stdout.split())
        assert f"{commit} must not be shipped: it" in printed
        assert f"{bad[:10]} of C001 (Add invoice totals), {said}" in printed
        assert "-e release_hold=C001" in printed
        assert shop.git("rev-parse", "HEAD") == revert
    assert ship(ops, revert).returncode == 0
    who = ["-c", "user.name=U", "-c", "user.email=u@example.org"]
    shop.git(*who, "commit", "--quiet", "--allow-empty", "-m", "A fix on top of the revert")
    fix = shop.git("rev-parse", "HEAD")
    shop.git("checkout", "--quiet", revert)
    assert ship(ops, fix).returncode == 0
    assert shop.git("rev-parse", "HEAD") == fix

    kept = hold.read_bytes()
    assert ship(ops, bad, "-e", "release_hold=C009").returncode != 0
    assert hold.read_bytes() == kept
    assert ship(ops, bad, "--check", "-e", "release_hold=C001").returncode == 0
    assert hold.read_bytes() == kept
    assert ship(ops, bad, "-e", "release_hold=C001").returncode == 0
    assert shop.git("rev-parse", "HEAD") == bad
    assert not hold.exists()
    assert ship(ops, bad).returncode == 0

    hold.write_bytes(kept)
    shown = ops.run("changeops.rollback.hold")
    assert f"Held: C001 (Add invoice totals), {said}." in " ".join(shown.stdout.split())
    assert hold.read_bytes() == kept
    lifted = ops.run("changeops.rollback.hold", "-e", "release_hold=C001")
    assert "Lifted the hold of C001 (Add invoice totals)" in lifted.stdout
    assert (lifted.returncode, hold.exists()) == (0, False)


def test_a_rollback_that_is_put_back_holds_nothing(ops: Ops, shop: Shop, bad: str) -> None:
    ops.flag.write_text("verify")
    assert ops.rollback().returncode != 0
    assert ops.history()[-1]["outcome"] == "recovered"
    assert not (ops.root / "state" / "hold.json").exists()
    assert ship(ops, bad).returncode == 0
