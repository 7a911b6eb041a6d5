# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""service_stop alone: no process, no port, no way to start it; and the host where it was refused still serves."""

import pytest

stopped = pytest.mark.parametrize("app", ["web1", "web2"], indirect=True)


@stopped
def test_nothing_of_the_app_runs(app):
    assert not app.host.service("shop-web").is_running
    assert app.host.process.filter(user="shop", comm="uvicorn") == []
    assert not app.host.socket(f"tcp://0.0.0.0:{app.facts['port']}").is_listening


@stopped
def test_systemd_does_not_start_it_meanwhile(app):
    with app.host.sudo():
        app.host.run("systemctl start shop-web")
    assert not app.host.service("shop-web").is_running


@pytest.mark.parametrize("app", ["web3"], indirect=True)
def test_what_is_refused_stops_nothing(app):
    assert app.host.service("shop-web").is_running
    assert app.host.socket(f"tcp://0.0.0.0:{app.facts['port']}").is_listening
