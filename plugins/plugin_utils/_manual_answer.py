# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person is asked at a manual step, and what was answered. Pure functions. Private to this collection."""

from __future__ import annotations

import re
import typing as t

ANSWERS = ("done", "failed", "skip")
PROMPT = "Type done, failed or skip, a remark behind it if you like, and Enter:"
ALONE = "manual_step"  # what a step is called that stands outside a plan

_CONFIRM = re.compile(
    r"(?P<step>(?P<change>[A-Za-z][A-Za-z0-9._-]*):(?P<index>\d+)|manual_step)(?P<rest>:.*)?", re.DOTALL
)


def step_key(change: str, phase: str) -> str:
    """What a step is called in ``-e confirm=``, such as ``C001:3``.

    :arg phase: the phase's id, ``3-manual_step``.
    """
    index = phase.partition("-")[0]
    return f"{change}:{index}" if change and index.isdigit() else ALONE


def read_answer(text: str) -> tuple[str, str] | None:
    """The answer and its remark as typed at the prompt; None where it is none."""
    first, _blank, remark = " ".join(text.split()).partition(" ")
    word = first.rstrip(":,.").lower()
    return (word, remark) if word in ANSWERS else None


def read_confirm(text: str, key: str) -> tuple[str, str] | None:
    """The answer and its remark that ``-e confirm=`` has for the step ``key``; None where it has none for it."""
    match = _CONFIRM.fullmatch(text.strip())
    if not match or match["step"] != key:
        return None
    answer, _colon, remark = (match["rest"] or ":done")[1:].partition(":")
    return (answer, " ".join(remark.split())) if answer in ANSWERS else None


def wrong_confirm(text: str, change: str, indexes: t.Sequence[int]) -> str:
    """What is wrong with ``-e confirm=``, in a sentence; empty where nothing is.

    :arg indexes: of the plan's manual steps.
    """
    if not text.strip() or not indexes:
        return ""
    steps = [f"{change}:{index}" for index in indexes]
    if any(read_confirm(text, step) for step in steps):
        return ""
    return (
        f"-e confirm={text} answers no manual step of {change}. Write confirm={steps[0]}, or with more words "
        f"confirm={steps[0]}:skip:why or confirm={steps[0]}:failed:why"
        + (f"; the manual steps are {', '.join(steps)}." if len(steps) > 1 else ".")
    )


def summary(text: str) -> str:
    """The first line of instructions in Markdown, without what makes it a heading."""
    return next((line.strip("#*_ ") for line in text.splitlines() if line.strip("#*_ ")), "")


def shown(title: str, text: str) -> str:
    """Instructions as they are shown: under a line, without what could command a terminal."""
    plain = "".join(char for char in text if char.isprintable() or char == "\n").strip("\n")
    return f"\n--- {title} ".ljust(80, "-") + f"\n\n{plain}\n"


def waits(key: str, step: str) -> str:
    """Say that a step waits, and how to go on.

    :arg step: ``main`` or ``recover``; the way back goes on as an undo.
    """
    change = key.partition(":")[0]
    playbook, hosts = ("undo", "what is not put back yet stays so") if step == "recover" else (
        "rollback", "every host stays as it is, stopped services stay stopped"
    )  # fmt: skip
    if key == ALONE:
        return f"It waits for a person, and nobody has answered. When it is done, add: -e confirm={key}"
    return (
        f"It waits for a person, and nobody has answered; {hosts}. When it is done: ansible-playbook "
        f"{playbook}.yml -e change={change} -e confirm={key} (or confirm={key}:skip:why, or confirm={key}:failed:why)"
    )
