# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""git_revert with method release, on folders as Capistrano, Deployer and Ansistrano leave them."""

from __future__ import annotations

import os
import shutil

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils import _release
from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.plugins.module_utils._restore_point import RestorePoint
from ansible_collections.changeops.rollback.tests.unit.plugins.modules import release_app
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.release_app import App
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal

app, capistrano = release_app.app, release_app.capistrano


def names(app, text):
    """The release that a parameter means."""
    return {"bad": app.bad, "good": app.good, "first": app.first, "hash": "1ababab", "bad hash": "2ababab"}.get(
        text, text
    )


@pytest.mark.parametrize(
    ("options", "target"),
    [
        ({"from": "bad"}, "good"),
        ({"from": "bad hash"}, "good"),
        ({"from": "", "to": "first"}, "first"),
        ({"from": "", "to": "hash"}, "good"),
        ({"from": "bad", "to": "first"}, "first"),
    ],
    ids=lambda value: " ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value,
)
def test_switch_and_back(app, options, target):
    options = {key: names(app, value) for key, value in options.items()}
    target = names(app, target)
    before = app.files()
    found = app.run("preflight", **options)
    assert (found.pending, app.files()) == (True, before)
    done = app.run("main", **options)
    assert done.changed
    assert (
        done.after
        == found.after
        == {"release": target, "commit": app.path(target).joinpath("REVISION").read_text().strip()}
    )
    assert app.link == app.prefix + target  # relative or absolute, as it was
    assert (app.root / "current" / "app.py").read_text() == f"{target}\n"
    assert not app.run("main", **options).changed
    assert not app.run("preflight", **options).pending
    back = app.run("recover", **options)
    assert (back.changed, app.files()) == (True, before)
    assert not app.run("recover", **options).changed


def test_a_second_rollback_goes_no_further_back(app, tmp_path):
    app.run("main")
    after = app.files()
    app.restore_point = RestorePoint(str(tmp_path / "state" / "R2" / "1-git_revert"))
    assert not app.run("main").changed
    assert not app.run("recover").changed
    assert app.files() == after


def test_the_next_rollback_skips_the_release_that_was_rolled_back(app, tmp_path):
    app.run("main")
    newest = {"capistrano": "20261121101500", "deployer": "12", "ansistrano": "20261121101500Z"}[app.tool]
    app.add(newest, "3abababababa\n")
    if app.tool == "deployer":
        app.log(newest)
    if app.tool == "capistrano":
        with (app.root / "revisions.log").open("a") as stream:
            stream.write(f"Branch main (at 3abab) deployed as release {newest} by dana\n")
    app.point("current", newest)
    app.restore_point = RestorePoint(str(tmp_path / "state" / "R2" / "1-git_revert"))
    assert app.run("main", **{"from": newest}).after["release"] == app.good


def unfinished(app):
    """The release before the bad one cannot be gone back to."""
    path = app.path(app.good)
    if app.tool == "deployer":
        app.point("release", app.good)
    elif app.tool == "capistrano":
        log = app.root / "revisions.log"
        log.write_text("".join(line for line in log.read_text().splitlines(True) if app.good not in line))
    else:
        (path / "REVISION").unlink()


@pytest.mark.parametrize(
    "spoil",
    [
        unfinished,
        lambda app: (app.path(app.good) / "BAD_RELEASE").write_text("2026-11-11T10:00:00+0000,dana\n"),
        lambda app: [path.unlink() for path in app.path(app.good).iterdir()],
    ],
    ids=["unfinished", "bad", "empty"],
)
def test_a_release_that_is_not_whole_is_skipped(app, spoil):
    spoil(app)
    assert app.run("main").after["release"] == app.first
    assert not app.run("main").changed


def test_redeployed_releases_of_the_bad_commit_are_skipped(capistrano):
    app = capistrano
    again = app.add("20261121101500", (app.path(app.bad) / "REVISION").read_text())
    (app.root / "revisions.log").open("a").write(f"deployed as release {again.name}\n")
    app.point("current", again.name)
    assert app.run("main", **{"from": "2ababab"}).after["release"] == app.good


def test_deployer_names_of_any_kind_are_ordered_by_its_log(tmp_path):
    app = App(tmp_path, "deployer")
    for name in ("zebra", "ant"):
        app.add(name, "4abababab\n")
        app.log(name)
    app.point("current", "ant")
    assert app.run("main", **{"from": "ant"}).after["release"] == "zebra"


def test_the_symlink_may_have_another_name_and_may_be_given(capistrano):
    app = capistrano
    (app.root / "current").rename(app.root / "live")
    app.run("main", repo=str(app.root / "live"))
    assert os.readlink(app.root / "live") == app.prefix + app.good


