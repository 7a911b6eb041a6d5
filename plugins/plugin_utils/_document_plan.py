# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make phases of what a rollback document says of a change. Pure functions. Private to this collection."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
import typing as t

from ..module_utils._words import listed
from ._document_commands import INSTALL, SAID, Found, recognise
from ._document_model import COMMENT, FORM_BOXES, Change, Code, Document, Step, filled
from ._document_shell import Chunk, chunks
from ._plan_yaml import question

_PUSH = {"git_revert_push_remote", "git_revert_push_branch"}
CHANGING = ("alembic_downgrade", "git_revert", "config_restore")
# The rows of the template's time table.
_ROWS = {
    "preparation": "backup",
    "pre-rollback preparation": "backup",
    "stop services": "service_stop",
    "revert code": "git_revert",
    "revert code changes": "git_revert",
    "revert database": "alembic_downgrade",
    "revert database changes": "alembic_downgrade",
    "revert config": "config_restore",
    "revert configuration": "config_restore",
    "restart services": "service_start",
    "verification": "verify",
}
_NUMBER = re.compile(r"(\d+(?:[.,]\d+)?)\s*([a-z]*)", re.I)


@dataclasses.dataclass(eq=False)
class Draft:
    """A phase of the plan to be written. ``step`` is the name of the step that it comes from."""

    role: str
    vars: dict[str, t.Any] = dataclasses.field(default_factory=dict)
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    become_user: str = ""
    estimate: str = ""
    comments: list[str] = dataclasses.field(default_factory=list)
    step: str = ""


