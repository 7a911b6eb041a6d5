# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""backup alone: the copies, the ref in git, the archive and the database; and the host where it was refused."""

import pytest

KEPT = "/srv/shop/.local/state/changeops/standalone/backup-kept"


def only_backup(app):
    """The folder of the one backup on the host."""
    (name,) = app.run("ls", KEPT).split()
    return f"{KEPT}/{name}"


@pytest.mark.parametrize("app", ["web1"], indirect=True)
def test_config_is_kept_once_however_often_it_is_asked_for(app):
    kept = f"{only_backup(app)}/files"
    for path in (app.facts["env_file"], f"{app.repo}/config/app.toml"):
        assert app.run("cmp", path, f"{kept}{path}") == ""


@pytest.mark.parametrize("app", ["web2"], indirect=True)
def test_the_archive_has_what_was_not_left_out(app):
    env_file = app.facts["env_file"]
    files = [name for name in app.run("tar", "-tzf", f"{only_backup(app)}/archive.tar.gz").split() if name[-1] != "/"]
    assert files == [env_file.lstrip("/")]


@pytest.mark.parametrize("app", ["web2"], indirect=True)
def test_the_database_is_kept_as_a_whole(app):
    dump = app.run("find", f"{only_backup(app)}/databases", "-type", "f")
    kept = app.run("pg_restore", "--data-only", "--table=invoices", "--file=-", dump).splitlines()
    rows = [line for line in kept if line[:1].isdigit()]
    assert sorted(rows) == sorted(app.sql("COPY invoices TO STDOUT"))


@pytest.mark.parametrize("app", ["web1", "web2"], indirect=True)
def test_a_ref_keeps_the_commit_and_the_branch_is_where_it_was(app):
    bad = app.facts["commits"]["bad"]
    assert app.git("for-each-ref", "--format=%(objectname)", "refs/changeops") == bad
    assert app.git("rev-parse", "refs/heads/main") == bad
    assert app.git("symbolic-ref", "HEAD") == "refs/heads/main"
    assert app.git("status", "--porcelain") == ""


@pytest.mark.parametrize("app", ["web1", "web2"], indirect=True)
def test_only_the_owner_may_look_at_it(app):
    assert app.run("find", KEPT, "-perm", "/077") == ""
    assert app.run("find", KEPT, "!", "-user", "shop") == ""


@pytest.mark.parametrize("app", ["web3"], indirect=True)
def test_what_is_refused_keeps_nothing(app):
    assert app.run("find", "/srv/shop", "-path", KEPT) == ""
    assert app.git("for-each-ref", "refs/changeops") == ""
