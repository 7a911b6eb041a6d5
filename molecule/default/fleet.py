# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the hosts of the scenarios and their inventory, or remove them: fleet.py create|destroy DIRECTORY

Three hosts of the sample app, each with its bad release under systemd, and one with PostgreSQL. Molecule has made
DIRECTORY.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import typing as t
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "integration"))
from hosts import Host, image, podman
from systemd_shop import RESET, SystemdShop, wheels

SHOPS = ["shop1", "shop2", "shop3"]
DATABASE = "db1"
POSTGRESQL = """\
cd /etc/postgresql/*/main
echo "listen_addresses = '*'" >conf.d/fleet.conf
echo "host all all samenet scram-sha-256" >>pg_hba.conf
systemctl enable --quiet --now postgresql
"""


def shop(host: Host) -> dict[str, t.Any]:
    """Deploy the app and its bad release; returns what a plan needs to know of it."""
    facts = SystemdShop(host).facts
    host.sh(
        "cat >/usr/local/sbin/reset-shop; chmod 755 /usr/local/sbin/reset-shop", stdin=f"#!/bin/sh\nset -e\n{RESET}"
    )
    return facts


def create(directory: Path) -> None:
    """Make the hosts, and an inventory that has their containers' names too."""
    image()
    keys = Path(tempfile.mkdtemp(prefix="changeops-fleet-"))  # ssh's sockets are there too: a short path, and a new one
    hosts: dict[str, Host] = {}
    try:
        for name in [*SHOPS, DATABASE]:
            hosts[name] = Host(name, keys)
        version = hosts[DATABASE].sh("python3 -c 'import sys; print(\"%d.%d\" % sys.version_info[:2])'")
        wheels(version)  # once, before three threads look for it
        with ThreadPoolExecutor() as pool:
            facts = dict(zip(SHOPS, pool.map(lambda name: shop(hosts[name]), SHOPS), strict=True))
        hosts[DATABASE].sh(POSTGRESQL)
        known = {name: {**one.inventory("deploy"), "container": one.container} for name, one in hosts.items()}
        for one in known.values():  # Ansible and Testinfra share their connections
            one["ansible_ssh_common_args"] += f" -o ControlPath={keys}/%C"
        for name in SHOPS:
            known[name]["shop"] = facts[name]
    except BaseException:
        for one in hosts.values():
            one.close()
        shutil.rmtree(keys)
        raise
    groups = {
        "shop": {"hosts": {name: known[name] for name in SHOPS}},
        "database": {"hosts": {DATABASE: known[DATABASE]}},
    }
    inventory(directory).write_text(json.dumps(groups, indent=2))


def destroy(directory: Path) -> None:
    """Remove the hosts that the inventory names."""
    path = inventory(directory)
    if path.exists():
        for group in json.loads(path.read_text()).values():
            for one in group["hosts"].values():
                shutil.rmtree(Path(one["ansible_ssh_private_key_file"]).parent, ignore_errors=True)
                podman("rm", "--force", "--time=0", "--volumes", one["container"], check=False)
        path.unlink()


def inventory(directory: Path) -> Path:
    """The inventory file; JSON is YAML."""
    return directory / "inventory" / "fleet.yml"


if __name__ == "__main__":
    {"create": create, "destroy": destroy}[sys.argv[1]](Path(sys.argv[2]))