class Drafts:
    """The phases of a change. ``notes``: what was made different from the document, as sentences."""

    def __init__(self, change: Change, document: Document) -> None:
        self.phases: list[Draft] = []
        self.notes: list[str] = []
        self._change, self._document = change, document
        self._install: tuple[Chunk, Found] | None = None
        if change.script and not any(isinstance(one, Code) for step in change.steps for one in step.does):
            change.steps.append(Step("Rollback script", change.script[0].line, [*change.script]))
            change.script = []
        for step in change.steps:
            self._step(step)
        if self._install:
            chunk, _found = self._install
            self._by_hand([chunk], "")
        self._script()
        if change.validation:
            listed = "\n".join(f"- {text}" for _number, text in change.validation)
            self._manual(f"Look whether this holds:\n\n{listed}", "Validation")
        self._order()
        self._estimates()

    def _note(self, text: str) -> None:
        if text and text not in self.notes:
            self.notes.append(text)

    def _step(self, step: Step) -> None:
        first = len(self.phases)
        said: list[Chunk] = []
        unknown: list[Chunk] = []

        def flush() -> None:
            if unknown:
                self._by_hand(unknown, step.name)
                unknown.clear()

        for chunk, manual in _does(step):
            found = None if manual else recognise(chunk)
            if manual:
                flush()
                self._item(chunk, step.name)
            elif found is None:
                unknown.extend([*said, chunk])
                said = []
            elif [one.role for one in found] == [SAID]:
                self._note(found[0].note)
                said.append(chunk)
            else:
                flush()
                for one in found:
                    self._found(chunk, one, step.name, first)
                self._say(said)
                said = []
        flush()
        self._say(said)
        self._words(step, self.phases[first] if len(self.phases) > first else None)

    def _say(self, said: t.Sequence[Chunk]) -> None:
        for chunk in said:
            for text in chunk.text.split("\n"):
                if self.phases:
                    self.phases[-1].comments.append(text)
                else:
                    self._change.comments.append((chunk.line, text))
            self._document.places.update(dict.fromkeys(chunk.lines, COMMENT))

    def _words(self, step: Step, phase: Draft | None) -> None:
        """Place the heading, the boxes and the sentences of a step."""
        boxes = [f"[{'x' if ticked else ' '}] {text}" for _number, ticked, text in step.boxes]
        prose = [text for _number, text in step.prose]
        own = [(number, text) for number, _ticked, text in step.boxes if text.lower() not in FORM_BOXES]
        if phase is not None:
            phase.comments[:0] = [*([step.name] if step.name else []), *boxes, *prose]
            for number, text in [*own, *step.prose]:
                self._document.look_at(
                    number, text, "is a comment of the plan; is it done by the phase there?", COMMENT
                )
        elif own or prose:
            listed = [f"- {text}" for _number, text in own]
            self._manual("\n".join([*prose, *([""] if prose and listed else []), *listed]), step.name)
            self.phases[-1].comments += [f"[ ] {text}" for _n, _t, text in step.boxes if text.lower() in FORM_BOXES]
        else:
            self._change.comments += [(step.line, text) for text in [step.name, *boxes] if text]

    def _item(self, chunk: Chunk, step: str) -> None:
        """An item of a list in the procedure: commands in its text, or the text as a step by hand."""
        text = chunk.text
        codes = re.findall(r"`([^`]+)`", text)
        found: list[Found] | None = []
        for code in codes or [text]:
            known = recognise(Chunk(chunk.lines, code))
            found = None if known is None or found is None or SAID in [one.role for one in known] else [*found, *known]
        if not filled(text):
            self._manual(question(f"what is done here (line {chunk.line})?"), step)
        elif found:
            first = len(self.phases)
            for one in found:
                self._found(chunk, one, step, first)
            if self.phases and codes:
                self.phases[-1].comments.append(text)
        else:
            self._manual(text, step)

    def _by_hand(self, commands: t.Sequence[Chunk], step: str) -> None:
        shown = "\n".join(chunk.text for chunk in commands)
        lines = sorted(line for chunk in commands for line in chunk.lines)
        where = f"line {lines[0]}" if lines[0] == lines[-1] else f"lines {lines[0]} to {lines[-1]}"
        self._document.look_at(
            lines[0], shown.splitlines()[0], f"is no command that has a phase of its own: {where} became a manual_step"
        )
        for line in lines:
            self._document.places[line] = "phase"
        if re.search(r"(?<!<)<[A-Za-z](?:[\w ./:-]*[\w])?>|_{3,}", shown):
            shown = f"{question(f'what stands in place of what is not filled in here ({where})?')}\n{shown}"
        self._manual(f"Type:\n\n```shell\n{shown}\n```", step)

    def _manual(self, text: str, step: str) -> None:
        while any(phase.vars.get("manual_step_instructions") == text for phase in self.phases):
            text = f"{text} (again)"
        self.phases.append(Draft("manual_step", {"manual_step_instructions": text}, step=step))

    def _found(self, chunk: Chunk, found: Found, step: str, first: int) -> None:
        self._note(found.note)
        if found.role == SAID:
            self._say([chunk])
            return
        if found.role == INSTALL or set(found.vars) == _PUSH:
            self._with_revert(chunk, found, step)
            return
        same = [phase for phase in self.phases[first:][-1:] if phase.role == found.role]
        if found.role == "backup":
            same = [phase for phase in self.phases if phase.role == "backup"]
            for phase in same or [Draft("backup")]:
                phase.comments += chunk.text.split("\n")
                if not same:
                    self.phases.append(dataclasses.replace(phase, step=step))
            return
        if same and _mergeable(same[0], found):
            _merge(same[0], found)
            return
        new = Draft(found.role, dict(found.vars), dict(found.environment), found.become_user, step=step)
        if new.role == "git_revert" and self._install:
            new.vars.update(self._install[1].vars)
            self._install = None
        self.phases.append(new)

    def _with_revert(self, chunk: Chunk, found: Found, step: str) -> None:
        """What belongs to the phase that brings the code back: the install that follows it, and the push."""
        reverts = [phase for phase in self.phases if phase.role == "git_revert"]
        if reverts and not found.vars.keys() & reverts[-1].vars.keys():
            reverts[-1].vars.update(found.vars)
        elif found.role == INSTALL and not reverts and self._install is None:
            self._install = chunk, found
        else:
            self._by_hand([chunk], step)

    def _script(self) -> None:
        """Place the lines of the script: those that the steps have too, and the others."""
        steps = [chunk.text for step in self._change.steps for chunk, manual in _does(step) if not manual]
        known = {" ".join(text.split()) for text in steps}
        for chunk in chunks((code.line, code.text) for code in self._change.script):
            if " ".join(chunk.text.split()) in known:
                self._document.places.update(dict.fromkeys(chunk.lines, "phase"))
                continue
            self._change.comments += [
                (line, f"script: {text}") for line, text in zip(chunk.lines, chunk.text.split("\n"), strict=True)
            ]
            if [one.role for one in recognise(chunk) or []] != [SAID]:
                self._document.look_at(
                    chunk.line, chunk.text, "stands only in the script, in no step; it is a comment", COMMENT
                )

    def _order(self) -> None:
        self._once()
        phases = self.phases
        backup = next((phase for phase in phases if phase.role == "backup"), None)
        if backup and any(phase.role in CHANGING for phase in phases[: phases.index(backup)]):
            phases.remove(backup)
            phases.insert(0, backup)
            self._note("The backup is made first; the document makes it after something was changed.")
        downgrades = [phase for phase in phases if phase.role == "alembic_downgrade"]
        early = [
            p
            for p in phases
            if p.role == "git_revert" and downgrades and phases.index(p) < phases.index(downgrades[-1])
        ]
        if early:
            for phase in early:
                phases.remove(phase)
            place = phases.index(downgrades[-1]) + 1
            phases[place:place] = early
            self._note(
                "The database is downgraded before the code is reverted. The document has it the other way round, and "
                "there Alembic no longer finds the migration that it is to take back."
            )
        changing = [phase for phase in phases if phase.role in CHANGING]
        starts = [phase for phase in phases if phase.role == "service_start"]
        if starts and not any(phase.role == "service_stop" for phase in phases[: phases.index(starts[0])]):
            services = starts[0].vars["service_start_services"]
            stop = Draft("service_stop", {"service_stop_services": [*services]}, comments=["not in the document"])
            place = phases.index(changing[0]) if changing else phases.index(starts[0])
            phases.insert(min(place, phases.index(starts[0])), stop)
            self._note("Services are stopped before anything is changed; the document starts or restarts them only.")
        self._once()
        starts = [phase for phase in phases if phase.role == "service_start"]
        for start in starts:
            after = itertools.takewhile(lambda one: one.role != "service_stop", phases[phases.index(start) + 1 :])
            below = [phase for phase in after if phase.role in CHANGING]
            if below:
                phases.remove(start)
                phases.insert(phases.index(below[-1]) + 1, start)
                self._note("Services are started once everything below them is changed, later than in the document.")
        stopped, started = (_names(phases, verb) for verb in ("stop", "start"))
        left = [name for name in stopped if name not in started]
        if left:
            is_are = "is" if len(left) == 1 else "are"
            self._note(f"{listed(left)} {is_are} stopped in the document and never started; see whether that is meant.")
        for start in starts:  # the role starts its list from the end
            start.vars["service_start_services"] = start.vars["service_start_services"][::-1]

    def _once(self) -> None:
        """Leave one of each phase: a plan does nothing twice."""
        for phase in list(self.phases):
            first = next(one for one in self.phases if (one.role, one.vars) == (phase.role, phase.vars))
            if first is not phase:
                self.phases.remove(phase)
                first.comments += phase.comments
                self._note(
                    f"{phase.role} of {phase.step or 'a later step'} is the same as an earlier phase, and left out."
                )

    def _estimates(self) -> None:
        for name, (number, text) in self._change.times.items():
            role, took = _ROWS.get(name, ""), duration(text)
            fits = [p for p in self.phases if not p.estimate and (p.role == role or p.step.lower() == name)]
            if fits and took:
                fits[0].estimate = took
            else:
                self._change.comments.append((number, f"Estimated time: {name}: {text}"))
                self._document.places[number] = COMMENT
                if took:
                    self._document.look_at(
                        number, f"{name}: {text}", "is the time of a step that is no phase; it is a comment", COMMENT
                    )


