# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What status_table shows of the history and the hosts, also when the history is away."""

from __future__ import annotations

import json
import os
import types
import typing as t
from pathlib import Path

import pytest
from ansible_collections.changeops.rollback.plugins.action.status_table import last_runs
from ansible_collections.changeops.rollback.plugins.plugin_utils._history import Asked, Store, now_utc, utc
from ansible_collections.changeops.rollback.plugins.plugin_utils._history_process import this_process

OVER = {"start": "2020-01-01T00:00", "end": "2020-01-02T00:00", "zone": "UTC"}
ALWAYS = {"start": "00:00", "end": "24:00", "zone": "UTC"}
REVIEW = {"unmatched": [], "commits": [], "rehearsed_within": None, "rehearsable": True}
PLANS = [
    {
        "change": change,
        "title": title,
        "hosts": hosts,
        "fault": "",
        "digest": digest,
        "place": {"path": "changes/C001.yml", "never": "", "from": [], "to": []},
        "review": REVIEW,
        "maintenance": windows,
    }
    for change, title, hosts, digest, windows in (
        ("C001", "Add totals", ["web1", "web2", "web3", "web4"], "d" * 64, []),
        ("C002", "Add taxes", ["web1"], "e" * 64, [OVER]),
    )
]
# One more plan than is shown, with what tells where its change lies.
CHANGES = [
    {"place": {"change": change, "date": "", "hosts": ["web1"], "from": [], "to": []}} for change in ("C001", "C003")
] + [{"place": {}}]
AWAY = "sqlite:////proc/none/history.sqlite"


def stands(number: int) -> dict[str, t.Any]:
    return {"state": "here", "commits": [number], "files": {"app.py": [number]}, "config": []}


def found(commit: str) -> dict[str, t.Any]:
    code = {"commit": commit * 10, "branch": "main", "changed": [], "release": ""}
    rest = {"repo": "/srv/shop", "revisions": {}, "digest": "", "files": {}, "services": {}, "unread": {}}
    return {"code": code, **rest}


def test_status_table(tmp_path: Path, run_tasks: t.Callable[..., str]) -> None:
    url = f"sqlite:///{tmp_path}/history.sqlite"
    store, here = Store(url), this_process(os.getpid())
    for outcome, check_mode in (("recovered", False), ("succeeded", True)):  # the dry run is no run
        run = store.open_run(Asked("C001", "d1", "dana", "dana@ops1", check_mode=check_mode), here)
        with store.transaction() as connection:
            store.end_run(connection, run["id"], outcome, "", utc(now_utc()))
    lies = {change: stands(number) for number, change in enumerate(("C001", "C002", "C003"))}
    hosts = {"web1": {**found("beef"), "changes": lies}, "web2": found("cafe"), "web3": found("beef")}
    tasks: list[dict[str, t.Any]] = [
        {
            "changeops.rollback.status_table": {
                **{"plans": PLANS, "changes": CHANGES, "found": hosts, "url": where, "strict": True},
                **{"report_dir": str(tmp_path), "require_rehearsal": "7d"},
            },
            "register": name,
            "ignore_errors": True,
        }
        for name, where in (("there", url), ("away", AWAY))
    ]
    kept = {"dest": f"{tmp_path}/results.json", "content": "{{ {'there': there, 'away': away} | to_json }}"}
    made = "Made from the plan with the SHA-256 {}.".format
    (tmp_path / "C001.md").write_text(made("d" * 64))
    (tmp_path / "C002.md").write_text(made("0" * 64))
    out = run_tasks(tmp_path, [*tasks, {"ansible.builtin.copy": kept}], rollback_maintenance=[ALWAYS])
    results = json.loads((tmp_path / "results.json").read_text())
    with_history, without = out[: out.rindex("last run (UTC)")], out[out.rindex("last run (UTC)") :]

    lines = [line.split() for line in with_history.splitlines()]
    assert " ".join(next(line for line in lines if "totals" in line)).endswith("recovered never under C003 Add totals")
    assert "never run" in next(line for line in with_history.splitlines() if "Add taxes" in line)
    assert {change: run["outcome"] for change, run in results["there"]["runs"].items()} == {"C001": "recovered"}

    assert "The history cannot be read." in without
    assert "/proc/none" in without
    assert "never run" not in without
    assert results["away"]["runs"] == {}
    for shown in (with_history, without):
        assert "web2 is odd: commit cafecafeca, most have beefbeefbe." in shown
        assert "under C003" in next(line for line in shown.splitlines() if "Add totals" in line)
        assert "The order to roll back in: C003, then C001." in shown
        assert "Outside of the maintenance windows of C002. Of its maintenance windows none is still to come." in shown
        assert "web4  not asked: --limit leaves it out" in shown
    assert results["there"]["odd"] == results["away"]["odd"] == ["web2"]
    assert results["there"]["under"] == {"C001": ["C003"]}
    assert not results["there"]["changed"]
    old = f"C002: {tmp_path}/C002.md was made of an earlier plan. Write it anew: "
    old += "ansible-playbook report.yml -e change=C002"
    never = "{0} was never rehearsed. Rehearse it: ansible-playbook rehearse.yml -e change={0}".format
    assert results["there"]["stale"] == [never("C001"), never("C002"), old]
    assert results["away"]["stale"] == [old]
    assert results["there"]["failed"]
    assert results["there"]["msg"] == "Something has gone stale: see above."
    assert results["away"]["msg"] == "Something has gone stale, and the history cannot be read: see above."
    assert "Gone stale:\nC001 was never rehearsed." in with_history


def a_run(outcome: str | None, step: str = "main", status: str = "ok", check_mode: bool = False) -> tuple[t.Any, ...]:
    return outcome, step, status, check_mode


@pytest.mark.parametrize(
    ("runs", "last", "attempt"),
    [
        ([a_run("succeeded"), a_run("refused", "preflight", "failed")], 0, 1),
        ([a_run("succeeded"), a_run("refused", "main", "skipped")], 0, 1),
        ([a_run("failed"), a_run("interrupted", "preflight")], 0, 1),
        ([a_run("succeeded"), a_run("interrupted")], 1, None),
        ([a_run("succeeded"), a_run("interrupted", "recover")], 1, None),
        ([a_run("succeeded"), a_run(None, "preflight")], 1, None),
        ([a_run("succeeded"), a_run("refused", "preflight"), a_run("recovered")], 2, None),
        ([a_run("refused", "preflight"), a_run("refused", "preflight")], 1, None),
        ([a_run("succeeded"), a_run("refused", "preflight"), a_run("succeeded", "preflight", check_mode=True)], 0, 1),
        ([a_run("succeeded", check_mode=True)], None, None),
    ],
)
def test_the_last_run_is_one_that_touched_a_host(runs: list[t.Any], last: int | None, attempt: int | None) -> None:
    known = [
        {
            **{"id": number, "outcome": outcome, "check_mode": check_mode, "limit": ""},
            "phases": [{"step": step, "status": status, "host": "web1"}],
        }
        for number, (outcome, step, status, check_mode) in enumerate(runs)
    ]
    store = types.SimpleNamespace(runs=lambda *_args: known[::-1])
    found = last_runs(t.cast("Store", store), ["C001"])[0].get("C001")
    assert (found and found["id"]) == last
    assert (found and found["attempt"] and found["attempt"]["id"]) == attempt
    assert not found or "phases" not in found
