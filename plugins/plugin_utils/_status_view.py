# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plans and how each stands, and the fleet's truth table, as text. Pure functions. Private to this collection."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import textwrap
import typing as t
from pathlib import Path

from ..module_utils._redact import redact
from ..module_utils._words import age, listed
from ._history_schema import UNDO
from ._stack import Stack
from ._stack_view import orders, under
from ._table import columns

Values = t.Mapping[str, t.Any]

NO_PLANS = "There is no plan yet. The plan of change C001 is changes/C001.yml."
NO_HOSTS = "No plan names a host of this inventory."
NEVER = "never run"
MARK = " !"  # behind what differs; it needs no colour
UNREAD = {"code": "code", "revisions": "revision", "files": "config", "services": "services"}
KEPT = ("repo", "code", "revisions", "digest", "files", "services", "unread")
_SHORT = 10  # letters of a hash


@dataclasses.dataclass(frozen=True)
class Row:
    """A host. ``found``: what the module ``status`` returned; ``said``: why there is nothing of that, if so.

    ``app``: hosts with the same one are compared.
    """

    host: str
    found: Values = dataclasses.field(default_factory=dict)
    said: str = ""
    app: str = ""


@dataclasses.dataclass(frozen=True)
class Fact:
    """Something that a host has: compared by ``value``, shown as ``text``. ``name``: what hosts have in common."""

    name: str
    value: t.Any
    text: str


def row(host: str, result: Values) -> Row:
    """A host by the result of its task, which may have failed."""
    if result.get("unreachable"):
        return Row(host, said=f"unreachable: {_sentence(result)}")
    if result.get("failed") or "unread" not in result:
        return Row(host, said=f"cannot be read: {_sentence(result)}")
    place = Path(result["repo"])
    release = (result["code"] or {}).get("release")
    return Row(host, {name: result[name] for name in KEPT}, app=place.parent.name if release else place.name)


def _sentence(result: Values) -> str:
    words = result.get("module_stderr") or result.get("msg") or "see above"
    return redact(str(words).strip().splitlines()[0].removeprefix("Task failed: "))


def plans_table(
    plans: t.Sequence[Values],
    runs: t.Mapping[str, Values] | None,
    rehearsed: t.Mapping[str, str],
    now: datetime.datetime,
    width: int,
    stack: Stack,
) -> str:
    """The plans, each with its last run and its last rehearsal and, where some lie under others, with those.

    :arg plans: each with ``change``, ``title`` and ``fault``, why it cannot be run, if so.
    :arg runs: the last run by change, as ``Store.runs`` gives it, with ``attempt``: a later one that touched nothing,
        or None. None where they cannot be read.
    :arg rehearsed: when and with what result, by change.
    """
    if not plans:
        return NO_PLANS
    lies = {plan["change"]: under(stack, plan["change"]) for plan in plans}
    cells = []
    for plan in plans:
        run = (runs or {}).get(plan["change"])
        last = [NEVER if runs is not None else "?", "", ""]
        if run is not None:
            started = datetime.datetime.fromisoformat(run["started"])
            when = run["started"][:16].replace("T", " ")
            outcome = run["outcome"] or "running"
            last = [when, age((now - started).total_seconds()), f"undo {outcome}" if run["kind"] == UNDO else outcome]
        last.append(rehearsed.get(plan["change"], "?"))
        cells.append([plan["change"], *last, *([lies[plan["change"]]] if any(lies.values()) else []), plan["title"]])
    stacked = ["stack"] if any(lies.values()) else []
    lines = columns(["change", "last run (UTC)", "age", "outcome", "rehearsed", *stacked, "title"], cells, width)
    notes = [f"{plan['change']}: {plan['fault']}" for plan in plans if plan["fault"]]
    notes += [_attempt(run["attempt"], now) for run in map((runs or {}).get, lies) if run and run["attempt"]]
    notes += orders(stack, lies)
    return "\n".join([*lines, *_notes(notes, width)])


def _attempt(run: Values, now: datetime.datetime) -> str:
    since = age((now - datetime.datetime.fromisoformat(run["started"])).total_seconds())
    what = f"the undo of {run['change']}" if run["kind"] == UNDO else run["change"]
    return f"Since then {what} was {run['outcome']}, {since} ago: {run['summary']}"


def truth_table(rows: t.Sequence[Row], width: int) -> str:
    """A line for each host. Behind what differs from most hosts stands a ``!``, and below the table what that is."""
    if not rows:
        return NO_HOSTS
    odd = odd_ones(rows)
    footnotes: list[str] = []

    def cell(row: Row, kind: str, column: str) -> str:
        if kind in row.found["unread"]:
            footnotes.append(f"{row.host}, {UNREAD[kind]}: {row.found['unread'][kind]}")
            return f"? ({len(footnotes)})"
        facts = facts_of(row)[column]
        return ", ".join(fact.text + (MARK if (row.host, column, fact.name) in odd else "") for fact in facts) or "-"

    kinds = [("code", "commit"), ("code", "branch"), ("code", "dirty"), ("revisions", "revision"), ("files", "config")]
    cells = []
    for row in rows:
        if row.said:
            cells.append([row.host, row.said])
            continue
        if "code" in row.found["unread"]:  # one sentence for three columns
            whole = [cell(row, "code", "commit"), "", ""]
            whole += [cell(row, kind, column) for kind, column in kinds[3:]]
        else:
            whole = [cell(row, kind, column) for kind, column in kinds]
        cells.append([row.host, *whole, cell(row, "services", "services")])
        if "environment" in row.found["unread"]:
            footnotes.append(f"{row.host}, environment: {row.found['unread']['environment']}")
    lines = columns(["host", *(column for _kind, column in kinds), "services"], cells, width)
    numbered = [f"({number}) {text}" for number, text in enumerate(footnotes, 1)]
    return "\n".join([*lines, *_notes(numbered, width), *_notes(list(_differences(rows, odd)), width)])


