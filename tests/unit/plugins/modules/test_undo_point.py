# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An undo on one host: which restore point it opens again, and what becomes of that however it ends."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.plugins.module_utils._restore_point import RestorePoint
from ansible_collections.changeops.rollback.plugins.module_utils._run_close import closed, prune
from ansible_collections.changeops.rollback.plugins.module_utils._run_point import RunPoint, opened, undoing
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal

DAY = 86400.0


def params(run: str, **changes: object) -> dict[str, t.Any]:
    base = {"run": run, "change": "C001", "plan_digest": "d1", "executed_by": "dana", "controller": "dana@ops1"}
    free = {"title": "", "finished_runs": [], "break_lock": "", "wait": 5.0, "keep": 5, "accounts": [], "outcome": None}
    return {**base, **free, "undo": False, "undo_run": "", **changes}


class OneHost:
    """The state directory of a host, and the runs there; each takes a day."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.day = 0

    def open(self, run: str, **changes: t.Any) -> dict[str, t.Any]:
        self.day += 1
        return opened(RunPoint(str(self.state / run)), params(run, **changes), False, now=self.day * DAY)

    def work(self, run: str, progress: str) -> None:
        prepared = {"hold": {"repo": "/srv/shop", "commits": ["c" * 40], "release": ""}}
        part = RestorePoint(str(self.state / run / "1-git_revert"))
        part.write(progress=progress, changed=True, prepared=prepared)

    def close(self, point: str, run: str, outcome: str) -> dict[str, t.Any]:
        return closed(RunPoint(str(self.state / point)), params(run, outcome=outcome), False, now=self.day * DAY + 60)

    def rolled_back(self, run: str, outcome: str = "succeeded", **changes: t.Any) -> None:
        self.open(run, **changes)
        self.work(run, "done" if outcome == "succeeded" else "recovered" if outcome == "recovered" else "started")
        self.close(run, run, outcome)

    def undone(self, run: str, outcome: str = "succeeded", begun: bool = True, **changes: t.Any) -> str:
        """Undo on this host; returns the name of the restore point that was opened."""
        path = Path(self.open(run, undo=True, **changes)["path"])
        if begun:
            undoing(RunPoint(str(path)), False)
            self.work(path.name, {"succeeded": "recovered", "failed": "started"}.get(outcome, "done"))
        self.close(path.name, run, outcome)
        return path.name

    def outcome(self, point: str) -> t.Any:
        return json.loads((self.state / point / "run.json").read_text())["outcome"]

    @property
    def held(self) -> bool:
        return (self.state / "hold.json").exists()


@pytest.fixture
def host(tmp_path: Path) -> OneHost:
    return OneHost(tmp_path / "state")


def test_the_last_rollback_is_undone_and_its_hold_is_lifted(host: OneHost) -> None:
    host.rolled_back("R1")
    host.rolled_back("R2")
    host.rolled_back("R3", change="C002")
    assert host.held
    assert host.undone("U1") == "R2"
    assert [host.outcome(run) for run in ("R1", "R2", "R3")] == ["succeeded", "undone", "succeeded"]
    assert [one["change"] for one in json.loads((host.state / "hold.json").read_text())["held"]] == ["C002"]
    assert not (host.state / "lock.json").exists()


def test_one_run_is_undone_by_its_name(host: OneHost) -> None:
    host.rolled_back("R1")
    host.rolled_back("R2")
    assert host.undone("U1", undo_run="R1") == "R1"
    assert (host.outcome("R1"), host.outcome("R2")) == ("undone", "succeeded")


NOTHING = "There is no restore point of C001 on this host: it was not rolled back here, or so many rollbacks ago"
REFUSALS = [
    Refusal(
        "the undo of a change that was not rolled back on this host",
        f"{NOTHING} that it is not kept any more (run_keep).",
        [],
    ),
    Refusal(
        "the undo of a change that was undone already",
        "C001 is not rolled back on this host: run R1 was undone at 1970-01-03 00:01 UTC.",
        [("rolled_back", "R1"), ("undone", "U1")],
    ),
    Refusal(
        "the undo of a rollback that had failed and been put back",
        "C001 is not rolled back on this host: run R1 ended as recovered at 1970-01-02 00:01 UTC.",
        [("rolled_back", "R1", "recovered")],
    ),
]


@pytest.mark.parametrize("row", REFUSALS, ids=lambda row: row.case)
def test_where_there_is_nothing_to_undo_that_is_said_and_nothing_is_taken(host: OneHost, row: Refusal) -> None:
    for name, *args in row.given:
        getattr(host, name)(*args)
    result = host.open("U9", undo=True)
    assert (result["msg"], result["path"]) == (row.says, "")
    assert not (host.state / "lock.json").exists()
    assert not (host.state / "U9").exists()


def test_a_host_that_a_half_way_rollback_had_not_come_to_has_nothing_to_undo(host: OneHost) -> None:
    host.open("R1")
    host.close("R1", "R1", "failed")
    resumed = opened(RunPoint(str(host.state / "R1")), params("U1", undo=True, finished_runs=["R1"]), False)
    assert (resumed["path"], host.outcome("R1")) == ("", None)


@pytest.mark.parametrize(
    ("before", "ended", "begun", "after", "held"),
    [
        pytest.param("succeeded", "succeeded", True, "undone", False, id="it succeeds"),
        pytest.param("succeeded", "recovered", True, "succeeded", True, id="it fails, and all is rolled back again"),
        pytest.param("succeeded", "failed", True, None, True, id="it fails half-way"),
        pytest.param("succeeded", "refused", False, "succeeded", True, id="it is refused"),
        pytest.param("failed", "succeeded", True, "undone", False, id="of a rollback that was half-way"),
        pytest.param("failed", "refused", False, None, False, id="it is refused, and the rollback was half-way"),
    ],
)
def test_what_becomes_of_the_restore_point(
    host: OneHost, before: str, ended: str, begun: bool, after: str | None, held: bool
) -> None:
    host.rolled_back("R1", before)
    host.undone("U1", ended, begun=begun)
    assert (host.outcome("R1"), host.held) == (after, held)
    assert "undo" not in json.loads((host.state / "R1" / "run.json").read_text()) or after is None
    assert not (host.state / "lock.json").exists()


def test_killed_before_it_began_it_counts_for_nothing(host: OneHost) -> None:
    host.rolled_back("R1")
    host.open("U1", undo=True)
    assert host.open("R2", change="C002", finished_runs=["U1"])["path"].endswith("R2"), "nothing is half-way here"
    host.close("R2", "R2", "refused")
    assert host.undone("U2", finished_runs=["U1"]) == "R1"
    assert host.outcome("R1") == "undone"


@pytest.mark.parametrize(("then", "outcome"), [(True, "undone"), (False, "succeeded")], ids=["undo", "rollback"])
def test_killed_half_way_it_is_gone_on_with_either_way(host: OneHost, then: bool, outcome: str) -> None:
    host.rolled_back("R1")
    undoing(RunPoint(host.open("U1", undo=True)["path"]), False)
    host.work("R1", "started")
    with pytest.raises(PhaseError, match="C001 is being undone by dana"):
        host.open("R2", change="C002")
    with pytest.raises(PhaseError, match="C001 was left half-way on this host by run R1"):
        host.open("R2", change="C002", finished_runs=["U1"])
    opened_again = host.open("X1", undo=then, finished_runs=["U1"])
    assert (Path(opened_again["path"]).name, opened_again["resumed"]) == ("R1", True)
    host.close("R1", "X1", "succeeded")
    assert host.outcome("R1") == outcome


def test_a_plan_that_was_edited_since_undoes_nothing(host: OneHost) -> None:
    host.rolled_back("R1")
    with pytest.raises(PhaseError, match="The plan of C001 was edited since run R1 began"):
        host.open("U1", undo=True, plan_digest="d2")
    assert host.outcome("R1") == "succeeded"


def test_the_newest_that_was_not_undone_is_never_pruned(host: OneHost) -> None:
    host.rolled_back("R1")
    host.rolled_back("R2")
    for number in range(3, 6):
        host.rolled_back(f"R{number}", change="C002")
        host.undone(f"U{number}", change="C002")
    (host.state / "R3" / "3-alembic_downgrade").mkdir()
    left = host.state / "R3" / "3-alembic_downgrade" / "left-1.sqlite"
    left.touch()
    assert prune(host.state, 2) == ["R1"], "and what could not be put back is kept"
    left.unlink()
    assert prune(host.state, 2) == ["R3"]
    assert sorted(path.name for path in host.state.iterdir() if path.is_dir()) == ["R2", "R4", "R5"]
