# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who ran a job of AWX and where, for each way in which one is launched."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.changeops.rollback.plugins.plugin_utils._awx import (
    from_words,
    job_of,
    link_of,
    person_of,
    place_of,
    slice_of,
)

SERVER = {"AWX_HOST": "https://awx.example.com/"}
JOB = {"job_id": 12, "job_template_name": "Roll back", "project_revision": "d718bbe54455e7c86b49103800bf3bce786e2dfe"}
LEE = {"user_name": "lee"}
FLOW = {"job_launch_type": "workflow", "workflow_job_id": 3, "workflow_job_name": "Carefully"}
EDA = {"ansible_eda": {"rule": "High error rate", "ruleset": "alerts", "event": {"payload": {}}}}


def told(*values: dict[str, t.Any], prefix: str = "awx") -> dict[str, t.Any]:
    merged = {name: value for one in (JOB, *values) for name, value in one.items()}
    return {name if name == "ansible_eda" else f"{prefix}_{name}": value for name, value in merged.items()}


@pytest.mark.parametrize(
    ("variables", "person", "place", "launched"),
    [
        pytest.param(told(LEE, {"job_launch_type": "manual"}), "lee", "AWX job 12", "a user", id="user"),
        pytest.param(
            told(LEE, {"job_launch_type": "relaunch"}, prefix="tower"), "lee", "AWX job 12", "relaunch", id="relaunch"
        ),
        pytest.param(
            told({"job_launch_type": "scheduled", "schedule_name": "weekly"}),
            "schedule weekly", "AWX job 12", "schedule weekly", id="schedule",
        ),
        pytest.param(
            told({"job_launch_type": "webhook", "webhook_event_type": "push"}),
            "webhook push", "AWX job 12", "webhook push", id="webhook",
        ),
        pytest.param(told(LEE, FLOW), "lee", "AWX job 12 of workflow 3", "workflow Carefully", id="workflow"),
        pytest.param(
            told(FLOW, {"parent_job_schedule_name": "weekly"}),
            "schedule weekly", "AWX job 12 of workflow 3", "workflow Carefully", id="workflow of a schedule",
        ),
        pytest.param(
            told({"user_name": "eda"}, EDA, {"job_launch_type": "manual"}),
            "eda", "AWX job 12", "EDA rule High error rate of alerts", id="EDA",
        ),
        pytest.param(told(), "AWX", "AWX job 12", "", id="nobody"),
    ],
)  # fmt: skip
def test_who_and_where(variables: dict[str, t.Any], person: str, place: str, launched: str) -> None:
    job = job_of(variables, SERVER)
    assert job is not None
    assert (person_of(job, variables), place_of(job)) == (person, place)
    by = f"launched by {launched}, " if launched else ""
    run = {"executed_from": place, "job": job}
    assert from_words(run) == f"{place} (template Roll back, {by}project revision d718bbe544)"
    assert link_of(job) == "https://awx.example.com/#/jobs/playbook/12"


@pytest.mark.parametrize(
    ("environ", "link"),
    [
        ({}, ""),
        ({"AWX_HOST": "https://towerhost"}, ""),
        ({"AWX_HOST": "https://towerhost", "CONTROLLER_HOST": "http://c"}, "http://c/#/jobs/playbook/12"),
        ({"TOWER_HOST": "javascript:alert(1)//"}, ""),
    ],
)
def test_a_link_needs_the_address_of_the_server(environ: dict[str, str], link: str) -> None:
    assert link_of(job_of(told(), environ)) == link


def test_outside_awx_there_is_no_job() -> None:
    assert job_of({}, SERVER) is None
    assert from_words({"executed_from": "dana@ops1", "job": None}) == "dana@ops1"
    assert link_of({"url": "javascript:alert(1)"}) == ""


def test_a_slice_is_known_by_its_workflow() -> None:
    assert slice_of(told(FLOW)) == ""
    assert slice_of(told(FLOW, {"workflow_job_name": "Roll back"})) == "Roll back"
    assert slice_of({}) == ""
