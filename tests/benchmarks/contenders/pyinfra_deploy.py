# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same rollback as the script's, as a deploy of pyinfra, which ends each operation on all hosts before the next."""

from __future__ import annotations

import json
from pathlib import Path

from pyinfra.operations import server, systemd

facts = json.loads(Path("facts.json").read_text())
shop = {
    "_sudo": True,
    "_sudo_user": "shop",
    "_chdir": facts["repo"],
    "_env": {"HOME": "/srv/shop", "SHOP_ENV_FILE": facts["env_file"]},
}
who = "-c user.name=ops -c user.email=ops@shop.example"
health = f"http://127.0.0.1:{facts['port']}/health"

systemd.service(name="Stop the app", service="shop-web", running=False, _sudo=True)
server.shell(
    name="Downgrade the database",
    commands=[f".venv/bin/python -m alembic --quiet downgrade {facts['revisions']['good']}"],
    _run_once=facts["shared"],
    **shop,
)
server.shell(name="Revert the code", commands=[f"git {who} revert --no-edit {facts['commits']['bad']}"], **shop)
server.shell(name="Install what it needs", commands=["/opt/tools/bin/uv sync --frozen --quiet"], **shop)
server.shell(
    name="Restore the config",
    commands=[f"cp -p {facts['kept_env_file']} {facts['env_file']}"],
    _sudo=True,
)
systemd.service(name="Start the app", service="shop-web", running=True, _sudo=True)
server.shell(
    name="Wait until it is healthy",
    commands=[f"for n in $(seq 600); do curl -fs -o /dev/null {health} && exit 0; sleep 0.1; done; exit 1"],
)
