# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask a person on the controller, and have the module ``manual_step`` note the answer on the host."""

from __future__ import annotations

import datetime
import os
import typing as t
from pathlib import Path

from ansible.errors import AnsiblePromptInterrupt, AnsiblePromptNoninteractive
from ansible.utils.display import Display
from ansible_collections.changeops.rollback.plugins.plugin_utils import _manual_answer as manual
from ansible_collections.changeops.rollback.plugins.plugin_utils._history_process import who
from ansible_collections.changeops.rollback.plugins.plugin_utils._prepared import PreparedAction

ROLE = "changeops.rollback.manual_step"
RUNNER = "RUNNER_OMIT_EVENTS"  # ansible-runner, and so AWX, gives a terminal at which there is nobody


def ask(display: Display, nobody: bool) -> tuple[str, str] | None:
    """The answer of a person, and the remark; None where there is no terminal, or it was left with Ctrl-C."""
    while not nobody:
        try:
            typed = display.prompt_until(manual.PROMPT)
        except (AnsiblePromptInterrupt, AnsiblePromptNoninteractive):
            return None
        answer = manual.read_answer(typed.decode("utf-8", "replace"))
        if answer:
            return answer
    return None


class ActionModule(PreparedAction):
    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        variables = task_vars or {}
        result = super().run(None, variables)
        args = dict(self._task.args)
        step, plan = args.get("step", "main"), variables.get("rollback_plan") or {}
        change, confirm = str(plan.get("change", "")), str(args.pop("confirm", ""))
        key = manual.step_key(change, Path(str(args.get("restore_point") or "")).name)
        text = str(args.get("recover") or "") if step == "recover" else str(args.get("instructions") or "")
        title = f"{key}, a step for a person" + (", on the way back" if step == "recover" else "")
        if step == "rehearse" or (self._task.check_mode and step == "main"):
            Display().display(manual.shown(title, text))
        if step == "rehearse":
            return dict(result, changed=False, msg=f"{key} is going to wait for a person: {manual.summary(text)}")
        indexes = [phase["index"] for phase in plan.get("phases", ()) if phase["role"] == ROLE]
        wrong = manual.wrong_confirm(confirm, change, indexes) if step == "preflight" else ""
        if wrong:
            return dict(result, failed=True, msg=wrong)

        noted = self.run_prepared(args, variables)
        # One confirmation is for one question: not for the next batch, nor for the way back.
        used = bool((variables.get("__manual_step_asked") or {}).get("confirmed"))
        if noted.get("waiting"):
            fits = not used and (step == "main" or noted.get("undo"))
            answer = manual.read_confirm(confirm, key) if fits else None
            used = used or answer is not None
            person, place = who(variables, os.environ)
            if answer is None:
                display = Display()
                display.display(manual.shown(title, text))
                answer = ask(display, place.startswith("AWX") or RUNNER in os.environ)
            if answer is None:
                return dict(result, failed=True, msg=manual.waits(key, step), waiting=True, undo=noted.get("undo"))
            now = datetime.datetime.now(datetime.UTC)
            given = {"by": person, "place": place, "at": now.strftime("%Y-%m-%d %H:%M")}
            args["answer"] = {"answer": answer[0], "remark": answer[1], **given}
            noted = self.run_prepared(args, variables)
            noted["skipped"] = answer[0] == "skip"
        return dict(result, **dict(noted, confirmed=used))
