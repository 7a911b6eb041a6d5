# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks ``log`` and ``journal``: nothing worse than a warning since the start. Private to this collection."""

from __future__ import annotations

import abc
import json
import os
import re
import shutil
import time
import typing as t

from ._check_kind import NOTHING_KEPT, Kind, Look, Options, Scene, Verdict, short
from ._command import Completed, PhaseError
from ._log_level import is_worse
from ._log_marks import Mark, new_lines

LOG_ARGUMENT: dict[str, t.Any] = {
    "type": "dict",
    "options": {
        "path": {"type": "path", "required": True},
        "worse": {"type": "str"},
        "ignore": {"type": "list", "elements": "str", "default": []},
    },
}
JOURNAL_ARGUMENT: dict[str, t.Any] = {
    "type": "dict",
    "options": {
        "unit": {"type": "str", "required": True},
        "scope": {"type": "str", "choices": ["system", "user"], "default": "system"},
        "worse": {"type": "str"},
        "ignore": {"type": "list", "elements": "str", "default": []},
    },
}
SHOWN = 2  # lines in the evidence
ERROR = 3  # err, the syslog priority that is next to warning


class Found(t.NamedTuple):
    """A line of a log, and its syslog priority where the journal knows it."""

    text: str
    priority: int | None = None


class OfLog(Kind):
    """A check that reads what was written since the start. What stands there stays: it is looked at once."""

    at_the_end = True

    def faults(self, options: Options, scene: Scene) -> t.Iterator[str]:
        """A regular expression that is none."""
        for option in ("worse", "ignore"):
            for pattern in [options[option] or ""] if option == "worse" else options[option]:
                try:
                    re.compile(pattern)
                except re.error as exc:
                    yield f"'{pattern}' in `{option}` is no regular expression: {exc}. Correct it."

    @abc.abstractmethod
    def lines(self, look: Look) -> t.Iterator[Found]:
        """What was written since the mark in ``look.kept``."""

    def attempt(self, look: Look) -> Verdict:
        """Read what is new."""
        until = time.monotonic() + look.timeout
        worse, ignore = look.options["worse"], [re.compile(pattern) for pattern in look.options["ignore"]]
        bad: list[str] = []
        count = total = 0
        trace = False
        try:
            for total, line in enumerate(self.lines(look), 1):
                if total % 1000 == 0 and time.monotonic() > until:
                    return False, f"not read within {look.timeout:g} s"
                if trace and not line.text[:1].isspace():  # the exception, below its traceback
                    bad[-1], trace = line.text, False
                elif _is_bad(line, worse) and not any(one.search(line.text) for one in ignore):
                    count += 1
                    bad = [*bad, line.text] if len(bad) < SHOWN else bad
                    trace = len(bad) == count and line.text.startswith("Traceback (")
        except EOFError as exc:  # gzip's word for half a file
            return False, f"not read: {exc}"
        since = f"since {look.kept['since']}"
        if bad:
            lines = "line" if count == 1 else "lines"
            more = f" / and {count - len(bad)} more" if count > len(bad) else ""
            return False, f"{count} {lines} worse than warning {since}: {' / '.join(short(b, 100) for b in bad)}{more}"
        return True, f"nothing worse than warning in {total} {'line' if total == 1 else 'lines'} {since}"


def _is_bad(line: Found, worse: str | None) -> bool:
    if worse is not None:
        return re.search(worse, line.text) is not None
    return (line.priority is not None and line.priority <= ERROR) or is_worse(line.text)


class Log(OfLog):
    """A log file."""

    def called(self, options: Options) -> str:
        """``log /var/log/shop/app.log``."""
        return f"log {options['path']}"

    def missing(self, options: Options, scene: Scene) -> t.Iterator[str]:
        """A file that cannot be read."""
        if not os.path.isfile(options["path"]):
            yield f"there is no log file {options['path']} on this host. Correct `path`."
        elif not os.access(options["path"], os.R_OK):
            yield f"{options['path']} cannot be read (Permission denied). Read it as another user (become_user)."

    def lines(self, look: Look) -> t.Iterator[Found]:
        """The new lines of the file."""
        path = look.options["path"]
        if path not in look.kept["files"]:
            raise PhaseError(NOTHING_KEPT)
        for line in new_lines(path, Mark(**look.kept["files"][path])):
            yield Found(line)


class Journal(OfLog):
    """The journal of a unit."""

    def called(self, options: Options) -> str:
        """``journal of shop-web``."""
        return f"journal of {options['unit']}"

    def missing(self, options: Options, scene: Scene) -> t.Iterator[str]:
        """A journal that cannot be read, or that a unit is not in: nothing could ever be found there."""
        if not shutil.which("journalctl", path=scene.commands.environ.get("PATH")):
            yield "there is no program journalctl on this host. Use a `log` check."
        elif not self._ask(options, scene, "-n", "1", check=False).out.strip():  # it fails where it may read nothing
            yield (
                f"the journal holds nothing of {options['unit']} that this user can read. Correct `unit` or `scope`, "
                "set become: true on the phase, or add the user to the group systemd-journal."
            )

    @staticmethod
    def _ask(options: Options, scene: Scene, *args: str, check: bool = True) -> Completed:
        argv = [
            "journalctl",
            unit_option(options),
            "-q",
            "--no-pager",
            "--all",
            "-o",
            "json",
            "--output-fields=MESSAGE,PRIORITY",
        ]
        return scene.commands.run([*argv, *args], check=check)

    def lines(self, look: Look) -> t.Iterator[Found]:
        """The new entries of the unit."""
        if unit_option(look.options) not in look.kept["units"]:
            raise PhaseError(NOTHING_KEPT)
        cursor = look.kept["units"][unit_option(look.options)]
        after = [f"--after-cursor={cursor}"] if cursor else []
        scene = Scene(look.commands, look.scene.services)
        for entry in self._ask(look.options, scene, *after).out.splitlines():
            fields = json.loads(entry)
            priority = fields.get("PRIORITY")
            for line in _message(fields.get("MESSAGE")).splitlines():
                yield Found(line, int(priority) if str(priority).isdecimal() else None)


def unit_option(options: Options) -> str:
    """How journalctl is asked for the unit."""
    return f"--{'user-unit' if options['scope'] == 'user' else 'unit'}={options['unit']}"


def _message(value: t.Any) -> str:
    """A message as text: one that is not UTF-8 comes as the list of its bytes, a field twice as a list of texts."""
    if isinstance(value, list) and all(isinstance(byte, int) for byte in value):
        return bytes(value).decode("utf-8", "replace")
    return "\n".join(map(_message, value)) if isinstance(value, list) else str(value or "")
