# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What somebody types for how old a rehearsal may be. Private to this collection."""

from __future__ import annotations

import typing as t

from ._history import HistoryError
from ._plan_check import seconds

NOT_TOLD = ("", "false", "no", "none")


def within(given: t.Any) -> int:
    """How old the rehearsal may be that is required, in seconds; 0 where none is.

    :arg given: a duration such as 7d, a number of seconds, or no.

    :raises HistoryError: it is no duration.
    """
    if isinstance(given, int) and not isinstance(given, bool):
        return given
    text = str(given).strip()
    if text.lower() in NOT_TOLD:
        return 0
    found = seconds(text)
    if found is None:
        raise HistoryError(f"rollback_require_rehearsal is '{text}', which is not a duration. Say 12h or 7d, or no.")
    return found
