# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Environment files are read as systemd reads them."""

from __future__ import annotations

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.plugins.module_utils._env_file import assignments, read_environment
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", {}),
        ("# A=1\n; B=2\n\n  \nC=3\n", {"C": "3"}),
        ("A=1\nA=2\n", {"A": "2"}),
        ("export A=1\n", {"A": "1"}),
        ("A=\n", {"A": ""}),
        ("A = 1 \n", {"A": "1"}),
        ("A=b c # d\n", {"A": "b c # d"}),
        ("A='b c'\nB=\"d 'e'\"\n", {"A": "b c", "B": "d 'e'"}),
        ("A='one\ntwo'\nB=3\n", {"A": "one\ntwo", "B": "3"}),
        ('A="one \\\ntwo"\n', {"A": "one two"}),
        ("A=one \\\ntwo\nB=3\n", {"A": "one two", "B": "3"}),
        ('A="a\\"b\\\\c\\d"\n', {"A": 'a"b\\c\\d'}),
        ("A=a\\ b\n", {"A": "a b"}),
        ("URL=postgresql://u:p=w@h/db?x=1\n", {"URL": "postgresql://u:p=w@h/db?x=1"}),
        ("A=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
    ],
)
def test_values(text, values):
    assert {one.key: one.value for one in assignments(text, "x.env")} == values


def test_lines_are_known():
    text = "# first\nA=1\nB='x\ny'\n\nC=3"
    assert [(one.key, one.first, one.last) for one in assignments(text, "x.env")] == [
        ("A", 1, 1),
        ("B", 2, 3),
        ("C", 5, 5),
    ]


def test_a_later_file_wins(tmp_path):
    (tmp_path / "a").write_text("A=1\nB=1\n")
    (tmp_path / "b").write_text("B=2\n")
    assert read_environment([str(tmp_path / "a"), str(tmp_path / "b")]) == {"A": "1", "B": "2"}


REFUSALS = [
    Refusal(
        "a line that is no assignment",
        "<file>:2: this line is neither KEY=value nor a comment (#). Correct it.",
        "A=1\nhunter2\n",
    ),
    Refusal(
        "quotes that do not end", "<file>:1: the quotes that begin here do not end. Correct it.", "A='hunter2\nB=1\n"
    ),
    Refusal(
        "an environment file that is missing",
        "The environment file <file> cannot be read: No such file or directory. Correct it in "
        "rollback_environment_files.",
    ),
]


@pytest.mark.parametrize("row", REFUSALS, ids=[row.case for row in REFUSALS])
def test_refused(tmp_path, row):
    path = tmp_path / "app.env"
    if row.given is not None:
        path.write_text(row.given)
    with pytest.raises(PhaseError) as caught:
        read_environment([str(path)])
    assert row.matches(str(caught.value)), str(caught.value)
    assert "hunter2" not in str(caught.value)
