# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.changeops.rollback.plugins.plugin_utils._history_view import (
    NOTHING,
    as_json,
    as_markdown,
    as_table,
    duration_words,
)

PHASE = {
    "host": "web1",
    "index": 3,
    "phase": "3-git_revert",
    "role": "changeops.rollback.git_revert",
    "step": "main",
    "status": "failed",
    "changed": False,
    "started": "2026-11-22T23:15:04.100Z",
    "finished": "2026-11-22T23:15:04.900Z",
    "duration": 0.8,
    "message": "conflict in a|b [red]x[/red]",
    "before": None,
    "after": None,
}
RUN: dict[str, t.Any] = {
    "id": "20261122T231500-C001-1a2b",
    "change": "C001",
    "executed_by": "dana",
    "executed_from": "dana@ops1",
    "kind": "rollback",
    "check_mode": False,
    "resumes": None,
    "started": "2026-11-22T23:15:00.123Z",
    "finished": "2026-11-22T23:15:12.456Z",
    "duration": 12.333,
    "outcome": "failed",
    "summary": "git_revert failed on web1: conflict in a|b [red]x[/red].",
    "notes": [],
    "phases": [PHASE],
}
OTHER = dict(
    RUN, outcome=None, duration=None, check_mode=True, resumes="R0", summary="", notes=[{"at": "", "text": "Hm."}]
)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, ""), (0.04, "0.0 s"), (12.34, "12.3 s"), (185.4, "3 min 5 s"), (7800, "2 h 10 min")],
)
def test_durations(seconds: float | None, words: str) -> None:
    assert duration_words(seconds) == words


@pytest.mark.parametrize("width", [40, 60, 80, 100, 160])
def test_a_table_fits_its_width_and_loses_no_words(width: int) -> None:
    text = as_table([RUN, OTHER], width, details=True)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert "".join(lines).count("[red]") + "".join(lines).count("[/red]") >= 2
    for word in ("2026-11-22 23:15", "C001", "dana", "failed", "12.3 s", "running", "Resumed", "Hm.", "git_revert"):
        assert word in text


def test_markdown_keeps_its_columns() -> None:
    lines = as_markdown([RUN, OTHER], details=True).splitlines()
    table = [line.replace("\\|", "") for line in lines[:4]]
    assert [line.count("|") for line in table] == [8, 8, 8, 8]
    assert lines[2] == (
        "| 20261122T231500-C001-1a2b | 2026-11-22 23:15 | C001 | dana | failed | 12.3 s | "
        "git_revert failed on web1: conflict in a\\|b [red]x[/red]. |"
    )
    assert lines[3].endswith("| running |  | (dry run) Resumed R0. Note: Hm. |")
    for kind, words in (("rehearsal", "(rehearsal) "), ("undo", "(undo, dry run) ")):
        assert f"|  | {words}" in as_markdown([{**OTHER, "kind": kind}])
    assert "| (undo) git_revert failed" in as_markdown([{**RUN, "kind": "undo"}])
    assert "| web1 | git_revert | main | failed | 0.8 s | conflict in a\\|b [red]x[/red] |" in lines


@pytest.mark.parametrize(
    "shown", [lambda runs: as_table(runs, 100, details=True), lambda runs: as_markdown(runs, True)]
)
def test_the_tables_before_and_after_a_run(shown: t.Callable[[list[dict[str, t.Any]]], str]) -> None:
    kept = {"repo": "", "code": None, "revisions": {}, "files": {}, "services": {"web": "running"}, "unread": {}}
    before, after = ({"host": "web1", "said": "", "found": {**kept, "digest": digest * 64}} for digest in "cd")
    gone = {"host": "web2", "said": "unreachable: [red]timed out", "found": None}
    text = shown([{**RUN, "truth": {"before": [before, gone], "after": [after, gone]}}])
    words = " ".join(text.split())
    assert "Before: host" in words
    assert "web1 - - - - cccccccccc web running web2 unreachable: [red]timed out" in words
    assert "web1: config cccccccccc → dddddddddd. web2: as before." in words
    assert "After:" not in shown([{**RUN, "truth": {"before": [before]}}]), "what was never read is not shown"
    assert "Before:" not in shown([{**RUN, "truth": {}}])
    assert "Before:" not in as_table([{**RUN, "truth": {"before": [before]}}], 100)


def test_json_is_json() -> None:
    assert json.loads(as_json([RUN])) == [RUN]


def test_an_empty_history_says_so() -> None:
    assert (as_table([], 80), as_markdown([]), json.loads(as_json([]))) == (NOTHING, NOTHING, [])
