# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which changes lie on top of which, by what, and the order to take."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.changeops.rollback.plugins.plugin_utils._plan import Phase, Plan
from ansible_collections.changeops.rollback.plugins.plugin_utils._stack import Overlap, Stack, place_of, stack_of

WEB = ("web1", "web2")


def place(change: str, date: str = "", hosts: t.Sequence[str] = WEB, **ends: t.Sequence[str]) -> dict[str, t.Any]:
    number = int(change[1:])
    return {
        "change": change,
        "path": f"changes/{change}.yml",
        "date": date or f"2026-11-{number:02}",
        "hosts": list(hosts),
        "from": list(ends.get("from_", ())),
        "to": list(ends.get("to", ())),
        "never": "",
    }


def stands(
    *files: tuple[t.Any, ...],
    state: str = "here",
    config: t.Sequence[str] = (),
    commits: t.Sequence[int] | None = None,
) -> dict[str, t.Any]:
    """How a change stands on a host: files, each with the numbers of the commits that touched it."""
    found = {name: numbers for name, *numbers in files}
    whole = commits if commits is not None else {number for numbers in found.values() for number in numbers}
    return {"state": state, "commits": sorted(whole), "files": found, "config": list(config)}


GONE, UNKNOWN = stands(state="gone"), stands(state="unknown")
CODE = [place("C001"), place("C002"), place("C003")]
CHAIN = [
    place("C001", from_=["aaaa1"], to=["base1"]),
    place("C002", from_=["bbbb2"], to=["aaaa1"]),
    place("C003", from_=["cccc3"], to=["bbbb2"]),
]
HERE = {change: stands(commits=[number]) for number, change in enumerate(("C001", "C002", "C003"), 1)}


def at(*rows: str) -> dict[str, list[str]]:
    return {"/srv/shop.db": list(rows)}


