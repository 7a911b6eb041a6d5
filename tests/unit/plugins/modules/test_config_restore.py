# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The phase config_restore, with real repositories and files."""

from __future__ import annotations

import json
import os
import shutil
import stat

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils import _config_restore as phase
from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.tests.unit.plugins.modules import config_host
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.config_host import (
    BAD_ENV,
    GOOD_ENV,
    OTHER_UID,
    ROOT,
)

built, host = config_host.built, config_host.host


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


def test_an_undo_is_told_before_what_it_leaves_alone_and_refused_where_a_copy_is_gone(host):
    host.step("main")
    before = host.state()
    assert f"{host.env} can be put back" in host.step("can_undo").msg
    assert host.step("can_undo").warnings == []
    host.env.write_text("edited\n")
    assert host.step("can_undo").warnings == [f"{host.env} was edited since the rollback, and would be left as it is."]
    host.env.write_text(GOOD_ENV)
    assert host.state() == before
    (kept,) = [path for path in (host.part / "files").iterdir() if path.read_text() == BAD_ENV]
    kept.unlink()
    with pytest.raises(PhaseError, match=rf"{host.env} could not be put back: the kept copy .* is missing"):
        host.step("can_undo")
    assert host.state() == before


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
