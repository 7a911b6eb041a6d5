# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""verify's checks of logs: files that are rotated in every way, and a real journal."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import time

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils._command import Commands, PhaseError
from ansible_collections.changeops.rollback.plugins.module_utils._log_level import is_worse
from ansible_collections.changeops.rollback.plugins.module_utils._log_marks import mark_start
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.verify_bench import evidence, results, run
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal

TRACE = """\
Traceback (most recent call last):
  File "shop.py", line 3, in <module>
    raise ValueError("password=hunter2")
ValueError: password=hunter2
"""
WORSE = [
    "2026-11-25 02:00:00,123 ERROR shop.views: no such table",
    "2026-11-25 02:00:00,123 - shop - CRITICAL - gone",
    "ERROR:root:gone",
    "ERROR:    Exception in ASGI application",
    "[2026-11-25 02:00:00 +0000] [12] [ERROR] Worker exited",
    "2026/11/25 02:00:00 [error] 12#0: *1 connect() failed",
    "[Wed Nov 25 02:00:00 2026] [core:crit] [pid 1] no space",
    "2026-11-25 02:00:00 UTC [12] FATAL:  the database system is shutting down",
    'time=2026-11-25T02:00:00Z level=error msg="gone"',
    '{"level": "error", "message": "gone"}',
    '{"severity": "CRITICAL", "message": "all is INFO"}',
    '{"level": 50, "msg": "gone"}',
    '{"log": {"level": "fatal"}, "message": "gone"}',
    "<3>gone",
    "<11>Nov 25 02:00:00 host app: gone",
    "E1125 02:00:00.000000 12 main.go:7] gone",
    "Traceback (most recent call last):",
    "panic: runtime error: index out of range",
    "thread 'main' panicked at src/main.rs:2:5:",
    'Exception in thread "main" java.lang.NullPointerException',
    "E, [2026-11-25T02:00:00.1 #12] ERROR -- : gone",
    "error: cannot open",
]
FINE = [
    "",
    "2026-11-25 02:00:00,123 INFO the page /ERROR shows ERROR",
    "2026-11-25 02:00:00,123 WARNING disk at 81 %, ERROR at 90 %",
    "WARNING:root:0 errors",
    '127.0.0.1 - - "GET /error?level=error HTTP/1.1" 200 12',
    '127.0.0.1 - - "GET /api/ERROR/1 HTTP/1.1" 200 12',
    "no error, failures=0",
    'time=2026-11-25T02:00:00Z level=info msg="error budget is fine"',
    '{"level": "info", "message": "ERROR is a word"}',
    '{"level": 40, "msg": "a warning of pino"}',
    '{"status": 500, "error": null}',
    "[1, 2]",
    "{" * 100_000,
    "<4>careful",
    "<12>Nov 25 02:00:00 host app: ERROR is what it says",
    "W1125 02:00:00.000000 12 main.go:7] ERROR",
    "2026/11/25 02:00:00 [warn] 12#0: [error] is only quoted",
    "MY_ERROR=1 ERROR_RATE=0.1",
]


@pytest.mark.parametrize("line", WORSE)
def test_worse_than_a_warning(line):
    assert is_worse(line)


@pytest.mark.parametrize("line", FINE)
def test_not_worse_than_a_warning(line):
    assert not is_worse(line)


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "logs" / "app.log"
    path.parent.mkdir()
    path.write_text("ERROR of the bad release\n" * 3)
    (path.parent / "app.log.1").write_text("ERROR long ago\n")
    (path.parent / "app-worker.log").write_text("ERROR of another log\n")
    return path


def write(path, text):
    with path.open("a") as stream:
        stream.write(text)


def start(tmp_path):
    """What service_start does right before it starts anything."""
    assert mark_start(tmp_path / "state" / "R1", Commands(10.0)) == []


def test_only_what_came_since_the_start_counts(tmp_path, log):
    check = {"name": "log", "log": {"path": str(log)}}
    run(tmp_path, "preflight", check)
    write(log, "ERROR while it was stopped\n")
    start(tmp_path)
    assert evidence(tmp_path, check) == (True, "nothing worse than warning in 0 lines since service_start began")
    write(log, "INFO up\nWARNING careful\n")
    assert evidence(tmp_path, check) == (True, "nothing worse than warning in 2 lines since service_start began")
    write(log, f"{TRACE}INFO going on\nERROR token=hunter2 refused\nFATAL end\n")
    assert evidence(tmp_path, check) == (
        False,
        "3 lines worse than warning since service_start began: ValueError: password=******** / "
        "ERROR token=******** refused / and 1 more",
    )


def test_without_service_start_it_is_since_preflight(tmp_path, log):
    check = {"name": "log", "log": {"path": str(log)}}
    run(tmp_path, "preflight", check)
    write(log, "ERROR new\n")
    assert evidence(tmp_path, check) == (False, "1 line worse than warning since verify's preflight: ERROR new")