# Plans, what the hosts told, and what lies on what: files, revisions, config; and whether that is sure.
CASES: dict[str, tuple[list[dict], list[dict], dict[tuple[str, str], tuple[str, str, str, bool]]]] = {
    "one file": (
        CODE,
        [{"changes": {"C001": stands(("app.py", 1)), "C003": stands(("app.py", 3))}}],
        {("C001", "C003"): ("app.py", "", "", True)},
    ),
    "no file": (CODE, [{"changes": {"C001": stands(("a", 1)), "C003": stands(("b", 3))}}], {}),
    "each of three": (
        CODE,
        [
            {
                "changes": {
                    "C001": stands(("a", 1)),
                    "C002": stands(("a", 2), ("b", 2)),
                    "C003": stands(("b", 3), ("a", 3)),
                }
            }
        ],
        {
            ("C001", "C002"): ("a", "", "", True),
            ("C001", "C003"): ("a", "", "", True),
            ("C002", "C003"): ("a b", "", "", True),
        },
    ),
    "by turns, on each other": (
        CODE,
        [{"changes": {"C001": stands(("a", 1, 3)), "C003": stands(("a", 2))}}],
        {("C001", "C003"): ("a", "", "", True), ("C003", "C001"): ("a", "", "", True)},
    ),
    "two plans of the same commits": (
        CODE,
        [{"changes": {change: stands(("a", 1, 3)) for change in ("C001", "C002")}}],
        {},
    ),
    "a plan of one commit, and one of this and a later one": (
        CODE,
        [{"changes": {"C001": stands(("a", 1)), "C003": stands(("a", 1, 3))}}],
        {("C001", "C003"): ("a", "", "", True)},
    ),
    "the upper one is rolled back": (CODE, [{"changes": {"C001": stands(("a", 1)), "C003": GONE}}], {}),
    "the lower one is rolled back": (CODE, [{"changes": {"C001": GONE, "C003": stands(("a", 3))}}], {}),
    "rolled back on one host of two": (
        CODE,
        [
            {"changes": {"C001": stands(("a", 1)), "C003": GONE}},
            {"changes": {"C001": stands(("a", 1)), "C003": stands(("a", 3))}},
        ],
        {("C001", "C003"): ("a", "", "", True)},
    ),
    "other files on another host": (
        CODE,
        [
            {"changes": {"C001": stands(("a", 1)), "C003": stands(("a", 3))}},
            {"changes": {"C001": stands(("b", 1)), "C003": stands(("b", 3))}},
        ],
        {("C001", "C003"): ("a b", "", "", True)},
    ),
    "a host that could not be read": (CODE, [{"unreachable": True, "msg": "away"}, {"failed": True}], {}),
    "migrations, all applied": (
        CHAIN,
        [{"changes": HERE, "revisions": at("cccc3")}],
        {
            ("C001", "C002"): ("", "bbbb2", "", True),
            ("C001", "C003"): ("", "cccc3", "", True),
            ("C002", "C003"): ("", "cccc3", "", True),
        },
    ),
    "migrations, the newest rolled back in the database": (
        CHAIN,
        [{"changes": HERE, "revisions": at("bbbb2")}],
        {("C001", "C002"): ("", "bbbb2", "", True)},
    ),
    "migrations, a database before all": (CHAIN, [{"changes": HERE, "revisions": at("base1")}], {}),
    "migrations, with one between them that no plan knows": (
        CHAIN[::2],
        [{"changes": HERE, "revisions": at("cccc3"), "migrations": {"bbbb2": ["aaaa1"], "cccc3": ["bbbb2"]}}],
        {("C001", "C003"): ("", "cccc3", "", True)},
    ),
    "migrations, with an unknown one on top of all": (
        CHAIN[:2],
        [{"changes": {}, "revisions": at("ffff9"), "migrations": {"ffff9": ["bbbb2"]}}],
        {("C001", "C002"): ("", "bbbb2", "", True)},
    ),
    "migrations, two branches": (
        [CHAIN[0], place("C002", from_=["bbbb2"], to=["base1"]), place("C003", from_=["cccc3"], to=["bbbb2"])],
        [{"changes": HERE, "revisions": at("aaaa1", "cccc3")}],
        {("C002", "C003"): ("", "cccc3", "", True)},
    ),
    "migrations, a merge of two branches": (
        [CHAIN[0], place("C002", from_=["bbbb2"], to=["base1"]), place("C003", from_=["cccc3"], to=["aaaa1", "bbbb2"])],
        [{"changes": HERE, "revisions": at("cccc3")}],
        {("C001", "C003"): ("", "cccc3", "", True), ("C002", "C003"): ("", "cccc3", "", True)},
    ),
    "migrations, revisions not written whole": (
        [place("C001", from_=["8ae1"], to=["51b7d9aa"]), place("C003", from_=["c3d4e5f6"], to=["8ae1f0c2"])],
        [{"changes": HERE, "revisions": at("c3d4e5f6")}],
        {("C001", "C003"): ("", "c3d4e5f6", "", True)},
    ),
    "migrations with short names of their own": (
        [place("C001", from_=["1"], to=["0"]), place("C003", from_=["10"], to=["1"])],
        [{"changes": HERE, "revisions": at("10")}],
        {("C001", "C003"): ("", "10", "", True)},
    ),
    "migrations, and a newer one that no plan knows: the code tells": (
        [*CHAIN[::2], place("C002", from_=["bbbb2"], to=["aaaa1"])],
        [{"changes": {**HERE, "C003": GONE}, "revisions": at("ffff9")}],
        {("C001", "C002"): ("", "bbbb2", "", True)},
    ),
    "migrations of plans without commits, in a database that was not read": (
        CHAIN[:2],
        [{"changes": {"C001": UNKNOWN, "C002": UNKNOWN}, "revisions": {}}],
        {("C001", "C002"): ("", "bbbb2", "", False)},
    ),
    "migrations on hosts without code": (
        CHAIN[:2],
        [{"changes": {}, "revisions": at("bbbb2")}],
        {("C001", "C002"): ("", "bbbb2", "", True)},
    ),
    "a database without a version": (
        CHAIN[:2],
        [{"changes": HERE, "revisions": at("base")}],
        {("C001", "C002"): ("", "bbbb2", "", True)},
    ),
    "migrations that go round": (
        [place("C001", from_=["aaaa1"], to=["bbbb2"]), place("C002", from_=["bbbb2"], to=["aaaa1"])],
        [{"changes": HERE, "revisions": at("aaaa1")}],
        {("C001", "C002"): ("", "bbbb2", "", True), ("C002", "C001"): ("", "aaaa1", "", True)},
    ),
    "config that the lower one restores": (
        CODE,
        [{"changes": {"C001": stands(("a", 1), config=["config"]), "C003": stands(("config/app.toml", 3), ("b", 3))}}],
        {("C001", "C003"): ("", "", "config/app.toml", True)},
    ),
    "config that was changed before": (
        CODE,
        [{"changes": {"C001": stands(("config/app.toml", 1)), "C003": stands(("a", 3), config=["config/app.toml"])}}],
        {},
    ),
    "a folder whose name only begins alike": (
        CODE,
        [{"changes": {"C001": stands(("a", 1), config=["conf"]), "C003": stands(("config/app.toml", 3))}}],
        {},
    ),
    "config outside the work tree": (
        CODE,
        [
            {
                "changes": {
                    "C001": stands(("a", 1), config=["/etc/shop.env"]),
                    "C003": stands(("b", 3), config=["/etc/shop.env", "/etc/more"]),
                }
            }
        ],
        {("C001", "C003"): ("", "", "/etc/shop.env", True)},
    ),
    "config outside, of a change without commits: the date makes it likely": (
        CODE,
        [
            {
                "changes": {
                    "C001": stands(("a", 1), config=["/etc/shop.env"]),
                    "C002": stands(state="gone", config=["/etc/shop.env"]),
                    "C003": stands(state="unknown", config=["/etc/shop.env"]),
                }
            }
        ],
        {("C001", "C003"): ("", "", "/etc/shop.env", False)},
    ),
    "all of it at once": (
        [*CHAIN[::2], place("C002", from_=["bbbb2"], to=["aaaa1"])],
        [
            {
                "changes": {
                    "C001": stands(("a", 1), config=["config"]),
                    "C003": stands(("a", 3), ("config/app.toml", 3)),
                },
                "revisions": at("cccc3"),
            }
        ],
        {
            ("C001", "C002"): ("", "bbbb2", "", True),
            ("C001", "C003"): ("a", "cccc3", "config/app.toml", True),
            ("C002", "C003"): ("", "cccc3", "", True),
        },
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_lies_on_what(case: str) -> None:
    places, hosts, expected = CASES[case]
    found = stack_of(places, {f"web{number}": host for number, host in enumerate(hosts, 1)})
    assert {
        (lower, upper): (*(" ".join(sorted(part)) for part in (one.files, one.revisions, one.config)), one.sure)
        for lower, on_top in found.overlaps.items()
        for upper, one in on_top.items()
    } == expected


def test_plans_of_other_hosts_do_not_count() -> None:
    places = [place("C001", from_=["aaaa1"]), place("C002", hosts=["db1"], from_=["bbbb2"], to=["aaaa1"])]
    found = {host: {"changes": {}, "revisions": at("bbbb2")} for host in ("web1", "db1")}
    assert stack_of(places, found).overlaps == {}


def stack(*pairs: str) -> Stack:
    """Of pairs such as "1<3": C003 lies on C001."""
    overlaps: dict[str, dict[str, Overlap]] = {}
    for pair in pairs:
        lower, upper = pair.split("<")
        overlaps.setdefault(f"C00{lower}", {})[f"C00{upper}"] = Overlap(files=frozenset("a"))
    return Stack(overlaps, {f"C00{number}": (number,) for number in range(1, 8)})


@pytest.mark.parametrize(
    ("pairs", "order", "tangle"),
    [
        ("", "1", ""),
        ("1<3", "31", ""),
        ("1<2 2<3", "321", ""),
        ("1<2 1<3", "321", ""),
        ("1<3 2<3", "31", ""),
        ("1<2 1<3 2<4 3<4 5<6", "4321", ""),
        ("1<5 5<2", "251", ""),
        ("1<3 3<1", "", "31"),
        ("1<3 3<1 3<4", "4", "31"),
        ("1<2 2<3 3<2", "", "32"),
        ("1<2 2<3 3<1", "", "321"),
    ],
)
def test_the_order_to_take(pairs: str, order: str, tangle: str) -> None:
    def short(changes: list[str]) -> str:
        return "".join(change[-1] for change in changes)

    assert tuple(map(short, stack(*pairs.split()).order("C001"))) == (order, tangle)


def test_what_only_has_files_in_common_can_be_left_on_top() -> None:
    found = stack("1<2", "1<3", "2<3")
    found.overlaps["C001"]["C004"] = Overlap(revisions=frozenset(["dddd4"]))
    assert found.order("C001", without=["C003"]) == (["C004", "C002", "C001"], [])
    assert found.order("C001", without=["C002", "C003", "C004"]) == (["C004", "C001"], [])


def test_heaps() -> None:
    assert stack("1<3", "2<3", "5<6").heaps() == [["C001", "C002", "C003"], ["C005", "C006"]]
    assert stack().heaps() == []


def plan(*phases: tuple[str, dict[str, t.Any]], **fields: t.Any) -> Plan:
    made = [
        Phase(index, f"changeops.rollback.{name}", "shop", vars=given) for index, (name, given) in enumerate(phases, 1)
    ]
    return Plan("C001", "T", "2026-11-20", "/ops/changes/C001.yml", "0", phases=tuple(made), **fields)


ENV = "/etc/shop.env"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (plan(), {"from": [], "to": [], "commits": [], "config": [], "back": ""}),
        (
            plan(
                ("alembic_downgrade", {"alembic_downgrade_from": "8ae1", "alembic_downgrade_to": ["51b7", "c0de"]}),
                ("git_revert", {"git_revert_commits": ["4f1c2e9"]}),
                ("config_restore", {}),
            ),
            {"from": ["8ae1"], "to": ["51b7", "c0de"], "commits": ["4f1c2e9"], "config": None},
        ),
        (
            plan(("alembic_downgrade", {"alembic_downgrade_from": "8ae1, 77aa", "alembic_downgrade_to": "-1"})),
            {"from": ["77aa", "8ae1"], "to": []},
        ),
        (
            plan(("alembic_downgrade", {"alembic_downgrade_from": "heads", "alembic_downgrade_to": "base"})),
            {"from": [], "to": []},
        ),
        (
            plan(("config_restore", {"config_restore_paths": ["config/", {"path": ENV, "keys": {"A": "b"}}, {}, 7]})),
            {"config": ["config/", ENV]},
        ),
        (plan(("git_revert", {"git_revert_method": "checkout", "git_revert_to": "v1"})), {"commits": [], "back": "v1"}),
        (plan(("config_restore", {"config_restore_paths": "config"})), {"config": []}),
        (plan(possible=False, reason="The data is gone."), {"never": "C001 cannot be rolled back: The data is gone."}),
    ],
)
def test_what_a_plan_tells(given: Plan, expected: dict[str, t.Any]) -> None:
    found = place_of(given, WEB, "changes/C001.yml")
    assert (found["path"], found["hosts"], found["date"]) == ("changes/C001.yml", list(WEB), "2026-11-20")
    told = {**found["look"], **found, "back": found["look"]["to"]}
    assert {name: told[name] for name in expected} == expected
