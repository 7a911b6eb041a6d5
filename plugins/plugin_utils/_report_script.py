# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The break-glass script: a plan for one host in plain shell, for the hour when Ansible cannot be used. Private.

What all scripts have stands in files of shell beside this one. Here the phases become functions: ``look_N`` proves that
the phase will work, before anything is touched; ``phase_N`` does it; ``undo_N`` puts it back. Pure, but for reading
those files.

No secret is written into a script. Environment files are read on the host when it runs.
"""

from __future__ import annotations

import shlex
import typing as t
from pathlib import Path

from ..module_utils._git import SETTINGS
from ..module_utils._redact import redact
from ..module_utils._words import listed
from ._report_script_phases import Builder
from ._report_shell import Part, Phase, Values, word

# What all scripts have: what phases are made of, and how they are run.
_FILES = ("_report_script.sh", "_report_script_data.sh", "_report_script_run.sh")


def script(plan: Values, host_name: str, host_vars: Values) -> str:
    """The script that rolls a change back on one host.

    :arg plan: as ``lookup('changeops.rollback.plan')`` gives it.
    :arg host_vars: the host's variables, templated.
    """
    phases = [Phase(plan, values, host_vars) for values in plan["phases"]]
    turned = plan.get("code_first") and not any(one.get("release") for one in phases if one.name == "alembic_downgrade")
    if turned:
        first = next(number for number, one in enumerate(phases) if one.name == "git_revert")
        early = [one for one in phases[first:] if one.name == "alembic_downgrade"]
        phases = phases[:first] + early + [one for one in phases[first:] if one not in early]
    builder = Builder(phases, host_name)
    parts = builder.parts()
    shared = [Path(__file__).with_name(name).read_text(encoding="utf-8").partition("\n\n")[2] for name in _FILES]
    top = _top(plan, host_name, host_vars, bool(turned))
    return "\n".join([top.rstrip("\n"), "", *shared, _body(plan, parts, builder)])


def _top(plan: Values, host_name: str, host_vars: Values, turned: bool) -> str:
    change, title = plan["change"], " ".join(str(plan["title"]).split())
    order = (
        "# The plan reverts the code before the database. Here the database comes first, because without the newer\n"
        "# migration files Alembic cannot downgrade. It ends in the same state.\n"
    )
    state = host_vars.get("rollback_state_dir")
    place = word(f"{state}/by-hand/{change}")
    if not state:
        place = f'"$([[ $(id -u) == 0 ]] && echo /var/lib/changeops || echo ~/.local/state/changeops)"/by-hand/{change}'
    return f"""\
#!/usr/bin/env bash
# {change}: {redact(title)}
# Rolls the change back on {host_name} without Ansible, for the hour when Ansible cannot be used. While it can be used:
#     ansible-playbook rollback.yml -e change={change}
# Made from the plan with the SHA-256 {plan["digest"]}. Do not edit it; edit the plan and run report.yml.
# Copy it to the host, then:
#     bash rollback-{change.lower()}.sh --dry-run    print what would be run
#     bash rollback-{change.lower()}.sh              do it; it asks before the point of no return
#     bash rollback-{change.lower()}.sh --back       put back what was done so far
{order if turned else ""}# shellcheck disable=SC2016  # a dollar in single quotes is meant as one
set -euo pipefail

CHANGE={word(change)}
TITLE={word(title)}
HOST_NAME={word(host_name)}
KEPT={place}
GIT_SETTINGS=({" ".join("-c " + word(setting) for setting in SETTINGS)})

"""


def _body(plan: Values, parts: t.Sequence[Part], builder: Builder) -> str:
    lines = ["", "# --- The plan", "", *builder.services(), ""]
    arrays: dict[str, list[str]] = {"NAMES": [], "TITLES": [], "ACCOUNTS": [], "BACK": [], "BY_HAND": [], "MODES": []}
    for number, part in enumerate(parts, 1):
        row = {
            "NAMES": part.name,
            "TITLES": f"{part.name}: {part.title}",
            "ACCOUNTS": part.account,
            "BACK": part.back,
            "BY_HAND": part.by_hand,
            "MODES": "0711" if part.name == "service_stop" else "0700",
        }
        for name, value in row.items():
            arrays[name].append(f"  [{number}]={shlex.quote(redact(value))}")
    for name, values in arrays.items():
        lines += [f"{name}=(", *values, ")"]
    names = [part.name if part.phase else "" for part in parts]
    gone = names.index("alembic_downgrade") + 1 if "alembic_downgrade" in names else 0
    verify = [str(number) for number, name in enumerate(names, 1) if name == "verify"]
    lines += [f"VERIFY=({' '.join(verify)})", f"NO_RETURN={gone}", f"QUESTION={shlex.quote(_question(plan, builder))}"]
    for number, part in enumerate(parts, 1):
        lines += ["", f"# --- Phase {number}. {redact(part.name)}: {redact(part.title)}"]
        enter = [f"enter_{number}"] if part.enter else []
        if part.enter:
            lines += _function(f"enter_{number}", part.enter)
        for verb in ("look", "phase", "undo"):
            body = getattr(part, verb)
            if body:
                lines += _function(f"{verb}_{number}", enter + body)
    return "\n".join([*lines, "", 'main "$@"', ""])


def _function(name: str, body: t.Iterable[str]) -> list[str]:
    return [f"{name}() {{", *(f"  {line}" for line in body), "}"]


def _question(plan: Values, builder: Builder) -> str:
    lost = listed(plan.get("accept_loss") or [])
    others = builder.stopped_elsewhere()
    return " ".join(
        [
            "POINT OF NO RETURN. Until here stopping costs nothing (--back starts the app again). Now the database is",
            "downgraded, after a copy of all of it was kept.",
            *([f"It destroys {lost}."] if lost else []),
            *([f"The app has to be stopped on {listed(others)} too, where its scripts do that."] if others else []),
        ]
    )
