# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of a rollback document: of each line a place, of what is open a question."""

from __future__ import annotations

import collections
import re
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.changeops.rollback.plugins.plugin_utils import _document_model as model
from ansible_collections.changeops.rollback.plugins.plugin_utils._document import read_document
from ansible_collections.changeops.rollback.plugins.plugin_utils._document_plan import duration
from ansible_collections.changeops.rollback.tests.unit.plugins.plugin_utils.document_sample import (
    ASKED,
    imported,
    loaded,
    systemd,
)

TEMPLATE = Path(__file__).with_name("rollback-plan.md")


def test_each_line_of_the_template_has_its_place_and_only_questions_are_left() -> None:
    plans, document = imported(TEMPLATE.read_bytes())
    assert list(plans) == ["C001"], "C002 and the short form are not filled in"
    assert document.listed == []
    lines = {number: line for number, line in enumerate(TEMPLATE.read_text().splitlines(), 1) if line.strip()}
    assert document.places.keys() == lines.keys()
    where = collections.defaultdict(list)
    for number, place in document.places.items():
        where[place].append(lines[number].strip())
    for line in where[model.COMMENT]:  # word for word
        assert re.sub(r"^(- |### Step \d: |# )", "", line) in plans["C001"], line
    # a form that is empty: headings, rules of tables, fences, and what has nothing to it but blanks
    for line in where[model.FORM]:
        empty = not model.filled(line.partition(":")[2]) or line.startswith(("- [ ]", "**Commands**", "|"))
        assert line.startswith(("```", "#", "**", "|", "- [ ]", "---", "1.", "2.", "3.", "If No")), line
        assert empty, line
        if line.startswith("- [ ]"):
            assert {"rollback", "revert", "steps,", "_____________"} & set(line.lower().split()), line
    assert where[model.PLAN] == ["### C001: [Change Title]", "**Change ID**: C001"]
    commands = ("git checkout -b", "cp -r", "systemctl", "git revert <", "uv ", "git checkout HEAD~1", "curl", "#")
    assert all(line.startswith(commands) for line in where[model.PHASE])
    assert [line.partition(" (line")[0] for line in t.cast("list[str]", loaded(plans["C001"]))] == [
        "Not answered yet: what is changed, in a few words",
        "Not answered yet: when was it changed, as year-month-day",
        "Not answered yet: who changed it",
        "Not answered yet: can it be rolled back, true or false",
        "Not answered yet: which revision did the change bring, where the database stands before the rollback",
        "Not answered yet: which revision was there before the change",
        "Not answered yet: which commit is reverted",
        "Not answered yet: in which folder of the host do the tests run",
    ]
    assert [phase["role"] for phase in yaml.safe_load(plans["C001"])["phases"]] == [
        *("backup", "service_stop", "alembic_downgrade", "git_revert", "config_restore", "service_start", "verify")
    ]


SHORT = """\
| Change ID | Change | Rollback Possible | Rollback Method | Status |
|-----------|--------|-------------------|-----------------|--------|
| C007 | Add "totals": v2 | Yes | manual | [x] |
| C008 | Drop it | No | | [ ] |
| C___ | Somebody's | Yes | | |

```markdown
### C007: [Change Title]
**Change ID**: C007
**Date**: 2026-11-20
**Implemented By**: Dana Ng
**Complexity**: Simple

## Procedure
1. Run `systemctl stop cache`
2. Ask: "is it quiet?" #now
3. _____________
4. systemctl start cache

## Validation
- [ ] Pages come in under 1 s

## Time Estimate: 20 min
## Risks
1. It is slow: for 5 min
```

### C007: once more
stray
"""


def test_the_short_form_and_a_change_of_the_summary_only() -> None:
    plans, document = imported(SHORT)
    plan, short = yaml.safe_load(plans["C007"]), yaml.safe_load(plans["C008"])
    assert (plan["title"], plan["rollback"]) == ('Add "totals": v2', {"possible": True, "method": "manual"})
    assert plan["risks"] == [{"issue": "It is slow: for 5 min"}]
    assert [(phase["role"], phase["vars"].get("manual_step_instructions")) for phase in plan["phases"]] == [
        ("service_stop", None),
        ("manual_step", 'Ask: "is it quiet?" #now'),
        ("manual_step", ASKED + "what is done here (line 17)?"),
        ("service_start", None),
        ("manual_step", "Look whether this holds:\n\n- Pages come in under 1 s"),
    ]
    assert loaded(plans["C007"]) == [
        "Not answered yet: what is done here (line 17)? Write the answer in place of the question."
    ]
    assert "#   23: Time Estimate: 20 min" in plans["C007"]
    assert (short["title"], short["rollback"]["possible"]) == ("Drop it", False)
    assert short["rollback"]["reason"].startswith(ASKED)
    assert "phases" not in short
    assert [(line, why) for line, _text, why in sorted(document.listed)] == [
        (5, "the ID of the change is not filled in"),
        (28, "C007 stands in line 8 already"),
        (29, "belongs to a change without an ID of its own"),
    ]


