# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""undo.yml on hosts that boot systemd and share one PostgreSQL, with writes after the rollback."""

from __future__ import annotations

import time
import typing as t

from fleet import Fleet, FleetOps
from test_fleet import START, STOP, committed, when

NEW = "2026-A1"
WRITES = f"""
INSERT INTO invoices (number, issued, amount) VALUES ('{NEW}', '2026-11-26', 4200);
UPDATE invoices SET amount = 77 WHERE id = (SELECT min(id) FROM invoices);
DELETE FROM invoices WHERE id = (SELECT max(id) FROM invoices WHERE number <> '{NEW}');
"""


def assert_undone(fleet: Fleet, before: dict[str, dict[str, t.Any]], written: dict[str, t.Any]) -> None:
    """Each host is as it was before the rollback, and the database has what was there and was ``written`` since."""
    after = fleet.state()
    database, was = after.pop("database"), before["database"]
    assert after == {name: before[name] for name in after}
    assert database["revision"] == was["revision"]
    assert database["rows"] == written["rows"], "what was written since stays"
    assert database["totals"] == {id_: was["totals"].get(id_) for id_ in written["rows"]}


def test_the_shared_database_is_upgraded_once_while_every_app_is_down(fleet: Fleet, fleet_ops: FleetOps) -> None:
    before = fleet.state()
    assert fleet_ops.rollback().returncode == 0
    fleet.sql(WRITES)
    written = fleet.database()
    assert len(written["rows"]) == len(before["database"]["rows"]) and written["rows"] != before["database"]["rows"]
    began = time.time()
    assert fleet_ops.undo().returncode == 0
    assert_undone(fleet, before, written)
    for name, one in fleet.hosts.items():
        (stopped,), (started,) = when(one, began, STOP), when(one, began, START)
        assert stopped < committed(fleet) < started, name
        assert "held" not in one.run("cat", "/var/lib/changeops/hold.json", check=False).stdout
    last = fleet_ops.history()[-1]
    assert (last["kind"], last["outcome"], last["summary"]) == ("undo", "succeeded", "7 phases undone on 2 hosts.")
