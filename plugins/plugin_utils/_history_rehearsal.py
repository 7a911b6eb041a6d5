# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a change was rehearsed last, and whether that will do for a rollback. Private to this collection."""

from __future__ import annotations

import datetime
import typing as t

from ..module_utils._words import age
from . import _history_schema as schema
from ._outcome import NOT_READY, READY, REFUSED, SUCCEEDED

if schema.HAS_SQLALCHEMY:
    import sqlalchemy as sa


class Rehearsal:
    """The last rehearsal of a change that came to its end.

    :arg digest: of the plan as it is now.

    ``found``: its ``id``, ``plan_digest``, ``finished`` and ``outcome``; None where there was none.
    """

    def __init__(self, connection: t.Any, change: str, digest: str, now: datetime.datetime) -> None:
        runs = schema.RUNS
        query = sa.select(runs.c.id, runs.c.plan_digest, runs.c.finished, runs.c.outcome).where(
            runs.c.change == change, runs.c.kind == schema.REHEARSAL, runs.c.outcome.in_((SUCCEEDED, REFUSED))
        )
        row = connection.execute(query.order_by(runs.c.started.desc(), runs.c.id.desc()).limit(1)).mappings().first()
        self.change, self.digest, self.now = change, digest, now
        self.found = dict(row) if row else None

    @property
    def seconds(self) -> float:
        """How long ago it was."""
        ended = datetime.datetime.fromisoformat(str(self.found and self.found["finished"]))
        return max(0.0, (self.now - ended).total_seconds())

    @property
    def words(self) -> str:
        """When it was and how it ended, as a sentence."""
        if self.found is None:
            return f"{self.change} was never rehearsed."
        result = READY if self.found["outcome"] == SUCCEEDED else NOT_READY
        other = "" if self.found["plan_digest"] == self.digest else ", with another plan than the one of now"
        return f"{self.change} was rehearsed {age(self.seconds)} ago and found {result}{other}."

    @property
    def cell(self) -> str:
        """The same for a table."""
        if self.found is None:
            return "never"
        if self.found["plan_digest"] != self.digest:
            return f"{age(self.seconds)} ago, another plan"
        return f"{age(self.seconds)} ago, {READY if self.found['outcome'] == SUCCEEDED else NOT_READY}"

    def lacking(self, within: int) -> str:
        """Why the change may not be rolled back, as sentences; empty where it may.

        :arg within: how old the rehearsal may be, in seconds.
        """
        found = self.found
        ready = found is not None and found["outcome"] == SUCCEEDED and found["plan_digest"] == self.digest
        if ready and self.seconds <= within:
            return ""
        return (
            f"{self.words} It has to have been rehearsed with this plan, and found READY, within {age(within)} before "
            f"it is rolled back. Rehearse it: ansible-playbook rehearse.yml -e change={self.change}. Where there is no "
            f"time for that: ansible-playbook rollback.yml -e change={self.change} -e rollback_require_rehearsal=no"
        )
