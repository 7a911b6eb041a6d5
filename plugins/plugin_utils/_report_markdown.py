# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A report as Markdown: a document for each change, and one that lists them. Pure functions. Private.

Every value in a template is escaped, unless a function here made Markdown of it.
"""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

from ._history_schema import REHEARSAL, ROLLBACK, UNDO
from ._history_view import duration_words

try:
    import jinja2
    import markupsafe
except ImportError:
    HAS_JINJA = False
else:
    HAS_JINJA = True

TEMPLATES = Path(__file__).parents[2] / "roles" / "report" / "templates"
SHOWN = 12  # lines of evidence below a box
PADDED = 40  # letters up to which a column is filled up, to read well as plain text
NOT_KNOWN = "—"
SUMMARY = (
    *("Change ID", "Change", "Rollback Possible", "Rollback Method", "Status"),
    *("Last Rehearsal (UTC)", "Last Run (UTC)"),
)
HISTORY = ("Date", "Executed By", "Success", "Duration", "Notes")
COLUMNS = ("commit", "branch", "dirty", "revision", "config", "services")

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# `_` inside a word is no emphasis, and names have many.
_SPECIAL = re.compile(r"[\\`*\[\]|$]|<(?=[A-Za-z/!?])|(?<![^\W_])_|_(?![^\W_])|&(?=[#\w]+;)|~(?=~)|(?<=~)~")
# At the beginning of a line: heading, quote, list.
_OPENING = re.compile(r"(#|>|[-+](?=\s|$)|=+$|-+$|\d+(?=[.)](?:\s|$)))")

Values = t.Mapping[str, t.Any]


def escaped(value: t.Any) -> str:
    """A value as text on one line that no Markdown is seen in."""
    text = _SPECIAL.sub(r"\\\g<0>", _CONTROL.sub("", " ".join(str(value).split())))
    match = _OPENING.match(text)
    if match is None:
        return text
    end = match.end()
    return f"{text[:end]}\\{text[end:]}" if text[0].isdigit() else f"\\{text}"


def fenced(text: str, language: str = "bash") -> str:
    """Text as a code block; its fence is longer than any row of backticks in it."""
    text = _CONTROL.sub("", text.replace("\r\n", "\n")).rstrip("\n")
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
    return _markdown(f"{fence}{language}\n{text}\n{fence}")


def table(head: t.Sequence[str], rows: t.Iterable[t.Sequence[t.Any]]) -> str:
    """A table of values; what `_markdown` made stays as it is."""
    cells = [[_finalized(cell) for cell in row] for row in rows]
    wide = [max([3, len(name), *(len(row[column]) for row in cells)]) for column, name in enumerate(head)]
    wide = [size if size <= PADDED else len(name) for size, name in zip(wide, head, strict=True)]

    def line(row: t.Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(size) for cell, size in zip(row, wide, strict=True)) + " |"

    return _markdown(
        "\n".join([line(head), "|" + "|".join("-" * (size + 2) for size in wide) + "|", *map(line, cells)])
    )


def boxes(items: t.Sequence[Values]) -> str:
    """Checkboxes, each with its words: one beside it, several below it."""
    lines = []
    for item in items:
        words, more = item["words"][:SHOWN], len(item["words"]) - SHOWN
        beside = f" — {escaped(words[0])}" if len(words) == 1 else ""
        lines.append(f"- [{'x' if item['done'] else ' '}] {escaped(item['text'])}{beside}")
        if not beside:
            lines += [f"  - {escaped(word)}" for word in words]
            lines += [f"  - and {more} more"] if more > 0 else []
    return _markdown("\n".join(lines))


def choices(chosen: str, words: Values) -> str:
    """Checkboxes of which one is ticked.

    :arg words: the text of each, by what may be chosen.
    """
    return boxes([{"text": text, "done": key == chosen, "words": []} for key, text in words.items()])


def commands(step: Values) -> str:
    """The commands of a step, below a comment that says which phase they are, where and as whom."""
    lines: list[str] = []
    for block in step["commands"]:
        where = f", on {', '.join(block['hosts'])}" if block["hosts"] else ""
        account = f", as {block['user']}" if block["user"] else ""
        head = " ".join(f"phase {block['phase']}{where}{account}".split())
        lines += [*([""] if lines else []), f"# {head}", *block["lines"]]
    return fenced("\n".join(lines) if lines else "# nothing in this plan")


def duration(seconds: float | None) -> str:
    """A duration as a table has it."""
    return duration_words(seconds) or NOT_KNOWN


def moment(text: str | None) -> str:
    """A time of the history as people write it, in UTC."""
    return text[:16].replace("T", " ") if text else NOT_KNOWN


def summary(views: t.Sequence[Values]) -> str:
    """The summary table: a row for each change."""
    rows = []
    for view in views:
        if view["fault"]:
            rows.append([view["change"], view["fault"], *[NOT_KNOWN] * 2, "the plan has faults", *[NOT_KNOWN] * 2])
            continue
        tried, newest = view["rehearsal"], newest_run(view["history"])
        rehearsed, ran = "never", "never"
        if tried:
            rehearsed = f"{moment(tried['finished'])}, {'READY' if tried['ready'] else 'NOT READY'}"
            rehearsed += "" if tried["same_plan"] else ", another plan"
        if newest:
            ran = f"{newest['date']}, {'undo ' if newest['kind'] == UNDO else ''}{newest['outcome'] or 'running'}"
        status = f"[{'x' if view['status']['done'] else ' '}] {escaped(view['status']['words'])}"
        link = f"[{escaped(view['change'])}]({view['change']}.md)"
        possible = "Yes" if view["possible"] else "No"
        rows.append([_markdown(link), view["title"], possible, view["method"], _markdown(status), rehearsed, ran])
    return table(SUMMARY, rows)


def newest_run(history: t.Sequence[Values]) -> Values | None:
    """The newest run of a view's history that was neither a rehearsal nor a dry run."""
    return next((run for run in history if run["kind"] != REHEARSAL and not run["dry"]), None)


