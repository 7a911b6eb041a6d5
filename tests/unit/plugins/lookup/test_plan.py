# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible import constants
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.changeops.rollback.plugins.lookup import plan
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal

PLAN = "title: {title}\ndate: 2026-11-20\nhosts: {hosts}\nphases:\n- role: git_revert\n  hosts: '{phase_hosts}'\n"
NAME = "changeops.rollback.plan"
GROUPS = {"all": ["web1", "web2", "db1"], "ungrouped": [], "shop": ["web1", "web2"], "db": ["db1"]}


def write_plan(
    folder: Path, change: str = "C001", title: str = "T", hosts: str = "shop", phase_hosts: str = "shop"
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{change}.yml").write_text(PLAN.format(title=title, hosts=hosts, phase_hosts=phase_hosts))


@pytest.fixture(scope="module", autouse=True)
def _options() -> None:
    """Make the plugin's options known, as Ansible's loader does."""
    options = yaml.safe_load(plan.DOCUMENTATION)["options"]
    constants.config.initialize_plugin_configuration_definitions("lookup", NAME, options)


@pytest.fixture
def ops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's own repository, and the current directory."""
    ops = tmp_path / "ops"
    (ops / "inventory").mkdir(parents=True)
    monkeypatch.chdir(ops)
    return ops


def plan_lookup(*terms: t.Any, variables: dict[str, t.Any] | None = None, **options: t.Any) -> t.Any:
    loader = DataLoader()
    variables = {"groups": GROUPS} | (variables or {})
    plugin = plan.LookupModule(loader=loader, templar=Templar(loader=loader, variables=variables))
    plugin._load_name = NAME
    [result] = plugin.run(list(terms), variables=variables, **options)
    return result


def failure(*terms: t.Any, **options: t.Any) -> str:
    with pytest.raises(AnsibleError) as caught:
        plan_lookup(*terms, **options)
    return str(caught.value)


def test_a_plan_is_a_dictionary(ops: Path) -> None:
    write_plan(ops / "changes")
    found = plan_lookup("C001")
    assert (found["change"], found["title"], found["path"]) == ("C001", "T", str(ops / "changes" / "C001.yml"))
    assert found["phases"][0]["id"] == "1-git_revert"


@pytest.mark.parametrize(
    ("inventory", "variables", "places", "expected"),
    [
        ("inventory", {}, ["changes", "inventory/changes"], "changes"),
        ("inventory/hosts.yml", {}, ["changes", "inventory/changes"], "inventory/changes"),
        ("inventory/hosts.yml", {}, ["changes"], "changes"),
        ("../else/hosts.ini", {}, ["changes", "../else/changes"], "../else/changes"),
        ("web1,web2", {}, ["changes"], "changes"),
        ("inventory", {"playbook_dir": "play"}, ["play/changes"], "play/changes"),
        ("inventory", {"rollback_changes_dir": "plans"}, ["plans", "changes"], "plans"),
        ("inventory", {"rollback_changes_dir": "plans", "inventory_hostname": "web1"}, ["plans", "changes"], "plans"),
    ],
)
def test_where_plans_are_found(
    ops: Path, inventory: str, variables: dict[str, str], places: list[str], expected: str
) -> None:
    for place in places:
        write_plan(ops / place, title=place)
    given = {**variables, "ansible_inventory_sources": (inventory if "," in inventory else str(ops / inventory),)}
    if "playbook_dir" in given:
        given["playbook_dir"] = str(ops / given["playbook_dir"])
    assert plan_lookup("C001", variables=given)["title"] == expected


def test_a_folder_that_was_chosen_is_the_only_one_searched(ops: Path) -> None:
    write_plan(ops / "changes")
    text = failure("C001", variables={"rollback_changes_dir": "plans"})
    assert f"no C001.yml in {ops / 'plans'}. No plan was found" in text


@pytest.mark.parametrize("change", [None, ""])
def test_without_a_change_it_says_which_there_are(ops: Path, change: t.Any) -> None:
    write_plan(ops / "changes")
    for want in ("plan", "hosts"):
        text = failure(change, want=want)
        assert text == "Say which change: add -e change=C001 to the command. Plans found: C001."


def test_faults_are_listed_below_their_number(ops: Path) -> None:
    write_plan(ops / "changes", title="'{{ x }}'", hosts="")
    assert failure("C001").splitlines() == [
        "The plan has 2 faults.",
        "changes/C001.yml:1: '{{ x }}' holds Jinja. "
        "Values of a plan are literals: write the value itself, or set it in group_vars.",
        "changes/C001.yml:3: `hosts` is nothing, and must be text. Write it as `hosts: <text>`.",
    ]


@pytest.mark.parametrize(
    ("hosts", "phase_hosts", "expected"),
    [
        ("shop", "shop", "web1,web2"),
        ("shop", "shop[0]", "web1,web2"),
        ("shop[1]", "shop[0]", "web2,web1"),
        ("shop", "db", "web1,web2,db1"),
        ("all:!db", "db", "web1,web2,db1"),  # the one pattern's exclusion is not the other's
        ("web*", "~db.", "web1,web2,db1"),
        ("localhost", "localhost", "localhost"),
    ],
)
def test_hosts_are_those_of_the_plan_and_its_phases(ops: Path, hosts: str, phase_hosts: str, expected: str) -> None:
    write_plan(ops / "changes", hosts=hosts, phase_hosts=phase_hosts)
    assert plan_lookup("C001", want="hosts") == expected


@pytest.mark.parametrize(
    ("hosts", "phase_hosts", "variables", "words"),
    [
        (
            "shp",
            "shop",
            {},
            "Groups are db, shop; hosts are web1, web2, db1. Did you mean `shop`?",
        ),
        ("shop", "shop[7]", {}, "the pattern 'shop[7]' matches no host"),
        ("shop", "~(", {}, "the pattern '~(' matches no host"),
        (
            "shop",
            "shop",
            {"groups": {"all": [], "ungrouped": []}},
            "The inventory has no hosts at all.",
        ),
        (
            "shop",
            "shop",
            {"ansible_limit": "db1"},
            "--limit db1 leaves none of the hosts of C001",
        ),
    ],
)
def test_hosts_that_cannot_be(ops: Path, hosts: str, phase_hosts: str, variables: dict[str, t.Any], words: str) -> None:
    write_plan(ops / "changes", hosts=hosts, phase_hosts=phase_hosts)
    assert words in failure("C001", variables=variables, want="hosts")


@pytest.mark.parametrize("limit", ["web2", "shop[0]", "all:!db", "web1,db1"])
def test_a_limit_that_leaves_a_host_is_fine(ops: Path, limit: str) -> None:
    write_plan(ops / "changes")
    assert plan_lookup("C001", variables={"ansible_limit": limit}, want="hosts") == "web1,web2"


SHARED = """\
title: T
date: 2026-11-20
hosts: shop
phases:
- {role: service_stop}
- {role: alembic_downgrade, hosts: '%s', vars: {alembic_downgrade_from: aa, alembic_downgrade_to: bb}}
- {role: git_revert, vars: {git_revert_commits: [4f1c2e9]}}
"""
WITHOUT = (
    " Run it without --limit; hosts that are rolled back already are only verified. Take a host that is gone out of "
    "the inventory. Where each release runs on either schema, say `schema_compatible: true` in the plan."
)


REFUSALS = [
    Refusal(
        "a limit that leaves out apps on a shared database",
        "--limit web1 leaves out web2 of C001 (changes/C001.yml): the database that web1, web2 share would be "
        "downgraded while apps on web2 still use it." + WITHOUT,
        ("web1", "web1"),
    ),
    Refusal(
        "the same, with a database host of its own",
        "--limit web1,db1 leaves out web2 of C001 (changes/C001.yml): the database that web1, web2 share would be "
        "downgraded while apps on web2 still use it." + WITHOUT,
        ("db1", "web1,db1"),
    ),
    Refusal(
        "a limit that leaves out the host that downgrades",
        "--limit shop leaves out db1 of C001 (changes/C001.yml): the database, which db1 downgrades, would keep "
        "the newer schema under reverted code." + WITHOUT,
        ("db1", "shop"),
    ),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.case)
def test_a_limit_must_not_tear_what_shares_a_database(ops: Path, refusal: Refusal) -> None:
    downgraded, limit = refusal.given
    (ops / "changes").mkdir()
    path = ops / "changes" / "C001.yml"
    path.write_text(SHARED % downgraded)
    given = {"variables": {"ansible_limit": limit}, "want": "hosts"}
    text = failure("C001", **given)
    assert refusal.matches(text), text
    path.write_text(SHARED % downgraded + "schema_compatible: true\n")
    assert "web1" in plan_lookup("C001", **given)


@pytest.mark.parametrize(
    ("downgraded", "limit", "left_out"),
    [("shop", "web1", "web2"), ("shop[0]", "shop", ""), ("db1", "all", ""), ("db1", "web*,db1", "")],
)
def test_what_a_limit_leaves_out_is_named(
    ops: Path, monkeypatch: pytest.MonkeyPatch, downgraded: str, limit: str, left_out: str
) -> None:
    (ops / "changes").mkdir()
    (ops / "changes" / "C001.yml").write_text(SHARED % downgraded)
    said: list[str] = []
    monkeypatch.setattr(plan.display, "warning", said.append)
    plan_lookup("C001", variables={"ansible_limit": limit}, want="hosts")
    expected = [f"--limit {limit} leaves out {left_out}: C001 is not rolled back there."] if left_out else []
    assert said == expected


@pytest.mark.parametrize(
    ("limit", "hostvars", "left_out"),
    [
        ("", {}, {}),
        ("web1", {}, {"web2": "web2"}),
        ("web1", {"web1": {"ansible_host": "10.0.0.1"}, "web2": {"ansible_host": "10.0.0.2"}}, {"web2": "10.0.0.2"}),
        # both on one machine
        ("web1", {"web1": {"ansible_host": "10.0.0.1"}, "web2": {"ansible_host": "10.0.0.1"}}, {}),
        ("web1", {"web1": {}, "web2": {"ansible_host": "web1"}}, {}),
    ],
)
def test_a_plan_has_where_those_are_that_a_limit_leaves_out(
    ops: Path, limit: str, hostvars: dict[str, dict[str, str]], left_out: dict[str, str]
) -> None:
    write_plan(ops / "changes")
    hosts = ["web1"] if limit else ["web1", "web2"]
    given = {"ansible_limit": limit, "ansible_play_hosts_all": hosts, "hostvars": hostvars}
    found = plan_lookup("C001", variables=given)
    assert found["left_out"] == left_out
    assert found["phases"][0]["host_names"] == hosts


def test_a_change_that_cannot_be_rolled_back_has_a_plan_but_no_hosts(ops: Path) -> None:
    (ops / "changes").mkdir()
    head = "title: T\ndate: 2026-11-20\nhosts: shop\n"
    (ops / "changes" / "C002.yml").write_text(head + "rollback: {possible: false, reason: The old key is gone.}\n")
    (ops / "changes" / "C003.yml").write_text(head + "rollback: {method: manual}\n")
    assert plan_lookup("C002")["reason"] == "The old key is gone."
    assert failure("C002", want="hosts") == "C002 (changes/C002.yml) cannot be rolled back: The old key is gone."
    assert "C003 (changes/C003.yml) has method manual and no phases" in failure("C003", want="hosts")


ROLLBACK = """\
- name: Roll back
  hosts: "{{ lookup('changeops.rollback.plan', change | default(''), want='hosts') }}"
  gather_facts: false
  tasks:
    - name: Show the plan
      ansible.builtin.debug:
        msg: "{{ lookup('changeops.rollback.plan', change).title }}"
"""
# The folder is set in group_vars, with Jinja: the hosts keyword must find the same plan as the tasks.
GROUP_VARS = 'rollback_changes_dir: "{{ plans_root }}/plans"\nplans_root: "{{ inventory_dir }}/.."\n'


def playbook(ops: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    write_plan(ops / "changes", title="wrong folder")
    write_plan(ops / "plans", title="right folder")
    (ops / "ansible.cfg").write_text("[defaults]\n")
    (ops / "rollback.yml").write_text(ROLLBACK)
    (ops / "inventory" / "hosts.ini").write_text("[shop]\nweb1\nweb2\n[db]\ndb1\n")
    (ops / "inventory" / "group_vars").mkdir()
    (ops / "inventory" / "group_vars" / "all.yml").write_text(GROUP_VARS)
    command = [sys.executable, "-m", "ansible", "playbook", "-i", "inventory", "rollback.yml", *arguments]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ops / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    return subprocess.run(command, check=False, cwd=ops, env=environment, capture_output=True, text=True, timeout=120)


def test_in_a_play_the_plan_of_group_vars_names_the_hosts(ops: Path) -> None:
    result = playbook(ops, "-e", "change=C001")
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count('"msg": "right folder"') == 2
    assert "db1" not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Say which change: add -e change=C001 to the command. Plans found: C001."),
        (["-e", '{"change": 12}'], "12 is not a change ID."),
    ],
)
def test_in_a_play_an_error_is_a_sentence(ops: Path, arguments: list[str], words: str) -> None:
    result = playbook(ops, *arguments)
    assert result.returncode != 0
    assert words in result.stderr
    assert "Traceback" not in result.stderr + result.stdout


