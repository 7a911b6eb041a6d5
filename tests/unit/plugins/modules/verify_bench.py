# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running the phase verify on checks that are given by what differs from the defaults."""

from __future__ import annotations

from ansible_collections.changeops.rollback.plugins.module_utils import _verify
from ansible_collections.changeops.rollback.plugins.module_utils._checks import CHECKS_ARGUMENT
from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.plugins.module_utils._phase import run_step
from ansible_collections.changeops.rollback.plugins.module_utils._restore_point import RestorePoint

VERIFY = {"preflight": _verify.preflight, "main": _verify.main, "recover": _verify.recover}


def with_defaults(options, given):
    """Options as Ansible hands them to a module."""
    filled = {}
    for name, option in options.items():
        value = given.get(name, option.get("default"))
        if "options" in option and isinstance(value, dict):
            value = with_defaults(option["options"], value)
        if option["type"] == "list" and value is not None and not isinstance(value, list):
            value = [value]
        filled[name] = value
    assert set(given) <= set(options)
    return filled


def run(tmp_path, step, *checks, check=False, services=(), root="R1", **params):
    """Run a step on checks, each tried once unless it says more."""
    items = [with_defaults(CHECKS_ARGUMENT["options"], {"retries": 0, "delay": 0.05, **given}) for given in checks]
    params = {"checks": items, "services": list(services), "timeout": 20.0, "wait": 1.0, "stays_healthy": 0.0, **params}
    params["restore_point"] = f"{root}/verify"
    return run_step(step, params, RestorePoint(str(tmp_path / "state" / root / "verify")), VERIFY, check)


def results(tmp_path, *checks, **params):
    """What main says about each check, by name."""
    try:
        found = run(tmp_path, "main", *checks, **params).facts["checks"]
    except PhaseError as exc:
        found = exc.facts["checks"]
    assert all(set(one) == {"name", "ok", "required", "evidence", "attempts", "seconds"} for one in found)
    assert all(len(one["evidence"]) <= 300 for one in found)
    return {one["name"]: one for one in found}


def evidence(tmp_path, check, **params):
    """Whether the check holds, and its evidence."""
    (result,) = results(tmp_path, check, **params).values()
    return result["ok"], result["evidence"]
