# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module status tells of changes in a real git repository: which are there, and what they touched."""

from __future__ import annotations

import subprocess

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils import _stack
from ansible_collections.changeops.rollback.plugins.module_utils._status import read_status
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.git_work_tree import Repo, snapshot

# The fixture's repository: 0 is the first release, 1 the commit of C001 (app.py, old.py, new/y.py), 2 changes README.


def told(repo, asked, config=()):
    """What the module tells of changes given as {ID: commits}, or {ID: options}."""
    rows = []
    for change, given in asked.items():
        more = given if isinstance(given, dict) else {"commits": given}
        rows.append({"change": change, "commits": [], "to": "", "config": [], **more})
    params = {"repo": str(repo.path), "config": list(config), "databases": {}, "services": [], "environment_files": []}
    found = read_status(dict(params, changes=rows, timeout=30.0))
    assert found["unread"] == {}
    return found


def changes(*args):
    return told(*args)["changes"]


def app(repo, text, **more):
    return repo.commit(text, {"app.py": f"{text}\n", **more})


def undone(repo, commit, times=1, options=()):
    """The commit, which was reverted; or that revert, too."""
    last = commit
    for _time in range(times):
        repo.git("revert", "--no-edit", *options, last)
        last = repo.head
    return commit


def tagged(repo):
    app(repo, "three")
    repo.git("tag", "-a", "v3", "-m", "three")
    repo.git("tag", "v2", repo.bad)
    return {"C001": ["v2"], "C003": ["v3"]}


def elsewhere(repo):
    """C003 is on a branch that is not checked out."""
    repo.git("checkout", "--quiet", "-b", "other")
    three = app(repo, "three")
    repo.git("checkout", "--quiet", "main")
    return {"C001": [repo.bad], "C003": [three]}


def merged(repo):
    repo.git("checkout", "--quiet", "-b", "side", repo.good)
    repo.commit("One", {"one": "1\n", "lib/x.py": "side\n"})
    two = repo.commit("Two", {"one": "2\n"})
    repo.git("checkout", "--quiet", "main")
    repo.git("merge", "--quiet", "--no-ff", "-m", "Merge side", "side")
    app(repo, "later", one="3\n")
    return two


def merge_reverted(repo):
    """What a merge brought is gone with it, for a plan that names the merge and for one that names a commit of it."""
    two = merged(repo)
    merge = repo.git("rev-parse", "HEAD~1")
    repo.git("checkout", "--quiet", "--force", merge)
    return {"C002": [two], "C003": [undone(repo, merge, options=["-m", "1"])]}


CASES = {
    "a later commit on the same file": (
        lambda repo: {"C001": [repo.bad], "C003": [app(repo, "three", z="z\n")]},
        {"C001": ("here", {"app.py": [1]}), "C003": ("here", {"app.py": [3]})},
    ),
    "a later commit on another file": (
        lambda repo: {"C001": [repo.bad], "C002": [repo.last]},
        {"C001": ("here", {}), "C002": ("here", {})},
    ),
    "short hashes": (
        lambda repo: {"C001": [repo.bad[:7].upper()], "C003": [app(repo, "three")[:7]]},
        {"C001": ("here", {"app.py": [1]}), "C003": ("here", {"app.py": [3]})},
    ),
    "tags": (tagged, {"C001": ("here", {"app.py": [1]}), "C003": ("here", {"app.py": [3]})}),
    "a range": (
        lambda repo: {"C001": [repo.bad], "C003": [f"{app(repo, 'three')}^..{app(repo, 'four')}"]},
        {"C001": ("here", {"app.py": [1]}), "C003": ("here", {"app.py": [3, 4]})},
    ),
    "steps back from a commit": (
        lambda repo: {"C001": [f"{repo.last}~1"], "C003": [app(repo, "three")]},
        {"C001": ("here", {"app.py": [1]}), "C003": ("here", {"app.py": [3]})},
    ),
    "a file that was renamed": (
        lambda repo: {"C001": [repo.bad], "C003": [repo.commit("Move", {"app.py": None, "main.py": "two\n"})]},
        {"C001": ("here", {"app.py": [1]}), "C003": ("here", {"app.py": [3]})},
    ),
    "a name that is no ASCII, and one with a line break": (
        lambda repo: {
            change: [repo.commit(change, {"grün.py": change, "a\nb": change})] for change in ("C001", "C003")
        },
        {
            "C001": ("here", {"grün.py": [3], '"a\\012b"': [3]}),
            "C003": ("here", {"grün.py": [4], '"a\\012b"': [4]}),
        },
    ),
    "commits of two changes by turns": (
        lambda repo: {"C003": [app(repo, "three")], "C001": [repo.bad, app(repo, "four")]},
        {"C001": ("here", {"app.py": [1, 4]}), "C003": ("here", {"app.py": [3]})},
    ),
    "reverted": (
        lambda repo: {"C001": [repo.bad], "C003": [undone(repo, app(repo, "three"))]},
        {"C001": ("here", {}), "C003": ("gone", {})},
    ),
    "reverted, and that reverted": (
        lambda repo: {"C001": [repo.bad], "C003": [undone(repo, app(repo, "three"), times=2)]},
        {"C001": ("here", {"app.py": [1]}), "C003": ("here", {"app.py": [3]})},
    ),
    "one of two is reverted": (
        lambda repo: {
            "C001": [repo.bad],
            "C003": [app(repo, "three"), undone(repo, repo.commit("Four", {"old.py": "4\n"}))],
        },
        {"C001": ("here", {"app.py": [1]}), "C003": ("here", {"app.py": [3]})},
    ),
    "a merge and what it brought, reverted": (merge_reverted, {"C002": ("gone", {}), "C003": ("gone", {})}),
    "a merge": (
        lambda repo: {"C002": [merged(repo)], "C003": [repo.git("rev-parse", "HEAD~1")], "C004": [repo.head]},
        {
            "C002": ("here", {"one": [4]}),
            "C003": ("here", {"one": [5]}),
            "C004": ("here", {"one": [6]}),
        },
    ),
    "a rollback that goes back to a commit": (
        lambda repo: {"C001": {"to": repo.good}, "C003": [app(repo, "three", z="z\n")]},
        {"C001": ("here", {"app.py": [0], "z": [0]}), "C003": ("here", {"app.py": [3], "z": [3]})},
    ),
    "a rollback that went back to it": (
        lambda repo: {"C001": {"to": repo.last}, "C003": [repo.bad]},
        {"C001": ("gone", {}), "C003": ("here", {})},
    ),
    "a rollback that goes back to a release by its name": (
        lambda repo: {"C001": {"to": "20261101093000"}, "C003": [repo.bad]},
        {"C001": ("unknown", {}), "C003": ("here", {})},
    ),
    "on another branch": (elsewhere, {"C001": ("here", {}), "C003": ("gone", {})}),
    "commits of another repository, words and nothing": (
        lambda repo: {"C001": [repo.bad], "C002": ["4f1c2e9", "a..b"], "C003": ["HEAD", "main", "--all"], "C004": []},
        {"C001": ("here", {}), "C002": ("gone", {}), "C003": ("gone", {}), "C004": ("unknown", {})},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_where_changes_lie(repo, case):
    build, expected = CASES[case]
    asked = build(repo)
    before = snapshot(repo.path)
    found = changes(repo, asked)
    assert snapshot(repo.path) == before, "it only reads"
    assert {change: (one["state"], one["files"]) for change, one in found.items()} == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("revision = 'c3'\ndown_revision = 'a1'\n", {"c3": ["a1"]}),
        ('revision: str = "c3"\ndown_revision: Union[str, None] = "a1"\n', {"c3": ["a1"]}),
        ("revision='c3'\ndown_revision=('a1', 'b2')\ndepends_on = 'd4'\n", {"c3": ["a1", "b2", "d4"]}),
        ("revision = 'c3'\ndown_revision = None\ndepends_on = None\n", {"c3": []}),
        ("revision = 'c3'\n", {}),
        ("    revision = 'c3'\n    down_revision = 'a1'\n", {}),
        ("revision = down_revision = make()\n", {}),
    ],
)
def test_migrations_in_the_code(repo, text, expected):
    three = repo.commit("Three", {"versions/c3.py": text, "app.py": "revision = 'x'\n"})
    found = told(repo, {"C001": [repo.bad], "C003": [three]})
    assert found["migrations"] == expected
    assert told(repo, {"C001": [repo.bad]})["migrations"] == expected


