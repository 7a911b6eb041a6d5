# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The truth tables of one run: how the app stood on each host before it and after it. Private to this collection."""

from __future__ import annotations

import textwrap
import typing as t

from ..module_utils._redact import redact
from ..module_utils._words import listed
from ._status_view import Row, differing, facts_of, row, truth_table

BEFORE, AFTER = "before", "after"
SAME = "All hosts are as they were before."
NOT_READ = "not read: the run ended before that"

Values = t.Mapping[str, t.Any]


class Truth:
    """The two tables of the run at work, as they fill.

    :arg hosts: those of the play.
    """

    def __init__(self, hosts: t.Iterable[str]) -> None:
        self._hosts = sorted(hosts)
        self._tables: dict[str, dict[str, Row]] = {BEFORE: {}, AFTER: {}}
        self._away: dict[str, str] = {}
        self._new: dict[tuple[str, str], None] = {}

    def put(self, moment: str, host: str, result: Values) -> None:
        """What the module ``status`` returned of ``host``, or why it did not."""
        self._put(moment, row(host, result))

    def _put(self, moment: str, one: Row) -> None:
        self._tables[moment][one.host] = one
        self._new[moment, one.host] = None

    def away(self, host: str, message: str) -> None:
        """``host`` became unreachable, and is asked nothing more in this run."""
        self._away[host] = row(host, {"unreachable": True, "msg": message}).said

    def whole(self, moment: str) -> bool:
        """Whether each host of the play is in the table."""
        return len(self._tables[moment]) == len(self._hosts)

    def finish(self, touched: bool) -> None:
        """The run ended and nothing more is read: say why of each host that is missing in the table after it.

        :arg touched: the run changed hosts, so how they stand is of interest even if none of them answers.
        """
        if self._tables[AFTER] or (touched and self._tables[BEFORE]):
            for host in self._hosts:
                if host not in self._tables[AFTER]:
                    self._put(AFTER, Row(host, said=self._away.get(host, NOT_READ)))

    def new_rows(self) -> list[dict[str, t.Any]]:
        """The rows that are not on record yet, without secrets: ``moment``, ``host``, ``said`` and ``found``."""
        rows = []
        for moment, host in self._new:
            one = self._tables[moment][host]
            rows.append({"moment": moment, "host": host, "said": one.said, "found": _redacted(one.found) or None})
        return rows

    def kept(self) -> None:
        """What ``new_rows`` gave is on record."""
        self._new.clear()

    def text(self, moment: str, width: int) -> str:
        """The table of a ``moment``, and below that of the end what changed since the beginning; empty without rows."""
        rows = {which: [table[host] for host in sorted(table)] for which, table in self._tables.items()}
        if not rows[moment]:
            return ""
        changed = [_changes_text(rows[BEFORE], rows[AFTER], width)] if moment == AFTER else []
        return "\n\n".join([truth_table(rows[moment], width), *changed])


def _redacted(value: t.Any) -> t.Any:
    """Texts without secrets. Keys are names of files, services and databases, and tell nothing of their values here."""
    if isinstance(value, t.Mapping):
        return {redact(str(key)): _redacted(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_redacted(item) for item in value]
    return value if value is None else redact(str(value))


def both_tables(truth: t.Mapping[str, t.Sequence[Values]], width: int) -> str:
    """The tables of a run from the history, and what changed between them.

    :arg truth: by moment, rows with ``host``, ``said`` and ``found``.
    """
    before, after = (
        [row(one["host"], one["found"]) if one["found"] else Row(one["host"], said=one["said"]) for one in rows]
        for rows in (truth.get(BEFORE, ()), truth.get(AFTER, ()))
    )
    parts = [f"{name}:\n{truth_table(rows, width)}" for name, rows in (("Before", before), ("After", after)) if rows]
    if before and after:
        parts.append(_changes_text(before, after, width))
    return "\n\n".join(parts)


def _changes_text(before: t.Sequence[Row], after: t.Sequence[Row], width: int) -> str:
    return "\n".join(
        textwrap.fill(line, width, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)
        for line in changes(before, after)
    )


def changes(before: t.Sequence[Row], after: t.Sequence[Row]) -> list[str]:
    """What differs after a run, a sentence for all hosts with the same differences."""
    then = {one.host: one for one in before}
    alike: dict[str, list[str]] = {}
    for now in after:
        alike.setdefault(_changed(then.get(now.host), now), []).append(now.host)
    if set(alike) == {""}:
        return [SAME]
    return [f"{listed(hosts)}: {words or 'as before'}." for words, hosts in alike.items()]


def _changed(then: Row | None, now: Row) -> str:
    """How a host differs, in words; empty where it does not."""
    if then is None or then.said or now.said:
        same = then is not None and then.said == now.said
        return "" if same else now.said.rstrip(".") or "could not be read before, so nothing is known of what changed"
    words = []
    old, new = facts_of(then), facts_of(now)
    for column in new:
        was, now_is = ({fact.name: fact for fact in facts[column]} for facts in (old, new))
        for name in {**was, **now_is}:
            one, other = was.get(name), now_is.get(name)
            if one and other and one.value == other.value:
                continue
            files: list[str] = []
            if column in ("config", "dirty"):
                files = differing(then, now) if column == "config" else (now.found["code"] or {}).get("changed", [])
            where = f" ({', '.join(files[:5])})" if files else ""
            label = "" if column == "services" else f"{column} "
            words.append(f"{label}{one.text if one else '?'} → {other.text if other else '?'}{where}")
    return "; ".join(words)
