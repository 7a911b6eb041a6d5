# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A change under a later one, on a real app: refused with the order to take, and rolled back in that order."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import yaml
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal
from harness import Ops, Shop

REVISION = "c3d4e5f6"
MIGRATION = """\
import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{below}"


def upgrade() -> None:
    op.add_column("customers", sa.Column("phone", sa.Text, nullable=True))


def downgrade() -> None:
    op.drop_column("customers", "phone")
"""
REFUSED = Refusal(
    "a change under a later one",
    "C001 was refused: C003 (changes/C003.yml) came after C001 and touches the same files (config/app.toml, "
    "shop/main.py) and has a migration on top (c3d4e5f6). Roll back C003 first: ansible-playbook rollback.yml "
    "-e change=C003, then C001. | Nothing was touched.",
)


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def commit(shop: Shop) -> str:
    shop.git("add", "--all")
    shop.git(
        "-c", "user.name=Dana Ng", "-c", "user.email=dana@shop.example", "commit", "--quiet", "-m", "Phones (C003)"
    )
    return shop.git("rev-parse", "HEAD")


def write_plan(ops: Ops, change: str, *phases: dict, hosts: str = "shop") -> None:
    plan = {"title": "Phones", "date": "2026-11-25", "hosts": hosts, "phases": list(phases)}
    (ops.root / "changes" / f"{change}.yml").write_text(yaml.safe_dump(plan, sort_keys=False))


def ship(ops: Ops, shop: Shop) -> None:
    """Ship C003 on top of C001: code, config and a migration. Write its plan, one with faults, one of other hosts."""
    append(shop.repo / "shop" / "main.py", "# Phones come later.\n")
    append(shop.repo / "config" / "app.toml", "# Phones come later.\n")
    text = MIGRATION.format(revision=REVISION, below=shop.facts["revisions"]["bad"])
    (shop.repo / "migrations" / "versions" / f"{REVISION}_phones.py").write_text(text)
    three = commit(shop)
    environ = {**os.environ, "SHOP_ENV_FILE": str(shop.env_file), "PYTHONPATH": str(shop.repo)}
    python = shop.repo / ".venv" / "bin" / "python"
    subprocess.run([python, "-m", "alembic", "upgrade", "head"], cwd=shop.repo, env=environ, check=True)
    ends = {"alembic_downgrade_from": REVISION, "alembic_downgrade_to": shop.facts["revisions"]["bad"]}
    write_plan(
        ops,
        "C003",
        {"role": "backup"},
        {"role": "service_stop"},
        {"role": "alembic_downgrade", "vars": ends, "environment": {"SHOP_ENV_FILE": str(shop.env_file)}},
        {"role": "git_revert", "vars": {"git_revert_commits": [three]}},
        {"role": "config_restore", "vars": {"config_restore_paths": ["config/"]}},
        {"role": "service_start"},
        {
            "role": "verify",
            "vars": {"verify_checks": [{"rows": {"database": str(shop.database), "tables": ["invoices"]}}]},
        },
    )
    write_plan(ops, "C004", {"role": "git_revert", "vars": {"git_revert_commits": [three]}}, hosts="localhost")
    (ops.root / "changes" / "C002.yml").write_text("title: Not finished\n")


def line(text: str, first: str) -> str:
    """The line of a table that begins with a word."""
    return " ".join(next(line for line in text.splitlines() if line.split()[:1] == [first]).split())


def test_refused_under_a_later_change_and_rolled_back_in_the_order_that_is_told(ops: Ops, shop: Shop) -> None:
    rows = shop.rows()
    ship(ops, shop)
    before = shop.state()
    stands = ops.run("status.yml").stdout
    assert line(stands, "C001") == "C001 never run never under C003 Add invoice totals"
    assert line(stands, "C003") == "C003 never run never Phones"
    assert "The order to roll back in: C003, then C001." in stands
    assert "under C003" in line(ops.run("status.yml", "-e", "change=C001").stdout, "C001")

    for options in ([], ["-e", "run_under=C003"], ["--check"]):
        refused = ops.rollback(*options)
        assert refused.returncode != 0
        assert REFUSED.found_in(refused.stdout)
        assert "Whether C002 came after C001 is not known" in " ".join(refused.stdout.split())
        assert shop.state() == before
        assert [run["outcome"] for run in ops.history()][-1] == "refused"
        assert not [path for path in ops.root.glob("state/*-*") if path.is_dir()]

    assert ops.rehearse().returncode != 0
    assert ops.history()[-1]["summary"].startswith("NOT READY. C003 (changes/C003.yml) came after C001 and touches ")
    assert shop.state() == before

    assert ops.run("rollback.yml", "-e", "change=C003").returncode == 0
    assert shop.revision() == shop.facts["revisions"]["bad"]
    assert shop.git("diff", "--stat", shop.facts["commits"]["bad"], "HEAD") == ""
    assert "under" not in line(ops.run("status.yml").stdout, "C001")

    assert ops.rollback().returncode == 0
    assert shop.git("diff", "--stat", shop.facts["commits"]["good"], "HEAD") == ""
    after = shop.state()
    assert (after["revision"], after["totals"], after["rows"]) == (shop.facts["revisions"]["good"], None, rows)
    assert (after["dirty"], after["health"]) == ("", 200)
    assert shop.env_file.read_bytes() == shop.kept_env_file.read_bytes()


def test_a_change_that_can_do_without_the_lower_one_stays(ops: Ops, shop: Shop) -> None:
    before = shop.state()
    append(shop.repo / "shop" / "main.py", "# Phones come later.\n")
    three = commit(shop)
    write_plan(ops, "C003", {"role": "git_revert", "vars": {"git_revert_commits": [three]}})
    refused = ops.rollback()
    assert refused.returncode != 0
    assert "touches the same files (shop/main.py)" in " ".join(refused.stdout.split())
    assert shop.git("rev-parse", "HEAD") == three
    assert ops.rollback("-e", "run_under=C003").returncode == 0
    assert shop.git("diff", "--name-only", shop.facts["commits"]["good"], "HEAD") == "shop/main.py"
    assert (shop.repo / "shop" / "main.py").read_text().endswith("# Phones come later.\n")
    assert (shop.revision(), shop.totals(), shop.rows()) == (shop.facts["revisions"]["good"], None, before["rows"])
    assert shop.health()[0] == 200
