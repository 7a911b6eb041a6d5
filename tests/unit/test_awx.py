# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The data in ``awx/`` fits the playbooks, the modules of ``awx.awx``, and what AWX accepts."""

from __future__ import annotations

import importlib.util
import itertools
import json
import re
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.changeops.rollback.plugins.plugin_utils._slices import part_of
from ansible_collections.changeops.rollback.tests.integration import awx_rules

ROOT = Path(__file__).parents[2]
ROLE = ROOT / "roles" / "awx_setup"
MODULES = {
    "organization": "organizations",
    "credential_type": "credential_types",
    "credential": "credentials",
    "execution_environment": "execution_environments",
    "notification_template": "notifications",
    "project": "projects",
    "inventory": "inventories",
    "inventory_source": "inventory_sources",
    "job_template": "templates",
    "workflow_job_template": "workflows",
    "schedule": "schedules",
}
GIVEN = {
    "awx_setup_scm_url": "https://git.example.com/ops.git",
    "awx_setup_image": "registry.example.com/ee:1",
    "awx_setup_history_url": "postgresql://db.example.com/rollback",
    "awx_setup_credentials": ["Key of the hosts"],
    "awx_setup_slices": 3,
    "awx_setup_notification_type": "webhook",
    "awx_setup_notification_configuration": {"url": "https://chat.example.com"},
    "__awx_setup_plans": [
        {"change": "C001", "title": "T", "fault": ""},
        {"change": "2", "title": "", "fault": ""},
        {"change": "C003", "title": "", "fault": "cannot be rolled back: no"},
    ],
}
# A prompt of a workflow or of a node of it, and what its template has to ask for.
PROMPTS = {"limit": "ask_limit_on_launch", "job_type": "ask_job_type_on_launch", "extra_data": "survey_enabled"}
NODE = {"identifier", "unified_job_template", "approval_node", "success_nodes", "failure_nodes", "always_nodes"}
NODE |= {"extra_data", "all_parents_must_converge"}
SLICE = "Roll back a slice"


def _data(**given: t.Any) -> dict[str, t.Any]:
    """What is in ``awx/``, as the playbook sees it."""
    loader = DataLoader()
    variables: dict[str, t.Any] = {}
    for path in [ROLE / "defaults/main.yml", ROLE / "vars/main.yml", *sorted((ROOT / "awx").glob("*.yml"))]:
        variables |= loader.load_from_file(str(path), trusted_as_template=True)
    templar = Templar(loader=loader, variables={**variables, **GIVEN, **given})
    names = [f"controller_{kind}" for kind in MODULES.values()]
    return {name: templar.template(variables[name]) for name in names}


DATA = _data()
TEMPLATES = {item["name"]: item for item in DATA["controller_templates"]}
WORKFLOWS = {item["name"]: item for item in DATA["controller_workflows"]}
STARTED = {**TEMPLATES, **WORKFLOWS}
NODES = [(flow, node) for flow in WORKFLOWS.values() for node in flow["simplified_workflow_nodes"]]
APPLIED = yaml.safe_load((ROLE / "tasks/apply.yml").read_text())[0]["block"]
HANDED = [(name, argument) for task in APPLIED for name in task if "." in name for argument in task[name]]


def _options(module: str) -> dict[str, t.Any]:
    """The argument_spec of a module of awx.awx, from its documentation."""
    folder = importlib.util.find_spec("ansible_collections.awx.awx").submodule_search_locations[0]
    text = (Path(folder) / "plugins" / "modules" / f"{module}.py").read_text()
    documentation = yaml.safe_load(re.search(r"^DOCUMENTATION = r?'''$(.*?)^'''$", text, re.MULTILINE | re.DOTALL)[1])
    kept = ("type", "elements", "choices", "required", "aliases")
    return {
        name: {key: option[key] for key in kept if key in option} for name, option in documentation["options"].items()
    }


def _variables(template: str) -> set[str]:
    """The variables that a playbook knows: those of its role, those typed with -e, and those it uses itself."""
    name = Path(TEMPLATES[template]["playbook"].removeprefix("changeops.rollback.")).stem
    text = (ROOT / "playbooks" / f"{name}.yml").read_text()
    found = {*re.findall(r"-e (\w+)=", text), *re.findall(r"\b(\w+) \| default", text)}
    for role in re.findall(r"name: changeops\.rollback\.(\w+)", text):
        spec = (ROOT / "roles" / role / "meta" / "argument_specs.yml").read_text()
        for entry in yaml.safe_load(spec)["argument_specs"].values():
            found |= {*entry.get("options", {})}
        found |= {*re.findall(r"-e (\w+)=", spec), *re.findall(r"C\((\w+)\), which may be typed", spec)}
    return found


