# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``awx_setup`` for real, through the modules of ``awx.awx``, against a small AWX that keeps what it is told."""

from __future__ import annotations

import json
import os
import re
import subprocess
import typing as t
from pathlib import Path

import awx_rules
import pytest
from awx_server import AWX, TOKEN, serving
from harness import BIN, HERE, once

PLAN = "title: {title}\ndate: 2026-11-20\nhosts: shop\n{more}"
PHASES = "phases:\n- {role: git_revert, vars: {git_revert_commits: [4f1c2e9]}}\n"
SECRET = "postgresql+psycopg://rollback:hunter2@db.example.com/rollback"
HOOK = "https://chat.example.com/hooks/s3cr3t"
# What the playbook is told.
ENVIRONMENT = {"CONTROLLER_OAUTH_TOKEN": TOKEN, "CHANGEOPS_HISTORY_URL": SECRET}
VARIABLES = {
    "awx_setup_scm_url": "https://git.example.com/shop/ops.git",
    "awx_setup_image": "registry.example.com/changeops-ee:1",
    "awx_setup_credentials": ["Key of the hosts"],
    "awx_setup_slices": 2,
    "awx_setup_notification_type": "webhook",
    "awx_setup_notification_configuration": {"url": HOOK, "http_method": "POST", "headers": {}},
}


@pytest.fixture
def ops(tmp_path: Path) -> Path:
    """An ops repository with two plans that can be run and one that cannot."""
    (tmp_path / "changes").mkdir()
    (tmp_path / "inventory").mkdir()
    (tmp_path / "inventory" / "hosts.yml").write_text("shop: {hosts: {web1: {}, web2: {}}}\n")
    never = "rollback: {possible: false, reason: The mails are sent}\n"
    for change, more in [("C001", PHASES), ("C002", PHASES), ("C003", never)]:
        (tmp_path / "changes" / f"{change}.yml").write_text(PLAN.format(title=f"Ship {change}", more=more))
    return tmp_path


def set_up(ops: Path, variables: dict[str, t.Any], **environ: str) -> subprocess.CompletedProcess[str]:
    given = {
        "HOME": str(ops),
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "ANSIBLE_CONFIG": str(HERE / "ansible.cfg"),
        "ANSIBLE_INVENTORY": "inventory",
        **once(),
        **environ,
    }
    command = [str(BIN / "ansible-playbook"), "changeops.rollback.awx_setup", "-v", "-e", json.dumps(variables)]
    return subprocess.run(command, cwd=ops, env=given, capture_output=True, text=True, check=False)


def changed(done: subprocess.CompletedProcess[str]) -> int:
    assert done.returncode == 0, done.stdout + done.stderr
    return int(re.search(r"^localhost .* changed=(\d+) ", done.stdout, re.MULTILINE)[1])


def test_what_is_not_known_is_asked_for(ops: Path) -> None:
    here = ops / "collections" / "ansible_collections" / "changeops"
    here.mkdir(parents=True)
    (here / "rollback").symlink_to(Path(__file__).parents[2])
    alone = {"ANSIBLE_COLLECTIONS_SCAN_SYS_PATH": "false", "ANSIBLE_COLLECTIONS_PATH": str(ops / "collections")}
    done = set_up(ops, {}, **alone)
    said = done.stdout
    assert done.returncode == 2, said + done.stderr
    assert "collection install 'awx.awx" in said
    for sentence in ["Where is AWX?", "Who are you in AWX?", "git server?", "Which image", "Where is the history?"]:
        assert sentence in said
    assert "There is no plan" not in said


def test_an_empty_awx_is_set_up_and_a_second_time_nothing_changes(ops: Path) -> None:
    awx = AWX()
    with serving(awx) as url:
        first = set_up(ops, VARIABLES, CONTROLLER_HOST=url, **ENVIRONMENT)
        assert changed(first) > 10  # tasks, each for all things of a kind
        _see_all(awx)
        awx.writes.clear()

        second = set_up(ops, VARIABLES, CONTROLLER_HOST=url, **ENVIRONMENT)
        assert (changed(second), awx.writes) == (0, [])

        # a new plan becomes a choice and is rehearsed; of one that is gone or can no longer be run the rehearsals end
        (ops / "changes" / "C004.yml").write_text(PLAN.format(title="Ship C004", more=PHASES))
        (ops / "changes" / "C001.yml").write_text("title: [\n")
        (ops / "changes" / "C002.yml").unlink()
        ours = awx.named("schedules", "Rehearse C002 each week")
        theirs = {"Rehearse C002 at night": "each week", "Rehearse C009 each week": "Sam's"}
        for name, notes in theirs.items():
            awx.add("schedules", {**ours, "name": name, "extra_data": {"change": "C002", "notes": notes}})
        other = awx.add("job_templates", {"name": "Another's", "organization": 0})
        awx.add("schedules", {**ours, "unified_job_template": other["id"]})
        third = set_up(ops, {**VARIABLES, "awx_setup_update_secrets": True}, CONTROLLER_HOST=url, **ENVIRONMENT)
        assert changed(third) > 0
        assert _choices(awx, "Roll back a change") == ["C001", "C003", "C004"]
        assert awx.names("schedules") == sorted([*theirs, "Rehearse C002 each week", "Rehearse C004 each week"])
        assert awx.named("schedules", "Rehearse C002 each week")["unified_job_template"] == other["id"]
        assert ("PATCH", f"/api/v2/credentials/{awx.named('credentials', 'Rollback history')['id']}/") in awx.writes

    for done in (first, second, third):
        said = done.stdout + done.stderr
        assert [secret for secret in ("hunter2", "s3cr3t", TOKEN) if secret in said] == []


