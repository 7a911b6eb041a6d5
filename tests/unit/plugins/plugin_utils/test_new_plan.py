# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The text of a new plan: what is known is filled in, what is not is a question."""

from __future__ import annotations

import re

import pytest
from ansible_collections.changeops.rollback.plugins.plugin_utils._new_plan import plan_text
from ansible_collections.changeops.rollback.plugins.plugin_utils._plan_check import check_plan
from ansible_collections.changeops.rollback.plugins.plugin_utils._plan_yaml import PlanError

COMMIT = {
    "commit": "4f1c2e9f0d8f4a5b6c7d8e9f0a1b2c3d4e5f6a7b",
    "author": "Dana: Ng",
    "date": "2026-11-20",
    "subject": "Add {{ totals }}: 'all' # of them\n---",
    "merge": False,
}
FOUND = {
    "head": COMMIT["commit"],
    "since": "v1",
    "since_commit": "51d0e2f98d8f4a5b6c7d8e9f0a1b2c3d4e5f6a7b",
    "commits": [COMMIT],
    "recent": [],
    "shipped": True,
    "migrations": {"from": ["8012"], "to": ["51b7d9aa"]},
    "owner": "shop",
    "user": "deploy",
    "kept": [],
    "missing": [],
}
STANDS = {"revisions": {"/srv/shop.db": ["8012"]}, "services": {"shop-web": "running"}}
APP = {
    "services": [{"name": "shop-web", "manager": "systemd"}],
    "config": ["config"],
    "checks": [{"service": "shop-web"}],
}


def text_of(hosts=("web1",), stands=None, app=None, **changes):
    stands, app = (STANDS if stands is None else stands), (APP if app is None else app)
    found = {host: {**FOUND, **changes} for host in hosts}
    return plan_text("C002", found, dict.fromkeys(hosts, stands), app, {"all": hosts, "shop": hosts}, "2026-11-22")


def answered(text):
    return check_plan(re.sub(r"['\"]?QUESTION: .*", "answered", text).encode(), "C002", "C002.yml")


def questions(text):
    with pytest.raises(PlanError) as fault:
        check_plan(text.encode(), "C002", "C002.yml")
    return [words for _line, words in fault.value.faults]


def test_what_is_known_is_filled_in():
    text = text_of()
    plan = answered(text)
    assert plan.title == "Add { { totals }}: 'all' # of them ---"
    assert (plan.implemented_by, plan.date, plan.hosts) == ("Dana: Ng", "2026-11-20", "shop")
    names = ["backup", "service_stop", "alembic_downgrade", "git_revert", "config_restore", "service_start", "verify"]
    assert [phase.name for phase in plan.phases] == names
    assert plan.phases[2].vars == {"alembic_downgrade_from": "8012", "alembic_downgrade_to": "51b7d9aa"}
    assert plan.commits == ["4f1c2e9f0d8f"]
    assert [phase.become_user for phase in plan.phases] == [None, None, "shop", "shop", None, None, None]
    assert [phase.become for phase in plan.phases[1:6:4]] == [True, True]
    assert len(questions(text)) == 2


CASES = [
    pytest.param({"commits": [], "recent": [COMMIT]}, "which commits? There is no tag to count from", id="no_tag"),
    pytest.param(
        {"stands": {"revisions": {"/srv/shop.db": ["51b7"]}}}, "the database stands at 51b7", id="other_revision"
    ),
    pytest.param(
        {"hosts": ("web1", "web2"), "stands": {"revisions": {"${URL}": ["8012"]}}},
        "if they share a database",
        id="shared",
    ),
]


@pytest.mark.parametrize(("changes", "words"), CASES)
def test_what_is_not_known_is_a_question(changes, words):
    assert any(words in question for question in questions(text_of(**changes)))


def test_hosts_that_have_other_commits_are_a_question():
    found = {"web1": FOUND, "web2": {**FOUND, "commits": []}}
    text = plan_text("C002", found, {}, APP, {}, "2026-11-22")
    assert any("They are not the same on web1 and web2" in question for question in questions(text))
    assert "\nhosts: web1,web2\n" in text


def test_an_app_without_services_config_and_checks_has_no_phases_for_them():
    text = text_of(app={"services": [], "config": [], "checks": []}, migrations={"from": [], "to": []})
    assert [phase.name for phase in answered(text).phases] == ["backup", "git_revert"]


def test_many_commits_are_a_range_and_a_merge_keeps_what_it_was_merged_into():
    text = text_of(commits=[{**COMMIT, "merge": True}] * 11)
    assert answered(text).commits == [f"{FOUND['since_commit']}..{COMMIT['commit']}"]
    assert answered(text).phases[3].vars["git_revert_mainline"] == 1
