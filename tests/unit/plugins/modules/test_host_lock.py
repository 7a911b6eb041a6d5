# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two controllers with two histories on one host: who is refused with which words, and what breaking a lock does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.plugins.module_utils._phase import Context, Report, run_step
from ansible_collections.changeops.rollback.plugins.module_utils._restore_point import RestorePoint
from ansible_collections.changeops.rollback.plugins.module_utils._run_close import closed
from ansible_collections.changeops.rollback.plugins.module_utils._run_point import RunPoint, opened
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal

HOUR = 3600.0
LOCKED = (
    "This host is locked: C001 is being rolled back by dana from dana@ops1 since 60 min (run R1). Wait for it, or if "
    "you are sure that it is dead: ansible-playbook rollback.yml -e change=C002 -e break_lock=R1"
)


def params(run: str, **changes: object) -> dict[str, t.Any]:
    base = {"run": run, "change": "C001", "plan_digest": "d1", "executed_by": "dana", "controller": "dana@ops1"}
    free = {"title": "", "finished_runs": [], "break_lock": "", "wait": 5.0, "keep": 5, "accounts": [], "outcome": None}
    free.update(undo=False, undo_run="")
    return {**base, **free, **changes}


def at(state: Path, run: str) -> RunPoint:
    return RunPoint(str(state / run))


SECOND = params("R2", change="C002", executed_by="kim", controller="kim@ops2")
REFUSALS = [
    Refusal("a host on which another controller's run works", LOCKED, SECOND),
    Refusal(
        "the same, and another lock is to be broken",
        "This host is locked: C001 is being rolled back by dana from dana@ops1 since 60 min (run R1). "
        "-e break_lock=R0 names another run. Wait for it, or if you are sure that it is dead: ansible-playbook "
        "rollback.yml -e change=C002 -e break_lock=R1",
        {**SECOND, "break_lock": "R0"},
    ),
    Refusal(
        "the same, and the run is over that was to be broken",
        LOCKED,
        {**SECOND, "break_lock": "R0", "finished_runs": ["R0"]},
    ),
]


@pytest.mark.parametrize("check", [False, True], ids=["run", "check mode"])
@pytest.mark.parametrize("row", REFUSALS, ids=lambda row: row.case)
def test_the_second_is_refused_with_holder_age_and_what_to_type(tmp_path: Path, row: Refusal, check: bool) -> None:
    opened(at(tmp_path, "R1"), params("R1"), False, now=HOUR)
    before = (tmp_path / "lock.json").read_bytes()
    with pytest.raises(PhaseError) as refused:
        opened(at(tmp_path, "R2"), row.given, check, now=2 * HOUR)
    assert row.matches(str(refused.value))
    closed(at(tmp_path, "R2"), {**row.given, "outcome": "refused"}, check)
    assert (tmp_path / "lock.json").read_bytes() == before
    assert not (tmp_path / "R2").exists()


@pytest.mark.parametrize("step", ["main", "recover", "close"])
@pytest.mark.parametrize("over", [False, True], ids=["works", "is done"])
def test_a_run_whose_lock_was_broken_does_nothing_more_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, over: bool
) -> None:
    """The first controller was not dead, only slow: it comes back while, or after, the second one works."""
    did: list[str] = []

    def act(ctx: Context) -> Report:
        did.append(step)
        return Report("done", changed=True)

    functions = dict.fromkeys(("preflight", "main", "recover", "close"), act)
    part = RestorePoint(str(tmp_path / "R1" / "1-number"))
    monkeypatch.setenv("CHANGEOPS_RUN", "R1")
    opened(at(tmp_path, "R1"), params("R1"), False)
    part.write(progress="started" if step == "recover" else "done" if step == "close" else "found")
    opened(at(tmp_path, "R2"), {**SECOND, "break_lock": "R1"}, False)
    if over:
        closed(at(tmp_path, "R2"), {**SECOND, "outcome": "succeeded"}, False)
    with pytest.raises(PhaseError) as refused:
        run_step(step, {"timeout": 10.0, "wait": 1.0}, part, functions)
    by = "its lock was broken" if over else "run R2 of kim from kim@ops2 broke its lock and rolls back C002"
    assert str(refused.value) == f"Run R1 has lost this host: {by}. It does nothing more here."
    assert did == []
    monkeypatch.setenv("CHANGEOPS_RUN", "R3")  # as for any run that holds the host
    opened(at(tmp_path, "R3"), params("R3", break_lock="R2"), False)
    mine = RestorePoint(str(tmp_path / "R3" / "1-number"))
    run_step("main", {"timeout": 10.0, "wait": 1.0}, mine, functions)
    assert did


def test_breaking_a_lock_waits_for_the_holders_work_and_says_that_it_was_ended(tmp_path: Path) -> None:
    opened(at(tmp_path, "R1"), params("R1"), False)
    code = (
        "import fcntl, json, os, subprocess, sys\n"
        "fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT); fcntl.flock(fd, fcntl.LOCK_EX)\n"
        "p = subprocess.Popen(['sleep', '600'], start_new_session=True, pass_fds=[fd], stdout=subprocess.DEVNULL)\n"
        "os.ftruncate(fd, 0)\n"
        "os.pwrite(fd, json.dumps({'label': '4-git_revert of R1', 'pid': os.getpid(), 'pgid': p.pid}).encode(), 0)\n"
        "print(p.pid, flush=True); os._exit(0)\n"
    )
    argv = [sys.executable, "-c", code, str(tmp_path / "work.lock")]
    child = int(subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True).stdout)
    with pytest.raises(PhaseError, match="This host is locked"):
        opened(at(tmp_path, "R2"), {**SECOND, "wait": 0.2}, False)
    os.kill(child, 0)  # it was left alone
    result = opened(at(tmp_path, "R2"), {**SECOND, "wait": 0.2, "break_lock": "R1"}, False)
    assert "4-git_revert of R1 was still at work on this host: it was ended after" in result["warnings"][0]
    stat = Path(f"/proc/{child}/stat")
    assert not stat.exists() or " Z " in stat.read_text()
    assert json.loads((tmp_path / "lock.json").read_text())["run"] == "R2"
