# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan of several kinds of phases, with a script and a step that a person does."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import typing as t
from pathlib import Path

import yaml
from test_batches import BIN, HERE, HOSTS
from test_batches import Fleet as Hosts

SCRIPT = "#!/bin/sh\necho $0 $QUEUE $* >> reindexed\n"
STEP = {"role": "acme.own.step", "vars": {"step_name": "one"}}
PHASES: list[dict[str, t.Any]] = [
    STEP,
    {
        "role": "run_script",
        "environment": {"QUEUE": "invoices"},
        "vars": {"run_script_script": "scripts/reindex.sh", "run_script_arguments": ["--release", "1 2"]},
    },
    {"role": "manual_step", "vars": {"manual_step_instructions": "# Empty the queue\n\nPurge `invoices`.\n"}},
    {"role": "config_restore"},
]


class Methods(Hosts):
    """Hosts without an app, and the ops repository."""

    def rolled_back(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Roll back without a terminal."""
        environ = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(HERE / "collections"),
            "ANSIBLE_CONFIG": str(HERE / "ansible.cfg"),
            "HOME": str(self.root),
        }
        argv = [BIN / "ansible-playbook", "-i", "hosts.yml", "changeops.rollback.rollback", "-e", "change=C001", *args]
        done = subprocess.run(
            argv, cwd=self.root, env=environ, text=True, capture_output=True, stdin=subprocess.DEVNULL, check=False
        )
        print(done.stdout, done.stderr)
        return done

    def reindexed(self) -> dict[str, str]:
        """What the script noted on each host."""
        found = {name: self.conf(name).with_name("reindexed") for name in HOSTS}
        return {name: path.read_text() for name, path in found.items() if path.exists()}

    def runs(self) -> list[dict[str, t.Any]]:
        with contextlib.closing(sqlite3.connect(self.root / "history.sqlite")) as db:
            db.row_factory = sqlite3.Row
            return [dict(row) for row in db.execute("SELECT * FROM runs ORDER BY started")]

    def asked(self, run: str) -> list[dict[str, t.Any]]:
        """What the history has of the manual step's work."""
        query = "SELECT * FROM phases WHERE run = ? AND step = 'main' AND \"index\" = 3"
        with contextlib.closing(sqlite3.connect(self.root / "history.sqlite")) as db:
            db.row_factory = sqlite3.Row
            return [dict(row) for row in db.execute(query, (run,))]


def test_a_run_waits_for_a_person_and_goes_on_from_there(tmp_path: Path) -> None:
    hosts = Methods(tmp_path)
    hosts.log.write_text("")
    (tmp_path / "changes" / "scripts").mkdir()
    (tmp_path / "changes" / "scripts" / "reindex.sh").write_text(SCRIPT)
    plan = yaml.safe_load((tmp_path / "changes" / "C001.yml").read_text())
    STEP["vars"]["step_log"] = str(hosts.log)
    plan.update(hosts="h1:h2", phases=PHASES, rollback={"method": "manual"}, serial=2)
    (tmp_path / "changes" / "C001.yml").write_text(yaml.safe_dump(plan))

    stopped = hosts.rolled_back()
    said = " ".join(stopped.stdout.split())
    assert stopped.returncode != 0
    assert stopped.stdout.count("Purge `invoices`.") == 1
    assert "Next, when that is done: ansible-playbook rollback.yml -e change=C001 -e confirm=C001:3" in said
    assert "manual_step (phase 3) waits for a person. Every host stays as it is" in said
    script = tmp_path / "state" / "{}" / "{}" / "2-run_script" / "scripts" / "script" / "reindex.sh"
    (first,) = hosts.runs()
    ran = {name: str(script).format(name, first["id"]) + " invoices --release 1 2\n" for name in ("h1", "h2")}
    assert hosts.reindexed() == ran
    assert hosts.good() == []
    assert "recover" not in hosts.log.read_text()
    assert first["outcome"] == "interrupted"
    (row,) = hosts.asked(first["id"])
    assert (row["host"], row["status"]) == ("h1", "waiting")
    assert "-e confirm=C001:3" in row["message"]

    went_on = hosts.rolled_back("-e", "confirm='C001:3:done:312 purged'")
    assert went_on.returncode == 0
    assert hosts.good() == ["h1", "h2"]
    assert hosts.reindexed() == ran
    second = hosts.runs()[1]
    assert (second["outcome"], second["resumes"]) == ("succeeded", first["id"])
    (row,) = hosts.asked(second["id"])
    assert (row["host"], row["status"], row["changed"]) == ("h1", "ok", 1)
    after = json.loads(row["after"])
    assert (after["answer"], after["remark"], after["by"]) == ("done", "312 purged", second["executed_by"])
    assert row["message"].endswith("UTC: 312 purged")
