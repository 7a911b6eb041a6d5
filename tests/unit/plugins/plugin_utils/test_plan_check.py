# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from ansible_collections.changeops.rollback.plugins.plugin_utils._plan import PHASES, Plan, Risk
from ansible_collections.changeops.rollback.plugins.plugin_utils._plan_check import (
    check_plan,
    load_plan,
    role_variables,
    seconds,
)
from ansible_collections.changeops.rollback.plugins.plugin_utils._plan_yaml import PlanError
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal

SAMPLE = """\
---
title: Add invoice totals
date: 2026-11-20
implemented_by: Dana Ng
hosts: shop                     # inventory pattern
timeout: 2h                     # of the whole run
maintenance:                    # outside of these it needs -e outside_window="why"
  - {days: [sat, sun], start: "22:00", end: 4:00, zone: Europe/Berlin}
  - {start: 2026-11-28T22:00, end: 2026-11-29T04:00, zone: UTC}
rollback:
  possible: true                # false needs `reason`; the rollback is then refused with it
  method: automated             # automated | git_revert | script | manual
  accept_loss: [invoices.total, audit, billing.items.v]
risks:
  - {issue: Totals entered since the release are lost, mitigation: Lost columns are exported first}
phases:                         # the procedure, in order, written like a play's roles
  - {role: backup, estimate: 2m}
  - {role: service_stop, estimate: 1m}
  - role: alembic_downgrade
    hosts: shop[0]              # one shared database: one downgrade
    timeout: 1h30m
    vars: {alembic_downgrade_from: 8100000000, alembic_downgrade_to: 51b7d9aa}
  - role: git_revert
    become: true
    become_user: shop           # systemctl needs root, git and Alembic need the owner
    environment: {UV_OFFLINE: 1, LANG: C}
    vars: {git_revert_commits: [4f1c2e9, 1234567]}
  - role: config_restore
  - role: acme.ops.flush_cache
    vars: {port: 8000, revisions: {new: 12}, list: [1, 2]}
  - role: service_start
  - role: verify
    estimate: 3m
"""

# The least that a plan needs: tests add what they are about.
SMALL = "title: T\ndate: 2026-11-20\nhosts: shop\n"


def check(text: str) -> Plan:
    return check_plan(text.encode(), "C001", "/ops/changes/C001.yml", "changes/C001.yml")


def faults_of(text: str) -> list[tuple[int, str]]:
    with pytest.raises(PlanError) as caught:
        check(text)
    return caught.value.faults


def test_the_sample_plan_of_the_manual() -> None:
    plan = check(SAMPLE)
    assert plan.risks == (Risk("Totals entered since the release are lost", "Lost columns are exported first"),)
    assert (plan.change, plan.title, plan.date) == ("C001", "Add invoice totals", "2026-11-20")
    assert (plan.implemented_by, plan.hosts, plan.method, plan.on_failure) == (
        "Dana Ng",
        "shop",
        "automated",
        "recover",
    )
    assert plan.accept_loss == ("invoices.total", "audit", "billing.items.v")
    assert plan.digest == hashlib.sha256(SAMPLE.encode()).hexdigest()
    assert [phase.id for phase in plan.phases][:3] == ["1-backup", "2-service_stop", "3-alembic_downgrade"]
    assert (plan.timeout, plan.estimate, plan.complexity, plan.code_first) == (7200, 360, "complex", False)
    downgrade, revert, own = plan.phases[2], plan.phases[3], plan.phases[5]
    assert (downgrade.hosts, downgrade.timeout, downgrade.become) == ("shop[0]", 5400, None)
    assert downgrade.vars == {"alembic_downgrade_from": "8100000000", "alembic_downgrade_to": "51b7d9aa"}
    assert (revert.hosts, revert.become, revert.become_user) == ("shop", True, "shop")
    assert revert.environment == {"UV_OFFLINE": "1", "LANG": "C"}
    assert [window.as_dict() for window in plan.maintenance] == [
        {"days": ["sat", "sun"], "start": "22:00", "end": "04:00", "zone": "Europe/Berlin"},
        {"start": "2026-11-28T22:00", "end": "2026-11-29T04:00", "zone": "UTC"},
    ]
    assert plan.commits == ["4f1c2e9", "1234567"]
    assert (own.role, own.name) == ("acme.ops.flush_cache", "flush_cache")
    assert own.vars == {"port": 8000, "revisions": {"new": "12"}, "list": [1, 2]}


