# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole rollback that failed at its last phase, on one host: all is as it was, on every host and in the database."""

import pytest

PRISTINE = "/srv/shop/pristine"  # the app as it was shipped
every = pytest.mark.parametrize("app", ["web1", "web2", "web3"], indirect=True)


@every
def test_the_bad_release_serves_again(app):
    assert app.host.service("shop-web").is_running
    assert app.host.service("shop-web").is_enabled
    assert app.status() == "503"  # which is how it is bad


@every
def test_systemd_starts_it_again(app):
    assert app.host.run("systemctl show --value --property=DropInPaths shop-web").stdout.strip() == ""


@every
def test_code_config_and_environment_are_those_of_the_bad_release(app):
    assert app.git("rev-parse", "HEAD") == app.facts["commits"]["bad"]
    assert app.git("symbolic-ref", "HEAD") == app.run("git", "-C", f"{PRISTINE}/shop", "symbolic-ref", "HEAD")
    assert app.git("status", "--porcelain") == ""
    assert app.run("cmp", app.facts["env_file"], f"{PRISTINE}/etc/shop.env") == ""
    assert "humanize" in app.run("sh", "-c", f"ls {app.repo}/.venv/lib/python3*/site-packages").split()


def test_the_database_is_at_the_bad_revision_with_every_row_and_value(apps):
    app = apps("web1")
    assert app.sql("SELECT version_num FROM alembic_version") == [app.facts["revisions"]["bad"]]
    query = "SELECT row_to_json(invoices) FROM invoices ORDER BY id"
    rows = app.sql(query)
    assert len(rows) == app.facts["rows"]
    assert rows == app.sql(query, "pristine")
