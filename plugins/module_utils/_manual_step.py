# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of manual_step: what a person answered, in the restore point. Private to this collection.

An answer is a dictionary with ``answer``, ``remark``, ``by``, ``place`` and ``at`` (UTC). Who asks for it is the
controller, see ``plugin_utils._manual_answer``.
"""

from __future__ import annotations

import typing as t

from ._command import PhaseError
from ._phase import FOUND, RECOVERED, Context, Report

DONE, SKIP, FAILED = "done", "skip", "failed"
SAID = {DONE: "Done by", SKIP: "Skipped by", FAILED: "Failed, says"}

Answer = t.Mapping[str, str]


def told(answer: Answer) -> str:
    """An answer as a sentence."""
    words = "{} {} ({}) at {} UTC".format(SAID[answer["answer"]], answer["by"], answer["place"], answer["at"])
    return f"{words}: {answer['remark']}" if answer["remark"] else f"{words}."


def manual_preflight(ctx: Context) -> Report:
    """There is nothing to prove; note whether it waits for a person."""
    known = ctx.prepared.get("answer") or {}
    if known.get("answer") in (DONE, SKIP):
        return Report(told(known), pending=False)
    return Report("Waits for a person when it is reached.", pending=None if ctx.params["follows"] else True)


def manual_main(ctx: Context) -> Report:
    """Note the answer.

    :raises PhaseError: there is none yet (``waiting``), or it is that the step failed.
    """
    known = ctx.prepared.get("answer") or {}
    if known.get("answer") in (DONE, SKIP):
        return Report(told(known), after=dict(known))
    if ctx.check:
        return Report("Would wait for a person.", True)
    answer = _answer(ctx)
    ctx.note(answer=answer)
    return _report(answer)


def manual_recover(ctx: Context) -> Report:
    """The same for what puts it back, where a person had been asked to do it."""
    known = ctx.prepared.get("answer") or {}
    if ctx.state.get("progress") in (FOUND, RECOVERED):
        return Report("Nobody had been asked here, so there is nothing to put back.")
    if known.get("answer") == SKIP:
        return Report("It had been skipped, so there is nothing to put back.")
    if not ctx.params["recover"]:
        said = "There is no text for the way back (manual_step_recover), so what was done by hand stays as it is."
        return Report(said, warnings=[said])
    answer = _answer(ctx)
    if answer["answer"] != FAILED:
        ctx.note(answer=None)
    return _report(answer)


def _answer(ctx: Context) -> dict[str, str]:
    if not ctx.params["answer"]:
        raise PhaseError("A person has to answer.", waiting=True, undo=ctx.undo)
    return {name: str(value) for name, value in ctx.params["answer"].items()}


def _report(answer: dict[str, str]) -> Report:
    if answer["answer"] == FAILED:
        raise PhaseError(told(answer), after=answer)
    return Report(told(answer), answer["answer"] == DONE, after=answer)
