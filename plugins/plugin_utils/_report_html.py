# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pages of a report: one for each change, and one that lists them. Pure functions. Private to this collection.

Jinja2 escapes every value here, which Ansible's own templates do not, whatever they ask for. Only the charts are markup
already, and an element tree wrote those.
"""

from __future__ import annotations

import functools
import typing as t
from pathlib import Path

from ._history_view import duration_words
from ._outcome import OUTCOMES
from ._report_svg import mark
from ._report_timeline import MOST_RUNS, aside, draw_history, draw_run, telling, worked

try:
    import jinja2
except ImportError:
    HAS_JINJA = False
else:
    HAS_JINJA = True

TEMPLATES = Path(__file__).parents[2] / "roles" / "report" / "templates"
# A page runs no script, and fetches nothing.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
COLUMNS = ("commit", "branch", "dirty", "revision", "config", "services")

Values = t.Mapping[str, t.Any]


def pages(views: t.Sequence[Values], listed: t.Sequence[Values]) -> dict[str, str]:
    """The text of each page by its file's name.

    :arg views: of the changes that get a page.
    :arg listed: of all changes, for the page that lists them.
    """
    made = {f"{view['change']}.html": change_page(view) for view in views if not view["fault"]}
    return {"index.html": index_page(listed), **made}


def index_page(views: t.Sequence[Values]) -> str:
    """The page that lists all changes."""
    return _render("index.html.j2", {"changes": views})


def change_page(view: Values) -> str:
    """The page of a change whose plan has no fault."""
    last = view["last"]
    truth = last["truth"] if last else {"before": [], "after": [], "changes": []}
    hosts = worked(last) if last else []
    shown = telling(hosts)
    values = {
        **view,
        "timeline": draw_run(last, view["phases"]) if last else "",
        "history_chart": draw_history(view["history"]),
        "truth": [(moment, truth[moment], odd_words(truth[moment])) for moment in ("before", "after") if truth[moment]],
        "differences": truth["changes"],
        "columns": COLUMNS,
        "spans": [{"host": one["host"], **span} for one in shown for span in one["spans"]],
        "not_shown": len(hosts) - len(shown),
        "most_runs": MOST_RUNS,
        "outcomes": OUTCOMES,
        "total": view["times"][-1] if view["times"] else None,
    }
    return _render("change.html.j2", values)


def odd_words(rows: t.Sequence[Values]) -> list[str]:
    """A sentence for each host that differs from most, and for each that could not be read whole."""
    said = []
    for row in rows:
        odd = [
            f"{'' if column == 'services' else column + ' '}{fact['text']}"
            + (f", most have {fact['most']}" if fact["most"] else ", and no value is on most hosts")
            for column, facts in row["columns"].items()
            for fact in facts
            if fact["odd"]
        ]
        if odd:
            said.append(f"{row['host']} is odd: {'; '.join(odd)}.")
        if row["said"] and row["columns"]:
            said.append(f"{row['host']}: {row['said']}")
    return said


@functools.cache
def _environment() -> t.Any:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals.update(
        mark=mark,
        style=(TEMPLATES / "report.css").read_text(),
        policy=POLICY,
        took=duration_words,
        aside=aside,
    )
    return environment


def _render(template: str, values: Values) -> str:
    """A page. A name that is missing is an error."""
    return str(_environment().get_template(template).render(values))
