# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The three steps that all phases share, with a phase that sets a number in a file."""

from __future__ import annotations

import dataclasses
import errno
import json
from pathlib import Path

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.plugins.module_utils._phase import Context, Report, in_time, run_step
from ansible_collections.changeops.rollback.plugins.module_utils._restore_point import RESERVED, RestorePoint, told

PARAMS = {"timeout": 10.0, "wait": 1.0}


@dataclasses.dataclass
class Number:
    """The phase: brings the number in ``file`` to 1."""

    file: Path
    fail_after: bool = False

    def preflight(self, ctx: Context) -> Report:
        now = int(self.file.read_text())
        return Report("found", pending=now != 1, before={"number": now})

    def main(self, ctx: Context) -> Report:
        changed = self.file.read_text() != "1"
        if changed and not ctx.check:
            ctx.note(wrote=True)
            self.file.write_text("1")
        if self.fail_after:
            raise PhaseError("It broke.")
        return Report("set", changed=changed, after={"number": 1})

    def recover(self, ctx: Context) -> Report:
        if ctx.prepared.get("wrote"):
            self.file.write_text(str(ctx.before["number"]))
        return Report("put back", changed=bool(ctx.prepared.get("wrote")))

    @property
    def functions(self) -> dict:
        return {"preflight": self.preflight, "main": self.main, "recover": self.recover}


@pytest.fixture
def number(tmp_path: Path) -> Number:
    path = tmp_path / "number"
    path.write_text("7")
    return Number(path)


def at(tmp_path: Path, where: str = "R1/1-number") -> RestorePoint:
    return RestorePoint(str(tmp_path / "state" / where))


def test_a_run_and_its_recovery(tmp_path: Path, number: Number) -> None:
    point = at(tmp_path)
    assert run_step("preflight", PARAMS, point, number.functions).pending is True
    assert number.file.read_text() == "7"
    assert run_step("main", PARAMS, point, number.functions).changed is True
    assert run_step("main", PARAMS, point, number.functions).changed is False
    assert run_step("recover", PARAMS, point, number.functions).changed is True
    assert number.file.read_text() == "7"