def _questions(item: dict[str, t.Any]) -> dict[str, dict[str, t.Any]]:
    return {question["variable"]: question for question in item["survey_spec"]["spec"]}


def _arguments(module: str) -> set[str]:
    """What the tasks give to a module."""
    return {argument for name, argument in HANDED if name == f"awx.awx.{module}"}


def _after(node: dict[str, t.Any]) -> list[str]:
    return [other for when in ("success", "failure", "always") for other in node.get(f"{when}_nodes", [])]


@pytest.mark.parametrize("module", MODULES)
def test_each_item_is_what_the_module_takes_and_is_given_to_it(module: str) -> None:
    items = DATA[f"controller_{MODULES[module]}"]
    validator = ArgumentSpecValidator(_options(module))
    assert items
    for item in items:
        own = {key: value for key, value in item.items() if key != "simplified_workflow_nodes"}
        own = {key: value for key, value in own.items() if (module, key, value) != ("project", "credential", "")}
        assert (item["name"], validator.validate(own).error_messages) == (item["name"], [])
        assert {*own} <= _arguments(module), "apply.yml would leave it out"


def test_each_node_is_what_the_module_takes_and_is_given_to_it() -> None:
    validator = ArgumentSpecValidator(_options("workflow_job_template_node"))
    for flow, node in NODES:
        assert validator.validate({**node, "workflow_job_template": flow["name"]}).error_messages == []
        assert {*node} <= NODE <= _arguments("workflow_job_template_node")


@pytest.mark.parametrize("template", TEMPLATES)
def test_each_survey_asks_for_what_the_playbook_knows(template: str) -> None:
    assert awx_rules.survey(TEMPLATES[template]["survey_spec"]) == ""
    assert {*_questions(TEMPLATES[template])} - _variables(template) == set()


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_a_workflow_answers_what_its_nodes_ask(workflow: str) -> None:
    flow = WORKFLOWS[workflow]
    assert awx_rules.survey(flow["survey_spec"]) == ""
    for node in flow["simplified_workflow_nodes"]:
        if "approval_node" in node:
            continue
        asked = _questions(STARTED[node["unified_job_template"]])
        required = {name for name, question in asked.items() if question["required"]}
        answered = {name for name, question in _questions(flow).items() if question["required"]}
        assert required <= answered | {*node.get("extra_data", {})}


def test_what_a_workflow_asks_for_reaches_the_rollback() -> None:
    for workflow in WORKFLOWS.values():
        reached = [STARTED[node["unified_job_template"]] for _flow, node in NODES if "unified_job_template" in node]
        for variable in _questions(workflow):
            assert any(variable in _questions(one) for one in reached if one["name"] in TEMPLATES)
    for name, asks in PROMPTS.items():
        for flow, node in NODES:
            assert name not in node or STARTED[node["unified_job_template"]][asks], f"{flow['name']}: {name}"
    acting = ["Rehearse a rollback", "Roll back a change", "Rehearse, ask, roll back", "Ask, roll back"]
    assert [name for name in acting if not STARTED[name]["ask_limit_on_launch"]] == []


def test_nodes_lead_from_the_first_to_others_of_their_workflow() -> None:
    for flow in WORKFLOWS.values():
        nodes = {node["identifier"]: node for node in flow["simplified_workflow_nodes"]}
        assert len(nodes) == len(flow["simplified_workflow_nodes"])
        following = {identifier: _after(node) for identifier, node in nodes.items()}
        # one beginning, or one for each slice, and every node after those that lead to it, so no circle
        beginnings = {identifier for identifier, node in nodes.items() if node.get("unified_job_template") == SLICE}
        assert {*nodes} - {*itertools.chain(*following.values())} == (beginnings or {next(iter(nodes))})
        order = list(nodes)
        for identifier, others in following.items():
            assert all(order.index(other) > order.index(identifier) for other in others)


def test_a_failure_branch_ends_in_a_failure() -> None:
    """Else AWX takes the workflow for a success."""
    for flow in WORKFLOWS.values():
        nodes = {node["identifier"]: node for node in flow["simplified_workflow_nodes"]}
        for first in [other for node in nodes.values() for other in node.get("failure_nodes", [])]:
            last = first
            while nodes[last].get("always_nodes"):
                [last] = nodes[last]["always_nodes"]
            assert nodes[last]["unified_job_template"] == "Say that a rollback failed"


