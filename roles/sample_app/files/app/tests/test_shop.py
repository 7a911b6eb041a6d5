# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shop's own unit tests."""

import pytest
from alembic import command
from alembic.config import Config
from starlette.testclient import TestClient

from shop.main import create_app
from shop.settings import ROOT, load

INVOICE = {"number": "2026-00001", "issued": "2026-11-02", "amount": 1250}


def test_healthy(shop):
    answer = shop.get("/health")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")


def test_unhealthy_at_an_earlier_revision(shop):
    command.downgrade(Config(str(ROOT / "alembic.ini")), "2c81d0f4")
    answer = shop.get("/health")
    assert answer.status_code == 503
    assert "the database is at 2c81d0f4" in answer.json()["checks"]["revision"]


def test_unhealthy_with_an_unknown_name_in_the_env_file(shop, tmp_path):
    with (tmp_path / "shop.env").open("a") as stream:
        stream.write("SHOP_COLOUR=red\n")
    answer = TestClient(create_app(load(ROOT / "tests" / "app.toml"))).get("/health")
    assert answer.status_code == 503
    assert "SHOP_COLOUR in the env file is not known" in answer.json()["checks"]["config"]


def test_an_invoice_is_added_counted_and_listed(shop):
    assert shop.post("/invoices", json=INVOICE).status_code == 201
    assert shop.get("/invoices/count").json() == {"count": 1}
    listed = shop.get("/invoices", params={"limit": 5}).json()
    assert [row["number"] for row in listed] == ["2026-00001"]


@pytest.mark.parametrize("missing", sorted(INVOICE))
def test_an_incomplete_invoice_is_refused(shop, missing):
    answer = shop.post("/invoices", json={key: value for key, value in INVOICE.items() if key != missing})
    assert answer.status_code == 422
    assert shop.get("/invoices/count").json() == {"count": 0}
