# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""alembic_downgrade alone: the schema, every row, and what was destroyed and kept."""

import pytest

KEPT = "/srv/shop/.local/state/changeops/standalone/alembic_downgrade.kept"
worked = pytest.mark.parametrize("app", ["web1"], indirect=True)


@worked
def test_the_schema_is_that_of_the_good_release(app):
    assert app.sql("SELECT version_num FROM alembic_version") == [app.facts["revisions"]["good"]]
    columns = "SELECT column_name FROM information_schema.columns WHERE table_name = 'invoices'"
    assert set(app.sql(columns)) == {"id", "number", "issued", "amount", "customer_id"}


@worked
def test_no_row_is_lost(app):
    rows = app.facts["rows"]
    assert app.sql("SELECT count(DISTINCT number) FROM invoices WHERE amount > 0") == [str(rows)]
    assert app.sql("SELECT count(*) FROM customers") == ["200"]


@worked
def test_what_was_destroyed_is_kept_for_the_owner_alone(app):
    kept = app.run("find", KEPT, "-name", "export.sqlite")
    look = "import sqlite3, sys; print(*sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchone())"
    entered = "SELECT count(total), max(CAST(total AS INT)) FROM invoices WHERE CAST(id AS INT) <= 25"
    found = app.run("python3", "-c", look, kept, entered)
    assert found == "25 100025"  # entered by hand
    assert app.run("find", KEPT, "-perm", "/077") == ""


@worked
def test_all_files_are_still_the_owners(app):
    assert app.run("find", app.facts["root"], "!", "-user", "shop") == ""
    assert app.git("status", "--porcelain") == ""
