# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's lock and the restore point as a whole, on a real directory with real processes."""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import subprocess
import sys
import tempfile
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.plugins.module_utils._restore_point import (
    RestorePoint,
    WorkLock,
    told,
    write_json,
)
from ansible_collections.changeops.rollback.plugins.module_utils._run_close import closed, prune
from ansible_collections.changeops.rollback.plugins.module_utils._run_point import RunPoint, account, checked, opened
from ansible_collections.changeops.rollback.plugins.module_utils._shared import share
from ansible_collections.changeops.rollback.plugins.module_utils._words import age
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal


def params(run: str, **changes: object) -> dict:
    base = {
        "run": run,
        "change": "C001",
        "title": "Add invoice totals",
        "plan_digest": "d1",
        "executed_by": "dana",
        "controller": "dana@ops1",
        "finished_runs": [],
        "break_lock": "",
        "wait": 5.0,
        "keep": 5,
        "accounts": [],
        "outcome": None,
        "undo": False,
        "undo_run": "",
    }
    return {**base, **changes}


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def point(state: Path, name: str) -> RunPoint:
    return RunPoint(str(state / name))


def work(state: Path, name: str, **noted: object) -> None:
    """Note what a phase module would have noted."""
    RestorePoint(str(state / name / "1-git_revert")).write(**noted)


@pytest.mark.parametrize(
    ("first", "second", "refusal"),
    [
        pytest.param(params("R1"), params("R2"), "locked: C001 is being rolled back by dana from dana@ops1", id="two"),
        pytest.param(params("R1"), params("R2", change="C002"), "-e break_lock=R1", id="another change"),
        pytest.param(params("R1"), params("R2", finished_runs=["R1"]), None, id="the history knows that it is over"),
        pytest.param(params("R1"), params("R2", break_lock="R1"), None, id="broken by name"),
        pytest.param(params("R1"), params("R2", break_lock="R0"), "locked", id="broken by a wrong name"),
        pytest.param(params("R1"), params("R1"), None, id="the same run again"),
    ],
)
def test_one_run_at_a_time(state: Path, first: dict, second: dict, refusal: str | None) -> None:
    opened(point(state, first["run"]), first, check=False)
    if refusal is None:
        opened(point(state, second["run"]), second, check=False)
        assert json.loads((state / "lock.json").read_text())["run"] == second["run"]
    else:
        with pytest.raises(PhaseError, match=refusal):
            opened(point(state, second["run"]), second, check=False)
        assert json.loads((state / "lock.json").read_text())["run"] == first["run"]


def test_a_resumed_run_takes_the_lock_of_its_restore_point(state: Path) -> None:
    opened(point(state, "R1"), params("R1"), check=False)
    result = opened(point(state, "R1"), params("R2"), check=False)
    assert result["resumed"] is True
    assert json.loads((state / "lock.json").read_text())["run"] == "R2"


def test_an_edited_plan_does_not_resume(state: Path) -> None:
    opened(point(state, "R1"), params("R1"), check=False)
    with pytest.raises(PhaseError, match="was edited since run R1 began"):
        opened(point(state, "R1"), params("R2", plan_digest="d2"), check=False)


def test_check_mode_writes_nothing(state: Path) -> None:
    opened(point(state, "R1"), params("R1"), check=True)
    assert not state.exists()


def test_a_host_that_another_run_left_half_way_is_refused(state: Path) -> None:
    opened(point(state, "R1"), params("R1"), check=False)
    work(state, "R1", progress="started", changed=True)
    closed(point(state, "R1"), params("R1", outcome="failed"), check=False)
    with pytest.raises(PhaseError, match="C001 was left half-way on this host by run R1"):
        opened(point(state, "R2"), params("R2", change="C002"), check=False)
    opened(point(state, "R2"), params("R2", change="C002", break_lock="R1"), check=False)
    assert json.loads((state / "R1" / "run.json").read_text())["outcome"] == "abandoned"


