# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of the commands of a rollback document: of each a phase."""

from __future__ import annotations

import typing as t

import pytest
import yaml
from ansible_collections.changeops.rollback.plugins.plugin_utils._plan import Plan
from ansible_collections.changeops.rollback.tests.unit.plugins.plugin_utils.document_sample import (
    ASKED,
    HEAD,
    http,
    imported,
    loaded,
    systemd,
)


def phases(commands: str) -> list[tuple[str, t.Any]]:
    """The phases that commands become, each with its variables without the role's name."""
    text = imported(f"{HEAD}```bash\n{commands}\n```\n")[0]["C007"]
    found = []
    for phase in yaml.safe_load(text).get("phases") or []:
        variables = {name.removeprefix(f"{phase['role']}_"): value for name, value in phase.get("vars", {}).items()}
        rest = {name: value for name, value in phase.items() if name not in ("role", "vars")}
        found.append((phase["role"], {**variables, **rest}))
    faults = loaded(text)
    assert isinstance(faults, Plan) or all(fault.startswith("Not answered yet") for fault in faults), faults
    return found


REVERT = ("git_revert", {"commits": ["4f1c2e9"]})
STOP = ("service_stop", systemd("shop"))
CASES: dict[str, list[tuple[str, t.Any]]] = {
    "git revert 4f1c2e9": [REVERT],
    "git revert --no-edit -m 1 4f1c2e9": [("git_revert", {"commits": ["4f1c2e9"], "mainline": 1})],
    "git revert 4f1c2e9..a1b2c3d": [("git_revert", {"commits": ["4f1c2e9..a1b2c3d"]})],
    "git revert 4f1c2e9\ngit revert a1b2c3d": [("git_revert", {"commits": ["4f1c2e9", "a1b2c3d"]})],
    "git revert 4f1c2e9 && uv sync --frozen": [
        ("git_revert", {"commits": ["4f1c2e9"], "install": ["uv", "sync", "--frozen"]})
    ],
    "poetry install; git revert 4f1c2e9": [("git_revert", {"commits": ["4f1c2e9"], "install": ["poetry", "install"]})],
    "pip install -r requirements.txt \\\n  --no-deps\ngit revert 4f1c2e9": [
        ("git_revert", {"commits": ["4f1c2e9"], "install": ["pip", "install", "-r", "requirements.txt", "--no-deps"]})
    ],
    "git revert 4f1c2e9\ngit push origin main": [
        ("git_revert", {"commits": ["4f1c2e9"], "push_remote": "origin", "push_branch": "main"})
    ],
    "git revert HEAD": [
        ("git_revert", {"commits": [ASKED + "which commit is HEAD (line 8)? It will be another one tomorrow."]})
    ],
    "git checkout v1.4.2": [("git_revert", {"method": "checkout", "to": "v1.4.2"})],
    "git reset --hard origin/main": [
        ("git_revert", {"method": "checkout", "to": ASKED + "to which commit or tag does the code go back (line 8)?"})
    ],
    "sudo systemctl stop shop worker": [("service_stop", systemd("shop", "worker"))],
    "$ systemctl stop shop": [STOP],
    "systemctl --user stop shop": [
        ("service_stop", {"services": [{"name": "shop", "manager": "systemd", "scope": "user"}]})
    ],
    "service shop stop": [("service_stop", {"services": [{"name": "shop", "manager": "service"}]})],
    "supervisorctl -c /etc/s.conf stop shop:web": [
        ("service_stop", {"services": [{"name": "shop:web", "manager": "supervisord", "config": "/etc/s.conf"}]})
    ],
    "supervisorctl stop shop": [("service_stop", {"services": [{"name": "shop", "manager": "supervisord"}]})],
    # the last one that is started is the first one to be stopped
    "systemctl stop shop\nsystemctl start db\nsystemctl start shop": [STOP, ("service_start", systemd("shop", "db"))],
    "git revert 4f1c2e9\nsystemctl restart shop": [STOP, REVERT, ("service_start", systemd("shop"))],
    "systemctl restart shop\nsystemctl stop shop\ngit revert 4f1c2e9": [
        STOP,
        REVERT,
        ("service_start", systemd("shop")),
    ],
    "systemctl stop shop\nsystemctl start shop\ngit revert 4f1c2e9": [STOP, REVERT, ("service_start", systemd("shop"))],
    "curl -fsS http://localhost:8000/health || exit 1": [("verify", http("http://localhost:8000/health"))],
    "curl 'localhost/a?b=1&c=2'": [("verify", http("http://localhost/a?b=1&c=2"))],
    "curl http://localhost/a?b=1": [("verify", http("http://localhost/a?b=1"))],
    "curl -k -o /dev/null -I https://shop": [("verify", http("https://shop", validate_certs=False, method="HEAD"))],
    "wget -q --spider http://shop/health": [("verify", http("http://shop/health"))],
    "systemctl is-active shop": [("verify", {"checks": [{"service": "shop"}], **systemd("shop")})],
    "cd /srv/shop && .venv/bin/pytest -q": [
        (
            "verify",
            {
                "checks": [
                    {
                        "command": {
                            "argv": [".venv/bin/pytest", "-q"],
                            "chdir": ASKED + "in which folder of the host do the tests run (line 8)?",
                        }
                    }
                ]
            },
        )
    ],
    "git checkout 51b7d9a -- config/ nginx.conf": [
        ("config_restore", {"paths": ["config/", "nginx.conf"], "commit": "51b7d9a"})
    ],
    "git checkout HEAD~1 -- config/": [("config_restore", {"paths": ["config/"]})],
    "git restore --source=51b7d9a config": [("config_restore", {"paths": ["config"], "commit": "51b7d9a"})],
    "git checkout <commit> -- config/": [
        ("config_restore", {"paths": ["config/"], "commit": ASKED + "from which commit is the config taken (line 8)?"})
    ],
    "cp -r . .backup/\npg_dump shop | gzip > shop.sql.gz\ngit tag backup-1": [("backup", {})],
    "git revert 4f1c2e9\ncp a a.bak": [("backup", {}), REVERT],
    "/srv/shop/bin/roll.sh --to 1.2": [
        ("run_script", {"script": "/srv/shop/bin/roll.sh", "arguments": ["--to", "1.2"]})
    ],
    "bash ./scripts/roll.sh": [("run_script", {"script": "scripts/roll.sh"})],
    "echo hello\n# a comment\nset -e": [
        ("manual_step", {"instructions": ASKED + "how is it rolled back (line 1)? The document has no steps."})
    ],
}
HAND = (
    "redis-cli flushall",
    "curl -X POST http://shop/flush",
    "systemctl stop 'shop",
    "git stash",
    "cp a b",
    "rm -rf *",
)
HAND += (
    "uv sync",
    "git push origin main",
    "supervisorctl stop all",
    "alembic upgrade head",
    "for i in 1 2; do\n  echo $i\ndone",
)
HAND += ("cat <<EOF >a\nsystemctl stop shop\nEOF", "git revert 4f1c2e9 | tee log", "if true; then\n  git stash\nfi")
DOWN = "which revision was there before the change (line 8)?"
CAME = ASKED + "which revision did the change bring, where the database stands before the rollback (line 8)?"
ALEMBIC = {
    "alembic downgrade 51b7d9aa": {"to": ["51b7d9aa"]},
    "uv run alembic downgrade base": {"to": ["base"]},
    "poetry run alembic -c db/alembic.ini -x tenant=north downgrade 51b7d9aa": {
        "to": ["51b7d9aa"],
        "config": "db/alembic.ini",
        "x": ["tenant=north"],
    },
    "sudo -u shop DATABASE_NAME=x python3 -m alembic downgrade 51b7d9aa": {
        "to": ["51b7d9aa"],
        "become_user": "shop",
        "environment": {"DATABASE_NAME": "x"},
    },
    "alembic downgrade <revision>": {"to": [ASKED + DOWN]},
    "alembic downgrade -1": {"to": [f"{ASKED}{DOWN} The document says -1, which counts from where it stands."]},
}
CASES |= {command: [("alembic_downgrade", {"from": [CAME], **found})] for command, found in ALEMBIC.items()}
CASES |= {command: [("manual_step", {"instructions": f"Type:\n\n```shell\n{command}\n```"})] for command in HAND}


@pytest.mark.parametrize("commands", CASES)
def test_commands_become_phases(commands: str) -> None:
    assert phases(commands) == CASES[commands]


def test_the_database_goes_first_and_that_is_said() -> None:
    text = imported(f"{HEAD}```\ngit revert 4f1c2e9\nsystemctl status shop\nalembic downgrade 51b7d9aa\n```\n")[0][
        "C007"
    ]
    assert [phase["role"] for phase in yaml.safe_load(text)["phases"]] == ["verify", "alembic_downgrade", "git_revert"]
    assert "# The database is downgraded before the code is reverted." in text
