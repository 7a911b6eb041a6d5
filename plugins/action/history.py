# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write to the history. It works on the controller; see the module ``history`` for its documentation."""

from __future__ import annotations

import os
import sys
import typing as t

from ansible import context
from ansible.errors import AnsiblePromptNoninteractive
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.changeops.rollback.plugins.plugin_utils._awx import job_of
from ansible_collections.changeops.rollback.plugins.plugin_utils._history import (
    Asked,
    HistoryError,
    Refused,
    Store,
    utc,
)
from ansible_collections.changeops.rollback.plugins.plugin_utils._history_notes import (
    CAUSE,
    FIX,
    NOTE,
    OUTSIDE_WINDOW,
    add_notes,
    note_words,
    typed,
)
from ansible_collections.changeops.rollback.plugins.plugin_utils._history_process import this_process, who
from ansible_collections.changeops.rollback.plugins.plugin_utils._history_schema import KINDS, ROLLBACK
from ansible_collections.changeops.rollback.plugins.plugin_utils._history_spool import store_of
from ansible_collections.changeops.rollback.plugins.plugin_utils._history_times import expected
from ansible_collections.changeops.rollback.plugins.plugin_utils._history_within import NOT_TOLD, within
from ansible_collections.changeops.rollback.plugins.plugin_utils._recorder import artifacts
from ansible_collections.changeops.rollback.plugins.plugin_utils._slices import part_of
from ansible_collections.changeops.rollback.plugins.plugin_utils._windows import gate, outside_words, why_outside

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "state": {"type": "str", "choices": ["opened", "noted", "told"], "required": True},
    "change": {"type": "str"},
    "plan_digest": {"type": "str"},
    "url": {"type": "str", "no_log": True},
    "break_lock": {"type": "str", "default": ""},
    "limit": {"type": "str", "default": ""},
    "kind": {"type": "str", "choices": list(KINDS), "default": ROLLBACK},
    "require_rehearsal": {"type": "raw", "default": ""},
    "maintenance": {"type": "raw", "default": []},
    "outside_window": {"type": "str", "default": ""},
    "slice": {"type": "str", "default": ""},
    "run": {"type": "str", "default": ""},
    "note": {"type": "str", "default": ""},
    "cause": {"type": "str", "default": ""},
    "fix": {"type": "str", "default": ""},
}
RETURNED = (
    *("id", "change", "restore_point", "resumes", "started", "executed_by", "executed_from", "check_mode"),
    *("broke_lock", "dead_runs", "kind", "rehearsed"),
)
BEGUN = ("run", "change", "kind", "check_mode")  # what later jobs know of a run, whatever becomes of it
QUESTIONS = {CAUSE: "What was the cause?", FIX: "What is the planned fix?", NOTE: "What else is to be noted?"}

