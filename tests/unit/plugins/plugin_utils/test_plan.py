# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.changeops.rollback.plugins.plugin_utils._plan import (
    Phase,
    Plan,
    find_plan,
    list_plans,
)
from ansible_collections.changeops.rollback.plugins.plugin_utils._plan_yaml import PlanError


def plan_of(*phases: Phase) -> Plan:
    return Plan("C001", "Add invoice totals", "2026-11-20", "changes/C001.yml", "0" * 64, hosts="shop", phases=phases)


def phases_of(*names: str, estimate: int | None = None) -> list[Phase]:
    return [
        Phase(index, f"changeops.rollback.{name}", "shop", estimate=estimate) for index, name in enumerate(names, 1)
    ]


@pytest.mark.parametrize(
    ("count", "seconds", "expected"),
    [
        (0, None, "simple"),
        (2, None, "simple"),
        (2, 1799, "simple"),
        (2, 1800, "moderate"),  # one hour is no longer under one hour
        (3, None, "moderate"),
        (5, 1440, "moderate"),
        (5, 1441, "complex"),
        (6, 1, "complex"),
        (10, 1440, "complex"),
        (10, 1441, "very complex"),
        (11, 1, "very complex"),
        (1, 14401, "very complex"),
    ],
)
def test_complexity_is_the_larger_of_two_classes(count: int, seconds: int | None, expected: str) -> None:
    assert plan_of(*phases_of(*["verify"] * count, estimate=seconds)).complexity == expected


def test_estimate_adds_what_is_known() -> None:
    with_estimate, without = phases_of("backup", estimate=90)[0], phases_of("verify")[0]
    assert plan_of(with_estimate, without, with_estimate).estimate == 180
    assert plan_of(without).estimate is None


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["git_revert", "alembic_downgrade"], True),
        (["alembic_downgrade", "git_revert"], False),
        (["git_revert"], False),
        (["alembic_downgrade"], False),
        (["git_revert", "verify", "alembic_downgrade"], True),
    ],
)
def test_code_first(names: list[str], expected: bool) -> None:
    assert plan_of(*phases_of(*names)).code_first is expected


def test_a_role_of_another_collection_is_never_taken_for_ours() -> None:
    theirs = Phase(1, "acme.ops.git_revert", "shop", {"git_revert_commits": ["4f1c2e9"]})
    plan = plan_of(theirs, *phases_of("alembic_downgrade"))
    assert (theirs.id, theirs.name, theirs.ours) == ("1-git_revert", "git_revert", "")
    assert (plan.commits, plan.code_first) == ([], False)


def test_commits_are_those_of_all_reverts_in_order() -> None:
    first = Phase(1, "changeops.rollback.git_revert", "web", {"git_revert_commits": ["b", "a"]})
    second = Phase(2, "changeops.rollback.git_revert", "db", {"git_revert_commits": ["c"]})
    assert plan_of(first, second, *phases_of("git_revert")).commits == ["b", "a", "c"]


def test_patterns_name_each_once_the_plans_own_first() -> None:
    phases = [Phase(1, "a.b.c", "db"), Phase(2, "a.b.c", "shop"), Phase(3, "a.b.c", "db")]
    assert plan_of(*phases).patterns == ["shop", "db"]


def test_a_plan_as_dict_has_every_key_and_is_json() -> None:
    values = plan_of(*phases_of("backup", estimate=60)).as_dict()
    assert set(values) == {
        *("change", "title", "date", "implemented_by", "hosts", "possible", "reason", "method", "accept_loss"),
        "require_rehearsal",
        *("schema_compatible", "risks", "on_failure", "digest", "path", "estimate", "complexity", "commits"),
        *("code_first", "phases", "accounts", "timeout", "serial", "maintenance"),
    }
    assert values["phases"] == [
        {
            "index": 1,
            "id": "1-backup",
            "name": "backup",
            "role": "changeops.rollback.backup",
            "hosts": "shop",
            "vars": {},
            "estimate": 60,
            "timeout": None,
            "become": None,
            "become_user": None,
            "environment": {},
        }
    ]
    assert json.loads(json.dumps(values)) == values


