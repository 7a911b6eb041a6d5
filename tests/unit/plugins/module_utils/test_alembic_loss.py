# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rule that says which loss is refused, and the words that accept it."""

from __future__ import annotations

import pytest
import yaml
from ansible_collections.changeops.rollback.plugins.module_utils._alembic_loss import destroyed, refusal


def table(dropped=False, rows=3, values=None, **more):
    return {"dropped": dropped, "rows": rows, "values": values or {}, **more}


# the statement, what is accepted, what is said to be destroyed, and what has to be accepted then
CASES = {
    "a column": ({"a": table(values={"x": 2, "y": 0})}, [], "a.x (2 values)", ["a.x"]),
    "a column that is accepted": ({"a": table(values={"x": 2})}, ["a.x"], "", []),
    "a column of an accepted table": ({"a": table(values={"x": 2})}, ["a"], "", []),
    "one of two columns is accepted": (
        {"a": table(values={"x": 2, "y": 1})},
        ["a.x"],
        "a.y (1 values)",
        ["a.x", "a.y"],
    ),
    "a column without values": ({"a": table(values={"x": 0})}, [], "", []),
    "a table": ({"a": table(dropped=True, values={"x": 0})}, ["b"], "a (the table, 3 rows)", ["b", "a"]),
    "a table of which a column is accepted": (
        {"a": table(dropped=True, values={"x": 3})},
        ["a.x"],
        "a (the table, 3 rows)",
        ["a.x", "a"],
    ),
    "a table without rows": ({"a": table(dropped=True, rows=0)}, [], "", []),
    "rows": ({"a": table(changed=1, deleted=0, added=2)}, ["a.x"], "rows of a (1 changed, 2 added)", ["a.x", "a"]),
    "rows and a column": (
        {"a": table(values={"x": 2}, deleted=1)},
        [],
        "a.x (2 values), rows of a (1 deleted)",
        ["a"],
    ),
    "names that YAML takes for something else": (
        {"no": table(dropped=True), "a b": table(values={"x: [y]": 1}), "1e3": table(dropped=True)},
        [],
        "1e3 (the table, 3 rows), a b.x: [y] (1 values), no (the table, 3 rows)",
        ["1e3", "a b.x: [y]", "no"],
    ),
}


@pytest.mark.parametrize(("found", "accepted", "statement", "names"), CASES.values(), ids=CASES)
def test_what_holds_data_and_is_not_accepted_is_refused_with_the_line_to_write(found, accepted, statement, names):
    said = refusal(found, accepted, "It")
    if not names:
        assert said == ""
        return
    assert said.startswith(f"It destroys {statement}, which the plan does not accept.")
    line = said.partition("write into the plan: ")[2]
    assert yaml.safe_load(line) == {"rollback": {"accept_loss": names}}
    assert refusal(found, names, "It") == "", "what is pasted will do"
    alone = refusal(found, accepted, "It", alone=True)
    assert yaml.safe_load(alone.partition("set ")[2]) == {"alembic_downgrade_accept_loss": names}


def test_what_was_foreseen_is_not_refused_and_not_written_into_the_line():
    found = {"a": table(values={"x": 2, "y": 1})}
    assert refusal(found, [], "It", foreseen=["a.x", "a.y"]) == ""
    assert refusal(found, [], "It", foreseen=["a.x"]).endswith("{accept_loss: [a.y]}")


def test_a_table_without_a_primary_key_is_said_to_be_exported_whole():
    found = {"a": table(values={"x": 2}, whole=True)}
    assert destroyed(found) == ["a.x (2 values)"]
    assert "accept. No primary key tells the rows of a apart, so all of it is exported" in refusal(found, [], "It")
