# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One change as its report shows it: what the plan, the inventory and the history say, as plain values. Private.

Pure functions. Nothing in a view depends on the time at which it is made, so the same plan and history give the same
report. Values are JSON and have no secrets: names that look secret are masked, environments are not in it.

A view is a mapping. Times are UTC text as in the history (``2026-11-22T23:15:00.123Z``), durations are seconds.

- change, title, date, implemented_by, digest, hosts (names), on_failure; path (the plan's file)
- fault: why there is nothing but ``change`` and ``title``, as the plan has faults; empty otherwise
- possible, reason, method (automated, git_revert, script, manual)
- complexity (simple, moderate, complex or very complex)
- status: {done: is it rolled back now, words: "rolled back", "never rolled back", "half-way", ...}
- phases, the procedure in its order: [{index, id, name, role, hosts (names), step (1 to 8, see ``steps``), user,
  estimate (the plan's), expected, expected_from ("plan", "earlier runs", "rehearsal", ""), actual and status of
  ``last`` ("ok", "failed", ... or ""), destroys (is it the point of no return)}]
- steps, the document's eight: [{number, title, boxes: [box], phases (ids), commands: [{phase (id), hosts (names), user,
  lines}]}]
- times, in the document's order, the last one is "Total": [{step, estimated, actual}]
- expected: sentences about the downtime to expect, the time in all and the point of no return
- checks, as they were run last: [{name, kind, core, test, required, host, ok (None: not run), evidence}]
- validation: the seven boxes of the checklist; tests: the four of the test validation
- issues: the four potential issues, as boxes; risks: [{issue, mitigation}]; mitigations: sentences
- rehearsal: None, or the last one: {id, finished, executed_by, ready, same_plan, words, loss (words), seconds}
- last: None, or the last rollback that did something: {id, started, finished, duration, outcome, executed_by,
  executed_from, link, summary, notes, resumes, same_plan, downtime, timeline, truth, loss}
  - downtime: None or {started, finished, seconds}
  - timeline: [{host, spans: [{index, id, name, step ("preflight", "main", "recover", ...), status, changed, started,
    finished, offset (since the run's start), seconds, message}]}]
  - truth: {before: [row], after: [row], changes: sentences}; a row is {host, said (why it could not be read), columns:
    {commit, branch, dirty, revision, config, services: [{name, text, odd, most (what most hosts have)}]}}
  - loss: [{host, phase (id), lost (words), exported: {table: rows}}]
- history, newest first: [{id, started, date, kind, executed_by, executed_from, link, dry, outcome ("" while it runs),
  success (None while it runs), duration, summary, notes (words)}]
- runs: the same as ``Store.runs`` gives them, with phases, for charts
- script: {host, file, text} of the break-glass script; text is empty where there is none

A box is {text: the document's words, done: ticked?, words: [evidence, or why not]}.
"""

from __future__ import annotations

import typing as t

from ..module_utils._redact import redact, redacted
from ..module_utils._words import listed
from ._awx import from_words, link_of
from ._expected import DESTROYS, START, eta, expected_words, rehearsed_seconds, took
from ._history_notes import note_words
from ._history_schema import REHEARSAL, ROLLBACK, UNDO
from ._outcome import FAILED, INTERRUPTED, MAIN, OK, RECOVER, RECOVERED, REFUSED, SUCCEEDED, name_of
from ._report_checks import box, checklist, planned, results, tests
from ._report_commands import account, command_of
from ._report_run import (
    downtime,
    fit,
    last_rehearsal,
    last_run,
    last_with_checks,
    loss_of,
    real_runs,
    rehearsed_loss,
    timeline,
    truth_view,
)
from ._report_steps import Steps, preflight_seconds, times

Values = t.Mapping[str, t.Any]
View = dict[str, t.Any]
NEVER = "never rolled back"


def view(
    plan: Values,
    hosts: t.Mapping[str, Values],
    runs: t.Sequence[Values],
    truth: Values,
    script: Values | None = None,
) -> View:
    """The view of one change.

    :arg plan: as ``lookup('changeops.rollback.plan')`` gives it, with ``host_names`` of all hosts of the inventory.
    :arg hosts: the variables of each host of the plan, by name.
    :arg runs: those of the change, newest first, as ``Store.runs`` gives them.
    :arg truth: the truth tables of the run that ``_report_run.last_run`` gives, by moment.
    :arg script: ``host``, ``file`` and ``text`` of the break-glass script.
    """
    last, tried = last_run(runs), last_rehearsal(runs)
    fresh = tried if tried and tried["plan_digest"] == plan["digest"] else None
    checks = results(planned(plan["phases"], hosts), last_with_checks(runs))
    steps = Steps(plan, hosts, last, truth, checks)
    phases = _phases(plan, runs, last, tried, steps)
    loss = loss_of(last)
    tables = truth_view(truth)
    return {
        **{name: plan[name] for name in ("change", "date", "digest", "method", "complexity", "possible", "on_failure")},
        **{name: redact(plan[name]) for name in ("title", "implemented_by", "path", "reason")},
        "fault": "",
        "hosts": sorted(hosts),
        "status": status(runs),
        "phases": phases,
        "steps": steps.all(),
        "times": times(phases, last, _usual_preflight(runs), steps.number),
        "expected": expected_words(plan["phases"], rehearsed_seconds(tried)) if phases else [],
        "checks": checks,
        "validation": checklist(checks, steps.rows(START), _running(tables)),
        "tests": tests(checks, fit(fresh), _own_tests(hosts)),
        "issues": _issues(plan, fresh, tried, loss, steps),
        "risks": redacted(plan["risks"]),
        "mitigations": _mitigations(plan, steps),
        "rehearsal": _rehearsal_view(plan, tried),
        "last": _last_view(plan, last, tables, loss),
        "history": [_history_line(run) for run in runs],
        "runs": redacted(list(runs)),
        "script": dict(script or {"host": "", "file": f"rollback-{plan['change'].lower()}.sh", "text": ""}),
    }


def fault_view(change: str, fault: str) -> View:
    """The view of a change whose plan has faults."""
    return {"change": change, "title": "", "fault": redact(fault)}


def status(runs: t.Sequence[Values]) -> dict[str, t.Any]:
    """Whether the change is rolled back now, told by the newest run that touched a host."""
    for run in real_runs(runs, ROLLBACK, UNDO):
        touched = any(row["step"] in (MAIN, RECOVER) and row["status"] != "skipped" for row in run["phases"])
        if run["outcome"] is None:
            return {"done": False, "words": f"being {'undone' if run['kind'] == UNDO else 'rolled back'}"}
        if not touched and run["outcome"] in (REFUSED, INTERRUPTED):
            continue
        if run["outcome"] in (FAILED, INTERRUPTED):
            return {"done": False, "words": "half-way"}
        undo = run["kind"] == UNDO
        words = {
            SUCCEEDED: "undone" if undo else "rolled back",
            RECOVERED: "rolled back, undo recovered" if undo else "not rolled back, recovered",
        }.get(run["outcome"], run["outcome"])
        return {"done": undo == (run["outcome"] == RECOVERED), "words": words}
    return {"done": False, "words": NEVER}


def _phases(
    plan: Values, runs: t.Sequence[Values], last: Values | None, tried: Values | None, steps: Steps
) -> list[dict[str, t.Any]]:
    earlier = [run for run in runs if last is None or run["started"] < last["started"]]  # it is compared with those
    expected, actual = eta(plan["phases"], earlier, rehearsed_seconds(tried)), took(last) if last else {}
    found = []
    for phase in plan["phases"]:
        rows = [row for row in last["phases"] if row["step"] == MAIN and row["phase"] == phase["id"]] if last else []
        bad = [row["status"] for row in rows if row["status"] != OK]
        seconds, source = expected.get(phase["index"], (None, ""))
        if phase["estimate"] is not None:  # the document's estimate is the plan's, where there is one
            seconds, source = float(phase["estimate"]), "plan"
        found.append(
            {
                **{name: phase[name] for name in ("index", "id", "name", "role", "estimate")},
                "hosts": list(phase["host_names"]),
                "step": steps.number[phase["index"]],
                "user": account(phase),
                "expected": seconds,
                "expected_from": source,
                "actual": actual.get(phase["id"]),
                "status": (bad or [OK])[0] if rows else "",
                "destroys": phase["name"] == DESTROYS,
            }
        )
    return found


def _usual_preflight(runs: t.Sequence[Values]) -> float | None:
    """How long the last run's preflights took, also in a rehearsal or a dry run."""
    known = (preflight_seconds(run) for run in runs if run["kind"] != UNDO and run["outcome"] == SUCCEEDED)
    return next((seconds for seconds in known if seconds is not None), None)


def _own_tests(hosts: t.Mapping[str, Values]) -> str:
    for host in hosts.values():
        app = host.get("rollback_app")
        if isinstance(app, dict) and app.get("test"):
            return redact(command_of(app["test"]))
    return ""


def _rehearsal_view(plan: Values, run: Values | None) -> dict[str, t.Any] | None:
    if run is None:
        return None
    return {
        "id": run["id"],
        "finished": run["finished"],
        "executed_by": redact(run["executed_by"]),
        "ready": run["outcome"] == SUCCEEDED,
        "same_plan": run["plan_digest"] == plan["digest"],
        "words": redact(run["summary"]),
        "loss": rehearsed_loss(run),
        "seconds": run["duration"],
    }


def _last_view(plan: Values, run: Values | None, truth: Values, loss: list[dict[str, t.Any]]) -> View | None:
    if run is None:
        return None
    told = {name: run[name] for name in ("id", "started", "finished", "duration", "outcome", "resumes")}
    told.update({name: redact(run[name]) for name in ("executed_by", "summary")})
    told.update(executed_from=redact(from_words(run)), link=redact(link_of(run.get("job"))))
    return {
        **told,
        "notes": redacted(list(run["notes"])),
        "same_plan": run["plan_digest"] == plan["digest"],
        "downtime": downtime(run),
        "timeline": timeline(run),
        "truth": truth,
        "loss": loss,
    }


def _running(tables: Values) -> dict[str, bool]:
    """Whether each service ran after the run, as ``shop-web on web1``."""
    return {
        f"{fact['name']} on {one['host']}": fact["text"].endswith(" running")
        for one in tables["after"]
        for fact in one["columns"].get("services", ())
    }


def _issues(
    plan: Values, fresh: Values | None, tried: Values | None, loss: t.Sequence[Values], steps: Steps
) -> list[dict[str, t.Any]]:
    """The four potential issues: ticked where the plan may bring them and no rehearsal of this plan ruled them out."""
    ready, tried_code = fresh is not None and fresh["outcome"] == SUCCEEDED, fit(fresh)
    when = f"rehearsed on {fresh['finished'][:10]}" if fresh else "not rehearsed with this plan"

    def one(text: str, role: str, proven: bool, well: str) -> dict[str, t.Any]:
        if not steps.of(role):
            return box(text, False, [f"no phase {role} in this plan"])
        bad = [row for row in (fresh or tried or {"phases": ()})["phases"] if row["status"] not in (OK, "skipped")]
        said = [f"{row['host']}: {redact(row['message'])}" for row in bad if name_of(row["phase"]) == role]
        return box(text, not proven, [f"{when}: {well}"] if proven else said or [when])

    lost = list(dict.fromkeys([*rehearsed_loss(tried), *(word for part in loss for word in part["lost"])]))
    accepted = [f"the plan accepts {listed(plan['accept_loss'])}"] if plan["accept_loss"] else []
    if lost or accepted:
        data = box("Data loss during rollback", True, [*lost, *accepted])
    else:
        data = one("Data loss during rollback", DESTROYS, ready, "nothing is lost")
    installs = any(of.get("install", "rollback_install") for of in steps.options("git_revert"))
    needs = one("Dependency issues", "git_revert", ready and "install" in tried_code, "they install in a copy")
    return [
        data,
        one("Configuration conflicts", "config_restore", ready, "no conflict"),
        needs if installs else box("Dependency issues", False, ["nothing is installed"]),
        one("Service startup failures", START, ready and "start" in tried_code, "the app starts in a copy"),
    ]


def _mitigations(plan: Values, steps: Steps) -> list[str]:
    """What is done about the risks: the plan's words, and what every run does."""
    words = [risk["mitigation"] for risk in plan["risks"] if risk["mitigation"]]
    if plan["phases"]:
        words.append("All phases are proven on all hosts before any host is touched")
        if plan["on_failure"] == "recover":
            words.append("If a phase fails, everything that started is put back in reverse order, also the data")
        else:
            words.append("If a phase fails, the run stops there and the next one resumes it (on_failure: stop)")
    if steps.of(DESTROYS):
        words.append("What the downgrade destroys is exported first, and undo.yml puts it back")
    return [redact(word) for word in words]


def _history_line(run: Values) -> dict[str, t.Any]:
    dry = run["check_mode"] and run["kind"] != REHEARSAL
    return {
        **{name: run[name] for name in ("id", "started", "kind", "duration")},
        "date": run["started"][:16].replace("T", " "),
        "dry": dry,
        "outcome": run["outcome"] or "",
        "success": None if run["outcome"] is None else run["outcome"] == SUCCEEDED,
        "executed_by": redact(run["executed_by"]),
        "executed_from": redact(from_words(run)),
        "link": redact(link_of(run.get("job"))),
        "summary": redact(run["summary"]),
        "notes": [redact(note_words(note)) for note in run["notes"]],
    }