def odd_ones(rows: t.Sequence[Row]) -> dict[tuple[str, str, str], str]:
    """What is odd, by host, column and name, and in words how it is on most hosts; empty where hosts are at odds.

    Hosts of one app are compared. Where no value is on more than half of them, all are odd.
    """
    odd: dict[tuple[str, str, str], str] = {}
    alike: dict[tuple[str, str, str], list[tuple[str, Fact]]] = {}
    for row in rows:
        if not row.said:
            for column, facts in facts_of(row).items():
                for fact in facts:
                    alike.setdefault((row.app, column, fact.name), []).append((row.host, fact))
    for (_app, column, name), having in alike.items():
        counts = collections.Counter(fact.value for _host, fact in having)
        most = max((fact for _host, fact in having), key=lambda fact: counts[fact.value])
        clear = counts[most.value] * 2 > len(having)
        for host, fact in having:
            if fact.value != most.value or not clear:
                odd[host, column, name] = most.text if clear else ""
    return odd


def facts_of(row: Row) -> dict[str, list[Fact]]:
    """What is compared of a host that was read, by column of the table."""
    found, unread = row.found, row.found["unread"]
    code = None if "code" in unread else found["code"]
    facts: dict[str, list[Fact]] = {column: [] for column in ("commit", "branch", "dirty", "revision", "config")}
    if code:
        commit = code["commit"] or code["release"]
        facts["commit"] = [Fact("", commit, code["commit"][:_SHORT] or code["release"])]
        if code["commit"]:
            facts["branch"] = [Fact("", code["branch"], code["branch"] or "(none)")]
            changed = len(code["changed"])
            text = "no" if not changed else "1 file" if changed == 1 else f"{changed} files"
            facts["dirty"] = [Fact("", tuple(code["changed"]), text)]
    for number, revisions in enumerate(found["revisions"].values()):
        facts["revision"].append(Fact(str(number), tuple(revisions), "+".join(one[:12] for one in revisions)))
    if found["digest"]:
        facts["config"] = [Fact("", found["digest"], found["digest"][:_SHORT])]
    facts["services"] = [Fact(name, word, f"{name} {word}") for name, word in found["services"].items()]
    return facts


def _differences(rows: t.Sequence[Row], odd: t.Mapping[tuple[str, str, str], str]) -> t.Iterator[str]:
    """A sentence for each host that is odd, and one for what hosts without a majority differ in."""
    at_odds: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        said = []
        for (host, column, name), most in odd.items():
            if host != row.host:
                continue
            words = name if column == "services" else column
            if not most:
                at_odds.setdefault((row.app, words), []).append(host)
                continue
            (fact,) = [fact for fact in facts_of(row)[column] if fact.name == name]
            files = ""
            if column in ("config", "dirty"):
                changed = _other_files(row, rows, odd) if column == "config" else row.found["code"]["changed"]
                files = ", ".join(changed[:5])
            where = f" ({files})" if files else ""
            said.append(f"{'' if column == 'services' else column + ' '}{fact.text}{where}, most have {most}")
        if said:
            yield f"{row.host} is odd: {'; '.join(said)}."
    for (_app, words), hosts in at_odds.items():
        files = ""
        if words == "config":
            one, *others = [row for row in rows if row.host in hosts]
            names = sorted({name for other in others for name in differing(one, other)})
            files = f" ({', '.join(names[:5])})"
        yield f"{listed(hosts)} differ in {words}{files}, and no value is on most of them."


def _other_files(row: Row, rows: t.Sequence[Row], odd: t.Mapping[tuple[str, str, str], str]) -> list[str]:
    """The config files that differ from a host that has what most have."""
    for other in rows:
        comparable = not other.said and other.app == row.app and other.found["digest"]
        if comparable and (other.host, "config", "") not in odd:
            return differing(row, other)
    return []


def differing(one: Row, other: Row) -> list[str]:
    """The config files whose content differs between two hosts, or between two moments."""
    mine, theirs = one.found["files"], other.found["files"]
    return sorted(name for name in {*mine, *theirs} if mine.get(name) != theirs.get(name))


def review(said: t.Sequence[str], width: int) -> str:
    """What has gone stale."""
    return "\n".join(["Gone stale:", *_notes(said, width)[1:]]) if said else "Nothing has gone stale."


def _notes(notes: t.Sequence[str], width: int) -> list[str]:
    """Sentences below a table, after an empty line."""
    wrapped = [
        textwrap.fill(" ".join(note.split()), width, subsequent_indent="  ", break_on_hyphens=False) for note in notes
    ]
    return ["", *wrapped] if wrapped else []
