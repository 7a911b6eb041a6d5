# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the break-glass script is made of: words of shell, and the phases of a plan as they are on one host. Private."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import shlex
import typing as t

from ..module_utils._redact import MASK, redact

Values = t.Mapping[str, t.Any]
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclasses.dataclass
class Part:
    """A phase as shell. ``look``, ``phase``, ``undo``: lines of the functions.

    ``back``: what puts it back, to be typed; ``@HERE@`` stands for the phase's directory. ``by_hand``: what a person
    has to do before ``phase``. ``enter``: lines that come first in each function.
    """

    name: str
    title: str
    account: str = ""
    enter: list[str] = dataclasses.field(default_factory=list)
    look: list[str] = dataclasses.field(default_factory=list)
    phase: list[str] = dataclasses.field(default_factory=list)
    undo: list[str] = dataclasses.field(default_factory=list)
    back: str = "nothing is to be put back"
    by_hand: str = ""


def word(value: t.Any, before: str = "") -> str:
    """A value as one word of shell. One that holds a password becomes a variable that somebody has to set.

    :arg before: the word before it, which may be an option that names a password.
    """
    text = str(value)
    shown = redact(text)
    if before.startswith("-") and redact(f"{before} {text}") != f"{before} {text}":
        shown = f"the value of {before}"
    if shown == text and MASK not in text:  # what comes from a vault is masked already
        return shlex.quote(text)
    name = f"SECRET_{hashlib.sha256(shown.encode()).hexdigest()[:6].upper()}"
    plain = re.sub(r"[^\w :/@.,*-]", "_", shown)
    return f'"${{{name}:?is a secret that is not in this script, {plain}. See the inventory, then: export {name}=}}"'


def words(values: t.Iterable[t.Any]) -> str:
    """Values as words of shell."""
    texts = [str(value) for value in values]
    return " ".join(word(text, before) for before, text in zip(["", *texts], texts, strict=False))


def filled(text: t.Any) -> str:
    """A value as one word of shell in which ``${NAME}`` is that variable."""
    parts = _VARIABLE.split(str(text))
    return (
        "".join(
            f'"${{{part}:?is in none of the environment files}}"' if number % 2 else word(part)
            for number, part in enumerate(parts)
            if part
        )
        or "''"
    )


class Phase:
    """A phase of the plan, and what its role's variables are on the host."""

    def __init__(self, plan: Values, values: Values, host_vars: Values) -> None:
        self.plan, self.values, self.host_vars = plan, values, host_vars
        self.name: str = values["name"]
        self.ours = values["role"] == f"changeops.rollback.{self.name}"

    def get(self, option: str, default: t.Any = None, shared: str = "") -> t.Any:
        """The role's variable ``<role>_<option>``, else the app's ``shared``, else ``default``."""
        for name in (f"{self.name}_{option}", shared):
            for where in (self.values.get("vars") or {}, self.host_vars):
                if name and where.get(name) is not None:
                    return where[name]
        return default

    @property
    def account(self) -> str:
        """Who does it; empty where that is whoever runs the script."""
        become = self.values.get("become")
        if become is None:
            become = bool(self.values.get("become_user")) or bool(self.host_vars.get("ansible_become"))
        if become:
            return str(self.values.get("become_user") or self.host_vars.get("ansible_become_user") or "root")
        return str(self.host_vars.get("ansible_user") or "")

    def enter(self) -> list[str]:
        """The phase's environment."""
        files = self.get("environment_files", [], "rollback_environment_files")
        lines = [f"environment {word(file)}" for file in files]
        for name, value in (self.values.get("environment") or {}).items():
            if MASK in str(value) or redact(f"{name}={value}") != f"{name}={value}":
                lines.append(
                    f': "${{{name}:?is not in this script, as it may be secret. See the plan, then export it}}"'
                )
            else:
                lines.append(f"export {name}={word(value)}")
        return lines
