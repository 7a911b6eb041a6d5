# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Phases are barriers, in the plan's order, on three hosts that take a random time for each."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
HOSTS = ["h1", "h2", "h3"]
# the second phase is not for h3
PHASES = [("one", "all"), ("two", "h1:h2"), ("three", "all")]


@pytest.fixture
def run(tmp_path: Path):
    log = tmp_path / "log"
    hosts = {name: {"rollback_state_dir": str(tmp_path / "state" / name)} for name in HOSTS}
    shared = {
        "ansible_connection": "local",
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        "rollback_history_url": f"sqlite:///{tmp_path}/history.sqlite",
    }
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts, "vars": shared}}))
    plan = {
        "title": "Order",
        "date": "2026-11-20",
        "implemented_by": "Dana Ng",
        "hosts": "all",
        "rollback": {"possible": True, "method": "automated"},
        "phases": [
            {"role": "acme.own.step", "hosts": hosts, "vars": {"step_name": name, "step_log": str(log)}}
            for name, hosts in PHASES
        ],
    }
    (tmp_path / "changes").mkdir()
    (tmp_path / "changes" / "C001.yml").write_text(yaml.safe_dump(plan, sort_keys=False))

    def call(
        fail: str = "", playbook: str = "changeops.rollback.rollback", **settings: str
    ) -> tuple[int, list[list[str]]]:
        environ = {
            **os.environ,
            **settings,
            "ANSIBLE_COLLECTIONS_PATH": str(HERE / "collections"),
            "ANSIBLE_CONFIG": str(HERE / "ansible.cfg"),
            "HOME": str(tmp_path),
        }
        argv = [BIN / "ansible-playbook", "-i", "hosts.yml", playbook, "-e", "change=C001"]
        done = subprocess.run(
            [*argv, "-e", f"step_fail='{fail}'"], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
        )
        print(done.stdout, done.stderr)
        return done.returncode, [line.split() for line in log.read_text().splitlines()] if log.exists() else []

    return call


def barriers(lines: list[list[str]]) -> list[tuple[str, str, list[str]]]:
    """The log as (step, phase, hosts), one entry for each stretch of the same step and phase."""
    found: list[tuple[str, str, list[str]]] = []
    for step, phase, host in lines:
        if not found or found[-1][:2] != (step, phase):
            found.append((step, phase, []))
        found[-1][2].append(host)
    return [(step, phase, sorted(hosts)) for step, phase, hosts in found]


ALL, TWO = HOSTS, ["h1", "h2"]
PREFLIGHT = [("preflight", "one", ALL), ("preflight", "two", TWO), ("preflight", "three", ALL)]


SHOWN = [
    r"C001: roll back 'Order' on 3 hosts, 3 phases \(run .*\)",
    r"ok +preflight +3 of 3 phases .*",
    r"ok +step +3 of 3 hosts .*",
    r"ok +step +2 of 2 hosts .*",
    r"ok +step +3 of 3 hosts .*",
    r"C001: succeeded in .*",
]


@pytest.mark.parametrize("callback", ["default", "changeops.rollback.progress"])
def test_no_host_starts_a_phase_before_every_host_has_finished_the_one_before(run, capsys, callback: str) -> None:
    code, lines = run(ANSIBLE_STDOUT_CALLBACK=callback)
    assert code == 0
    assert barriers(lines) == [*PREFLIGHT, ("main", "one", ALL), ("main", "two", TWO), ("main", "three", ALL)]
    out = capsys.readouterr().out
    if callback != "default":
        shown = iter(out.splitlines())
        for pattern in SHOWN:
            assert any(re.fullmatch(pattern, line) for line in shown), f"{pattern} is not there, or not in its place"
        assert "TASK [" not in out and "PLAY" not in out


@pytest.mark.parametrize(
    ("fail", "expected"),
    [
        pytest.param("preflight-three-h3", PREFLIGHT, id="a refused run starts nothing"),
        pytest.param(
            "main-two-h2",
            [
                *PREFLIGHT,
                ("main", "one", ALL),
                ("main", "two", TWO),
                ("recover", "two", TWO),
                ("recover", "one", ALL),
            ],
            id="what started is put back in reverse order, on every host",
        ),
        pytest.param(
            "main-three-h1 recover-three-h1",
            [
                *PREFLIGHT,
                ("main", "one", ALL),
                ("main", "two", TWO),
                ("main", "three", ALL),
                ("recover", "three", ALL),
                ("recover", "two", ["h2"]),
                ("recover", "one", ["h2", "h3"]),
            ],
            id="one host's failed recovery does not stop the others",
        ),
        pytest.param(
            "main-two-h2 can_recover-one-h3",
            [*PREFLIGHT, ("main", "one", ALL), ("main", "two", TWO), ("can_recover", "one", ["h3"])],
            id="nothing is put back where not all of it could be",
        ),
    ],
)
def test_failure(run, fail: str, expected: list) -> None:
    code, lines = run(fail)
    assert code != 0
    assert barriers(lines) == expected


NOWHERE = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
LOST = (
    "C001 was refused: Ansible leaves out h2 of this play, because an earlier play of the same playbook failed there "
    "or did not reach it. Mend that, or do this with a command of its own: ansible-playbook rollback.yml "
    "-e change=C001 | Nothing was touched."
)
REFUSALS = [
    Refusal("a host that failed in an earlier play", LOST, {"ansible.builtin.fail": {"msg": "no"}}),
    Refusal("a host that an earlier play did not reach", LOST, {"ansible.builtin.ping": {}, "vars": NOWHERE}),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.case)
def test_no_host_is_left_out_for_what_came_before(run, tmp_path: Path, capsys, refusal: Refusal) -> None:
    before = {"name": "Something else", "when": "inventory_hostname == 'h2'", **refusal.given}
    play = {"name": "Before", "hosts": "all", "gather_facts": False, "tasks": [before]}
    then = {"name": "Roll back", "import_playbook": "changeops.rollback.rollback"}
    (tmp_path / "site.yml").write_text(yaml.safe_dump([play, then], sort_keys=False))
    code, lines = run(playbook="site.yml")
    assert code != 0
    assert lines == []
    assert refusal.found_in(capsys.readouterr().out)
