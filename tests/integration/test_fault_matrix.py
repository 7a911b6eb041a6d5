# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each case of the fault matrix on a fleet. The short matrix in `make test`, all of them with `make faults`."""

from __future__ import annotations

import os
import typing as t

import pytest
from fault_case import Trial
from fault_table import Case, selected
from fleet import Fleet, FleetOps


@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in selected(os.environ.get("FAULTS", ""))])
def test_fault(fleet: Fleet, fleet_ops: FleetOps, case: Case, record_property: t.Any) -> None:
    trial = Trial(fleet, fleet_ops, case)
    try:
        trial.run()
        trial.check()
    finally:
        trial.close()
        record_property("fault", trial.result)
