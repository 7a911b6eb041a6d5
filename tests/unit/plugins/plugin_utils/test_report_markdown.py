# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documents hold all that the usual plan document has, and no value in them becomes Markdown."""

from __future__ import annotations

import copy
import re
import typing as t
from pathlib import Path

import pytest
from ansible_collections.changeops.rollback.plugins.plugin_utils._report_markdown import (
    boxes,
    document,
    documents,
    escaped,
    fenced,
)
from ansible_collections.changeops.rollback.plugins.plugin_utils._report_view import view as make_view
from ansible_collections.changeops.rollback.tests.unit.plugins.plugin_utils import report_sample as sample
from markdown_it import MarkdownIt

TEMPLATE = Path(__file__).with_name("rollback-plan.md").read_text()
PLACEHOLDER = re.compile(r"\[[A-Z][^\]]*\]|C___|_{2,}( min)?|YYYY-MM-DD|C00\d")
ODD = ("a|b `c` ``` <b>d</b> <!-- e **f** *g* __h__ _i_ [j](http://k) ![l](m) ~~n~~ $o$ &lt; {{ p }} \\ end\n"
       "# q\n- r\n| s | t |\n```")  # fmt: skip


def lines_of(text: str) -> list[str]:
    """The lines of a document without its commands; what stands in a block of Markdown counts."""
    found, skipped = [], False
    for line in text.splitlines():
        if line.startswith("```"):
            skipped = not skipped and line != "```markdown" and line != "```"
        elif not skipped:
            found.append(line)
    return found


def pattern(text: str) -> str:
    """What a line of the template looks like when it is filled in."""
    parts, end = [], 0
    for match in PLACEHOLDER.finditer(text):
        parts += [re.escape(text[end : match.start()]), ".+"]
        end = match.end()
    return "".join([*parts, re.escape(text[end:])])


def items_of(text: str) -> list[tuple[str, str, str]]:
    """Each heading, label, checkbox, and column and first cell of a table, with the heading that it stands under."""
    found, under, table = [], "", False
    for line in lines_of(text):
        cells = [cell.strip().strip("*") for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if line.startswith("#"):
            under = line
            found.append(("heading", under, line))
        elif line.startswith("- [ ]"):
            found.append(("checkbox", under, line[6:]))
        elif line.startswith("- "):
            found.append(("note", under, line[2:]))
        elif line.startswith("**"):
            found.append(("label", under, re.match(r"\*\*.+?\*\*:", line)[0]))
        elif cells and not table:
            found += [("column", under, cell) for cell in cells]
        elif cells and cells[0].strip("-") and not PLACEHOLDER.fullmatch(cells[0]):
            found.append(("row", under, cells[0]))
        table = bool(cells)
    return found


ITEMS = items_of(TEMPLATE)


@pytest.fixture(scope="module")
def sections() -> list[tuple[str, list[str]]]:
    """The generated document: each heading with the lines below it."""
    found: list[tuple[str, list[str]]] = []
    for line in lines_of(document(sample.view())):
        if line.startswith("#"):
            found.append((line, []))
        else:
            found[-1][1].append(line)
    return found


def test_the_template_has_what_is_looked_for() -> None:
    """So that a reader of it that finds nothing does not pass for a document that has it all."""
    counts = {kind: sum(1 for item in ITEMS if item[0] == kind) for kind in ("heading", "checkbox", "column", "row")}
    assert counts == {"heading": 34, "checkbox": 52, "column": 13, "row": 8}


def test_every_heading_of_the_template_is_there_in_its_order(sections: list[tuple[str, list[str]]]) -> None:
    wanted = [pattern(text) for kind, _under, text in ITEMS if kind == "heading"]
    headings = iter([heading for heading, _lines in sections])
    missing = [one for one in wanted if not any(re.fullmatch(one, heading) for heading in headings)]
    assert missing == []


@pytest.mark.parametrize(("kind", "under", "text"), [item for item in ITEMS if item[0] != "heading"])
def test_everything_of_the_template_has_its_place(
    sections: list[tuple[str, list[str]]], kind: str, under: str, text: str
) -> None:
    mine = [line for heading, lines in sections if re.fullmatch(pattern(under), heading) for line in lines]
    cells = [[cell.strip().strip("*") for cell in line.strip("|").split("|")] for line in mine if line.startswith("|")]
    found = {
        "checkbox": lambda: [line for line in mine if re.match(rf"- \[[ x]\] {pattern(text)}($| —)", line)],
        "note": lambda: [line for line in mine if line.startswith(f"- {text}: ")],
        "label": lambda: [line for line in mine if re.match(pattern(text), line)],
        "column": lambda: [row for row in cells if any(cell in (text, f"{text} (UTC)") for cell in row)],
        "row": lambda: [row for row in cells if row[0] == text],
    }[kind]()
    assert found, f"{kind} {text} is missing below {under}"


def hostile(value: t.Any, key: str = "") -> t.Any:
    """The same with odd characters at the end of every text that people write."""
    if isinstance(value, dict):
        return {name: hostile(item, name) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [hostile(item, key) for item in value]
    return f"{value} {ODD}" if isinstance(value, str) and value and key in WRITTEN else value


WRITTEN = (
    "title",
    "implemented_by",
    "reason",
    "issue",
    "mitigation",
    "accept_loss",
    "message",
    "summary",
    "executed_by",
)
WRITTEN += ("executed_from", "text", "evidence", "said", "branch", "url", "argv", "path", "host_names")


def shape(text: str) -> list[str]:
    """What a Markdown reader sees in a document beside text."""
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
    flat = [token for one in tokens for token in [one, *(one.children or [])]]
    return [f"{token.type} {token.attrGet('href') or ''}".strip() for token in flat if token.type not in PLAIN]


PLAIN = ("inline", "text", "softbreak")


@pytest.mark.parametrize("which", ["done", "never run", "impossible"])
def test_no_value_becomes_markdown(which: str) -> None:
    plan = dict(sample.PLAN)
    runs = sample.runs() if which == "done" else []
    if which == "impossible":
        plan.update(possible=False, reason="gone", phases=[])
    truth, inventory = sample.TRUTH if runs else {}, sample.INVENTORY
    harmless = make_view(plan, dict.fromkeys(sample.HOSTS, inventory), runs, truth)
    hosts = {hostile(host, "host_names"): hostile(inventory) for host in sample.HOSTS}
    written = make_view(hostile(plan), hosts, hostile(runs), hostile(truth))
    assert shape(document(written)) == shape(document(harmless))
    assert shape(documents([written])["README.md"]) == shape(documents([harmless])["README.md"])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("alembic_downgrade of 3.5 s", "alembic_downgrade of 3.5 s"),
        ("_x_ *y* `z`", r"\_x\_ \*y\* \`z\`"),
        ("a | b", r"a \| b"),
        ("<b>", r"\<b>"),
        ("1 < 2", "1 < 2"),
        ("a\nb\r\n  c", "a b c"),
        ("# no heading", r"\# no heading"),
        ("- no list", r"\- no list"),
        ("1. no list", r"1\. no list"),
        ("1.5 s", "1.5 s"),
        ("\x1b[31mred", r"\[31mred"),
        ("&lt; and & and R&D", r"\&lt; and & and R&D"),
        ("https://example.com/?a=1&b", "https://example.com/?a=1&b"),
    ],
)
def test_escaped(text: str, shown: str) -> None:
    assert escaped(text) == shown


