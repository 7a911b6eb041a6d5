# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands: argument lists, deadlines for the whole group, English, nothing secret in an error."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils._command import Commands, PhaseError, english
from ansible_collections.changeops.rollback.plugins.module_utils._redact import redact

CHARACTERS = "a b; $(touch pwned) `id` \"'\n*"


def test_arguments_never_meet_a_shell(tmp_path: Path) -> None:
    done = Commands().run([sys.executable, "-c", "import sys; print(sys.argv[1], end='')", CHARACTERS], cwd=tmp_path)
    assert done.out == CHARACTERS
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        pytest.param(["/nowhere/git"], "'/nowhere/git' could not start: No such file or directory", id="missing"),
        pytest.param([sys.executable, "-c", "raise SystemExit('broken')"], "exit code 1: broken", id="failed"),
        pytest.param(
            [sys.executable, "-c", "raise SystemExit('postgresql://u:hunter2@h/d')"], r"u:\*+@h/d", id="secret"
        ),
    ],
)
def test_an_error_is_a_sentence(argv: list[str], said: str) -> None:
    with pytest.raises(PhaseError, match=said) as caught:
        Commands().run(argv)
    assert "hunter2" not in str(caught.value)


def test_where_a_program_was_looked_for_is_named() -> None:
    with pytest.raises(PhaseError, match=r"there is no program 'uv-of-his' on PATH \(/usr/bin:/bin\)"):
        Commands(environ={"PATH": "/usr/bin:/bin"}).run(["uv-of-his"])


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(PhaseError, match="there is no directory"):
        Commands().run(["true"], cwd=tmp_path / "gone")


@pytest.mark.parametrize("daemon", [False, True], ids=["command", "daemon"])
def test_the_deadline_ends_the_whole_group(tmp_path: Path, daemon: bool) -> None:
    mark = tmp_path / "pid"
    code = (
        "import subprocess, pathlib, signal, time, sys\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"pathlib.Path({str(mark)!r}).write_text(str(p.pid))\n"
        "time.sleep(60)\n"
    )
    began = time.monotonic()
    with pytest.raises(PhaseError, match=r"did not finish within 1 s"):
        Commands(timeout=1.0).run([sys.executable, "-c", code], daemon=daemon)
    assert time.monotonic() - began < 8
    stat = Path("/proc", mark.read_text(), "stat")
    assert not stat.exists() or stat.read_text().split()[2] == "Z"


def test_one_deadline_for_all_commands() -> None:
    commands = Commands(timeout=1.0)
    commands.run(["sleep", "0.6"])
    with pytest.raises(PhaseError, match="was ended"):
        commands.run(["sleep", "0.6"])


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"LC_ALL": "de_DE.UTF-8"}, {"LC_CTYPE": "de_DE.UTF-8", "LC_MESSAGES": "C", "LANGUAGE": "C"}),
        (
            {"LANG": "fr_FR.UTF-8"},
            {"LANG": "fr_FR.UTF-8", "LC_CTYPE": "fr_FR.UTF-8", "LC_MESSAGES": "C", "LANGUAGE": "C"},
        ),
        ({}, {"LC_MESSAGES": "C", "LANGUAGE": "C"}),
    ],
)
def test_messages_are_english_and_the_character_set_stays(environ: dict, expected: dict) -> None:
    assert english(environ) == expected


def test_a_daemon_keeps_neither_pipes_nor_descriptors(tmp_path: Path) -> None:
    """A service left behind must not hold the work lock, nor keep us waiting for the end of its output."""
    path = tmp_path / "lock"
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    os.set_inheritable(fd, False)
    code = "import subprocess; p = subprocess.Popen(['sleep', '30']); print(p.pid, flush=True)"
    began = time.monotonic()
    done = Commands(inherit=[fd]).run([sys.executable, "-c", code], daemon=True)
    pid = int(done.out)
    try:
        assert time.monotonic() - began < 5
        held = [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]
        assert str(path) not in held
    finally:
        os.kill(pid, 9)
        os.close(fd)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql+psycopg://dana:pa:ss@db/shop", "postgresql+psycopg://dana:********@db/shop"),
        ("https://host/path?x=1", "https://host/path?x=1"),
        (
            "see https://ghp_abcdef@host/shop and ssh://git@host/a",
            "see https://********@host/shop and ssh://git@host/a",
        ),
        ("https://host/~dana@example.org", "https://host/~dana@example.org"),
        ("DB_PASSWORD=abc next", "DB_PASSWORD=******** next"),
        ('{"api_key": "abc def", "port": 1}', '{"api_key": ********, "port": 1}'),
        ("token: xyz", "token: ********"),
        ("monkey = 3", "monkey = 3"),
    ],
)
def test_redact(text: str, expected: str) -> None:
    assert redact(text) == expected


def test_redact_is_quick_on_a_long_word() -> None:
    began = time.monotonic()
    assert redact("x" * 200_000) == "x" * 200_000
    assert time.monotonic() - began < 1
