# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every role is complete, and what its argument_specs promise is what its defaults give."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())
PHASES = [
    *("alembic_downgrade", "backup", "config_restore", "git_revert", "manual_step", "run_script", "service_start"),
    *("service_stop", "verify"),
]
STEPS = ["preflight", "main", "recover"]


def _read(role, path):
    file = ROOT / "roles" / role / path
    return (yaml.safe_load(file.read_text()) or {}) if file.exists() else {}


def _entry_points(role):
    return _read(role, "meta/argument_specs.yml").get("argument_specs", {})


def _options(role, entry_point="main"):
    return _entry_points(role).get(entry_point, {}).get("options") or {}


def _undocumented(options, where=""):
    """Options, suboptions included, without a description or a type."""
    for name, option in options.items():
        if not option.get("description") or not option.get("type"):
            yield where + name
        yield from _undocumented(option.get("options") or {}, f"{where}{name}.")


def _tasks(role):
    """Each task of the role, those in blocks by themselves."""
    left = [
        task for file in (ROOT / "roles" / role / "tasks").glob("*.yml") for task in yaml.safe_load(file.read_text())
    ]
    while left:
        task = left.pop()
        left += [inner for part in ("block", "rescue", "always") for inner in task.pop(part, [])]
        yield task


def _words(value):
    return set(re.findall(r"\w+", str(value)))


def test_every_phase_has_a_role():
    assert set(PHASES) <= set(ROLES)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("path", ["README.md", "defaults/main.yml", "meta/main.yml", "meta/argument_specs.yml"])
def test_role_has(role, path):
    assert (ROOT / "roles" / role / path).is_file()


@pytest.mark.parametrize("role", PHASES)
@pytest.mark.parametrize("step", STEPS)
def test_phase_has_three_entry_points(role, step):
    assert (ROOT / "roles" / role / "tasks" / f"{step}.yml").is_file()
    assert _options(role, step) == _options(role)


@pytest.mark.parametrize("role", ROLES)
def test_every_default_is_documented(role):
    documented = {name for entry_point in _entry_points(role) for name in _options(role, entry_point)}
    assert set(_read(role, "defaults/main.yml")) - documented == set()


@pytest.mark.parametrize("role", ROLES)
def test_every_documented_default_is_given(role):
    promised = {name for name, option in _options(role).items() if "default" in option}
    assert promised - set(_read(role, "defaults/main.yml")) == set()


@pytest.mark.parametrize("role", ROLES)
def test_required_options_have_no_default(role):
    required = {name for name, option in _options(role).items() if option.get("required")}
    assert required & set(_read(role, "defaults/main.yml")) == set()


@pytest.mark.parametrize("role", ROLES)
def test_documented_defaults_are_the_real_ones(role):
    defaults = _read(role, "defaults/main.yml")
    documented = {name: option["default"] for name, option in _options(role).items() if "default" in option}
    # A templated default is documented in words: its value depends on other variables.
    wrong = {
        name: (value, defaults[name])
        for name, value in documented.items()
        if name in defaults and "{{" not in str(defaults[name]) and defaults[name] != value
    }
    assert wrong == {}


@pytest.mark.parametrize("role", PHASES)
def test_variables_that_all_phases_share_are_named_where_they_count(role):
    """A default that is taken from `rollback_services`, say, is explained where `service_stop_services` is."""
    options = _options(role)
    # What the run itself gives to a phase is described in the words of the option: nobody sets it by hand.
    given = {"rollback_restore_point", "rollback_phase_timeout", "rollback_phase_hosts", "rollback_plan"}
    unnamed = {
        name: sorted(shared)
        for name, value in _read(role, "defaults/main.yml").items()
        if (
            shared := set(re.findall(r"rollback_\w+", str(value)))
            - given
            - set(re.findall(r"C\((\w+)\)", str(options[name])))
        )
    }
    assert unnamed == {}


@pytest.mark.parametrize("role", ROLES)
def test_every_option_says_what_it_is(role):
    found = {entry_point: list(_undocumented(_options(role, entry_point))) for entry_point in _entry_points(role)}
    assert {entry_point: names for entry_point, names in found.items() if names} == {}


@pytest.mark.parametrize("role", ROLES)
def test_what_looks_at_all_hosts_is_worked_out_once(role):
    """Each host that looks at all others makes the work grow with the square of the hosts, in a failure too."""
    variables = _read(role, "vars/main.yml")
    looking = {"hostvars"}
    while more := {name for name, value in variables.items() if name not in looking and looking & _words(value)}:
        looking |= more
    assert [task["name"] for task in _tasks(role) if looking & _words(task) and not task.get("run_once")] == []


@pytest.mark.parametrize("role", ROLES)
def test_no_host_loops_over_what_names_all_hosts(role):
    """Each host gives what it loops over back to the main process, which would have all names from each of them."""
    loops = {task["name"]: str(task["loop"]) for task in _tasks(role) if "loop" in task and not task.get("run_once")}
    naming = [name for name, loop in loops.items() if re.search(r"\b(batches|rollback_plan\.phases)\b", loop)]
    numbers = "length", "attribute='index'"
    assert [name for name in naming if not any(number in loops[name] for number in numbers)] == []
