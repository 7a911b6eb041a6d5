# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The progress display under real ansible-playbook runs: in a log, and on a terminal that is 50 columns wide."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.changeops.rollback.tests.unit.plugins.callback import test_observer

Ops, small_run = test_observer.Ops, test_observer.ops

WIDTH = 50
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@pytest.fixture
def ops(small_run: Ops) -> Ops:
    small_run.environ |= {"ANSIBLE_STDOUT_CALLBACK": "changeops.rollback.progress", "NO_COLOR": "1", "TERM": "xterm"}
    return small_run


class Terminal:
    """ansible-playbook at a terminal."""

    def __init__(self, ops: Ops, *arguments: str) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, WIDTH, 0, 0))
        program = str(Path(sys.executable).parent / "ansible-playbook")
        command = [program, "-i", "inventory.yml", "rollback.yml", *arguments]
        self.process = subprocess.Popen(command, cwd=ops.path, env=ops.environ, stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        self.text = ""

    def read(self, until: t.Callable[[str], bool] | None = None, timeout: float = 60) -> str:
        """All that is written, to its end or until something is so."""
        end = time.monotonic() + timeout
        while not until or not until(self.text):
            assert time.monotonic() < end, self.text
            try:
                data = os.read(self._master, 4096)
            except OSError:  # that is how a terminal ends
                data = b""
            if not data:
                assert not until, self.text
                break
            self.text += data.decode(errors="replace")
        return self.text


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines()]


def test_a_log_has_a_line_for_each_phase_and_each_failure_once(ops: Ops) -> None:
    role = ops.path / "roles" / "phase" / "tasks" / "main.yml"
    said = [
        {"ansible.builtin.debug": {"msg": "a message of {{ item }}"}, "loop": ["one", "two"], "run_once": True},
        {"ansible.builtin.command": {"argv": ["sh", "-c", "echo no space, token=abc >&2; exit 1"]}},
    ]  # fmt: skip
    first = yaml.safe_load(role.read_text())
    role.write_text(yaml.safe_dump([*first, *[{**task, "when": "__run_phase.index == 2"} for task in said]]))
    code, out = ops.run("-e", "rescued_on=web1", "-e", "skipped_on=web2")
    assert code == 2, out
    assert not CONTROL.search(out)
    shown = lines(out)
    expected = [
        r"C001: roll back C001 \(run .*\)",
        "web1, web2: Ready.|web2, web1: Ready.",
        r"ok      preflight +2 of 2 phases \d.*",
        "web1: Did it; token=.*",
        "web1: '.*' failed, which is dealt with: first try",
        "web1: '.*' failed, which is ignored: never mind, token=.*",
        r"ok      first +2 of 2 hosts .*",
        "a message of one",
        "a message of two",
        r"failed  second on web[12]: (.* )?non-zero return code.*",
        r"  \| no space, token=\*+",
        r"failed  second on web[12]: (as on web[12]|(.* )?non-zero return code.*)",
        r"failed  second +0 of 2 hosts .*",
        r"ok      recover second +2 of 2 hosts .*",
        r"ok      recover first +2 of 2 hosts .*",
        r"C001: recovered after .*",
    ]
    found = iter(shown)
    for pattern in expected:
        assert any(re.fullmatch(pattern, line) for line in found), (
            f"{pattern} is not there, or not in its place:\n{out}"
        )
    assert "token=abc" not in out
    assert "TASK [phase" not in out and '"rc": 1' not in out
    assert out.count("PLAY RECAP") == 1, "the play is not of this collection, so it has what Ansible's own display has"


def test_verbose_is_as_without_it(ops: Ops) -> None:
    code, out = ops.run("-v", "--check")
    assert code == 0, out
    assert "TASK [phase : " in out and "ok: [web1] =>" in out
    assert "C001: roll back" not in out


def test_a_terminal_has_a_bar_that_leaves_nothing_behind(ops: Ops) -> None:
    terminal = Terminal(ops, "-e", "sleep_in=2")
    terminal.read(until=lambda text: (ops.path / "working").exists() and "second ━" in text)
    terminal.process.send_signal(signal.SIGTERM)
    out = terminal.read()
    assert terminal.process.wait(20) == -signal.SIGTERM
    assert "\x1b[?25l" not in out, "the cursor is never hidden, so nothing has to show it again"
    assert re.search(r"ok +first 2/2 |ok +first +2 of 2 hosts", out)
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", out), "no color"
    assert "C001: interrupted after " in out and "while main of second ran on web1 and web2." in " ".join(out.split())
    last = out.index("C001: interrupted")
    assert re.search(r"\x1b\[1A\x1b\[2K$", out[:last]), "the bar is wiped out"
    assert not CONTROL.search(out[last:].replace("\r\n", "\n")), "and nothing moves any more"


def test_a_dumb_terminal_has_plain_lines(ops: Ops) -> None:
    ops.environ["TERM"] = "dumb"
    terminal = Terminal(ops)
    out = terminal.read()
    assert terminal.process.wait(20) == 0
    assert "━" not in out and "\x1b" not in out
    phases = [line for line in lines(out) if re.match("ok +(first|second) +2 of 2 hosts ", line)]
    assert len(phases) == 2
    assert max(map(len, phases)) <= WIDTH
