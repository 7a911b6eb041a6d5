# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the hosts of the scenarios and their inventory, or remove them: fleet.py create|destroy DIRECTORY

Three hosts of the sample app, each with its bad release under systemd, and one with their PostgreSQL database. Molecule
has made DIRECTORY.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import typing as t
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "integration"))
from fleet import USER, Fleet
from hosts import Host, podman
from systemd_shop import PUT_BACK, START

# What ../reset.yml runs.
SCRIPTS = {
    "put-back-shop": f"pkill -KILL -u shop || true\n{PUT_BACK}",
    "start-shop": START,
    "put-back-database": f"""\
cd /
runuser -u postgres -- dropdb --if-exists --force shop
runuser -u postgres -- createdb --template=pristine --owner={USER} shop
""",
}


def script(host: Host, name: str) -> None:
    """Put a script on a host."""
    place = f"/usr/local/sbin/{name}"
    host.sh(f"cat >{place}; chmod 755 {place}", stdin=f"#!/bin/sh\nset -e\n{SCRIPTS[name]}")


def create(directory: Path) -> None:
    """Make the hosts, and an inventory that says, too, how podman calls them."""
    keys = Path(tempfile.mkdtemp(prefix="changeops-fleet-"))  # ssh's sockets are there too: a short path, and a new one
    try:
        fleet = Fleet(keys, count=3)
    except BaseException:
        shutil.rmtree(keys)
        raise
    tag = ["git", "-C", "/srv/shop/pristine/shop", "tag", "v1.3.0", fleet.facts["commits"]["bad"]]
    for one in fleet.hosts.values():
        one.run(*tag, user="shop")
        script(one, "put-back-shop")
        script(one, "start-shop")
    script(fleet.db, "put-back-database")
    inventory(directory).write_text(
        json.dumps(
            {
                "all": {"vars": {"network": fleet.network, "keys": str(keys)}},
                "shop": {
                    "hosts": {name: known(one) for name, one in fleet.hosts.items()},
                    "vars": {"shop": fleet.facts},
                },
                "database": {"hosts": {fleet.db.name: known(fleet.db)}},
            },
            indent=2,
        )
    )


def known(host: Host) -> dict[str, t.Any]:
    """What the inventory has of a host. Ansible and Testinfra share their connections."""
    found = host.inventory("deploy")
    found["ansible_ssh_common_args"] += f" -o ControlPath={host.key.parent}/%C"
    return {**found, "container": host.container}


def destroy(directory: Path) -> None:
    """Remove the hosts that the inventory names, and their network."""
    path = inventory(directory)
    if path.exists():
        groups = json.loads(path.read_text())
        both = groups["all"]["vars"]
        containers = [one["container"] for name in ("shop", "database") for one in groups[name]["hosts"].values()]
        podman("rm", "--force", "--time=0", "--volumes", *containers, check=False)
        podman("network", "rm", "--force", both["network"], check=False)
        shutil.rmtree(both["keys"], ignore_errors=True)
        path.unlink()


def inventory(directory: Path) -> Path:
    """The inventory file; JSON is YAML."""
    return directory / "inventory" / "fleet.yml"


if __name__ == "__main__":
    {"create": create, "destroy": destroy}[sys.argv[1]](Path(sys.argv[2]))
