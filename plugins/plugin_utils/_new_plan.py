# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of a new change, written from what its hosts say. Pure functions. Private to this collection.

What only a person knows stands there as a question, with which the plan is refused.
"""

from __future__ import annotations

import re
import typing as t

import yaml

from ..module_utils._words import listed
from ._plan_yaml import question

Values = t.Mapping[str, t.Any]
MOST = 10  # commits that a plan names one by one


def plan_text(
    change: str,
    found: t.Mapping[str, Values],
    stands: t.Mapping[str, Values],
    app: Values,
    groups: t.Mapping[str, t.Sequence[str]],
    today: str,
) -> str:
    """The text of a plan.

    :arg found: what the module ``new_change`` found, by host; one at least.
    :arg stands: what the module ``status`` found, by host.
    :arg app: the app's ``services``, ``config``, ``checks``, as in the inventory.
    :arg groups: the inventory's groups with their hosts.
    """
    hosts, first = list(found), next(iter(found.values()))
    commits = first["commits"]
    unlike = [host for host in hosts if found[host]["commits"] != commits]
    lines = [
        "---",
        f"# {change}, written by new_change.yml on {today}. Write the answer in place of each QUESTION; then:",
        f"#     ansible-playbook rehearse.yml -e change={change}",
        *(f"# {host} then: {_standing(found[host], stands.get(host, {}))}" for host in hosts),
        *(
            f"# On {host} there is no {copy} yet, which config_restore needs."
            for host in hosts
            for copy in found[host]["missing"]
        ),
        f"title: {_title(commits)}",
        f"date: {commits[0]['date'] if commits else today}",
        f"implemented_by: {_authors(commits)}",
        f"hosts: {_pattern(hosts, groups)}",
        "rollback:",
        "  possible: true",
        "  method: automated",
        "risks:",
        f"  - issue: {_value(question('what may go wrong, or be lost?'))}",
        f"    mitigation: {_value(question('what is done about it?'))}",
        "phases:",
    ]
    users = _users(first, app)
    for name, body in _phases(hosts, found, stands, app, unlike):
        become = users.get(name, "")
        more = ([become] if become else []) + body
        lines += [f"  - role: {name}", *(f"    {line}" for line in more)]
    return "\n".join(lines) + "\n"


def _phases(
    hosts: t.Sequence[str],
    found: t.Mapping[str, Values],
    stands: t.Mapping[str, Values],
    app: Values,
    unlike: t.Sequence[str],
) -> t.Iterator[tuple[str, list[str]]]:
    first = found[hosts[0]]
    yield "backup", []
    if app["services"]:
        yield "service_stop", []
    downgrade = _downgrade(hosts, first, stands)
    if downgrade:
        yield "alembic_downgrade", downgrade
    yield "git_revert", _revert(hosts, found, unlike)
    if app["config"]:
        yield "config_restore", []
    if app["services"]:
        yield "service_start", []
    if app["checks"]:
        yield "verify", []


def _revert(hosts: t.Sequence[str], found: t.Mapping[str, Values], unlike: t.Sequence[str]) -> list[str]:
    first = found[hosts[0]]
    commits = first["commits"]
    lines = ["vars:"]
    if unlike:
        asked = f"which commits? They are not the same on {hosts[0]} and {listed(unlike)}"
    elif not commits:
        recent = "; ".join(f"{one['commit'][:10]} {_plain(one['subject'])}" for one in first["recent"])
        asked = f"which commits? There is no tag to count from. The last ones are {recent}"
    else:
        if len(commits) > MOST and first["since"]:
            lines += ["  git_revert_commits:", f"    - {first['since_commit']}..{commits[0]['commit']}"]
        else:
            lines.append("  git_revert_commits:")
            for one in commits:
                lines.append(f"    - {_value(one['commit'][:12])}  # {_plain(one['subject'])}")
        if any(one["merge"] for one in commits):
            lines.append("  git_revert_mainline: 1  # of a merge, what it was merged into is kept")
        return lines
    return [*lines, f"  git_revert_commits: [{_value(question(asked))}]"]


def _downgrade(hosts: t.Sequence[str], first: Values, stands: t.Mapping[str, Values]) -> list[str]:
    """The variables of alembic_downgrade; empty where the change has no migration."""
    here = sorted({revision for host in hosts for one in _revisions(stands, host).values() for revision in one})
    ends, begins = list(first["migrations"]["from"]), list(first["migrations"]["to"])
    if not ends and (first["commits"] or not here):
        return []
    where = []
    addresses = {address for host in hosts for address in _revisions(stands, host)}
    if len(hosts) > 1 and not (addresses and all(address.startswith("/") for address in addresses)):
        where = [
            f"hosts: {_value(question('one host, such as shop[0], if they share a database; else take this line out'))}"
        ]
    if not ends:
        asked = f"which revision did the change bring? The database is at {listed(here)}. If none, take the phase out"
        goes = "which revision was there before it?"
        return [
            *where,
            "vars:",
            f"  alembic_downgrade_from: {_value(question(asked))}",
            f"  alembic_downgrade_to: {_value(question(goes))}",
        ]
    lines = [*where, "# What it destroys, and what to write as rollback.accept_loss, rehearse.yml says.", "vars:"]
    if first["shipped"] and here and here != ends:
        asked = f"which one? The commits bring {listed(ends)}, and the database stands at {listed(here)}"
        lines.append(f"  alembic_downgrade_from: {_value(question(asked))}")
    else:
        lines.append(f"  alembic_downgrade_from: {_several(ends)}")
    return [*lines, f"  alembic_downgrade_to: {_several(begins)}"]


def _users(first: Values, app: Values) -> dict[str, str]:
    """As whom the phases have to work, where that is not who was connected."""
    found = {}
    if first["user"] != first["owner"]:
        found = dict.fromkeys(("alembic_downgrade", "git_revert"), f"become_user: {_value(first['owner'])}")
    units = [one for one in app["services"] if one.get("manager", "service") in ("service", "systemd")]
    if first["user"] != "root" and any(one.get("scope") != "user" for one in units):
        found.update(dict.fromkeys(("service_stop", "service_start"), "become: true"))
    return found


def _standing(found: Values, stands: Values) -> str:
    """How a host stood when the plan was written."""
    words = [f"commit {found['head'][:10]}"]
    words += [f"database at {' and '.join(one)}" for one in (stands.get("revisions") or {}).values()]
    words += [f"{name} {word}" for name, word in (stands.get("services") or {}).items()]
    words += ["the change is shipped" if found["shipped"] else "the change is not shipped" if found["commits"] else ""]
    return _plain(", ".join(filter(None, words)))


def _revisions(stands: t.Mapping[str, Values], host: str) -> dict[str, list[str]]:
    return dict(stands.get(host, {}).get("revisions") or {})


def _title(commits: t.Sequence[Values]) -> str:
    if not commits:
        return _value(question("what does the change do, in a few words?"))
    more = f" and {len(commits) - 1} more" if len(commits) > 1 else ""
    return _value(f"{_plain(commits[0]['subject'])}{more}")


def _authors(commits: t.Sequence[Values]) -> str:
    names = list(dict.fromkeys(_plain(one["author"]) for one in commits))
    return _value(listed(names) if names else question("who made the change?"))


def _pattern(hosts: t.Sequence[str], groups: t.Mapping[str, t.Sequence[str]]) -> str:
    """A group that has just these hosts, else their names."""
    same = [name for name in groups if name not in ("all", "ungrouped") and set(groups[name]) == set(hosts)]
    return _value(sorted(same)[0] if same else ",".join(hosts))


def _several(values: t.Sequence[str]) -> str:
    return _value(values[0]) if len(values) == 1 else f"[{', '.join(map(_value, values))}]"


def _plain(text: str) -> str:
    """Text on one line, without what a plan takes for a template."""
    return re.sub(r"\{(?=[{%#])", "{ ", " ".join("".join(c if c.isprintable() else " " for c in text).split()))


def _value(text: str) -> str:
    """A text as a YAML scalar on one line."""
    shown: str = yaml.safe_dump(str(text), width=10**6, allow_unicode=True)
    return shown.replace("\n...\n", "").rstrip("\n")