def test_all_faults_are_reported_at_once_in_the_order_of_the_file() -> None:
    text = (
        "titel: x\ndate: soon\nhosts: shop\non_failure: recovr\nphases:\n"
        "  - {role: git_rever, estimate: soon}\n  - {role: verify, becom: yes}\n"
    )
    with pytest.raises(PlanError) as caught:
        check(text)
    assert str(caught.value).splitlines() == [
        "changes/C001.yml:1: `titel` is not known here. Did you mean `title`?",
        "changes/C001.yml:1: `title` is missing. Add a line such as `title: Add invoice totals`.",
        "changes/C001.yml:2: `date` is 'soon'. Write it as year-month-day: `date: 2026-11-20`.",
        "changes/C001.yml:4: `on_failure` is 'recovr'. Write one of recover, stop. Did you mean `recover`?",
        "changes/C001.yml:6: 'git_rever' is not a phase. Did you mean `git_revert`? Phases are "
        + ", ".join(PHASES)
        + "; a role of your own goes in as namespace.collection.role.",
        "changes/C001.yml:6: `estimate` is 'soon', which is not a duration. Say 90s, 2m, 1h30m or 7d.",
        "changes/C001.yml:7: `becom` is not known here. Did you mean `become`?",
    ]


WITH_PHASE = SMALL + "phases:\n- {role: verify}\n"  # 5 lines; what is added begins in line 6


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", 0, "The plan is empty. It begins with title"),
        ("# only a comment\n", 0, "The plan is empty"),
        ("- a\n", 1, "A plan is a mapping, but here is a list"),
        (WITH_PHASE + "maintenance: nights\n", 6, "`maintenance` is a list, but here is 'nights'."),
        (WITH_PHASE + "maintenance:\n- nights\n", 7, "A window is a mapping, but here is 'nights'."),
        (WITH_PHASE + "maintenance:\n- start: 22:00\n  end: 4:00\n", 7, "The window has no `zone`."),
        (WITH_PHASE + "maintenance:\n- start: 22:00\n  end: 4:00\n  zone: CETT\n", 9, "There is no time zone 'CETT'."),
        (WITH_PHASE + "maintenance:\n- {start: 22:00, end: 22:00, zone: UTC}\n", 7, "are the same. For whole days"),
        (WITH_PHASE + "maintenance:\n- start: [22]\n  end: 4:00\n  zone: UTC\n", 7, "Write the time as '22:00'"),
        ("text\n", 1, "A plan is a mapping, but here is 'text'"),
        (SMALL, 1, "The plan has no phases"),
        (SMALL + "phases:\n", 4, "The plan has no phases"),
        (SMALL + "phases: []\n", 4, "The plan has no phases"),
        (SMALL + "phases: backup\n", 4, "`phases` is a list, but here is 'backup'"),
        (SMALL + "phases: {role: backup}\n", 4, "`phases` is a list, but here is a mapping"),
        (SMALL + "phases: [backup]\n", 4, "Write `- role: backup`"),
        (SMALL + "phases:\n- {hosts: a}\n", 5, "Phase 1 has no `role`. Write `role:` and one of backup"),
        (SMALL + "phases:\n- role: run\n", 5, "'run' is not a phase. Phases are"),
        (SMALL + "phases:\n- role:\n", 5, "`role` is nothing, and must be text"),
        (SMALL + "phases:\n- role: changeops.rollback.backpu\n", 5, "Did you mean `backup`?"),
        (
            SMALL + "phases:\n- role: geerling.nginx\n",
            5,
            "not the full name of a role. Write namespace.collection.role",
        ),
        (SMALL + "phases:\n- role: a.b.c/d\n", 5, "not the full name of a role"),
        (SMALL + "phases:\n- role: a.b.c\n  vars: [1]\n", 6, "`vars` is a mapping, but here is a list"),
        (SMALL + "phases:\n- role: a.b.c\n  vars: {a-b: 1}\n", 6, "'a-b' is not a variable's name"),
        (SMALL + "phases:\n- role: a.b.c\n  vars: {a: '{{ b }}'}\n", 6, "Values of a plan are literals"),
        (SMALL + "phases:\n- role: verify\n  vars: {checks: []}\n", 6, "those begin with `verify_`"),
        (
            SMALL + "phases:\n- role: a.b.c\n  become: 1\n",
            6,
            "`become` is '1'. Write `become: true` or `become: false`",
        ),
        (SMALL + "phases:\n- role: a.b.c\n  become_user: [a]\n", 6, "`become_user` is a list, and must be text"),
        (SMALL + "phases:\n- role: a.b.c\n  become_user: shop; id\n", 6, "'shop; id', which is not the name of a user"),
        (SMALL + "phases:\n- role: a.b.c\n  become_user: -s\n", 6, "'-s', which is not the name of a user"),
        (SMALL + "phases:\n- role: a.b.c\n  vars: {ansible_become_exe: a}\n", 6, "Set it in the inventory"),
        (SMALL + "phases:\n- role: a.b.c\n  environment: {A B: 1}\n", 6, "not the name of an environment variable"),
        (SMALL + "phases:\n- role: a.b.c\n  environment: {A: [1]}\n", 6, "`A` in `environment` is a list"),
        (SMALL + "phases:\n- role: a.b.c\n  timeout: 90\n", 6, "`timeout` is '90', which is not a duration. Say 90s"),
        (SMALL + "phases:\n- role: a.b.c\n  hosts:\n", 6, "`hosts` is nothing, and must be text"),
        (SMALL + "phases:\n- role: git_revert\n  vars: {git_revert_commits: a}\n", 6, "`git_revert_commits` is a list"),
        (SMALL + "phases:\n- role: git_revert\n  vars: {git_revert_commits: [{}]}\n", 6, "A commit of"),
        (SMALL + "phases:\n- role: git_revert\n  vars: {git_revert_commits: [yes]}\n", 6, "A commit of"),
        ("title: T\ndate: 2026-11-20\nphases: [{role: verify}]\n", 1, "`hosts` is missing"),
        (WITH_PHASE.replace("title: T", "title: ''"), 1, "`title` is '', and must be text"),
        (WITH_PHASE.replace("title: T", "title: [T]"), 1, "`title` is a list, and must be text"),
        (WITH_PHASE.replace("2026-11-20", "2026-13-40"), 2, "Write it as year-month-day"),
        (WITH_PHASE.replace("2026-11-20", "20.11.2026"), 2, "Write it as year-month-day"),
        (WITH_PHASE.replace("2026-11-20", "2026-11-20 10:00:00"), 2, "Write it as year-month-day"),
        (WITH_PHASE.replace("date: 2026-11-20", "x: 1"), 1, "`date` is missing"),
        (WITH_PHASE + "rollback: yes\n", 6, "`rollback` is a mapping, but here is 'yes'"),
        (WITH_PHASE + "rollback: {posible: true}\n", 6, "Did you mean `possible`?"),
        (WITH_PHASE + "rollback: {possible: maybe}\n", 6, "`possible` is 'maybe'. Write `possible: true`"),
        (WITH_PHASE + "rollback: {possible: false}\n", 6, "`possible: false` needs a reason"),
        (WITH_PHASE + "rollback:\n  possible: false\n  reason: ''\n", 8, "`reason` is '', and must be text"),
        (WITH_PHASE + "rollback: {method: script.sh}\n", 6, "Write one of automated, git_revert, script, manual"),
        (WITH_PHASE + "rollback: {accept_loss: invoices}\n", 6, "`accept_loss` is a list"),
        (WITH_PHASE + "rollback: {accept_loss: [a.b.c.d]}\n", 6, "neither a table nor a table.column"),
        (WITH_PHASE + "schema_compatible: maybe\n", 6, "`schema_compatible` is 'maybe'"),
        (WITH_PHASE + "serial: 0\n", 6, "`serial` is '0'. Write how many hosts make a batch: `serial: 2`"),
        (WITH_PHASE + "serial: 110%\n", 6, "`serial` is '110%'"),
        (WITH_PHASE + "serial:\n", 6, "`serial` is nothing"),
        (WITH_PHASE + "serial: []\n", 6, "`serial` is an empty list"),
        (WITH_PHASE + "serial: {canary: 1}\n", 6, "`serial` is a mapping"),
        (WITH_PHASE + "serial:\n- 1\n- half\n", 8, "`serial` is 'half'"),
        (WITH_PHASE + "risks: [late]\n", 6, "Write `- {issue: <what may go wrong>"),
        (WITH_PHASE + "risks:\n- {mitigation: a}\n", 7, "The risk has no `issue`"),
        (WITH_PHASE + "risks:\n- {isue: a}\n", 7, "Did you mean `issue`?"),
        (WITH_PHASE + "timeout: 30\n", 6, "`timeout` is '30', which is not a duration. Say 90s, 2m, 1h30m or 7d"),
        (WITH_PHASE + "timeout:\n", 6, "`timeout` is nothing, which is not a duration"),
        (WITH_PHASE + "timeout: [30m]\n", 6, "`timeout` is a list, which is not a duration"),
        (WITH_PHASE + "timeuot: 30m\n", 6, "Did you mean `timeout`?"),
        (
            SMALL + "timeout: 5m\nphases:\n- {role: backup, estimate: 3m}\n- {role: verify, estimate: 3m}\n",
            4,
            "`timeout` is '5m', and the phases are estimated at 360s together. Give the run more time",
        ),
        (WITH_PHASE + "on_failure: [stop]\n", 6, "`on_failure` is a list. Write one of recover, stop"),
    ],
)
def test_a_fault_has_its_line_and_the_words_to_type(text: str, line: int, words: str) -> None:
    faults = faults_of(text)
    assert any(at == line and words in fault for at, fault in faults), faults