def executions(view: Values) -> str:
    """The execution history."""
    rows = []
    for run in view["history"]:
        success = "running" if run["success"] is None else "Yes" if run["success"] else f"No ({run['outcome']})"
        kind = "dry run" if run["dry"] else "" if run["kind"] == ROLLBACK else run["kind"]
        notes = " ".join(word for word in [f"({kind})" if kind else "", run["summary"], *run["notes"]] if word)
        rows.append([run["date"], run["executed_by"], success, duration(run["duration"]), notes])
    return table(HISTORY, rows or [[NOT_KNOWN, NOT_KNOWN, NOT_KNOWN, NOT_KNOWN, "It was never run."]])


def stands(rows: t.Sequence[Values]) -> str:
    """How the app stood on each host. Behind what differs from most hosts stands a ``!``."""

    def cell(row: Values, column: str) -> str:
        facts = row["columns"].get(column, ())
        return ", ".join(fact["text"] + (" !" if fact["odd"] else "") for fact in facts) or NOT_KNOWN

    return table(
        ["Host", *(column.capitalize() for column in COLUMNS), "Note"],
        [[row["host"], *(cell(row, column) for column in COLUMNS), row["said"]] for row in rows],
    )


def time_table(view: Values) -> str:
    """Estimated and actual times, in the document's steps."""
    rows: list[list[str]] = []
    for row in view["times"]:
        cells = [row["step"], *(duration(row[name]) for name in ("estimated", "actual"))]
        rows.append([_markdown(f"**{escaped(cell)}**") for cell in cells] if row["step"] == "Total" else cells)
    return table(("Step", "Estimated Time", "Actual Time"), rows)


def phase_table(view: Values) -> str:
    """Estimated and actual times, phase by phase."""
    rows = []
    for phase in view["phases"]:
        times = [duration(phase["expected"]), phase["expected_from"], duration(phase["actual"]), phase["status"]]
        name = f"{phase['name']}{' (point of no return)' if phase['destroys'] else ''}"
        rows.append([phase["index"], name, ", ".join(phase["hosts"]), *times])
    return table(("Phase", "Role", "Hosts", "Estimated", "By", "Actual", "Result"), rows)


def in_short(view: Values) -> str:
    """The short form of the plan, to be pasted elsewhere."""
    checks = list(dict.fromkeys((check["name"], bool(check["ok"])) for check in view["checks"]))
    lines = [
        f"### {view['change']}: {escaped(view['title'])}",
        f"**Change ID**: {view['change']}",
        f"**Rollback Possible**: {'Yes' if view['possible'] else 'No'}",
        f"**Rollback Method**: {view['method']}",
        f"**Complexity**: {view['complexity'].title()}",
        "## Procedure",
        "\n".join(f"{phase['index']}. {phase['name']} on {', '.join(phase['hosts'])}" for phase in view["phases"])
        or "No phases.",
        "## Validation",
        "\n".join(f"- [{'x' if ok else ' '}] {escaped(name)}" for name, ok in checks) or "No checks.",
        f"## Time Estimate: {duration(view['times'][-1]['estimated'])}",
        "## Risks",
        "\n".join(f"{number}. {escaped(risk['issue'])}" for number, risk in enumerate(view["risks"], 1))
        or "None named.",
    ]
    return fenced("\n\n".join(lines), "markdown")


MADE = (
    *(boxes, choices, commands, duration, executions, fenced, in_short, moment, phase_table, stands, summary, table),
    time_table,
)


def documents(views: t.Sequence[Values], listed: t.Sequence[Values] = ()) -> dict[str, str]:
    """The text of each file by its name.

    :arg views: of the changes that get a document.
    :arg listed: of all changes, for the one that lists them; those in ``views`` if there is nothing else.
    """
    made = {f"{view['change']}.md": document(view) for view in views if not view["fault"]}
    return {"README.md": _render("README.md.j2", {"changes": listed or views}), **made}


def document(view: Values) -> str:
    """The rollback plan of a change whose plan has no fault."""
    return _render("change.md.j2", {**view, "view": view})


def _markdown(text: str) -> str:
    return t.cast("str", markupsafe.Markup(text))  # noqa: S704  a mark for `_finalized`; nothing here is HTML


def _finalized(value: t.Any) -> str:
    return str(value) if isinstance(value, markupsafe.Markup) else escaped(value)


def _render(template: str, values: Values) -> str:
    """A document. A name that is missing is an error."""
    # What a template's own code joins is escaped after it is joined; it has no mark.
    environment = jinja2.Environment(  # noqa: S701  Markdown is escaped by `finalize`
        loader=jinja2.FileSystemLoader(TEMPLATES),
        finalize=_finalized,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals.update({made.__name__: made for made in MADE})
    text = environment.get_template(template).render(values)
    return re.sub(r"[ \t]+\n", "\n", text)
