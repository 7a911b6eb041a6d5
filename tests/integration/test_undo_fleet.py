# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""rehearse.yml, then rollback.yml, then undo.yml on hosts that boot systemd and share one PostgreSQL."""

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


def traces(fleet: Fleet) -> dict[str, list[str]]:
    """Where a rehearsal may leave something: databases, files of ours and of the app, its processes, refs."""
    found = {"databases": sorted(fleet.sql("SELECT datname FROM pg_database", "postgres"))}
    for name, one in fleet.hosts.items():
        places = f"/var/lib/changeops /home/*/.local/state /tmp/changeops* {fleet.facts['repo']}"
        files = one.sh(f"find {places} -not -path '*/objects/*' 2>/dev/null || true").splitlines()
        app = one.sh("pgrep -a -u shop || true").splitlines()
        refs = one.sh(f"git -C {fleet.facts['repo']} for-each-ref", user="shop").splitlines()
        found[name] = [*sorted(files), *app, *refs]
    return found


def test_the_shared_database_goes_down_and_up_once_while_every_app_is_down(fleet: Fleet, fleet_ops: FleetOps) -> None:
    before, there = fleet.state(), traces(fleet)
    fleet_ops.group_vars["rollback_app"] = {
        "command": [".venv/bin/uvicorn", "--factory", "shop.main:create_app", "--port", "{port}"],
        "environment": {"DATABASE_URL": "{database_url}", "SHOP_ENV_FILE": f"{{config}}{fleet.facts['env_file']}"},
        "health": "http://127.0.0.1:{port}/health",
    }
    fleet_ops.write()
    rehearsed = fleet_ops.rehearse()
    assert rehearsed.returncode == 0
    said = " ".join(rehearsed.stdout.split())
    total = len([value for value in before["database"]["totals"].values() if value is not None])
    assert "C001: READY. The downgrade of " in said and f"It destroys invoices.total ({total} values)" in said
    assert "The app of that code starts on the downgraded copy" in said
    assert (fleet.state(), traces(fleet)) == (before, there)
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
