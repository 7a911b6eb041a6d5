# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep stopped units of systemd from being started: at boot, by a socket, a timer, another unit or a person. Private.

A drop-in for the unit holds it: an assertion that the drop-in itself does not exist. So a start fails, and both the
error and ``systemctl status`` name the file; removing it is all that is needed, also for one who knows nothing of this
collection, and a killed run leaves nothing else behind. What systemd has for this does less: a unit whose file lies in
/etc cannot be masked (https://github.com/systemd/systemd/issues/12084), a runtime mask does not outlive a reboot, and a
disabled unit is still started by sockets, timers and other units. Whether a unit is enabled, static or masked is left
as it was.
"""

from __future__ import annotations

import contextlib
import os
import typing as t
from pathlib import Path

from ._command import Commands, Completed, PhaseError
from ._restore_point import write_file

# After other drop-ins, which might begin with an empty assignment that would reset this one.
NAME = "99-changeops-rollback-stopped.conf"
DROP_IN = """\
# {unit} was stopped by changeops.rollback ({who}), and this file keeps it from being started.
# service_start removes it, and so does the recovery of the run. To start the unit before that:
#     rm {path}
#     systemctl {scope}start {unit}
[Unit]
AssertPathExists=!{escaped}
"""


class Systemctl(t.Protocol):
    """What is needed of the manager."""

    @property
    def scope(self) -> str:
        """``system`` or ``user``."""

    def run(self, commands: Commands, *args: str) -> Completed:
        """Run systemctl."""

    def show(self, commands: Commands, properties: str, names: t.Sequence[str]) -> list[dict[str, str]]:
        """Properties of units."""


def drop_ins(scope: str) -> Path:
    """Where the administrator's drop-ins lie, see systemd.unit(5)."""
    if scope == "system":
        return Path("/etc/systemd/system")
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    return Path(base) / "systemd" / "user"


def may_hold(scope: str) -> bool:
    """Whether this user may write there (the user's own is made when it is missing)."""
    return scope == "user" or os.access(str(drop_ins(scope)), os.W_OK)


def held(commands: Commands, manager: Systemctl, names: t.Sequence[str]) -> list[str]:
    """Those of the units that are kept from being started."""
    return [name for name, path in _paths(commands, manager, names).items() if path.exists()]


def hold(commands: Commands, manager: Systemctl, names: t.Sequence[str], who: str) -> list[str]:
    """Keep units from being started; those that run go on. Returns the drop-ins that are new."""
    if not may_hold(manager.scope):
        return []
    new = []
    for path in _paths(commands, manager, names).values():
        if not path.exists():
            new.append(str(path))
        scope = "--user " if manager.scope == "user" else ""
        # a path in a unit knows specifiers, which begin with %
        escaped = str(path).replace("%", "%%")
        unit = path.parent.name[: -len(".d")]
        path.parent.mkdir(parents=True, exist_ok=True)
        text = DROP_IN.format(unit=unit, who=who, path=path, scope=scope, escaped=escaped)
        write_file(path, text.encode(), 0o644)
    _reload(commands, manager)  # also where the files are there: who wrote them may not have come to this
    return new


def release(commands: Commands, manager: Systemctl, names: t.Sequence[str], later: bool) -> list[str]:
    """Let units be started again; returns those that were held.

    :arg later: systemd need not be told now: it looks for the file at each start, and reading all units anew takes
        long and is in the downtime. Another call, when they run, tells it. Where a unit was changed besides, it has to
        know at once.
    """
    shown = manager.show(commands, "Id,NeedDaemonReload", names) if names else []
    paths = {name: path for name, path in _places(manager, names, shown).items() if path.exists()}
    for path in paths.values():
        path.unlink()
        with contextlib.suppress(OSError):  # there may be other drop-ins
            path.parent.rmdir()
    if any(values.get("NeedDaemonReload") == "yes" for values in shown) or (paths and not later):
        _reload(commands, manager)
    return list(paths)


def _paths(commands: Commands, manager: Systemctl, names: t.Sequence[str]) -> dict[str, Path]:
    return _places(manager, names, manager.show(commands, "Id", names) if names else [])


def _places(manager: Systemctl, names: t.Sequence[str], shown: t.Sequence[dict[str, str]]) -> dict[str, Path]:
    """The drop-ins that would hold units, by the names given. A target has none: it has no process of its own, and
    holding one would keep back what has nothing to do with the app."""
    return {
        name: drop_ins(manager.scope) / f"{unit}.d" / NAME
        for name, unit in zip(names, (values.get("Id", "") for values in shown))
        if unit and not unit.endswith(".target")
    }


def _reload(commands: Commands, manager: Systemctl) -> None:
    done = manager.run(commands, "daemon-reload")
    if done.rc != 0:
        raise PhaseError(f"systemctl daemon-reload failed: {done.said}. Correct that and run the same command again.")