def test_a_resumed_run_keeps_the_mark(tmp_path, log):
    check = {"name": "log", "log": {"path": str(log)}}
    run(tmp_path, "preflight", check)
    start(tmp_path)
    write(log, "ERROR new\n")
    run(tmp_path, "preflight", check)
    assert not evidence(tmp_path, check)[0]
    other = {"name": "other", "log": {"path": str(log.parent / "app-worker.log")}}
    found = results(tmp_path, check, other)
    assert found["other"]["evidence"].startswith("preflight of this run took down nothing to compare with")


@pytest.mark.parametrize(
    ("options", "ok"),
    [
        ({}, False),
        ({"ignore": ["^ERROR known"]}, True),
        ({"ignore": ["^known"]}, False),
        ({"worse": "known"}, False),
        ({"worse": "^CRITICAL"}, True),
        ({"worse": "known", "ignore": ["ERROR"]}, True),
    ],
)
def test_patterns(tmp_path, log, options, ok):
    check = {"log": {"path": str(log), **options}}
    run(tmp_path, "preflight", check)
    write(log, "ERROR known since 2019\n")
    assert evidence(tmp_path, check)[0] is ok


def rename(log):
    shutil.move(str(log), str(log) + ".1")
    log.write_text("INFO first of the new file\n")


def rename_by_date(log):
    shutil.move(str(log), str(log.parent / "app-2026-11-25.log"))
    log.write_text("INFO first of the new file\n")


def rename_twice(log):
    shutil.move(str(log), str(log) + ".2")
    (log.parent / "app.log.1").unlink()
    log.write_text("INFO first\nERROR in between\n")
    os.utime(str(log) + ".2", (1, 1))
    shutil.move(str(log), str(log) + ".1")
    log.write_text("INFO first of the new file\n")


def copy_and_empty(log):
    shutil.copy(str(log), str(log) + ".2")
    log.write_text("INFO first of the new file\n")


def pack(log):
    with gzip.open(str(log) + ".2.gz", "wb") as packed:
        packed.write(log.read_bytes())
    log.unlink()
    log.write_text("INFO first of the new file\n")


def move_without_a_new_one(log):
    shutil.move(str(log), str(log) + ".1")


@pytest.mark.parametrize(
    ("rotate", "lines"),
    [
        (rename, 3),
        (rename_by_date, 3),
        (rename_twice, 5),
        (copy_and_empty, 3),
        (pack, 3),
        (move_without_a_new_one, 2),
    ],
)
@pytest.mark.parametrize("new", ["INFO fine", "ERROR new"])
def test_rotated(tmp_path, log, rotate, lines, new):
    """What came between the mark and the rotation counts, what came before the mark does not."""
    check = {"log": {"path": str(log)}}
    run(tmp_path, "preflight", check)
    write(log, f"INFO before the rotation\n{new}\n")
    rotate(log)
    between = " in between" if rotate is rename_twice else ""
    bad = [line for line in (new, between and "ERROR in between") if line.startswith("ERROR")]
    since = "since verify's preflight"
    says = {
        0: f"nothing worse than warning in {lines} lines {since}",
        1: f"1 line worse than warning {since}: {' / '.join(bad)}",
        2: f"2 lines worse than warning {since}: {' / '.join(bad)}",
    }[len(bad)]
    assert evidence(tmp_path, check) == (not bad, says)


def test_a_log_that_is_lost_does_not_hold(tmp_path, log):
    check = {"log": {"path": str(log)}}
    run(tmp_path, "preflight", check)
    log.unlink()
    (log.parent / "app.log.1").unlink()
    holds, said = evidence(tmp_path, check)
    assert (holds, said) == (
        False,
        f"{log} was rotated or removed since, and what it was rotated to cannot be found beside it",
    )


def test_a_long_log_ends_at_the_timeout(tmp_path, log):
    check = {"log": {"path": str(log)}, "timeout": 0.05}
    run(tmp_path, "preflight", check)
    write(log, "2026-11-25 02:00:00 INFO fine\n" * 200_000)
    begun = time.monotonic()
    assert evidence(tmp_path, check) == (False, "not read within 0.05 s")
    assert time.monotonic() - begun < 2


# --- the journal

ENTRY = """\
__REALTIME_TIMESTAMP={clock}
__MONOTONIC_TIMESTAMP={number}
_BOOT_ID=6a1f0a2a2b4a4a8e9d3a5b1c2d3e4f50
{unit}
PRIORITY={priority}
MESSAGE={text}

"""


class Journal:
    """A journal in a folder, written by systemd's own program and read by the real journalctl."""

    def __init__(self, folder, remote):
        self.folder = folder
        self.remote = remote
        self.count = 0
        self.clock = 10**15  # microseconds
        folder.mkdir()
        real = shutil.which("journalctl")
        fake = folder.parent / "bin" / "journalctl"
        fake.parent.mkdir()
        fake.write_text(f'#!/bin/sh\nexec {real} --directory={folder} "$@"\n')
        fake.chmod(0o755)

    def write(self, *entries, unit="_SYSTEMD_UNIT=shop-web.service"):
        """Another file with ``(priority, text)`` entries."""
        text = ""
        for priority, message in entries:
            self.count += 1
            clock = self.clock + self.count
            text += ENTRY.format(clock=clock, number=self.count, unit=unit, priority=priority, text=message)
        argv = [self.remote, "-o", str(self.folder / f"{self.count}.journal"), "-"]
        subprocess.run(argv, input=text.encode(), check=True, capture_output=True)


