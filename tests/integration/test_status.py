# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What status.yml prints of a real app on several hosts: before and after a rollback, and of an odd host."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness import Ops, Shop, deploy

LOCAL = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}


STALE = """\
title: Old
date: 2026-11-21
hosts: shop1
phases:
  - {role: alembic_downgrade, vars: {alembic_downgrade_from: 0123abcd, alembic_downgrade_to: REVISION}}
  - {role: git_revert, vars: {git_revert_commits: [0badc0de]}}
  - {role: verify, hosts: db}
"""


def line(text: str, first: str) -> str:
    """The line of a table that begins with a word; sentences and the recap come after it."""
    found = next(line for line in text.splitlines() if line.split()[:1] == [first])
    return " ".join(found.split())


@pytest.fixture
def fleet(ops: Ops, shop: Shop, bad_release: Path, tmp_path: Path) -> Shop:
    """shop1 and shop2 look at one app, shop3 at another copy of it, and nothing answers at shop4; the copy."""
    root = tmp_path / "copy"
    deploy("clone", bad_release, root)
    copy = Shop(root)
    services = [{**ops.group_vars["rollback_services"][0], "config": copy.facts["supervisord_config"]}]
    services[0]["port"] = copy.facts["port"]
    checks = [{"rows": {"database": str(copy.database)}}]
    # The env file says where the copy lies, so it is another one on each: only the rollback knows of it.
    ops.phase("config_restore")["vars"] = {"config_restore_paths": ops.group_vars["rollback_config"]}
    ops.group_vars["rollback_config"] = ["config/"]
    ops.hosts = {
        "shop1": LOCAL,
        "shop2": LOCAL,
        "shop3": {
            **LOCAL,
            "rollback_repo": str(copy.repo),
            "rollback_services": services,
            "rollback_checks": checks,
        },
        "shop4": {"ansible_host": "127.0.0.1", "ansible_port": 1},
    }
    ops.write()
    plan = (ops.root / "changes" / "C001.yml").read_text()
    (ops.root / "changes" / "C001.yml").write_text(plan.replace("hosts: shop\n", "hosts: shop1\n"))
    (ops.root / "changes" / "C002.yml").write_text(
        "title: The worker\ndate: 2026-11-21\nimplemented_by: Dana Ng\nhosts: shop\nphases: [{role: verify}]\n"
    )
    (ops.root / "changes" / "C003.yml").write_text("title: Not finished\n")
    return copy


def test_the_table_before_and_after_a_rollback_and_the_odd_host_out(ops: Ops, shop: Shop, fleet: Shop) -> None:
    try:
        good, bad = (shop.facts["revisions"][which] for which in ("good", "bad"))
        states = shop.state(), fleet.state()
        before = ops.run("status.yml")
        assert before.returncode == 0
        assert (shop.state(), fleet.state()) == states
        assert line(before.stdout, "C001") == "C001 never run never Add invoice totals"
        assert "C003: changes/C003.yml" in before.stdout
        head = shop.git("rev-parse", "--short=10", "HEAD")
        for host in ("shop1", "shop2", "shop3"):
            assert line(before.stdout, host).startswith(f"{host} {head} main no {bad} ")
            assert line(before.stdout, host).endswith(" shop-web running")
        assert line(before.stdout, "shop4").startswith("shop4 unreachable: Failed to connect")
        assert " !" not in before.stdout
        assert "is odd" not in before.stdout
        stale = before.stdout.partition("Gone stale:")[2]
        assert "C001 was never rehearsed." in stale
        assert "C003 cannot be run: changes/C003.yml" in stale

        assert ops.rollback().returncode == 0
        (ops.root / "changes" / "C003.yml").write_text(STALE.replace("REVISION", good))
        (fleet.repo / "shop" / "main.py").write_text("# edited on the host\n")
        deploy("stop", fleet.root)
        after = ops.run("status.yml", "--check", "-e", "strict=true")
        assert after.returncode == 2
        told = " ".join(after.stdout.split())
        stale = told.partition("Gone stale:")[2].partition("[ERROR]")[0]
        assert "C001" not in stale, "it was rolled back"
        assert "C003: no host of the inventory matches 'db'." in told
        assert "C003: commit 0badc0de is not in the repository of shop1 any more. Mend changes/C003.yml." in told
        assert "C003: revision 0123abcd is not among the migrations on shop1 any more." in told
        assert f"revision {good}" not in stale
        assert "Something has gone stale: see above." in told
        assert " succeeded never Add invoice totals" in line(after.stdout, "C001")
        assert line(after.stdout, "C002") == "C002 never run never The worker"
        head = shop.git("rev-parse", "--short=10", "HEAD")
        for host in ("shop1", "shop2"):
            assert line(after.stdout, host).startswith(f"{host} {head} main no {good} ")
            assert " !" not in line(after.stdout, host)
        odd = line(after.stdout, "shop3")
        assert f" 1 file ! {bad} ! " in odd
        assert head not in odd
        told = " ".join(after.stdout.split())
        assert "shop3 is odd: commit " in told
        assert "dirty 1 file (shop/main.py), most have no" in told
        assert f"revision {bad}, most have {good}" in told
        assert "(config/app.toml)" in told
        assert "shop3, services: " in told, "supervisord is gone there, which is a sentence"
    finally:
        deploy("stop", fleet.root)
