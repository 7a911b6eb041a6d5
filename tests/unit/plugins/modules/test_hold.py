# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be shipped after a rollback and what not, what is said then, and how a hold is lifted."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.plugins.module_utils._hold import places
from ansible_collections.changeops.rollback.plugins.modules import hold
from ansible_collections.changeops.rollback.tests.unit.plugins.modules import release_app
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.git_revert_cases import shallow
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.held_run import held, run
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.test_restore_point import as_user
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal

capistrano = release_app.capistrano


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state"


@pytest.fixture
def after(repo, state):
    """The repository after a rollback of its bad commit; ``revert`` is the commit that this made."""
    run(repo, state)
    repo.revert = repo.head
    return repo


def check(state, commit, repo="", **params):
    """What the module says of a commit that is about to be shipped."""
    params = {"commit": commit, "repo": str(repo), "changes": [], **params}
    return hold.checked(params, [state])


def refused(state, commit, repo="", **params):
    with pytest.raises(PhaseError) as caught:
        check(state, commit, repo, **params)
    return str(caught.value)


def beside(repo, start, *messages):
    """Commits on a branch that begins at ``start``; the last of them."""
    repo.git("checkout", "--quiet", "--detach", start)
    for message in messages:
        repo.git("commit", "--quiet", "--allow-empty", "-m", message)
    return repo.head


def reverted(repo, start, *commits):
    """Reverts of ``commits`` as somebody makes them in a clone of their own."""
    repo.git("checkout", "--quiet", "--detach", start)
    for commit in commits:
        repo.git("revert", "--no-edit", commit)
    return repo.head


def put_back(repo):
    return reverted(repo, repo.revert, repo.revert)


def merged(repo, *commits):
    repo.git("checkout", "--quiet", "--detach", commits[0])
    for commit in commits[1:]:
        repo.git("merge", "--quiet", "--no-ff", "-m", "Merge", commit)
    return repo.head


def branch(repo):
    repo.git("branch", "release", repo.last)
    return "release"


def tag(repo):
    repo.git("tag", "-a", "v1.3.0", "-m", "v1.3.0", repo.bad)
    return "v1.3.0"


HELD = {
    "the commit itself": lambda repo: repo.bad,
    "the commit, in capitals": lambda repo: repo.bad.upper(),
    "a short hash of it": lambda repo: repo.bad[:8],
    "the release that it was in": lambda repo: repo.last,
    "a tag of it": tag,
    "a branch that has it": branch,
    "a later commit without its revert": lambda repo: beside(repo, repo.last, "Later"),
    "a merge that brings it": lambda repo: merged(repo, beside(repo, repo.good, "Other"), repo.last),
    "a revert of the revert": put_back,
    "a fix on top of a revert of the revert": lambda repo: beside(repo, put_back(repo), "Fix"),
    "a revert of something else": lambda repo: reverted(repo, repo.last, repo.last),
}
FREE = {
    "the revert": lambda repo: repo.revert,
    "the branch with the revert": lambda repo: "main",
    "a fix on top of the revert": lambda repo: beside(repo, repo.revert, "Fix"),
    "what was before it": lambda repo: repo.good,
    "a branch that never had it": lambda repo: beside(repo, repo.good, "Other"),
    "a revert that somebody else made": lambda repo: reverted(repo, beside(repo, repo.last, "Later"), repo.bad),
    "a merge of the revert with a branch that has it": lambda repo: merged(
        repo, beside(repo, repo.last, "Later"), repo.revert
    ),
    "a revert of the revert of the revert": lambda repo: reverted(repo, put_back(repo), repo.head),
}


@pytest.mark.parametrize("case", HELD)
def test_not_to_be_shipped(after, state, case):
    said = refused(state, HELD[case](after), after.path)
    assert f"{after.bad[:10]} of C001" in said or f"is {after.last[:10]} of C001" in said


@pytest.mark.parametrize("case", FREE)
def test_to_be_shipped(after, state, case):
    commit = FREE[case](after)
    assert check(state, commit, after.path)["msg"] == f"{commit} contains nothing that is held here."


def test_a_repository_without_a_work_tree_will_do(after, state, tmp_path):
    later = beside(after, after.last, "Later")
    after.git("branch", "later", later)
    bare = tmp_path / "bare"
    after.git("clone", "--quiet", "--bare", str(after.path), str(bare))
    assert f"it contains {after.bad[:10]} of C001" in refused(state, later, bare)
    assert check(state, after.revert, bare)["held"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can work as others")
def test_root_may_ask_about_a_repository_of_somebody_else(after, state):
    account = pwd.getpwnam("nobody")
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o711)
        theirs = Path(place, "shop")
        shutil.copytree(after.path, theirs, symlinks=True)
        for path in (theirs, *theirs.rglob("*")):
            os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)
        assert "must not be shipped" in refused(state, "main~1", theirs)
        assert check(state, "main", theirs)["held"]


