# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the filter stack says of changes that lie on top of the one to be rolled back."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.changeops.rollback.plugins.filter import stack as plugin
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal

ENDS = {"C001": ("8ae1f0c2", "51b7d9aa"), "C002": ("b2c3d4e5", "8ae1f0c2"), "C003": ("c3d4e5f6", "b2c3d4e5")}


def plans(
    *changes: str, ends: t.Mapping[str, tuple[str, str]] | None = None, never: str = "", broken: t.Sequence[str] = ()
) -> list[dict[str, t.Any]]:
    """Plans as the lookup gives them, with the revisions ``ends``; ``never`` cannot be rolled back, ``broken`` "
    "have faults."""
    ends = ends or {}
    found = []
    for change in changes:
        (upper, lower), reason = ends.get(change, ("", "")), f"{change} cannot be rolled back: The data is gone."
        place = {
            "change": change,
            "path": f"changes/{change}.yml",
            "date": "2026-11-20",
            "hosts": ["web1"],
            "from": [upper] if upper else [],
            "to": [lower] if lower else [],
            "never": reason if change == never else "",
        }
        fault = f"changes/{change}.yml:1: `hosts` is missing." if change in broken else ""
        found.append({"change": change, "fault": fault, "place": {} if fault else place})
    return found


def code(*files: str, config: t.Sequence[str] = (), **by_change: t.Sequence[int]) -> dict[str, t.Any]:
    """What a host tells: changes by the numbers of their commits, which all touched the same files."""
    return {
        "changes": {
            change: {
                "state": "here" if numbers else "unknown",
                "commits": list(numbers),
                "files": {name: list(numbers) for name in (files or [f"{change}.py"]) if numbers},
                "config": list(config),
            }
            for change, numbers in by_change.items()
        }
    }


def database(row: str, **found: t.Any) -> dict[str, t.Any]:
    return {"changes": {}, **found, "revisions": {"/srv/shop.db": [row]}}


def config() -> dict[str, t.Any]:
    found = code("config/app.toml", C001=[1], C003=[3])
    found["changes"]["C001"].update(files={}, config=["config"])
    return found


ALL = plans("C001", "C002", "C003")
MIGRATING = plans(*ENDS, ends=ENDS)

REFUSALS = [
    Refusal(
        "a later change touched the same files",
        "C003 (changes/C003.yml) came after C001 and touches the same files (app.py, shop/rules.py). Roll back "
        "C003 first: ansible-playbook rollback.yml -e change=C003, then C001. To leave it on top, where C003 can "
        "do without C001: -e run_under=C003",
        (ALL, code("shop/rules.py", "app.py", C001=[1], C003=[3])),
    ),
    Refusal(
        "the migrations of later changes build on those of the change",
        "C003 (changes/C003.yml) came after C001 and has a migration on top (c3d4e5f6). C002 (changes/C002.yml) "
        "came after C001 and has a migration on top (b2c3d4e5). Roll back C003 first: ansible-playbook "
        "rollback.yml -e change=C003, then C002, then C001.",
        (MIGRATING, database("c3d4e5f6")),
    ),
    Refusal(
        "a later change changed config that the rollback restores",
        "C003 (changes/C003.yml) came after C001 and changed config that C001 restores (config/app.toml). Roll "
        "back C003 first: ansible-playbook rollback.yml -e change=C003, then C001. To leave it on top, where C003 "
        "can do without C001: -e run_under=C003",
        (ALL, config()),
    ),
    Refusal(
        "a later change touched the same files and has a migration on top",
        "C002 (changes/C002.yml) came after C001 and touches the same files (app.py) and has a migration on top "
        "(b2c3d4e5). Roll back C002 first: ansible-playbook rollback.yml -e change=C002, then C001.",
        (MIGRATING, database("b2c3d4e5", **code("app.py", C001=[1], C002=[2]))),
    ),
    Refusal(
        "a change lies on one that lies on the change",
        "C002 (changes/C002.yml) came after C001 and touches the same files (a.py). C003 (changes/C003.yml) came "
        "after C002 and touches the same files (b.py). Roll back C003 first: ansible-playbook rollback.yml -e "
        "change=C003, then C002, then C001. To leave it on top, where C002 can do without C001: -e run_under=C002",
        (
            ALL,
            {
                "changes": {
                    "C001": {"state": "here", "commits": [1], "files": {"a.py": [1]}, "config": []},
                    "C002": {"state": "here", "commits": [2], "files": {"a.py": [2], "b.py": [2]}, "config": []},
                    "C003": {"state": "here", "commits": [3], "files": {"b.py": [3]}, "config": []},
                }
            },
        ),
    ),
    Refusal(
        "two changes whose commits came by turns",
        "C003 (changes/C003.yml) came after C001 and touches the same files (app.py). C001 and C003 lie on top of "
        "each other, so none of them can go first. Roll them back as one, with a plan that has the commits of all "
        "of them in git_revert_commits. To leave it on top, where C003 can do without C001: -e run_under=C003",
        (ALL, code("app.py", C001=[1, 4], C003=[3])),
    ),
    Refusal(
        "a later change that cannot be rolled back",
        "C003 (changes/C003.yml) came after C001 and touches the same files (app.py). C003 cannot be rolled back: "
        "The data is gone. To leave it on top, where C003 can do without C001: -e run_under=C003",
        (plans("C001", "C003", never="C003"), code("app.py", C001=[1], C003=[3])),
    ),
    Refusal(
        "many later changes touched the same files",
        "C009 (changes/C009.yml) came after C001 and touches the same files (a, b, c, d, e and 1 more). C008 <and "
        "so on> C005 (changes/C005.yml) came after C001 and touches the same files (a, b, c, d, e and 1 more). "
        "<number> more are on top of these. Roll back C009 first: ansible-playbook rollback.yml -e change=C009, "
        "then C008, then C007, then C006, then C005, then C004, then C001. To leave them on top, where C009, "
        "C008, C007, C006, C005 and C004 can do without C001: -e run_under=C009,C008,C007,C006,C005,C004",
        (
            plans("C001", *(f"C00{number}" for number in range(4, 10))),
            code(*"abcdef", C001=[1], **{f"C00{number}": [number] for number in range(4, 10)}),
        ),
    ),
]


