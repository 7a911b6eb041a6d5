# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All plans, sound or not."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml
from ansible import constants
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.changeops.rollback.plugins.lookup import plan, plans

NAME = "changeops.rollback.plans"
GROUPS = {"all": ["web1", "web2", "db1"], "ungrouped": [], "shop": ["web1", "web2"], "db": ["db1"]}
HEAD = "title: T\ndate: 2026-11-20\n"


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Callable[..., list[dict[str, t.Any]]]:
    """The lookup, in a repository with a plan of each kind."""
    options = yaml.safe_load(plans.DOCUMENTATION)["options"]
    constants.config.initialize_plugin_configuration_definitions("lookup", NAME, options)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "changes").mkdir()
    contents = {
        "C001": (
            "hosts: shop\nphases:\n- {role: verify, become: true}\n- {role: backup, hosts: 'db', become_user: shop}\n"
        ),
        "C002": "hosts: shop\nrollback: {possible: false, reason: The data is gone}\n",
        "C003": "hosts: shop\nrollback: {method: manual}\n",
        "C004": "hosts: nowhere\nphases: [{role: verify}]\n",
        "C005": "hosts: shop\nphases: [{role: verify, wrong: 1, other: 2}]\n",
    }
    for change, text in contents.items():
        (tmp_path / "changes" / f"{change}.yml").write_text(HEAD + text)

    def run(*terms: str) -> list[dict[str, t.Any]]:
        loader = DataLoader()
        plugin = plans.LookupModule(loader=loader, templar=Templar(loader=loader, variables={"groups": GROUPS}))
        plugin._load_name = NAME
        return plugin.run(list(terms), variables={"groups": GROUPS})

    return run


@pytest.mark.parametrize(
    ("change", "hosts", "fault"),
    [
        ("C001", ["web1", "web2", "db1"], ""),
        ("C002", ["web1", "web2"], "cannot be rolled back: The data is gone"),
        ("C003", ["web1", "web2"], "has no phases (method manual)"),
        ("C004", [], "its hosts (nowhere) are not in the inventory."),
        ("C005", [], "changes/C005.yml:"),
    ],
)
def test_each_plan_says_how_it_stands(found: t.Callable, change: str, hosts: list[str], fault: str) -> None:
    every = found("")
    assert [plan["change"] for plan in every] == ["C001", "C002", "C003", "C004", "C005"]
    (plan,) = [plan for plan in every if plan["change"] == change]
    assert plan["hosts"] == hosts
    assert plan["fault"].startswith(fault)
    assert bool(plan["fault"]) == bool(fault)
    assert "\n" not in plan["fault"]
    assert bool(plan["review"]) == (change != "C005")
    if change == "C004":
        assert plan["review"] == {
            **{"unmatched": ["nowhere"], "commits": [], "rehearsed_within": None, "rehearsable": True}
        }
    if change == "C005":
        assert plan["fault"].endswith("And 1 more.")
    else:
        assert found(change) == [plan]


def test_each_plan_tells_where_its_change_lies(found: t.Callable) -> None:
    places = {plan["change"]: plan["place"] for plan in found()}
    assert (places["C001"]["path"], places["C001"]["hosts"]) == ("changes/C001.yml", ["web1", "web2", "db1"])
    assert places["C001"]["look"] == {"change": "C001", "commits": [], "to": "", "config": []}
    assert places["C002"]["never"] == "C002 cannot be rolled back: The data is gone"
    assert places["C005"] == {}, "one with faults tells nothing"


def test_accounts_have_their_hosts_by_name(found: t.Callable) -> None:
    ways = [(way["become"], way["become_user"], way["hosts"]) for way in found("C001")[0]["accounts"]]
    assert ways == [(True, None, ["web1", "web2"]), (True, "shop", ["db1"])]


@pytest.mark.parametrize("change", ["C009", "../x", "C005"])
def test_a_plan_that_was_asked_for_must_be_there_and_sound(found: t.Callable, change: str) -> None:
    with pytest.raises(AnsibleError, match=r"There is no plan|is not a change ID|unknown|wrong"):
        found(change)


def test_a_hundred_plans_cost_one_look_at_the_inventory_and_one_at_each_file(
    found: t.Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(100, 200):
        (tmp_path / "changes" / f"C{number}.yml").write_text(HEAD + "hosts: shop\nphases: [{role: verify}]\n")
    asked: list[str] = []

    def counted(owner: t.Any, name: str, what: t.Callable[..., str]) -> None:
        real = getattr(owner, name)

        def function(*args: t.Any) -> t.Any:
            asked.append(what(*args))
            return real(*args)

        monkeypatch.setattr(owner, name, function)

    counted(plans, "_match", lambda _inventory, pattern: f"pattern {pattern}")
    counted(plan, "load_plan", lambda path, _shown: path.name)
    counted(plans.LookupModule, "_directories", lambda *_args: "folders")
    counted(plans.LookupModule, "_inventory", lambda *_args: "inventory")
    assert len(found()) == 105
    assert sorted(asked) == sorted(
        [
            *("folders", "inventory", "pattern shop", "pattern db", "pattern nowhere"),
            *(path.name for path in (tmp_path / "changes").iterdir()),
        ]
    )