@pytest.mark.parametrize(
    ("noted", "outcome", "kept", "finished"),
    [
        pytest.param({"progress": "done", "changed": True}, "succeeded", True, True, id="did something"),
        pytest.param({"progress": "done", "changed": False}, "succeeded", False, True, id="nothing to do"),
        pytest.param({"progress": "found"}, "refused", False, True, id="refused"),
        pytest.param({"progress": "started", "changed": True}, "refused", True, False, id="refused while resuming"),
        pytest.param({"progress": "recovered", "changed": True}, "recovered", True, True, id="recovered"),
        pytest.param({"progress": "started"}, "failed", True, False, id="half-way"),
    ],
)
def test_what_close_keeps(state: Path, noted: dict, outcome: str, kept: bool, finished: bool) -> None:
    opened(point(state, "R1"), params("R1"), check=False)
    work(state, "R1", **noted)
    part = RestorePoint(str(state / "R1" / "1-git_revert"))
    part.scratch()
    part.reserve()
    closed(point(state, "R1"), params("R1", outcome=outcome), check=False)
    assert (state / "R1").exists() is kept
    assert not (state / "lock.json").exists()
    assert not (part.part / "reserve").exists()
    if kept:
        assert (json.loads((state / "R1" / "run.json").read_text())["outcome"] is not None) is finished
        assert (state / "R1" / "1-git_revert" / "scratch").exists() is not finished
        assert (state / "R1").stat().st_mode & 0o777 == 0o700
        assert (state / "R1" / "run.json").stat().st_mode & 0o777 == 0o600


def test_close_leaves_the_lock_of_another_run(state: Path) -> None:
    opened(point(state, "R1"), params("R1"), check=False)
    opened(point(state, "R2"), params("R2", break_lock="R1"), check=False)
    closed(point(state, "R1"), params("R1", outcome="refused"), check=False)
    assert json.loads((state / "lock.json").read_text())["run"] == "R2"


def test_what_a_run_that_died_in_its_preflights_left_is_removed(state: Path) -> None:
    opened(point(state, "R1"), params("R1"), check=False)
    work(state, "R1", progress="found")
    opened(point(state, "R2"), params("R2", finished_runs=["R1"]), check=False)
    assert sorted(path.name for path in state.iterdir() if path.is_dir()) == ["R2"]


def test_prune_keeps_the_newest_and_everything_unfinished(state: Path) -> None:
    for number in range(6):
        name = f"R{number}"
        opened(point(state, name), params(name), check=False)
        work(state, name, progress="done" if number else "started", changed=True)
        outcome = "succeeded" if number else "failed"
        if number == 0:  # stays open; moved aside so that the next runs are not refused
            (state / name).rename(state.parent / name)
            (state / "lock.json").unlink()
            continue
        closed(point(state, name), params(name, outcome=outcome), check=False, now=float(number))
    (state.parent / "R0").rename(state / "R0")
    assert sorted(prune(state, 2)) == ["R1", "R2", "R3"]
    assert sorted(prune(state, 0)) == ["R4"]
    assert (state / "R0").exists()
    assert (state / "R5").exists()


def test_a_clock_that_was_set_back_fools_nobody(state: Path) -> None:
    """The newest restore point stays the newest, and no age is negative."""
    for name, now in (("R1", 7200.0), ("R2", 3600.0)):
        opened(point(state, name), params(name), check=False, now=now)
        work(state, name, progress="done", changed=True)
        if name == "R2":
            with pytest.raises(PhaseError, match="since 0 s"):
                opened(point(state, "R3"), params("R3"), check=False, now=60.0)
        closed(point(state, name), params(name, outcome="succeeded", keep=1), check=False, now=now)
    assert [path.name for path in state.iterdir() if path.is_dir()] == ["R2"]