@pytest.fixture
def warned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is warned of."""
    said: list[str] = []
    monkeypatch.setattr(plugin.display, "warning", said.append)
    return said


def stack(given: tuple[t.Any, ...], change: str = "C001", under: t.Any = None) -> str:
    known, found = given
    said = plugin.FilterModule().filters()["stack"](known, {"web1": found}, change, under)
    assert isinstance(said, str)
    return said


@pytest.mark.parametrize("row", REFUSALS, ids=[row.case for row in REFUSALS])
def test_refused(row: Refusal, warned: list[str]) -> None:
    assert row.matches(stack(row.given)), stack(row.given)
    assert warned == []


@pytest.mark.parametrize("under", ["C003", "C002, C003", ["C003"], "C003,"])
def test_a_change_may_be_left_on_top(under: t.Any) -> None:
    given = (ALL, code("app.py", C001=[1], C003=[3]))
    assert stack(given, under=under) == ""
    assert stack(given, under="C002") != ""
    assert stack((MIGRATING, database("c3d4e5f6")), under="C002,C003") != "", "a migration cannot stay"


def test_nothing_lies_on_the_newest_change(warned: list[str]) -> None:
    assert stack((MIGRATING, database("c3d4e5f6", **code("app.py", C001=[1], C003=[3]))), "C003") == ""
    assert warned == []


def test_a_plan_with_faults_is_a_warning(warned: list[str]) -> None:
    given = (plans("C001", "C002", "C003", broken=["C002", "C003"]), code("app.py", C001=[1], C003=[3]))
    assert stack(given) == ""
    assert warned == [
        "Whether C002, C003 came after C001 is not known, because the plan has faults. changes/C002.yml:1: "
        "`hosts` is missing."
    ]


def test_a_change_that_may_be_there_is_a_warning(warned: list[str]) -> None:
    given = (ALL, code(config=["/etc/shop.env"], C001=[1], C003=[]))
    assert stack(given) == ""
    assert warned == [
        "C003 (changes/C003.yml) may have come after C001: it changed config that C001 restores (/etc/shop.env). "
        "Whether it is there cannot be told. If it is, roll it back first: ansible-playbook rollback.yml -e "
        "change=C003"
    ]
    assert stack(given, under="C003") == ""
    assert len(warned) == 1