@pytest.mark.parametrize(("text", "fence"), [("ls", "```"), ("echo '```'", "````"), ("`````", "``````")])
def test_fence_is_longer_than_what_is_in_it(text: str, fence: str) -> None:
    assert fenced(text) == f"{fence}bash\n{text}\n{fence}"


def test_boxes_show_so_much_evidence() -> None:
    text = boxes([{"text": "Health", "done": True, "words": [f"web{number}" for number in range(30)]}])
    assert text.splitlines()[0] == "- [x] Health"
    assert text.splitlines()[-1] == "  - and 18 more"


def test_a_document_is_ticked_by_the_last_run() -> None:
    lines = document(sample.view()).splitlines()
    assert "- [x] Automated rollback" in lines
    assert "- [x] Complex (6-10 steps, 2-4 hours)" in lines
    assert "- [x] Health checks pass" in lines
    assert "  - healthy on web3: HTTP 200 in 27 ms" in lines
    assert "- [ ] No error logs" in lines
    assert "  - no error in the log on web2: does not hold, 2 lines with ERROR in 3 s" in lines
    assert "- [ ] Unit tests pass — unit tests: not run yet" in lines
    assert "| 2026-11-23 03:12 | lee         | No (recovered)   | 2 min 44 s |" in "\n".join(lines)
    assert "#!/usr/bin/env bash" in lines


def test_the_list_of_changes() -> None:
    views = sample.all_views()
    before = copy.deepcopy(views)
    rows = [line for line in documents(views)["README.md"].splitlines() if re.match(r"\| \[?C00", line)]
    said = [[cell.strip() for cell in row.strip("| ").split("|")] for row in rows]
    assert said[0][2:] == [
        *("Yes", "automated", "[x] rolled back", "2026-11-25 03:14, READY", "2026-11-26 03:12, succeeded")
    ]
    assert said[1][4:] == ["[ ] never rolled back", "never", "never"]
    assert said[2][2] == "No"
    assert said[3][4] == "the plan has faults"
    assert views == before, "a view is only read"
