# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest
import yaml
from ansible_collections.changeops.rollback.plugins.plugin_utils._plan_check import check_plan
from ansible_collections.changeops.rollback.plugins.plugin_utils._plan_yaml import MAX_BYTES, PlanError, read
from hypothesis import given, settings
from hypothesis import strategies as st


def value_of(text: str) -> t.Any:
    root, faults = read(text.encode())
    assert root is not None and not faults, faults
    return root.plain()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("8000", 8000),
        ("-3", -3),
        ("1.5", 1.5),
        ("0123456", "0123456"),  # YAML: octal
        ("12:30:45", "12:30:45"),  # YAML: base 60
        ("1_000", "1_000"),
        ("0x1f", "0x1f"),
        ("1.10", "1.10"),  # a version
        ("12e4567", "12e4567"),
        ("1.5e+3", "1.5e+3"),
        (".nan", ".nan"),
        ("9" * 5000, "9" * 5000),  # more digits than int() takes
        ("2026-11-20", "2026-11-20"),
        ("4f1c2e9", "4f1c2e9"),
        ("yes", True),
        ("Off", False),
        ("~", None),
        ("'8000'", "8000"),
        ("", None),
    ],
)
def test_scalars(text: str, expected: t.Any) -> None:
    value = value_of(f"a: {text}")["a"]
    assert (value, type(value)) == (expected, type(expected))


def test_lines_are_those_of_the_keys() -> None:
    root, _faults = read(b"a:\n\n  - 1\n  -\n    b: 2\nc: >\n  x\n")
    assert root is not None and isinstance(root.value, dict)
    items = root.value["a"].value
    assert isinstance(items, list)
    assert [root.value["a"].line, root.value["c"].line, items[0].line, items[1].line] == [1, 6, 3, 5]


@pytest.mark.parametrize("loader", [yaml.SafeLoader, getattr(yaml, "CSafeLoader", yaml.SafeLoader)])
@pytest.mark.parametrize(
    ("data", "line", "words"),
    [
        (b"a: 1\nb: 2\na: 3\n", 3, "`a` stands in line 1 already"),
        (b"x:\n  a: 1\n  a: 1\n", 3, "`a` stands in line 2 already"),
        (b"a: &x [1]\nb: *x\n", 2, "'*x' is an alias"),
        (b"a: &x [*x]\n", 1, "'*x' is an alias"),
        (b"a: 1\nb: {{ c }}\n", 2, "'b: {{ c }}' holds Jinja"),
        (b"a: 1\nb: '{{ c }}'\n", 2, "'{{ c }}' holds Jinja"),
        (b"a: 1\nb: {% if c %}\n", 2, "holds Jinja"),
        (b"a: x{# c #}\n", 1, "holds Jinja"),
        (b"'{{ a }}': 1\n", 1, "holds Jinja"),
        (b"? [a, b]\n: 1\n", 1, "A key is one word"),
        (b"a: !vault x\n", 1, "'!vault' is a YAML tag"),
        (b"a: !!python/object:os.system {}\n", 1, "'tag:yaml.org,2002:python/object:os.system' is a YAML tag"),
        (b"a: !!str 1\n", 1, "is a YAML tag"),
        (b"a: b: c\n", 1, "second colon"),
        (b"a:\n\tb: 1\n", 2, "begins with a tab. Indent with spaces"),
        (b"a: [1\nb: 2\n", 2, "This is not YAML"),
        (b"a: 'x\n", 2, "This is not YAML"),
        (b"a: 1\n\xff\n", 2, "not UTF-8"),
        ("a: 1\n".encode("utf-16"), 1, "not UTF-8"),
        (b"a: \x00\n", 0, "a character that YAML does not allow"),
        (b"a: 1\n---\nb: 1\n", 2, "A second document begins here"),
        (b"[" * 200_000, 1, "nested more than 20 deep"),
        (b"a: " + b"{a: " * 200_000, 1, "nested more than 20 deep"),
        (b"x" * (MAX_BYTES + 1), 0, "too many for a plan"),
    ],
)
def test_faults_have_their_line(data: bytes, line: int, words: str, loader: type) -> None:
    _root, faults = read(data, loader)
    assert [(line, True)] == [(at, words in text) for at, text in faults]


def test_a_byte_order_mark_and_dos_lines_are_accepted() -> None:
    assert value_of("\ufeffa: 1\r\nb: ä\r\n") == {"a": 1, "b": "ä"}


@pytest.mark.parametrize("data", [b"", b"\n", b"# nothing\n", b"---\n", b"---\n...\n"])
def test_an_empty_file_is_no_fault_of_yaml(data: bytes) -> None:
    root, faults = read(data)
    assert faults == [] and (root is None or root.value is None)


def test_plan_error_lists_faults_in_the_order_of_the_file() -> None:
    error = PlanError([(12, "Second."), (0, "Whole."), (3, "First.")], "changes/C001.yml")
    assert str(error).splitlines() == [
        "changes/C001.yml: Whole.",
        "changes/C001.yml:3: First.",
        "changes/C001.yml:12: Second.",
    ]
    assert error.faults == [(0, "Whole."), (3, "First."), (12, "Second.")]
    assert str(PlanError([(0, "No file.")])) == "No file."


def test_plan_error_shows_thirty_faults_and_counts_the_rest() -> None:
    lines = str(PlanError([(line, "Wrong.") for line in range(1, 101)], "p")).splitlines()
    assert (len(lines), lines[-1]) == (31, "... and 70 more faults.")


def loads_or_says_why(data: bytes) -> None:
    try:
        plan = check_plan(data, "C001", "changes/C001.yml")
    except PlanError as error:
        assert error.faults and str(error)
    else:
        assert plan.title and plan.date and plan.complexity


@settings(max_examples=200, deadline=None, database=None)
@given(
    st.one_of(st.binary(max_size=60), st.text(alphabet="abc01:-[]{}#&*!|>'\"%@`?, \n\t\\~.é\ufeff\x00", max_size=60))
)
def test_any_bytes_load_or_have_faults(data: bytes | str) -> None:
    data = data if isinstance(data, bytes) else data.encode()
    loads_or_says_why(data)
    # Where PyYAML comes without its part in C nothing else is raised either; the words may differ.
    root, faults = read(data, yaml.SafeLoader)
    assert root is None or isinstance(faults, list)