@pytest.mark.parametrize(
    "addition",
    [
        "rollback:\n",
        "risks:\n",
        "risks: [{issue: Late}]\n",
        "rollback: {possible: yes, method: manual}\n",
        "on_failure: stop\n",
        "timeout: 30m\n",
        "schema_compatible: true\n",
        "implemented_by: 42\n",
        "serial: 2\n",
    ],
)
def test_what_may_be_left_out_or_written_otherwise(addition: str) -> None:
    assert check(WITH_PHASE + addition).title == "T"


@pytest.mark.parametrize("method", ["manual", "script", "git_revert"])
def test_a_plan_that_is_not_automated_needs_no_phases(method: str) -> None:
    assert check(SMALL + f"rollback: {{method: {method}}}\n").method == method


def test_a_change_that_cannot_be_rolled_back_needs_its_reason_only() -> None:
    plan = check("title: T\ndate: '2026-11-20'\nrollback: {possible: false, reason: The key is gone}\n")
    assert (plan.possible, plan.reason, plan.phases) == (False, "The key is gone", ())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", 90),
        ("2m", 120),
        ("1h", 3600),
        ("1h30m", 5400),
        ("1h30m5s", 5405),
        ("soon", None),
        ("", None),
        ("0s", None),
        ("90", None),
        ("1.5h", None),
        ("-1m", None),
        ("30m1h", None),
        ("2 m", None),
        ("1d", 86400),
        ("1d12h", 129600),
        ("1w", None),
        ("9" * 50 + "s", None),
    ],
)
def test_seconds(text: str, expected: int | None) -> None:
    assert seconds(text) == expected


