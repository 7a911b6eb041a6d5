# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The phase verify: a list of checks, each with timeout, retries and evidence. Private to this collection."""

from __future__ import annotations

import dataclasses
import os
import shlex
import sqlite3
import time
import typing as t
import urllib.parse

from ._checks import KINDS, Scene, Verdict, count_rows, short
from ._command import PhaseError
from ._phase import Context, Report
from ._service_steps import check_services
from ._services import services_from
from ._words import listed

EVIDENCE_LIMIT = 300  # characters


@dataclasses.dataclass(frozen=True)
class Check:
    """One check: its kind, the options of its kind, and how often and how long it is tried."""

    name: str
    kind: str
    options: t.Any
    timeout: float
    retries: int
    delay: float


def _derived_name(kind: str, options: t.Any) -> str:
    said = {
        "http": lambda: f"GET {options['url']}",
        "service": lambda: f"service {options}",
        "revision": lambda: f"revision of {options['database']}",
        "sql": lambda: f"SQL {options['query']}",
        "rows": lambda: f"rows of {options['database']}",
        "command": lambda: f"command {' '.join(map(shlex.quote, options['argv']))}",
    }
    return short(said[kind](), 100)


def checks_from(items: t.Sequence[dict[str, t.Any]], services: t.Container[str]) -> list[Check]:
    """Checks from the module's option, checked.

    :raises PhaseError: there is none, or with all faults at once.
    """
    if not items:
        raise PhaseError(
            "verify has no checks. List them in rollback_checks (or verify_checks), or leave verify out of the plan."
        )
    faults: list[str] = []
    found: list[Check] = []
    for item in items:
        kind = next(kind for kind in KINDS if item.get(kind) is not None)
        options = item[kind]
        name = short(item.get("name") or "", 100) or _derived_name(kind, options)
        if name in [check.name for check in found]:
            faults.append(f"Two checks are called '{name}'. Give one of them another `name`.")
        faults.extend(f"Check '{name}': {fault}" for fault in _faults(kind, options, services))
        if item["timeout"] <= 0 or item["retries"] < 0 or item["delay"] < 0:
            faults.append(f"Check '{name}': timeout must be more than 0; retries and delay must not be negative.")
        found.append(Check(name, kind, options, item["timeout"], item["retries"], item["delay"]))
    if faults:
        raise PhaseError(" ".join(faults))
    return found


def _faults(kind: str, options: t.Any, services: t.Container[str]) -> t.Iterator[str]:
    if kind == "http":
        parts = urllib.parse.urlsplit(options["url"])
        if parts.scheme not in ("http", "https") or not parts.hostname:
            yield f"'{options['url']}' is no URL. Write http://host:port/path or https://host/path."
    elif kind == "service":
        if options not in services:
            yield f"there is no service {options} in rollback_services (or verify_services). Add it there."
    elif kind == "command":
        if not options["argv"]:
            yield "`argv` is empty. Give the program and its arguments as a list."
    elif "://" in options["database"]:
        yield f"'{options['database']}' is a URL. Give the path of the SQLite file."
    elif not os.path.isfile(options["database"]):
        yield f"there is no file {options['database']} on this host. Give the path of the SQLite file."


def attempt(check: Check, scene: Scene) -> Verdict:
    """Try a check once; what goes wrong is its evidence."""
    try:
        ok, evidence = KINDS[check.kind](check.options, check.timeout, scene, check.name)
    except (PhaseError, OSError) as exc:
        ok, evidence = False, str(exc)
    except sqlite3.Error as exc:
        late = "interrupted" in str(exc)
        ok, evidence = False, f"no answer within {check.timeout:g} s" if late else f"{check.options['database']}: {exc}"
    return ok, short(evidence, EVIDENCE_LIMIT)


