# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all kinds of checks have in common. Private to this collection."""

from __future__ import annotations

import abc
import dataclasses
import re
import typing as t

from ._command import Commands, PhaseError
from ._redact import MASK, redact
from ._services import Service
from ._words import listed

Verdict = t.Tuple[bool, str]  # whether it holds, and the evidence
Options = t.Any  # a dictionary; for a service its name

NOTHING_KEPT = "preflight of this run took down nothing to compare with; was the check added since?"
_VARIABLE = re.compile(r"\$\{(\w+)\}")


@dataclasses.dataclass(frozen=True)
class Scene:
    """What checks look at beside their options: the services by name, and what runs commands."""

    commands: Commands
    services: dict[str, Service]


@dataclasses.dataclass(frozen=True)
class Look:
    """One look at one check.

    ``timeout``: seconds that it may take. ``commands`` ends what it runs by then. ``kept``: what preflight took down,
    None where it took down nothing. ``seen``: what earlier looks at the same check have left here.
    """

    options: Options
    timeout: float
    scene: Scene
    kept: t.Any = None
    seen: dict[str, t.Any] = dataclasses.field(default_factory=dict)

    @property
    def commands(self) -> Commands:
        return self.scene.commands.within(self.timeout)


class Kind(abc.ABC):
    """One kind of check. Subclasses hold no state."""

    lasting = False  # looked at again while the app must stay healthy
    at_the_end = False  # looked at once, when all others are settled
    keeps = False  # main compares with what preflight took down

    @abc.abstractmethod
    def called(self, options: Options) -> str:
        """A name for a check that was given none."""

    @abc.abstractmethod
    def faults(self, options: Options, scene: Scene) -> t.Iterator[str]:
        """What is wrong with the options, each a sentence."""

    def missing(self, options: Options, scene: Scene) -> t.Iterator[str]:
        """What preflight does not find on this host and the check needs, each a sentence."""
        return iter(())

    def only_reads(self, options: Options) -> bool:
        """Whether it may be asked at any time, as it changes nothing."""
        return True

    def keep(self, look: Look) -> tuple[t.Any, str]:
        """What main compares with, as JSON values, and what that is, in a few words; asked of kinds that keep.

        :raises PhaseError: it cannot be had.
        """
        return None, ""

    @abc.abstractmethod
    def attempt(self, look: Look) -> Verdict:
        """Look once.

        :raises PhaseError, OSError: it cannot be looked at; that is the evidence then.
        """


def short(text: str, limit: int) -> str:
    """``text`` on one line, without secrets, in at most ``limit`` characters."""
    text = re.sub(r"\s+", " ", text[: limit * 20]).strip()
    if len(text) > limit * 4:  # an answer may be long; half a word at its end could be half a secret
        text = text[: limit * 4].rpartition(" ")[0] or "(one long word)"
    text = redact(text)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def some(items: t.Sequence[str], limit: int = 3) -> str:
    """``a, b, c and 9 more``."""
    more = len(items) - limit
    return listed([*items[:limit], f"{more} more"] if more > 0 else items)


def variables(text: str) -> list[str]:
    """The names in ``${NAME}`` of ``text``."""
    return _VARIABLE.findall(text)


def filled(text: str, environ: t.Mapping[str, str]) -> str:
    """``text`` with each ``${NAME}`` replaced by the variable's value.

    :raises PhaseError: a variable is not set.
    """
    missing = [name for name in variables(text) if name not in environ]
    if missing:
        raise PhaseError(unset(missing[0]))
    return _VARIABLE.sub(lambda match: environ[match.group(1)], text)


def unset(name: str) -> str:
    """The sentence for a variable that is not set."""
    return (
        f"the variable {name} is not set. Name the file that sets it in rollback_environment_files, or correct the "
        "variable's name."
    )


def masked(text: str, secrets: t.Iterable[str]) -> str:
    """``text`` without the secrets that are known. What is shorter than four characters is no secret."""
    for secret in sorted({one for one in secrets if len(one) > 3}, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text
