# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the pages of a report say, and that no value of theirs becomes markup. How they look is tested in a browser."""

from __future__ import annotations

import copy
import html.parser
import re
import typing as t

import pytest
from ansible_collections.changeops.rollback.plugins.plugin_utils._report_html import change_page, index_page, pages
from ansible_collections.changeops.rollback.plugins.plugin_utils._report_timeline import MOST_LANES, telling, worked
from ansible_collections.changeops.rollback.tests.unit.plugins.plugin_utils import report_sample as sample


class Page(html.parser.HTMLParser):
    """A page's text, and the tags and attributes in it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(page)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _value in attrs)
        self.ids += [str(value) for name, value in attrs if name == "id"]
        self.links += [str(value) for name, value in attrs if name == "href"]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


# What a page has to say of the change in the sample.
SAID = [
    "web2 is odd: config 0badc0de0b, most have e670371fe6; shop-web stopped, most have shop-web running.",
    "web1 and web3: commit fe6e1ab345 → 09f6a4be2e; revision 8ae1f0c2 → 51b7d9aa",
    "point of no return",
    "Downtime 2 min 12 s",
    "down 2 min 12 s",
    "3 alembic_downgrade, ok, 1 min 11 s",
    "6 service_start, estimated 20.0 s",
    "invoices.total (12003 values)",
    "invoices (12003 rows)",
    "no error in the log web2 ✕ does not hold, not required 2 lines with ERROR in 3 s",
    "healthy web1 ✓ holds HTTP 200 in 27 ms",
    "2026-11-23 03:12 rollback recovered in 2 min 44 s",
    "Note: Cause: rounding of totals. Fix planned in C004.",
    "Totals entered since the release are lost Lost columns are exported first",
    "READY. The downgrade of shop from 8ae1f0c2 to 51b7d9aa took 64 s on a copy with all data",
    "Step 8: Post-Rollback",
    sample.DIGEST,
]


def test_a_page_says_all_that_is_known() -> None:
    text = Page(change_page(sample.view())).text
    assert [words for words in SAID if words not in text] == []


def test_all_changes_are_listed_also_those_without_a_page() -> None:
    made = pages([sample.view()], sample.all_views())
    assert set(made) == {"index.html", "C001.html"}
    page = Page(made["index.html"])
    assert "C001 Add invoice totals yes automated" in page.text
    assert "C002 Sort customers by name yes automated simple never rolled back never never" in page.text
    assert "C003 Drop the audit log no: its rows are gone manual" in page.text
    assert "C004 Its plan cannot be read: changes/C004.yml:3: there is no key titel." in page.text
    assert [link for link in page.links if link.endswith(".html")] == ["C001.html", "C002.html", "C003.html"]


@pytest.mark.parametrize("number", range(3))
def test_a_page_of_any_change_is_whole(number: int) -> None:
    page = Page(change_page(sample.all_views()[number]))
    assert len(page.ids) == len(set(page.ids))
    assert [link[1:] for link in page.links if link.startswith("#") and link[1:] not in page.ids] == []
    assert "None" not in page.text


def test_nothing_tells_when_it_was_made() -> None:
    assert change_page(sample.view()) == change_page(sample.view())
    days = set(re.findall(r"20\d\d-\d\d-\d\d", Page(change_page(sample.view())).text))
    known = {run["started"][:10] for run in sample.runs()} | {sample.PLAN["date"]}
    assert days <= known


# Texts that a page has to read as something: times, and a digest that links nowhere.
READ = re.compile(r"20\d\d-\d\d-\d\dT[\d:.]+Z")
MARKUP = "<b onmouseover=alert({})>"


def poisoned(view: dict[str, t.Any], keep: t.Container[str] = ()) -> tuple[dict[str, t.Any], dict[str, str]]:
    """The view with markup in each text, and what the markup is in by its number.

    :arg keep: names of what keeps its value.
    """
    put: dict[str, str] = {}

    def walk(value: t.Any, place: str) -> t.Any:
        if isinstance(value, dict):
            return {key: item if key in keep else walk(item, f"{place}.{key}") for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [walk(item, place) for item in value]
        if not isinstance(value, str) or READ.fullmatch(value):
            return value
        markup = MARKUP.format(len(put))
        put[markup] = place
        return value + markup

    return walk(copy.deepcopy(view), "view"), put


# What a page compares with words that it knows; the first time these are poisoned as well.
COMPARED = ("status", "step", "kind", "outcome", "fault", "name", "on_failure")


@pytest.mark.parametrize("keep", [(), COMPARED], ids=["in each text", "in each but what is compared"])
def test_markup_in_any_field_is_text(keep: tuple[str, ...]) -> None:
    view, put = poisoned({**sample.view(), "runs": []}, ("runs", *keep))
    own = Page(change_page(sample.view()))
    page = Page(change_page(view))
    assert page.tags <= own.tags | {"p", "br"}
    assert "onmouseover" not in page.attributes
    shown = {place for markup, place in put.items() if markup in page.text}
    assert {
        "view.title", "view.implemented_by", "view.path", "view.last.summary", "view.last.notes.text",
        "view.risks.issue",
        "view.last.truth.before.host", "view.last.truth.before.columns.config.text", "view.last.truth.changes",
        "view.last.timeline.host", "view.last.timeline.spans.message", "view.last.loss.lost", "view.checks.evidence",
        "view.history.summary", "view.history.notes", "view.rehearsal.words", "view.steps.boxes.words",
        "view.steps.commands.lines", "view.script.file", "view.validation.words", "view.mitigations", "view.digest",
    } <= shown  # fmt: skip
    fault = {"change": "C004" + MARKUP, "title": "", "fault": "changes/" + MARKUP}
    page = Page(index_page([view, {**view, "fault": ""}, fault]))
    assert not {"b", "script"} & page.tags
    assert "onmouseover" not in page.attributes


def test_of_many_hosts_those_are_drawn_that_failed_or_took_longest() -> None:
    last = sample.view()["last"]
    spans = last["timeline"][0]["spans"]
    slow = [{**span, "seconds": span["seconds"] * 3} for span in spans]
    bad = [{**span, "status": "failed"} for span in spans[-1:]]
    many = [{"host": f"web{number:03}", "spans": {70: slow, 80: bad}.get(number, spans)} for number in range(100)]
    names = [one["host"] for one in telling(worked({**last, "timeline": many}))]
    assert len(names) == MOST_LANES
    assert {"web070", "web080"} <= set(names)
    page = Page(change_page({**sample.view(), "last": {**last, "timeline": many}}))
    assert "60 more hosts are not shown here" in page.text
    assert "as planned" in page.text and "web070" in page.text and "web099" not in page.text


def test_what_was_killed_lasts_as_long_as_the_run() -> None:
    last = sample.view()["last"]
    span = {**last["timeline"][0]["spans"][-1], "offset": 150.0, "seconds": None, "finished": None, "status": "running"}
    [host] = worked({**last, "timeline": [{"host": "web1", "spans": [span]}]})
    assert host["spans"][0]["seconds"] == last["duration"] - 150.0