def test_a_syntax_check_needs_no_change(ops: Path) -> None:
    assert playbook(ops, "--syntax-check").returncode == 0


def test_a_role_that_is_not_here_is_named_before_the_play(ops: Path) -> None:
    write_plan(ops / "changes")
    path = ops / "changes" / "C001.yml"
    path.write_text(path.read_text().replace("role: git_revert", "role: acme.nowhere.flush"))
    assert "there is no role acme.nowhere.flush here" in failure("C001", want="hosts")


def test_each_phase_says_which_steps_its_role_has(ops: Path) -> None:
    write_plan(ops / "changes")
    steps = ["preflight", "rehearse", "main", "can_undo", "recover", "close"]
    assert plan_lookup("C001")["phases"][0]["steps"] == steps


@pytest.mark.parametrize(
    ("pattern", "names"),
    [("shop", ["web2", "web1"]), ("shop:!web1", ["web2"]), ("db1", []), ("nobody", [])],
)
def test_each_phase_names_its_hosts_of_the_play(ops: Path, pattern: str, names: list[str]) -> None:
    write_plan(ops / "changes", phase_hosts=pattern)
    variables = {"ansible_play_hosts_all": ["web2", "web1"], "groups": {"shop": ["web1", "web2"], "db": ["db1"]}}
    assert plan_lookup("C001", variables=variables)["phases"][0]["host_names"] == names
