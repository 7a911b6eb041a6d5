# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the database can be upgraded again, days after a rollback: seen while the service runs."""

from __future__ import annotations

import pytest

pytest.importorskip("alembic")
pytest.importorskip("psycopg")

from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.alembic_pg import PgShop
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.alembic_shop import Shop
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal

pytestmark = pytest.mark.usefixtures("forked_alembic")

ADD, DROP = ["ALTER TABLE invoices ADD total int"], ["ALTER TABLE invoices DROP total"]
OTHER = "host2/R1/3-alembic_downgrade"
PLAN = {"accept_loss": ["invoices"]}


@pytest.fixture(params=["sqlite", "postgresql"])
def shop(request, tmp_path, monkeypatch):
    """A database after the downgrade; the migration has gone with the code."""
    if request.param == "sqlite":
        made = Shop(tmp_path).totals()
    else:
        made = PgShop(tmp_path, monkeypatch, request.getfixturevalue("postgresql"), ADD, DROP)
        made.run("preflight", point=OTHER, **PLAN)
    made.kind = request.param
    assert made.run("main", **PLAN).changed
    made.migration_file = made.versions / "new.py"
    made.text = made.migration_file.read_text()
    made.migration_file.unlink()
    return made


def test_it_can_while_the_migration_is_away_with_the_code(shop):
    before = shop.dump()
    report = shop.run("can_undo", **PLAN)
    assert report.msg.endswith("can be upgraded from old to new again, with what was exported.")
    assert bool(report.facts["identity"]) is (shop.kind == "postgresql")
    assert shop.dump() == before
    if shop.kind == "postgresql":
        shop.run("main", point=OTHER, done_by="host1", **PLAN)
        other = shop.run("can_undo", point=OTHER, **PLAN)
        assert "was downgraded from another host, which has to put it back" in other.msg
        assert other.facts["identity"] == report.facts["identity"]
    shop.migration_file.write_text(shop.text)
    assert shop.run("recover", **PLAN).changed
    assert shop.run("can_undo", **PLAN).msg.endswith("stands at new already.")


def migrated(shop):
    shop.sql("UPDATE alembic_version SET version_num = 'later'")


def tampered(shop):
    (export,) = shop.state.rglob("export.sqlite")
    export.write_bytes(export.read_bytes() + b"x")


def lost(shop):
    for path in shop.state.rglob("export.*"):
        path.unlink()


REFUSALS = [
    Refusal(
        "an undo of a database that was migrated since",
        "The database <database> was migrated since the rollback: it stands at later, and was left at old. Undo what "
        "came after it first.",
        migrated,
    ),
    Refusal(
        "an undo with an export that was changed",
        "The export <export> is missing, or is not what the downgrade wrote. Nothing was changed. Bring back the file, "
        "or the backup of the database.",
        tampered,
    ),
    Refusal(
        "an undo whose export was removed",
        "The database <database> stands at old, but this phase did not bring it there and kept nothing to put back. "
        "Upgrade it by hand: alembic upgrade new",
        lost,
    ),
]


@pytest.mark.parametrize("row", REFUSALS, ids=lambda row: row.case)
def test_refused_with_nothing_changed(shop, row):
    row.given(shop)
    before = shop.dump()
    with pytest.raises(PhaseError) as caught:
        shop.run("can_undo", **PLAN)
    assert row.matches(str(caught.value)), str(caught.value)
    assert shop.dump() == before
