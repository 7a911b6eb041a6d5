# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of the time that a rollback takes."""

from __future__ import annotations

import pytest
from ansible_collections.changeops.rollback.plugins.plugin_utils._expected import expected_words

ORDER = ("backup", "service_stop", "alembic_downgrade", "git_revert", "service_start", "verify")


def phases(names: tuple[str, ...], estimates: dict[str, int]) -> list[dict]:
    return [{"index": n, "name": name, "estimate": estimates.get(name)} for n, name in enumerate(names, 1)]


@pytest.mark.parametrize(
    ("found", "rehearsed", "words"),
    [
        (
            phases(ORDER, dict.fromkeys(ORDER, 60)),
            {3: 90.0},
            [
                "Expected downtime: 4 min 30 s (alembic_downgrade as rehearsed; service_stop, git_revert, "
                "service_start as the plan estimates).",
                "In all: 6 min 30 s (alembic_downgrade as rehearsed; backup, service_stop, git_revert, service_start, "
                "verify as the plan estimates).",
                "Until alembic_downgrade begins, after service_stop, stopping costs nothing.",
            ],
        ),
        (
            phases(("service_stop", "git_revert", "service_start"), {"git_revert": 5}),
            {},
            [
                "Expected downtime: at least 5.0 s (git_revert as the plan estimates; nothing is known of "
                "service_stop, service_start).",
                "In all: at least 5.0 s (git_revert as the plan estimates; nothing is known of service_stop, "
                "service_start).",
            ],
        ),
        (
            phases(("config_restore", "verify"), {}),
            {},
            ["In all: not known; give the phases an estimate in the plan (config_restore, verify)."],
        ),
    ],
)
def test_expected(found: list[dict], rehearsed: dict[int, float], words: list[str]) -> None:
    assert expected_words(found, rehearsed) == words
