# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The history as a table, as JSON, as Markdown. Pure functions. Private to this collection."""

from __future__ import annotations

import json
import textwrap
import typing as t

from ._awx import from_words, link_of
from ._history_notes import note_words
from ._history_schema import REHEARSAL, ROLLBACK
from ._outcome import name_of, sentence
from ._table import columns
from ._truth import both_tables

FORMATS = ("table", "json", "markdown")
NOTHING = "No rollback has been run yet."
MARKDOWN_WIDTH = 120

ROOM = 40  # columns that a sentence needs beside the other cells
RUN_COLUMNS = ("run", "when (UTC)", "change", "who", "outcome", "duration", "what")
PHASE_COLUMNS = ("host", "phase", "step", "status", "duration", "what")

NOTE_COLUMNS = ("when (UTC)", "who", "what")

Run = t.Mapping[str, t.Any]


def duration_words(seconds: float | None) -> str:
    """A duration for people: ``12.3 s``, ``3 min 5 s``, ``2 h 10 min``; empty where it is not known."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _when(moment: str) -> str:
    return moment[:16].replace("T", " ")


def _what(run: Run) -> str:
    kind = [run["kind"]] if run["kind"] != ROLLBACK else []
    if run["check_mode"] and run["kind"] != REHEARSAL:
        kind.append("dry run")
    words = [f"({', '.join(kind)})" if kind else "", run["summary"]]
    if run["resumes"]:
        words.append(f"Resumed {run['resumes']}.")
    words.extend(sentence(note_words(note)) for note in run["notes"])
    return " ".join(word for word in words if word)


def run_cells(run: Run) -> tuple[str, ...]:
    """One run as the cells of ``RUN_COLUMNS``."""
    outcome = run["outcome"] or "running"
    when, took = _when(run["started"]), duration_words(run["duration"])
    return (run["id"], when, run["change"], run["executed_by"], outcome, took, _what(run))


def phase_cells(row: Run) -> tuple[str, ...]:
    """One phase row as the cells of ``PHASE_COLUMNS``."""
    took = duration_words(row["duration"])
    return (row["host"], name_of(row["phase"]), row["step"], row["status"], took, row["message"])


def note_cells(note: Run) -> tuple[str, ...]:
    """One note as the cells of ``NOTE_COLUMNS``."""
    return (_when(note["at"]), note.get("by", ""), note_words(note))


def as_json(runs: t.Sequence[Run]) -> str:
    """The runs as JSON."""
    return json.dumps(runs, indent=2, sort_keys=True)


def _markdown_table(columns: t.Sequence[str], rows: t.Iterable[t.Sequence[str]]) -> list[str]:
    def line(cells: t.Sequence[str]) -> str:
        return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"

    return [line(columns), "|" + " --- |" * len(columns), *(line(row) for row in rows)]


def as_markdown(runs: t.Sequence[Run], details: bool = False) -> str:
    """The runs as a Markdown table; with ``details`` a table of phases for each, and the truth tables."""
    if not runs:
        return NOTHING
    lines = _markdown_table(RUN_COLUMNS, [run_cells(run) for run in runs])
    for run in runs if details else ():
        whence = f"By {run['executed_by']} from {from_words(run)} {link_of(run.get('job'))}".rstrip()
        lines += [
            "",
            f"## {run['id']}",
            "",
            whence,
            "",
            *_markdown_table(PHASE_COLUMNS, [phase_cells(r) for r in run["phases"]]),
        ]
        if run["notes"]:
            lines += ["", *_markdown_table(NOTE_COLUMNS, [note_cells(note) for note in run["notes"]])]
        if run.get("truth"):
            lines += ["", "```text", both_tables(run["truth"], MARKDOWN_WIDTH), "```"]
    return "\n".join(lines)


def as_table(runs: t.Sequence[Run], width: int, details: bool = False) -> str:
    """The runs as a table of at most ``width`` columns.

    :arg details: a table of phases for each too, and how the app stood on each host before and after.
    """
    if not runs:
        return NOTHING
    lines = columns(RUN_COLUMNS, [run_cells(run) for run in runs], width, ROOM)
    for run in runs if details else ():
        said = f"{run['id']}, by {run['executed_by']} from {from_words(run)}"
        link = link_of(run.get("job"))
        lines += ["", *textwrap.wrap(said, width, subsequent_indent="  "), *([f"  {link}"] if link else []), ""]
        lines += columns(PHASE_COLUMNS, [phase_cells(row) for row in run["phases"]], width, ROOM)
        if run["notes"]:
            lines += ["", *columns(NOTE_COLUMNS, [note_cells(note) for note in run["notes"]], width, ROOM)]
        lines += ["", both_tables(run.get("truth") or {}, width)]
    return "\n".join(lines).rstrip()
