# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of refusals says what the tests have brought about."""

from __future__ import annotations

import pytest
from ansible_collections.changeops.rollback.tests.unit import refusals
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal


def test_the_page_is_made_of_the_tables():
    assert refusals.PAGE.read_text() == refusals.page(), "Type: python tests/unit/refusals.py"


@pytest.mark.parametrize("says", ["There is no plan.", "There is no <file> in <directory>. Make it."])
def test_a_message_is_compared_whole(says):
    row = Refusal("x", says)
    text = says.replace("<file>", "a.yml").replace("<directory>", "/srv/ops")
    assert row.matches(text.replace(" ", "\n  "))
    assert not row.matches(text + " And more.")
    assert not row.matches(text.replace("no ", "a "))
    assert row.found_in("fatal: [web1]: " + text + "\nPLAY RECAP")
