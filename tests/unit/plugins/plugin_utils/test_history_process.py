# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who runs a rollback, and whether that process is still alive."""

from __future__ import annotations

import datetime
import os
import subprocess
import typing as t

import pytest
from ansible_collections.changeops.rollback.plugins.plugin_utils import _history_process
from ansible_collections.changeops.rollback.plugins.plugin_utils._history_process import (
    Process,
    alive,
    silence_words,
    this_process,
    who,
)


@pytest.mark.parametrize(
    ("variables", "environ", "person", "place"),
    [
        ({"awx_job_id": 12, "awx_user_name": "lee"}, {}, "lee", "AWX job 12"),
        ({"tower_job_id": "12", "tower_user_name": "lee"}, {}, "lee", "AWX job 12"),
        ({"awx_job_id": 12, "awx_schedule_name": "nightly"}, {}, "schedule nightly", "AWX job 12"),
        ({"awx_job_id": 12, "awx_workflow_job_id": 3}, {}, "AWX", "AWX job 12 of workflow 3"),
        ({}, {"SUDO_USER": "dana"}, "dana", None),
    ],
)
def test_who(variables: dict[str, t.Any], environ: dict[str, str], person: str, place: str | None) -> None:
    found = who(variables, environ)
    assert found[0] == person
    assert found[1] == place or (place is None and "@" in found[1])


def test_a_zombie_is_not_alive() -> None:
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert _history_process.started(child.pid) == ""
    child.wait()
    assert _history_process.started(os.getpid()) != ""


HERE = this_process(os.getpid())
NOW = datetime.datetime(2026, 11, 22, 23, 15, tzinfo=datetime.UTC)
# In another container, a process may have our host name and our process id; on another machine, the same start too.
TWIN = {**vars(HERE), "machine": "another boot pid:[4026531836]"}
UNKNOWN = {**vars(HERE), "machine": "", "pid": 2**22 + 1}


@pytest.mark.parametrize(
    ("run", "here", "silent", "lives"),
    [
        pytest.param(vars(HERE), HERE, 3600, True, id="this process, however silent"),
        pytest.param({**vars(HERE), "pid_started": "1"}, HERE, 0, False, id="a process id that was given again"),
        pytest.param(TWIN, HERE, 59, True, id="a twin in another container that beats"),
        pytest.param(TWIN, HERE, 61, False, id="a twin in another container that is silent"),
        pytest.param(UNKNOWN, Process(**{**vars(HERE), "machine": ""}), 59, True, id="not known to be near"),
        pytest.param(UNKNOWN, Process(**{**vars(HERE), "machine": ""}), 61, False, id="not known to be near, silent"),
    ],
)
def test_what_is_near_is_known_by_its_process_and_all_else_by_its_heartbeat(
    run: dict[str, t.Any], here: Process, silent: float, lives: bool
) -> None:
    beat = {**run, "heartbeat": (NOW - datetime.timedelta(seconds=silent)).isoformat()}
    assert alive(beat, here, NOW) is lives
    assert bool(silence_words(beat, here, NOW)) is not (run["machine"] == HERE.machine)
