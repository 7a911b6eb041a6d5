# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rollback document as values: its changes, their steps, and where each line went. Private to this collection."""

from __future__ import annotations

import dataclasses
import re

# Where a line ends.
PLAN, PHASE, COMMENT, FORM, LISTED = "plan", "phase", "comment", "form", "listed"

_BLANK = re.compile(
    r"_{2,}|\[(?:[A-Z][\w ]*|\w+(?:/[\w ]+)+)\]|\[ \] / \[x\]|YYYY-MM-DD|\bC___|<[^<>]*>|(?<!\w)N/?A(?!\w)"
)
_BARE = re.compile(r"[\s*|:.()#\d-]|\bmin\b")

# What headings of the template begin; a heading of a document's own is a step within the procedure, else a comment.
SECTIONS = {
    "rollback summary": "summary",
    "rollback method": "method",
    "rollback complexity": "complexity",
    "complexity": "complexity",
    "rollback information": "",
    "detailed rollback plans": "",
    "rollback plan": "",
    "rollback plan template": "",
    "rollback procedure": "procedure",
    "procedure": "procedure",
    "rollback validation": "validation",
    "validation": "validation",
    "validation checklist": "validation",
    "test validation": "validation",
    "rollback time estimate": "times",
    "rollback risks": "risks",
    "risks": "risks",
    "potential issues": "risks",
    "mitigation strategies": "mitigations",
    "rollback execution history": "history",
    "rollback scripts": "script",
    "automated rollback script": "script",
    "notes": "notes",
}
# Boxes that the template has of its own. They name what phases do, so without commands they are no step by hand.
FORM_BOXES = frozenset(
    line.strip().lower()
    for line in """
    Backup current state;Notify stakeholders;Schedule maintenance window;Document current state;Stop application
    Stop database;Stop related services;Revert code changes;Restore previous version;Update dependencies
    Rollback migrations;Restore data if needed;Verify data integrity;Restore configuration files
    Update environment variables;Verify settings;Start database;Start application;Start related services
    Verify application starts;Verify health checks pass;Verify functionality;Document rollback;Analyze failure;Plan fix
    Application starts successfully;All services running;Health checks pass;Database accessible
    Data integrity verified;Core functionality works;No error logs;Unit tests pass;Integration tests pass
    E2E tests pass;Performance tests pass;Data loss during rollback;Configuration conflicts;Dependency issues
    Service startup failures
    """.replace("\n", ";").split(";")
    if line.strip()
)


class DocumentError(Exception):
    """Why a document cannot be read, as a sentence."""


@dataclasses.dataclass(frozen=True)
class Code:
    """A line in a block of code. ``shell``: whether the block's language is a shell, or none is named."""

    line: int
    text: str
    shell: bool = True


@dataclasses.dataclass
class Step:
    """A step of the procedure: lines of code and what is done by hand, in order, and what is said of it."""

    name: str
    line: int
    does: list[Code | tuple[int, str]] = dataclasses.field(default_factory=list)
    boxes: list[tuple[int, bool, str]] = dataclasses.field(default_factory=list)
    prose: list[tuple[int, str]] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Change:
    """What a document says of a change. Empty texts were not filled in; ``possible`` is None where it does not say."""

    id: str
    line: int
    title: str = ""
    date: str = ""
    implemented_by: str = ""
    possible: bool | None = None
    reason: str = ""
    method: str = ""
    steps: list[Step] = dataclasses.field(default_factory=list)
    validation: list[tuple[int, str]] = dataclasses.field(default_factory=list)
    times: dict[str, tuple[int, str]] = dataclasses.field(default_factory=dict)
    risks: list[tuple[int, str]] = dataclasses.field(default_factory=list)
    mitigations: list[tuple[int, str]] = dataclasses.field(default_factory=list)
    script: list[Code] = dataclasses.field(default_factory=list)
    comments: list[tuple[int, str]] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Document:
    """A document that was read.

    ``places``: where each line that is not empty went. ``listed``: what is for a person to look at, with the reason.
    """

    changes: list[Change] = dataclasses.field(default_factory=list)
    places: dict[int, str] = dataclasses.field(default_factory=dict)
    listed: list[tuple[int, str, str]] = dataclasses.field(default_factory=list)

    def look_at(self, line: int, text: str, why: str, place: str = LISTED) -> None:
        """List a line, with the reason."""
        self.places[line] = place
        self.listed.append((line, text.strip(), why))


def filled(text: str) -> str:
    """Give a value, or an empty text where it is still the template's."""
    text = text.strip().strip("`").strip()
    return "" if not _BARE.sub("", _BLANK.sub("", text)) and not re.search(r"\d", _BLANK.sub("", text)) else text
