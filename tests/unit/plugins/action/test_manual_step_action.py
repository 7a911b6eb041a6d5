# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A person who answers at a terminal, and one who has answered with the command."""

from __future__ import annotations

import getpass
import json
import os
import pty
import select
import sys
import time
import typing as t
from pathlib import Path

import pytest
import yaml

PROMPT = "Type done, failed or skip"


def at_a_terminal(path: Path, tasks: list[dict[str, t.Any]], typed: list[str]) -> str:
    """Run tasks on localhost at a terminal, type a line at each prompt; returns what was shown."""
    play = {"hosts": "localhost", "gather_facts": False, "tasks": tasks}
    play["vars"] = {"ansible_python_interpreter": sys.executable}
    (path / "play.yml").write_text(yaml.safe_dump([play]))
    environ = {
        **{name: value for name, value in os.environ.items() if name != "SUDO_USER"},
        "ANSIBLE_HOME": str(path / "home"),
        "ANSIBLE_NOCOLOR": "1",
        "XDG_STATE_HOME": str(path / "state"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(path)
        os.execvpe("ansible-playbook", ["ansible-playbook", "play.yml"], environ)
    out, until, prompts = "", time.monotonic() + 120, 0
    while time.monotonic() < until:
        ready = select.select([terminal], [], [], 1)[0]
        try:
            out += os.read(terminal, 65536).decode("utf-8", "replace") if ready else ""
        except OSError:  # the other end is closed
            break
        # What is typed before it listens is thrown away, so it is typed again when nothing comes of it.
        if out.count(PROMPT) > prompts or not ready:
            prompts = out.count(PROMPT)
            time.sleep(0.2)
            if prompts:
                os.write(terminal, f"{typed[prompts - 1]}\r".encode())
    _pid, status = os.waitpid(child, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0, out
    return out.replace("\r\n", "\n")


@pytest.fixture
def results(tmp_path: Path) -> t.Callable[[], list[dict[str, t.Any]]]:
    return lambda: json.loads((tmp_path / "results.json").read_text())


def test_a_person_answers(tmp_path: Path, results: t.Callable[[], list[dict[str, t.Any]]]) -> None:
    def step(name: str, **options: t.Any) -> dict[str, t.Any]:
        task: dict[str, t.Any] = {"changeops.rollback.manual_step": {"instructions": f"# Empty {name}", **options}}
        return {**task, "register": name, "ignore_errors": True}

    steps = [
        step("asked"),
        step("failed"),
        step("told", confirm="manual_step:done:312 purged"),
        {**step("dry"), "check_mode": True},
        step("rehearsed", step="rehearse"),
    ]
    names = ["asked", "failed", "told", "dry", "rehearsed"]
    kept = {
        "dest": f"{tmp_path}/results.json",
        "content": f"{{{{ [{', '.join(names)}] | to_json }}}}",
    }
    out = at_a_terminal(
        tmp_path, [*steps, {"ansible.builtin.copy": kept}], ["yes", "skip  the queue is gone", "failed no access"]
    )
    found = dict(zip(names, results(), strict=True))
    assert out.count(PROMPT) == 3
    for name in names[:2] + names[3:]:
        assert out.count(f"# Empty {name}") == 1
    assert "# Empty told" not in out
    asked = found["asked"]
    assert (asked["skipped"], asked["changed"], asked["confirmed"]) == (True, False, False)
    assert {name: asked["after"][name] for name in ("answer", "remark", "by")} == {
        "answer": "skip",
        "remark": "the queue is gone",
        "by": getpass.getuser(),
    }
    assert found["failed"]["failed"]
    assert found["failed"]["msg"].endswith("UTC: no access")
    assert "waiting" not in found["failed"]
    told = found["told"]
    assert (told["changed"], told["confirmed"], told["after"]["remark"]) == (True, True, "312 purged")
    assert found["dry"]["msg"] == "Would wait for a person."
    assert found["rehearsed"]["msg"] == "manual_step is going to wait for a person: Empty rehearsed"