def test_check_mode_changes_nothing(app):
    before = app.files()
    report = app.run("main", check=True)
    assert (report.changed, report.after["release"], app.files()) == (True, app.good, before)
    assert report.diff == [{"prepared": f"{app.root}/current: {app.prefix}{app.bad} -> {app.prefix}{app.good}\n"}]
    assert not app.restore_point.part.exists()


@pytest.mark.parametrize("then", ["main", "recover"])
@pytest.mark.parametrize("cut", ["noted", "switched", "marked"])
def test_killed_in_the_middle(app, monkeypatch, cut, then):
    before = app.files()
    app.run("preflight")
    goal = app.restore_point.read()["prepared"]["target"]
    if cut == "noted":
        monkeypatch.setattr(_release, "_switch", lambda *_: 1 / 0)
    elif cut == "switched":
        monkeypatch.setattr(_release, "write_file", lambda *_: 1 / 0)
    else:
        write = _release.Context.note
        monkeypatch.setattr(
            _release.Context, "note", lambda self, **kw: 1 / 0 if kw["stage"] == "done" else write(self, **kw)
        )
    with pytest.raises(ZeroDivisionError):
        app.run("main")
    monkeypatch.undo()
    if then == "recover":
        app.run("recover")
        assert app.files() == before
        return
    assert app.run("preflight").pending
    assert app.run("main").changed
    assert app.link == app.prefix + goal
    assert (app.path(app.bad) / "BAD_RELEASE").exists()
    assert app.run("recover").changed
    assert app.files() == before


def test_a_mark_that_was_there_stays(app):
    mark = app.path(app.bad) / "BAD_RELEASE"
    mark.write_text("mine\n")
    app.run("main")
    app.run("recover")
    assert mark.read_text() == "mine\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_link_keeps_its_owner(capistrano):
    os.lchown(capistrano.root / "current", 1234, 1234)
    capistrano.run("main")
    assert os.lstat(capistrano.root / "current").st_uid == 1234


THERE_ARE = "There are: 20261101093000 (0ababababa), 20261110093000 (1ababababa)."


def no_link(app):
    (app.root / "current").unlink()


def a_directory(app):
    no_link(app)
    (app.root / "current").mkdir()


def dangling(app):
    app.point("current", "20261130")


def outside(app):
    no_link(app)
    (app.root / "current").symlink_to("/usr/bin")


def unnumbered(app):
    app.path(app.bad).rename(app.path("bad"))
    app.point("current", "bad")
    app.options = {"from": "bad"}


def alone(app):
    shutil.rmtree(app.path(app.first))
    (app.path(app.good) / "BAD_RELEASE").write_text("2026-11-11T10:00:00+0000,dana\n")


def empty(app):
    for path in app.path(app.good).iterdir():
        path.unlink()


def locked(app):
    (app.root / ".dep").mkdir()
    (app.root / ".dep" / "deploy.lock").write_text("dana\n")


