# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole change over the fleet: each host on the good release, all on one commit, the database with every row."""

import pytest

every = pytest.mark.parametrize("app", ["web1", "web2", "web3"], indirect=True)


@every
def test_the_good_release_serves(app):
    assert app.host.service("shop-web").is_running
    assert app.host.service("shop-web").is_enabled
    assert app.status() == "200"


@every
def test_code_config_and_environment_are_those_of_the_good_release(app):
    good = app.facts["commits"]["good"]
    assert app.git("rev-parse", "HEAD^{tree}") == app.git("rev-parse", f"{good}^{{tree}}")
    assert app.git("status", "--porcelain") == ""
    assert app.run("cmp", app.facts["env_file"], app.facts["kept_env_file"]) == ""
    assert "humanize" not in app.run("sh", "-c", f"ls {app.repo}/.venv/lib/python3*/site-packages").split()


@every
def test_all_files_are_still_the_owners(app):
    assert app.run("find", app.facts["root"], "!", "-user", "shop") == ""


def test_the_commit_is_the_same_on_every_host(apps):
    commits = {apps(name).git("rev-parse", "HEAD") for name in ("web1", "web2", "web3")}
    assert len(commits) == 1
    app = apps("web1")
    assert app.git("rev-parse", "HEAD^") == app.facts["commits"]["bad"]


def test_the_database_is_downgraded_and_has_every_row(apps):
    app = apps("web1")
    assert app.sql("SELECT version_num FROM alembic_version") == [app.facts["revisions"]["good"]]
    assert app.sql("SELECT count(DISTINCT number) FROM invoices WHERE amount > 0") == [str(app.facts["rows"])]
    columns = "SELECT column_name FROM information_schema.columns WHERE table_name = 'invoices'"
    assert set(app.sql(columns)) == {"id", "number", "issued", "amount", "customer_id"}
