# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The phase backup, with real repositories and files."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils import _backup as backup
from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.plugins.module_utils._phase import run_step
from ansible_collections.changeops.rollback.plugins.module_utils._restore_point import RestorePoint
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal

FUNCTIONS = {"preflight": backup.preflight, "main": backup.main, "recover": backup.recover}
REF = "refs/changeops/R1/before"
OTHER_UID = 4711 if os.geteuid() == 0 else os.geteuid()


class Host:
    """A repository with config, a file outside it, and a restore point."""

    def __init__(self, tmp_path):
        self.tmp = tmp_path
        self.repo = tmp_path / "shop"
        self.env = tmp_path / "etc" / "shop.env"
        (self.repo / "config" / "empty").mkdir(parents=True)
        (self.repo / "config" / "app.ini").write_text("debug = no\n")
        (self.repo / "config" / "run.sh").write_text("#!/bin/sh\n")
        (self.repo / "config" / "run.sh").chmod(0o750)
        (self.repo / "config" / "current").symlink_to("app.ini")
        self.git("init", "-q", "-b", "main")
        self.git("add", ".")
        self.git("commit", "-qm", "One")
        self.env.parent.mkdir()
        self.env.write_text("PASSWORD=hunter2\n")
        self.env.chmod(0o640)
        os.chown(self.env, OTHER_UID, -1)
        os.utime(self.env, ns=(10**18, 10**18 + 7))
        self.part = tmp_path / "state" / "R1" / "1-backup"

    def git(self, *args):
        identity = ["-c", "user.name=T", "-c", "user.email=t@example.org"]
        done = subprocess.run(["git", *identity, *args], cwd=self.repo, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def step(self, step, paths=None, check=False, part=None, repo=None):
        part = str(part or self.part)
        params = {
            "repo": str(self.repo) if repo is None else repo,
            "paths": ["config", {"path": str(self.env), "source": "/x"}] if paths is None else paths,
            "restore_point": part,
            "timeout": 60.0,
            "wait": 1.0,
        }
        return run_step(step, params, RestorePoint(part), FUNCTIONS, check)

    def manifest(self):
        return json.loads((self.part / "manifest.json").read_text())

    def files(self):
        """Everything on the host but git's own folder, with content, owner, mode and time."""
        return {
            path: (os.lstat(path).st_mode, os.lstat(path).st_uid, os.lstat(path).st_mtime_ns)
            for start in (self.repo / "config", self.env.parent)
            for path in [start, *start.rglob("*")]
        }


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


def test_everything_is_kept_and_recorded(host):
    other = RestorePoint(str(host.part.parent / "2-alembic_downgrade"))
    other.write(progress="found", before={"revision": "8ae1f0c2"})
    before = host.files()
    found = host.step("preflight")
    assert found.pending is None
    assert found.before == {"commit": host.git("rev-parse", "HEAD"), "branch": "main"}
    report = host.step("main")
    assert report.changed
    assert report.facts == {"files": 3, "bytes": 38, "ref": REF}
    assert host.files() == before
    assert host.git("rev-parse", REF) == host.git("rev-parse", "HEAD")
    assert host.git("branch", "--show-current") == "main"
    manifest = host.manifest()
    assert manifest["phases"] == {"2-alembic_downgrade": {"revision": "8ae1f0c2"}}
    kinds = {os.path.relpath(record["path"], host.tmp): record["kind"] for record in manifest["files"]}
    assert kinds == {
        "shop/config": "folder",
        "shop/config/app.ini": "file",
        "shop/config/current": "link",
        "shop/config/empty": "folder",
        "shop/config/run.sh": "file",
        "etc/shop.env": "file",
    }
    record = manifest["files"][-1]
    assert (record["mode"], record["uid"], record["mtime_ns"]) == (0o640, OTHER_UID, 10**18 + 7)
    copy = host.part / record["kept"]
    assert copy.read_text() == "PASSWORD=hunter2\n"
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert stat.S_IMODE((host.part / "manifest.json").stat().st_mode) == 0o600
    assert "hunter2" not in json.dumps([report.msg, report.before, report.after, report.facts])


def test_a_resumed_run_never_makes_a_new_backup(host):
    host.step("main")
    first = host.manifest()
    host.env.write_text("PASSWORD=half-rolled-back\n")
    shutil.rmtree(host.repo / "config")
    host.git("commit", "-qam", "Half-way")
    for step in ("preflight", "main"):
        report = host.step(step)
        assert not report.changed, report.msg
    assert host.manifest() == first
    assert host.git("rev-parse", REF) == first["code"]["commit"]


def test_an_attempt_that_was_killed_is_finished(host, monkeypatch):
    class Killed(BaseException):
        pass

    def keep(path, copy):
        if path.endswith("run.sh"):
            raise Killed
        return backup_keep(path, copy)

    backup_keep = backup.keep
    monkeypatch.setattr(backup, "keep", keep)
    with pytest.raises(Killed):
        host.step("main")
    monkeypatch.undo()
    with (host.part / "kept.jsonl").open("a") as journal:
        journal.write('{"path": "/torn')
    assert not (host.part / "manifest.json").exists()
    first = (host.part / "files" / str(host.repo / "config" / "app.ini").lstrip("/")).stat().st_ino
    assert host.step("main").changed
    assert len(host.manifest()["files"]) == 6
    assert (host.part / "files" / str(host.repo / "config" / "app.ini").lstrip("/")).stat().st_ino == first
    assert not (host.part / "kept.jsonl").exists()
    assert not host.step("main").changed


@pytest.mark.parametrize("step", ["preflight", "main"])
@pytest.mark.parametrize("harm", ["flip", "remove"])
def test_a_damaged_copy_is_named(host, step, harm):
    host.step("main")
    copy = host.part / ("files" + str(host.env))
    if harm == "flip":
        copy.write_bytes(b"Q" + copy.read_bytes()[1:])
    else:
        copy.unlink()
    with pytest.raises(PhaseError, match=r"shop\.env: the kept copy .* is (damaged|missing)"):
        host.step(step)


NOT_KEPT = (
    "Not everything can be kept: {} Correct backup_paths (rollback_config), or read it as another user (become_user)."
)
REFUSALS = [
    Refusal(
        "a path that is not there", NOT_KEPT.format("<path>/confg does not exist."), {"paths": ["config", "confg"]}
    ),
    Refusal(
        "several paths that are not there",
        NOT_KEPT.format("/nowhere/a does not exist. /nowhere/b does not exist."),
        {"paths": ["/nowhere/a", "/nowhere/b"]},
    ),
    Refusal(
        "a relative path without a repository",
        "backup_paths: config is relative, and there is no repository. Set backup_repo (rollback_repo).",
        {"paths": ["config"], "repo": ""},
    ),
    Refusal(
        "an item without a path",
        "backup_paths: None is not a path. Write a path, or a dictionary with 'path'.",
        {"paths": [{"source": "/x"}]},
    ),
    Refusal(
        "no room for the backup",
        "The restore point <folder> needs 11.0 TiB and <size> are free on <folder>. Make room there, or take large "
        "folders out of backup_paths (rollback_config) and backup_archive, or large databases out of backup_databases.",
        {"paths": ["{huge}"]},
    ),
]


@pytest.mark.parametrize("row", REFUSALS, ids=[row.case for row in REFUSALS])
def test_refused(host, row):
    huge = host.tmp / "huge"
    with huge.open("wb") as stream:
        stream.truncate(10 << 40)
    given = dict(row.given)
    given["paths"] = [str(huge) if one == "{huge}" else one for one in given["paths"]]
    with pytest.raises(PhaseError) as caught:
        host.step("preflight", **given)
    assert row.matches(str(caught.value)), str(caught.value)
    assert not host.part.exists()
    facts = caught.value.facts
    assert "bytes_needed" not in facts or facts["bytes_needed"] > facts["bytes_free"] > 0


@pytest.mark.parametrize(("repo", "said"), [("/nowhere", "no directory /nowhere"), ("/", "/ is not a git work tree")])
def test_a_repository_that_is_none_is_refused(host, repo, said):
    with pytest.raises(PhaseError, match=said):
        host.step("preflight", [], repo=repo)
    assert not host.part.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_preflight_names_what_cannot_be_read(host):
    host.env.chmod(0)
    with pytest.raises(PhaseError, match=r"shop\.env cannot be read"):
        host.step("preflight")


def test_a_file_that_the_change_removed_is_noted_as_absent(host):
    host.git("rm", "-q", "config/run.sh")
    host.git("commit", "-qm", "Two")
    host.step("main", ["config/run.sh", {"path": "/nowhere/shop.env", "source": "/x"}])
    assert {record["kind"] for record in host.manifest()["files"]} == {"absent"}


def test_a_listed_symlink_is_kept_with_what_it_points_to(host):
    link = host.repo / "shop.env"
    link.symlink_to(host.env)
    host.step("main", ["shop.env"])
    assert [(r["path"], r["kind"]) for r in host.manifest()["files"]] == [(str(link), "link"), (str(host.env), "file")]


def test_check_mode_changes_nothing(host):
    before = host.files()
    report = host.step("main", check=True)
    assert report.changed
    assert report.facts["files"] == 3
    assert host.files() == before
    assert not (host.tmp / "state").exists()
    assert host.git("for-each-ref", "refs/changeops") == ""
    host.step("main")
    assert not host.step("main", check=True).changed


def test_recover_removes_the_ref_and_keeps_the_files(host):
    assert not host.step("recover").changed
    host.step("main")
    assert host.step("recover").changed
    assert host.git("for-each-ref", "refs/changeops") == ""
    assert (host.part / ("files" + str(host.env))).exists()
    assert not host.step("recover").changed


def test_used_alone_a_new_backup_is_made_only_of_something_new(host):
    part = host.tmp / "state" / "standalone" / "backup"
    assert host.step("main", part=part).changed
    for check in (True, False):
        assert not host.step("main", part=part, check=check).changed
    contents = ["PASSWORD=hunter2\n"]
    for number in range(6):
        contents.append(f"PASSWORD={number}\n")
        host.env.write_text(contents[-1])
        for check in (True, False):
            assert host.step("main", part=part, check=check).changed
        assert not host.step("main", part=part).changed
    stores = sorted((part.parent / "backup-kept").iterdir())
    assert [(store / ("files" + str(host.env))).read_text() for store in stores] == contents[-5:]
    (stores[-1] / "manifest.json").unlink()
    host.env.write_text("later\n")
    host.step("main", part=part)
    newest = max((part.parent / "backup-kept").iterdir())
    assert (newest / ("files" + str(host.env))).read_text() == "later\n", "an unfinished one must not be finished later"


def test_without_a_repository_only_files_are_kept(host):
    report = host.step("main", [str(host.env)], repo="")
    assert report.facts == {"files": 1, "bytes": 17, "ref": None}
    assert not host.step("recover", repo="").changed


@pytest.mark.parametrize("name", ["R1", "C001-20261122T2330", "a b", "a..b", ".a", "x.lock", "-x", "a~^:?*["])
def test_the_ref_is_one_that_git_takes(tmp_path, name):
    ref = backup.ref_name(RestorePoint(str(tmp_path / name / "1-backup")))
    assert subprocess.run(["git", "check-ref-format", ref], check=False).returncode == 0
