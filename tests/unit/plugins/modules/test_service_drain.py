# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drain and undrain around service_stop and service_start: what is done when, seen from the commands themselves."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils import _service_start, _service_stop
from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.plugins.module_utils._processes import probe
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal

PHASES = {
    phase: {step: getattr(module, f"{phase}_{step}") for step in ("preflight", "main", "recover")}
    for phase, module in (("stop", _service_stop), ("start", _service_start))
}


class Drained:
    """A service with a port, and commands that note that they ran and how the service stood then."""

    def __init__(self, rig):
        self.rig = rig
        self.port = rig.commanded("web")
        self.log = rig.place / "log"
        status = " ".join(rig.items[0]["status"])
        self.params = {
            verb: [["sh", "-c", f"if {status}; then echo {verb} up; else echo {verb} down; fi >>{self.log}"]]
            for verb in ("drain", "undrain")
        }
        rig.run("web", "start")
        rig.until(lambda: probe("127.0.0.1", self.port) is True)

    def step(self, phase, step, **params):
        return self.rig.step(PHASES[phase], step, phase=phase, **{**self.params, **params})

    def noted(self):
        """What has been noted since the last call."""
        text = self.log.read_text() if self.log.exists() else ""
        self.log.write_text("")
        return text.splitlines()


@pytest.fixture
def drained(rig):
    return Drained(rig)


def test_drained_before_the_stop_and_undrained_when_recovered(drained):
    drained.step("stop", "preflight")
    assert drained.step("stop", "main", check=True).msg == "Would drain, then stop web."
    assert drained.step("start", "main", check=True).msg == "Would start web again. Would undrain then."
    assert drained.noted() == []
    done = drained.step("stop", "main")
    assert drained.noted() == ["drain up"] and done.msg.startswith("Drained. Stopped web in ")
    assert not drained.step("stop", "main").changed and drained.noted() == []
    back = drained.step("stop", "recover")
    assert drained.noted() == ["undrain up"] and back.msg == "Started web again. Undrained."
    assert not drained.step("stop", "recover").changed and drained.noted() == []


def test_undrained_after_the_start_and_drained_again_when_that_is_taken_back(drained):
    for phase in ("stop", "start"):
        drained.step(phase, "preflight")
    drained.step("stop", "main")
    done = drained.step("start", "main")
    assert drained.noted() == ["drain up", "undrain up"] and done.msg.endswith(" s. Undrained.")
    assert not drained.step("start", "main").changed and drained.noted() == []
    drained.step("start", "recover")
    assert drained.noted() == ["drain up"] and probe("127.0.0.1", drained.port) is False
    drained.step("stop", "recover")
    assert drained.noted() == ["undrain up"] and probe("127.0.0.1", drained.port) is True


def test_a_failed_start_leaves_the_host_drained(drained):
    for phase in ("stop", "start"):
        drained.step(phase, "preflight")
    drained.step("stop", "main")
    start, drained.rig.items[0]["start"] = drained.rig.items[0]["start"], ["false"]
    for phase, step in (("start", "main"), ("stop", "recover")):
        with pytest.raises(PhaseError, match="web could not be started"):
            drained.step(phase, step)
        drained.step("start", "recover")
    assert drained.noted() == ["drain up"]
    drained.rig.items[0]["start"] = start
    drained.step("stop", "recover")
    assert drained.noted() == ["undrain up"]


def test_a_failed_drain_stops_nothing_and_is_undone(drained):
    with pytest.raises(PhaseError, match="Nothing has been stopped yet"):
        drained.step("stop", "main", drain=[*drained.params["drain"], ["false"]])
    assert drained.noted() == ["drain up"] and probe("127.0.0.1", drained.port) is True
    assert drained.step("stop", "recover").msg == "All services that ran before run. Undrained."
    assert drained.noted() == ["undrain up"]


def test_what_cannot_be_drained_again_is_stopped_all_the_same(drained):
    for phase in ("stop", "start"):
        drained.step(phase, "preflight")
    drained.step("stop", "main")
    drained.step("start", "main")
    done = drained.step("start", "recover", drain=[["false"]])
    assert done.facts["stopped"] == ["web"] and done.warnings[0].startswith("The drain command 'false' failed")


@pytest.mark.parametrize(
    ("wait", "ends", "says"),
    [(10.0, True, "Drained. Stopped"), (0.6, False, "Drained; connections still open: 1. Stopped")],
    ids=["they end", "they stay"],
)
def test_open_connections_may_end_first(rig, wait, ends, says):
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(1)
        port = server.getsockname()[1]
        stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        peer = stack.enter_context(server.accept()[0])
        server.close()
        here = rig.place / "here"
        here.touch()
        verbs = {"start": ["true"], "stop": ["rm", str(here)], "status": ["test", "-e", str(here)]}
        rig.items.append({"name": "web", "manager": "command", "port": port, **verbs})
        if ends:
            stack.enter_context(contextlib.closing(Later(0.5, peer.close)))
        begun = time.monotonic()
        done = rig.step(PHASES["stop"], "main", drain=[["true"]], undrain=[["true"]], drain_wait=wait)
        took = time.monotonic() - begun
    assert done.msg.startswith(says)
    assert took >= 0.5 and (took < wait) == ends


class Later(threading.Timer):
    """Does something after some seconds."""

    def __init__(self, seconds, function):
        super().__init__(seconds, function)
        self.start()

    close = threading.Timer.cancel


REFUSALS = [
    Refusal(
        "drain without undrain",
        "drain has no undrain, so nothing would take this host back in. Set rollback_undrain.",
        {"drain": [["true"]], "undrain": []},
    ),
    Refusal(
        "a drain command that is no list",
        "drain: there is no program 'touch /x' on this host. Give each command as a list: [program, argument].",
        {"drain": [["touch /x"]]},
    ),
    Refusal(
        "an undrain command that is empty",
        "undrain: a command is empty. Give each command as a list: [program, argument].",
        {"undrain": [[]]},
    ),
    Refusal(
        "a drain command that fails",
        "The drain command 'sh -c <script>' failed with exit code 7: no such backend. Nothing has been stopped yet. "
        "Correct that and run the same command again.",
        {"drain": [["sh", "-c", "echo no such backend; exit 7"]]},
    ),
    Refusal(
        "a drain command that hangs",
        "The drain command 'sleep 600' was ended, with all that it had started, because it did not finish within "
        "0.3 s. Nothing has been stopped yet. Correct that and run the same command again.",
        {"drain": [["sleep", "600"]], "drain_timeout": 0.3},
    ),
    Refusal(
        "an undrain command that fails",
        "The undrain command 'false' failed with exit code 1: it printed nothing. The services are up. "
        "Run it by hand, or correct it and run the same command again.",
        {"undrain": [["false"]], "phase": "start"},
    ),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.case)
def test_it_refuses_with_a_sentence(drained, refusal):
    options = dict(refusal.given)
    phase = options.pop("phase", "stop")
    if phase == "start":
        drained.step("start", "preflight")
        drained.rig.run("web", "stop")
    with pytest.raises(PhaseError) as caught:
        drained.step(phase, "main", **options)
    assert refusal.matches(str(caught.value)), str(caught.value)
