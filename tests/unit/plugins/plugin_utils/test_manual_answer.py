# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person types at a manual step, at the prompt or with -e confirm."""

from __future__ import annotations

import pytest
from ansible_collections.changeops.rollback.plugins.plugin_utils._manual_answer import (
    read_answer,
    read_confirm,
    shown,
    step_key,
    summary,
    waits,
    wrong_confirm,
)


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("done", ("done", "")),
        ("  Done:  312   purged ", ("done", "312 purged")),
        ("failed, no access", ("failed", "no access")),
        ("skip the queue is gone", ("skip", "the queue is gone")),
        ("", None),
        ("yes", None),
        ("donesome", None),
    ],
)
def test_what_is_typed(typed: str, answer: tuple[str, str] | None) -> None:
    assert read_answer(typed) == answer


@pytest.mark.parametrize(
    ("confirm", "answer"),
    [
        ("C001:3", ("done", "")),
        ("C001:3:done", ("done", "")),
        ("C001:3:skip:gone: all of it", ("skip", "gone: all of it")),
        ("C001:3:failed", ("failed", "")),
        ("C001:33", None),
        ("C002:3", None),
        ("C001:3:maybe", None),
        ("C001:3:", None),
        ("manual_step", None),
        ("yes", None),
        ("", None),
    ],
)
def test_what_is_confirmed(confirm: str, answer: tuple[str, str] | None) -> None:
    assert read_confirm(confirm, "C001:3") == answer
    wrong = wrong_confirm(confirm, "C001", [3, 5])
    assert bool(wrong) is (answer is None and confirm != "")
    assert not wrong or (f"confirm={confirm} " in wrong and "C001:3, C001:5" in wrong)


def test_a_step_outside_a_plan() -> None:
    assert step_key("", "manual_step") == "manual_step"
    assert read_confirm("manual_step:skip:why", "manual_step") == ("skip", "why")
    assert wrong_confirm("manual_step", "", []) == ""


def test_how_to_go_on() -> None:
    key = step_key("C001", "3-manual_step")
    assert "rollback.yml -e change=C001 -e confirm=C001:3 " in waits(key, "main")
    assert "undo.yml -e change=C001 -e confirm=C001:3 " in waits(key, "recover")


def test_instructions_command_no_terminal() -> None:
    text = "# Empty it\n\nIn the \x1b[2Jconsole, purge `invoices`.\n\x07"
    assert summary(text) == "Empty it"
    assert "\n# Empty it\n\nIn the [2Jconsole, purge `invoices`.\n" in shown("C001:3", text)
    assert summary("\n") == ""
