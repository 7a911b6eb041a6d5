# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables of status.yml, as they are read."""

from __future__ import annotations

import datetime
import typing as t

import pytest
from ansible_collections.changeops.rollback.plugins.plugin_utils._stack import Overlap, Stack
from ansible_collections.changeops.rollback.plugins.plugin_utils._status_view import plans_table, row, truth_table

OLD, NEW = "51d0e2f0" * 5, "8ae1f0c2" * 5
FILES = {"config/app.toml": "a" * 64, "/etc/shop.env": "b" * 64}


def host(
    commit: str = OLD,
    branch: str = "main",
    changed: t.Sequence[str] = (),
    repo: str = "/srv/shop",
    release: str = "",
    unread: dict[str, str] | None = None,
    **found: t.Any,
) -> dict[str, t.Any]:
    code = {"commit": commit, "branch": branch, "changed": list(changed), "release": release}
    whole = {
        "repo": repo,
        "code": code,
        "revisions": {"/srv/shop.db": ["51b7d9aa"]},
        "digest": "c" * 64,
        "files": FILES,
        "services": {"web": "running", "worker": "running"},
        "unread": unread or {},
    }
    return {**whole, **found}


GONE = {"unreachable": True, "msg": "Task failed: Failed to connect to the host via ssh: timed out"}
OTHER_CONFIG = {"digest": "d" * 64, "files": {**FILES, "config/app.toml": "e" * 64}}

# What is found, the cells that are marked, and what stands below the table.
CASES = {
    "all alike": ([host(), host(), host()], [], []),
    "another commit": (
        [host(), host(commit=NEW), host()],
        ["8ae1f0c28a !"],
        ["web2 is odd: commit 8ae1f0c28a, most have 51d0e2f051."],
    ),
    "the first is the odd one": (
        [host(branch="fix"), host(), host()],
        ["fix !"],
        ["web1 is odd: branch fix, most have main."],
    ),
    "detached": ([host(), host(), host(branch="")], ["(none) !"], ["web3 is odd: branch (none), most have main."]),
    "an edited file": (
        [host(), host(changed=["shop/main.py"]), host()],
        ["1 file !"],
        ["web2 is odd: dirty 1 file (shop/main.py), most have no."],
    ),
    "another revision": (
        [host(), host(revisions={"/srv/shop.db": ["8ae1f0c2"]}), host()],
        ["8ae1f0c2 !"],
        ["web2 is odd: revision 8ae1f0c2, most have 51b7d9aa."],
    ),
    "other config": (
        [host(), host(), host(**OTHER_CONFIG)],
        ["dddddddddd !"],
        ["web3 is odd: config dddddddddd (config/app.toml), most have cccccccccc."],
    ),
    "one service of two": (
        [host(), host(services={"web": "stopped", "worker": "running"}), host()],
        ["web stopped !"],
        ["web2 is odd: web stopped, most have web running."],
    ),
    "two things on one host": (
        [host(), host(commit=NEW, branch="fix"), host()],
        ["8ae1f0c28a !", "fix !"],
        ["web2 is odd: commit 8ae1f0c28a, most have 51d0e2f051; branch fix, most have main."],
    ),
    "no majority": (
        [host(), host(commit=NEW)],
        ["51d0e2f051 !", "8ae1f0c28a !"],
        ["web1 and web2 differ in commit, and no value is on most of them."],
    ),
    "no majority in config": (
        [host(), host(**OTHER_CONFIG)],
        ["cccccccccc !", "dddddddddd !"],
        ["web1 and web2 differ in config (config/app.toml), and no value is on most of them."],
    ),
    "unreachable, and no vote": (
        [host(), GONE, host(commit=NEW), host()],
        ["8ae1f0c28a !"],
        ["web3 is odd: commit 8ae1f0c28a, most have 51d0e2f051."],
    ),
    "another app": ([host(), host(), host(commit=NEW, repo="/srv/billing")], [], []),
    "one app in several places": (
        [host(), host(repo="/opt/shop"), host(commit=NEW, repo="/home/x/shop")],
        ["8ae1f0c28a !"],
        ["web3 is odd: commit 8ae1f0c28a, most have 51d0e2f051."],
    ),
    "releases": (
        [host(commit="", release=name, repo="/srv/shop/current") for name in ("r7", "r8", "r7")],
        ["r8 !"],
        ["web2 is odd: commit r8, most have r7."],
    ),
    "releases of two apps": (
        [host(commit="", release=name, repo=f"/srv/{name}/current") for name in ("web", "worker", "web")],
        [],
        [],
    ),
    "a part that cannot be read": (
        [host(), host(unread={"revisions": "there is no file x.db"}, revisions={}), host()],
        [],
        ["(1) web2, revision: there is no file x.db"],
    ),
    "code that cannot be read": (
        [host(), {**host(unread={"code": "no git"}), "code": None}],
        [],
        ["(1) web2, code: no git"],
    ),
    "nothing is known of an app": (
        [{**host(repo="", services={}, revisions={}, digest="", files={}), "code": None}],
        [],
        [],
    ),
}