def test_every_name_that_is_used_is_one_that_is_made() -> None:
    made = {name: {item["name"] for item in items} for name, items in DATA.items()}
    brought = {"Key of the hosts"}
    for item in TEMPLATES.values():
        assert item["project"] in made["controller_projects"]
        assert item["inventory"] in made["controller_inventories"]
        assert item["execution_environment"] in made["controller_execution_environments"]
        assert {*item["credentials"]} <= made["controller_credentials"] | brought
    for item in STARTED.values():
        for key in [key for key in item if key.startswith("notification_templates_")]:
            assert {*item[key]} <= made["controller_notifications"]
    for item in DATA["controller_inventory_sources"]:
        assert item["inventory"] in made["controller_inventories"]
        assert item["source_project"] in made["controller_projects"]
    assert all(node["unified_job_template"] in STARTED for _flow, node in NODES if "unified_job_template" in node)
    organizations = {item["organization"] for items in DATA.values() for item in items if "organization" in item}
    assert organizations == made["controller_organizations"]


def test_no_template_runs_twice_at_once_or_in_slices_of_awx() -> None:
    assert [item["name"] for item in STARTED.values() if item["allow_simultaneous"]] == [SLICE]
    assert [item["name"] for item in TEMPLATES.values() if item["job_slice_count"] != 1] == []


def test_the_slices_of_a_rollback_are_begun_side_by_side() -> None:
    nodes = WORKFLOWS["Roll back in 3 slices"]["simplified_workflow_nodes"]
    slices = [node for node in nodes if node.get("unified_job_template") == SLICE]
    assert [node["extra_data"] for node in slices] == [{"rollback_slice": f"{number}/3"} for number in (1, 2, 3)]
    for node in slices:
        assert part_of(node["extra_data"]["rollback_slice"])
        assert awx_rules.node(node, TEMPLATES[SLICE], TEMPLATES[SLICE]["survey_spec"]) == ""
    report = next(node for node in nodes if node["identifier"] == "report")
    assert report["all_parents_must_converge"], "there is something to report once all have succeeded"
    # whose fleet is small has nothing of it
    few = _data(awx_setup_slices=0)
    for kind in ("templates", "workflows"):
        names = {item["name"] for item in DATA[f"controller_{kind}"]} - {i["name"] for i in few[f"controller_{kind}"]}
        assert names == {"templates": {SLICE}, "workflows": {"Roll back in 3 slices"}}[kind]


def test_each_plan_that_can_be_run_is_rehearsed_with_all_that_is_required() -> None:
    assert {item["extra_data"]["change"]: item["state"] for item in DATA["controller_schedules"]} == {
        "C001": "present",
        "2": "present",
        "C003": "absent",
    }
    for item in DATA["controller_schedules"]:
        template = TEMPLATES[item["unified_job_template"]]
        assert awx_rules.schedule(item, template, template["survey_spec"]) == ""


def test_the_history_reaches_jobs_by_a_credential_that_hides_it() -> None:
    [kind], [credential] = DATA["controller_credential_types"], DATA["controller_credentials"]
    assert awx_rules.credential_type(kind) == awx_rules.credential(credential, kind) == ""
    assert kind["injectors"] == {"env": {"CHANGEOPS_HISTORY_URL": "{{ url }}"}}
    assert all(field["secret"] for field in kind["inputs"]["fields"])
    assert all(credential["name"] in item["credentials"] for item in TEMPLATES.values())


@pytest.mark.parametrize("kind", ["webhook", "slack", "email"])
def test_awx_takes_the_messages(kind: str) -> None:
    [item] = _data(awx_setup_notification_type=kind)["controller_notifications"]
    assert awx_rules.notification(item) == ""
    bodies = [item["messages"][event]["body"] for event in ("started", "success", "error")]
    assert all(bodies) if kind == "webhook" else not any(bodies)


def test_who_approves_reads_what_the_rehearsal_found() -> None:
    """As AWX puts it together: the workflow's variables as JSON, in the JSON of the notification."""
    found = {
        "rollback_outcome": "succeeded",
        "rollback_summary": "READY.",
        "rollback_loss": ["invoices.total (2000 values)", 'the table "a, b"'],
        "rollback_phase_durations": {"1-backup": 0.5, "2-service_stop": 1.1},
        "rollback_expected": "21 s, down for 7 s.",
    }
    extra = json.dumps({"change": "C001", "notes": "4711", **found})
    metadata = json.dumps({"id": 7, "traceback": "", "extra_vars": extra}, indent=4)
    asking = DATA["controller_notifications"][0]["messages"]["workflow_approval"]["running"]
    said = awx_rules.render(asking["message"], job_metadata=metadata)
    assert said.split("workflow/1010 ") == [
        "Approve Me Answer at https://platformhost/#/jobs/",
        "summary: READY. loss: [invoices.total (2000 values), the table a, b] expected: 21 s, down for 7 s. ",
    ]
    assert json.loads(awx_rules.render(asking["body"], job_metadata=metadata)) == {"text": said}


def test_without_a_place_to_tell_nothing_is_told() -> None:
    data = _data(awx_setup_notification_type="")
    assert data["controller_notifications"] == []
    told = [value for item in data["controller_templates"] for key, value in item.items() if "notification" in key]
    assert told and not any(told)
