# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is shown at the end of a run. Pure functions. Private to this collection."""

from __future__ import annotations

import typing as t

from ._history_schema import REHEARSAL, UNDO
from ._history_view import duration_words
from ._outcome import FAILED, INTERRUPTED, RECOVERED, SUCCEEDED, Decision


def last_words(run: t.Mapping[str, t.Any], decision: Decision, seconds: float, down: float | None = None) -> list[str]:
    """What to show at the end of a run: how it ended, what to type next, and how to see and to note more of it.

    :arg seconds: that it took in all, and
    :arg down: those of them that services were stopped.
    """
    stopped = f", down for {duration_words(down)}" if down and not run["check_mode"] else ""
    lines = _ending(run, decision, duration_words(seconds) + stopped)
    if decision.touched and not decision.waits_at and not run["check_mode"]:
        record, document = f"history.yml -e run={run['id']}", f"report.yml -e change={run['change']}"
        lines.append(f"What happened: ansible-playbook {record}; as a document: ansible-playbook {document}")
        lines.append(f"For the record, the cause and the fix: ansible-playbook history_note.yml -e run={run['id']}")
    return lines


def _ending(run: t.Mapping[str, t.Any], decision: Decision, took: str) -> list[str]:
    change = run["change"]
    if run["kind"] == REHEARSAL:
        return [f"{change}: {decision.summary} (rehearsed in {took}, run {run['id']})"]
    undo = run["kind"] == UNDO
    ended = f"undo {decision.outcome}" if undo else decision.outcome
    if run["check_mode"]:
        return [f"{change}: dry run {ended} in {took} — {decision.summary} (run {run['id']})"]
    if decision.outcome == SUCCEEDED:
        return [f"{change}: {ended} in {took}. {decision.summary} (run {run['id']})"]
    lines = [f"{change}: {ended} after {took} — {decision.summary} (run {run['id']})"]
    playbook = "undo" if undo else "rollback"
    if decision.waits_at:
        confirm = f"-e confirm={change}:{decision.waits_at}"
        lines.append(f"Next, when that is done: ansible-playbook {playbook}.yml -e change={change} {confirm}")
    elif decision.kept and decision.outcome == RECOVERED:
        lines.append(f"Next: ansible-playbook {playbook}.yml -e change={change} goes on with the hosts that are left.")
    elif decision.outcome == RECOVERED:
        lines.append(
            f"{change} is rolled back, as before." if undo else "The release that was being rolled back runs again."
        )
    elif decision.outcome == FAILED or (decision.outcome == INTERRUPTED and decision.touched):
        lines.append(f"Next: ansible-playbook {playbook}.yml -e change={change} resumes it.")
        if undo:
            lines.append(f"Or, to have it rolled back again: ansible-playbook rollback.yml -e change={change}")
    return lines
