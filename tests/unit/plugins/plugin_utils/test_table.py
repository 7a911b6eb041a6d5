# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables fit, whatever the width, and lose nothing."""

from __future__ import annotations

import pytest
from ansible_collections.changeops.rollback.plugins.plugin_utils._table import columns

HEAD = ("run", "outcome", "what")
ROWS = [("R1-C001", "succeeded", "7 phases done on 3 hosts."), ("R2", "no such host as web2")]


@pytest.mark.parametrize(
    ("width", "lines"),
    [
        pytest.param(
            60,
            [
                "run      outcome    what",
                "-------  ---------  ----",
                "R1-C001  succeeded  7 phases done on 3 hosts.",
                "R2       no such host as web2",
            ],
            id="there is room",
        ),
        pytest.param(
            42,
            [
                "run      outcome    what",
                "-------  ---------  ----",
                "R1-C001  succeeded  7 phases done on 3",
                "                    hosts.",
                "R2       no such host as web2",
            ],
            id="the last cell takes further lines",
        ),
        pytest.param(
            30,
            [
                "run      outcome",
                "    what",
                "-------  ---------",
                "R1-C001  succeeded",
                "    7 phases done on 3 hosts.",
                "R2",
                "    no such host as web2",
            ],
            id="the last cell stands below the others",
        ),
        pytest.param(
            16,
            [
                "R1-C001",
                "  outcome:",
                "    succeeded",
                "  what: 7 phases",
                "    done on 3",
                "    hosts.",
                "R2",
                "    no such host",
                "    as web2",
            ],
            id="each cell is a line",
        ),
    ],
)
def test_a_table_fits(width: int, lines: list[str]) -> None:
    assert columns(HEAD, ROWS, width) == lines
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize("width", [12, 20, 40, 80])
def test_a_word_that_is_too_long_is_the_only_one_to_be_cut(width: int) -> None:
    lines = columns(HEAD, [("R1", "ok", "/a/path/" + "x" * 90)], width)
    assert max(map(len, lines)) <= width
    assert "".join(lines).count("x") == 90
