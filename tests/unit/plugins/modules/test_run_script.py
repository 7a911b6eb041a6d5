# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scripts that are really run: once, with what they need, and ended with all that they started."""

from __future__ import annotations

import base64
import fcntl
import os
import stat
import time

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.plugins.module_utils._phase import run_step
from ansible_collections.changeops.rollback.plugins.module_utils._restore_point import RestorePoint
from ansible_collections.changeops.rollback.plugins.module_utils._run_script import (
    script_main,
    script_preflight,
    script_recover,
)
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal

STEPS = {"preflight": script_preflight, "main": script_main, "recover": script_recover}
DEFAULTS = {
    "arguments": [], "recover": "", "recover_arguments": [], "directory": "", "creates": "", "follows": False,
    "script_content": None, "recover_content": None, "timeout": 60.0, "wait": 1.0,
}  # fmt: skip
DID = '#!/bin/sh\necho "$0 $*" >> did\n'


class Host:
    """A directory that scripts work in, and the steps of the phase there."""

    def __init__(self, root):
        self.root = root
        self.point = RestorePoint(str(root / "state" / "C001-1a2b" / "3-run_script"))
        self.log = self.point.part / "output.log"

    def write(self, name, text, mode=0o755):
        path = self.root / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(mode)
        return str(path)

    def run(self, step, script, check=False, **options):
        params = dict(DEFAULTS, script=script, directory=str(self.root), **options)
        return run_step(step, params, self.point, STEPS, check)

    def lines(self, name="did"):
        path = self.root / name
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


def test_it_runs_once_with_its_arguments_and_a_private_log(host):
    script = host.write("do.sh", DID + "echo said; echo cried >&2\n", 0o644)
    assert host.run("preflight", script, arguments=["a b", "$HOME"]).pending is True
    assert host.run("main", script, check=True).msg == f"Would run {script}."
    assert host.lines() == []
    first = host.run("main", script, arguments=["a b", "$HOME"])
    again = host.run("main", script, arguments=["a b", "$HOME"])
    assert host.lines() == [f"{script} a b $HOME"]
    assert (first.changed, again.changed) == (True, False)
    assert "had come to its end in this rollback already" in again.msg
    assert host.log.read_text().splitlines()[1:] == ["said", "cried"]
    assert stat.S_IMODE(host.log.stat().st_mode) == 0o600
    assert first.after["log"] == str(host.log)


def test_one_of_the_ops_repository_is_run_from_the_restore_point(host):
    content = base64.b64encode(DID.encode()).decode()
    given = {"recover": "back.sh", "recover_arguments": ["b"]}
    host.run("preflight", "sub/do.sh", script_content=content, recover_content=content, **given)
    host.run("main", "sub/do.sh")
    host.run("recover", "sub/do.sh", **given)
    scripts = host.point.part / "scripts"
    assert host.lines() == [f"{scripts}/script/do.sh ", f"{scripts}/recover/back.sh b"]
    assert stat.S_IMODE((scripts / "script" / "do.sh").stat().st_mode) == 0o700


def test_what_it_keeps_reaches_the_recover_script_which_runs_once(host):
    script = host.write("do.sh", '#!/bin/sh\necho 42 > "$ROLLBACK_KEEP/n"; exit 3\n')
    recover = host.write("back.sh", '#!/bin/sh\necho "$ROLLBACK_SCRIPT $(cat "$ROLLBACK_KEEP/n")" >> did\n')
    host.run("preflight", script, recover=recover)
    assert "had not begun here" in host.run("recover", script, recover=recover).msg
    with pytest.raises(PhaseError, match="failed with exit code 3"):
        host.run("main", script, recover=recover)
    assert host.run("recover", script, recover=recover).changed
    assert not host.run("recover", script, recover=recover).changed
    assert host.lines() == ["unfinished 42"]
    # rolled back again after that: it has to do its work anew
    host.write("do.sh", DID)
    assert host.run("main", script, recover=recover).changed
    assert host.lines()[1:] == [f"{script} "]


def test_without_a_recover_script_it_says_that_all_stays(host):
    script = host.write("do.sh", DID)
    host.run("main", script)
    report = host.run("recover", script)
    assert not report.changed
    assert report.warnings == [f"{script} has no recover script (run_script_recover), so what it did stays as it is."]


