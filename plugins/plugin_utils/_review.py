# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of the plans has gone stale, as sentences. Pure functions. Private to this collection."""

from __future__ import annotations

import re
import typing as t

from ..module_utils._stack import GONE
from ..module_utils._words import age, listed
from ._history_rehearsal import Rehearsal
from ._history_schema import ROLLBACK
from ._outcome import SUCCEEDED

Values = t.Mapping[str, t.Any]

OLD = 30 * 86400  # seconds; a rehearsal is too old then, where a plan asks for no other time
_MADE_FROM = re.compile(r"\bplan\b[^\n]{0,60}?\b([0-9a-f]{64})\b", re.IGNORECASE)


def stale(
    plan: Values,
    run: Values | None,
    rehearsal: Rehearsal | None,
    before: t.Iterable[str],
    found: t.Mapping[str, Values],
    reports: t.Mapping[str, str],
    required: int = 0,
) -> list[str]:
    """What of a plan has gone stale; nothing of one that was rolled back, or cannot be.

    :arg plan: as the lookup ``plans`` gives it.
    :arg run: the last run that was no dry run; None where there was none, or the history cannot be read.
    :arg rehearsal: None where the history cannot be read.
    :arg before: the hosts of the last rehearsal or run.
    :arg found: what the module ``status`` returned, by host.
    :arg reports: the texts that were made of the plan, by path.
    :arg required: how old a rehearsal may be in seconds, as the inventory says; 0 where it does not.
    """
    change = plan["change"]
    if not plan["place"]:
        return [f"{change} cannot be run: {plan['fault']}"]
    if plan["place"]["never"] or (run and (run["kind"], run["outcome"]) == (ROLLBACK, SUCCEEDED)):
        return []
    within = required or plan["review"]["rehearsed_within"]
    said = [
        *_hosts(plan, before),
        *(_rehearsed(rehearsal, within or OLD) if plan["review"]["rehearsable"] and rehearsal else []),
        *_commits(plan, found),
        *_revisions(plan, found),
        *(
            f"{path} was made of an earlier plan. Write it anew: ansible-playbook report.yml -e change={change}"
            for path, text in reports.items()
            if plan["digest"] not in (made := _MADE_FROM.findall(text)) and made
        ),
    ]
    return [text if text.startswith(change) else f"{change}: {text}" for text in said]


def _hosts(plan: Values, before: t.Iterable[str]) -> t.Iterator[str]:
    if plan["review"]["unmatched"]:
        named = listed([f"'{pattern}'" for pattern in plan["review"]["unmatched"]], "or")
        yield f"no host of the inventory matches {named}. Mend {plan['place']['path']} or the inventory."
        return
    gone = sorted({*before} - {*plan["hosts"]})
    if gone:
        yield f"{listed(gone)} took part last time and {_are(gone)} none of its hosts any more. See that this is meant."


def _rehearsed(rehearsal: Rehearsal, within: int) -> t.Iterator[str]:
    found = rehearsal.found
    if found and found["outcome"] == SUCCEEDED and found["plan_digest"] == rehearsal.digest:
        if rehearsal.seconds <= within:
            return
        said = f"{rehearsal.words} That is longer ago than {age(within)}."
    else:
        said = rehearsal.words
    yield f"{said} Rehearse it: ansible-playbook rehearse.yml -e change={rehearsal.change}"


def _commits(plan: Values, found: t.Mapping[str, Values]) -> t.Iterator[str]:
    lacking: dict[str, list[str]] = {}
    for host in plan["hosts"]:
        missing = (found.get(host, {}).get("missing") or {}).get(plan["change"], [])
        for commit in [one for one in missing if one in plan["review"]["commits"]]:
            lacking.setdefault(commit, []).append(host)
    for commit, hosts in lacking.items():
        yield f"commit {commit} is not in the repository of {listed(hosts)} any more. Mend {plan['place']['path']}."


def _revisions(plan: Values, found: t.Mapping[str, Values]) -> t.Iterator[str]:
    lacking: dict[str, list[str]] = {}
    for host in plan["hosts"]:
        there = found.get(host, {})
        if not there.get("migrations"):
            continue
        known = not (there.get("missing") or {}).get(plan["change"])  # else nobody knows whether it was reverted
        reverted = known and (there["changes"].get(plan["change"]) or {}).get("state") == GONE
        wanted = [*plan["place"]["to"], *([] if reverted else plan["place"]["from"])]
        for revision in wanted:
            if not any(one.startswith(revision) for one in there["migrations"]):
                lacking.setdefault(revision, []).append(host)
    for revision, hosts in lacking.items():
        where = f"on {listed(hosts)} any more"
        yield f"revision {revision} is not among the migrations {where}. Mend {plan['place']['path']}."


def _are(names: t.Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"
