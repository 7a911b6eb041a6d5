# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks of verify: their option, and which kinds there are. Private to this collection."""

from __future__ import annotations

import dataclasses
import typing as t

from ._check_database import (
    CONTENT_ARGUMENT,
    REVISION_ARGUMENT,
    ROWS_ARGUMENT,
    SQL_ARGUMENT,
    Content,
    Revision,
    Rows,
    Sql,
)
from ._check_host import COMMAND_ARGUMENT, FILES_ARGUMENT, Command, Files, ServiceUp
from ._check_http import HTTP_ARGUMENT, Http
from ._check_kind import Kind, Options, Scene, short
from ._check_log import JOURNAL_ARGUMENT, LOG_ARGUMENT, Journal, Log
from ._command import PhaseError

KINDS: dict[str, Kind] = {
    "http": Http(),
    "service": ServiceUp(),
    "revision": Revision(),
    "sql": Sql(),
    "rows": Rows(),
    "content": Content(),
    "files": Files(),
    "log": Log(),
    "journal": Journal(),
    "command": Command(),
}

CHECKS_ARGUMENT: dict[str, t.Any] = {
    "type": "list",
    "elements": "dict",
    "default": [],
    "options": {
        "name": {"type": "str"},
        "required": {"type": "bool", "default": True},
        "http": HTTP_ARGUMENT,
        "service": {"type": "str"},
        "revision": REVISION_ARGUMENT,
        "sql": SQL_ARGUMENT,
        "rows": ROWS_ARGUMENT,
        "content": CONTENT_ARGUMENT,
        "files": FILES_ARGUMENT,
        "log": LOG_ARGUMENT,
        "journal": JOURNAL_ARGUMENT,
        "command": COMMAND_ARGUMENT,
        "timeout": {"type": "float", "default": 5.0},
        "retries": {"type": "int", "default": 10},
        "delay": {"type": "float", "default": 0.5},
    },
    "mutually_exclusive": [tuple(KINDS)],
    "required_one_of": [tuple(KINDS)],
}


@dataclasses.dataclass(frozen=True)
class Check:
    """One check: its kind with the options of that, and how often and how long it is tried.

    ``required``: whether the run fails when it does not hold; else it is only wanted.
    """

    name: str
    kind: Kind
    options: Options
    required: bool
    timeout: float
    retries: int
    delay: float


def checks_from(items: t.Sequence[dict[str, t.Any]], scene: Scene, there: bool) -> list[Check]:
    """Checks from the module's option, checked.

    :arg there: check also that what they need is there; later, that it is gone is what a check finds.
    :raises PhaseError: there is none, or with all faults at once.
    """
    if not items:
        raise PhaseError(
            "verify has no checks. List them in rollback_checks (or verify_checks), or leave verify out of the plan."
        )
    faults: list[str] = []
    found: list[Check] = []
    for item in items:
        word = next(word for word in KINDS if item.get(word) is not None)
        kind, options = KINDS[word], item[word]
        name = short(item.get("name") or "", 100) or short(kind.called(options), 100)
        if name in [check.name for check in found]:
            faults.append(f"Two checks are called '{name}'. Give one of them another `name`.")
        wrong = list(kind.faults(options, scene))
        if there and not wrong:
            wrong = list(kind.missing(options, scene))
        faults.extend(f"Check '{name}': {fault}" for fault in wrong)
        if item["timeout"] <= 0 or item["retries"] < 0 or item["delay"] < 0:
            faults.append(f"Check '{name}': timeout must be more than 0; retries and delay must not be negative.")
        found.append(Check(name, kind, options, item["required"], item["timeout"], item["retries"], item["delay"]))
    if faults:
        raise PhaseError(" ".join(faults))
    return found