@pytest.mark.parametrize(
    ("there", "follows", "pending"), [(False, False, True), (False, True, None), (True, True, False)]
)
def test_what_is_to_be_done(host, there, follows, pending):
    script = host.write("do.sh", DID)
    creates = str(host.root / "made")
    if there:
        host.write("made", "")
    assert host.run("preflight", script, creates=creates, follows=follows).pending is pending
    host.run("main", script, creates=creates)
    assert bool(host.lines()) is not there


def test_one_that_was_cut_short_runs_again_whatever_it_has_created(host):
    script = host.write("do.sh", "#!/bin/sh\necho ran >> did; echo > made; exit $(cat code)\n")
    host.write("code", "1")
    with pytest.raises(PhaseError):
        host.run("main", script, creates=str(host.root / "made"))
    host.write("code", "0")
    assert host.run("main", script, creates=str(host.root / "made")).changed
    assert host.lines() == ["ran", "ran"]


def test_at_the_timeout_all_that_it_started_ends(host):
    script = host.write("do.sh", "#!/bin/sh\necho at work; sleep 60 & echo $! > child; wait\n")
    began = time.monotonic()
    with pytest.raises(PhaseError) as failure:
        host.run("main", script, timeout=1.0)
    assert time.monotonic() - began < 10
    assert "did not finish within 1 s. It said last: at work" in str(failure.value)
    with pytest.raises(ProcessLookupError):
        os.kill(int(host.lines("child")[0]), 0)


def test_a_server_that_it_leaves_running_does_not_keep_the_host(host):
    script = host.write("do.sh", "#!/bin/sh\nsleep 30 & echo $! > child\n")
    host.run("main", script)
    try:
        with (host.point.state_dir / "work.lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.kill(int(host.lines("child")[0]), 9)


def test_a_program_needs_no_first_line(host):
    assert host.run("preflight", "/bin/true").msg == "Will run /bin/true."


REFUSALS = [
    Refusal(
        "a script that is not on the host",
        "There is no script <root>/gone.sh on this host. Correct its path; or write it without the first '/', "
        "and it is taken from your ops repository.",
        {},
    ),
    Refusal(
        "a script that does not say what runs it",
        "<root>/do.sh does not say what runs it. Begin it with a line such as #!/bin/sh.",
        {"text": "echo hello\n"},
    ),
    Refusal(
        "a script with the line ends of Windows",
        r"The lines of <root>/do.sh end as on Windows (CR LF). Make them end in LF: sed -i 's/\r$//'.",
        {"text": "#!/bin/sh\r\necho\r\n"},
    ),
    Refusal(
        "a script for a program that is not there",
        "<root>/do.sh is to be run by /opt/gone/ruby, as its first line says, which is no program on this host.",
        {"text": "#!/opt/gone/ruby\n"},
    ),
    Refusal(
        "the same, by way of env",
        "<root>/do.sh is to be run by 'no-such-shell', as its first line says, which is not on PATH (<path>).",
        {"text": "#!/usr/bin/env no-such-shell\n"},
    ),
    Refusal(
        "a shell script with a fault",
        "<root>/do.sh is no script that /bin/sh understands: <what its shell says>",
        {"text": "#!/bin/sh\nif true; then\n"},
    ),
    Refusal(
        "a program that may not be run",
        "<root>/do.sh is a program that may not be run: chmod +x <root>/do.sh",
        {"text": b"\x7fELF\0\0", "mode": 0o644},
    ),
    Refusal(
        "a directory that is not there",
        "run_script_directory: there is no directory /no/such on this host.",
        {"text": DID, "directory": "/no/such"},
    ),
]  # fmt: skip


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.case)
def test_refused(host, refusal):
    given = dict(refusal.given)
    text, mode = given.pop("text", None), given.pop("mode", 0o755)
    script = host.write("do.sh", text, mode) if text is not None else str(host.root / "gone.sh")
    options = dict(DEFAULTS, script=script, **given)
    with pytest.raises(PhaseError) as failure:
        run_step("preflight", options, host.point, STEPS)
    assert refusal.matches(str(failure.value)), str(failure.value)
    assert host.lines() == []


def test_a_secret_in_the_last_lines_stays_in_the_log(host):
    script = host.write("do.sh", "#!/bin/sh\necho password=hunter2; exit 1\n")
    with pytest.raises(PhaseError) as failure:
        host.run("main", script, arguments=["--token=swordfish"])
    assert "hunter2" not in str(failure.value)
    assert "swordfish" not in str(failure.value)
    assert "hunter2" in host.log.read_text()