def _choices(awx: AWX, name: str) -> list[str]:
    survey = awx.surveys["job_templates", awx.named("job_templates", name)["id"]]
    return survey["spec"][0]["choices"]


def _see_all(awx: AWX) -> None:
    history = awx.named("credentials", "Rollback history")
    assert history["inputs"] == {"url": SECRET}
    injected = awx.items["credential_types"][history["credential_type"]]["injectors"]
    assert injected == {"env": {"CHANGEOPS_HISTORY_URL": "{{ url }}"}}
    organization = awx.named("organizations", "Rollback")
    assert awx.attached_names("organizations", organization, "galaxy_credentials") == ["Ansible Galaxy"]
    assert awx.named("projects", "Rollback plans")["scm_url"] == VARIABLES["awx_setup_scm_url"]
    source = awx.named("inventory_sources", "Rollback plans, inventory")
    assert (source["source"], source["source_path"]) == ("scm", "inventory")

    playbooks = {item["name"]: item["playbook"] for item in awx.items["job_templates"].values()}
    assert playbooks == {
        "Rehearse a rollback": "rehearse.yml",
        "Roll back a change": "rollback.yml",
        "Undo a rollback": "undo.yml",
        "Show how plans and hosts stand": "status.yml",
        "Write the rollback plans down": "report.yml",
        "Say that a rollback failed": "changeops.rollback.awx_failed",
        "Roll back a slice": "rollback.yml",
    }
    for template in awx.items["job_templates"].values():
        at_once = template["name"] == "Roll back a slice"
        assert (template["job_slice_count"], template["allow_simultaneous"]) == (1, at_once)
        given = awx.attached_names("job_templates", template, "credentials")
        assert sorted(given) == ["Key of the hosts", "Rollback history"]
    rehearse = awx.named("job_templates", "Rehearse a rollback")
    assert awx.attached_names("job_templates", rehearse, "notification_templates_success") == ["Rollback news"]
    assert _choices(awx, "Rehearse a rollback") == ["C001", "C002", "C003"]
    assert _choices(awx, "Show how plans and hosts stand") == ["all", "C001", "C002", "C003"]

    assert _paths(awx, "Rehearse, ask, roll back") == {
        "rehearse": ("Rehearse a rollback", {"success": ["approve"], "failure": ["status"], "always": []}),
        "approve": ("Ask, roll back", {"success": [], "failure": [], "always": []}),
        "status": ("Show how plans and hosts stand", {"success": [], "failure": [], "always": ["failed"]}),
        "failed": ("Say that a rollback failed", {"success": [], "failure": [], "always": []}),
    }
    assert _paths(awx, "Ask, roll back") == {
        "approve": ("Roll this change back?", {"success": ["rollback"], "failure": [], "always": []}),
        "rollback": ("Roll back a change", {"success": ["report"], "failure": ["status"], "always": []}),
        "report": ("Write the rollback plans down", {"success": [], "failure": [], "always": []}),
        "status": ("Show how plans and hosts stand", {"success": [], "failure": [], "always": ["failed"]}),
        "failed": ("Say that a rollback failed", {"success": [], "failure": [], "always": []}),
    }
    after = {"success": ["report"], "failure": ["status"], "always": []}
    assert _paths(awx, "Roll back in 2 slices") == {
        "slice 1": ("Roll back a slice", after),
        "slice 2": ("Roll back a slice", after),
        "report": ("Write the rollback plans down", {"success": [], "failure": [], "always": []}),
        "status": ("Show how plans and hosts stand", {"success": [], "failure": [], "always": ["failed"]}),
        "failed": ("Say that a rollback failed", {"success": [], "failure": [], "always": []}),
    }
    parts = [awx.named("workflow_job_template_nodes", f"slice {number}")["extra_data"] for number in (1, 2)]
    assert parts == [{"rollback_slice": "1/2"}, {"rollback_slice": "2/2"}]
    assert awx.named("workflow_approval_templates", "Roll this change back?")["timeout"] == 4 * 3600

    weekly = {item["name"]: item["extra_data"]["change"] for item in awx.items["schedules"].values()}
    assert weekly == {"Rehearse C001 each week": "C001", "Rehearse C002 each week": "C002"}

    news = awx.named("notification_templates", "Rollback news")
    found = {"rollback_loss": ['the "totals"', "b"], "else": 1}
    job = {"name": "Rehearse a rollback", "id": 7, "job_explanation": "", "artifacts": found}
    for event, status, said in (("success", "successful", "succeeded"), ("error", "failed", "FAILED")):
        [text] = json.loads(awx_rules.render(news["messages"][event]["body"], job={**job, "status": status})).values()
        assert f"Rehearse a rollback #7 {said}: https://" in text
        assert 'loss: the "totals", b' in text and "else" not in text


def _paths(awx: AWX, workflow: str) -> dict[str, tuple[str, dict[str, list[str]]]]:
    """Of each node what it starts, and which nodes come after it."""
    number = awx.named("workflow_job_templates", workflow)["id"]
    unified = {
        item["id"]: item["name"]
        for kind in ("job_templates", "workflow_job_templates", "workflow_approval_templates")
        for item in awx.items[kind].values()
    }
    return {
        node["identifier"]: (
            unified[node["unified_job_template"]],
            {
                when: awx.attached_names("workflow_job_template_nodes", node, f"{when}_nodes")
                for when in ("success", "failure", "always")
            },
        )
        for node in awx.items["workflow_job_template_nodes"].values()
        if node["workflow_job_template"] == number
    }