def test_a_merge_is_held_until_it_is_reverted(repo, state):
    side = beside(repo, repo.good, "Side")
    repo.git("checkout", "--quiet", "main")
    repo.git("merge", "--quiet", "--no-ff", "-m", "Merge side", side)
    repo.write({"app.py": "three\n"})
    repo.git("commit", "--quiet", "--all", "--amend", "--no-edit")
    merge = repo.head
    repo.options = {"commits": [merge], "mainline": 1}
    run(repo, state)
    assert f"contains {merge[:10]} of C001" in refused(state, beside(repo, merge, "Later"), repo.path)
    assert check(state, "main", repo.path)["held"]


def test_going_back_to_a_commit_holds_what_came_after_it(repo, state):
    """Which of them was bad is not known."""
    repo.options = {"method": "checkout", "to": repo.good}
    run(repo, state)
    assert f"contains {repo.last[:10]} of C001" in refused(state, reverted(repo, repo.last, repo.bad), repo.path)
    assert check(state, reverted(repo, repo.last, repo.last, repo.bad), repo.path)["held"]
    assert check(state, beside(repo, repo.good, "Fix"), repo.path)["held"]


def test_every_change_is_named(after, state):
    after.git("checkout", "--quiet", "main")
    more = after.commit("Say yet more", {"README": "yet more\n"})
    after.options = {"commits": [more]}
    run(after, state, "R2", change="C002", title="Say yet more")
    after.git("checkout", "--quiet", "--detach", after.last)
    after.git("cherry-pick", "--allow-empty", more)
    assert "C002" not in refused(state, after.head, after.path), "a cherry-pick is another commit"
    both = merged(after, put_back(after), more)
    said = refused(state, both, after.path)
    assert f"it contains {after.bad[:10]} of C001 (Add invoice totals)" in said
    assert f" and it contains {more[:10]} of C002 (Say yet more)" in said
    assert said.endswith("-e release_hold=C001,C002")
    assert said.count("C002") == 2
    assert refused(state, both, after.path, changes=["C001"]).endswith("-e release_hold=C002")
    assert check(state, both, after.path, changes=["C001", "C002"])["held"]


@pytest.mark.parametrize(
    ("commit", "is_held"),
    [
        ("{bad}", True),
        ("2abababa", True),
        ("{release}", True),
        ("1abababa", False),
        ("20261124101500", False),
    ],
)
def test_a_release_is_compared_without_a_repository(capistrano, state, commit, is_held):
    run(capistrano, state)
    commit = commit.format(bad=f"2{'ab' * 19}f", release=capistrano.bad)
    if is_held:
        assert f"{commit} must not be shipped: it is " in refused(state, commit)
    else:
        assert check(state, commit)["held"]


def test_a_release_that_is_named_by_its_version(capistrano, state):
    for file in capistrano.root.glob("releases/*/REVISION"):
        file.unlink()
    run(capistrano, state)
    assert "must not be shipped" in refused(state, capistrano.bad)
    assert check(state, "v1.4.0")["held"]


def test_where_nothing_is_held_nothing_is_asked(tmp_path):
    assert check(tmp_path / "nowhere", "no such commit", tmp_path / "no such repository")["held"] == []
    assert check(tmp_path / "nowhere", "")["msg"] == "Nothing is held."


def at(name):
    """A table's row: the commit, as the repository has it."""
    return lambda repo: {"commit": getattr(repo, name)}


def cloned(repo, name, depth=1):
    repo.git("checkout", "--quiet", "main")
    repo.git("reset", "--quiet", "--hard", name)
    shallow(repo, depth)
    return {"commit": repo.head}


def damaged(repo):
    (repo.state / "hold.json").write_text('{"held": [1]}')
    return {"commit": repo.revert}


BAD = (
    "which dana rolled back at 2026-11-29T23:00:00Z (run R1). Ship what does not have it, or has its revert; or, to "
    "ship it all the same, lift the hold: -e release_hold=C001"
)
REFUSALS = [
    Refusal(
        "a commit that was rolled back is to be shipped",
        "<commit> must not be shipped: it is <commit> of C001 (Add invoice totals), " + BAD,
        at("bad"),
    ),
    Refusal(
        "a commit is to be shipped that has one that was rolled back, and not its revert",
        "<commit> must not be shipped: it contains <commit> of C001 (Add invoice totals), " + BAD,
        lambda repo: {"commit": beside(repo, repo.last, "Later")},
    ),
    Refusal(
        "a commit is to be shipped that the host does not have yet",
        "Something is held on this host, and <repo> has no commit v1.4.0, so it cannot be told what that contains. "
        "Bring it here before: git -C <repo> fetch, or compare only whole hashes: hold_repo: ''",
        lambda repo: {"commit": "v1.4.0"},
    ),
    Refusal(
        "an option of git in the place of a commit that is to be shipped",
        "Something is held on this host, and <repo> has no commit --all, so it cannot be told what that contains. "
        "Bring it here before: git -C <repo> fetch, or compare only whole hashes: hold_repo: ''",
        lambda repo: {"commit": "--all"},
    ),
    Refusal(
        "no repository to ask what a commit contains",
        "Something is held on this host, and /etc is no git repository that could tell what <commit> contains. Give "
        "one: hold_repo: /srv/shop/repo, or compare only whole hashes: hold_repo: ''",
        lambda repo: {"commit": repo.revert, "repo": "/etc"},
    ),
    Refusal(
        "a branch is to be shipped, and there is no repository to ask what it is",
        "Something is held on this host, and without a repository it cannot be told which commit main is. Give its "
        "full hash, or a repository that has it: hold_repo: /srv/shop",
        lambda repo: {"commit": "main", "repo": ""},
    ),
    Refusal(
        "a shallow clone that cannot tell what a commit contains",
        "<repo> is a shallow clone, so it cannot be told whether <commit> contains <commit> of C001 (Add invoice "
        "totals), which dana rolled back at 2026-11-29T23:00:00Z (run R1). Fetch the rest: git -C <repo> fetch "
        "--unshallow",
        lambda repo: cloned(repo, beside(repo, repo.revert, "Fix")),
    ),
    Refusal(
        "what is held is not what a rollback wrote",
        "<state>/hold.json is not what a rollback writes. Look at it, and move it away to go on without it.",
        damaged,
    ),
]