def test_clashes_are_among_the_faults_of_a_plan() -> None:
    [(line, text)] = faults_of(SMALL + "phases:\n- role: service_start\n")
    assert (line, text.split(".")[0]) == (5, "Phase 1 (service_start) starts services that no earlier phase stopped")


def test_the_same_role_with_other_vars_is_no_clash() -> None:
    text = "phases:\n- {role: a.b.c, vars: {x: 1}}\n- {role: a.b.c, vars: {x: 2}}\n"
    assert len(check(SMALL + text).phases) == 2


def test_a_variable_that_the_role_does_not_have_is_a_fault() -> None:
    known = role_variables("git_revert")
    assert {"git_revert_commits", "git_revert_repo"} <= known
    text = (
        SMALL + "phases:\n- role: git_revert\n  vars:\n    git_revert_comits: [a]\n    repo: /srv\n    rollback_x: 1\n"
    )
    assert faults_of(text) == [
        (7, "`git_revert_comits` is not a variable of git_revert. Did you mean `git_revert_commits`?"),
        (8, "`repo` is not a variable of git_revert: those begin with `git_revert_`. Did you mean `git_revert_repo`?"),
    ]


def test_a_role_without_argument_specs_has_no_known_variables() -> None:
    assert role_variables("no_such_role") == frozenset()


