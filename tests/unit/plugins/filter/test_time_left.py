# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter time_left, with the clock of this machine."""

from __future__ import annotations

import time

from ansible_collections.changeops.rollback.plugins.filter.time_left import FilterModule

time_left = FilterModule().filters()["time_left"]


def test_it_is_text_for_the_environment() -> None:
    assert 50 < float(time_left({"timeout": 70}, "main", time.time() - 10)) <= 60
    assert time_left({"timeout": None}, "main", time.time() - 10) == ""
