# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run writes into hold.json when it is closed, who can read that, and that it is the only thing there."""

from __future__ import annotations

import os
import pwd
import re
import subprocess
import tempfile
from pathlib import Path

import pytest
from ansible_collections.changeops.rollback.tests.unit.plugins.modules import release_app
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.held_run import SINCE, held, run
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.test_restore_point import as_user

capistrano = release_app.capistrano
README = Path(__file__).parents[4] / "README.md"


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state"


def one(repo, **changes):
    """The hold that a rollback of the bad commit leaves."""
    about = {"change": "C001", "title": "Add invoice totals", "run": "R1", "executed_by": "dana", "since": SINCE}
    return {**about, "repo": str(repo.path), "commits": [repo.bad], "release": repo.last, **changes}


def test_what_was_rolled_back_is_held(repo, state):
    assert run(repo, state)["warnings"] == []
    assert held(state) == [one(repo)]


@pytest.mark.parametrize(
    "how",
    [{"outcome": "recovered"}, {"outcome": "failed"}, {"check": True}],
    ids=lambda how: "-".join(map(str, *how.items())),
)
def test_what_was_not_rolled_back_is_not_held(repo, state, how):
    run(repo, state, **how)
    assert held(state) is None


def test_a_run_that_finds_nothing_to_do_leaves_the_hold_as_it_is(repo, state):
    run(repo, state)
    before = (state / "hold.json").stat()
    run(repo, state, "R2", executed_by="kim")
    after = (state / "hold.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert held(state) == [one(repo)]


def test_the_same_change_is_held_once(repo, state):
    """It was deployed and rolled back once more."""
    run(repo, state)
    repo.git("reset", "--quiet", "--hard", repo.last)
    run(repo, state, "R2", executed_by="kim")
    assert held(state) == [one(repo, run="R2", executed_by="kim")]


def test_several_changes_are_held(repo, state):
    run(repo, state)
    more = repo.commit("Say yet more", {"README": "yet more\n"})
    repo.options = {"commits": [more]}
    run(repo, state, "R2", change="C002", title="Say more")
    assert held(state) == [
        one(repo),
        one(repo, run="R2", change="C002", title="Say more", commits=[more], release=more),
    ]


def test_going_back_to_a_commit_holds_all_that_came_after_it(repo, state):
    repo.options = {"method": "checkout", "to": repo.good}
    run(repo, state)
    assert held(state) == [one(repo, commits=[repo.last, repo.bad])]


def test_what_was_reverted_by_hand_is_held_where_the_run_did_something_else(repo, state):
    """The database had still to go back; the release that the commit was in is not known then."""
    repo.git("revert", "--no-edit", repo.bad)
    other = state / "R1" / "2-config_restore"
    other.mkdir(parents=True)
    (other / "state.json").write_text('{"progress": "done", "changed": true}')
    run(repo, state)
    assert held(state) == [one(repo, release="")]


@pytest.mark.parametrize("revision", [True, False], ids=["REVISION", "no REVISION"])
def test_a_release_is_held_by_its_commit_and_its_name(capistrano, state, revision):
    if not revision:
        for file in capistrano.root.glob("releases/*/REVISION"):
            file.unlink()
    run(capistrano, state)
    [found] = held(state)
    assert (found["repo"], found["release"]) == (str(capistrano.root), capistrano.bad)
    assert found["commits"] == ([f"2{'ab' * 19}f"] if revision else [])


def test_a_commit_that_runs_now_is_not_held(capistrano, state):
    """The bad release was made of the same commit: what it was built with was bad."""
    revision = (capistrano.path(capistrano.good) / "REVISION").read_text()
    (capistrano.path(capistrano.bad) / "REVISION").write_text(revision)
    run(capistrano, state)
    assert [found["commits"] for found in held(state)] == [[]]


def test_a_hold_that_cannot_be_written_is_a_warning(repo, state):
    state.mkdir()
    (state / "hold.json").write_text("{")
    [warning] = run(repo, state)["warnings"]
    assert warning.startswith("C001 is rolled back, but not held, so a deploy may ship it again: ")
    assert "hold.json is damaged" in warning
    assert not (state / "lock.json").exists()
    assert (state / "hold.json").read_text() == "{"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can work as others")
def test_others_can_read_it_and_nothing_else(repo):
    """Whoever deploys need not be who rolled back, and the state directory has secrets."""
    stranger = pwd.getpwnam("nobody").pw_name
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        state = Path(place, "state")
        run(repo, state)
        as_user(stranger, (state / "hold.json").read_bytes)
        # a name that is known is no way in
        inside = [state / "R1" / "run.json", state / "R1" / "1-git_revert" / "state.json", state / "work.lock"]
        lists = [lambda: os.listdir(state), lambda: os.listdir(state / "R1")]
        for touch in (*(path.read_bytes for path in inside), *lists):
            with pytest.raises(AssertionError, match="PermissionError"):
                as_user(stranger, touch)
        with pytest.raises(AssertionError, match="PermissionError"):
            as_user(stranger, (state / "hold.json").unlink)
        assert [path.name for path in state.iterdir() if path.stat().st_mode & 0o007] == ["hold.json"]


def test_the_line_for_shell_scripts(repo, state):
    """The one in the README, as it stands there."""
    run(repo, state)
    revert = repo.head
    [line] = re.findall(r"^    (.*grep -.*hold\.json.*)$", README.read_text(), re.MULTILINE)
    line = line.replace("/var/lib/changeops", str(state))
    script = f"set -eu\ncd {repo.path}\n{line}\necho shipped\n"

    def ship(commit):
        repo.git("checkout", "--quiet", "--detach", commit)
        return subprocess.run(["sh", "-c", script], capture_output=True, check=False)

    for commit in (repo.bad, repo.last):
        done = ship(commit)
        assert (done.returncode, done.stdout) == (1, b""), commit
        assert done.stderr == b"HEAD was rolled back\n"
    for commit in (repo.good, revert):
        assert ship(commit).stdout == b"shipped\n", commit
    (state / "hold.json").unlink()
    assert ship(repo.bad).stdout == b"shipped\n", "and where there is no such file"
