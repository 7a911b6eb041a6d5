# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with a real systemd, for tests of service_stop and service_start."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

from hosts import Host

ROOT = Path(__file__).parents[2]
COLLECTION = "/opt/ansible_collections/changeops/rollback"
# A unit that does nothing, for long.
SLEEP = "[Service]\nExecStart=sleep 1000\n"


class Systemd:
    """Does things on the host, see systemd_steps.py."""

    def __init__(self, one: Host) -> None:
        self.host = one
        self.shop = one.run("id", "-u", "shop").stdout.strip()

    def do(self, *things: t.Sequence[t.Any], user: str = "root", env: t.Sequence[str] = ()) -> list[t.Any]:
        """Do things in that order; returns what each came to."""
        if user == "shop":
            env = [f"XDG_RUNTIME_DIR=/run/user/{self.shop}", "HOME=/srv/shop", *env]
        argv = [
            "env",
            "PYTHONPATH=/site:/opt",
            *env,
            "python3",
            "-B",
            f"{COLLECTION}/tests/integration/systemd_steps.py",
        ]
        done = self.host.run("timeout", "60", *argv, user=user, stdin=json.dumps(things), check=False)
        assert done.stdout.startswith("["), done.stdout + done.stderr
        return t.cast("list[t.Any]", json.loads(done.stdout))
