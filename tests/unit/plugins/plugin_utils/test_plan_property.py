# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever a plan's file holds, it becomes a plan that is sound, or faults that are sentences with a line."""

from __future__ import annotations

import copy
import dataclasses
import json
import typing as t

import yaml
from ansible_collections.changeops.rollback.plugins.plugin_utils._plan import METHODS, ON_FAILURE, PHASES, Plan
from ansible_collections.changeops.rollback.plugins.plugin_utils._plan_check import check_plan, role_variables
from ansible_collections.changeops.rollback.plugins.plugin_utils._plan_yaml import PlanError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

# What people type and what they should not.
EVIL = [
    "; touch pwned",
    "$(touch pwned)",
    "`id`",
    "{{ 7 * 7 }}",
    "{% x %}",
    "../../etc/passwd",
    "-rf",
    "a\nb",
    "\0",
    "é\u202e",
    "",
]
SCALARS = st.one_of(
    st.sampled_from(EVIL),
    st.text(max_size=20),
    st.integers(),
    st.floats(allow_nan=False),
    st.booleans(),
    st.none(),
    st.dates(),
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
WORDS = st.text(alphabet="abcdefghij KLM-.", min_size=1, max_size=30).filter(str.strip)
DURATIONS = st.sampled_from(["90s", "2m", "1h30m"])


def variables(role: str) -> st.SearchStrategy[dict[str, t.Any]]:
    return st.dictionaries(st.sampled_from(sorted(role_variables(role))), ANYTHING, max_size=2)


def phase(role: str) -> st.SearchStrategy[dict[str, t.Any]]:
    return st.fixed_dictionaries(
        {"role": st.just(role)},
        optional={
            "hosts": WORDS,
            "estimate": DURATIONS,
            "timeout": DURATIONS,
            "become": st.booleans(),
            "become_user": st.just("shop"),
            "environment": st.dictionaries(st.sampled_from(["LANG", "A_B"]), SCALARS, max_size=2),
            "vars": variables(role),
        },
    )


PLANS = st.fixed_dictionaries(
    {
        "title": WORDS,
        "date": st.dates().map(str),
        "hosts": WORDS,
        "phases": st.lists(st.sampled_from(PHASES).flatmap(phase), min_size=1, max_size=7),
    },
    optional={
        "implemented_by": WORDS,
        "on_failure": st.sampled_from(ON_FAILURE),
        "schema_compatible": st.booleans(),
        "serial": st.sampled_from([1, "25%", [1, "25%", "100%"]]),
        "maintenance": st.sampled_from(
            [
                [{"days": ["sat"], "start": "22:00", "end": "04:00", "zone": "UTC"}],
                [{"start": "2026-11-28T22:00", "end": "2026-11-29T04:00", "zone": "Europe/Berlin"}],
            ]
        ),
        "rollback": st.fixed_dictionaries(
            {}, optional={"possible": st.booleans(), "reason": WORDS, "method": st.sampled_from(METHODS)}
        ),
        "risks": st.lists(st.fixed_dictionaries({"issue": WORDS}, optional={"mitigation": WORDS}), max_size=2),
    },
)


@st.composite
def damaged(draw: st.DrawFn) -> dict[str, t.Any]:
    """A plan that was sound, with a few values and keys replaced by anything."""
    plan = copy.deepcopy(draw(PLANS))  # a list that all examples share must not be damaged
    for _change in range(draw(st.integers(0, 3))):
        place: t.Any = plan
        while isinstance(place, (dict, list)) and place:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = draw(st.sampled_from(keys))
            if draw(st.booleans()) or not isinstance(place[key], (dict, list)) or not place[key]:
                place[key] = draw(ANYTHING)
                if isinstance(place, dict) and draw(st.booleans()):
                    place[draw(st.sampled_from([f"{key}s", "titel", "becom", "", "{{ x }}"]))] = place.pop(key)
                break
            place = place[key]
    return t.cast("dict[str, t.Any]", plan)


def _texts(value: t.Any) -> t.Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from _texts(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _texts(inner)
    else:
        yield str(value)


def sound(plan: Plan) -> None:
    """What everything after the check relies on."""
    values = json.loads(json.dumps(plan.as_dict()))
    assert not any(mark in text for text in _texts(values) for mark in ("{{", "{%", "{#"))
    assert values["title"].strip() and values["date"]
    for one, shown in zip(plan.phases, values["phases"], strict=True):
        assert shown["id"] == f"{one.index}-{one.name}" and "/" not in shown["id"] and one.hosts
        assert all(name.isidentifier() for name in (*one.vars, *one.environment))
        assert all(seconds is None or seconds > 0 for seconds in (one.estimate, one.timeout))
    assert dataclasses.replace(plan) == plan


OUTCOMES = {"sound": 0, "faulty": 0}


@settings(max_examples=600, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(damaged())
def _feed(document: dict[str, t.Any]) -> None:
    data = yaml.safe_dump(document, allow_unicode=True, sort_keys=False).encode("utf-8", "surrogatepass")
    try:
        plan = check_plan(data, "C001", "/ops/changes/C001.yml", "changes/C001.yml")
    except PlanError as error:
        OUTCOMES["faulty"] += 1
        assert error.faults
        for line, text in error.faults:
            assert 0 <= line <= data.count(b"\n") + 1
            assert text[:1] in "`'" or text[:1].isupper(), text
            assert text.rstrip()[-1] in ".?`'", text
        assert "changes/C001.yml" in str(error)
    else:
        OUTCOMES["sound"] += 1
        sound(plan)


def test_any_plan_is_sound_or_has_faults_that_are_sentences() -> None:
    _feed()
    assert sum(OUTCOMES.values()) >= 500
    assert min(OUTCOMES.values()) >= 50, f"the plans that were made are all of one kind: {OUTCOMES}"