def test_load_plan_takes_the_change_from_the_files_name(tmp_path: Path) -> None:
    path = tmp_path / "C042.yaml"
    path.write_text(SAMPLE)
    plan = load_plan(path)
    assert (plan.change, plan.path) == ("C042", str(path))


def test_load_plan_says_when_the_file_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"C001.yml: The plan cannot be read: Is a directory."):
        load_plan(tmp_path, "C001.yml")


@pytest.mark.parametrize(
    ("text", "serial"),
    [("2", (2,)), ("25%", ("25%",)), ("[1, 25%, '100%']", (1, "25%", "100%")), ("['3']", (3,))],
)
def test_serial(text: str, serial: tuple[int | str, ...]) -> None:
    assert check(WITH_PHASE + f"serial: {text}\n").serial == serial


DATABASE = SMALL + "serial: 25%\nphases:\n- role: alembic_downgrade\n"
REFUSALS = [
    Refusal(
        "a plan with batches and a database phase",
        "changes/C001.yml:4: With `serial`, phase 1 (alembic_downgrade) would change the schema under hosts of later "
        "batches, where the other release still runs. Take `serial` out; or where each release runs on either schema, "
        "say `schema_compatible: true`.",
        DATABASE,
    ),
    Refusal(
        "a plan in which a question is left (of import_plan.yml or new_change.yml)",
        "changes/C001.yml:4: Not answered yet: which commit? Write the answer in place of the question.",
        SMALL + "phases: [{role: git_revert, vars: {git_revert_commits: ['QUESTION: which commit?']}}]\n",
    ),
]


def test_each_question_of_a_plan_is_a_fault_and_the_only_one_of_its_line() -> None:
    text = (
        "title: 'QUESTION: what is it?'\ndate: 'QUESTION: when?'\nhosts: shop\nrollback:\n  possible: 'QUESTION:'\n"
        "phases:\n- role: verify\n  estimate: soon\n  vars:\n    verify_checks: |\n      see\n        QUESTION: a?\n"
        "      QUESTION: b?\n- role: backup # QUESTION: no value, no question\n  timeout: 5m\n"
        "  hosts: 'no QUESTION: c'\n"
    )
    assert [(line, text.partition(" Write")[0]) for line, text in faults_of(text)] == [
        (1, "Not answered yet: what is it?"),
        (2, "Not answered yet: when?"),
        (5, "Not answered yet: what goes here?"),
        (8, "`estimate` is 'soon', which is not a duration. Say 90s, 2m, 1h30m or 7d."),
        (10, "Not answered yet: a?"),
        (10, "Not answered yet: b?"),
    ]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.case)
def test_refused(refusal: Refusal) -> None:
    with pytest.raises(PlanError) as caught:
        check(refusal.given)
    assert refusal.matches(str(caught.value)), caught.value


def test_batches_with_a_database_phase_where_each_release_runs_on_either_schema() -> None:
    assert check(DATABASE + "schema_compatible: true\n").serial == ("25%",)
