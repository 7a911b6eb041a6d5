# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""alembic_downgrade alone: the schema, every row, what was destroyed and kept; and the host where it was refused."""

import pytest

KEPT = "/srv/shop/.local/state/changeops/standalone/alembic_downgrade.kept"
downgraded = pytest.mark.parametrize("app", ["shop1", "shop2"], indirect=True)
REVISION = "SELECT version_num FROM alembic_version"


@downgraded
def test_the_schema_is_that_of_the_good_release(app):
    assert app.rows(REVISION) == [[app.facts["revisions"]["good"]]]
    columns = app.rows("SELECT name FROM pragma_table_info('invoices') WHERE name IN ('amount', 'total')")
    assert columns == [["amount"]]


@downgraded
def test_no_row_is_lost(app):
    assert app.rows("SELECT count(DISTINCT number) FROM invoices WHERE amount > 0") == [[app.facts["rows"]]]
    assert app.rows("SELECT count(*) FROM customers") == [[200]]


@downgraded
def test_what_was_destroyed_is_kept_for_the_owner_alone(app):
    export = app.run("find", KEPT, "-name", "export.sqlite")
    assert app.rows("SELECT count(total) FROM invoices", export) == [[app.facts["rows"]]]
    assert app.rows("SELECT total FROM invoices WHERE id = 1", export) == [[100_001]]  # entered by hand
    assert app.run("find", KEPT, "-perm", "/077") == ""


@downgraded
def test_all_of_it_is_still_the_owners(app):
    assert app.run("find", app.facts["root"], "!", "-user", "shop") == ""
    assert app.git("status", "--porcelain") == ""


@pytest.mark.parametrize("app", ["shop3"], indirect=True)
def test_what_is_refused_changes_nothing(app):
    assert app.rows(REVISION) == [[app.facts["revisions"]["bad"]]]
    assert app.rows("SELECT count(total) FROM invoices") == [[app.facts["rows"]]]
    assert app.host.service("shop-web").is_running
