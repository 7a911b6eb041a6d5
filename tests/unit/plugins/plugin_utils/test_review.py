# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has gone stale of a plan, each cause by itself."""

from __future__ import annotations

import copy
import datetime
import typing as t
from pathlib import Path

import pytest
from ansible_collections.changeops.rollback.plugins.plugin_utils._history import Asked, Process, Store, utc
from ansible_collections.changeops.rollback.plugins.plugin_utils._history_rehearsal import Rehearsal
from ansible_collections.changeops.rollback.plugins.plugin_utils._review import stale

NOW = datetime.datetime(2026, 11, 27, 3, 0, tzinfo=datetime.UTC)
DIGEST, OTHER = "a" * 64, "b" * 64
HEALTHY: dict[str, t.Any] = {
    "plan": {
        "change": "C001",
        "digest": DIGEST,
        "fault": "",
        "hosts": ["web1", "web2"],
        "place": {"path": "changes/C001.yml", "never": "", "from": ["8ae1f0c2"], "to": ["51b7d9aa"]},
        "review": {"unmatched": [], "commits": ["4f1c2e9"], "rehearsed_within": None, "rehearsable": True},
    },
    "run": None,
    "rehearsed": ("succeeded", DIGEST, 3.0),
    "before": ["web1", "web2"],
    "found": {
        host: {"missing": {"C009": ["f00"]}, "migrations": {"8ae1f0c2ff": ["51b7d9aa"], "51b7d9aa": []}, "changes": {}}
        for host in ("web1", "web2")
    },
    "reports": {"reports/C001.md": f"Made from the plan with the SHA-256 {DIGEST}.", "reports/C001.html": "no digest"},
    "required": 0,
}


def rehearsal(tmp_path: Path, rehearsed: tuple[str, str, float] | None) -> Rehearsal:
    """The last rehearsal: outcome, digest of the plan, days ago."""
    moment = [NOW]
    store = Store(f"sqlite:///{tmp_path}/history.sqlite", clock=lambda: moment[0])
    if rehearsed:
        outcome, digest, days = rehearsed
        moment[0] = NOW - datetime.timedelta(days=days)
        asked = Asked("C001", digest, "dana", "dana@ops1", kind="rehearsal")
        run = store.open_run(asked, Process("ops1", "boot", 1, "1"))
        with store.transaction() as connection:
            store.end_run(connection, run["id"], outcome, "", utc(moment[0]))
        moment[0] = NOW
    return store.rehearsal("C001", DIGEST)


REHEARSE = "Rehearse it: ansible-playbook rehearse.yml -e change=C001"
CASES: dict[str, tuple[str, t.Any, list[str]]] = {
    "nothing": ("run", None, []),
    "never rehearsed": ("rehearsed", None, [f"C001 was never rehearsed. {REHEARSE}"]),
    "rehearsed too long ago": (
        "rehearsed",
        ("succeeded", DIGEST, 31.0),
        [f"C001 was rehearsed 31 d ago and found READY. That is longer ago than 30 d. {REHEARSE}"],
    ),
    "rehearsed longer ago than the inventory allows": (
        "required",
        2 * 86400,
        [f"C001 was rehearsed 3 d ago and found READY. That is longer ago than 2 d. {REHEARSE}"],
    ),
    "rehearsed longer ago than the plan allows": (
        "plan.review.rehearsed_within",
        2 * 86400,
        [f"C001 was rehearsed 3 d ago and found READY. That is longer ago than 2 d. {REHEARSE}"],
    ),
    "rehearsed with another plan": (
        "rehearsed",
        ("succeeded", OTHER, 3.0),
        [f"C001 was rehearsed 3 d ago and found READY, with another plan than the one of now. {REHEARSE}"],
    ),
    "found not ready": (
        "rehearsed",
        ("refused", DIGEST, 3.0),
        [f"C001 was rehearsed 3 d ago and found NOT READY. {REHEARSE}"],
    ),
    "nothing to rehearse": ("plan.review.rehearsable", False, []),
    "a commit is gone": (
        "found.web2.missing",
        {"C001": ["4f1c2e9", "a release's name"]},
        ["C001: commit 4f1c2e9 is not in the repository of web2 any more. Mend changes/C001.yml."],
    ),
    "a revision is gone": (
        "found.web1.migrations",
        {"8ae1f0c2": []},
        ["C001: revision 51b7d9aa is not among the migrations on web1 any more. Mend changes/C001.yml."],
    ),
    "the change's own revision is gone": (
        "found.web1.migrations",
        {"51b7d9aa": []},
        ["C001: revision 8ae1f0c2 is not among the migrations on web1 any more. Mend changes/C001.yml."],
    ),
    "its code is reverted by hand, and its migration with it": (
        "found.web1",
        {"migrations": {"51b7d9aa": []}, "changes": {"C001": {"state": "gone"}}},
        [],
    ),
    "its own commit and revision are gone": (
        "found.web1",
        {"migrations": {"51b7d9aa": []}, "changes": {"C001": {"state": "gone"}}, "missing": {"C001": ["4f1c2e9"]}},
        [
            "C001: commit 4f1c2e9 is not in the repository of web1 any more. Mend changes/C001.yml.",
            "C001: revision 8ae1f0c2 is not among the migrations on web1 any more. Mend changes/C001.yml.",
        ],
    ),
    "no migrations are found": ("found.web1.migrations", {}, []),
    "a host is gone": (
        "before",
        ["web1", "web2", "web3"],
        ["C001: web3 took part last time and is none of its hosts any more. See that this is meant."],
    ),
    "a pattern matches nobody": (
        "plan.review.unmatched",
        ["db"],
        ["C001: no host of the inventory matches 'db'. Mend changes/C001.yml or the inventory."],
    ),
    "a report is old": (
        "reports",
        {"reports/C001.md": f"Made from the plan with the SHA-256 {OTHER}."},
        [
            "C001: reports/C001.md was made of an earlier plan. Write it anew: "
            "ansible-playbook report.yml -e change=C001"
        ],
    ),
    "it was rolled back, so nobody will do it again": (
        "all",
        {"run": {"kind": "rollback", "outcome": "succeeded"}, "rehearsed": None},
        [],
    ),
    "it was undone after that": (
        "all",
        {"run": {"kind": "undo", "outcome": "succeeded"}, "rehearsed": None},
        [f"C001 was never rehearsed. {REHEARSE}"],
    ),
    "it cannot be rolled back": ("all", {"plan.place.never": "the data is gone", "rehearsed": None}, []),
    "it cannot be loaded": (
        "all",
        {"plan.place": {}, "plan.fault": "changes/C001.yml:3: no."},
        ["C001 cannot be run: changes/C001.yml:3: no."],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_has_gone_stale(case: str, tmp_path: Path) -> None:
    where, value, expected = CASES[case]
    given = copy.deepcopy(HEALTHY)
    for path, one in (value if where == "all" else {where: value}).items():
        *folders, name = path.split(".")
        place = given
        for folder in folders:
            place = place[folder]
        place[name] = one
    last = rehearsal(tmp_path, given.pop("rehearsed"))
    assert stale(rehearsal=last, **given) == expected
