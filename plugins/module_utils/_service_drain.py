# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drain and undrain: commands that take a host out of its load balancer, and back in. Private to this collection."""

from __future__ import annotations

import shutil
import time
import typing as t

from ._command import PhaseError
from ._phase import Context
from ._processes import connections
from ._services import Service

DRAIN_ARGUMENTS: dict[str, t.Any] = {
    "drain": {"type": "list", "elements": "list", "default": []},
    "undrain": {"type": "list", "elements": "list", "default": []},
    "drain_wait": {"type": "float", "default": 0.0},
    "drain_timeout": {"type": "float", "default": 60.0},
}
POLL = 0.05  # seconds between two looks at the open connections


def drain_faults(params: dict[str, t.Any]) -> list[str]:
    """What would keep the commands from working, each a sentence."""
    faults = [
        f"{option}: there is no program '{argv[0]}' on this host. Give each command as a list: [program, argument]."
        if argv
        else f"{option}: a command is empty. Give each command as a list: [program, argument]."
        for option in ("drain", "undrain")
        for argv in params[option]
        if not argv or not shutil.which(str(argv[0]))
    ]
    if params["drain"] and not params["undrain"]:
        faults.append("drain has no undrain, so nothing would take this host back in. Set rollback_undrain.")
    return faults


def drain(ctx: Context, services: t.Sequence[Service]) -> str:
    """Drain, once; then wait until no connection to the services' ports is open, ``drain_wait`` seconds at most.

    Returns what was done, in a sentence; empty where nothing was.

    :raises PhaseError: a command failed.
    """
    if not ctx.params["drain"] or ctx.prepared.get("drained"):
        return ""
    ctx.note(drained=False)  # begun: recover undrains
    _run(ctx, "drain", "Nothing has been stopped yet. Correct that and run the same command again.")
    ports = {port for service in services for port in service.ports}
    until = time.monotonic() + (ctx.commands.remaining(ctx.params["drain_wait"]) or 0.0)
    while time.monotonic() < until and (not ports or connections(ports)):
        time.sleep(POLL)
    ctx.note(drained=True)
    left = connections(ports)
    return "Drained." if not left else f"Drained; connections still open: {left}."


def undrain(ctx: Context) -> str:
    """Take the host back in; what was done, in a sentence."""
    if not ctx.params["undrain"]:
        return ""
    _run(ctx, "undrain", "The services are up. Run it by hand, or correct it and run the same command again.")
    return "Undrained."


def _run(ctx: Context, option: str, advice: str) -> None:
    for argv in ctx.params[option]:
        try:
            ctx.commands.run([str(word) for word in argv], timeout=ctx.params["drain_timeout"])
        except PhaseError as exc:
            raise PhaseError(f"The {option} command {str(exc).rstrip('.')}. {advice}", **exc.facts) from None
