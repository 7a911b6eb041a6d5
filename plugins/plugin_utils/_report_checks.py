# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks of a plan and what the last run found of them, under the headings of the plan document.

Pure functions. Private to this collection.
"""

from __future__ import annotations

import re
import typing as t

from ..module_utils._check_kind import short
from ..module_utils._checks import KINDS
from ..module_utils._redact import redact
from ._outcome import MAIN, OK, name_of
from ._report_commands import Options

Values = t.Mapping[str, t.Any]
# What a check's options are when it has none: `called` reads them.
_DEFAULTS: dict[str, dict[str, t.Any]] = {"http": {"method": "GET"}, "files": {"paths": [], "sha256": {}}}
NOT_RUN = "not run yet"
NO_CHECK = "no check for this in the plan's inventory"

STARTED = "Application starts successfully"
RUNNING = "All services running"
HEALTH = "Health checks pass"
DATABASE = "Database accessible"
INTEGRITY = "Data integrity verified"
CORE = "Core functionality works"
LOGS = "No error logs"
# By which kinds of checks each is shown.
CHECKLIST: dict[str, tuple[str, ...]] = {
    STARTED: ("service",),
    RUNNING: ("service",),
    HEALTH: ("http",),
    DATABASE: ("revision", "sql", "rows", "content"),
    INTEGRITY: ("rows", "content", "files", "sql"),
    CORE: ("core",),
    LOGS: ("log", "journal"),
}
TESTS = {
    "Unit tests pass": re.compile(r"\bunit|pytest|\btox\b|\btests?\b", re.IGNORECASE),
    "Integration tests pass": re.compile(r"integration", re.IGNORECASE),
    "E2E tests pass": re.compile(r"\be2e\b|end.to.end|playwright|selenium|cypress", re.IGNORECASE),
    "Performance tests pass": re.compile(r"perf|\bload\b|bench|locust|\bk6\b", re.IGNORECASE),
}


def check_name(check: Values) -> tuple[str, str]:
    """The name that a check has in results, and its kind; both empty where it is none."""
    kind = next((word for word in KINDS if check.get(word) is not None), "")
    if not kind:
        return "", ""
    options = check[kind]
    options = {**_DEFAULTS.get(kind, {}), **options} if isinstance(options, dict) else options
    try:
        return short(check.get("name") or "", 100) or short(KINDS[kind].called(options), 100), kind
    except (KeyError, TypeError, AttributeError):  # an inventory may hold anything
        return "", kind


def test_word(check: Values) -> str:
    """Which of `TESTS` a check is; empty for none."""
    if not isinstance(check.get("command"), dict):
        return ""
    argv = check["command"].get("argv") or []
    parts = [str(part).rpartition("/")[2] for part in (argv if isinstance(argv, list) else [argv])]
    text = " ".join([str(check.get("name") or ""), *parts])
    words = [word for word in reversed(list(TESTS)) if TESTS[word].search(text)]
    return words[0] if words else ""


def planned(phases: t.Sequence[Values], hosts: t.Mapping[str, Values]) -> list[dict[str, t.Any]]:
    """The checks that verify phases make, each once: ``name``, ``kind``, ``core``, ``test``, ``required``.

    ``core``: it asks for what the app does, not only whether it is there. ``test``: which of `TESTS` it is.
    """
    found: dict[str, dict[str, t.Any]] = {}
    for phase in phases:
        for host in phase["host_names"] if phase["name"] == "verify" else ():
            for check in Options(phase, hosts.get(host, {})).items("checks", "rollback_checks"):
                name, kind = check_name(check) if isinstance(check, dict) else ("", "")
                if not name:
                    continue
                test = test_word(check)
                asks = kind == "http" and bool(check["http"].get("json") or check["http"].get("contains"))
                core = asks or (kind in ("command", "sql") and not test)
                found[name] = {"name": name, "kind": kind, "core": core, "test": test}
                found[name]["required"] = check.get("required", True)
    return list(found.values())


def results(known: t.Sequence[Values], run: Values | None) -> list[dict[str, t.Any]]:
    """What a run found: each of ``known`` on each host, with ``host``, ``ok`` (None: not run) and ``evidence``."""
    by_name = {check["name"]: check for check in known}
    found = []
    for row in run["phases"] if run else ():
        if row["step"] == MAIN and name_of(row["phase"]) == "verify":
            for name, seen in ((row["after"] or {}).get("checks") or {}).items():
                check = by_name.pop(name, None) or next((one for one in known if one["name"] == name), {})
                unknown = {"name": redact(name), "kind": "", "core": False, "test": "", "required": True}
                evidence = redact(str(seen.get("evidence") or ""))
                found.append(
                    {**unknown, **check, "host": row["host"], "ok": bool(seen.get("ok")), "evidence": evidence}
                )
    return found + [{**check, "host": "", "ok": None, "evidence": NOT_RUN} for check in by_name.values()]


def box(text: str, done: bool, words: t.Iterable[str] = ()) -> dict[str, t.Any]:
    """A checkbox: ``text``, ``done`` and ``words``, the evidence or why not."""
    return {"text": text, "done": done, "words": [word for word in words if word]}


def _held(text: str, checks: t.Sequence[Values]) -> dict[str, t.Any]:
    """A box that is ticked where there are checks and all hold."""
    if not checks:
        return box(text, False, [NO_CHECK])
    return box(text, all(check["ok"] for check in checks), map(evidence_words, checks))


def evidence_words(check: Values) -> str:
    """A check's result as a person reads it."""
    if check["ok"] is None:
        return f"{check['name']}: {NOT_RUN}"
    return f"{check['name']} on {check['host']}: {'' if check['ok'] else 'does not hold, '}{check['evidence']}"


def checklist(
    checks: t.Sequence[Values], started: t.Sequence[Values], running: t.Mapping[str, bool]
) -> list[dict[str, t.Any]]:
    """The seven boxes of the validation checklist.

    :arg checks: as ``results`` gives them.
    :arg started: rows of service_start of the last run.
    :arg running: whether a service ran after the last run, as ``shop-web on web1``.
    """
    found = []
    for text, kinds in CHECKLIST.items():
        mine = [check for check in checks if check["kind"] in kinds or (check["core"] and "core" in kinds)]
        said = [f"{row['host']}: {redact(row['message'])}" for row in started]
        if text == STARTED and started:
            found.append(box(text, all(row["status"] == OK for row in started), said))
        elif text == RUNNING and running and not mine:
            said = [f"{name}: {'running' if well else 'not running'}" for name, well in running.items()]
            found.append(box(text, all(running.values()), said))
        else:
            found.append(_held(text, mine))
    return found


def tests(checks: t.Sequence[Values], fit: t.Mapping[str, float], command: str) -> list[dict[str, t.Any]]:
    """The four boxes of the test validation.

    :arg fit: seconds that a rehearsal of this plan took to ``install``, ``test`` and ``start`` the code.
    :arg command: how it runs the tests of the app; empty where it does not.
    """
    found = []
    for text in TESTS:
        mine = [check for check in checks if check["test"] == text]
        if not mine and command and test_word({"command": {"argv": command.split()}}) in (text, "") and text in _OWN:
            took = fit.get("test")
            said = f"{command} in the rehearsal, {took:.1f} s" if took is not None else f"{command}: {NOT_RUN}"
            found.append(box(text, took is not None, [said]))
        else:
            found.append(_held(text, mine))
    return found


_OWN = ("Unit tests pass",)  # what the tests of an app are called, where their command does not say
