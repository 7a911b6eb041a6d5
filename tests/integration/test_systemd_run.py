# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole runs with units of a real systemd that do nothing, but for a long time."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from harness import Ops
from hosts import Host
from systemd_units import SLEEP, Systemd

INSTALL = "[Install]\nWantedBy=multi-user.target\n"
RUNS = ["sh", "tr '\\0' ' ' </proc/$(systemctl show --value -p MainPID shop-web)/cmdline"]
STALE = ["ctl", "show", "--value", "--property=NeedDaemonReload", "shop-web"]
PHASES = ("service_stop", "config_restore", "service_start", "verify")


class HostOps(Ops):
    """The user's repository for one unit on the host, connected as an administrator who may sudo."""

    def __init__(self, root: Path, one: Host) -> None:
        self.root = root
        self.hosts = {one.name: one.inventory("deploy")}
        self.extra: dict[str, t.Any] = {}
        self.group_vars = {
            "rollback_services": [{"name": "shop-web"}],
            "rollback_config": [{"path": "/run/shop-config", "source": "/run/shop-kept"}],
            "rollback_checks": [{"name": "good", "command": {"argv": ["test", "-e", "/run/shop-good"]}, "retries": 0}],
            "rollback_history_url": f"sqlite:///{root}/history.sqlite",
        }
        self.phases = [{"role": role, "become": True} for role in PHASES]


def test_a_run_drains_and_undrains_on_the_way_there_and_on_the_way_back(systemd: Systemd, tmp_path: Path) -> None:
    """The last phase fails, when the host was taken in again. What is noted is how the service stood then."""
    systemd.do(
        ["add", {"shop-web.service": SLEEP + INSTALL}],
        ["ctl", "enable", "--now", "shop-web"],
        ["sh", "echo new >/run/shop-config; echo old >/run/shop-kept"],
    )
    ops = HostOps(tmp_path, systemd.host)
    for verb in ("drain", "undrain"):
        script = f"echo {verb} $(systemctl is-active shop-web) >>/run/shop-drained"
        ops.group_vars[f"rollback_{verb}"] = [["sh", "-c", script]]
    ops.write()
    assert ops.rollback().returncode != 0
    noted, states, held = systemd.do(["sh", "cat /run/shop-drained"], ["look", "shop-web"], ["holds"])
    assert noted.splitlines() == ["drain active", "undrain active"] * 2
    assert ops.history()[-1]["outcome"] == "recovered"
    assert states == {"shop-web": ["active", "enabled"]} and held == []


@pytest.mark.parametrize("good", [True, False], ids=["there", "there and back"])
def test_a_unit_file_that_was_put_back_is_the_one_that_is_started(systemd: Systemd, tmp_path: Path, good: bool) -> None:
    """It changes while the unit is held, and a start alone would take the unit as systemd had read it before."""
    unit = "/etc/systemd/system/shop-web.service"
    bad = SLEEP.replace("1000", "1001")
    *_up, before, _good = systemd.do(
        ["add", {"shop-web.service": bad + INSTALL}],
        ["ctl", "enable", "--now", "shop-web"],
        ["sh", f"cat >/run/shop-kept <<'END'\n{SLEEP + INSTALL}END"],
        RUNS,
        ["sh", "touch /run/shop-good" if good else "true"],
    )
    ops = HostOps(tmp_path, systemd.host)
    ops.group_vars["rollback_config"] = [{"path": unit, "source": "/run/shop-kept"}]
    ops.write()
    done = ops.rollback()
    assert ops.history()[-1]["outcome"] == ("succeeded" if good else "recovered"), done.stdout
    runs, stale, text = systemd.do(RUNS, STALE, ["sh", f"cat {unit}"])
    assert (before, runs, stale) == ("sleep 1001", "sleep 1000" if good else "sleep 1001", "no")
    assert text + "\n" == (SLEEP if good else bad) + INSTALL
