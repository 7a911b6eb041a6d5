# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The test hosts are what they are said to be."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from harness import BIN
from hosts import Host, host, podman


def ansible(one: Host, tmp_path: Path, user: str, *args: str) -> str:
    inventory = tmp_path / "hosts.json"
    inventory.write_text(json.dumps({"all": {"hosts": {one.name: one.inventory(user)}}}))
    return subprocess.check_output([BIN / "ansible", "-i", inventory, "all", *args], text=True, cwd=tmp_path)


@pytest.mark.parametrize(
    ("user", "args", "who"),
    [
        pytest.param("root", [], "root", id="root"),
        pytest.param("deploy", [], "deploy", id="the administrator"),
        pytest.param("deploy", ["--become"], "root", id="who may become root"),
        pytest.param("deploy", ["--become", "--become-user=shop"], "shop", id="and the owner, who has no login shell"),
    ],
)
def test_ansible_reaches_it(systemd_host: Host, tmp_path: Path, user: str, args: list[str], who: str) -> None:
    assert f"\n{who}\n" in ansible(systemd_host, tmp_path, user, *args, "-m", "command", "-a", "whoami")


def test_the_owner_may_nothing_else(systemd_host: Host) -> None:
    assert systemd_host.run("sudo", "-n", "true", user="shop", check=False).returncode != 0


def networks() -> list[str]:
    """Those that this process has made."""
    names = podman("network", "ls", "--format={{.Name}}").stdout.split()
    return [name for name in names if name.startswith(f"changeops-{os.getpid()}-")]


def test_what_is_enabled_starts_at_boot_and_nothing_is_left_at_the_end(keys: Path) -> None:
    before = networks()
    with host("boots", keys) as one:
        assert len(networks()) == len(before) + 1
        one.sh(
            "printf '[Service]\nExecStart=sleep 1000\n[Install]\nWantedBy=multi-user.target\n'"
            " > /etc/systemd/system/on.service; cp /etc/systemd/system/on.service /etc/systemd/system/off.service;"
            " systemctl daemon-reload; systemctl enable on; systemctl start on off; touch /tmp/here"
        )
        one.reboot()
        states = [one.run("systemctl", "is-active", unit, check=False).stdout.strip() for unit in ("on", "off")]
        assert states == ["active", "inactive"]
        assert one.run("test", "-e", "/tmp/here", check=False).returncode == 1
    assert one.container not in podman("ps", "--all", "--format={{.Names}}").stdout.split()
    assert networks() == before
