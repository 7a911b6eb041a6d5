# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check a plan's file and make a `Plan` of it. Private.

Every fault is collected with its line and the words to type instead; the plan is given only when there is none.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import hashlib
import re
import typing as t
from pathlib import Path

from ._batches import batch_size
from ._plan import COLLECTION, METHODS, ON_FAILURE, PHASES, Phase, Plan, Risk, near
from ._plan_order import clashes
from ._plan_yaml import MAX_BYTES, Node, PlanError, answers_first, read
from ._windows import WEEKLY, Window, window_of

_PLAN_KEYS = (
    *("title", "date", "implemented_by", "hosts", "rollback", "risks", "phases", "on_failure", "schema_compatible"),
    *("timeout", "serial", "maintenance"),
)
_ROLLBACK_KEYS = ("possible", "reason", "method", "accept_loss", "require_rehearsal")
_RISK_KEYS = ("issue", "mitigation")
_PHASE_KEYS = ("role", "hosts", "vars", "estimate", "timeout", "become", "become_user", "environment")

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_DURATION = re.compile(r"(?:(\d{1,3})d)?(?:(\d{1,3})h)?(?:(\d{1,4})m)?(?:(\d{1,6})s)?")
_FQCN = re.compile(r"[a-z_]\w*(\.[a-z_]\w*){2,}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# A name that useradd takes, also of a domain. Ansible puts it into the command line of sudo as it is.
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.@-]{0,63}\$?")
_TABLE = re.compile(r"[^.]+(\.[^.]+){0,2}")  # of PostgreSQL also schema.table.column
# Words in a variable's name that make numbers below it text: 1234567 is a commit there, not a number.
_TEXT_WORDS = frozenset({"commit", "commits", "revision", "revisions", "from", "to"})


