# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables before and after a run: what changed, what is kept, and hosts that went away."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.changeops.rollback.plugins.plugin_utils._status_view import row
from ansible_collections.changeops.rollback.plugins.plugin_utils._truth import (
    AFTER,
    BEFORE,
    Truth,
    both_tables,
    changes,
)
from ansible_collections.changeops.rollback.tests.unit.plugins.plugin_utils.test_status_view import (
    GONE,
    NEW,
    OTHER_CONFIG,
    host,
)

BAD = host(commit=NEW, revisions={"/srv/shop.db": ["8ae1f0c2"]}, **OTHER_CONFIG)
ROLLED_BACK = (
    "commit 8ae1f0c28a → 51d0e2f051; revision 8ae1f0c2 → 51b7d9aa; config dddddddddd → cccccccccc (config/app.toml)"
)
STOPPED = {"web": "stopped", "worker": "running"}
UNKNOWN = "could not be read before, so nothing is known of what changed"

# How hosts stood before and after, and what is said of that.
CHANGES: dict[str, tuple[list[dict], list[dict], list[str]]] = {
    "all is as it was": ([host(), host()], [host(), host()], ["All hosts are as they were before."]),
    "all are rolled back": ([BAD, BAD], [host(), host()], [f"web1 and web2: {ROLLED_BACK}."]),
    "one of three is not": (
        [BAD, BAD, BAD],
        [host(), BAD, host()],
        [f"web1 and web3: {ROLLED_BACK}.", "web2: as before."],
    ),
    "a service": ([host()], [host(services=STOPPED)], ["web1: web running → web stopped."]),
    "edited files": (
        [host(changed=["a.py"])],
        [host(changed=["b.py"])],
        ["web1: dirty 1 file → 1 file (b.py)."],
    ),
    "another branch": ([host(branch="fix")], [host()], ["web1: branch fix → main."]),
    "a part that cannot be read any more": (
        [host()],
        [{**host(unread={"code": "no git"}), "code": None}],
        ["web1: commit 51d0e2f051 → ?; branch main → ?; dirty no → ?."],
    ),
    "a host that went away": (
        [host(), host()],
        [host(), GONE],
        ["web1: as before.", "web2: unreachable: Failed to connect to the host via ssh: timed out."],
    ),
    "a host that was away before": ([GONE], [host()], [f"web1: {UNKNOWN}."]),
    "a host that was never there": ([GONE], [GONE], ["All hosts are as they were before."]),
    "a host that is new": ([], [host()], [f"web1: {UNKNOWN}."]),
}


def hosts(results: t.Sequence[dict[str, t.Any]]) -> dict[str, dict[str, t.Any]]:
    return {f"web{number}": result for number, result in enumerate(results, 1)}


@pytest.mark.parametrize(("before", "after", "said"), CHANGES.values(), ids=CHANGES)
def test_what_changed(before: list[dict], after: list[dict], said: list[str]) -> None:
    old, new = ([row(*one) for one in hosts(results).items()] for results in (before, after))
    assert changes(old, new) == said


def kept(truth: Truth) -> dict[str, list[dict[str, t.Any]]]:
    """What is new, as it comes back from the history."""
    tables: dict[str, list[dict[str, t.Any]]] = {}
    for one in json.loads(json.dumps(truth.new_rows())):
        tables.setdefault(one.pop("moment"), []).append(one)
    return tables


def test_the_history_shows_what_the_run_showed() -> None:
    truth = Truth(["web1", "web2"])
    for moment, results in ((BEFORE, [BAD, BAD]), (AFTER, [host(), BAD])):
        for name, result in hosts(results).items():
            assert not truth.whole(moment)
            truth.put(moment, name, {**result, "changed": False, "invocation": {"module_args": {"repo": "/srv/shop"}}})
        assert truth.whole(moment)
    before, after = truth.text(BEFORE, 100), truth.text(AFTER, 100)
    assert before.count(NEW[:10]) == 2
    assert "web1 and web2 differ in commit" in after
    tables = kept(truth)
    assert both_tables(tables, 100) == f"Before:\n{before}\n\nAfter:\n{after}"
    assert "invocation" not in json.dumps(tables)
    truth.kept()
    assert truth.new_rows() == []


@pytest.mark.parametrize(
    ("read", "away", "touched", "after"),
    [
        pytest.param(
            {"web1": host()}, {"web2": "timed out"}, True, {"web2": "unreachable: timed out"}, id="one went away"
        ),
        pytest.param(
            {}, {"web1": "no", "web2": "no"}, True, dict.fromkeys(["web1", "web2"], "unreachable: no"), id="all"
        ),
        pytest.param(
            {"web1": host()}, {}, True, {"web2": "not read: the run ended before that"}, id="nobody knows why"
        ),
        pytest.param({"web1": host(), "web2": host()}, {}, True, {}, id="none is missing"),
        pytest.param({}, {"web2": "timed out"}, False, {}, id="refused: it is not read again"),
    ],
)
def test_a_host_that_does_not_answer_is_a_line_of_the_table(
    read: dict[str, dict], away: dict[str, str], touched: bool, after: dict[str, str]
) -> None:
    truth = Truth(["web1", "web2"])
    for name in ("web1", "web2"):
        truth.put(BEFORE, name, host())
    for name, message in away.items():
        truth.away(name, message)
    for name, result in read.items():
        truth.put(AFTER, name, result)
    truth.finish(touched)
    assert {one["host"]: one["said"] for one in kept(truth).get(AFTER, []) if one["said"]} == after
    assert all(f"{name}  {said}" in truth.text(AFTER, 120) for name, said in after.items())


def test_nothing_is_shown_of_a_run_that_read_nothing() -> None:
    truth = Truth(["web1"])
    truth.away("web1", "timed out")
    truth.finish(touched=True)
    assert (truth.new_rows(), truth.text(BEFORE, 100), truth.text(AFTER, 100)) == ([], "", "")


def test_no_secret_is_kept_and_no_service_is_masked_for_its_name() -> None:
    truth = Truth(["web1", "web2"])
    unread = {"revisions": "postgresql://shop:hunter2@db/shop does not answer"}
    truth.put(BEFORE, "web1", host(services={"token": "running"}, files={"/etc/password": "f" * 64}, unread=unread))
    truth.put(BEFORE, "web2", {"failed": True, "msg": "password=hunter2 is wrong"})
    one, two = kept(truth)[BEFORE]
    assert "hunter2" not in json.dumps([one, two])
    assert one["found"]["services"] == {"token": "running"}
    assert one["found"]["files"] == {"/etc/password": "f" * 64}
    assert two == {"host": "web2", "said": "cannot be read: password=******** is wrong", "found": None}
