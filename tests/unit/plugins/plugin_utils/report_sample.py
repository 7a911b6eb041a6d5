# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A change with all that a report can show: three hosts, one of them odd, and runs of every kind and outcome."""

from __future__ import annotations

import datetime
import typing as t

from ansible_collections.changeops.rollback.plugins.plugin_utils._report_view import fault_view
from ansible_collections.changeops.rollback.plugins.plugin_utils._report_view import view as make_view

BAD, GOOD = "fe6e1ab345b789204bf3c9b200e43eec92a48dc3", "09f6a4be2e5109ca90634e13f66231be9afda447"
DIGEST = "1e6e020d49cdc37664392edbf346cd062de92305605602e99d7812821a5c17cd"
HOSTS = ("web1", "web2", "web3")
BEGAN = datetime.datetime(2026, 11, 26, 3, 12, 7, tzinfo=datetime.UTC)
NAMES = ("backup", "service_stop", "alembic_downgrade", "git_revert", "config_restore", "service_start", "verify")
ESTIMATES = (30, 10, 60, 20, None, 20, 30)
# Seconds of each phase on each host; the database is downgraded on the first alone.
TOOK = ((22, 24, 21), (6, 9, 7), (71,), (11, 12, 10), (4, 4, 5), (16, 31, 18), (24, 25, 24))
STATE = "/var/lib/changeops/20260306"
LOSS = {"invoices": {"dropped": False, "whole": False, "rows": 12003, "changed": 0, "deleted": 0, "added": 0,
                     "values": {"total": 12003}}}  # fmt: skip


