# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""git_revert alone: the commit, the files and the virtual environment on the hosts, and the host with a conflict."""

import pytest

reverted = pytest.mark.parametrize("app", ["web1", "web2"], indirect=True)


@reverted
def test_one_commit_has_the_content_of_the_good_release(app):
    good, bad = app.facts["commits"]["good"], app.facts["commits"]["bad"]
    assert app.git("rev-parse", "HEAD^") == bad
    assert app.git("rev-parse", "HEAD^{tree}") == app.git("rev-parse", f"{good}^{{tree}}")
    assert app.git("symbolic-ref", "HEAD") == "refs/heads/main"


def test_the_commit_is_the_same_on_every_host(apps):
    assert apps("web1").git("rev-parse", "HEAD") == apps("web2").git("rev-parse", "HEAD")


@reverted
def test_the_work_tree_is_that_commit_and_the_owners(app):
    assert app.git("status", "--porcelain") == ""
    assert app.run("grep", "^version", f"{app.repo}/pyproject.toml") == 'version = "1.2.0"'
    assert app.run("find", app.repo, "!", "-user", "shop") == ""


@reverted
def test_the_environment_is_that_of_the_good_release(app):
    packages = app.run("sh", "-c", f"ls {app.repo}/.venv/lib/python3*/site-packages").split()
    assert "alembic" in packages
    assert "humanize" not in packages  # the bad release brought it


@pytest.mark.parametrize("app", ["web3"], indirect=True)
def test_a_conflict_leaves_all_as_it_was(app):
    assert app.git("log", "-1", "--format=%s") == "Release 1.3.1"
    assert app.git("rev-parse", "HEAD^") == app.facts["commits"]["bad"]
    assert app.git("status", "--porcelain") == ""
    assert not app.host.file(f"{app.repo}/.git/REVERT_HEAD").exists
    assert "humanize" in app.run("sh", "-c", f"ls {app.repo}/.venv/lib/python3*/site-packages").split()
