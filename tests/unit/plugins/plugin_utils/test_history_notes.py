# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is noted of a run, as it was typed and as it is read."""

from __future__ import annotations

import typing as t

import pytest
from ansible.parsing.splitter import parse_kv
from ansible_collections.changeops.rollback.plugins.plugin_utils._history_notes import note_words, typed


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["note=full"], "full"),
        (["change=C001", "note=disk was full"], "disk was full"),
        (["note=disk was full", "cause=a lock"], "disk was full"),
        (["note='disk was full'"], "disk was full"),
        (['note="disk was full" run=R1'], "disk was full"),
        (["note=disk run=R1"], "disk"),
        (["note=full:  100 %"], "full:  100 %"),
        (["note=first one", "note=second one"], "second one"),
        (['{"note": "disk was full"}'], "disk was full"),
        (["cause=note x"], ""),
    ],
)
def test_what_is_typed_with_spaces_is_noted_whole(options: list[str], text: str) -> None:
    """The values are those that Ansible itself makes of it."""
    given: dict[str, t.Any] = {}
    for option in options:
        given |= {"note": "disk was full"} if option.startswith("{") else parse_kv(option)
    assert typed("note", given.get("note"), [option for option in options if not option.startswith("{")]) == text


@pytest.mark.parametrize(
    ("note", "words"),
    [
        ({"at": "", "text": "Incident 4711"}, "Note: Incident 4711"),
        ({"at": "", "kind": "note", "text": "x"}, "Note: x"),
        ({"at": "", "kind": "cause", "text": "a lock"}, "Cause: a lock"),
        ({"at": "", "kind": "fix", "text": "an index"}, "Planned fix: an index"),
        ({"at": "", "kind": "outside_window", "text": "down"}, "Outside of its maintenance windows, because: down"),
        ({"at": "", "kind": "of a later version", "text": "x"}, "Note: x"),
    ],
)
def test_a_note_says_what_it_is(note: dict[str, str], words: str) -> None:
    assert note_words(note) == words
