# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""service_start alone: the app answers; and a service that died is not taken for one that runs."""

import pytest


@pytest.mark.parametrize("app", ["web1", "web2"], indirect=True)
def test_the_app_answers(app):
    assert app.host.service("shop-web").is_running
    assert app.status() == "503"  # of the bad release


@pytest.mark.parametrize("app", ["web3"], indirect=True)
def test_what_was_not_listed_stays_stopped(app):
    assert not app.host.service("shop-web").is_running
    assert not app.host.service("shop-dies").is_running
