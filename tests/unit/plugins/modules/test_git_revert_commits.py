# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commits that git_revert can be given: tags, ranges, merges, and several of them."""

from __future__ import annotations

import subprocess

import pytest
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.git_work_tree import ROLLED_BACK, Repo, tree


@pytest.fixture
def merged(repo):
    """A branch of two commits was merged after the last commit, and one commit follows."""
    repo.git("checkout", "--quiet", "-b", "side", repo.last)
    repo.one = repo.commit("One", {"one": "1\n", "lib/x.py": "side\n"})
    repo.two = repo.commit("Two", {"one": "2\n"})
    repo.git("checkout", "--quiet", "main")
    repo.before = repo.commit("Before", {"before": "b\n"})
    repo.git("merge", "--quiet", "--no-ff", "-m", "Merge side", "side")
    repo.merge = repo.head
    repo.after = repo.commit("After", {"after": "a\n"})
    return repo


def reverted(repo):
    """The commits that the message of the revert names, in its order, by the names that they have in the test."""
    names = {value: name for name, value in vars(repo).items() if isinstance(value, str)}
    lines = repo.git("log", "-1", "--format=%b").splitlines()
    return [names.get(line[len("This reverts commit ") : -1], line) for line in lines if line]


def as_git_reverts(repo, *args):
    """The tree that git's own revert makes, in a clone."""
    clone = Repo(repo.path.with_name("clone"), repo.path)
    subprocess.run(["git", "clone", "--quiet", str(repo.path), str(clone.path)], check=True)
    clone.git("revert", "--no-commit", *args)
    return clone.git("write-tree")


@pytest.mark.parametrize(
    "given",
    ["{good}..{last}", "{bad}^..{last}", "{last}~2..{last}", "v1..{last}", "v1..20261102", "{good}..20261102"],
)
def test_range(repo, given):
    repo.git("tag", "v1", repo.good)
    repo.git("tag", "-a", "-m", "Tag", "20261102", repo.last)  # could be a hash
    expected = as_git_reverts(repo, f"{repo.good}..{repo.last}")
    repo.run("main", commits=[given.format(**vars(repo))])
    assert repo.git("rev-parse", "HEAD^{tree}") == expected
    assert reverted(repo) == ["last", "bad"]
    assert tree(repo.path) == {**ROLLED_BACK, "README": b"r\n"}


@pytest.mark.parametrize(
    "given", [["{bad}", "{bad}..{more}"], ["{good}..{last}", "{last}..{more}"], ["{good}..{more}", "{bad}"]]
)
def test_ranges_and_commits_together(repo, given):
    repo.more = repo.commit("More", {"app.py": "three\n"})
    repo.run("main", commits=[name.format(**vars(repo)) for name in given])
    assert reverted(repo) == ["more", "last", "bad"]
    assert tree(repo.path) == {**ROLLED_BACK, "README": b"r\n"}


@pytest.mark.parametrize("kind", ["lightweight", "annotated", "of a tag", "like a date", "like a branch"])
def test_tag(repo, kind):
    name = {"like a date": "20261101", "like a branch": "main"}.get(kind, "v2")
    repo.git("tag", *(["-a", "-m", "Tag"] if kind == "annotated" else []), name, repo.bad)
    if kind == "of a tag":
        repo.git("tag", "-a", "-m", "Tag", "v3", "v2")
        name = "v3"
    repo.run("main", commits=[name])
    assert tree(repo.path) == ROLLED_BACK
    assert reverted(repo) == ["bad"]


@pytest.mark.parametrize(
    ("given", "mainline", "named", "left"),
    [
        (["{merge}"], 1, ["merge"], {"before": b"b\n", "after": b"a\n"}),
        (["{merge}", "{two}", "{one}"], 1, ["merge"], {"before": b"b\n", "after": b"a\n"}),
        (["{bad}", "{merge}"], 1, ["merge", "bad"], {"before": b"b\n", "after": b"a\n", **ROLLED_BACK}),
        (["{last}..{after}"], 1, ["after", "merge", "before"], {}),
        (["{merge}"], 2, ["merge"], {"one": b"2\n", "lib/x.py": b"side\n", "after": b"a\n"}),
        (["{before}..{merge}", "{after}"], 1, ["after", "merge"], {"before": b"b\n"}),
    ],
)
def test_merge(merged, given, mainline, named, left):
    report = merged.run("main", commits=[name.format(**vars(merged)) for name in given], mainline=mainline)
    assert reverted(merged) == named
    expected = {**merged.files, **left}
    if "bad" in named:
        del expected["new/y.py"]
    assert tree(merged.path) == expected
    words = f"To bring it all back, type before that: git revert {merged.head[:10]}"
    assert [words in warning for warning in report.warnings].count(True) == 1


def test_merging_again_after_a_revert_is_as_the_warning_says(merged):
    warnings = merged.run("main", commits=[merged.merge], mainline=1).warnings
    assert merged.git("merge", "side") == "Already up to date."
    assert not (merged.path / "one").exists()
    words = next(w for w in warnings if "merged still" in w).rpartition("type before that: git ")[2].split()
    merged.git(*words, "--no-edit")
    assert (merged.path / "one").read_text() == "2\n"


def test_a_merge_that_is_reverted_already(merged):
    merged.git("revert", "--no-edit", "-m", "1", merged.merge)
    assert not merged.run("main", commits=[merged.merge], mainline=1).changed


def test_a_range_in_a_shallow_clone_means_the_same(repo, tmp_path):
    last = repo.commit("More", {"app.py": "three\n"})
    path = tmp_path / "shallow"
    subprocess.run(["git", "clone", "--quiet", "--depth=3", f"file://{repo.path}", str(path)], check=True)
    shallow = Repo(path, tmp_path / "state2").run("main", commits=[f"{repo.bad}..{last}"])
    assert shallow.after["commit"] == repo.run("main", commits=[f"{repo.bad}..{last}"]).after["commit"]


def test_a_long_range(repo):
    for number in range(40):
        repo.commit(f"Line {number}", {"lines": "".join(f"{n}\n" for n in range(number + 1))})
    report = repo.run("main", commits=[f"{repo.last}..{repo.head}"])
    assert report.msg.startswith("Reverting ")
    assert " and 30 more brought " in report.msg
    assert not (repo.path / "lines").exists()
