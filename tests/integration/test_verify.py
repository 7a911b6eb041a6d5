# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""verify at the end of a run: what is only wanted, what was logged since the start, and what is on record."""

from __future__ import annotations

import json
from pathlib import Path

from harness import Ops, Shop, assert_rolled_back
from systemd_shop import HostOps, SystemdShop
from systemd_shop import assert_rolled_back as assert_rolled_back_on_host

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


ERROR = "MESSAGE=ERROR of the bad release\nPRIORITY=3\nOBJECT_SYSTEMD_UNIT=shop-web.service\n"


def test_the_journal_since_root_started_the_unit(systemd_shop: SystemdShop, tmp_path: Path) -> None:
    """Root starts the unit and notes where the journal ends; the app's owner reads it from there on."""
    host = systemd_shop.host
    ops = HostOps(tmp_path, systemd_shop, "deploy")
    ops.group_vars["rollback_checks"] += [
        {"name": "quiet", "journal": {"unit": "shop-web"}},
        {"name": "nothing started", "journal": {"unit": "shop-web", "worse": "^Started"}, "required": False},
    ]
    ops.write()
    host.run("logger", "--journald", stdin=ERROR)
    assert "ERROR of the bad release" in host.sh("journalctl --sync; journalctl -u shop-web -p err -o cat")
    refused = ops.rollback()
    assert refused.returncode != 0
    assert "the journal holds nothing of shop-web that this user can read." in " ".join(refused.stdout.split())
    before = systemd_shop.state()
    host.sh("usermod -aG systemd-journal shop")
    try:
        done = ops.rollback()
    finally:
        host.sh("gpasswd -d shop systemd-journal")
    assert done.returncode == 0
    assert_rolled_back_on_host(systemd_shop, before)
    (row,) = [row for row in ops.history()[-1]["phases"] if row["role"].endswith(".verify") and row["step"] == "main"]
    checks = json.loads(row["after"])["checks"]
    assert checks["quiet"]["evidence"].startswith("nothing worse than warning in ")
    assert checks["quiet"]["evidence"].endswith(" since service_start began")
    assert not checks["nothing started"]["ok"]
    assert checks["nothing started"]["evidence"].startswith(
        "1 line worse than warning since service_start began: Started shop-web.service"
    )