def test_commits_that_are_nowhere_in_the_repository(repo):
    repo.git("tag", "v2", repo.bad)
    asked = elsewhere(repo)
    asked["C004"] = [repo.bad[:8], f"{repo.bad}..{asked['C003'][0]}", "v2~1"]
    asked["C005"] = ["4f1c2e9", "v9", f"{repo.bad}..v9", "--all", repo.bad]
    asked["C006"] = {"to": "v8"}
    assert told(repo, asked)["missing"] == {"C005": ["4f1c2e9", "v9", f"{repo.bad}..v9", "--all"], "C006": ["v8"]}


def test_nothing_lies_on_one_change_alone(repo):
    assert changes(repo, {"C001": [repo.bad]}) == {}


def test_a_hundred_changes_take_no_more_calls_than_two(repo, monkeypatch):
    calls = []
    run, counts = _stack.Git.run, []
    monkeypatch.setattr(_stack.Git, "run", lambda git, *args, **kw: calls.append(args) or run(git, *args, **kw))
    for many in (2, 100):
        calls.clear()
        assert len(changes(repo, {f"C{number}": [repo.bad] for number in range(many)})) == many
        counts.append(len(calls))
    assert counts[0] == counts[1]


@pytest.mark.parametrize(
    ("of_plan", "shared", "expected"),
    [
        pytest.param(["app.py"], [], ["app.py"], id="a file"),
        pytest.param(["lib/", "/etc/shop.env"], [], ["/etc/shop.env", "lib"], id="a folder, and a file outside"),
        pytest.param(None, ["lib", "/etc/shop.env"], ["lib"], id="the app's own, which are every change's outside"),
        pytest.param([], ["lib"], [], id="none"),
    ],
)
def test_config_by_its_place_in_the_work_tree(repo, of_plan, shared, expected):
    """Below the top of the work tree too, as an app that has its folder there says it."""
    three = repo.commit("Three", {"lib/x.py": "three\n"})
    found = changes(repo, {"C001": {"commits": [repo.bad], "config": of_plan}, "C003": [three]}, shared)
    assert found["C001"]["config"] == expected
    assert found["C003"]["config"] == []
    assert found["C003"]["files"] == ({"lib/x.py": [3]} if "lib" in expected else {})
    assert found["C001"]["commits"] == [1]
    below = Repo(repo.path / "lib", repo.path)
    there = changes(below, {"C001": {"commits": [repo.bad], "config": ["x.py"]}, "C003": [three]})
    assert there["C003"]["files"] == {"lib/x.py": [3]}


def test_a_shallow_clone_tells_of_what_it_has(repo):
    three = app(repo, "three")
    clone = Repo(repo.path.with_name("clone"), repo.path)
    subprocess.run(["git", "clone", "--quiet", "--depth", "1", f"file://{repo.path}", str(clone.path)], check=True)
    found = changes(clone, {"C001": [repo.bad], "C003": [three]})
    assert {change: one["state"] for change, one in found.items()} == {"C001": "gone", "C003": "here"}