@pytest.mark.parametrize("width", [80, 100, 120])
@pytest.mark.parametrize(("found", "marked", "below"), CASES.values(), ids=CASES)
def test_what_is_odd_is_marked_and_said(found: list, marked: list[str], below: list[str], width: int) -> None:
    rows = [row(f"web{number}", one) for number, one in enumerate(found, 1)]
    text = truth_table(rows, width)
    assert max(map(len, text.splitlines())) <= width
    table, _empty, rest = text.partition("\n\n")
    assert table.count(" !") == len(marked), text
    for cell in marked:
        assert cell in " ".join(table.split()), text
    assert " ".join(rest.split()) == " ".join(below), text
    for one in rows:
        assert any(line.startswith(one.host) for line in table.splitlines())


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (GONE, "unreachable: Failed to connect to the host via ssh: timed out"),
        ({"failed": True, "msg": "Missing sudo password\nmore"}, "cannot be read: Missing sudo password"),
        ({"failed": True, "module_stderr": "sudo: a password is required\n", "msg": "x"}, "a password is required"),
        ({"failed": True, "msg": "postgresql://u:hunter2@h/d is wrong"}, "postgresql://u:"),
        ({}, "cannot be read: see above"),
    ],
)
def test_a_host_without_an_answer_says_why(result: dict[str, t.Any], said: str) -> None:
    text = truth_table([row("web1", host()), row("web2", result)], 100)
    assert said in text
    assert "hunter2" not in text


def test_a_narrow_terminal_wraps_the_services_below_each_other() -> None:
    many = {f"shop-worker-{number}": "running" for number in range(6)}
    lines = truth_table([row("web1", host(services=many))], 80).splitlines()
    assert len(lines) > 3
    assert {line.index("shop-worker") for line in lines if "shop-worker" in line} == {lines[0].index("services")}


PLAN = {"change": "C001", "title": "Add invoice totals", "fault": "", "hosts": ["web1"]}
RUN = {"change": "C001", "started": "2026-11-22T23:15:00.123Z", "kind": "rollback", "outcome": "succeeded"}
RUN.update(summary="7 phases done.", attempt=None)
LATER = {**RUN, "started": "2026-11-23T01:00:00Z", "outcome": "refused", "summary": "C001 is rolled back already."}
NOW = datetime.datetime(2026, 11, 23, 1, 20, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("plans", "runs", "words"),
    [
        ([PLAN], {"C001": RUN}, ["C001 2026-11-22 23:15 2 h 4 min succeeded 3 d ago, READY Add invoice totals"]),
        ([PLAN], {"C001": {**RUN, "kind": "undo"}}, ["undo succeeded 3 d ago, READY Add invoice totals"]),
        ([PLAN], {"C001": {**RUN, "outcome": None}}, ["running 3 d ago, READY Add invoice totals"]),
        ([PLAN], {}, ["C001 never run 3 d ago, READY Add invoice totals"]),
        ([PLAN], None, ["C001 ? ? Add invoice totals"]),
        ([{**PLAN, "fault": "cannot be rolled back: gone"}], {}, ["C001: cannot be rolled back: gone"]),
        ([PLAN, {**PLAN, "change": "C002"}], {"C002": RUN}, ["C001 never run", "C002 2026-11-22 23:15"]),
        (
            [PLAN],
            {"C001": {**RUN, "attempt": LATER}},
            ["2 h 4 min succeeded", "Since then C001 was refused, 20 min ago: C001 is rolled back already."],
        ),
        (
            [PLAN],
            {"C001": {**RUN, "attempt": {**LATER, "kind": "undo"}}},
            ["2 h 4 min succeeded", "Since then the undo of C001 was refused, 20 min ago: C001 is"],
        ),
        ([], {}, ["There is no plan yet."]),
    ],
)
def test_plans(plans: list, runs: dict | None, words: list[str]) -> None:
    rehearsed = {"C001": "3 d ago, READY"} if runs is not None else {}
    text = plans_table(plans, runs, rehearsed, NOW, 100, Stack({}, {}))
    for some in words:
        assert some in " ".join(text.split())
    assert "stack" not in text


# What lies on what, the words in the plans' lines, and what stands below the table.
STACKS = {
    "one on one": (["1<3"], {"C001": "under C003", "C002": "", "C003": ""}, ["C003, then C001."]),
    "one on another on a third": (
        ["1<2", "2<3"],
        {"C001": "under C002", "C002": "under C003", "C003": ""},
        ["C003, then C002, then C001."],
    ),
    "one on two, said once": (
        ["1<3", "2<3"],
        {"C001": "under C003", "C002": "under C003", "C003": ""},
        ["C003, then C002, then C001."],
    ),
    "two on one": (
        ["1<2", "1<3"],
        {"C001": "under C003, C002", "C002": "", "C003": ""},
        ["C003, then C002, then C001."],
    ),
    "on each other": (
        ["1<2", "2<1"],
        {"C001": "under C002", "C002": "under C001", "C003": ""},
        ["C002 and C001 lie on top of each other: roll them back as one, with one plan."],
    ),
    "of which only some are shown": (
        ["4<5", "1<4"],
        {"C001": "under C004", "C002": ""},
        ["C005, then C004, then C001."],
    ),
    "of which none is shown": (["4<5"], {"C001": "", "C002": ""}, []),
}


@pytest.mark.parametrize("case", STACKS)
def test_plans_that_lie_under_others(case: str) -> None:
    pairs, cells, below = STACKS[case]
    overlaps: dict[str, dict[str, Overlap]] = {}
    for lower, upper in (pair.split("<") for pair in pairs):
        overlaps.setdefault(f"C00{lower}", {})[f"C00{upper}"] = Overlap(files=frozenset("a"))
    stack = Stack(overlaps, {f"C00{number}": (number,) for number in range(1, 6)})
    text = plans_table([{**PLAN, "change": change} for change in cells], {"C001": RUN}, {}, NOW, 120, stack)
    head, _rule, *lines = text.partition("\n\n")[0].splitlines()
    start = head.index("stack") if "stack" in head else 0
    shown = [line[start:].removesuffix(PLAN["title"]).strip() if start else "" for line in lines]
    assert dict(zip(cells, shown, strict=True)) == cells
    assert [note for note in below if note in " ".join(text.split())] == below
    assert text.count("The order to roll back in: ") == sum("then" in note for note in below)
