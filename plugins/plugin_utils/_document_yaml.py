# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write what a rollback document says of a change as the text of a plan. Pure functions. Private to this collection."""

from __future__ import annotations

import re
import textwrap
import typing as t

import yaml

from ._document_model import Change, Document
from ._document_plan import Draft, Drafts
from ._plan_yaml import question

_JINJA = re.compile(r"\{\{|\{%|\{#")
_METHODS = (("git", "git_revert"), ("script", "script"), ("manual", "manual"), ("auto", "automated"))


def plan_text(change: Change, document: Document, name: str) -> tuple[str, list[str]]:
    """Write the plan of a change. Gives its text, and what is different from the document, as sentences.

    :arg name: of the document, for a comment.
    """
    drafts = Drafts(change, document)
    lines = [
        "---",
        f"# {change.id}, imported from {name}; (line 12) is a line there.",
        "# Write the answer in place of each QUESTION.",
    ]
    for note in drafts.notes:
        lines += textwrap.wrap(note, 116, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
    where = f"(line {change.line})"
    lines += _pair("title", change.title or question(f"what is changed, in a few words {where}?"))
    dated = re.search(r"\d{4}-\d{2}-\d{2}", change.date)
    said = f" The document says {change.date}." if change.date and not dated else ""
    lines += _pair("date", dated[0] if dated else question(f"when was it changed, as year-month-day {where}?{said}"))
    lines += _pair("implemented_by", change.implemented_by or question(f"who changed it {where}?"))
    lines += _pair("hosts", question("on which hosts, as a group of the inventory such as shop?"))
    lines += _rollback(change, drafts.phases)
    lines += _risks(change)
    phases = drafts.phases
    if not phases and change.possible is not False:
        phases = [
            Draft(
                "manual_step",
                {"manual_step_instructions": question(f"how is it rolled back {where}? The document has no steps.")},
            )
        ]
    if phases:
        lines.append("phases:")
    for phase in phases:
        lines += _phase(phase)
    if change.comments:
        lines += ["", f"# What {name} says besides, with its line:"]
        lines += [f"#   {number}: {text}" for number, text in sorted(change.comments, key=lambda one: one[0])]
    return "\n".join(line.rstrip() for line in lines) + "\n", drafts.notes


def _rollback(change: Change, phases: t.Sequence[Draft]) -> list[str]:
    lines = ["rollback:"]
    asked = question(f"can it be rolled back, true or false (line {change.line})?")
    possible = change.possible if change.possible is not None else asked
    lines += _pair("  possible", possible)
    if change.possible is False:
        lines += _pair("  reason", change.reason or question(f"why can it not be rolled back (line {change.line})?"))
    method = next((method for word, method in _METHODS if word in change.method.lower()), "")
    if change.method and not method:
        lines += _pair(
            "  method", question(f"automated, git_revert, script or manual? The document says {change.method}.")
        )
    elif method:
        lines += _pair("  method", method)
    else:
        by_hand = phases and all(phase.role == "manual_step" for phase in phases)
        lines.append(f"  method: {'manual' if by_hand else 'automated'}  # the document does not say")
    return lines


def _risks(change: Change) -> list[str]:
    texts = [text for _number, text in change.mitigations]
    issues = [text for _number, text in change.risks]
    if len(texts) > len(issues):  # what is left over belongs to the last one, or to one that is not named
        issues = issues or [question(f"which risk does line {change.mitigations[0][0]} mitigate?")]
        texts[len(issues) - 1 :] = ["; ".join(texts[len(issues) - 1 :])]
    lines = ["risks:"] if issues else []
    for position, issue in enumerate(issues):
        lines += _pair("  - issue", issue)
        if position < len(texts):
            lines += _pair("    mitigation", texts[position])
    return lines


def _phase(phase: Draft) -> list[str]:
    lines = [f"  # {line}" for text in phase.comments for line in text.split("\n")]
    lines += _pair("  - role", phase.role)
    if phase.estimate:
        lines += _pair("    estimate", phase.estimate)
    if phase.become_user:
        lines += _pair("    become_user", phase.become_user)
    for name, values in (("environment", phase.environment), ("vars", phase.vars)):
        if values:
            lines.append(f"    {name}:")
        for key, value in values.items():
            lines += _pair(f"      {key}", value)
    return lines


def _pair(key: str, value: t.Any) -> list[str]:
    """A key with its value; texts of several lines as they are, all else in one line."""
    told = _jinja_in(value)
    if told:
        shown = [f"{' ' * (len(key) - len(key.lstrip()))}# {line}" for line in told.split("\n")]
        begin = " ".join(re.sub(r"[{}]", "", told).split())[:60]
        asked = question(f"what goes here? A plan cannot hold Jinja, nor what looks like it, as in {begin}")
        return [*shown, *_pair(key, asked)] if "-" not in key.split(maxsplit=1)[0] else _pair(key, asked)
    if isinstance(value, str) and "\n" in value:
        indent = " " * (len(key) - len(key.lstrip()) + 2)
        return [f"{key}: |-", *(f"{indent}{line}" if line.strip() else "" for line in value.split("\n"))]
    return [f"{key}: {_flow(value)}"]


def _jinja_in(value: t.Any) -> str:
    shown = value if isinstance(value, str) else _flow(value)
    texts = value if isinstance(value, list) else [value]
    return shown if any(_JINJA.search(str(text)) for text in texts) and not isinstance(value, bool) else ""


def _flow(value: t.Any) -> str:
    shown: str = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True, sort_keys=False)
    return shown.removesuffix("\n").removesuffix("\n...").strip()
