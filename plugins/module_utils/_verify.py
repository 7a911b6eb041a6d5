# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The phase verify: a list of checks, each with timeout, retries and evidence. Private to this collection.

Preflight takes down in its part of the restore point what main compares with::

    kept.json       by check: numbers of rows, digests of rows and files
    logs.json       where the logs ended; service_start notes that anew before it starts anything
"""

from __future__ import annotations

import dataclasses
import json
import time
import typing as t

from ._check_host import ServiceUp
from ._check_kind import NOTHING_KEPT, Look, Scene, Verdict, short
from ._check_log import Journal, Log, OfLog, unit_option
from ._checks import Check, checks_from
from ._command import PhaseError
from ._log_marks import read_marks, write_marks
from ._phase import Context, Report
from ._restore_point import read_json, write_file
from ._service_steps import check_services
from ._services import services_from
from ._words import listed

EVIDENCE_LIMIT = 300  # characters, in the result
NOTED_LIMIT = 120  # characters, in the history
INTERVAL = 1.0  # seconds between two looks while the app must stay healthy

Results = t.Dict[str, t.Dict[str, t.Any]]


class Round:
    """Checks that are looked at, and what was found so far."""

    def __init__(self, checks: t.Sequence[Check], scene: Scene, kept: dict[str, t.Any]) -> None:
        self.checks = checks
        self.scene = scene
        self.kept = kept
        self.begun = time.monotonic()
        self.results: Results = {}
        self.seen: dict[str, dict[str, t.Any]] = {check.name: {} for check in checks}

    def look(self, check: Check) -> bool:
        """Look at one check once; what goes wrong is its evidence."""
        ok, evidence = self._attempt(check)
        known = self.results.get(check.name, {})
        self.results[check.name] = {
            "name": check.name,
            "ok": ok,
            "required": check.required,
            "evidence": short(evidence, EVIDENCE_LIMIT),
            "attempts": known.get("attempts", 0) + 1,
            "seconds": round(time.monotonic() - self.begun, 3),
        }
        return ok

    def _attempt(self, check: Check) -> Verdict:
        left = self.scene.commands.remaining(check.timeout)
        if check.kind.keeps and check.name not in self.kept:
            return False, NOTHING_KEPT
        look = Look(check.options, max(0.01, left or 0.0), self.scene, self.kept.get(check.name), self.seen[check.name])
        try:
            return check.kind.attempt(look)
        except (PhaseError, OSError) as exc:
            return False, str(exc)

    def settle(self) -> None:
        """Look at all until they hold or have been tried often enough, in turns: one that is late holds up no other."""
        due = {check.name: self.begun for check in self.checks if not check.kind.at_the_end}
        while due:
            for check in self.checks:
                if due.get(check.name, float("inf")) > time.monotonic():
                    continue
                ok = self.look(check)
                if ok or self.results[check.name]["attempts"] > check.retries or self._over():
                    del due[check.name]
                else:
                    due[check.name] = time.monotonic() + check.delay
            if due:
                time.sleep(max(0.0, min(due.values()) - time.monotonic()))

    def stay(self, seconds: float) -> None:
        """Look again and again, for ``seconds``, at what holds now and must not stop doing so."""
        begun = time.monotonic()
        watched = [
            check
            for check in self.checks
            if check.kind.lasting and check.kind.only_reads(check.options) and self.results[check.name]["ok"]
        ]
        while watched and time.monotonic() < begun + seconds:
            time.sleep(max(0.0, min(INTERVAL, begun + seconds - time.monotonic())))
            for check in list(watched):
                before = self.results[check.name]
                if self._over():
                    before.update(ok=False, evidence=f"the phase's timeout came before it had held for {seconds:g} s")
                elif not self.look(check):
                    after = f"it held, and no longer after {time.monotonic() - begun:.1f} s: "
                    now = self.results[check.name]
                    now["evidence"] = short(after + now["evidence"], EVIDENCE_LIMIT)
                    watched.remove(check)
                else:
                    self.results[check.name]["evidence"] = before["evidence"]
            if self._over() or self.bad(required=True):
                return

    def end(self) -> None:
        """Look at what is looked at once."""
        for check in self.checks:
            if check.kind.at_the_end:
                self.look(check)

    def _over(self) -> bool:
        return self.scene.commands.remaining() == 0.0

    def bad(self, required: bool) -> list[dict[str, t.Any]]:
        """What does not hold and is required, or only wanted."""
        return [one for one in self.all() if not one["ok"] and one["required"] is required]

    def all(self) -> list[dict[str, t.Any]]:
        """``name, ok, required, evidence, attempts, seconds`` of each check, in their order."""
        return [self.results[check.name] for check in self.checks if check.name in self.results]


def _scene(ctx: Context, there: bool) -> tuple[list[Check], Scene]:
    services = {service.name: service for service in services_from(ctx.params["services"])}
    scene = Scene(ctx.commands, services)
    checks = checks_from(ctx.params["checks"], scene, there)
    stays, timeout = ctx.params["stays_healthy"], ctx.params["timeout"]
    if stays < 0:
        raise PhaseError("stays_healthy must not be negative. Correct verify_stays_healthy.")
    if stays >= timeout:
        raise PhaseError(
            f"The app cannot be watched for {stays:g} s within the phase's timeout of {timeout:g} s. Give the phase a "
            "longer `timeout` in the plan, or lower verify_stays_healthy."
        )
    return checks, scene


def preflight(ctx: Context) -> Report:
    """Take down what main compares with, and tell how the checks stand now. What may change something is not asked."""
    checks, scene = _scene(ctx, there=True)
    asked = {check.options for check in checks if isinstance(check.kind, ServiceUp)}
    if asked:
        check_services(ctx.commands, [service for name, service in scene.services.items() if name in asked])
    kept = _keep(ctx, checks, scene)
    tried = [
        dataclasses.replace(check, retries=0)
        for check in checks
        if check.kind.only_reads(check.options) and not check.kind.keeps and not check.kind.at_the_end
    ]
    now = Round(tried, scene, {})
    now.settle()
    bad = [result["name"] for result in now.all() if not result["ok"]]
    holds = f"{len(tried) - len(bad)} of {len(tried)} that can be tried hold"
    said = f"{len(checks)} checks are ready. As things are now, {holds}"
    return Report(
        f"{said}; not yet: {listed(bad)}." if bad else f"{said}.",
        before={"kept": kept, "checks": {result["name"]: result["ok"] for result in now.all()}},
        facts={"checks": now.all()},
    )


def _keep(ctx: Context, checks: t.Sequence[Check], scene: Scene) -> dict[str, str]:
    """Take down what main compares with, unless a run that is resumed did so; returns what that is, by check.

    :raises PhaseError: it cannot be had.
    """
    logs = [check for check in checks if isinstance(check.kind, OfLog)]
    said: dict[str, str] = {}
    kept: dict[str, t.Any] = {}
    for check in checks:
        if check.kind.keeps:
            try:
                kept[check.name], words = check.kind.keep(Look(check.options, check.timeout, scene))
            except PhaseError as exc:
                raise PhaseError(f"Check '{check.name}': {exc}") from exc
            if kept[check.name]:
                said[check.name] = words
    ctx.point.make()
    path = ctx.point.part / "kept.json"
    if not path.exists():
        write_file(path, json.dumps(kept).encode())  # digests of a million rows: no indents
        files = [check.options["path"] for check in logs if isinstance(check.kind, Log)]
        units = [unit_option(check.options) for check in logs if isinstance(check.kind, Journal)]
        write_marks(ctx.point.part, files, units, "verify's preflight", ctx.commands)
    return said


def main(ctx: Context) -> Report:
    """Run all checks; those that do not hold are named together."""
    checks, scene = _scene(ctx, there=False)
    if ctx.check:
        return Report(f"Would run {len(checks)} checks: {listed([check.name for check in checks])}.")
    return _run(ctx, checks, scene)


def undone(ctx: Context) -> Report:
    """Run those checks that held before the rollback. The others ask for what the rollback brought."""
    checks, scene = _scene(ctx, there=False)
    held = [check for check in checks if ctx.before.get("checks", {}).get(check.name)]
    if not held:
        return Report("No check held before the rollback, so none is run after the undo.")
    return _run(ctx, held, scene)


def _run(ctx: Context, checks: list[Check], scene: Scene) -> Report:
    marks = read_marks(ctx.point.part)
    kept = {**(read_json(ctx.point.part / "kept.json") or {}), **{c.name: marks for c in checks if c.kind.at_the_end}}
    found = Round(checks, scene, kept)
    found.settle()
    if not found.bad(required=True):
        found.stay(ctx.params["stays_healthy"])
    found.end()
    return _report(found, ctx.params["stays_healthy"])


def _report(found: Round, stays: float) -> Report:
    """What was found.

    :raises PhaseError: a required check does not hold.
    """
    bad, wanted, results = found.bad(required=True), found.bad(required=False), found.all()
    after = {
        "checks": {
            result["name"]: {"ok": result["ok"], "evidence": short(result["evidence"], NOTED_LIMIT)}
            for result in results
        }
    }
    missed = [f"Wanted, but not so: {_said(wanted)}."] if wanted else []
    if bad:
        said = f"{len(bad)} of {len(results)} checks do not hold. {_said(bad)}."
        raise PhaseError(" ".join([said, *missed]), checks=results, after=after)
    good = [f"{result['name']} ({result['evidence']})" for result in results if result["ok"]]
    count = f"All {len(good)}" if not wanted else f"{len(good)} of {len(results)}"
    lasted = f" and stayed so for {stays:g} s" if stays and any(check.kind.lasting for check in found.checks) else ""
    said = f"{count} checks hold{lasted}" + (f": {listed(good)}." if good else ".")
    return Report(" ".join([said, *missed]), after=after, warnings=missed, facts={"checks": results})


def _said(results: t.Sequence[dict[str, t.Any]]) -> str:
    return ". ".join(f"{r['name']}: {r['evidence'].rstrip('.')} ({r['attempts']} attempts)" for r in results)


def recover(ctx: Context) -> Report:
    """Nothing to put back."""
    return Report("verify changes nothing, so there is nothing to put back.")