def load_plan(path: Path, shown: str = "") -> Plan:
    """Load and check a plan's file; the change's ID is the file's name.

    :arg shown: the path as messages give it.
    :raises PlanError: the file cannot be read, or has faults; then with all of them.
    """
    shown = shown or str(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise PlanError([(0, f"The plan cannot be read: {error.strerror or error}.")], shown) from error
    return check_plan(data, path.stem, str(path), shown)


def check_plan(data: bytes, change: str, path: str, shown: str = "") -> Plan:
    """Check the bytes of a plan's file.

    :raises PlanError: there are faults; with all of them.
    """
    root, faults = read(data)
    check = _Check(faults)
    plan = Plan(change, "", "", path, hashlib.sha256(data).hexdigest())
    if root is not None and root.value is not None:
        plan = check.plan(root, plan)
    elif not faults:
        faults.append((0, "The plan is empty. It begins with title, date, hosts and phases."))
    if faults:
        raise PlanError(answers_first(faults), shown or path)
    return plan


@functools.cache
def role_variables(name: str) -> frozenset[str]:
    """Give the variables of one of this collection's roles, from its argument_specs; empty when that is not at hand."""
    specs = Path(__file__).parents[2] / "roles" / name / "meta" / "argument_specs.yml"
    try:
        return frozenset(re.findall(rf"^\s+({name}_\w+):", specs.read_text(encoding="utf-8"), re.MULTILINE))
    except OSError:
        return frozenset()


def seconds(text: str) -> int | None:
    """Give the seconds of a duration such as 90s, 2m, 1h30m or 7d; None when it is not one, or not more than zero."""
    match = _DURATION.fullmatch(text)
    if not match:
        return None
    days, hours, minutes, rest = (int(group or 0) for group in match.groups())
    return days * 86400 + hours * 3600 + minutes * 60 + rest or None


class _Check:
    """Takes values out of the tree and notes what is wrong with them."""

    def __init__(self, faults: list[tuple[int, str]]) -> None:
        self._faults = faults

    def _fault(self, line: int, text: str) -> None:
        self._faults.append((line, text))

    def plan(self, root: Node, plan: Plan) -> Plan:
        values = self._mapping(root, "A plan", _PLAN_KEYS)
        if not isinstance(root.value, dict):
            return plan
        for key, example in (("title", "Add invoice totals"), ("date", "2026-11-20")):
            if key not in values:
                self._fault(1, f"`{key}` is missing. Add a line such as `{key}: {example}`.")
        plan = dataclasses.replace(
            plan,
            title=self._text(values, "title"),
            date=self._date(values),
            implemented_by=self._text(values, "implemented_by"),
            hosts=self._text(values, "hosts"),
            risks=self._risks(values.get("risks")),
            on_failure=self._choice(values, "on_failure", ON_FAILURE),
            timeout=self._duration(values, "timeout"),
            schema_compatible=bool(self._bool(values, "schema_compatible")),
            serial=self._serial(values.get("serial")),
            maintenance=self._maintenance(values.get("maintenance")),
        )
        plan = self._rollback(values.get("rollback"), plan)
        plan = self._phases(root, values.get("phases"), plan)
        if plan.timeout and (plan.estimate or 0) > plan.timeout:
            self._fault(
                values["timeout"].line,
                f"`timeout` is {values['timeout'].describe()}, and the phases are estimated at {plan.estimate}s "
                "together. Give the run more time, or mend the estimates.",
            )
        database = next((phase for phase in plan.phases if phase.ours == "alembic_downgrade"), None)
        if plan.serial and database is not None and not plan.schema_compatible:
            self._fault(
                values["serial"].line,
                f"With `serial`, phase {database.index} ({database.name}) would change the schema under hosts of later "
                "batches, where the other release still runs. Take `serial` out; or where each release runs on either "
                "schema, say `schema_compatible: true`.",
            )
        return plan

    def _serial(self, node: Node | None) -> tuple[int | str, ...]:
        if node is None:
            return ()
        items = node.value if isinstance(node.value, list) else [node]
        found = [(item, batch_size(item.text)) for item in items]
        for item in [item for item, size in found if size is None] if items else [node]:
            shown = item.describe() if items else "an empty list"
            self._fault(
                item.line,
                f"`serial` is {shown}. Write how many hosts make a batch: `serial: 2`, `serial: 25%`, or with a canary "
                "`serial: [1, 25%, 100%]`.",
            )
        return tuple(size for _item, size in found if size is not None)

    def _maintenance(self, node: Node | None) -> tuple[Window, ...]:
        windows = []
        for item in self._list(node, "`maintenance`", f"- {WEEKLY}"):
            if not isinstance(item.value, dict):
                self._fault(item.line, f"A window is a mapping, but here is {item.describe()}. Write - {WEEKLY}.")
                continue
            values = {key: value.texts() for key, value in item.value.items()}
            window, faults = window_of(values)
            for key, text in faults:
                self._fault(item.value[key].line if key in item.value else item.line, text)
            windows += [window] if window else []
        return tuple(windows)

    def _rollback(self, node: Node | None, plan: Plan) -> Plan:
        if node is None or node.value is None:
            return plan
        values = self._mapping(node, "`rollback`", _ROLLBACK_KEYS)
        plan = dataclasses.replace(
            plan,
            possible=self._bool(values, "possible") is not False,
            reason=self._text(values, "reason"),
            method=self._choice(values, "method", METHODS),
            accept_loss=self._accept_loss(values.get("accept_loss")),
            require_rehearsal=self._duration(values, "require_rehearsal"),
        )
        if not plan.possible and "reason" not in values:
            self._fault(
                values["possible"].line,
                "`possible: false` needs a reason. Add `reason: <why this change cannot be rolled back>` below it.",
            )
        return plan

    def _accept_loss(self, node: Node | None) -> tuple[str, ...]:
        names = []
        for item in self._list(node, "`accept_loss`", "[invoices.total]"):
            if _TABLE.fullmatch(item.text):
                names.append(item.text)
            else:
                self._fault(item.line, f"{item.describe()} in `accept_loss` is neither a table nor a table.column.")
        return tuple(names)

    def _risks(self, node: Node | None) -> tuple[Risk, ...]:
        risks = []
        example = "{issue: <what may go wrong>, mitigation: <what is done about it>}"
        for item in self._list(node, "`risks`", f"- {example}"):
            values = self._mapping(item, "A risk", _RISK_KEYS, f"Write `- {example}`.")
            if isinstance(item.value, dict) and "issue" not in values:
                self._fault(item.line, f"The risk has no `issue`. Write `- {example}`.")
            risks.append(Risk(self._text(values, "issue"), self._text(values, "mitigation")))
        return tuple(risks)

    def _phases(self, root: Node, node: Node | None, plan: Plan) -> Plan:
        items = self._list(node, "`phases`", "- {role: backup}")
        if plan.possible and plan.method == "automated" and (node is None or node.value in (None, [])):
            line = node.line if node else root.line
            self._fault(
                line, "The plan has no phases. Add `phases:` and below it `- {role: backup}` and so on, in order."
            )
        if items and not plan.hosts and "hosts" not in t.cast("dict[str, Node]", root.value):
            self._fault(
                root.line, "`hosts` is missing. Add the inventory pattern of the app's hosts, such as `hosts: shop`."
            )
        phases = [self._phase(index, item, plan.hosts) for index, item in enumerate(items, 1)]
        whole = [phase for phase in phases if phase is not None]
        self._faults.extend(clashes(whole))
        return dataclasses.replace(plan, phases=tuple(whole))

    def _phase(self, index: int, node: Node, plan_hosts: str) -> Phase | None:
        word = node.text if _NAME.fullmatch(node.text) else "backup"
        values = self._mapping(node, f"Phase {index}", _PHASE_KEYS, f"Write `- role: {word}`.")
        if not isinstance(node.value, dict):
            return None
        role = self._role(index, node, values)
        become, become_user = self._bool(values, "become"), self._text(values, "become_user")
        if become_user and not _USER.fullmatch(become_user):
            shown = values["become_user"]
            self._fault(shown.line, f"`become_user` is {shown.describe()}, which is not the name of a user.")
        phase = Phase(
            index=index,
            role=role,
            hosts=self._text(values, "hosts") or plan_hosts,
            estimate=self._duration(values, "estimate"),
            timeout=self._duration(values, "timeout"),
            become=True if become is None and become_user else become,
            become_user=become_user or None,
            environment=self._environment(values.get("environment")),
            line=node.line,
        )
        return dataclasses.replace(phase, vars=self._vars(phase, values.get("vars"))) if role else None

    def _role(self, index: int, node: Node, values: dict[str, Node]) -> str:
        if "role" not in values:
            self._fault(node.line, f"Phase {index} has no `role`. Write `role:` and one of {', '.join(PHASES)}.")
            return ""
        role = self._text(values, "role")
        if role in PHASES:
            return f"{COLLECTION}.{role}"
        own, _dot, name = role.rpartition(".")
        if role and own in ("", COLLECTION):
            if name in PHASES:
                return role
            known = f"Phases are {', '.join(PHASES)}; a role of your own goes in as namespace.collection.role."
            self._fault(values["role"].line, f"'{role}' is not a phase.{near(name, PHASES)} {known}")
        elif role and not _FQCN.fullmatch(role):
            self._fault(
                values["role"].line, f"'{role}' is not the full name of a role. Write namespace.collection.role."
            )
        else:
            return role
        return ""

    def _vars(self, phase: Phase, node: Node | None) -> dict[str, t.Any]:
        if node is None or node.value is None:
            return {}
        values = self._mapping(node, "`vars`")
        known = role_variables(phase.ours) if phase.ours else frozenset()
        for key, value in values.items():
            if not _NAME.fullmatch(key):
                self._fault(value.line, f"'{key}' is not a variable's name: letters, digits and '_' only.")
            elif key.startswith("ansible_"):
                self._fault(value.line, f"`{key}` says how Ansible reaches a host. Set it in the inventory.")
            elif phase.ours and not key.startswith((f"{phase.ours}_", "rollback_")):
                prefixed = f"{phase.ours}_{key}"
                hint = near(prefixed, known) or f" Write `{prefixed}`."
                self._fault(
                    value.line, f"`{key}` is not a variable of {phase.ours}: those begin with `{phase.ours}_`.{hint}"
                )
            elif known and key.startswith(f"{phase.ours}_") and key not in known:
                hint = near(key, known) or f" See ansible-doc -t role {phase.role}."
                self._fault(value.line, f"`{key}` is not a variable of {phase.ours}.{hint}")
        commits = values.get("git_revert_commits") if phase.ours == "git_revert" else None
        for item in self._list(commits, "`git_revert_commits`", "[4f1c2e9]"):
            if item.value is None or isinstance(item.value, (bool, dict, list)):
                self._fault(item.line, "A commit of `git_revert_commits` is its hash, such as 4f1c2e9.")
        return t.cast("dict[str, t.Any]", node.plain(_as_text)) if isinstance(node.value, dict) else {}

    def _environment(self, node: Node | None) -> dict[str, str]:
        if node is None or node.value is None:
            return {}
        values = self._mapping(node, "`environment`")
        for key, value in values.items():
            if not _NAME.fullmatch(key):
                self._fault(value.line, f"'{key}' is not the name of an environment variable.")
            elif isinstance(value.value, (dict, list)):
                self._fault(value.line, f"`{key}` in `environment` is {value.describe()}. Write one text.")
        return {key: value.text for key, value in values.items()}

    def _mapping(self, node: Node, what: str, keys: tuple[str, ...] = (), instead: str = "") -> dict[str, Node]:
        """Give a mapping's values; without ``keys`` any key may stand in it."""
        if not isinstance(node.value, dict):
            instead = instead or "Write `key: value` in each line."
            self._fault(node.line, f"{what} is a mapping, but here is {node.describe()}. {instead}")
            return {}
        for key, value in node.value.items():
            if keys and key not in keys:
                hint = near(key, keys) or f" The keys are {', '.join(keys)}."
                self._fault(value.line, f"`{key}` is not known here.{hint}")
        return node.value

    def _list(self, node: Node | None, what: str, example: str) -> list[Node]:
        if node is None or node.value is None:
            return []
        if isinstance(node.value, list):
            return node.value
        self._fault(node.line, f"{what} is a list, but here is {node.describe()}. Write {what}: with `{example}`.")
        return []

    def _text(self, values: dict[str, Node], key: str) -> str:
        node = values.get(key)
        if node is None:
            return ""
        if isinstance(node.value, (dict, list)) or not node.text.strip() or node.value is None:
            self._fault(node.line, f"`{key}` is {node.describe()}, and must be text. Write it as `{key}: <text>`.")
            return ""
        return node.text

    def _bool(self, values: dict[str, Node], key: str) -> bool | None:
        node = values.get(key)
        if node is None or isinstance(node.value, bool):
            return None if node is None else t.cast("bool", node.value)
        self._fault(node.line, f"`{key}` is {node.describe()}. Write `{key}: true` or `{key}: false`.")
        return None

    def _choice(self, values: dict[str, Node], key: str, choices: tuple[str, ...]) -> str:
        """Give one of the choices; the first is the default."""
        node = values.get(key)
        if node is None or node.text in choices:
            return choices[0] if node is None else node.text
        hint = near(node.text, choices)
        self._fault(node.line, f"`{key}` is {node.describe()}. Write one of {', '.join(choices)}.{hint}")
        return choices[0]

    def _date(self, values: dict[str, Node]) -> str:
        node = values.get("date")
        if node is None:
            return ""
        try:
            if not _DATE.fullmatch(node.text):
                raise ValueError
            return datetime.date.fromisoformat(node.text).isoformat()
        except ValueError:
            self._fault(node.line, f"`date` is {node.describe()}. Write it as year-month-day: `date: 2026-11-20`.")
            return ""

    def _duration(self, values: dict[str, Node], key: str) -> int | None:
        node = values.get(key)
        if node is None:
            return None
        duration = seconds(node.text)
        if duration is None:
            self._fault(node.line, f"`{key}` is {node.describe()}, which is not a duration. Say 90s, 2m, 1h30m or 7d.")
        return duration


def _as_text(key: str) -> bool:
    return not _TEXT_WORDS.isdisjoint(key.split("_"))
