# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""As much of AWX's REST API as ``awx_setup`` uses, in memory. It knows no other endpoint and no other field.

What AWX 24.6.1 refuses of the data itself, such as a survey without choices, is in ``awx_rules``.
"""

from __future__ import annotations

import contextlib
import http.server
import itertools
import json
import threading
import typing as t
import urllib.parse
from http import HTTPStatus

import awx_rules

TOKEN = "a-token-of-lee"
Item = dict[str, t.Any]

ASK = ["ask_limit_on_launch", "ask_job_type_on_launch", "ask_variables_on_launch"]
TOLD = ["notification_templates_started", "notification_templates_success", "notification_templates_error"]
# What may be written of each kind. A value that names a kind is the ID of one.
FIELDS: dict[str, dict[str, str]] = {
    "organizations": {},
    "credential_types": dict.fromkeys(["kind", "inputs", "injectors", "managed"], ""),
    "credentials": {"organization": "organizations", "credential_type": "credential_types", "inputs": ""},
    "execution_environments": {"organization": "organizations", "image": "", "pull": ""},
    "notification_templates": {"organization": "organizations"}
    | dict.fromkeys(["notification_type", "notification_configuration", "messages"], ""),
    "projects": {"organization": "organizations", "credential": "credentials"}
    | {"default_environment": "execution_environments"}
    | dict.fromkeys(["scm_type", "scm_url", "scm_branch", "scm_update_on_launch", "allow_override"], ""),
    "inventories": {"organization": "organizations", "kind": "", "host_filter": ""},
    "inventory_sources": {"inventory": "inventories", "source_project": "projects"}
    | {"execution_environment": "execution_environments"}
    | dict.fromkeys(["source", "source_path", "overwrite", "overwrite_vars", "update_on_launch"], ""),
    "job_templates": {"organization": "organizations", "project": "projects", "inventory": "inventories"}
    | {"execution_environment": "execution_environments"}
    | dict.fromkeys([*ASK, "playbook", "job_type", "job_slice_count", "allow_simultaneous", "diff_mode"], "")
    | {"survey_enabled": ""},
    "workflow_job_templates": {"organization": "organizations", "survey_enabled": "", "allow_simultaneous": ""}
    | dict.fromkeys(ASK, ""),
    "workflow_job_template_nodes": {"workflow_job_template": "workflow_job_templates"}
    | {"unified_job_template": "unified_job_templates"}
    | dict.fromkeys(["identifier", "extra_data", "all_parents_must_converge"], ""),
    "workflow_approval_templates": {"timeout": ""},
    "schedules": {"unified_job_template": "unified_job_templates", "rrule": "", "extra_data": ""},
}
# What is attached to one of a kind, and of which kind that is.
ATTACHED: dict[str, dict[str, str]] = {
    "organizations": {"galaxy_credentials": "credentials"},
    "job_templates": {"credentials": "credentials"} | dict.fromkeys(TOLD, "notification_templates"),
    "workflow_job_templates": dict.fromkeys([*TOLD, "notification_templates_approvals"], "notification_templates"),
    "workflow_job_template_nodes": dict.fromkeys(
        ["success_nodes", "failure_nodes", "always_nodes"], "workflow_job_template_nodes"
    ),
}
UNIFIED = ["projects", "inventory_sources", "job_templates", "workflow_job_templates", "workflow_approval_templates"]
# What AWX sets, where it is not said.
DEFAULTS: dict[str, Item] = {"inventories": {"host_filter": None}}


class Refused(Exception):
    """The answer is an HTTP error."""

    def __init__(self, status: HTTPStatus, said: t.Any) -> None:
        super().__init__(said)
        self.status = status
        self.said = said


def _bad(said: t.Any) -> Refused:
    return Refused(HTTPStatus.BAD_REQUEST, {"__all__": [str(said)]})


class AWX:
    """What is in it, by kind and ID, and what was written to it: ``writes`` has method and path."""

    def __init__(self) -> None:
        self.items: dict[str, dict[int, Item]] = {kind: {} for kind in FIELDS}
        self.attached: dict[tuple[str, int, str], list[int]] = {}
        self.surveys: dict[tuple[str, int], Item] = {}
        self.writes: list[tuple[str, str]] = []
        self._ids = itertools.count(1)
        # What an empty AWX has, and what its admin has made by hand.
        galaxy = self.add("credential_types", {"name": "Ansible Galaxy/Automation Hub API Token", "kind": "galaxy"})
        self.add("credentials", {"name": "Ansible Galaxy", "credential_type": galaxy["id"], "inputs": {}})
        machine = self.add("credential_types", {"name": "Machine", "kind": "ssh"})
        self.add("credentials", {"name": "Key of the hosts", "credential_type": machine["id"], "inputs": {}})

    def named(self, kind: str, name: str) -> Item:
        [found] = [item for item in self.items[kind].values() if name in (item.get("name"), item.get("identifier"))]
        return found

    def names(self, kind: str) -> list[str]:
        return sorted(item.get("name") or item["identifier"] for item in self.items[kind].values())

    def attached_names(self, kind: str, item: Item, what: str) -> list[str]:
        other = self.items[ATTACHED[kind][what]]
        found = [other[number] for number in self.attached.get((kind, item["id"], what), [])]
        return [one.get("name") or one["identifier"] for one in found]

    def answer(self, method: str, path: str, query: dict[str, str], data: Item) -> tuple[HTTPStatus, t.Any]:
        if method != "GET":
            self.writes.append((method, path))
        match method, *path.removeprefix("/api/v2/").strip("/").split("/"):
            case "GET", ("unified_job_templates" | "project_updates") as kind, *rest:
                return self._read_only(kind, query, rest)
            case "GET", kind if kind in FIELDS and kind != "workflow_approval_templates":
                return HTTPStatus.OK, self._page([*self.items[kind].values()], kind, query)
            case "POST", kind if kind in FIELDS and kind != "workflow_approval_templates":
                return HTTPStatus.CREATED, self._shown(kind, self.add(kind, self._checked(kind, data, {})))
            case "GET", kind, number if kind in FIELDS:
                return HTTPStatus.OK, self._shown(kind, self._one(kind, number))
            case "PATCH", kind, number if kind in FIELDS:
                item = self._one(kind, number)
                item |= self._checked(kind, data, item)
                return HTTPStatus.OK, self._shown(kind, item)
            case "DELETE", kind, number if kind in FIELDS:
                del self.items[kind][self._one(kind, number)["id"]]
                return HTTPStatus.NO_CONTENT, None
            case "GET", kind, number, "survey_spec" if kind in ("job_templates", "workflow_job_templates"):
                return HTTPStatus.OK, self.surveys.get((kind, self._one(kind, number)["id"]), {})
            case "POST", kind, number, "survey_spec" if kind in ("job_templates", "workflow_job_templates"):
                if said := awx_rules.survey(data):
                    raise Refused(HTTPStatus.BAD_REQUEST, {"error": said})
                self.surveys[kind, self._one(kind, number)["id"]] = data
                return HTTPStatus.OK, None
            case "POST", "workflow_job_template_nodes", number, "create_approval_template":
                node = self._one("workflow_job_template_nodes", number)
                approval = self.add(
                    "workflow_approval_templates", self._checked("workflow_approval_templates", data, {})
                )
                node["unified_job_template"] = approval["id"]
                return HTTPStatus.CREATED, self._shown("workflow_approval_templates", approval)
            case _, kind, number, what if what in ATTACHED.get(kind, {}):
                return self._attach(method, kind, self._one(kind, number), what, query, data)
        raise Refused(HTTPStatus.NOT_FOUND, {"detail": f"There is no {method} {path} here."})

    def _read_only(self, kind: str, query: dict[str, str], rest: list[str]) -> tuple[HTTPStatus, t.Any]:
        if kind == "project_updates":
            return HTTPStatus.OK, {"id": int(rest[0]), "status": "successful", "failed": False, "finished": "now"}
        everything = [item for one in UNIFIED for item in self.items[one].values()]
        return HTTPStatus.OK, self._page(everything, kind, query)

    def _one(self, kind: str, number: str) -> Item:
        try:
            return self.items[kind][int(number)]
        except (KeyError, ValueError):
            raise Refused(HTTPStatus.NOT_FOUND, {"detail": f"There is no {kind} {number}."}) from None

    def _page(self, items: list[Item], kind: str, query: dict[str, str]) -> Item:
        known = {"id", "name", "organization", *FIELDS.get(kind, {})}
        if unknown := {*query} - known:
            raise _bad(f"{kind} cannot be asked for {unknown}")
        found = [item for item in items if all(str(item.get(key)) == value for key, value in query.items())]
        return {"count": len(found), "next": None, "results": [self._shown(kind, item) for item in found]}

    def add(self, kind: str, data: Item) -> Item:
        item = {**DEFAULTS.get(kind, {}), **data, "id": next(self._ids)}
        self.items[kind][item["id"]] = item
        return item

    def _checked(self, kind: str, data: Item, before: Item) -> Item:
        """Return what is written, as AWX would keep it."""
        data = {key: value for key, value in data.items() if key != "type"}
        name = "identifier" if kind == "workflow_job_template_nodes" else "name"
        if unknown := {*data} - {name, "description", *FIELDS[kind]}:
            raise _bad(f"{kind} have no {unknown}")
        whole = {**before, **data}
        if not whole.get(name):
            raise _bad(f"{kind} need a {name}")
        for key, other in FIELDS[kind].items():
            if other and whole.get(key) is not None:
                self._refer(key, other, whole[key])
        if kind == "job_templates":  # it is in its project's organization, whatever is said
            data["organization"] = self.items["projects"][whole["project"]]["organization"]
        twins = [one for one in self.items[kind].values() if one is not before and one.get(name) == whole[name]]
        place = {"workflow_job_template_nodes": "workflow_job_template", "schedules": "unified_job_template"}
        same = place.get(kind, "organization")
        if kind != "workflow_approval_templates" and any(one.get(same) == whole.get(same) for one in twins):
            raise _bad(f"{kind} have a {whole[name]} already")
        if said := self._rule(kind, whole):
            raise _bad(said)
        return data

    def _refer(self, key: str, other: str, number: t.Any) -> None:
        kinds = UNIFIED if other == "unified_job_templates" else [other]
        if not isinstance(number, int) or not any(number in self.items[kind] for kind in kinds):
            raise _bad(f"{key} {number} is none of {other}")

    def _rule(self, kind: str, whole: Item) -> str:
        match kind:
            case "credential_types":
                return awx_rules.credential_type(whole)
            case "credentials":
                return awx_rules.credential(whole, self.items["credential_types"][whole["credential_type"]])
            case "notification_templates":
                return awx_rules.notification(whole)
            case "job_templates":
                return awx_rules.job_template(whole, self.items["projects"][whole["project"]])
            case "schedules":
                template = self.items["job_templates"][whole["unified_job_template"]]
                return awx_rules.schedule(whole, template, self.surveys.get(("job_templates", template["id"]), {}))
            case "workflow_job_template_nodes" if whole.get("extra_data"):
                template = self.items["job_templates"][whole["unified_job_template"]]
                return awx_rules.node(whole, template, self.surveys.get(("job_templates", template["id"]), {}))
        return ""

    def _attach(
        self, method: str, kind: str, item: Item, what: str, query: dict[str, str], data: Item
    ) -> tuple[HTTPStatus, t.Any]:
        other = ATTACHED[kind][what]
        there = self.attached.setdefault((kind, item["id"], what), [])
        if method == "GET":
            return HTTPStatus.OK, self._page([self.items[other][number] for number in there], other, query)
        number = self._one(other, str(data["id"]))["id"]
        if data.get("disassociate"):
            there.remove(number)
        else:
            there.append(number)
        return HTTPStatus.NO_CONTENT, None

    def _shown(self, kind: str, item: Item) -> Item:
        """As AWX shows it: with where it is, with its defaults, and without its secrets."""
        kind = next(kind for kind in FIELDS if self.items[kind].get(item["id"]) is item)
        here = f"/api/v2/{kind}/{item['id']}/"
        shown = {"description": "", **dict.fromkeys(FIELDS[kind]), **item, "url": here, "type": kind.removesuffix("s")}
        shown |= {"related": {"survey_spec": f"{here}survey_spec/"}, "summary_fields": {}}
        if kind == "projects":
            shown |= {"scm_revision": "", "summary_fields": {"current_update": {"id": 1}}}
        if kind == "credentials":
            secret = {one["id"] for one in self._fields_of(item) if one.get("secret")}
            shown["inputs"] = {key: "$encrypted$" if key in secret else value for key, value in item["inputs"].items()}
        if kind == "workflow_job_template_nodes":
            number = item.get("unified_job_template")
            where = next((one for one in UNIFIED if number in self.items[one]), "")
            shown["related"] = {"unified_job_template": f"/api/v2/{where}/{number}/"} if where else {}
        return shown

    def _fields_of(self, credential: Item) -> list[Item]:
        kind = self.items["credential_types"][credential["credential_type"]]
        return (kind.get("inputs") or {}).get("fields", [])


@contextlib.contextmanager
def serving(awx: AWX) -> t.Iterator[str]:
    """Serve it on loopback, and give its URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def _do(self) -> None:
            url = urllib.parse.urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            try:
                if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                    raise Refused(HTTPStatus.UNAUTHORIZED, {"detail": "Authentication credentials were not provided."})
                query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
                status, answer = awx.answer(self.command, url.path, query, json.loads(body or b"{}"))
            except Refused as refused:
                status, answer = refused.status, refused.said
            text = b"" if answer is None else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.send_header("X-API-Product-Name", "AWX")
            self.send_header("X-API-Product-Version", "24.6.1")
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PATCH = do_DELETE = _do

        def log_message(self, *_args: t.Any) -> None:
            """Nothing of it is of interest in the tests' output."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
