# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""config_restore alone: the files, their owners and modes, and what they replaced; and the host with invalid config."""

import pytest

KEPT = "/srv/shop/.local/state/changeops/standalone/config_restore"
restored = pytest.mark.parametrize("app", ["web1", "web2"], indirect=True)


@restored
def test_config_in_git_is_that_of_the_good_release(app):
    good, bad = app.facts["commits"]["good"], app.facts["commits"]["bad"]
    assert app.git("diff", "--stat", good, "--", "config") == ""
    assert app.git("rev-parse", "HEAD") == bad  # the rest of the repository is left alone
    assert app.git("diff", "--name-only", bad) == "config/app.toml"


@restored
def test_config_outside_of_git_is_what_was_kept(app):
    assert app.run("cmp", app.facts["env_file"], app.facts["kept_env_file"]) == ""
    assert app.run("stat", "--format=%U %a", app.facts["env_file"]) == "shop 640"


@restored
def test_config_that_was_given_is_there(app):
    limits = f"{app.facts['root']}/etc/limits.env"
    assert app.run("cat", limits) == "WORKERS=2"
    assert app.run("stat", "--format=%U %a", limits) == "shop 600"


@restored
def test_what_was_replaced_is_kept_for_the_owner_alone(app):
    assert app.run("grep", "-rlx", "SHOP_TOTALS=show", KEPT) != ""
    assert app.run("grep", "-rlx", "page_size = 50", KEPT) != ""
    assert app.run("find", KEPT, "-type", "d", "-perm", "/077") == ""


@pytest.mark.parametrize("app", ["web3"], indirect=True)
def test_config_that_is_not_valid_is_put_back(app):
    assert app.git("status", "--porcelain") == ""
    assert app.run("grep", "-c", "", app.facts["env_file"]) == "3"
    assert app.run("stat", "--format=%U %a", app.facts["env_file"]) == "shop 640"
