# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The phase config_restore, with real repositories and files."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils import _config_restore as phase
from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.plugins.module_utils._phase import run_step
from ansible_collections.changeops.rollback.plugins.module_utils._restore_point import RestorePoint
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal

FUNCTIONS = {"preflight": phase.preflight, "main": phase.main, "recover": phase.recover}
ROOT = os.geteuid() == 0
OTHER_UID = 4711 if ROOT else os.geteuid()
GOOD_ENV, BAD_ENV = "DEBUG=no\nPASSWORD=hunter2\n", "DEBUG=yes\nPASSWORD=hunter3\n"


class Host:
    """A repository at a bad release, with config in it and outside it.

    The change edits app.ini, makes run.sh executable, adds new/added.ini, removes old.ini, turns the symlink `current`
    elsewhere, and turns the folder sites/ into a file. A commit before it and one after it stand beside it.
    """

    def __init__(self, tmp_path):
        self.tmp = tmp_path
        self.repo = tmp_path / "shop"
        self.config = self.repo / "config"
        self.env = tmp_path / "etc" / "shop.env"
        self.kept = tmp_path / "kept" / "C001" / "shop.env"
        self.part = tmp_path / "state" / "R1" / "5-config_restore"
        self.paths = ["config", {"path": str(self.env), "source": str(self.kept)}]

    def build(self):
        (self.config / "sites").mkdir(parents=True)
        self.git("init", "-q", "-b", "main")
        self.write("app.ini", "debug = no\n")
        self.write("run.sh", "#!/bin/sh\n")
        self.write("old.ini", "old = yes\n")
        self.write("sites/a.ini", "a\n")
        (self.config / "current").symlink_to("app.ini")
        self.good = self.commit("Good")
        self.write("app.ini", "debug = yes\n")
        self.write("new/added.ini", "added\n")
        (self.config / "run.sh").chmod(0o755)
        (self.config / "old.ini").unlink()
        (self.config / "current").unlink()
        (self.config / "current").symlink_to("run.sh")
        shutil.rmtree(self.config / "sites")
        self.write("sites", "a file now\n")
        self.change = self.commit("Bad")
        (self.repo / "code.py").write_text("later\n")
        self.commit("Later")
        self.write("local.ini", "untracked\n")
        for path, text in ((self.env, BAD_ENV), (self.kept, GOOD_ENV)):
            path.parent.mkdir(parents=True)
            path.write_text(text)

    def copy(self, tmp_path):
        """The same host again, elsewhere: building the repository takes longer than a test."""
        shutil.copytree(self.tmp, tmp_path, symlinks=True, dirs_exist_ok=True)
        new = Host(tmp_path)
        new.good, new.change = self.good, self.change
        new.env.chmod(0o640)
        os.chown(new.env, OTHER_UID, -1)
        for path in (new.env, new.config / "app.ini"):
            os.utime(path, ns=(10**18, 10**18 + 7))
        return new

    def write(self, name, text):
        path = self.config / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def git(self, *args):
        identity = ["-c", "user.name=T", "-c", "user.email=t@example.org"]
        done = subprocess.run(["git", *identity, *args], cwd=self.repo, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def commit(self, message):
        self.git("add", ".")
        self.git("commit", "-qm", message)
        return self.git("rev-parse", "HEAD")

    def step(self, step, check=False, **params):
        given = {
            "repo": str(self.repo),
            "paths": self.paths,
            "commits": [self.change[:12]],
            "commit": "",
            "timeout": 60.0,
            "wait": 1.0,
        }
        return run_step(step, dict(given, **params), RestorePoint(str(self.part)), FUNCTIONS, check)

    def differs_from_good(self):
        """Names of config files that differ from the good commit, whatever the repository's own index says."""
        os.environ["GIT_INDEX_FILE"] = str(self.tmp / "index")
        try:
            self.git("read-tree", self.good)
            return self.git("diff", "--name-only", "--", "config")
        finally:
            del os.environ["GIT_INDEX_FILE"]

    def state(self):
        """Everything on the host outside the restore point: kind, content, mode and owner."""
        found = {}
        for start in (self.config, self.env.parent, self.kept.parent):
            for path in [start, *start.rglob("*")]:
                status = path.lstat()
                content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
                found[os.path.relpath(path, self.tmp)] = (status.st_mode, status.st_uid, content)
        return found

    def times(self):
        return {path: path.lstat().st_mtime_ns for path in (self.env, self.config / "app.ini")}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    host = Host(tmp_path_factory.mktemp("built"))
    host.build()
    return host


@pytest.fixture
def host(built, tmp_path):
    return built.copy(tmp_path)


def test_everything_becomes_what_it_was_before_the_change(host):
    found = host.step("preflight")
    assert found.pending is True
    assert not found.changed
    report = host.step("main")
    assert report.changed
    assert host.differs_from_good() == ""
    assert (host.config / "local.ini").read_text() == "untracked\n"
    assert not (host.config / "new" / "added.ini").exists()
    assert os.readlink(host.config / "current") == "app.ini"
    assert host.env.read_text() == GOOD_ENV
    assert (stat.S_IMODE(host.env.stat().st_mode), host.env.stat().st_uid) == (0o640, OTHER_UID)
    assert report.before[str(host.config / "app.ini")] != report.after[str(host.config / "app.ini")]
    assert report.after[str(host.config / "new" / "added.ini")] is None
    again = host.step("main")
    assert (again.changed, again.diff) == (False, [])
    assert host.step("preflight").pending is False


def test_config_that_the_revert_has_put_back_is_left_alone(host):
    host.step("preflight")
    host.git("revert", "--no-edit", host.change)
    report = host.step("main", paths=["config"])
    assert not report.changed
    assert host.git("status", "--porcelain", "--untracked-files=no") == ""


@pytest.mark.parametrize("reverted", [False, True])
def test_recover_puts_back_what_was_there_right_before_main(host, reverted):
    host.step("preflight")
    if reverted:
        host.git("revert", "--no-edit", host.change)
        (host.config / "app.ini").write_text("local edit\n")
        os.utime(host.config / "app.ini", ns=(10**18, 10**18 + 9))
    before, times, dirty = host.state(), host.times(), host.git("status", "--porcelain")
    assert host.step("main").changed
    assert host.step("recover").changed
    assert host.state() == before
    assert host.times() == times
    assert host.git("status", "--porcelain") == dirty
    assert not host.step("recover").changed
    assert host.state() == before


def main_killed_at(host, number):
    """Run main in a process that ends, without cleaning up, before its system call ``number`` that changes config.

    Returns whether it came so far.
    """
    pid = os.fork()
    if pid == 0:
        left = [number]
        act = phase._act

        def dying(call):
            def instead(*args, **kwargs):
                left[0] -= 1
                return os._exit(9) if left[0] < 0 else call(*args, **kwargs)

            return instead

        def acting(ctx, change):
            for name in ("replace", "unlink", "fchmod", "mkdir"):
                if not hasattr(getattr(os, name), "__wrapped__"):
                    call = dying(getattr(os, name))
                    call.__wrapped__ = True
                    setattr(os, name, call)
            act(ctx, change)

        phase._act = acting
        try:
            host.step("main")
        finally:
            os._exit(0)
    return os.waitpid(pid, 0)[1] != 0


@pytest.mark.parametrize("then", ["recover", "main, recover"])
@pytest.mark.parametrize("number", range(0, 27, 4))
def test_a_killed_main_is_undone_or_finished(host, number, then):
    host.step("preflight")
    before = host.state()
    assert main_killed_at(host, number)
    if "main" in then:
        host.step("main")
        assert host.differs_from_good() == ""
        assert host.env.read_text() == GOOD_ENV
        assert not list(host.tmp.rglob(".*.changeops"))
    host.step("recover")
    assert host.state() == before


def test_recover_before_main_does_nothing(host):
    before = host.state()
    assert not host.step("recover").changed
    host.step("preflight")
    assert not host.step("recover").changed
    assert host.state() == before


def test_recover_leaves_the_edits_of_others_alone(host):
    host.step("main")
    host.env.write_text("edited\n")
    report = host.step("recover")
    assert host.env.read_text() == "edited\n"
    assert (host.config / "app.ini").read_text() == "debug = yes\n"
    assert len(report.warnings) == 1
    assert f"{host.env} was edited after it had been restored" in report.warnings[0]
    kept = report.warnings[0].split(" is in ")[1].rstrip(".")
    with open(kept) as stream:
        assert stream.read() == BAD_ENV


def test_recover_refuses_a_damaged_copy(host):
    host.step("main", paths=host.paths[1:], commits=[])
    (copy,) = (host.part / "files").iterdir()
    copy.write_bytes(b"x")
    with pytest.raises(PhaseError, match=r"shop\.env cannot be put back: the kept copy .* is damaged"):
        host.step("recover")
    assert host.env.read_text() == GOOD_ENV


def test_preflight_keeps_what_main_will_replace_once(host):
    host.step("preflight")
    kept = json.loads((host.part / "state.json").read_text())["prepared"]["kept"]
    record = kept[str(host.env)]
    assert (record["mode"], record["uid"], record["mtime_ns"]) == (0o640, OTHER_UID, 10**18 + 7)
    copy = host.part / "files" / record["sha256"]
    assert copy.read_text() == BAD_ENV
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    host.step("main")
    host.step("preflight")
    assert json.loads((host.part / "state.json").read_text())["prepared"]["kept"] == kept
    assert not (host.part / "scratch").exists()


@pytest.mark.parametrize("step", ["preflight", "main"])
def test_check_mode_changes_nothing_and_tells_the_truth(host, step):
    before, times = host.state(), host.times()
    shown = host.step(step, check=True)
    assert (host.state(), host.times()) == (before, times)
    assert not (host.tmp / "state").exists()
    real = host.step("main")
    assert shown.diff == real.diff
    assert shown.changed is (step == "main")
    assert host.step(step, check=True).diff == []


def test_the_diff_masks_secrets_and_names_binary_files(host):
    (host.config / "logo.bin").write_bytes(b"\0\1")
    host.change = host.commit("Bad binary")
    (host.config / "logo.bin").write_bytes(b"\0\2\3")
    (host.config / "secret.ini").write_text("token = abc\n")
    good = host.commit("Base")
    (host.config / "logo.bin").write_bytes(b"\0\4")
    (host.config / "secret.ini").write_text("token = def\n")
    host.change = host.commit("Change")
    report = host.step("main", commit=good)
    text = json.dumps([report.msg, report.diff, report.before, report.after, report.facts])
    for secret in ("hunter2", "hunter3", "abc\\n", "def\\n"):
        assert secret not in text
    by_name = {os.path.basename(one["before_header"].split(" ")[0]): one for one in report.diff}
    assert by_name["shop.env"]["before"] == "DEBUG=yes\nPASSWORD=********\n"
    assert by_name["shop.env"]["after"] == "DEBUG=no\nPASSWORD=********\n"
    assert by_name["secret.ini"]["before"] != by_name["secret.ini"]["after"]
    assert by_name["logo.bin"]["after"].startswith("(not shown: 3 bytes")


def refused(case, says, *paths, **params):
    return Refusal(case, f"The config cannot be restored: {says}", {"paths": list(paths), **params})


OUT = "<path> leads out of <repository>, to <file>; name "
REFUSALS = [
    refused("config outside the repository", OUT + "such a file by its absolute path.", "../etc/shop.env"),
    refused(
        "config outside the repository, by a detour", OUT + "such a file by its absolute path.", "config/../../etc"
    ),
    refused("config below a symlink that leads out", OUT + "such a file by its absolute path.", "out/shop.env"),
    refused(
        "config below a symlink that leads out, from a kept copy",
        OUT + "such a file by its absolute path.",
        {"path": "out/shop.env", "source": "/dev/null"},
    ),
    refused("config that is a symlink out now", OUT + "that file by its absolute path.", "config/linked.ini"),
    refused("git's own config", ".git/config is git's own; it is no config.", ".git/config"),
    refused("the whole repository", ". is the whole repository; list the files and folders that are config.", "."),
    refused(
        "config that git does not know",
        "git knows no 'config/typo.ini' in <repository>, neither in <commit> nor later; check how it is spelt.",
        "config/typo.ini",
    ),
    refused(
        "config outside git of which nothing else is said",
        "/etc/hosts is outside git, so say where its content comes from: source (a kept copy on the host), content, "
        "template or keys, as {path: /etc/hosts, source: ...}.",
        "/etc/hosts",
    ),
    refused(
        "a kept copy that is missing",
        "There is no kept copy /nowhere for /etc/hosts; put it there, or correct its source.",
        {"path": "/etc/hosts", "source": "/nowhere"},
    ),
    refused(
        "a kept copy by a relative path",
        "The source of /etc/hosts must be an absolute path on the host, not 'kept/hosts'.",
        {"path": "/etc/hosts", "source": "kept/hosts"},
    ),
    refused(
        "something else than a path",
        "config_restore_paths: 17 is no path. Write a path, or a dictionary with path.",
        17,
    ),
    refused(
        "a folder where a file was",
        "<path> is a folder now, and was a file before the change; move it away.",
        "config/local",
    ),
    Refusal(
        "no commit to take config from",
        "It is not said which commit the config is to be taken from. Set config_restore_commits (the change's commits; "
        "a plan's git_revert_commits are taken by themselves) or config_restore_commit.",
        {"commit": ""},
    ),
    Refusal(
        "a commit without one before it",
        "Commit <commit> has no parent in <repository>, so there is no config from before it. If the clone is shallow: "
        "git -C <folder> fetch --unshallow",
        {"commit": "", "commits": ["first"]},
    ),
    Refusal(
        "commits that are not on one line",
        "The commits <one>, <other> are not on one line of history, so no commit stands before all of them. Name the "
        "one that the config is to be taken from: config_restore_commit.",
        {"commit": "", "commits": ["change", "beside"]},
    ),
    refused(
        "a relative path without a repository",
        "config is relative and there is no repository; set config_restore_repo (rollback_repo).",
        "config",
        repo="",
    ),
    Refusal(
        "a file name that is not UTF-8",
        "The name of <file> is not UTF-8; restore this file by path and source.",
        {"paths": ["config"], "odd": True},
    ),
]


@pytest.mark.parametrize("row", REFUSALS, ids=[row.case for row in REFUSALS])
def test_refused(host, row):
    (host.repo / "out").symlink_to(host.env.parent)
    host.write("linked.ini", "was a file\n")
    host.write("local", "was a file\n")
    params = {"paths": ["config/app.ini"], "commits": [], "commit": host.commit("Base"), **row.given}
    (host.config / "linked.ini").unlink()
    (host.config / "linked.ini").symlink_to(host.env)
    host.git("rm", "-q", "config/local")
    host.write("local/mine.ini", "untracked\n")
    if params.pop("odd", False):
        with open(os.fsencode(host.config) + b"/\xff.ini", "w") as stream:
            stream.write("x")
        host.git("add", "config")
        params["commit"] = host.commit("Odd name")
    beside = host.git("commit-tree", "-p", host.good, "-m", "Beside", f"{host.good}^{{tree}}")
    named = {"first": host.good, "change": host.change, "beside": beside}
    params["commits"] = [named.get(one, one) for one in params["commits"]]
    before = host.state()
    with pytest.raises(PhaseError) as caught:
        host.step("preflight", **params)
    assert row.matches(str(caught.value)), str(caught.value)
    assert host.state() == before


@pytest.mark.parametrize(
    ("commit", "said"),
    [("ffffffffff", "There is no commit 'ffffffffff'"), ("HEAD~1", "does not name the same commit at all times")],
)
def test_the_commit_is_one_that_git_knows_for_good(host, commit, said):
    with pytest.raises(PhaseError, match=said):
        host.step("preflight", commit=commit)


@pytest.mark.parametrize("given", [["{third}", "{change}"], ["{change}^..{third}"], ["{good}..{third}"]])
def test_the_commit_before_the_oldest_is_taken_whatever_the_order(host, given):
    host.write("app.ini", "third\n")
    third = host.commit("Third")
    host.step("main", commits=[name.format(third=third, change=host.change, good=host.good) for name in given])
    assert (host.config / "app.ini").read_text() == "debug = no\n"


def test_a_file_of_a_later_commit_stays_and_lost_work_is_warned_of(host):
    host.write("later.ini", "later\n")
    host.write("app.ini", "debug = yes\nlater = yes\n")
    later = host.commit("Later config")
    report = host.step("preflight")
    assert [warning for warning in report.warnings if later[:10] in warning and "config/app.ini" in warning]
    host.step("main")
    assert (host.config / "later.ini").exists()
    assert (host.config / "app.ini").read_text() == "debug = no\n"


def test_an_absolute_path_in_the_repository_is_taken_from_git(host):
    host.step("main", paths=[str(host.config / "app.ini")])
    assert (host.config / "app.ini").read_text() == "debug = no\n"


@pytest.mark.parametrize("where", ["inside", "outside"])
def test_a_symlinked_target_is_followed(host, where):
    if where == "inside":
        real, link = host.repo / "real.ini", host.config / "app.ini"
        (host.config / "app.ini").rename(real)
        link.symlink_to(real)
        host.step("main", paths=["config/app.ini"])
        assert real.read_text() == "debug = no\n"
    else:
        real, link = host.env, host.tmp / "link.env"
        link.symlink_to(real)
        host.step("main", paths=[{"path": str(link), "source": str(host.kept)}], commits=[], repo="")
        assert real.read_text() == GOOD_ENV
    assert link.is_symlink()


def test_a_parent_that_leads_out_is_not_written_through(host):
    """The folder config/new of the change was replaced by a symlink out of the repository by hand."""
    (host.env.parent / "added.ini").write_text("not ours\n")
    shutil.rmtree(host.config / "new")
    (host.config / "new").symlink_to(host.env.parent)
    with pytest.raises(PhaseError, match="leads out of"):
        host.step("main")
    assert (host.env.parent / "added.ini").read_text() == "not ours\n"


def test_a_missing_target_gets_owner_and_mode_of_its_copy(host):
    host.env.unlink()
    host.kept.chmod(0o604)
    os.chown(host.kept, OTHER_UID, -1)
    host.step("main", paths=host.paths[1:], commits=[])
    assert (stat.S_IMODE(host.env.stat().st_mode), host.env.stat().st_uid) == (0o604, OTHER_UID)
    host.step("recover")
    assert not host.env.exists()


@pytest.mark.skipif(ROOT, reason="root may write everywhere")
def test_preflight_names_what_cannot_be_written(host):
    host.env.parent.chmod(0o555)
    try:
        with pytest.raises(PhaseError, match=r"may not write in .*/etc, so .*shop\.env cannot be replaced"):
            host.step("preflight")
    finally:
        host.env.parent.chmod(0o755)


@pytest.mark.skipif(not ROOT, reason="only root can give files away")
def test_a_recreated_file_belongs_to_the_owner_of_its_folder(host):
    for path in [host.config, *host.config.rglob("*")]:
        os.chown(path, 4711, 4712, follow_symlinks=False)
    host.step("main")
    for name in ("old.ini", "sites", "sites/a.ini", "app.ini", "current"):
        status = (host.config / name).lstat()
        assert (status.st_uid, status.st_gid) == (4711, 4712), name


def test_line_ends_are_those_that_git_checks_out(host):
    host.git("config", "core.autocrlf", "true")
    (host.config / "app.ini").write_bytes(b"debug = no\r\n")
    assert not host.step("main", paths=["config/app.ini"]).changed


def test_nothing_listed_is_nothing_to_do(host):
    report = host.step("preflight", paths=[], commits=[])
    assert (report.pending, report.changed) == (False, False)
