# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan in which every host downgrades: two hosts share a PostgreSQL database, a third has one of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.alembic_pg import PgShop

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
HOSTS = ["web1", "web2", "alone1"]
ADD = ["ALTER TABLE invoices ADD total int"]
ROWS = "INSERT INTO invoices (id, name, total) SELECT n, 'n' || n, n * 7 FROM generate_series(1, 500) n"
DOWNGRADE = {"alembic_downgrade_from": "new", "alembic_downgrade_to": "old"}
# What Alembic really runs, and where: the scratch databases of preflight have other names.
LOGGED = """import pathlib
    name = op.get_bind().exec_driver_sql("SELECT current_database()").scalar()
    with pathlib.Path({log!r}).open("a") as log:
        print({word!r}, name, file=log)
    op.execute({sql!r})"""


class Fleet:
    """Hosts on this machine, each with the app's project and a restore point of its own."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, socket: str) -> None:
        self.root, self.log, self.flag = root, root / "log", root / "flag"
        self.log.touch()
        down = LOGGED.format(log=str(self.log), word="down", sql="ALTER TABLE invoices DROP total")
        up = LOGGED.format(log=str(self.log), word="up", sql=ADD[0])
        self.shared, self.own = (
            PgShop(root / name, monkeypatch, socket, ADD, [], python_down=down, python_up=up)
            for name in ("shared", "own")
        )
        hosts: dict[str, t.Any] = {}
        for database in (self.shared, self.own):
            database.sql(ROWS)
        for name in HOSTS:
            database = self.own if name == "alone1" else self.shared
            project = root / "srv" / name
            shutil.copytree(database.root, project)
            (project / "shop.env").write_text(f"SHOP_URL={database.url()}\n")
            hosts[name] = {
                "rollback_repo": str(project),
                "rollback_environment_files": [str(project / "shop.env")],
                "rollback_state_dir": str(root / "state" / name),
            }
        (root / "inventory" / "group_vars").mkdir(parents=True)
        (root / "inventory" / "hosts.yml").write_text(yaml.safe_dump({"shop": {"hosts": hosts}}))
        common = {
            "ansible_connection": "local",
            "ansible_python_interpreter": "{{ ansible_playbook_python }}",
            "alembic_downgrade_python": [sys.executable],
            "rollback_history_url": f"sqlite:///{root}/history.sqlite",
        }
        (root / "inventory" / "group_vars" / "shop.yml").write_text(yaml.safe_dump(common))

    def plan(self, *sabotage: str, phases: list[dict[str, t.Any]] | None = None) -> None:
        """Write the plan, with a phase after the downgrade that does harm as long as it is told to."""
        vars_ = {"sabotage_argv": list(sabotage), "sabotage_flag": str(self.flag)}
        plan = {
            "title": "Add invoice totals",
            "date": "2026-11-20",
            "implemented_by": "Dana Ng",
            "hosts": "shop",
            "rollback": {"possible": True, "method": "automated", "accept_loss": ["invoices.total"]},
            "phases": [
                *(phases or [{"role": "alembic_downgrade", "vars": DOWNGRADE}]),
                {"role": "acme.own.sabotage", "vars": vars_},
            ],
        }
        (self.root / "changes").mkdir(exist_ok=True)
        (self.root / "changes" / "C001.yml").write_text(yaml.safe_dump(plan, sort_keys=False))
        self.flag.touch()

    def run(self, playbook: str = "rollback") -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [BIN / "ansible-playbook", "-i", "inventory", f"changeops.rollback.{playbook}", "-e", "change=C001"],
            cwd=self.root,
            env={
                **os.environ,
                "PATH": f"{BIN}:{os.environ['PATH']}",
                "ANSIBLE_COLLECTIONS_PATH": str(HERE / "collections"),
                "ANSIBLE_CONFIG": str(HERE / "ansible.cfg"),
                "ANSIBLE_NOCOLOR": "1",
                "HOME": str(self.root),
                "PYTHONHASHSEED": "2",  # a set of these hosts has web2 before web1
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        print(done.stdout + done.stderr)
        return done

    def ran(self) -> list[str]:
        """What Alembic ran on a live database, by database, in order."""
        names = {self.shared.name: "shared", self.own.name: "own"}
        lines = [line.split() for line in self.log.read_text().splitlines()]
        self.log.write_text("")
        return sorted((f"{names[name]} {word}" for word, name in lines if name in names), key=lambda w: w.split()[0])

    def rows(self) -> list[dict[str, list[tuple[t.Any, ...]]]]:
        return [self.shared.rows(), self.own.rows()]


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgresql: str) -> Fleet:
    return Fleet(tmp_path, monkeypatch, postgresql)


def test_each_database_is_downgraded_once_and_put_back_once(fleet: Fleet) -> None:
    before = fleet.rows()
    fleet.plan("sh", "-c", "exit 7")
    failed = fleet.run()
    assert failed.returncode != 0
    assert "Everything was put back" in failed.stdout
    assert fleet.ran() == ["own down", "own up", "shared down", "shared up"]
    assert fleet.rows() == before

    fleet.flag.unlink()
    done = fleet.run()
    assert done.returncode == 0
    assert fleet.ran() == ["own down", "shared down"]
    for rows in fleet.rows():
        assert rows["alembic_version"] == [("old",)]
        assert rows["invoices"] == [(n, f"n{n}", "open") for n in range(1, 501)]


def test_a_database_that_could_not_be_put_back_holds_all_that_share_it(fleet: Fleet) -> None:
    fleet.plan("sh", "-c", f"find {fleet.root / 'state' / 'web1'} -name export.sqlite -delete; exit 7")
    failed = fleet.run()
    assert failed.returncode != 0
    assert "Not everything could be put back" in failed.stdout
    assert "stands at old, not at new, where web1 was to bring it" in failed.stdout
    assert fleet.ran() == ["own down", "own up", "shared down"]


def test_of_two_databases_both_have_to_be_put_back_before_an_app_starts(fleet: Fleet) -> None:
    """The second one is put back, the first one is not: that is no leave to start an app, on whatever host."""
    steps, other = fleet.root / "steps", str(fleet.root / "srv" / "alone1")
    started = {"step_name": "app", "step_log": str(steps)}
    of_other = {"alembic_downgrade_project": other, "alembic_downgrade_environment_files": [f"{other}/shop.env"]}
    fleet.plan(
        *("sh", "-c", f"rm -f {fleet.root}/state/web1/*/2-alembic_downgrade/export.sqlite; exit 7"),
        phases=[
            {"role": "acme.own.step", "vars": started},
            {"role": "alembic_downgrade", "hosts": "web1,web2", "vars": DOWNGRADE},
            {"role": "alembic_downgrade", "hosts": "web1", "vars": {**DOWNGRADE, **of_other}},
        ],
    )
    failed = fleet.run()
    assert failed.returncode != 0
    assert fleet.ran() == ["own down", "own up", "shared down"]
    assert "recover" not in steps.read_text()


def test_where_a_database_is_known_to_be_away_nothing_is_put_back_anywhere(fleet: Fleet) -> None:
    """On one host what is needed to connect is gone; it answers the others, which do not work on it."""
    fleet.plan("sh", "-c", f"rm -f {fleet.root / 'srv' / 'web1' / 'shop.env'}; exit 7")
    failed = fleet.run()
    assert failed.returncode != 0
    said = " ".join(failed.stdout.split())
    assert (
        "Nothing was put back, because not everything could have been (web1: changeops.rollback.alembic_downgrade: "
        in said
    )
    assert fleet.ran() == ["own down", "shared down"]


@pytest.mark.parametrize("gone", ["web1", "web2"])
def test_an_undo_of_hosts_of_which_one_has_lost_its_restore_point(fleet: Fleet, gone: str) -> None:
    """Where it was the one that downgraded for all, nobody could put the database back below the others' new code."""
    before, script = fleet.rows(), fleet.root / "script.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    does = {"run_script_script": str(script), "run_script_recover": str(script)}
    fleet.plan("true", phases=[{"role": "alembic_downgrade", "vars": DOWNGRADE}, {"role": "run_script", "vars": does}])
    assert fleet.run().returncode == 0
    after = fleet.rows()
    assert fleet.ran() == ["own down", "shared down"]
    shutil.rmtree(fleet.root / "state" / gone)
    undone = fleet.run("undo")
    said = " ".join(undone.stdout.split())
    if gone == "web1":
        assert undone.returncode != 0
        assert "That host takes no part in this undo, since it has no restore point of it any more." in said
        assert "Nothing was touched" in said
        assert (fleet.ran(), fleet.rows()) == ([], after)
    else:
        assert undone.returncode == 0
        assert "Nothing is undone here." in said
        assert (fleet.ran(), fleet.rows()) == (["own up", "shared up"], before)
