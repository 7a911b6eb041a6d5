# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a manager of services can do, and how a service stands. Private to this collection."""

from __future__ import annotations

import abc
import dataclasses
import typing as t

from ._command import Commands, Completed

LOG_LINES = 20

# WORKING is a job under way, a unit that runs to its end by itself: it is stopped, but not started again.
RUNNING, STOPPED, FAILED, WORKING = "running", "stopped", "failed", "working"


@dataclasses.dataclass(frozen=True)
class State:
    """How a service stands.

    ``word``: running, stopped, failed (its manager wants it to run and could not keep it up) or working. ``active``: it
    has processes, or its manager is about to start some. ``up``: it has finished starting. ``said``: the manager's
    words. ``restarts``: how often its manager restarted it by itself. ``known``: its manager has such a service.
    ``stopping``: it was told to stop and is not gone yet, so a start now would come too early. ``ends``: it is a job,
    so it does not stay up. ``masked``: it cannot be started. ``enabled``: its manager starts it at boot.
    """

    word: str
    said: str
    active: bool = False
    up: bool = False
    pids: tuple[int, ...] = ()
    restarts: int = 0
    cgroup: str = ""
    known: bool = True
    stopping: bool = False
    ends: bool = False
    masked: bool = False
    enabled: bool = False


States = t.Dict[str, State]  # by the name of the service


class Manager(abc.ABC):
    """What starts and stops services. Subclasses are values: equal ones are asked for all their services at once."""

    @abc.abstractmethod
    def states(self, commands: Commands, names: t.Sequence[str]) -> dict[str, State]:
        """How the services stand, in as few process starts as there can be."""

    @abc.abstractmethod
    def start(self, commands: Commands, name: str, failed: bool) -> Completed:
        """Start a service; ``failed``: it had failed before."""

    @abc.abstractmethod
    def stop(self, commands: Commands, name: str) -> Completed:
        """Stop a service."""

    def gone(self, commands: Commands, name: str) -> bool:
        """Whether a service without a process is down for good, where stopping does not wait for that."""
        return True

    def log(self, commands: Commands, name: str) -> list[str]:
        """The last lines of the service's log; empty where they cannot be had."""
        return []

    def unknown(self, commands: Commands, name: str) -> str:
        """A sentence for a service that the manager does not know: what there is instead."""
        return ""

    def held(self, commands: Commands, names: t.Sequence[str]) -> list[str]:
        """Those of the services that ``hold`` keeps from being started."""
        return []

    def hold(self, commands: Commands, names: t.Sequence[str], who: str) -> list[str]:
        """Keep services from being started by anybody, also after a reboot; the files that are new for it."""
        return []

    def release(self, commands: Commands, names: t.Sequence[str], later: bool) -> list[str]:
        """Undo ``hold``, with ``later`` no more of it than a start needs; those that were held."""
        return []

    def comes_back(self, commands: Commands, names: t.Sequence[str]) -> list[str]:
        """What would start stopped services again and cannot be kept from it, each a sentence."""
        return []

    def faults(self, name: str) -> list[str]:
        """What would keep ``start`` and ``stop`` from working, each a sentence."""
        return []
