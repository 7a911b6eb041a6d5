# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What AWX 24.6.1 refuses of the data that it is given: a sentence, or nothing.

From its source: ``JobTemplateSurveySpec`` in ``api/views``, the serializers in ``api/serializers.py``,
``main/fields.py`` and ``main/models/mixins.py``.
"""

from __future__ import annotations

import re
import typing as t

from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

Item = t.Mapping[str, t.Any]
TYPES: dict[str, type] = {
    **dict.fromkeys(["text", "textarea", "password", "multiplechoice", "multiselect"], str),
    **{"integer": int, "float": float},
}
EVENTS = {"started", "success", "error"}
APPROVAL_EVENTS = {"running", "approved", "timed_out", "denied"}
# The variables of a message, as AWX tries it with (JobNotificationMixin.context_stub).
STUB: dict[str, t.Any] = {
    "job": {
        "artifacts": {},
        "id": 42,
        "name": "Stub JobTemplate",
        "status": "running",
        "job_explanation": "Sample job explanation",
    },
    "url": "https://platformhost/#/jobs/playbook/1010",
    "approval_status": "approved",
    "approval_node_name": "Approve Me",
    "workflow_url": "https://platformhost/#/jobs/workflow/1010",
    "job_metadata": "{'extra_vars': {}}",
}


def render(message: str, **values: t.Any) -> str:
    return ImmutableSandboxedEnvironment(undefined=StrictUndefined).from_string(message).render({**STUB, **values})


def survey(spec: Item) -> str:
    if any(not isinstance(spec.get(key), kind) for key, kind in (("name", str), ("description", str), ("spec", list))):
        return "A survey has name, description and spec."
    if not spec["spec"]:
        return "'spec' doesn't contain any items."
    variables = [question.get("variable") for question in spec["spec"]]
    if len(variables) != len({*variables}):
        return f"A variable is asked for twice: {variables}"
    return next(filter(None, map(_question, spec["spec"])), "")


def _question(question: Item) -> str:
    said = f"question {question.get('question_name')}"
    for key, kind in (("type", str), ("question_name", str), ("variable", str), ("required", bool)):
        if not isinstance(question.get(key), kind):
            return f"'{key}' of {said} is no {kind.__name__}."
    if question["type"] not in TYPES or re.search(r"\s", question["variable"]):
        return f"Type {question['type']} or variable '{question['variable']}' of {said} will not do."
    if any(not isinstance(question.get(key, 0), int) for key in ("min", "max")):
        return f"A limit of {said} is no integer."
    default = question.get("default", "")
    if default != "" and not isinstance(default, TYPES[question["type"]]):
        return f"The default of {said} has the wrong type."
    if not question["type"].startswith("multi"):
        return ""
    if not question.get("choices"):
        return f"{said} has no choices."
    if "default" in question and [one for one in default.splitlines() if one not in question["choices"]]:
        return f"The default of {said} is none of its choices."
    return ""


def answers(given: Item, spec: Item, asks_all: bool) -> str:
    """What is wrong with the extra variables of a launch that nobody is asked at."""
    questions = {question["variable"]: question for question in spec.get("spec", [])}
    for name, question in questions.items():
        if name not in given:
            if question["required"]:
                return f"'{name}' value missing"
        elif question["type"] == "multiplechoice" and given[name] not in question["choices"]:
            return f"Value {given[name]} for '{name}' expected to be one of {question['choices']}."
        elif question["type"] == "text" and not isinstance(given[name], str):
            return f"Value {given[name]} for '{name}' expected to be a string."
    unasked = {*given} - {*questions}
    return f"Variables {unasked} are not allowed on launch." if unasked and not asks_all else ""


def schedule(item: Item, template: Item, spec: Item) -> str:
    rule = item.get("rrule") or ""
    if len(re.findall(r"DTSTART(?:;[^:]+)?:\d{8}T\d{6}Z?", rule)) != 1 or re.search(r"DTSTART:\d+T\d+ ", rule):
        return "Valid DTSTART required in rrule. Value should start with: DTSTART:YYYYMMDDTHHMMSSZ"
    rules = re.findall(r"RRULE:\S*", rule)
    if not rules or re.search("EXDATE:|RDATE:", rule):
        return "One or more rule required in rrule, and no dates."
    if any("INTERVAL" not in one or "SECONDLY" in one or re.search(r"BYDAY=\d", one) for one in rules):
        return f"INTERVAL required in rrule, no SECONDLY, and no BYDAY with a number: {rule}"
    return answers(item.get("extra_data") or {}, spec, bool(template.get("ask_variables_on_launch")))


def node(item: Item, template: Item, spec: Item) -> str:
    """What is wrong with the variables of a node; what is required may still come from its workflow."""
    optional = [{**question, "required": False} for question in spec.get("spec", [])]
    return answers(item.get("extra_data") or {}, {"spec": optional}, bool(template.get("ask_variables_on_launch")))


def credential_type(item: Item) -> str:
    if item["kind"] not in ("cloud", "net"):
        return f"Must be 'cloud' or 'net', not {item['kind']}"
    fields = [field["id"] for field in item["inputs"]["fields"]]
    for field in item["inputs"]["fields"]:
        if {*field} - {"id", "label", "type", "secret", "help_text"} or field["id"] in ("tower", "awx"):
            return f"{field} is no field of a credential type."
    if not {*item["inputs"].get("required", [])} <= {*fields}:
        return "A field is required that is not there."
    for name, value in item["injectors"].get("env", {}).items():
        if name.startswith("ANSIBLE_") or not re.fullmatch(r"[a-zA-Z_]\w*", name):
            return f"Environment variable {name} may affect Ansible configuration so its use is not allowed."
        try:
            render(value, **dict.fromkeys(fields, "x"))
        except TemplateError as error:
            return f"{name} uses an undefined field: {error}"
    return ""


def credential(item: Item, kind: Item) -> str:
    fields = {field["id"] for field in (kind.get("inputs") or {}).get("fields", [])}
    unknown = {*item.get("inputs", {})} - fields
    return f"{unknown} is no field of {kind['name']}" if unknown else ""


def job_template(item: Item, project: Item) -> str:
    if not item.get("playbook") or item.get("inventory") is None:
        return "A job template needs a playbook and an inventory."
    in_project = re.fullmatch(r"[\w/-]+\.ya?ml", item["playbook"])
    return "" if in_project or project.get("allow_override") else "Playbook not found for project."


def notification(item: Item) -> str:
    messages = item.get("messages") or {}
    if not isinstance(item.get("notification_configuration"), dict):
        return "Missing required fields for Notification Configuration"
    if unknown := {*messages} - {*EVENTS, "workflow_approval"}:
        return f"Event {unknown} invalid"
    approval = messages.get("workflow_approval") or {}
    if unknown := {*approval} - APPROVAL_EVENTS:
        return f"Workflow Approval event {unknown} invalid"
    for event, said in [*((key, messages[key]) for key in EVENTS & {*messages}), *approval.items()]:
        if {*said} - {"message", "body"}:
            return f"Message type of {event} invalid, must be either 'message' or 'body'"
        if "\n" in (said.get("message") or ""):
            return f"Messages cannot contain newlines (found newline in {event} event)"
        try:
            for text in said.values():
                render(text or "")
        except TemplateError as error:
            return f"Unable to render message of {event}: {error}"
    return ""
