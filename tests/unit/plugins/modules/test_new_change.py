# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module changeops.rollback.new_change on a real git work tree and real files."""

from __future__ import annotations

import subprocess

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.plugins.module_utils._new_change import read_change

MIGRATION = 'revision = "{}"\ndown_revision: str = {}\n'


class Shop:
    """A repository: v1 with a first migration, then two commits with one migration each, and one without."""

    def __init__(self, root):
        self.root, self.repo = root, root / "shop"
        (self.repo / "migrations").mkdir(parents=True)
        self.git("init", "--quiet")
        self.commits = [
            self.commit("first release", "a1", "None"),
            self.commit("add totals", "b2", '"a1"'),
            self.commit("add\tdiscounts", "c3", '"b2"'),
            self.commit("say it in the README"),
        ]
        (root / "shop.env").write_text("WORKERS=4\n")
        (root / "shop.env").chmod(0o640)

    def git(self, *args):
        who = ["-c", "user.name=Dana Ng", "-c", "user.email=d@example.org"]
        done = subprocess.run(["git", *who, "-C", str(self.repo), *args], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def commit(self, subject, revision="", down=""):
        (self.repo / "README").write_text(subject)
        if revision:
            (self.repo / "migrations" / f"{revision}.py").write_text(MIGRATION.format(revision, down))
        self.git("add", "--all")
        self.git("commit", "--quiet", "--date=2026-11-20T23:30:00-05:00", "-m", subject)
        return self.git("rev-parse", "HEAD")

    def read(self, check=False, **params):
        keep = [{"path": f"{self.root}/shop.env", "source": f"{self.root}/kept/C002/shop.env", "mode": "0640"}]
        asked = {"repo": str(self.repo), "commits": [], "since": "", "keep": keep, "timeout": 30.0, **params}
        return read_change(asked, check)

    @property
    def kept(self):
        return self.root / "kept" / "C002" / "shop.env"


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)


def test_the_commits_since_the_last_tag_that_is_not_the_changes_own(shop):
    shop.git("tag", "v1", shop.commits[0])
    shop.git("tag", "v2")
    found = shop.read()
    assert found["since"] == "v1" and found["since_commit"] == shop.commits[0]
    assert [one["commit"] for one in found["commits"]] == shop.commits[:0:-1]
    assert found["commits"][1] == {
        "commit": shop.commits[2],
        "author": "Dana Ng",
        "date": "2026-11-21",
        "subject": "add\tdiscounts",
        "merge": False,
    }
    assert found["migrations"] == {"from": ["c3"], "to": ["a1"]}
    assert found["shipped"] is True


@pytest.mark.parametrize(
    ("names", "migrations"),
    [
        ([1], {"from": ["b2"], "to": ["a1"]}),
        ([0], {"from": ["a1"], "to": ["base"]}),
        ([3], {"from": [], "to": []}),
        ([1, 2], {"from": ["c3"], "to": ["a1"]}),
    ],
)
def test_the_migrations_of_given_commits(shop, names, migrations):
    found = shop.read(commits=[shop.commits[number] for number in names])
    assert found["migrations"] == migrations
    assert [one["commit"] for one in found["commits"]] == [shop.commits[number] for number in reversed(names)]


def test_without_a_tag_the_last_commits_are_told(shop):
    found = shop.read()
    assert found["commits"] == [] and found["shipped"] is False
    assert [one["subject"] for one in found["recent"]][:2] == ["say it in the README", "add\tdiscounts"]


def test_config_is_kept_before_the_change_is_shipped_and_never_replaced(shop):
    shop.git("checkout", "--quiet", "--detach", shop.commits[0])
    would = shop.read(check=True, commits=[f"{shop.commits[0]}..{shop.commits[2]}"])
    assert would["kept"] == [str(shop.kept)] and not shop.kept.exists()
    assert shop.read(commits=shop.commits[1:3])["kept"] == [str(shop.kept)]
    assert shop.kept.read_text() == "WORKERS=4\n"
    assert shop.kept.stat().st_mode & 0o777 == 0o640
    assert shop.kept.parent.stat().st_mode & 0o777 == 0o700
    (shop.root / "shop.env").write_text("WORKERS=8\n")
    assert shop.read(commits=shop.commits[1:3])["kept"] == []
    assert shop.kept.read_text() == "WORKERS=4\n"


def test_config_is_not_kept_where_the_change_may_have_changed_it(shop):
    found = shop.read(commits=[shop.commits[1]])
    assert found["missing"] == [str(shop.kept)] and not shop.kept.exists()
    assert "the change is in the code here already" in found["warnings"][0]
    (shop.root / "shop.env").unlink()
    shop.git("checkout", "--quiet", "--detach", shop.commits[0])
    assert "there is no file" in shop.read(commits=[shop.commits[1]])["warnings"][0]


def test_an_unknown_commit_is_refused(shop):
    with pytest.raises(PhaseError, match="There is no commit 'v9'"):
        shop.read(commits=["v9"])