@pytest.mark.parametrize(("seconds", "ended"), [(0.4, False), (60, True)], ids=["waits", "ends it"])
def test_a_resume_never_works_beside_what_was_left_behind(state: Path, seconds: float, ended: bool) -> None:
    """The controller is gone, its child works on: holds the work lock through an inherited descriptor."""
    opened(point(state, "R1"), params("R1"), check=False)
    code = (
        "import fcntl,os,json,subprocess,sys,time\n"
        f"fd=os.open({str(state / 'work.lock')!r},os.O_RDWR|os.O_CREAT)\n"
        "fcntl.flock(fd,fcntl.LOCK_EX)\n"
        f"p=subprocess.Popen(['sleep','{seconds}'],start_new_session=True,pass_fds=[fd],stdout=subprocess.DEVNULL)\n"
        "os.ftruncate(fd,0)\n"
        "os.pwrite(fd,json.dumps({'label':'1-git_revert of R1','pid':os.getpid(),'pgid':p.pid}).encode(),0)\n"
        "print(p.pid,flush=True)\n"
        "os._exit(0)\n"
    )
    child = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    began = time.monotonic()
    result = opened(point(state, "R1"), params("R2", wait=1.0), check=False)
    assert time.monotonic() - began < 10
    assert ("ended after" in result["warnings"][0]) is ended
    with (state / "work.lock").open() as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    for _attempt in range(100):
        if (
            not Path(f"/proc/{int(child.stdout)}").exists()
            or "Z" in Path(f"/proc/{int(child.stdout)}/stat").read_text()
        ):
            break
        time.sleep(0.05)
    else:
        pytest.fail("what was left behind still works")


def test_work_that_belongs_to_nobody_known_is_not_ended(state: Path) -> None:
    state.mkdir()
    with (state / "work.lock").open("w") as stream:
        stream.write(json.dumps({"label": "git_revert of standalone", "pid": os.getpid()}))
        stream.flush()
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(PhaseError, match="git_revert of standalone still works on this host"):
            opened(point(state, "R1"), params("R1", wait=0.2), check=False)


def test_prune_takes_the_git_ref_with_it(state: Path, tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    git = ["git", "-C", str(repo), "-c", "user.name=x", "-c", "user.email=x@localhost"]
    subprocess.run(["git", "init", "-q", str(repo)], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "one"], check=True)
    for name in ("R1", "R2"):
        ref = f"refs/changeops/{name}/before"
        subprocess.run([*git, "update-ref", ref, "HEAD"], check=True)
        opened(point(state, name), params(name), check=False)
        work(state, name, progress="done", changed=True)
        (state / name / "1-git_revert" / "manifest.json").write_text(
            json.dumps({"code": {"repo": str(repo), "ref": ref}})
        )
        closed(point(state, name), params(name, outcome="succeeded", keep=1), check=False)
    refs = subprocess.run([*git, "for-each-ref", "--format=%(refname)"], stdout=subprocess.PIPE, text=True, check=True)
    assert "refs/changeops/R1/before" not in refs.stdout
    assert "refs/changeops/R2/before" in refs.stdout


def test_checked_reads_what_the_phases_noted(state: Path) -> None:
    opened(point(state, "R1"), params("R1"), check=False)
    work(state, "R1", progress="found", pending=None)
    assert checked(point(state, "R1"))["pending"] is False
    RestorePoint(str(state / "R1" / "2-alembic_downgrade")).write(progress="found", pending=True)
    result = checked(point(state, "R1"))
    assert result["pending"] is True
    assert result["started"] is False
    assert result["progress"] == {"1-git_revert": "found", "2-alembic_downgrade": "found"}


@pytest.mark.parametrize(
    ("progress", "pending", "unfinished"),
    [
        ("done", False, False),
        ("done", None, False),
        ("done", True, True),
        ("started", False, True),
        ("found", None, True),
    ],
)
def test_a_host_is_finished_when_every_phase_is_done(
    state: Path, progress: str, pending: bool | None, unfinished: bool
) -> None:
    opened(point(state, "R1"), params("R1"), check=False)
    RestorePoint(str(state / "R1" / "1-backup")).write(progress="done", pending=None)
    work(state, "R1", progress=progress, pending=pending)
    assert checked(point(state, "R1"))["unfinished"] is unfinished


@pytest.mark.parametrize(
    ("seconds", "said"), [(3, "3 s"), (200, "3 min"), (3600 * 3 + 300, "3 h 5 min"), (86400 * 4, "4 d")]
)
def test_age(seconds: float, said: str) -> None:
    assert age(seconds) == said


@pytest.fixture
def open_place() -> t.Iterator[Path]:
    """A directory that all accounts may enter; pytest's own are closed to all but one."""
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o711)
        yield Path(place)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can share a restore point")
