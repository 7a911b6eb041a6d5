# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real ansible-playbook for what works on the controller."""

from __future__ import annotations

import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml


def ansible_playbook(path: Path, tasks: list[dict[str, t.Any]], **variables: t.Any) -> str:
    """Run tasks on localhost, with all state below ``path``; returns what is printed."""
    variables["ansible_python_interpreter"] = sys.executable
    play = {"hosts": "localhost", "gather_facts": False, "vars": variables, "tasks": tasks}
    (path / "play.yml").write_text(yaml.safe_dump([play]))
    environ = {
        **os.environ,
        "XDG_STATE_HOME": str(path / "state"),
        "ANSIBLE_HOME": str(path / "home"),
        "COLUMNS": "160",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    command = ["ansible-playbook", "play.yml"]
    done = subprocess.run(command, cwd=path, env=environ, text=True, capture_output=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def run_tasks() -> t.Callable[..., str]:
    return ansible_playbook
