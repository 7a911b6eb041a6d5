# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the phase git_revert refuses before anything is touched, and what it says then."""

from __future__ import annotations

import pytest
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.git_revert_cases import (
    aside,
    aside_in_a_shallow_clone,
    bare,
    branch_like_a_hash,
    checkout_of_side,
    commits,
    files,
    ignored,
    in_a_shallow_clone,
    later,
    merge,
    merge_in_a_range,
    options,
    partial,
    range_that_a_shallow_clone_cannot_tell,
    state_file,
    submodule,
)
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.git_work_tree import ROLLED_BACK, tree
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal

REFUSALS = [
    Refusal(
        "uncommitted changes",
        "<repo> has uncommitted changes in README. They would be lost or in the way. "
        "Keep them with: git -C <repo> stash (or: git -C <repo> commit -a)",
        files(README="mine\n"),
    ),
    Refusal(
        "untracked files in the way",
        "Untracked files in <repo> stand where the rollback brings files back: old.py. "
        "Move them away, for example: mv <repo>/old.py /tmp/",
        files(old_py="mine\n"),
    ),
    Refusal(
        "ignored files in the way",
        "Untracked files in <repo> stand where the rollback brings files back: old.py/mine. "
        "Move them away, for example: mv <repo>/old.py/mine /tmp/",
        ignored,
    ),
    Refusal(
        "a lock file that a killed git left behind",
        "<repo>/.git/index.lock exists: another git works in <repo>, or was killed there. "
        "If none does (ps -ef | grep git), type: rm <repo>/.git/index.lock",
        state_file("index.lock"),
    ),
    Refusal(
        "an unfinished merge",
        "A merge is unfinished in <repo>. Finish it, or give it up: git -C <repo> merge --abort",
        state_file("MERGE_HEAD"),
    ),
    Refusal(
        "an unfinished revert",
        "A revert is unfinished in <repo>. Finish it, or give it up: git -C <repo> revert --abort",
        state_file("REVERT_HEAD"),
    ),
    Refusal(
        "an unfinished cherry-pick",
        "A cherry-pick is unfinished in <repo>. Finish it, or give it up: git -C <repo> cherry-pick --abort",
        state_file("CHERRY_PICK_HEAD"),
    ),
    Refusal(
        "an unfinished rebase",
        "A rebase is unfinished in <repo>. Finish it, or give it up: git -C <repo> rebase --abort",
        state_file("rebase-merge"),
    ),
    Refusal(
        "an unfinished git am",
        "A rebase or git am is unfinished in <repo>. Finish it, or give it up: git -C <repo> rebase --abort",
        state_file("rebase-apply"),
    ),
    Refusal(
        "an unfinished bisection",
        "A bisection is unfinished in <repo>. Finish it, or give it up: git -C <repo> bisect reset",
        state_file("BISECT_LOG"),
    ),
    Refusal(
        "a conflict with later commits",
        "Reverting <commit> (Add invoice totals) conflicts in app.py. Later commits changed the same files: <later> "
        "Round totals 1; <later> Round totals 0. To roll them back too: git_revert_commits: [<later>, <later>, "
        "<commit>]. To go back to all that was before it: git_revert_method: checkout with git_revert_to: <commit>",
        later("two, rounded\n", "two, rounded twice\n"),
    ),
    Refusal(
        "a conflict with many later commits",
        "Reverting <commit> (Add invoice totals) conflicts in app.py. Later commits changed the same files: <later> "
        "Round totals 5; <later> Round totals 4; <later> Round totals 3; <later> Round totals 2; <later> Round "
        "totals 1 and 1 more. To go back to all that was before it: git_revert_method: checkout with git_revert_to: "
        "<commit>",
        later(*(f"two, {word}\n" for word in "abcdef")),
    ),
    Refusal(
        "an unknown commit",
        "There is no commit '1234567890' in <repo>. Correct it in the plan, or bring it here: git -C <repo> fetch",
        commits("1234567890"),
    ),
    Refusal(
        "a commit that a shallow clone does not have",
        "There is no commit '<commit>' in <repo>, which is a shallow clone. Correct it in the plan, or bring it here: "
        "git -C <repo> fetch --unshallow",
        in_a_shallow_clone(1, "{bad}"),
    ),
    Refusal(
        "an option of git in the place of a commit",
        "There is no commit '--all' in <repo>. Correct it in the plan, or bring it here: git -C <repo> fetch",
        commits("--all"),
    ),
    Refusal(
        "a name that moves with HEAD",
        "'HEAD~1' does not name the same commit at all times. Give its hash instead, which is <commit> in <repo> now, "
        "or a tag.",
        commits("HEAD~1"),
    ),
    Refusal(
        "a branch in the place of a commit",
        "'main' does not name the same commit at all times. Give its hash instead, which is <commit> in <repo> now, "
        "or a tag.",
        commits("main"),
    ),
    Refusal(
        "a branch that is called like a hash",
        "'cafe' does not name the same commit at all times. Give its hash instead, which is <commit> in <repo> now, "
        "or a tag.",
        branch_like_a_hash,
    ),
    Refusal(
        "no commit",
        "No commit was named. Give the commits to revert: git_revert_commits: [<hash>]",
        commits(),
    ),
    Refusal(
        "a range without an end",
        "'<range>' is not a range that means the same at all times. Write the commit before the first one to revert, "
        "two dots, and the last one, as hashes or tags: 51b7d9a..4f1c2e9",
        commits("{good}.."),
    ),
    Refusal(
        "a range with three dots",
        "'<range>' is not a range that means the same at all times. Write the commit before the first one to revert, "
        "two dots, and the last one, as hashes or tags: 51b7d9a..4f1c2e9",
        commits("{good}...{last}"),
    ),
    Refusal(
        "a range up to a branch",
        "'main' does not name the same commit at all times. Give its hash instead, which is <commit> in <repo> now, "
        "or a tag.",
        commits("{good}..main"),
    ),
    Refusal(
        "a range the wrong way round",
        "There is no commit in the range <range>. It is the wrong way round: write <range>",
        commits("{last}..{good}"),
    ),
    Refusal(
        "a range of which a shallow clone does not have all",
        "<repo> is a shallow clone, and what lies in the range <range> reaches beyond what it has. Fetch the rest: "
        "git -C <repo> fetch --unshallow",
        range_that_a_shallow_clone_cannot_tell,
    ),
    Refusal(
        "a commit that is not in the branch",
        "Commit <commit> is in <repo> but not in the history of what is checked out there (<commit>), so there is "
        "nothing to revert. Check out the release that contains it, or correct git_revert_commits.",
        aside,
    ),
    Refusal(
        "a commit that a shallow clone cannot place",
        "Commit <commit> is in <repo> but not in the history of what is checked out there (<commit>), so there is "
        "nothing to revert. Check out the release that contains it, or correct git_revert_commits. (Or this shallow "
        "clone cannot tell: git -C <repo> fetch --unshallow)",
        aside_in_a_shallow_clone,
    ),
    Refusal(
        "a commit of which a shallow clone does not have what was before it",
        "Commit <commit> is the oldest that the shallow clone <repo> has: what was before it is missing. Fetch the "
        "rest: git -C <repo> fetch --unshallow",
        in_a_shallow_clone(2, "{bad}"),
    ),
    Refusal(
        "a commit of which a partial clone does not have the files",
        "<repo> is a partial clone and lacks files of the commits to revert. Fetch them beforehand: git -C <repo> show "
        "--format= --stat <commit>",
        partial,
    ),
    Refusal(
        "the first commit of all",
        "Commit <commit> is the first one in <repo>: there was nothing before it to go back to. Correct "
        "git_revert_commits.",
        commits("{good}"),
    ),
    Refusal(
        "a merge",
        "Commit <commit> is a merge, of 1: <commit> Say more; 2: <commit> Two. To keep the first and take back all "
        "that the merge brought: git_revert_mainline: 1",
        merge,
    ),
    Refusal(
        "a merge in a range",
        "Commit <commit> of <range> is a merge, of 1: <commit> Say more; 2: <commit> Two. To keep the first and take "
        "back all that the merge brought: git_revert_mainline: 1",
        merge_in_a_range,
    ),
    Refusal(
        "a parent that a merge does not have",
        "Commit <commit> has no parent 3 to keep. It merges 1: <commit> Say more; 2: <commit> Two. Correct "
        "git_revert_mainline.",
        lambda repo: merge(repo, mainline=3),
    ),
    Refusal(
        "a submodule that moves",
        "The rollback would move the submodule sub, which this phase does not do. Roll it back by a phase of its own: "
        "git_revert_repo: <repo>/sub",
        submodule,
    ),
    Refusal(
        "no commit to check out",
        "No commit to go back to was named. Give it: git_revert_to: <hash>",
        options(method="checkout"),
    ),
    Refusal(
        "a commit to check out that is not an earlier one",
        "Commit <commit> is not an earlier commit of what is checked out in <repo> (<commit>). Look for it with: "
        "git -C <repo> log --oneline",
        checkout_of_side,
    ),
    Refusal(
        "an author without a mail address",
        "The author 'nobody' is not of the form 'Name <mail>'.",
        options(author="nobody"),
    ),
    Refusal(
        "a date that is none",
        "The date '20.11.2026' is not an ISO date such as 2026-11-20.",
        options(date="20.11.2026"),
    ),
    Refusal(
        "a repository that is not there",
        "There is no directory /nonexistent. Give the directory of the app's git work tree.",
        options(repo="/nonexistent"),
    ),
    Refusal(
        "a directory without git",
        "/ is not a git work tree (fatal: not a git repository (or any of the parent directories): .git). Give the "
        "directory of the app's git work tree.",
        options(repo="/"),
    ),
    Refusal(
        "a bare repository",
        "<repo> has no files to roll back: it is a bare repository, or git's own directory. Give the directory of the "
        "app's git work tree.",
        bare,
    ),
    Refusal(
        "an install command that fails",
        "The install command 'false' fails (exit code 1) in a copy of <commit>: it printed nothing. Nothing was "
        "changed. Correct it (git_revert_install), or do without the trial: git_revert_rehearse_install: false",
        options(install=["false"]),
    ),
    Refusal(
        "an install command that is not there",
        "There is no program 'no-such-program' on the PATH of this task (<path>), nor in ~/.local/bin, ~/.cargo/bin, "
        "/usr/local/bin, /opt/poetry/bin. Install it, or give its full path: git_revert_install: "
        "[/path/to/no-such-program, ...] Nothing was changed. Correct it (git_revert_install), or do without the "
        "trial: git_revert_rehearse_install: false",
        options(install=["no-such-program"]),
    ),
    Refusal(
        "an install command that changes tracked files",
        "The install command 'sh -c 'echo x > README'' changes tracked files: README. It must install what these "
        "files say; for uv, that is: [uv, sync, --frozen]",
        options(install=["sh", "-c", "echo x > README"]),
    ),
    Refusal(
        "an install command that cannot be tried in a copy",
        "The install command '<command>' names a place of its own to install into, so it cannot be tried beforehand: "
        "it would change what runs now. Write it relative to the work tree. Nothing was changed. Correct it "
        "(git_revert_install), or do without the trial: git_revert_rehearse_install: false",
        lambda repo: {"install": ["ls", str(repo.path)]},
    ),
]


@pytest.mark.parametrize("row", REFUSALS, ids=[row.case for row in REFUSALS])
def test_refused_with_nothing_changed(repo, row):
    given = row.given(repo) or {}
    said = repo.refused(**given)
    assert row.matches(said), said
    assert not list(repo.point.part.rglob("state.json"))


def test_what_a_conflict_names_is_what_to_revert_with_it(repo):
    later("two, rounded\n", "two, rounded twice\n")(repo)
    commits_ = repo.refused().partition("git_revert_commits: [")[2].partition("]")[0].split(", ")
    repo.run("main", commits=commits_)
    assert tree(repo.path) == ROLLED_BACK


def test_a_partial_clone_works_once_it_has_what_was_said(repo):
    partial(repo)
    repo.git(*repo.refused().rpartition(f"git -C {repo.path} ")[2].split())
    repo.run("main")
    assert tree(repo.path) == ROLLED_BACK