def at(seconds: float, began: datetime.datetime = BEGAN) -> str:
    return (began + datetime.timedelta(seconds=seconds)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def phase(index: int, **values: t.Any) -> dict[str, t.Any]:
    name = NAMES[index - 1]
    whole = {
        "index": index, "id": f"{index}-{name}", "name": name, "role": f"changeops.rollback.{name}",
        "hosts": "shop[0]" if name == "alembic_downgrade" else "shop", "vars": {}, "estimate": ESTIMATES[index - 1],
        "timeout": None, "become": None, "become_user": None, "environment": {},
        "host_names": list(HOSTS[:1] if name == "alembic_downgrade" else HOSTS),
    }  # fmt: skip
    return {**whole, **values}


PLAN: dict[str, t.Any] = {
    "change": "C001", "title": "Add invoice totals", "date": "2026-11-20", "path": "changes/C001.yml", "digest": DIGEST,
    "implemented_by": "Dana Ng", "hosts": "shop", "possible": True, "reason": "", "method": "automated",
    "accept_loss": ["invoices.total"], "require_rehearsal": 604800, "schema_compatible": False, "serial": [],
    "on_failure": "recover", "timeout": 1800, "estimate": 170, "complexity": "complex", "accounts": [],
    "commits": ["4f1c2e9"], "code_first": False, "batches": [list(HOSTS)], "left_out": {},
    "risks": [
        {"issue": "Totals entered since the release are lost", "mitigation": "Lost columns are exported first"},
        {"issue": "The old release reads SHOP_ROUNDING, which operators may have edited by hand", "mitigation": ""},
    ],
    "phases": [
        phase(1),
        phase(2),
        phase(3, vars={"alembic_downgrade_from": "8ae1f0c2", "alembic_downgrade_to": "51b7d9aa"}, timeout=600),
        phase(4, vars={"git_revert_commits": ["4f1c2e9"]}, become=True, become_user="shop"),
        phase(5),
        phase(6),
        phase(7),
    ],
}  # fmt: skip


def row(host: str, index: int, step: str, start: float, took: float | None, **values: t.Any) -> dict[str, t.Any]:
    name = NAMES[index - 1]
    whole = {
        "host": host, "index": index, "step": step, "phase": f"{index}-{name}", "role": f"changeops.rollback.{name}",
        "status": "ok", "changed": step == "main" and name != "verify", "started": at(start),
        "finished": None if took is None else at(start + took), "message": f"{name} is done.", "before": None,
        "after": None, "duration": took,
    }  # fmt: skip
    return {**whole, **values}


def found(commit: str, revision: str, digest: str, **values: t.Any) -> dict[str, t.Any]:
    whole = {
        "repo": "/srv/shop", "code": {"commit": commit, "branch": "main", "changed": [], "release": ""},
        "revisions": {"postgresql://db1/shop": [revision]}, "digest": digest * 8, "unread": {},
        "files": {"config/app.toml": digest * 8, "/etc/shop/shop.env": digest[::-1] * 8},
        "services": {"shop-web": "running", "shop-worker": "running"},
    }  # fmt: skip
    return {**whole, **values}


def stood(*rows: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    return [{"host": host, "said": "", "found": one} for host, one in zip(HOSTS, rows, strict=True)]


ODD = {"config/app.toml": "e670371f" * 8, "/etc/shop/shop.env": "0badc0de" * 8}
TRUTH = {
    "before": stood(
        found(BAD, "8ae1f0c2", "e670371f"),
        found(BAD, "8ae1f0c2", "0badc0de", files=ODD, services={"shop-web": "stopped", "shop-worker": "running"}),
        found(BAD, "8ae1f0c2", "e670371f"),
    ),
    "after": stood(*[found(GOOD, "51b7d9aa", "2e520da7") for _host in HOSTS]),
}


def main_rows() -> list[dict[str, t.Any]]:
    """Preflight and all phases of the rollback that succeeded."""
    rows = [
        row(host, 1 + number, "preflight", 2 + number * 2, 2.0)
        for number in range(7)
        for host in HOSTS[: 1 if number == 2 else 3]
    ]
    start = 18.0
    for index, times in enumerate(TOOK, 1):
        rows += [row(host, index, "main", start, float(took)) for host, took in zip(HOSTS, times, strict=False)]
        start += max(times) + 1
    for one in rows:
        if (one["index"], one["step"]) == (3, "main"):
            one["message"] = f"Downgraded shop from 8ae1f0c2 to 51b7d9aa; exported invoices (12003 rows) to {STATE}."
            one["after"] = {"revision": "51b7d9aa", "database": "shop", "exported": {"invoices": 12003}, "loss": LOSS}
        if (one["index"], one["step"]) == (7, "main"):
            one["message"] = "All 3 checks hold and stayed so for 3 s."
            one["after"] = {"checks": {
                "healthy": {"ok": True, "evidence": "HTTP 200 in 27 ms"},
                "rows kept": {"ok": True, "evidence": "12003 rows in 1 table, 12003 before"},
                "no error in the log": {"ok": one["host"] != "web2", "evidence": "2 lines with ERROR in 3 s"
                                        if one["host"] == "web2" else "no line with ERROR in 3 s"},
            }}  # fmt: skip
    return rows


def run(days: int, outcome: str | None, seconds: float | None, summary: str, **values: t.Any) -> dict[str, t.Any]:
    """A run so many days before the last one."""
    began = BEGAN - datetime.timedelta(days=days)
    name = f"{began:%Y%m%dT%H%M%S}-C001-{days:04x}"
    whole = {
        "id": name, "change": "C001", "kind": "rollback", "plan_digest": DIGEST, "restore_point": name, "resumes": None,
        "executed_by": "dana", "executed_from": "dana@ops1", "check_mode": False, "limit": "", "started": at(0, began),
        "finished": None if seconds is None else at(seconds, began), "outcome": outcome, "summary": summary,
        "notes": [], "duration": seconds, "phases": [],
    }  # fmt: skip
    return {**whole, **values}


READY = (
    "READY. The downgrade of shop from 8ae1f0c2 to 51b7d9aa took 64 s on a copy with all data, and the way back 41 s. "
    "It destroys invoices.total (12003 values). Unchanged: customers. The app of that code starts on the "
    "downgraded copy (6.5 s)."
)
NOTE = {"at": at(3600), "text": "Cause: rounding of totals. Fix planned in C004."}


def runs() -> list[dict[str, t.Any]]:
    """Newest first."""
    rehearsed = row("web1", 3, "rehearse", 10, 118.0, message=READY,
                    after={"loss": LOSS, "seconds": {"main": 64.0, "recover": 41.0}})  # fmt: skip
    return [
        run(0, "succeeded", 201.0, "7 phases done on 3 hosts.", phases=main_rows(), truth=TRUTH, notes=[NOTE]),
        run(1, "succeeded", 131.0, READY, kind="rehearsal", check_mode=True, phases=[rehearsed]),
        run(3, "recovered", 164.0, "service_start failed on web2: shop-web did not stay up. Put back on 3 hosts.",
            executed_by="lee", executed_from="AWX job 812"),
        run(4, "succeeded", 24.0, "A dry run: nothing was changed.", check_mode=True),
        run(9, "refused", 12.0, "Preflight of git_revert failed on web3: 2 files are changed. No host was changed."),
        run(10, "interrupted", 96.0, "Ended by SIGTERM while main of alembic_downgrade ran on web1."),
        run(11, "failed", 188.0, "verify failed on web1: healthy does not hold (HTTP 503). Not as before: web1."),
        run(30, "refused", 95.0, "NOT READY. alembic_downgrade on web1: there is no room for a copy.",
            kind="rehearsal", check_mode=True),
    ]  # fmt: skip


APP = {"repo": "/srv/shop", "config": ["config/app.toml", {"path": "/etc/shop/shop.env", "keys": ["SHOP_ROUNDING"]}]}
INVENTORY = {
    "rollback_repo": "/srv/shop",
    "rollback_config": APP["config"],
    "rollback_services": [{"name": "shop-web"}, {"name": "shop-worker"}],
    "rollback_checks": [
        {"name": "healthy", "http": {"url": "http://127.0.0.1:8000/health", "status": 200}},
        {"name": "rows kept", "rows": {"database": "postgresql://db1/shop", "tables": ["invoices"]}},
        {"name": "no error in the log", "journal": {"unit": "shop-web"}, "required": False},
        {"name": "unit tests", "command": {"argv": [".venv/bin/pytest", "-q"]}},
    ],
}


def view() -> dict[str, t.Any]:
    """The change's view."""
    script = {"host": "web1", "file": "rollback-c001.sh", "text": "#!/usr/bin/env bash\n"}
    return make_view(PLAN, dict.fromkeys(HOSTS, INVENTORY), runs(), TRUTH, script)


def all_views() -> list[dict[str, t.Any]]:
    """With changes that were never run, cannot be rolled back, and have a plan with faults."""
    never = {**PLAN, "change": "C002", "title": "Sort customers by name", "complexity": "simple"}
    gone = {**PLAN, "change": "C003", "title": "Drop the audit log", "possible": False, "method": "manual",
            "phases": [], "reason": "its rows are gone"}  # fmt: skip
    return [
        view(),
        make_view(never, dict.fromkeys(HOSTS, INVENTORY), [], {}),
        make_view(gone, {}, [], {}),
        fault_view("C004", "changes/C004.yml:3: there is no key titel. Did you mean title?"),
    ]