@pytest.fixture
def journal(tmp_path, monkeypatch):
    remote = "/lib/systemd/systemd-journal-remote"
    if not os.path.exists(remote) or not shutil.which("journalctl"):
        pytest.skip("systemd-journal-remote is not installed here (apt-get install systemd-journal-remote)")
    made = Journal(tmp_path / "journal", remote)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return made


@pytest.mark.parametrize("jump", [0, -3600, 3600])
def test_the_journal_since_the_start(tmp_path, journal, jump):
    """Also when the clock is set right by an hour while the service starts."""
    check = {"name": "journal", "journal": {"unit": "shop-web"}}
    journal.write((6, "up"), (3, "of the bad release"))
    run(tmp_path, "preflight", check)
    journal.write((3, "while it stops"))
    journal.write((6, "the last entry is somebody else's"), unit="_SYSTEMD_UNIT=other.service")
    start(tmp_path)
    journal.clock += jump * 10**6
    assert evidence(tmp_path, check) == (True, "nothing worse than warning in 0 lines since service_start began")
    journal.write((6, "up"), (4, "careful"))
    journal.write((3, "of somebody else"), unit="_SYSTEMD_UNIT=other.service")
    assert evidence(tmp_path, check) == (True, "nothing worse than warning in 2 lines since service_start began")
    # what an app prints has priority 6 in the journal, whatever it says
    journal.write((3, "cannot bind"), (6, "ERROR token=hunter2 refused"), (2, "gone"))
    assert evidence(tmp_path, check) == (
        False,
        "3 lines worse than warning since service_start began: cannot bind / ERROR token=******** refused / and 1 more",
    )
    ignored = {"journal": {"unit": "shop-web", "ignore": ["bind", "refused"]}, "name": "journal"}
    assert evidence(tmp_path, ignored) == (False, "1 line worse than warning since service_start began: gone")


def test_the_journal_of_a_user_unit_and_of_bytes(tmp_path, journal):
    mine = f"_UID={os.geteuid()}\n_SYSTEMD_USER_UNIT=shop-web.service"
    journal.write((6, "up"), unit=mine)
    check = {"journal": {"unit": "shop-web", "scope": "user"}}
    run(tmp_path, "preflight", check)
    journal.write((6, "colour \x1b[31m and more"), (3, "\x1b[31mred"), unit=mine)
    holds, said = evidence(tmp_path, check)
    assert not holds and said.startswith("1 line worse than warning since verify's preflight: ") and "red" in said


REFUSALS = [
    Refusal(
        "a log file that is not there",
        "Check '<name>': there is no log file <path> on this host. Correct `path`.",
        {"log": {"path": "/nowhere/app.log"}},
    ),
    Refusal(
        "a regular expression that is none",
        "Check '<name>': '(' in `ignore` is no regular expression: missing ), unterminated subpattern at position 0. "
        "Correct it.",
        {"log": {"path": "/nowhere/app.log", "ignore": ["("]}},
    ),
    Refusal(
        "the journal of a unit that has written nothing, or that this user may not read",
        "Check 'journal of shop-wbe': the journal holds nothing of shop-wbe that this user can read. Correct `unit` or "
        "`scope`, set become: true on the phase, or add the user to the group systemd-journal.",
        {"journal": {"unit": "shop-wbe"}},
    ),
]


@pytest.mark.parametrize("row", REFUSALS, ids=[row.case for row in REFUSALS])
def test_refused(tmp_path, journal, row):
    journal.write((6, "up"))
    with pytest.raises(PhaseError) as caught:
        run(tmp_path, "preflight", row.given)
    assert row.matches(str(caught.value)), str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_log_that_may_not_be_read_is_refused(tmp_path, log):
    log.chmod(0)
    with pytest.raises(PhaseError, match=r"app\.log cannot be read \(Permission denied\)\. Read it as another user"):
        run(tmp_path, "preflight", {"log": {"path": str(log)}})


def test_a_host_without_a_journal_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PhaseError, match=r"there is no program journalctl on this host. Use a `log` check"):
        run(tmp_path, "preflight", {"journal": {"unit": "shop-web"}})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_root_leaves_the_mark_to_the_user_who_reads_it(tmp_path, log):
    run(tmp_path, "preflight", {"log": {"path": str(log)}})
    part = tmp_path / "state" / "R1" / "verify"
    os.chown(str(part), 65534, 65534)
    start(tmp_path)
    status = (part / "logs.json").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (65534, 65534, 0o600)


def test_a_mark_that_cannot_be_noted_is_a_warning(tmp_path, log):
    """It must not keep the service from starting."""
    run(tmp_path, "preflight", {"log": {"path": str(log)}})
    shutil.rmtree(str(log.parent))
    (warning,) = mark_start(tmp_path / "state" / "R1", Commands(10.0))
    assert warning.startswith("Where the logs end now could not be noted for verify (")