LONG = """\
# Rollback Plan: C007 - Add totals
Owner: the shop's team
**Date:** 2026-11-20
**Implemented By:** O'Brien: "Bo"
### Rollback Possible: No, the data are gone
### Rollback Method
- [ ] Manual rollback
- [x] Script rollback
### Rollback Complexity
- [x] Simple (1-2 steps, < 1 hour)
## Rollback Procedure
### Step 1: Stop Services
- [x] Tell the DBA
Wait for the queue.
**Commands**:
\t```bash
\tsystemctl stop shop\u00a0
\t```
### Step 2: CDN
- [ ] Purge {{ it }}
- [ ] Analyze failure
### Step 3: Database
```sql
SELECT 1;
```
## Rollback Time Estimate
| Step | Estimated Time | Actual Time |
|:--|--:|---|
| Stop Services | 2-3 min | 4 min |
| CDN | 1.5 hours | |
| Lunch | 1 h | |
| **Total** | **2 h** | |
## Rollback Risks
### Potential Issues
- [x] Data loss during rollback
- [ ] Angry people
### Mitigation Strategies
1. Export: first
2. Cake
3. More cake
## Rollback Execution History
| Date | Executed By | Success | Duration | Notes |
|---|---|---|---|---|
| 2026-11-21 | Dana | Yes | 5 min | went well \x07|
## Rollback Scripts
```bash
systemctl stop shop
redis-cli flushall
```
## Contacts
Call 555
```bash
make call
```
"""


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"], ids=["unix", "windows", "mac"])
def test_the_long_form_filled_in_with_odd_white_space_and_words_of_its_own(ends: str) -> None:
    data = b"\xef\xbb\xbf" + LONG.replace("\n", ends).encode()
    plans, document = imported(data)
    text = plans["C007"]
    plan = yaml.safe_load(text)
    assert (plan["title"], plan["implemented_by"]) == ("Add totals", 'O\'Brien: "Bo"')
    assert plan["rollback"] == {"possible": False, "reason": "the data are gone", "method": "script"}
    assert plan["risks"] == [
        {"issue": "Data loss during rollback", "mitigation": "Export: first"},
        {"issue": "Angry people", "mitigation": "Cake; More cake"},
    ]
    stop, purge, query = plan["phases"]
    assert (stop["role"], stop["estimate"], stop["vars"]) == (
        "service_stop",
        "3m",
        {"service_stop_services": systemd("shop")["services"]},
    )
    assert (purge["role"], purge["estimate"]) == ("manual_step", "1h30m")
    assert purge["vars"]["manual_step_instructions"].startswith("QUESTION: what goes here? A plan cannot hold Jinja")
    assert "SELECT 1;" in query["vars"]["manual_step_instructions"]
    faults = loaded(text)
    assert isinstance(faults, list)
    assert [fault.partition("?")[0] for fault in faults] == ["Not answered yet: what goes here"]
    for said in (
        *(
            "# Wait for the queue.",
            "# [x] Tell the DBA",
            "# - Purge {{ it }}",
            "# [ ] Analyze failure",
            "Lunch: 1 h".lower(),
        ),
        *(
            "script: redis-cli flushall",
            "2026-11-21 | Dana",
            "| Stop Services | 2-3 min | 4 min |",
            "Contacts",
            "Call 555",
        ),
        *("Owner: the shop's team", "make call", "**Total** | **2 h**", "[x] Simple"),
    ):
        assert f"{said}\n" in text or said in text, said
    listed = {text: why for _line, text, why in document.listed}
    assert {text.partition(" ")[0] for text in listed} == {"Tell", "Wait", "SELECT", "lunch:", "redis-cli", "make"}
    lines = data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    assert document.places.keys() == {number for number, line in enumerate(lines, 1) if line.strip()}


def test_a_script_alone_is_the_procedure_and_a_change_id_alone_is_a_change() -> None:
    text = "## Add totals\n**Change ID**: shop-7\n## Rollback Scripts\n```bash\n#!/bin/bash\nsystemctl stop shop\n```\n"
    plan = yaml.safe_load(imported(text)[0]["shop-7"])
    assert plan["title"] == "Add totals"
    assert [phase["role"] for phase in plan["phases"]] == ["service_stop"]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"# Nothing\nin it\n", "It names no change."),
        (b"ok\n\xff\n", "Line 2 is not UTF-8 text."),
        (b"", "It names no change."),
    ],
)
def test_no_document(data: bytes, says: str) -> None:
    with pytest.raises(model.DocumentError) as caught:
        read_document(data)
    assert str(caught.value).startswith(says)


@pytest.mark.parametrize(
    ("text", "takes"),
    [
        *(
            ("5 min", "5m"),
            ("5", "5m"),
            ("90 sec", "1m30s"),
            ("1.5 hours", "1h30m"),
            ("10-15 minutes", "15m"),
            ("1h 30min", "1h30m"),
        ),
        *(("1 to 2 h", "2h"), ("soon", ""), ("0 min", ""), ("1 day", "24h"), ("999 days", "")),
    ],
)
def test_durations(text: str, takes: str) -> None:
    assert duration(text) == takes
