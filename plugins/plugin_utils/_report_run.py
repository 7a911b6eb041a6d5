# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run of the history tells a report. Pure functions; a run is as ``Store.runs`` gives it. Private."""

from __future__ import annotations

import typing as t

from ..module_utils._alembic_loss import destroyed
from ..module_utils._redact import redact, redacted
from ..module_utils._words import listed
from ._expected import START, STOP
from ._history_process import seconds_between
from ._history_schema import REHEARSAL, ROLLBACK
from ._outcome import MAIN, OK, RECOVER, REFUSED, REHEARSE, SUCCEEDED, name_of
from ._status_view import Row, facts_of, odd_ones, row
from ._truth import AFTER, BEFORE, changes

Values = t.Mapping[str, t.Any]


def last_run(runs: t.Sequence[Values]) -> Values | None:
    """The newest rollback that changed something, else the newest that came to its phases; None: there was none."""
    worked = [run for run in real_runs(runs, ROLLBACK) if any(row["step"] == MAIN for row in run["phases"])]
    changed = [run for run in worked if any(row["changed"] for row in run["phases"])]
    return next(iter([*changed, *worked]), None)


def real_runs(runs: t.Sequence[Values], *kinds: str) -> list[Values]:
    return [run for run in runs if run["kind"] in kinds and not run["check_mode"]]


def last_rehearsal(runs: t.Sequence[Values]) -> Values | None:
    """The newest rehearsal that came to its end."""
    return next((run for run in runs if run["kind"] == REHEARSAL and run["outcome"] in (SUCCEEDED, REFUSED)), None)


def last_with_checks(runs: t.Sequence[Values]) -> Values | None:
    """The newest rollback that verified; one that found nothing left to do did so too."""
    for run in real_runs(runs, ROLLBACK):
        if any(row["step"] == MAIN and name_of(row["phase"]) == "verify" for row in run["phases"]):
            return run
    return None


def fit(run: Values | None) -> dict[str, float]:
    """What a rehearsal tried of the code, and the seconds that it took, on the slowest host."""
    found: dict[str, float] = {}
    for one in run["phases"] if run else ():
        for what, seconds in ((one["after"] or {}).get("fit") or {}).items() if one["step"] == REHEARSE else ():
            found[what] = max(found.get(what, 0.0), float(seconds))
    return found


def loss_of(run: Values | None) -> list[dict[str, t.Any]]:
    """What each downgrade of a run destroyed and exported."""
    found = []
    for one in run["phases"] if run else ():
        after = one["after"] or {}
        if one["step"] == MAIN and (after.get("loss") or after.get("exported")):
            words = destroyed(after.get("loss") or {})
            found.append(
                {"host": one["host"], "phase": one["phase"], "lost": words, "exported": after.get("exported") or {}}
            )
    return redacted(found)  # type: ignore[no-any-return]


def rehearsed_loss(run: Values | None) -> list[str]:
    words = [
        word
        for one in (run["phases"] if run else ())
        if one["step"] == REHEARSE
        for word in destroyed((one["after"] or {}).get("loss") or {})
    ]
    return list(dict.fromkeys(words))


def downtime(run: Values) -> dict[str, t.Any] | None:
    """From the first stop until the last start ended, also that of a recovery; None where nothing was stopped."""
    stops = [one["started"] for one in run["phases"] if one["step"] == MAIN and name_of(one["phase"]) == STOP]
    if not stops:
        return None
    starts = [one for one in run["phases"] if one["step"] == MAIN and name_of(one["phase"]) == START]
    starts += [one for one in run["phases"] if one["step"] == RECOVER and name_of(one["phase"]) in (STOP, START)]
    ended = [one["finished"] for one in starts if one["finished"] and one["status"] == OK]
    finished = max(ended) if ended else None
    return {"started": min(stops), "finished": finished, "seconds": seconds_between(min(stops), finished)}


def timeline(run: Values) -> list[dict[str, t.Any]]:
    hosts: dict[str, list[dict[str, t.Any]]] = {}
    for one in run["phases"]:
        hosts.setdefault(one["host"], []).append(
            {
                **{name: one[name] for name in ("index", "step", "status", "changed", "started", "finished")},
                "id": one["phase"],
                "name": name_of(one["phase"]),
                "offset": seconds_between(run["started"], one["started"]),
                "seconds": one["duration"],
                "message": redact(one["message"]),
            }
        )
    return [{"host": host, "spans": hosts[host]} for host in sorted(hosts)]


def truth_view(truth: Values) -> dict[str, t.Any]:
    then, now = (
        [row(one["host"], one["found"]) if one["found"] else Row(one["host"], said=one["said"]) for one in rows]
        for rows in (truth.get(BEFORE, ()), truth.get(AFTER, ()))
    )
    return {
        "before": _table(then),
        "after": _table(now),
        "changes": [redact(line) for line in changes(then, now)] if then and now else [],
    }


def _table(rows: t.Sequence[Row]) -> list[dict[str, t.Any]]:
    odd, found = odd_ones(rows), []
    for one in rows:
        columns: dict[str, list[dict[str, t.Any]]] = {}
        for column, facts in (facts_of(one) if not one.said else {}).items():
            columns[column] = [
                {
                    "name": fact.name,
                    "text": redact(fact.text),
                    "odd": (one.host, column, fact.name) in odd,
                    "most": redact(odd.get((one.host, column, fact.name), "")),
                }
                for fact in facts
            ]
        unread = listed([f"{what}: {why}" for what, why in one.found["unread"].items()]) if not one.said else ""
        found.append({"host": one.host, "said": redact(one.said or unread), "columns": columns})
    return found
