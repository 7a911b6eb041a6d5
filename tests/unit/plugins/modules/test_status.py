# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module status on a real git work tree, a real database, real files and services with commands."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import subprocess

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils import _status
from ansible_collections.changeops.rollback.plugins.module_utils._status import read_status

PARTS = ("code", "revisions", "digest", "files", "services")


def git(repo, *args):
    identity = ["-c", "user.name=U", "-c", "user.email=u@example.org"]
    done = subprocess.run(["git", *identity, "-C", str(repo), *args], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def place(tmp_path):
    """An app, with what the module is asked of it."""
    repo = tmp_path / "shop"
    (repo / "config").mkdir(parents=True)
    (repo / "config" / "app.toml").write_text("rounding = 'half'\n")
    git(repo, "init", "--quiet", "--initial-branch=release")
    git(repo, "add", "--all")
    git(repo, "commit", "--quiet", "-m", "one")
    (repo / "config" / "local.toml").write_text("# not tracked\n")
    (tmp_path / "shop.env").write_text(f"SHOP_URL=sqlite:///{tmp_path}/shop.db\nPASSWORD=hunter2\n")
    with contextlib.closing(sqlite3.connect(tmp_path / "shop.db")) as db:
        db.executescript(
            "CREATE TABLE alembic_version (version_num TEXT); INSERT INTO alembic_version VALUES ('51b7');"
        )
    (tmp_path / "up").touch()
    return tmp_path


def service(place, name):
    return {
        "name": name,
        "manager": "command",
        "start": ["false"],
        "stop": ["false"],
        "status": ["test", "-e", str(place / "up")] if name == "web" else ["test", "-e", str(place / "down")],
    }


def asked(place, **changes):
    params = {
        "repo": str(place / "shop"),
        "config": ["config/", str(place / "shop.env")],
        "databases": {"${SHOP_URL}": "alembic_version"},
        "services": [service(place, "web"), service(place, "worker")],
        "changes": [],
        "environment_files": [str(place / "shop.env")],
        "timeout": 30.0,
    }
    return {**params, **changes}


def files(place):
    """Every file with its content and the time of its last change."""
    return {
        path: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in place.rglob("*")
        if path.is_file() and not path.name.endswith(("-wal", "-shm"))
    }


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_everything_is_read_and_nothing_is_changed(place):
    before = files(place)
    found = read_status(asked(place))
    assert files(place) == before
    assert found["unread"] == {}
    head = git(place / "shop", "rev-parse", "HEAD")
    assert found["code"] == {"commit": head, "branch": "release", "changed": [], "release": ""}
    assert found["revisions"] == {"${SHOP_URL}": ["51b7"]}
    assert found["files"] == {
        "config/app.toml": sha256(place / "shop" / "config" / "app.toml"),
        str(place / "shop.env"): sha256(place / "shop.env"),
    }
    assert found["services"] == {"web": "running", "worker": "stopped"}


@pytest.mark.parametrize(
    ("harm", "part"),
    [
        pytest.param(lambda place: (place / "shop" / "config" / "app.toml").write_text("x"), "code", id="an edit"),
        pytest.param(lambda place: git(place / "shop", "checkout", "-q", "--detach"), "code", id="detached"),
        pytest.param(lambda place: (place / "shop.env").write_text("SHOP_URL=1"), "digest", id="another file"),
        pytest.param(lambda place: (place / "shop" / "config" / "app.toml").unlink(), "digest", id="a file is gone"),
        pytest.param(lambda place: (place / "up").unlink(), "services", id="a service is down"),
        pytest.param(
            lambda place: sqlite3.connect(place / "shop.db", isolation_level=None).execute(
                "DELETE FROM alembic_version"
            ),
            "revisions",
            id="another revision",
        ),
    ],
)
def test_what_differs_is_seen(place, harm, part):
    database = {str(place / "shop.db"): "alembic_version"}
    before = read_status(asked(place, databases=database))
    harm(place)
    after = read_status(asked(place, databases=database))
    assert after["unread"] == {}
    assert after[part] != before[part]


@pytest.mark.parametrize(
    ("changes", "part", "said"),
    [
        pytest.param(
            {"repo": "/nowhere/shop", "config": []}, "code", "There is no directory /nowhere/shop.", id="repo"
        ),
        pytest.param(
            {"databases": {"/nowhere/a.db": "v"}}, "revisions", "there is no file /nowhere/a.db", id="database"
        ),
        pytest.param({"databases": {"${NOPE}": "v"}}, "revisions", "the variable NOPE is not set", id="variable"),
        pytest.param({"config": ["a.toml"], "repo": None}, "files", "a.toml is not absolute", id="config"),
        pytest.param({"services": [{"name": "a b"}]}, "services", "'a b' cannot be the name", id="service"),
        pytest.param({"environment_files": ["/nowhere/env"]}, "environment", "/nowhere/env", id="environment"),
    ],
)
def test_what_cannot_be_read_is_a_sentence_and_hides_nothing_else(place, changes, part, said):
    given = {"databases": {str(place / "shop.db"): "alembic_version"}, **changes}
    whole, found = read_status(asked(place, databases=given["databases"])), read_status(asked(place, **given))
    assert said in found["unread"][part]
    assert list(found["unread"]) == [part]
    hidden = {
        part,
        *(["code"] if changes.get("repo", "") != "" else []),
        *(["files", "digest"] if "config" in given else []),
    }
    for other in set(PARTS) - hidden - ({"digest"} if part == "files" else set()):
        assert found[other] == whole.get(other), other


def test_a_database_that_hangs_leaves_time_for_the_others(place, monkeypatch):
    monkeypatch.setattr(_status, "PART_TIMEOUT", 0.5)
    holder = sqlite3.connect(place / "shop.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with contextlib.closing(holder):
        found = read_status(asked(place))
    assert list(found["unread"]) == ["revisions"]
    assert "hunter2" not in str(found)
    assert found["services"] == {"web": "running", "worker": "stopped"}


def test_a_release_behind_a_symlink_has_its_name(place):
    (place / "releases" / "20261101").mkdir(parents=True)
    (place / "current").symlink_to(place / "releases" / "20261101")
    found = read_status(asked(place, repo=str(place / "current"), config=[]))
    assert found["code"] == {"commit": "", "branch": "", "changed": [], "release": "20261101"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a work tree to somebody else")
def test_root_reads_the_work_tree_of_somebody_else(place):
    for path in [place, *place.rglob("*")]:
        os.chown(path, 65534, 65534)
    parent = place
    while parent != parent.parent and parent.stat().st_uid in (0, 65534) and str(parent).startswith("/tmp/"):
        parent.chmod(0o755)
        parent = parent.parent
    found = read_status(asked(place))
    assert found["unread"] == {}
    assert found["code"]["branch"] == "release"
