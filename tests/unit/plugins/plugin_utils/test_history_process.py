# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who runs a rollback, and whether that process is still alive."""

from __future__ import annotations

import os
import subprocess
import typing as t

import pytest
from ansible_collections.changeops.rollback.plugins.plugin_utils import _history_process
from ansible_collections.changeops.rollback.plugins.plugin_utils._history_process import who


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