def test_a_shared_restore_point_lets_in_the_accounts_of_the_run_and_nobody_else(open_place: Path) -> None:
    state, part = open_place / "state", "R1/2-git_revert"
    user = pwd.getpwnam("daemon").pw_name
    opened(point(state, "R1"), params("R1", accounts=["root", user]), check=False)
    as_user(user, lambda: RestorePoint(str(state / part)).write(progress="found", pending=True))
    as_user(user, lambda: WorkLock(state / "work.lock", "x").acquire(1))
    assert checked(point(state, "R1"))["pending"] is True
    assert (state / part).stat().st_uid == pwd.getpwnam(user).pw_uid
    assert (state / part).stat().st_mode & 0o777 == 0o700
    for stranger in ("bin", "nobody"):
        for touch in (
            lambda: os.listdir(state),
            (state / "work.lock").read_bytes,
            lambda: os.stat(state / part),
        ):
            with pytest.raises(AssertionError, match="PermissionError"):
                as_user(stranger, touch)
    with pytest.raises(AssertionError, match="PermissionError"):
        as_user(user, (state / "R1" / "run.json").unlink)
    # the next run has one account: it has the host to itself again
    closed(point(state, "R1"), params("R1", outcome="succeeded"), check=False)
    opened(point(state, "R2"), params("R2"), check=False)
    with pytest.raises(AssertionError, match="PermissionError"):
        as_user(user, (state / "work.lock").read_bytes)
    assert state.stat().st_mode & 0o7777 == 0o711
    assert (state / "work.lock").stat().st_mode & 0o7777 == 0o600


def as_user(user: str, act: t.Callable[[], object]) -> None:
    """Do it in a process of another account, and report what went wrong there."""
    account = pwd.getpwnam(user)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(account.pw_gid)
            os.setuid(account.pw_uid)
            act()
        except BaseException as exc:
            os.write(write, type(exc).__name__.encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with os.fdopen(read) as stream:
        wrong = stream.read()
    assert wrong == ""


def test_what_root_notes_in_the_part_of_another_account_is_that_accounts(state: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    part = state / "R1" / "7-verify"
    part.mkdir(parents=True)
    os.chown(part, 1, 1)
    (part / f".logs.json.{os.getpid()}").symlink_to(state / "elsewhere")
    write_json(part / "logs.json", {})
    assert ((part / "logs.json").stat().st_uid, (part / "logs.json").stat().st_mode & 0o777) == (1, 0o600)
    assert not (state / "elsewhere").exists(), "nor does it follow what that account put there"


REFUSALS = [
    Refusal(
        "an account without a home uses a role by itself",
        "/proc/nowhere: No such file or directory. <account> cannot keep a restore point there. Set "
        "backup_restore_point to a directory that this account may enter and write to, such as "
        "/var/tmp/changeops/standalone/backup.",
        "standalone/backup",
    ),
    Refusal(
        "an account without a home, in a run",
        "/proc/nowhere: No such file or directory. <account> cannot keep a restore point there. Set rollback_state_dir "
        "to a directory that this account may enter and write to, such as /var/tmp/changeops.",
        "R1/1-backup",
    ),
]


@pytest.mark.parametrize("row", REFUSALS, ids=lambda row: row.case)
def test_an_account_without_a_home(monkeypatch: pytest.MonkeyPatch, row: Refusal) -> None:
    monkeypatch.setenv("HOME", "/proc/nowhere")
    one = RestorePoint(row.given, euid=1, environ={})
    with pytest.raises(OSError) as refused:
        one.make()
    assert row.matches(told(refused.value, one.state_dir, "backup", one.standalone))


def test_another_account_is_named(tmp_path: Path) -> None:
    with pytest.raises(PhaseError, match="because ansible_become or"):
        account("nosuch")
    assert account("")["account"]["uid"] == os.geteuid()


def test_a_file_system_without_access_lists_is_refused() -> None:
    with pytest.raises(PhaseError) as refused:
        share(Path("/proc/self/comm"), [1], "rw")
    assert str(refused.value) == (
        "The phases of this plan work as several accounts, and the file system of /proc/self/comm keeps no access "
        "lists by which they could share a restore point. Set rollback_state_dir to a directory on another one."
    )
