# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What history_info returns and shows of three runs, under a real ansible-playbook."""

from __future__ import annotations

import json
import os
import typing as t

import pytest
from ansible_collections.changeops.rollback.plugins.plugin_utils._history import Asked, Store, now_utc, utc
from ansible_collections.changeops.rollback.plugins.plugin_utils._history_process import this_process

ENDS = [("C001", "refused"), ("C001", "succeeded"), ("C002", "recovered")]
RETURNED: dict[str, tuple[dict[str, t.Any], list[str]]] = {
    "everything, newest first": ({}, ["recovered", "succeeded", "refused"]),
    "one change": ({"change": "C001"}, ["succeeded", "refused"]),
    "a change without a run": ({"change": "C003"}, []),
    "the last one": ({"last": 1}, ["recovered"]),
    "the last one of a change": ({"change": "C001", "last": 1}, ["succeeded"]),
    "one run": ({"run": "{{ runs[0] }}"}, ["refused"]),
    "no such run": ({"run": "R0"}, []),
    "a run of another change": ({"run": "{{ runs[0] }}", "change": "C002"}, []),
}
REFUSED: dict[str, tuple[dict[str, t.Any], str]] = {
    "no such format": ({"format": "html"}, "value of format must be one of: table, json, markdown, got: html"),
    "no number": ({"last": "many"}, "last"),
    "no such option": ({"outcome": "failed"}, "Unsupported parameters"),
    "no such database": ({"url": "oracle://u:hunter2@h/d"}, "not in oracle"),
    "no such directory": ({"url": "sqlite:////proc/none/history.sqlite"}, "/proc/none"),
}


@pytest.fixture(scope="module")
def told(
    tmp_path_factory: pytest.TempPathFactory, run_tasks: t.Callable[..., str]
) -> tuple[dict[str, t.Any], list[str], str]:
    """Each case's result by name, the ids of the runs, and what was printed."""
    path = tmp_path_factory.mktemp("history_info")
    url = f"sqlite:///{path}/history.sqlite"
    store, here = Store(url), this_process(os.getpid())
    runs = []
    for change, outcome in ENDS:
        runs.append(store.open_run(Asked(change, "d1", "dana", "dana@ops1"), here)["id"])
        with store.transaction() as connection:
            store.end_run(connection, runs[-1], outcome, f"It {outcome}.", utc(now_utc()))
    calls = [(name, args) for table in (RETURNED, REFUSED) for name, (args, _expected) in table.items()]
    calls += [(form, {"format": form, "change": "C002"}) for form in ("table", "json", "markdown")]
    registered = (
        "{{ {" + ", ".join(f"'{name}': r{number}" for number, (name, _args) in enumerate(calls)) + "} | to_json }}"
    )
    tasks: list[dict[str, t.Any]] = [
        {"name": name, "changeops.rollback.history_info": args, "register": f"r{number}", "ignore_errors": True}
        for number, (name, args) in enumerate(calls)
    ]
    tasks.append({"ansible.builtin.copy": {"dest": f"{path}/results.json", "content": registered}})
    out = run_tasks(path, tasks, rollback_history_url=url, runs=runs)
    return json.loads((path / "results.json").read_text()), runs, out


@pytest.mark.parametrize("name", RETURNED)
def test_returned(told: tuple[dict[str, t.Any], list[str], str], name: str) -> None:
    result = told[0][name]
    assert [run["outcome"] for run in result["runs"]] == RETURNED[name][1]
    assert not result["changed"]


@pytest.mark.parametrize("name", REFUSED)
def test_refused(told: tuple[dict[str, t.Any], list[str], str], name: str) -> None:
    result = told[0][name]
    assert result["failed"]
    assert REFUSED[name][1] in result["msg"]
    assert "hunter2" not in json.dumps(result)


def test_shown(told: tuple[dict[str, t.Any], list[str], str]) -> None:
    results, runs, out = told
    assert [results[form]["runs"][0]["id"] for form in ("table", "json", "markdown")] == [runs[2]] * 3
    shown = [line for line in out.splitlines() if runs[2] in line and "It recovered." in line]
    assert [line.strip()[0] for line in shown] == ["2", "|"]  # of the table, of Markdown
    listed = out[out.index("\n[\n") : out.index("\n]\n") + 3]
    assert [run["id"] for run in json.loads(listed)] == [runs[2]]