@pytest.mark.parametrize("row", REFUSALS, ids=lambda row: row.case)
def test_refused_in_words(after, state, row):
    after.state = state
    said = refused(state, **{"repo": after.path, **row.given(after)})
    assert row.matches(said), said


def test_a_shallow_clone_that_has_the_revert_can_tell(after, state):
    repo = after
    cloned(repo, beside(repo, repo.revert, "Fix"), depth=4)
    assert check(state, repo.head, repo.path)["held"]


def test_a_shallow_clone_of_another_app_is_not_concerned(after, state, tmp_path):
    """Another app on the same host, in a clone that is shallow."""
    other = tmp_path / "other"
    subprocess.run(["git", "init", "--quiet", str(other)], check=True)
    for _number in range(3):
        subprocess.run(["git", "-C", str(other), "commit", "--quiet", "--allow-empty", "-m", "x"], check=True)
    subprocess.run(["git", "clone", "--quiet", "--depth=1", f"file://{other}", str(tmp_path / "clone")], check=True)
    assert check(state, "HEAD", tmp_path / "clone")["held"]


def test_lifted(after, state):
    again = after.last
    more = after.commit("Say yet more", {"README": "yet more\n"})
    after.options = {"commits": [more]}
    run(after, state, "R2", change="C002")
    lift = {"changes": ["C001"], "repo": ""}
    assert hold.released({**lift, "changes": ["C009"]}, [state], False) == {
        "changed": False,
        "msg": "There is no hold of C009.",
        "held": held(state),
    }
    dry = hold.released(lift, [state], True)
    assert (dry["changed"], dry["msg"][:10]) == (True, "Would lift")
    assert [one["change"] for one in held(state)] == ["C001", "C002"]
    done = hold.released(lift, [state], False)
    assert (done["changed"], done["held"]) == (True, held(state))
    assert done["msg"].startswith("Lifted the hold of C001 (Add invoice totals), which dana rolled back at 2026")
    assert [one["change"] for one in held(state)] == ["C002"]
    assert check(state, again, after.path)["held"]
    assert hold.released(lift, [state], False)["changed"] is False
    hold.released({**lift, "changes": ["C002"]}, [state], False)
    assert held(state) is None
    assert not (state / "hold.json").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can work as others")
def test_who_may_read_and_who_may_lift(repo, tmp_path):
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o711)
        state = Path(place, "state")
        run(repo, state)

        def lifts():
            with pytest.raises(PhaseError) as caught:
                hold.released({"changes": ["C001"], "repo": ""}, [state], False)
            assert str(caught.value) == (
                f"{state}/hold.json belongs to root, and this task runs as nobody, who may not change it. Lift the "
                "hold as its owner, such as with: ansible-playbook changeops.rollback.hold -e release_hold=C001"
            )

        def looks():
            with pytest.raises(PhaseError) as caught:
                check(state, repo.bad)
            assert str(caught.value) == (
                f"{state}/hold.json cannot be read by nobody, so it is not known what must not be shipped. Run this "
                f"task as root (become: true), or let everybody pass, not list: chmod 711 {state}"
            )

        as_user("nobody", lambda: refused(state, repo.bad).index("must not be shipped"))
        as_user("nobody", lifts)
        state.chmod(0o700)
        as_user("nobody", looks)
        assert held(state)


@pytest.mark.parametrize(
    ("state_dir", "euid", "found"),
    [
        ("/srv/state", 0, ["/srv/state"]),
        ("", 0, ["/var/lib/changeops", "{home}/.local/state/changeops"]),
        ("", 1000, ["/var/lib/changeops", "/xdg/changeops"]),
    ],
)
def test_where_it_is_looked_for(tmp_path, state_dir, euid, found):
    """Root deploys what another account rolled back, and the other way round."""
    home = pwd.getpwuid(tmp_path.stat().st_uid).pw_dir
    expected = [Path(path.format(home=home)) for path in found]
    assert places(state_dir, str(tmp_path), euid, {"XDG_STATE_HOME": "/xdg"}) == expected
