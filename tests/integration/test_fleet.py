# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole change on hosts that boot systemd and share one PostgreSQL."""

from __future__ import annotations

from fleet import Fleet, FleetOps, assert_rolled_back


def test_a_whole_change_is_rolled_back(fleet: Fleet, fleet_ops: FleetOps) -> None:
    before = fleet.state()
    assert [before[name]["health"] for name in fleet.hosts] == [503, 503]
    assert len(before["database"]["totals"]) == len(before["database"]["rows"]) > 0
    done = fleet_ops.rollback()
    assert done.returncode == 0
    assert_rolled_back(fleet, before)
    assert fleet_ops.history()[-1]["outcome"] == "succeeded"