REFUSALS = [
    Refusal(
        "release: no such directory",
        "There is no directory <folder>/nowhere. Give the folder that has the symlink 'current', or the symlink "
        "itself: git_revert_repo: <path>",
        lambda app: app.options.update(repo=str(app.root / "nowhere")),
    ),
    Refusal(
        "release: no symlink `current`",
        "There is no symlink <root>/current. Give the folder that has the symlink 'current', or the symlink itself: "
        "git_revert_repo: <path>",
        no_link,
    ),
    Refusal(
        "release: `current` is a directory",
        "<root>/current is a directory and no symlink (Ansistrano makes it so with ansistrano_current_via: rsync), so "
        "there is nothing to switch. Deploy the earlier release with your deploy tool instead.",
        a_directory,
    ),
    Refusal(
        "release: `current` leads nowhere",
        "<root>/current points to <root>/releases/20261130, which is not there. Point it to the release that runs: "
        "ln -sfn <root>/releases/<name> <root>/current",
        dangling,
    ),
    Refusal(
        "release: `current` leads to something that is no release",
        "<root>/current points to /usr/bin, which is no release of <root>: something like <root>/releases/<name> was "
        "expected. Correct git_revert_repo.",
        outside,
    ),
    Refusal(
        "release: none was named",
        "No release was named. 'The previous one' is another one after each rollback, so give the release that is to "
        "be rolled back (git_revert_from: 20261120101500 stands there now), or the one to go back to (git_revert_to). "
        + THERE_ARE,
        lambda app: app.options.update({"from": ""}),
    ),
    Refusal(
        "release: the one that is rolled back is not there",
        "There is no release '99' in <root>/releases, so which one was before it is not known. "
        + THERE_ARE
        + " Name the one to go back to: git_revert_to: <name>",
        lambda app: app.options.update({"from": "99"}),
    ),
    Refusal(
        "release: the one to go to is not there",
        "There is no release '99' in <root>/releases. " + THERE_ARE + " Correct git_revert_to.",
        lambda app: app.options.update({"to": "99"}),
    ),
    Refusal(
        "release: another one than the plan says runs",
        "<root>/current points to release 20261101093000 (0ababababa), where 20261120101500 (to be rolled back) or "
        "20261110093000 (done already) was expected. Correct git_revert_from if that is what is to be rolled back.",
        lambda app: app.point("current", app.first),
    ),
    Refusal(
        "release: the one to go to is a later one",
        "<root>/current points to release 20261101093000 (0ababababa), which is older than release 20261110093000 "
        "(1ababababa): this would bring a later release, and perhaps the change, back. Name an earlier one. There are: "
        "20261110093000 (1ababababa), 20261120101500 (2ababababa).",
        lambda app: [app.point("current", app.first), app.options.update({"from": "", "to": app.good})],
    ),
    Refusal(
        "release: the releases have no order",
        "The releases in <root>/releases have no order: their names are no numbers or times, and there is no "
        ".dep/releases_log. " + THERE_ARE + " Name the one to go back to: git_revert_to: <name>",
        unnumbered,
    ),
    Refusal(
        "release: there is no earlier whole one",
        "There is no whole release before 20261120101500 in <root>/releases. 20261110093000: it was marked as bad "
        "(2026-11-11T10:00:00+0000,dana). If it is good: rm <root>/releases/20261110093000/BAD_RELEASE. Deploy the "
        "earlier release with your deploy tool instead.",
        alone,
    ),
    Refusal(
        "release: the one to go to was not finished",
        "<root>/current cannot go to release 20261110093000: its deploy did not finish (it is empty). There are: "
        "20261101093000 (0ababababa).",
        lambda app: [empty(app), app.options.update({"to": app.good})],
    ),
    Refusal(
        "release: a deploy is at work",
        "Deployer is at work here: <root>/.dep/deploy.lock exists (dana). Wait for it; if it died, type: rm "
        "<root>/.dep/deploy.lock",
        locked,
    ),
]


SOMEBODY_ELSES = [
    Refusal(
        "release: the folder belongs to somebody else",
        "<root> belongs to root, and this task runs as nobody, who may not write there. Run the phase as the owner: "
        "become_user: root",
    ),
]
REFUSED_HERE = list(REFUSALS)
REFUSALS += SOMEBODY_ELSES


@pytest.mark.parametrize("row", REFUSED_HERE, ids=[row.case for row in REFUSED_HERE])
def test_refused(capistrano, row):
    row.given(capistrano)
    before = capistrano.files()
    with pytest.raises(PhaseError) as caught:
        capistrano.run("preflight")
    assert row.matches(str(caught.value)), str(caught.value)
    assert capistrano.files() == before


# What goes wrong after preflight.
LATER = [
    ("main", lambda app: app.point("current", app.first), "Somebody switched"),
    ("main", lambda app: shutil.rmtree(app.path(app.good)), "is gone from"),
    ("recover", lambda app: app.point("current", app.first), "Somebody switched"),
    ("recover", lambda app: shutil.rmtree(app.path(app.bad)), "is gone from"),
]


@pytest.mark.parametrize(("step", "spoil", "words"), LATER)
def test_somebody_else_was_here_since(capistrano, step, spoil, words):
    capistrano.run("preflight")
    if step == "recover":
        capistrano.run("main")
    spoil(capistrano)
    before = capistrano.files()
    with pytest.raises(PhaseError, match=words):
        capistrano.run(step)
    assert capistrano.files() == before


def test_a_release_that_is_gone_is_replaced_by_preflight_in_the_same_run(capistrano):
    capistrano.run("preflight")
    shutil.rmtree(capistrano.path(capistrano.good))
    assert capistrano.run("preflight").pending
    assert capistrano.run("main").after["release"] == capistrano.first


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("row", SOMEBODY_ELSES, ids=[row.case for row in SOMEBODY_ELSES])
def test_somebody_elses_release(capistrano, row, tmp_path):
    for folder in (tmp_path, *list(tmp_path.parents)[:3]):
        folder.chmod(folder.stat().st_mode | 0o011)
    (tmp_path / "nobody").mkdir()
    os.chown(tmp_path / "nobody", 65534, 65534)
    capistrano.restore_point = RestorePoint(str(tmp_path / "nobody" / "R1" / "1-git_revert"))
    child = os.fork()
    if child == 0:
        said = "it was not refused"
        try:
            os.setgid(65534)
            os.setuid(65534)
            capistrano.run("preflight")
        except BaseException as exc:
            said = str(exc)
        (tmp_path / "nobody" / "said").write_text(said)
        os._exit(0)
    os.waitpid(child, 0)
    said = (tmp_path / "nobody" / "said").read_text()
    assert row.matches(said), said
