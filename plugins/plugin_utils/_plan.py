# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rollback plan as values, and where plans are found. Private.

Everything here is pure or only looks for files, without Ansible. ``_plan_check.load_plan`` makes a `Plan` of a file.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
import typing as t
from pathlib import Path

from ._plan_yaml import PlanError

if t.TYPE_CHECKING:
    from ._windows import Window

COLLECTION = "changeops.rollback"
PHASES = (
    *("backup", "service_stop", "alembic_downgrade", "git_revert", "config_restore", "service_start", "verify"),
    *("run_script", "manual_step"),
)
METHODS = ("automated", "git_revert", "script", "manual")
ON_FAILURE = ("recover", "stop")

_CHANGE_ID = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}")
_SUFFIXES = (".yml", ".yaml")
# (most phases, most seconds) of each class; above the last it is very complex.
_COMPLEXITY = (("simple", 2, 3599), ("moderate", 5, 7200), ("complex", 10, 14400))


class NoPlan(PlanError):
    """The change has no plan."""


@dataclasses.dataclass(frozen=True)
class Risk:
    """What may be lost or go wrong, and what is done about it."""

    issue: str
    mitigation: str = ""


@dataclasses.dataclass(frozen=True)
class Phase:
    """A step of the procedure: a role, run on hosts.

    ``id`` is "<index>-<name>" and names the phase's part of the restore point. ``name`` is the last part of ``role``.
    ``estimate`` and ``timeout`` are seconds. ``line`` is where the phase stands in the file.
    """

    index: int
    role: str
    hosts: str
    vars: dict[str, t.Any] = dataclasses.field(default_factory=dict)
    estimate: int | None = None
    timeout: int | None = None
    become: bool | None = None
    become_user: str | None = None
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    line: int = 0

    @property
    def name(self) -> str:
        return self.role.rpartition(".")[2]

    @property
    def id(self) -> str:
        return f"{self.index}-{self.name}"

    @property
    def ours(self) -> str:
        """The phase's name when it is one of this collection's, else an empty text."""
        return self.name if self.role == f"{COLLECTION}.{self.name}" else ""

    def as_dict(self) -> dict[str, t.Any]:
        """Give the phase as JSON values."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "line"}
        return {"index": self.index, "id": self.id, "name": self.name, **values}


@dataclasses.dataclass(frozen=True)
class Plan:
    """A checked plan. ``digest`` is the SHA-256 of the file's bytes, ``date`` is YYYY-MM-DD, ``timeout`` is seconds.

    ``require_rehearsal`` is how old the rehearsal may be that a rollback needs, in seconds; None: it needs none.

    ``serial`` has the sizes of batches, each a number of hosts or a percentage such as "25%"; empty is all at once.
    """

    change: str
    title: str
    date: str
    path: str
    digest: str
    implemented_by: str = ""
    hosts: str = ""
    possible: bool = True
    reason: str = ""
    method: str = "automated"
    accept_loss: tuple[str, ...] = ()
    require_rehearsal: int | None = None
    schema_compatible: bool = False
    serial: tuple[int | str, ...] = ()
    risks: tuple[Risk, ...] = ()
    on_failure: str = "recover"
    timeout: int | None = None
    phases: tuple[Phase, ...] = ()
    maintenance: tuple[Window, ...] = ()

    @property
    def estimate(self) -> int | None:
        """Seconds that the phases with an estimate take together; None when no phase has one."""
        known = [phase.estimate for phase in self.phases if phase.estimate is not None]
        return sum(known) if known else None

    @property
    def complexity(self) -> str:
        """The larger of the class that the number of phases gives and the one that their time gives."""
        for name, most_phases, most_seconds in _COMPLEXITY:
            if len(self.phases) <= most_phases and (self.estimate or 0) <= most_seconds:
                return name
        return "very complex"

    @property
    def commits(self) -> list[str]:
        """The commits that all phases revert, in the plan's order."""
        reverts = [phase for phase in self.phases if phase.ours == "git_revert"]
        return [commit for phase in reverts for commit in phase.vars.get("git_revert_commits") or []]

    @property
    def code_first(self) -> bool:
        """Whether the code is reverted before the database."""
        names = [phase.ours for phase in self.phases]
        return "git_revert" in names and "alembic_downgrade" in names[names.index("git_revert") :]

    @property
    def accounts(self) -> list[dict[str, t.Any]]:
        """Each way in which phases become a user, with its hosts, once; none where no phase says."""
        found: dict[tuple[t.Any, ...], list[str]] = {}
        for phase in self.phases:
            found.setdefault((phase.become, phase.become_user, phase.hosts), []).append(phase.id)
        if all(become is None for become, _user, _hosts in found):
            return []
        return [
            {"become": become, "become_user": user, "hosts": hosts, "phases": ids}
            for (become, user, hosts), ids in found.items()
        ]

    @property
    def patterns(self) -> list[str]:
        """Each host pattern of the plan once, the plan's own first."""
        patterns = [self.hosts, *(phase.hosts for phase in self.phases)]
        return list(dict.fromkeys(pattern for pattern in patterns if pattern))

    def as_dict(self) -> dict[str, t.Any]:
        """Give the plan as JSON values, with what is derived."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values.update(
            accept_loss=list(self.accept_loss),
            serial=list(self.serial),
            risks=[dataclasses.asdict(risk) for risk in self.risks],
            phases=[phase.as_dict() for phase in self.phases],
            maintenance=[window.as_dict() for window in self.maintenance],
            estimate=self.estimate,
            complexity=self.complexity,
            accounts=self.accounts,
            commits=self.commits,
            code_first=self.code_first,
        )
        return values


def near(word: str, words: t.Iterable[str]) -> str:
    """Give the word that was probably meant as a sentence with a space before it, or an empty text."""
    close = difflib.get_close_matches(word, list(words), n=1, cutoff=0.6)
    return f" Did you mean `{close[0]}`?" if close else ""


def list_plans(directories: t.Iterable[Path]) -> dict[str, Path]:
    """Find all plans, change ID to file, sorted by ID. An earlier directory wins over a later one."""
    plans: dict[str, Path] = {}
    for directory in directories:
        try:
            names = sorted(os.listdir(directory))
        except OSError:
            continue
        here = {Path(name).stem: directory / name for name in names if name.endswith(_SUFFIXES)}
        plans = {change: path for change, path in here.items() if _CHANGE_ID.fullmatch(change)} | plans
    return dict(sorted(plans.items()))


def find_plan(change: t.Any, directories: t.Sequence[Path]) -> Path:
    """Find the file of a change's plan.

    :arg change: what the user gave, of any type.
    :raises NoPlan: it has no plan.
    :raises PlanError: no change was given, it is not a change ID, or it has two plans in one directory.
    """
    if change is None or not str(change).strip():
        _refuse(f"Say which change: add -e change=C001 to the command. {_known(directories)}")
    if not isinstance(change, str) or not _CHANGE_ID.fullmatch(change):
        shown = repr(change) if len(repr(change)) <= 80 else repr(change)[:77] + "..."
        _refuse(
            f"{shown} is not a change ID. An ID begins with a letter, then come letters, digits, '.', '_' and '-', "
            f"64 at most: ansible-playbook rollback.yml -e change=C001. {_known(directories)}"
        )
    for directory in directories:
        found = [path for path in (directory / f"{change}{suffix}" for suffix in _SUFFIXES) if os.path.isfile(path)]
        if len(found) > 1:
            _refuse(
                f"There are two plans of {change} in {directory}: {found[0].name}, {found[1].name}. Keep one of them."
            )
        if found:
            return found[0]
    hint = near(change, list_plans(directories))
    text = f"There is no plan of {change}: no {change}.yml in {_join(directories)}.{hint} {_known(directories)}"
    raise NoPlan([(0, text)])


def write_plan(path: Path, text: str) -> None:
    """Write a new plan, and the directory that it is in.

    :raises FileExistsError: there is such a file; it is left as it is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("x", encoding="utf-8", newline="\n") as file:
        file.write(text)


def _refuse(text: str) -> t.NoReturn:
    raise PlanError([(0, text)])


def _known(directories: t.Sequence[Path]) -> str:
    plans = list_plans(directories)
    if not plans:
        return f"No plan was found in {_join(directories)}. Set rollback_changes_dir when plans are kept elsewhere."
    shown = list(plans)[-20:]
    more = f" and {len(plans) - len(shown)} earlier ones" if len(plans) > len(shown) else ""
    return f"Plans found: {', '.join(shown)}{more}."


def _join(directories: t.Sequence[Path]) -> str:
    return " or ".join(str(directory) for directory in directories) or "any directory"
