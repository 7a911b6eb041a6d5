# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest
from ansible_collections.changeops.rollback.plugins.plugin_utils._plan import PHASES, Phase
from ansible_collections.changeops.rollback.plugins.plugin_utils._plan_order import clashes


def phases_of(*words: str) -> list[Phase]:
    """Make phases of words such as "service_stop@web"; hosts are shop when none are named."""
    phases = []
    for index, word in enumerate(words, 1):
        role, _at, hosts = word.partition("@")
        full = role if "." in role else f"changeops.rollback.{role}"
        phases.append(Phase(index, full, hosts or "shop", line=index * 10))
    return phases


@pytest.mark.parametrize(
    ("words", "line", "text"),
    [
        (["service_start"], 10, "Phase 1 (service_start) starts services that no earlier phase stopped"),
        (["service_start", "service_stop"], 10, "Put `- role: service_stop` before it"),
        (["service_stop", "service_start", "alembic_downgrade@db"], 30, "below the services that phase 2"),
        (["service_stop", "service_start", "git_revert"], 30, "Put it before phase 2"),
        (["service_stop", "service_start", "config_restore"], 30, "Put it before phase 2"),
        (["git_revert", "backup"], 20, "comes after phase 1 (git_revert)"),
        (["alembic_downgrade", "verify", "backup"], 30, "Put it before phase 1"),
        (["verify", "verify"], 20, "is the same as phase 1. Take one of them out"),
        (["a.b.c", "verify", "a.b.c"], 30, "is the same as phase 1"),
    ],
)
def test_phases_that_clash(words: list[str], line: int, text: str) -> None:
    faults = clashes(phases_of(*words))
    assert [(at, text in fault) for at, fault in faults] == [(line, True)], faults


@pytest.mark.parametrize(
    "words",
    [
        PHASES,
        ("backup", "service_stop", "git_revert", "alembic_downgrade", "config_restore", "service_start", "verify"),
        ("alembic_downgrade",),
        ("verify", "verify@db"),
        ("service_stop", "service_start@shop[0]", "verify@shop[0]", "service_start@shop[1:]"),
        ("service_stop", "service_start", "git_revert@tools"),
        ("git_revert@web", "backup@db"),
        ("service_stop@a", "git_revert@a", "service_start@a", "service_stop@b", "git_revert@b", "service_start@b"),
        ("service_stop", "service_start", "acme.ops.alembic_downgrade"),
    ],
)
def test_phases_that_do_not_clash(words: t.Sequence[str]) -> None:
    assert clashes(phases_of(*words)) == []
