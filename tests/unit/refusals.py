# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of refusals: what is wrong, and the whole sentence that says so.

A test module has a list ``REFUSALS`` of `Refusal` and a test that brings each about. ``docs/refusals.md`` is made of
these lists, so it says what was tested: ``python tests/unit/refusals.py`` writes it.
"""

from __future__ import annotations

import importlib
import re
import sys
import typing as t
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "refusals.md"
PHASES = (
    *("alembic_downgrade", "backup", "config_restore", "git_revert", "manual_step", "run_script", "service_start"),
    *("service_stop", "verify"),
)
HEAD = """\
# What is refused, and what to type then

Made from the tests by `python tests/unit/refusals.py`: each sentence here is one that a test has brought about.
A word in `<angle brackets>` stands for what differs from case to case. A refused run has touched nothing.
"""


class Refusal(t.NamedTuple):
    """One row of the table.

    ``case``: what is wrong, in a few words, as a reader looks for it. ``says``: the whole message, in which ``<word>``
    stands for what differs from run to run. ``given``: what the test does to bring it about.
    """

    case: str
    says: str
    given: t.Any = None

    def matches(self, text: str) -> bool:
        """Whether ``text`` is the message; how its white space is laid out does not count."""
        return self._pattern().fullmatch(" ".join(text.split())) is not None

    def found_in(self, text: str) -> bool:
        """Whether ``text``, the output of a command say, holds the message."""
        return self._pattern().search(" ".join(text.split())) is not None

    def _pattern(self) -> t.Pattern[str]:
        parts = re.split(r"<[a-z][a-z ]*>", " ".join(self.says.split()))
        return re.compile(".+?".join(re.escape(part) for part in parts))


def tables() -> dict[str, list[Refusal]]:
    """All tables: the name of what is tested, and its rows."""
    found: dict[str, list[Refusal]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        if re.search(r"^REFUSALS\b", path.read_text(), re.MULTILINE):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            sys.path.insert(0, str(path.parent))
            module = importlib.import_module(f"ansible_collections.changeops.rollback.{name}")
            sys.path.pop(0)
            found.setdefault(_title(path.stem[len("test_") :]), []).extend(module.REFUSALS)
    return dict(sorted(found.items()))


def _title(name: str) -> str:
    """What a test file is about: the phase that it is named for, else its name in words."""
    return next((phase for phase in PHASES if name.startswith(phase)), name.replace("_refusals", "").replace("_", " "))


def page() -> str:
    """The whole of ``docs/refusals.md``."""
    lines = [HEAD]
    for title, rows in tables().items():
        lines += [f"## {title}\n", "| what is wrong | what you read |", "|---|---|"]
        said: dict[str, list[str]] = {}
        for row in rows:
            said.setdefault(row.says, []).append(row.case)
        lines += [f"| {_cell('; '.join(cases))} | {_cell(says)} |" for says, cases in said.items()]
        lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "\\<")


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page())
