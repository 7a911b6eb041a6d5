# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter phase_groups: the order of the phases stays, and each host has all of a group or none of it."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.changeops.rollback.plugins.filter.phase_groups import FilterModule

phase_groups = FilterModule().filters()["phase_groups"]
ALL = ["web1", "web2", "db1"]


class Case(t.NamedTuple):
    name: str
    phases: dict[str, list[str]]
    hosts: list[str]
    groups: list[tuple[str, list[str]]]


CASES = [
    Case("all on all", {"a": ALL, "b": ALL, "c": ALL}, ALL, [("abc", ALL)]),
    Case(
        "one in the middle is for some",
        {"a": ALL, "b": ["db1"], "c": ALL},
        ALL,
        [("a", ALL), ("b", ["db1"]), ("c", ALL)],
    ),
    Case("of a batch", {"a": ALL, "b": ["web2", "web1"], "c": ALL}, ["web1", "web2"], [("abc", ["web1", "web2"])]),
    Case("none of the hosts", {"a": ALL, "b": ["db1"], "c": ALL}, ["web1"], [("ac", ["web1"])]),
    Case("no host at all", {"a": ALL}, [], []),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_groups(case: Case) -> None:
    phases = [{"id": name, "host_names": hosts, "steps": ["main"]} for name, hosts in case.phases.items()]
    found = phase_groups(phases, "main", case.hosts)
    told = [
        ("".join(phase["id"] for phase in group["phases"]), [h for h in case.hosts if h not in group["left_out"]])
        for group in found
    ]
    assert told == case.groups
    assert all(group["first"] == case.hosts[0] for group in found)


def test_a_phase_without_the_step_is_left_out() -> None:
    phases = [{"id": name, "host_names": ALL, "steps": ["main", *more]} for name, more in (("a", ["close"]), ("b", []))]
    assert [phase["id"] for group in phase_groups(phases, "close", ALL) for phase in group["phases"]] == ["a"]


def test_where_all_take_part_a_thousand_hosts_are_named_nowhere() -> None:
    """Each host keeps it, so the names of all would be a million."""
    hosts = [f"web{number}" for number in range(1000)]
    phases = [{"id": name, "host_names": hosts, "steps": ["main"]} for name in "abc"]
    assert len(str(phase_groups(phases, "main", hosts))) < 200


class Slow(list):
    """A list that is worked out as a whole at each search in it, as Ansible's are."""

    def __contains__(self, _value: object) -> bool:
        raise AssertionError("a search for each host takes minutes with a thousand")


def test_no_list_is_searched_for_each_host() -> None:
    phases = [{"id": "a", "host_names": Slow(["web1"]), "steps": ["main"]}]
    assert phase_groups(phases, "main", Slow(["web1", "web2"]))[0]["left_out"] == ["web2"]
