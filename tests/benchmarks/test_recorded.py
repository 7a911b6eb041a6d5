# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The short version of `make bench`: one host, the script against ours, compared with what was recorded."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import typing as t
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from bench_figures import worse
from bench_rig import Rig
from fleet import Fleet
from hosts import NoHosts

RECORDED = Path(__file__).parent / "recorded.json"
ROUNDS = 3


@pytest.fixture
def rig() -> t.Iterator[Rig]:
    place = Path(tempfile.mkdtemp(prefix="bench-"))  # a short path, for ssh's sockets
    try:
        fleet = Fleet(place, 1, shared=False)
    except NoHosts as exc:
        pytest.skip(str(exc))
    try:
        yield Rig(fleet, place)
    finally:
        fleet.close()
        shutil.rmtree(place, ignore_errors=True)


def test_no_ratio_is_worse_by_half_than_the_recorded_one(rig: Rig) -> None:
    recorded = json.loads(RECORDED.read_text())
    now: dict[str, dict[str, list[float]]] = {"script": {}, "ours": {}}
    for _round in range(ROUNDS):
        for contender, spent in now.items():
            one = rig.round(contender)
            print(contender, one)
            for measure in ("downtime", "total"):
                spent.setdefault(measure, []).append(one[measure])
    assert worse(recorded, now, rig.name) == []
