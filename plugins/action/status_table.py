# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show the plans and the fleet's truth table. It works on the controller; see the module ``status_table``."""

from __future__ import annotations

import contextlib
import datetime
import os
import shutil
import sys
import typing as t
from pathlib import Path

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.changeops.rollback.plugins.module_utils._words import listed
from ansible_collections.changeops.rollback.plugins.plugin_utils import _review
from ansible_collections.changeops.rollback.plugins.plugin_utils import _status_view as view
from ansible_collections.changeops.rollback.plugins.plugin_utils._history import HistoryError, Store, now_utc
from ansible_collections.changeops.rollback.plugins.plugin_utils._history_process import this_process
from ansible_collections.changeops.rollback.plugins.plugin_utils._history_spool import store_of
from ansible_collections.changeops.rollback.plugins.plugin_utils._history_within import within
from ansible_collections.changeops.rollback.plugins.plugin_utils._outcome import (
    INTERRUPTED,
    MAIN,
    RECOVER,
    REFUSED,
    SKIPPED,
    SUCCEEDED,
)
from ansible_collections.changeops.rollback.plugins.plugin_utils._stack import stack_of
from ansible_collections.changeops.rollback.plugins.plugin_utils._windows import gate

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "plans": {"type": "list", "elements": "dict", "default": []},
    "changes": {"type": "list", "elements": "dict", "default": []},
    "found": {"type": "dict", "default": {}},
    "url": {"type": "str", "no_log": True},
    "require_rehearsal": {"type": "raw", "default": ""},
    "report_dir": {"type": "path"},
    "strict": {"type": "bool", "default": False},
}
LEFT_OUT = "not asked: --limit leaves it out"
LAST = 50  # runs among which one that was no dry run is looked for


def last_runs(store: Store, changes: t.Iterable[str]) -> tuple[dict[str, dict[str, t.Any]], dict[str, list[str]]]:
    """The last run of each change that was no dry run, without its phases; and the hosts of the last run of any kind.

    A run that touched nothing, a refusal say, says nothing of how the change stands: where an earlier one did touch a
    host, that is the last, and the later one is its ``attempt``.

    :raises HistoryError: the history cannot be read.
    """
    here = this_process(os.getppid())
    found: dict[str, dict[str, t.Any]] = {}
    hosts: dict[str, list[str]] = {}
    for change in changes:
        runs = store.runs(here, change, "", LAST)
        real = [run for run in runs if not run["check_mode"]]
        if real:
            last = next(filter(touched, real), real[0])
            attempt = _without_phases(real[0]) if real[0] is not last else None
            found[change] = {**_without_phases(last), "attempt": attempt}
        whole = next((run for run in runs if run["outcome"] == SUCCEEDED and not run["limit"]), None)
        hosts[change] = sorted({phase["host"] for phase in whole["phases"]}) if whole else []
    return found, hosts


def touched(run: dict[str, t.Any]) -> bool:
    """Whether a run brought its change to where it stands: it is no attempt that ended before any host was changed."""
    return run["outcome"] not in (REFUSED, INTERRUPTED) or any(
        phase["step"] in (MAIN, RECOVER) and phase["status"] != SKIPPED for phase in run["phases"]
    )


def _without_phases(run: dict[str, t.Any]) -> dict[str, t.Any]:
    return {name: value for name, value in run.items() if name != "phases"}


def reports_of(plan: t.Mapping[str, t.Any], folder: str) -> dict[str, str]:
    """What was written of a plan with report.yml, by path; by default beside the folder of the plans."""
    if not plan["place"]:
        return {}
    place = Path(folder).expanduser() if folder else Path(plan["place"]["path"]).parent.parent / "reports"
    found = {}
    for name in (f"{plan['change']}.md", f"{plan['change']}.html", f"rollback-{plan['change'].lower()}.sh"):
        with contextlib.suppress(OSError):
            found[str(place / name)] = (place / name).read_text(encoding="utf-8", errors="replace")
    return found


def closed_windows(plans: t.Iterable[t.Mapping[str, t.Any]], shared: t.Any, now: datetime.datetime) -> list[str]:
    """What is not to be rolled back now, in sentences.

    :arg shared: the maintenance windows of plans that have none of their own.
    """
    changes: dict[str, list[str]] = {}
    for plan in plans:
        allowed, words = gate(plan.get("maintenance") or shared, "rollback_maintenance", now)
        if not allowed:
            changes.setdefault(words, []).append(plan["change"])
    return [f"Outside of the maintenance windows of {listed(names)}. {words}" for words, names in changes.items()]


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        variables = task_vars or {}
        result = super().run(None, variables)
        args = self.validate_argument_spec(ARGUMENTS)[1]
        plans, found, width = args["plans"], args["found"], shutil.get_terminal_size((120, 24)).columns
        runs, before, rehearsals, required, without = {}, {}, {}, 0, ""
        try:
            store = store_of(args["url"], variables, self._templar, sys.executable)
            runs, before = last_runs(store, [plan["change"] for plan in plans])
            rehearsals = {p["change"]: store.rehearsal(p["change"], p["digest"]) for p in plans}
            required = within(args["require_rehearsal"])
        except HistoryError as exc:  # the hosts are worth seeing all the same
            without = str(exc)
        hosts = sorted({*found, *(host for plan in plans for host in plan["hosts"])})
        rows = [view.row(host, found[host]) if host in found else view.Row(host, said=LEFT_OUT) for host in hosts]
        known = None if without else runs
        rehearsed = {change: one.cell for change, one in rehearsals.items()}
        places = [plan["place"] for plan in args["changes"] or plans if plan.get("place")]
        stack = stack_of(places, found)
        windows = self._templar.template(variables.get("rollback_maintenance"))
        text = [view.plans_table(plans, known, rehearsed, now_utc(), width, stack), view.truth_table(rows, width)]
        text += closed_windows(plans, windows, now_utc())
        stale = [
            said
            for plan in plans
            for said in _review.stale(
                plan,
                runs.get(plan["change"]),
                rehearsals.get(plan["change"]),
                before.get(plan["change"], ()),
                found,
                reports_of(plan, args["report_dir"]),
                required,
            )
        ]
        text.append(view.review(stale, width))
        Display().display("\n" + "\n\n".join([*text, *([f"The history cannot be read. {without}"] if without else [])]))
        odd = sorted({host for host, _column, _name in view.odd_ones(rows)})
        above = {plan["change"]: stack.above(plan["change"]) for plan in plans}
        under = {change: uppers for change, uppers in above.items() if uppers}
        result.update(changed=False, runs=runs, under=under, odd=odd, stale=stale)
        if args["strict"] and (stale or without):
            told = [
                *(["Something has gone stale"] if stale else []),
                *(["the history cannot be read"] if without else []),
            ]
            return dict(result, failed=True, msg=f"{', and '.join(told)}: see above.")
        return result