SLICES_MEET = (
    "The slices of a run meet in the history, so it has to be one that all of them reach. Set rollback_history_url, or "
    "CHANGEOPS_HISTORY_URL with a credential, to a PostgreSQL database."
)
NOT_IN_SLICES = "Only a rollback can be run in slices, and no dry run. Run this on one node, without rollback_slice."


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        variables = task_vars or {}
        result = super().run(None, variables)
        args = self.validate_argument_spec(
            ARGUMENTS,
            required_if=[("state", "opened", ["change", "plan_digest"])],
        )[1]
        for name in ("note", "cause", "fix", "outside_window"):
            # the role's variable for the note of a run is typed as -e notes=
            option = "notes" if (name, args["state"]) == ("note", "opened") else name
            args[name] = typed(option, args[name], context.CLIARGS.get("extra_vars") or ())
        if args["state"] == "told":
            return dict(result, changed=False, **_told())
        try:
            store = store_of(args["url"], variables, self._templar, sys.executable)
            if args["state"] == "noted":
                return dict(result, changed=False, msg=self._note(store, args, variables))
            return dict(result, **self._open(store, args, variables))
        except Refused as exc:
            if args["state"] != "opened":
                return dict(result, failed=True, msg=str(exc))
            person, place = who(variables, os.environ)
            run = {"id": "", "change": args["change"], "kind": args["kind"], "check_mode": bool(self._task.check_mode)}
            refused = {**run, "executed_by": person, "executed_from": place}
            return dict(result, failed=True, msg=str(exc), refused=refused)
        except HistoryError as exc:
            return dict(result, failed=True, msg=str(exc))

    def _note(self, store: Store, args: dict[str, t.Any], variables: dict[str, t.Any]) -> str:
        """Add the notes that were given, or else those that are typed at the terminal; returns what was done."""
        here = this_process(os.getppid())
        found = store.runs(here, run=args["run"], last=1) if args["run"] else []
        if not found:
            runs = store.runs(here, last=5)
            known = f"The last runs are {', '.join(run['id'] for run in runs)}." if runs else "There is no run yet."
            wrong = f"There is no run {args['run']}." if args["run"] else "Say which run: -e run=ID."
            raise HistoryError(f"{wrong} {known} All of them: ansible-playbook history.yml")
        given = {kind: args[kind] for kind in QUESTIONS}
        if not any(given.values()):
            given = self._ask(found[0])
        notes = self._signed(store, {kind: text for kind, text in given.items() if text}, variables)
        add_notes(store, args["run"], notes)
        return f"Noted at run {args['run']}: {' | '.join(map(note_words, notes))}" if notes else "Nothing was noted."

    def _ask(self, run: dict[str, t.Any]) -> dict[str, str]:
        display, given = Display(), dict[str, str]()
        told = f"{run['change']}: {run['outcome'] or 'running'}. {run['summary']} (run {run['id']})"
        try:
            for kind, question in QUESTIONS.items():
                typed_in = display.prompt_until(f"{told}\n{question} (Enter for nothing)")
                given[kind], told = typed_in.decode(errors="replace").strip(), ""
        except AnsiblePromptNoninteractive:
            raise HistoryError(
                "There is no terminal to ask at, so say what is to be noted: ansible-playbook history_note.yml -e "
                f'run={run["id"]} -e cause="why it failed" -e fix="what is planned" -e note="what else is to be known"'
            ) from None
        return given

    def _signed(self, store: Store, given: dict[str, str], variables: dict[str, t.Any]) -> list[dict[str, str]]:
        signed = {"at": utc(store.clock()), "by": who(variables, os.environ)[0]}
        return [{**signed, "kind": kind, "text": text} for kind, text in given.items()]

    def _expected(self, store: Store, asked: Asked, plan: t.Any) -> dict[str, tuple[float, str]]:
        """How long each phase is going to take. It is only shown, so nothing depends on it."""
        if asked.kind != ROLLBACK or not plan:
            return {}
        try:
            with store.transaction() as connection:
                return expected(connection, asked.change, plan)
        except HistoryError:
            return {}

    def _open(self, store: Store, args: dict[str, t.Any], variables: dict[str, t.Any]) -> dict[str, t.Any]:
        part = part_of(args["slice"])  # the lookup of the plan has read it before
        if part and (args["kind"] != ROLLBACK or self._task.check_mode):
            raise HistoryError(NOT_IN_SLICES)
        if part and store.is_file:
            raise HistoryError(SLICES_MEET)
        person, place = who(variables, os.environ)
        given = {NOTE: args["note"]} if args["note"] else {}
        allowed, window = gate(args["maintenance"], "rollback_maintenance", store.clock())
        reason = "" if args["outside_window"].lower() in NOT_TOLD else args["outside_window"]
        needs_reason = not allowed and not self._task.check_mode
        lacking = "" if not needs_reason or reason else outside_words(args["change"], args["kind"], window)
        if needs_reason and reason:
            given[OUTSIDE_WINDOW] = reason
        asked = Asked(
            args["change"],
            args["plan_digest"],
            person,
            place,
            check_mode=bool(self._task.check_mode),
            limit=args["limit"],
            break_lock=args["break_lock"],
            kind=args["kind"],
            rehearsed_within=within(args["require_rehearsal"]),
            lacking=lacking,
            job=job_of(variables, os.environ),
            notes=tuple(self._signed(store, given, variables)),
            part=part,
            hosts=tuple(map(str, variables["ansible_play_hosts_all"])) if part else (),
        )
        # Action plugins run in a fork of ansible-playbook, and it is that one which lives as long as the run.
        opened = store.open_run(asked, this_process(os.getppid()))
        run = {name: opened[name] for name in RETURNED}
        run["resumed"] = run["resumes"] is not None
        run["slice"] = {"number": part.number, "total": part.total, "joined": opened["joined"]} if part else None
        run["expected"] = self._expected(store, asked, variables.get("rollback_plan"))
        run["window"] = window if allowed else f"{why_outside(run, reason)} {window}"
        words = f"Opened run {run['id']}"
        words += f", which goes on with {run['resumes']}." if run["resumed"] else "."
        begun = {f"rollback_{name}": run["id" if name == "run" else name] for name in BEGUN}
        return {"changed": False, "run": run, "msg": words, "ansible_stats": {"data": begun, "per_host": False}}


def _told() -> dict[str, t.Any]:
    """What came of the run, for later jobs. By now it is done or put back, and must not fail for want of this."""
    try:
        stats = artifacts()
    except Exception as exc:
        return {"artifacts": {}, "warnings": [f"Later jobs are not told what came of the run: {exc}"]}
    return {"artifacts": stats, "ansible_stats": {"data": stats, "per_host": False}}
