# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unit tests of the totals."""

import pytest

from shop.totals import total


@pytest.mark.parametrize(
    ("amount", "fee", "rounding", "expected"),
    [(1000, 0, "half_up", 1190), (50, 0, "half_up", 60), (50, 0, "half_even", 60), (150, 7, "half_even", 185)],
)
def test_total(amount, fee, rounding, expected):
    assert total(amount, fee, 19, rounding) == expected


def test_a_total_is_entered(shop):
    id_ = shop.post("/invoices", json={"number": "1", "issued": "2026-11-20", "amount": 100}).json()["id"]
    answer = shop.post(f"/invoices/{id_}/total", json={"total": 123456})
    assert answer.json() == {"id": id_, "total": 123456, "shown": "1,234.56 EUR"}
    assert shop.get("/invoices").json()[0]["total"] == 123456
