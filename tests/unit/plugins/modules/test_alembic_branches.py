# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Databases that stand at several revisions at once: only what was asked for is undone, and all of it comes back."""

from __future__ import annotations

import pytest

pytest.importorskip("alembic")

from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.alembic_pg import ASYNC_ENV, PgShop
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.alembic_shop import INI, Shop
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal

pytestmark = pytest.mark.usefixtures("forked_alembic")

# old - new - a1 ---- m      b2 depends on new; each has a table of its own with a row that only the app could write
#             b1 - b2 -
TREE = {
    "a1": ("new", "branch_labels = ('shop',)"),
    "b1": (None, "branch_labels = ('stock',)"),
    "b2": ("b1", "depends_on = ('new',)"),
    "m": (("a1", "b2"), ""),
}


def branched(tmp_path, *rows):
    """A shop whose database stands at ``rows``."""
    return grow(Shop(tmp_path).totals(), *rows)


def grow(shop, *rows):
    """Give a shop the branches, and bring its database to ``rows``."""
    shop.accepted = ["invoices", *TREE]
    for revision, (down, more) in TREE.items():
        shop.migration(
            revision, down, f'op.execute("CREATE TABLE {revision} (v text)")', f'op.drop_table("{revision}")', more
        )
    for revision in TREE if "m" in rows else [r for r in TREE if r in rows or (r == "b1" and "b2" in rows)]:
        shop.sql(f"CREATE TABLE {revision} (v text)", f"INSERT INTO {revision} VALUES ('of {revision}')")
    shop.sql("DELETE FROM alembic_version", *(f"INSERT INTO alembic_version VALUES ('{row}')" for row in rows))
    return shop


REFUSALS = [
    Refusal(
        "a checkout that would use the migrations of the work tree",
        "Alembic's configuration names its migrations by a whole path (<path>), so a checkout of the release would use "
        "those of the work tree. Write %(here)s/ and the path from there instead.",
    )
]
CASES = [
    # rows, from, to, rows afterwards, tables that are gone
    (["a1", "b2"], "a1,b2", "a1,b1", "a1 b1", {"b2"}),
    (["a1", "b2"], "b2,a1", "shop@-1", "b2", {"a1"}),
    (["m"], "m", "a1", "a1", {"m", "b1", "b2"}),
    (["b2"], "new,b2", "b1,new", "b1 new", {"b2"}),
]


@pytest.mark.parametrize(("rows", "newer", "older", "after", "gone"), CASES, ids=[f"{c[1]} to {c[2]}" for c in CASES])
def test_what_was_asked_for_is_undone_and_comes_back(tmp_path, rows, newer, older, after, gone):
    shop = branched(tmp_path, *rows)
    before = shop.dump()
    asked = {"from": newer, "to": older}
    report = shop.run("preflight", **asked)
    assert shop.dump() == before
    assert bool(report.warnings) == (older == "a1")
    assert shop.run("main", **asked).changed
    assert shop.revision() == after
    left = shop.dump()
    assert set(before) - set(left) == gone
    # asked again by somebody who does not know what was noted
    assert not shop.run("preflight", point="R2/3-alembic_downgrade", **asked).pending
    assert shop.run("recover", **asked).changed
    assert shop.dump() == before


def test_what_alembic_would_have_left_is_named(tmp_path):
    report = branched(tmp_path, "m").run("preflight", **{"from": "m", "to": "a1"})
    assert "It undoes m, b2 and b1, and destroys b1 (the table, 1 rows)" in report.msg
    assert report.warnings == [
        "To go back to a1, b2 is undone too, which does not build on it. To keep it, write alembic_downgrade_to: "
        "[a1, b2]"
    ]


def test_code_reverted_before_a_database_with_branches(tmp_path):
    shop = branched(tmp_path, "a1", "b2")
    # as it is where a configuration with a password is not in the repository
    shop.commit(ignored="var/\nalembic.ini")
    before = shop.dump()
    params = {"from": "a1,b2", "to": ["stock@-1"], "preserve": True}
    shop.run("preflight", **params)
    shop.git("rm", "-q", "migrations/versions/b2.py")
    assert shop.run("preflight", **params).prepared["to"] == ["a1", "b1"]
    assert shop.run("main", **params).changed
    assert shop.revision() == "a1 b1"
    assert shop.run("recover", **params).changed
    assert shop.dump() == before


def test_a_checkout_that_would_use_the_migrations_of_the_work_tree_is_refused(tmp_path):
    shop = branched(tmp_path, "a1", "b1")
    (shop.root / "alembic.ini").write_text(INI.replace("%(here)s", str(shop.root)))
    shop.commit()
    with pytest.raises(PhaseError) as caught:
        shop.run("preflight", **{"from": "a1,b1", "to": "new,b1", "preserve": True})
    assert REFUSALS[0].matches(str(caught.value)), str(caught.value)


def test_somebody_else_s_migration_in_another_branch_is_noticed_and_nothing_changed(tmp_path):
    shop = branched(tmp_path, "a1", "b1")
    asked = {"from": "a1,b1", "to": "new,b1"}
    shop.run("preflight", **asked)
    shop.sql("UPDATE alembic_version SET version_num = 'b2' WHERE version_num = 'b1'")
    before = shop.files()
    with pytest.raises(PhaseError, match=r"stands at a1 and b2, neither at a1 and b1 nor at b1 and new: somebody"):
        shop.run("main", **asked)
    assert shop.files() == before


@pytest.mark.parametrize("driver", ["psycopg", "psycopg-async"])
def test_postgresql_with_branches_and_a_version_table_in_a_schema_of_its_own(tmp_path, monkeypatch, postgresql, driver):
    options = ", version_table='shop versions', version_table_schema='meta'"
    shop = PgShop(tmp_path, monkeypatch, postgresql, [], [], options=options)
    if driver == "psycopg-async":
        env = ASYNC_ENV.replace("connection=connection", f"connection=connection{options}")
        (shop.root / "migrations" / "env.py").write_text(env)
    grow(shop, "a1", "b2")
    versions = 'meta."shop versions"'
    shop.sql("CREATE SCHEMA meta", f"CREATE TABLE {versions} AS TABLE alembic_version", "DROP TABLE alembic_version")
    before = shop.dump()
    asked = {"from": "a1,b2", "to": ["stock@-1"]}
    assert "It undoes b2, and destroys b2 (the table, 1 rows)" in shop.run("preflight", **asked).msg
    assert shop.dump() == before
    assert shop.run("main", **asked).changed
    assert shop.sql(f"SELECT version_num FROM {versions} ORDER BY 1") == [("a1",), ("b1",)]
    assert not shop.run("preflight", point="R2/3-alembic_downgrade", **asked).pending
    assert shop.run("recover", **asked).changed
    assert shop.dump() == before