def test_a_full_disk_asks_for_room(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device", f"{tmp_path}/R1/1-backup/state.json")
    said = f"{tmp_path}/R1/1-backup/state.json: No space left on device. Make room there."
    assert told(full, tmp_path, "backup") == said


def test_there_is_room_on_the_disk_until_something_is_put_back(tmp_path: Path, number: Number) -> None:
    reserve = at(tmp_path).part / "reserve"
    for step in ("preflight", "main", "preflight"):
        run_step(step, PARAMS, at(tmp_path), number.functions)
        assert reserve.stat().st_blocks * 512 >= RESERVED
    known = {**number.functions, "recover": lambda ctx: Report("room" if not reserve.exists() else "none")}
    assert run_step("recover", PARAMS, at(tmp_path), known).msg == "room"
    alone = at(tmp_path, "standalone/number")
    run_step("main", PARAMS, alone, number.functions)
    assert not (alone.part / "reserve").exists()


def test_a_resumed_run_keeps_the_state_that_was_found_first(tmp_path: Path, number: Number) -> None:
    point = at(tmp_path)
    run_step("preflight", PARAMS, point, number.functions)
    number.fail_after = True
    with pytest.raises(PhaseError):
        run_step("main", PARAMS, point, number.functions)
    number.fail_after = False
    run_step("preflight", PARAMS, point, number.functions)
    run_step("main", PARAMS, point, number.functions)
    assert point.read()["before"] == {"number": 7}
    run_step("recover", PARAMS, point, number.functions)
    assert number.file.read_text() == "7"


def test_recover_of_a_phase_that_never_started_does_nothing(tmp_path: Path, number: Number) -> None:
    assert run_step("recover", PARAMS, at(tmp_path), number.functions).changed is False
    assert number.file.read_text() == "7"


def test_check_mode_writes_nothing(tmp_path: Path, number: Number) -> None:
    assert run_step("preflight", PARAMS, at(tmp_path), number.functions, check=True).pending is True
    assert run_step("main", PARAMS, at(tmp_path), number.functions, check=True).changed is True
    assert number.file.read_text() == "7"
    assert not (tmp_path / "state").exists()


def test_alone_a_finished_use_is_forgotten_and_an_interrupted_one_is_kept(tmp_path: Path, number: Number) -> None:
    point = at(tmp_path, "standalone/number")
    run_step("main", PARAMS, point, number.functions, subject="a")
    run_step("main", PARAMS, point, number.functions, subject="a")
    assert point.read()["before"] == {"number": 7}, "nothing was left to do, so recover must still know the 7"
    number.file.write_text("8")
    number.fail_after = True
    with pytest.raises(PhaseError):
        run_step("main", PARAMS, point, number.functions, subject="a")
    assert point.read()["before"] == {"number": 8}
    number.fail_after = False
    run_step("main", PARAMS, point, number.functions, subject="a")
    assert point.read()["before"] == {"number": 8}
    number.file.write_text("9")
    run_step("main", PARAMS, point, number.functions, subject="b")
    assert point.read()["before"] == {"number": 9}


def test_the_part_is_private(tmp_path: Path, number: Number) -> None:
    point = at(tmp_path)
    run_step("preflight", PARAMS, point, number.functions)
    assert point.state_dir.stat().st_mode & 0o777 == 0o711, "a deploy may read hold.json there, and not look around"
    for path in (point.root, point.part):
        assert path.stat().st_mode & 0o777 == 0o700, path
    assert (point.part / "state.json").stat().st_mode & 0o777 == 0o600


def test_a_damaged_state_is_named(tmp_path: Path, number: Number) -> None:
    point = at(tmp_path)
    run_step("preflight", PARAMS, point, number.functions)
    (point.part / "state.json").write_text("{")
    with pytest.raises(PhaseError, match=r"state\.json is damaged"):
        run_step("main", PARAMS, point, number.functions)


def test_the_restore_point_cannot_leave_its_place() -> None:
    with pytest.raises(PhaseError, match=r"must not contain '\.\.'"):
        RestorePoint("../../etc/cron.d")


@pytest.mark.parametrize(
    ("euid", "environ", "expected"),
    [
        (0, {}, "/var/lib/changeops/R1/x"),
        (1000, {"XDG_STATE_HOME": "/state"}, "/state/changeops/R1/x"),
    ],
)
def test_where_restore_points_lie(euid: int, environ: dict, expected: str) -> None:
    assert str(RestorePoint("R1/x", euid, environ).part) == expected


def test_state_is_json_that_people_can_read(tmp_path: Path, number: Number) -> None:
    point = at(tmp_path)
    run_step("preflight", PARAMS, point, number.functions)
    assert json.loads((point.part / "state.json").read_text())["progress"] == "found"


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("step", ["preflight", "main"])
def test_commands_have_the_variables_of_the_environment_files(tmp_path: Path, step: str, check: bool) -> None:
    (tmp_path / "app.env").write_text("SHOP_DATABASE='one two'\n")
    seen = []

    def look(ctx: Context) -> Report:
        seen.append(ctx.commands.run(["sh", "-c", 'printf "%s" "$SHOP_DATABASE"']).out)
        return Report("seen")

    params = {**PARAMS, "environment_files": [str(tmp_path / "app.env")]}
    run_step(step, params, at(tmp_path), {"preflight": look, "main": look, "recover": look}, check)
    assert set(seen) == {"one two"}


def test_what_is_left_of_the_run_ends_a_step_with_all_that_it_started(tmp_path: Path, number: Number) -> None:
    child = tmp_path / "child"

    def main(ctx: Context) -> Report:
        ctx.commands.run(["sh", "-c", f"sleep 600 & echo $! > {child}; wait"])
        return Report("never")

    late = pytest.raises(PhaseError, match=r"did not finish within 2 s\. The run's time, `timeout` in the plan, is up")
    with late, in_time(PARAMS, {"CHANGEOPS_TIME_LEFT": "2"}) as params:
        run_step("main", params, at(tmp_path), {**number.functions, "main": main})
    stat = Path(f"/proc/{int(child.read_text())}/stat")
    assert not stat.exists() or " Z " in stat.read_text()
    up = pytest.raises(PhaseError, match="was up before this phase began")
    with up, in_time(PARAMS, {"CHANGEOPS_TIME_LEFT": "-1"}):
        pytest.fail("it began")
    with in_time(PARAMS, {"CHANGEOPS_TIME_LEFT": "60"}) as params:
        assert params == PARAMS
