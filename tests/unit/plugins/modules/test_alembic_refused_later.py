# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has changed since preflight, or since the downgrade, is noticed, and nothing is done then."""

from __future__ import annotations

import pytest

pytest.importorskip("alembic")

from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.plugins.module_utils._restore_point import RestorePoint
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.alembic_shop import Shop
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal

pytestmark = pytest.mark.usefixtures("forked_alembic")

URL = "engine = create_engine('sqlite:///var/' + ('shop.db' if os.path.exists('local') else 'other.db'))"


def release_unknown(shop):
    shop.commit()
    return "preflight", {"release": "abc"}


def setting_missing(shop):
    env = shop.root / "migrations" / "env.py"
    env.write_text(
        env.read_text().replace("engine = create_engine('sqlite:///var/shop.db', poolclass=pool.NullPool)", URL)
    )
    (shop.root / "local").touch()
    shop.commit(ignored="var/\nlocal")
    (shop.database.parent / "other.db").write_bytes(shop.database.read_bytes())
    return "preflight", {"preserve": True}


def migrated(shop):
    shop.run("preflight")
    shop.sql("UPDATE alembic_version SET version_num = 'newest'")
    return "main", {}


def code_gone(shop):
    shop.run("preflight")
    (shop.versions / "new.py").unlink()
    return "main", {}


def downgraded_by_hand(shop):
    shop.run("preflight")
    RestorePoint(str(shop.state / "R1/3-alembic_downgrade")).write(progress="started")
    shop.sql("UPDATE alembic_version SET version_num = 'old'")
    return "recover", {}


def code_gone_in_recovery(shop):
    shop.run("main")
    (shop.versions / "new.py").unlink()
    return "recover", {}


REFUSALS = [
    Refusal(
        "a release that there is not",
        "There is no commit 'abc' in <project>. Correct alembic_downgrade_release.",
        release_unknown,
    ),
    Refusal(
        "a checkout of the release that lacks a setting",
        "The app connects to <database>, but a fresh checkout of it to <other>: a setting is missing there. Give it in "
        "the environment of this phase.",
        setting_missing,
    ),
    Refusal(
        "a database that was migrated since preflight",
        "The database <database> stands at newest, neither at new nor at old: somebody migrated it since preflight. "
        "Nothing was changed in it.",
        migrated,
    ),
    Refusal(
        "a migration file that is gone since preflight",
        "The migration file of new is not in <project> any more, so the database <database> cannot be migrated. Bring "
        "the code back first, and run the same command again.",
        code_gone,
    ),
    Refusal(
        "a database that somebody else downgraded, in recovery",
        "The database <database> stands at old, but this phase did not bring it there and kept nothing to put back. "
        "Upgrade it by hand: alembic upgrade new",
        downgraded_by_hand,
    ),
    Refusal(
        "a migration file that is gone, in recovery",
        "The migration file of new is not in <project> any more, so the database <database> cannot be migrated. Bring "
        "the code back first, and run the same command again.",
        code_gone_in_recovery,
    ),
]


@pytest.mark.parametrize("row", REFUSALS, ids=[row.case for row in REFUSALS])
def test_nothing_is_done_any_more(tmp_path, row):
    shop = Shop(tmp_path).totals()
    step, params = row.given(shop)
    before = shop.files()
    with pytest.raises(PhaseError) as caught:
        shop.run(step, **params)
    assert row.matches(str(caught.value)), str(caught.value)
    assert shop.files() == before