def run_checks(checks: t.Sequence[Check], scene: Scene, once: bool = False) -> list[dict[str, t.Any]]:
    """Run all checks, in turns so that one that is late does not hold up the others.

    Returns for each check ``name, ok, evidence, attempts, seconds``.
    """
    begun = time.monotonic()
    results: dict[str, dict[str, t.Any]] = {}
    due = {check.name: begun for check in checks}
    while due:
        for check in checks:
            if due.get(check.name, float("inf")) > time.monotonic():
                continue
            ok, evidence = attempt(check, scene)
            attempts = results.get(check.name, {}).get("attempts", 0) + 1
            seconds = round(time.monotonic() - begun, 3)
            verdict = {"ok": ok, "evidence": evidence, "attempts": attempts, "seconds": seconds}
            results[check.name] = {"name": check.name, **verdict}
            if ok or once or attempts > check.retries or scene.commands.remaining() == 0.0:
                del due[check.name]
            else:
                due[check.name] = time.monotonic() + check.delay
        if due:
            time.sleep(max(0.0, min(due.values()) - time.monotonic()))
    return [results[check.name] for check in checks]


def _scene(ctx: Context, stays_up: float) -> tuple[list[Check], Scene]:
    services = {service.name: service for service in services_from(ctx.params["services"])}
    checks = checks_from(ctx.params["checks"], services)
    return checks, Scene(ctx.commands, services, stays_up, ctx.before.get("rows", {}))


def preflight(ctx: Context) -> Report:
    """Count rows, and report how the checks stand now. Commands are not run: they may change something."""
    checks, scene = _scene(ctx, 0.0)
    asked = {check.options for check in checks if check.kind == "service"}
    if asked:
        check_services(ctx.commands, [service for name, service in scene.services.items() if name in asked])
    rows = {}
    for check in checks:
        if check.kind == "rows":
            rows[check.name] = _count(check)
    now = run_checks([check for check in checks if check.kind not in ("rows", "command")], scene, once=True)
    bad = [result["name"] for result in now if not result["ok"]]
    said = (
        f"{len(checks)} checks are ready. As things are now, {len(now) - len(bad)} of {len(now)} that can be tried hold"
    )
    return Report(
        f"{said}; not yet: {listed(bad)}." if bad else f"{said}.",
        before={"rows": rows, "checks": {result["name"]: result["ok"] for result in now}},
        facts={"checks": now},
    )


def _count(check: Check) -> dict[str, int]:
    options = check.options
    try:
        counted = count_rows(options, check.timeout)
    except sqlite3.Error as exc:
        raise PhaseError(
            f"Check '{check.name}': the rows of {options['database']} cannot be counted within {check.timeout:g} s: "
            f"{exc}. Correct `database`, name fewer `tables`, or raise `timeout`."
        ) from exc
    missing = [table for table in options["tables"] if table not in counted and table not in options["except"]]
    if missing:
        raise PhaseError(
            f"Check '{check.name}': {options['database']} has no table {listed(missing, 'or')}. Correct `tables`."
        )
    return counted


def main(ctx: Context) -> Report:
    """Run all checks; those that do not hold are named together."""
    checks, scene = _scene(ctx, ctx.params["stays_up"])
    if ctx.check:
        return Report(f"Would run {len(checks)} checks: {listed([check.name for check in checks])}.")
    results = run_checks(checks, scene)
    bad = [result for result in results if not result["ok"]]
    if bad:
        named = [f"{r['name']}: {r['evidence'].rstrip('.')} ({r['attempts']} attempts)" for r in bad]
        raise PhaseError(f"{len(bad)} of {len(results)} checks do not hold. {'. '.join(named)}.", checks=results)
    after = {"checks": {result["name"]: True for result in results}}
    said = f"All {len(results)} checks hold: " + listed([f"{r['name']} ({r['evidence']})" for r in results])
    return Report(f"{said}.", after=after, facts={"checks": results})


def recover(ctx: Context) -> Report:
    """Nothing to put back."""
    return Report("verify changes nothing, so there is nothing to put back.")
