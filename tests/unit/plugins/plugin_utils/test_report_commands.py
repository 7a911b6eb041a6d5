# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What phases come to, as commands for people."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.changeops.rollback.plugins.plugin_utils._report_commands import commands

HOST: dict[str, t.Any] = {"rollback_repo": "/srv/the shop"}
SYSTEMD = [{"name": "db", "manager": "systemd", "scope": "user"}, {"name": "web"}]
SUPERVISED = [{"name": "web", "manager": "supervisord", "config": "/etc/s.conf"}]
SCRIPTED = [{"name": "web", "manager": "command", "stop": ["bin/app", "stop now"], "start": "bin/app start"}]


@pytest.mark.parametrize(
    ("role", "variables", "host", "lines"),
    [
        (
            "backup",
            {"backup_archive": ["/srv/up"], "backup_exclude": ["*.tmp"], "backup_databases": [{"sqlite": "/a.db"}]},
            {"rollback_config": ["config", {"path": "/etc/shop.env"}]},
            [
                "git -C '/srv/the shop' update-ref 'refs/changeops/<run>/before' HEAD",
                "cd '/srv/the shop'",
                "cp -a --parents config /etc/shop.env <restore point>/",
                "tar -czpf <restore point>/archive.tar.gz '--exclude=*.tmp' /srv/up",
                "sqlite3 /a.db .backup <restore point>/databases/",
            ],
        ),
        (
            "backup",
            {"backup_databases": [{"postgresql_env": "URL"}], "backup_repo": ""},
            {},
            ['pg_dump -Fc -f <restore point>/databases/ "${URL}"'],
        ),
        (
            "service_stop",
            {},
            {"rollback_services": SYSTEMD, "rollback_drain": [["lb", "drain", "web 1"]]},
            ["lb drain 'web 1'", "systemctl stop web", "systemctl --user stop db"],
        ),
        ("service_stop", {}, {"rollback_services": SUPERVISED}, ["supervisorctl -c /etc/s.conf stop web"]),
        ("service_stop", {}, {"rollback_services": SCRIPTED}, ["bin/app 'stop now'"]),
        (
            "service_start",
            {"service_start_services": SCRIPTED},
            {"rollback_services": SYSTEMD, "rollback_undrain": [["lb", "on"]]},
            ["bin/app start", "lb on"],
        ),
        (
            "alembic_downgrade",
            {"alembic_downgrade_to": ["51b7d9aa", "3d20aa17"], "alembic_downgrade_config": "db/alembic.ini"},
            {"alembic_downgrade_python": ["/opt/py"], "alembic_downgrade_x": ["tenant=north"]},
            [
                "cd '/srv/the shop'",
                "# what the downgrade destroys is exported to <restore point>/export.sqlite first",
                "/opt/py -m alembic -c db/alembic.ini -x tenant=north downgrade 51b7d9aa",
                "/opt/py -m alembic -c db/alembic.ini -x tenant=north downgrade 3d20aa17",
            ],
        ),
        (
            "git_revert",
            {"git_revert_commits": ["4f1c2e9"], "git_revert_mainline": 1, "git_revert_push_remote": "origin"},
            {"rollback_install": ["uv", "sync"], "git_revert_push_branch": "main"},
            [
                "git -C '/srv/the shop' revert --no-edit -m 1 4f1c2e9",
                "cd '/srv/the shop' && uv sync",
                "git -C '/srv/the shop' push origin HEAD:main  # once all is done and verified",
            ],
        ),
        (
            "git_revert",
            {"git_revert_method": "checkout", "git_revert_to": "v1.4"},
            {},
            ["git -C '/srv/the shop' checkout v1.4"],
        ),
        (
            "git_revert",
            {"git_revert_method": "release", "git_revert_to": "2026", "git_revert_repo": "/srv/shop/current"},
            {"rollback_install": ["uv", "sync"]},
            ["ln -sfn releases/2026 /srv/shop/current"],
        ),
        (
            "git_revert",
            {"git_revert_method": "release", "git_revert_from": "4f1c2e9", "git_revert_repo": "/srv/shop"},
            {},
            ["ln -sfn releases/<the release before 4f1c2e9> /srv/shop/current"],
        ),
        (
            "config_restore",
            {"config_restore_validate": ["nginx", "-t"]},
            {
                "rollback_config": [
                    *("config", {"path": "/a b", "source": "/kept"}, {"path": "/c", "template": "c.j2"}),
                    *({"path": "/d", "keys": {"WORKERS": "tiger", "OLD": None}}, {"path": "/e", "content": "tiger"}),
                ]
            },
            [
                "git -C '/srv/the shop' checkout 4f1c2e9~1 -- config",
                "cp -p /kept '/a b'",
                "# /c from the template c.j2",
                "# WORKERS, OLD in /d, as before",
                "# /e from the text in the inventory",
                "nginx -t",
            ],
        ),
        (
            "verify",
            {},
            {
                "rollback_services": SUPERVISED,
                "rollback_checks": [
                    {"http": {"url": "http://x/?a=1&b", "method": "HEAD", "headers": {"X": "tiger"}}},
                    {"service": "web"},
                    {"revision": {"database": "${URL}", "expected": ["51b7d9aa"]}},
                    {"rows": {"database": "/a.db", "tables": ["one", "two"]}},
                    {"content": {"database": "/a.db", "table": "one", "columns": ["id", "name"]}},
                    {"files": {"paths": ["/srv/up"]}},
                    {"log": {"path": "/var/log/x"}},
                    {"journal": {"unit": "web"}},
                    {"command": {"argv": ["bin/smoke", "a b"], "chdir": "/srv"}},
                ],
            },
            [
                "curl -fsS -X HEAD 'http://x/?a=1&b'",
                "supervisorctl -c /etc/s.conf status web",
                """psql "${URL}" 'SELECT version_num FROM alembic_version'""",
                "sqlite3 /a.db 'SELECT count(*) FROM one'",
                "sqlite3 /a.db 'SELECT count(*) FROM two'",
                "sqlite3 /a.db 'SELECT id, name FROM one'",
                "sha256sum /srv/up",
                "tail -n 100 /var/log/x",
                "journalctl -p err -u web",
                "cd /srv && bin/smoke 'a b'",
            ],
        ),
        (
            "run_script",
            {"run_script_script": "scripts/re index.sh", "run_script_arguments": ["--release", "1.2"]},
            {},
            ["cd '/srv/the shop'", "'scripts/re index.sh' --release 1.2"],
        ),
        (
            "manual_step",
            {"manual_step_instructions": "Purge the queue\n\n- `invoices`"},
            {},
            ["# a person does this:", "#   Purge the queue", "#", "#   - `invoices`"],
        ),
        ("acme.own.flush", {"flush_all": True}, {}, ["# the role acme.own.flush", "#   flush_all: True"]),
    ],
)
def test_commands(role: str, variables: dict[str, t.Any], host: dict[str, t.Any], lines: list[str]) -> None:
    full = role if "." in role else f"changeops.rollback.{role}"
    phase = {"name": role.rpartition(".")[2], "role": full, "vars": variables}
    assert commands(phase, {"commits": ["4f1c2e9"]}, {**HOST, **host}) == lines
