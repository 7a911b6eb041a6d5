# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Apps that are deployed as releases, rolled back on three hosts by a plan: all to the same release, or none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
HOSTS = ["h1", "h2", "h3"]
# releases of each host and their commits; Deployer numbers them for each host by itself
ALIKE = {host: {"1": "aaaa", "2": "bbbb", "3": "cccc"} for host in HOSTS}
NUMBERED = {**ALIKE, "h2": {"7": "aaaa", "8": "bbbb", "9": "cccc"}}
DIFFERENT = {**ALIKE, "h2": {"1": "aaaa", "3": "cccc"}}


class Fleet:
    """Three hosts, each with the app in a folder of its own on this machine."""

    def __init__(self, root: Path, releases: dict[str, dict[str, str]]) -> None:
        self.root = root
        hosts = {}
        for host, found in releases.items():
            app = root / host
            for name, commit in found.items():
                (app / "releases" / name).mkdir(parents=True)
                (app / "releases" / name / "REVISION").write_text(f"{commit * 10}\n")
            (app / "current").symlink_to(f"releases/{name}")
            hosts[host] = {"git_revert_repo": str(app), "rollback_state_dir": str(root / "state" / host)}
        shared = {
            "ansible_connection": "local",
            "ansible_python_interpreter": "{{ ansible_playbook_python }}",
            "rollback_history_url": f"sqlite:///{root}/history.sqlite",
        }
        (root / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts, "vars": shared}}))
        (root / "changes").mkdir()
        phase = {"role": "git_revert", "vars": {"git_revert_method": "release", "git_revert_from": "cccc"}}
        plan = {
            "title": "Add invoice totals",
            "date": "2026-11-20",
            "implemented_by": "Dana Ng",
            "hosts": "all",
            "rollback": {"possible": True, "method": "automated"},
            "phases": [phase],
        }
        (self.root / "changes" / "C001.yml").write_text(yaml.safe_dump(plan, sort_keys=False))

    def rollback(self) -> tuple[int, str]:
        config = {"ANSIBLE_CONFIG": str(HERE / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
        environ = {**os.environ, "HOME": str(self.root), **config}
        argv = [BIN / "ansible-playbook", "-i", "hosts.yml", "changeops.rollback.rollback", "-e", "change=C001"]
        done = subprocess.run(argv, cwd=self.root, env=environ, capture_output=True, text=True, check=False)
        print(done.stdout, done.stderr)
        return done.returncode, done.stdout

    def commits(self) -> list[str]:
        return [(self.root / host / "current" / "REVISION").read_text()[:4] for host in HOSTS]


def test_all_hosts_go_to_the_same_release(tmp_path):
    fleet = Fleet(tmp_path, NUMBERED)
    assert fleet.rollback()[0] == 0
    assert fleet.commits() == ["bbbb"] * 3


REFUSALS = [
    Refusal(
        "release: hosts would go to different ones",
        "The hosts would go back to different releases: h1 2 bbbb<commit>, h2 1 aaaa<commit>, h3 2 bbbb<commit>. Name "
        "one that all of them have: git_revert_to: <name or commit>",
        DIFFERENT,
    )
]


@pytest.mark.parametrize("row", REFUSALS, ids=[row.case for row in REFUSALS])
def test_refused(tmp_path, row):
    fleet = Fleet(tmp_path, row.given)
    code, out = fleet.rollback()
    assert code != 0
    assert row.found_in(out)
    assert fleet.commits() == ["cccc"] * 3