@pytest.mark.parametrize(
    ("phases", "accounts"),
    [
        pytest.param([{}, {}], [], id="all as the connection does"),
        pytest.param(
            [{"become": True}, {"become_user": "shop", "become": True}, {"become": True}, {}],
            [(True, None, ["1-a", "3-a"]), (True, "shop", ["2-a"]), (None, None, ["4-a"])],
            id="each way once",
        ),
        pytest.param(
            [{"become": False}, {"become": False, "hosts": "db"}],
            [(False, None, ["1-a"]), (False, None, ["2-a"])],
            id="each with its hosts",
        ),
    ],
)
def test_accounts_are_asked_for_once(phases: list[dict], accounts: list[tuple]) -> None:
    made = [Phase(**{"index": index, "role": "x.y.a", "hosts": "web", **keys}) for index, keys in enumerate(phases, 1)]
    plan = Plan("C001", "Title", "2026-11-20", "C001.yml", "d", phases=tuple(made))
    assert [(way["become"], way["become_user"], way["phases"]) for way in plan.accounts] == accounts


@pytest.fixture
def changes(tmp_path: Path) -> list[Path]:
    """Two folders of plans and one that is not there."""
    first, second = tmp_path / "first", tmp_path / "second"
    for path in (first / "C001.yml", first / "C003.yaml", second / "C001.yml", second / "C002.yml"):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    for other in ("notes.txt", ".hidden.yml", "-x.yml"):
        (first / other).touch()
    (first / "C009.yml").mkdir()
    return [tmp_path / "missing", first, second]


@pytest.mark.parametrize(
    ("change", "name"), [("C001", "first/C001.yml"), ("C003", "first/C003.yaml"), ("C002", "second/C002.yml")]
)
def test_find_plan_takes_the_first_folder_that_has_it(
    changes: list[Path], tmp_path: Path, change: str, name: str
) -> None:
    assert find_plan(change, changes) == tmp_path / name


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (None, "Say which change: add -e change=C001 to the command. Plans found: C001, C002, C003"),
        ("", "Say which change"),
        ("  ", "Say which change"),
        ("../x", "'../x' is not a change ID"),
        ("/etc/passwd", "is not a change ID"),
        ("C001\n", "is not a change ID"),
        ("C001/", "is not a change ID"),
        ("1C", "is not a change ID"),
        ("Ä1", "is not a change ID"),
        (".C001", "is not a change ID"),
        ("C" * 65, "is not a change ID"),
        ("x" * 10_000, "is not a change ID"),
        (12, "12 is not a change ID"),
        (True, "True is not a change ID"),
        (["C001"], "['C001'] is not a change ID"),
        ({"a": 1}, "is not a change ID"),
        ("C0001", "Did you mean `C001`? Plans found: C001, C002, C003"),
        ("C001.yml", "Did you mean `C001`?"),
        ("zzz", "There is no plan of zzz: no zzz.yml in"),
        ("C009", "There is no plan of C009"),
        ("C" * 64, "There is no plan of"),
    ],
)
def test_find_plan_says_what_is_wrong(changes: list[Path], change: object, words: str) -> None:
    with pytest.raises(PlanError) as caught:
        find_plan(change, changes)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_a_missing_plan_names_the_folders_that_were_searched(changes: list[Path]) -> None:
    with pytest.raises(PlanError) as caught:
        find_plan("C404", changes)
    assert " or ".join(map(str, changes)) in str(caught.value)


def test_no_plans_at_all_says_how_to_set_the_folder(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"No plan was found in .*Set rollback_changes_dir"):
        find_plan("C001", [tmp_path])


def test_two_plans_of_one_change_are_refused(changes: list[Path]) -> None:
    (changes[1] / "C001.yaml").touch()
    with pytest.raises(PlanError, match=r"There are two plans of C001 in .*: C001.yml, C001.yaml. Keep one"):
        find_plan("C001", changes)


def test_list_plans_is_sorted_and_knows_only_plans(changes: list[Path], tmp_path: Path) -> None:
    (tmp_path / "first" / "C009.yml").rmdir()
    plans = list_plans(changes)
    assert list(plans) == ["C001", "C002", "C003"]
    assert plans["C001"] == tmp_path / "first" / "C001.yml"
