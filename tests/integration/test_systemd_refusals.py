# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What service_stop and service_start refuse on a host with a real systemd."""

from __future__ import annotations

import types
import typing as t

import pytest
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal
from systemd_units import SLEEP, Systemd


class Given(t.NamedTuple):
    """What brings a refusal about: units and how they are brought up, the step and what it is given."""

    units: dict[str, str]
    up: list[list[str]]
    step: tuple[str, str]
    services: list[t.Any]
    options: t.Mapping[str, t.Any] = types.MappingProxyType({})
    user: str = "root"


NEEDS = {"shop-db.service": SLEEP, "shop-web.service": "[Unit]\nRequires=shop-db.service\n" + SLEEP}
START_WEB = [["ctl", "start", "shop-web"]]
REFUSALS = [
    Refusal(
        "a unit that there is not",
        "systemd has no unit shop-wbe. Units with similar names: shop-web.service.",
        Given({"shop-web.service": SLEEP}, [], ("stop", "preflight"), ["shop-wbe"]),
    ),
    Refusal(
        "a pattern that no loaded unit matches",
        "systemd has no loaded unit that matches shop-worker@*.service. A stopped instance is not loaded: start it, "
        "or list it by its own name.",
        Given({"shop-worker@.service": SLEEP}, [], ("stop", "preflight"), ["shop-worker@*.service"]),
    ),
    Refusal(
        "a unit that another one needs, which is not listed",
        "Stopping shop-db.service stops shop-web.service too, which requires it and is not listed. "
        "List shop-web.service before shop-db.service in rollback_services.",
        Given(NEEDS, START_WEB, ("stop", "preflight"), ["shop-db"]),
    ),
    Refusal(
        "a unit that runs and is masked",
        "shop-web runs and is masked, so it could not be started again. Unmask it: systemctl unmask shop-web",
        Given(
            {"shop-web.service": SLEEP},
            [*START_WEB, ["sh", "ln -sf /dev/null /etc/systemd/system/shop-web.service"], ["ctl", "daemon-reload"]],
            ("stop", "preflight"),
            ["shop-web"],
        ),
    ),
    Refusal(
        "a masked unit that is to be started",
        "shop-web is masked, so it cannot be started. Unmask it (systemctl unmask shop-web) or take it out of "
        "service_start_services.",
        Given({}, [["ctl", "mask", "shop-web"]], ("start", "main"), ["shop-web"], {"root": "standalone"}),
    ),
    Refusal(
        "a user without a systemd",
        "The systemd of user games does not answer: <what it said>. "
        "Let it run without a login: loginctl enable-linger games",
        Given({}, [], ("stop", "preflight"), ["shop-web"], user="games"),
    ),
    Refusal(
        "a unit whose stop takes too long",
        "shop-web was told to stop, and after 1 s process <number> (sleep 1000) is still there and process <number> "
        "(sleep 1001) is still there. End it, or give the phase a longer timeout, and run the same command again.",
        Given(
            {"shop-web.service": SLEEP + "ExecStop=sleep 1001\nTimeoutStopSec=infinity\n"},
            START_WEB,
            ("stop", "main"),
            ["shop-web"],
            {"timeout": 1.0},
        ),
    ),
    Refusal(
        "a unit that does not stay up",
        "shop-web did not stay up for 1 s: <why>. Its log ends: <log>",
        Given(
            {"shop-web.service": "[Service]\nExecStart=sleep 0.4\nRestart=always\nRestartSec=10ms\n"},
            [],
            ("start", "main"),
            ["shop-web"],
            {"root": "standalone", "stays_up": 1.0},
        ),
    ),
    Refusal(
        "a unit that does not start",
        "shop-web could not be started: Job for shop-web.service failed because the control process exited with error "
        "code. / See <where>. Its log ends: <log>",
        Given(
            {"shop-web.service": "[Service]\nType=notify\nExecStart=false\n"},
            [],
            ("start", "main"),
            ["shop-web"],
            {"root": "standalone"},
        ),
    ),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.case)
def test_it_refuses_with_a_sentence(systemd: Systemd, refusal: Refusal) -> None:
    given = refusal.given
    things = [["add", given.units], *given.up] if given.units or given.up else []
    found = systemd.do(*things, [*given.step, given.services, dict(given.options)], user=given.user)
    assert refusal.matches(found[-1]["msg"]), found[-1]["msg"]