def _names(phases: t.Sequence[Draft], verb: str) -> list[str]:
    found = [phase.vars.get(f"service_{verb}_services", []) for phase in phases]
    return [service["name"] for services in found for service in services]


def duration(text: str) -> str:
    """Give a time such as "5 min", "1.5 hours" or "10-15 minutes" (then the longer one) as a plan has it."""
    units = {"h": 3600, "s": 1, "d": 86400}
    found = _NUMBER.findall(text)
    if not found:
        return ""
    last = next((unit for _number, unit in reversed(found) if unit), "m")
    joined = len(found) > 1 and not re.search(r"\d\s*[a-z]*\s*(-|\u2013|\u2014|to)\s*\d", text, re.I)
    times = [float(number.replace(",", ".")) * units.get((unit or last)[0].lower(), 60) for number, unit in found]
    seconds = math.ceil(sum(times) if joined else max(times))
    if not 0 < seconds < 30 * 86400:
        return ""
    hours, minutes, rest = seconds // 3600, seconds % 3600 // 60, seconds % 60
    return "".join(f"{number}{unit}" for number, unit in ((hours, "h"), (minutes, "m"), (rest, "s")) if number)


def _does(step: Step) -> t.Iterator[tuple[Chunk, bool]]:
    """What a step does, in order, and whether each is done by hand or in words."""
    kinds = itertools.groupby(
        step.does, lambda one: ("shell" if one.shell else "other") if isinstance(one, Code) else ""
    )
    for kind, group in kinds:
        items = list(group)
        if kind == "shell":
            yield from (
                (chunk, False) for chunk in chunks((one.line, one.text) for one in items if isinstance(one, Code))
            )
        elif kind:
            codes = [one for one in items if isinstance(one, Code)]
            # Two lines at least, so that nothing of another language is taken for a command.
            shown = "\n".join([*(code.text.rstrip() for code in codes), *([""] if len(codes) == 1 else [])])
            yield Chunk(tuple(code.line for code in codes), shown), False
        else:
            yield from ((Chunk((one[0],), one[1]), True) for one in items if not isinstance(one, Code))


def _mergeable(phase: Draft, found: Found) -> bool:
    if (phase.environment, phase.become_user) != (found.environment, found.become_user) or phase.role == "run_script":
        return False
    lists = all(isinstance(value, list) or phase.vars.get(name, value) == value for name, value in found.vars.items())
    return lists and phase.role != "alembic_downgrade" and "git_revert_to" not in {**phase.vars, **found.vars}


def _merge(phase: Draft, found: Found) -> None:
    for name, value in found.vars.items():
        there = phase.vars.get(name)
        phase.vars[name] = [*there, *(one for one in value if one not in there)] if isinstance(there, list) else value
