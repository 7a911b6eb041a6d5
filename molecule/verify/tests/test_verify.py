# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""verify alone: the app was asked, again and again where it is well, and nothing of it was changed."""

import re

import pytest

well = pytest.mark.parametrize("app", ["web1", "web2"], indirect=True)


def answers(app):
    """The status of each answer that the app gave since it was started, in order, from its log."""
    with app.host.sudo():
        start = app.host.check_output("systemctl show --property=InvocationID --value shop-web")
        log = app.host.check_output("journalctl --output=cat _SYSTEMD_INVOCATION_ID=%s", start)
    return re.findall(r'"GET /health HTTP/1.1" (\d+)', log)


@well
def test_the_app_was_asked_more_than_once(app):
    assert len(answers(app)) > 2
    assert set(answers(app)) == {"200"}


@well
def test_the_smoke_test_ran(app):
    assert app.run("stat", "--format=%U", f"{app.facts['root']}/smoke-tested") == "shop"


@well
def test_nothing_of_the_app_was_changed(app):
    mended = f"{app.repo}/config/app.toml"
    written = app.run("find", app.facts["root"], "-type", "f", "-newer", mended, "!", "-path", "*/__pycache__/*")
    assert written.splitlines() == [f"{app.facts['root']}/smoke-tested"]


@pytest.mark.parametrize("app", ["web3"], indirect=True)
def test_what_is_not_well_is_left_as_it_is(app):
    assert set(answers(app)) == {"503"}
    assert app.host.service("shop-web").is_running
    assert app.git("status", "--porcelain") == ""
