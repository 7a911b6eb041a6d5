# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""verify at the end of a run: what is only wanted, what was logged since the start, and what is on record."""

from __future__ import annotations

import json

from harness import Ops, Shop, assert_rolled_back

HEALTH = "http://127.0.0.1:{port}/health"


def test_a_wanted_check_and_the_log_since_the_start(ops: Ops, shop: Shop) -> None:
    """The errors of the bad release do not count, and what is only wanted does not fail the run."""
    log = shop.root / "var" / "log" / "shop-web.log"
    with log.open("a") as stream:
        stream.write("ERROR of the bad release\n")
    url = HEALTH.format(port=shop.facts["port"])
    (ops.root / "secrets.env").write_text("HEALTH_TOKEN=canary-in-a-header\n")
    ops.group_vars["rollback_environment_files"] = [str(ops.root / "secrets.env")]
    ops.group_vars["rollback_checks"] += [
        {"name": "log", "log": {"path": str(log)}},
        {
            "name": "the next release",
            "required": False,
            "retries": 1,
            "http": {"url": url, "json": {"release": "9.0"}, "headers": {"Authorization": "Bearer ${HEALTH_TOKEN}"}},
        },
    ]
    ops.write()
    before = shop.state()
    done = ops.rollback("-vvv")
    assert done.returncode == 0
    assert_rolled_back(shop, before)
    says = ', release: "1.2.0", expected "9.0" (2 attempts).'
    assert "[WARNING]: Wanted, but not so: the next release: HTTP 200 in " in done.stdout
    assert says in " ".join(done.stdout.split())
    (run,) = ops.history()
    (row,) = [row for row in run["phases"] if row["role"].endswith(".verify") and row["step"] == "main"]
    checks = json.loads(row["after"])["checks"]
    assert {name: check["ok"] for name, check in checks.items()} == {
        "healthy": True,
        "rows kept": True,
        "not told to fail": True,
        "log": True,
        "the next release": False,
    }
    assert checks["log"]["evidence"].endswith("since service_start began")
    assert "canary" not in done.stdout + json.dumps(run)
