#!/usr/bin/python
# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: git_revert
short_description: Roll code back in a git work tree, or to an earlier release
version_added: 0.1.0
description:
  - Reverts commits, or goes back to an earlier commit, in the git work tree of an app. Or switches the symlink of an
    app that Capistrano, Deployer or Ansistrano deploys as releases.
  - O(step=preflight) makes the commit in a scratch repository below the restore point, so that O(step=main) is a fast
    switch. Conflicts, uncommitted changes, files in the way and an install command that fails are found there.
  - The commit has the same hash on every host, because its author, committer, dates and message are fixed.
  - The repository's hooks never run, and nothing is signed.
  - A revert that is not pushed is undone by the next deploy. The result says so until it is pushed.
  - HEAD may be on no branch (detached, as after a checkout of a tag). The revert is on no branch then, and the result
    says how to keep it.
  - O(step=rehearse) makes the code in a copy, with an environment of its own, runs its tests, and starts its app where
    that needs no downgraded database. It leaves no trace but what O(install) leaves in the user's caches. Not for
    O(method=release).
  - With O(method=release), other phases find the code where the symlink leads. Where the code goes back before the
    database, give M(changeops.rollback.alembic_downgrade) the directory of the release that is rolled back as its
    project, because the earlier one lacks the newest migrations. A release that is no git work tree has no commit to
    restore configuration from, so give M(changeops.rollback.config_restore) kept copies as sources.
author: changeops.rollback contributors (@changeops)
extends_documentation_fragment: [changeops.rollback.phase, changeops.rollback.fit]
requirements:
  - git 2.30 or newer on the host
options:
  repo:
    description:
      - The work tree, or the app's directory within it.
      - For O(method=release), the directory that has the symlink C(current), or the symlink itself, whatever its name.
    type: path
    required: true
  method:
    description:
      - V(revert) adds one commit that reverts O(commits). The branch goes along.
      - V(checkout) goes to the earlier commit O(to). HEAD is on no branch afterwards; the branch stays where it is.
      - V(release) points the symlink of an app with C(releases/) and C(current) to an earlier release, in one step. The
        release that was left is marked with a file C(BAD_RELEASE), as Deployer does, so that nothing goes back to it.
        Nothing is installed, because a release has what it needs since it was deployed.
    type: str
    choices: [revert, checkout, release]
    default: revert
  commits:
    description:
      - The commits to revert, as hashes or tags, in any order. They are reverted newest first.
      - A range C(51b7d9a..4f1c2e9) is git's, so it holds what leads from the first to the second, without the first.
      - Names that move, such as C(HEAD) or a branch, are refused. So are merges, unless O(mainline) is given.
    type: list
    elements: str
    default: []
  mainline:
    description:
      - Which parent of a merge among O(commits) is kept; V(1) is the branch that was merged into. V(0) refuses merges.
      - Reverting a merge takes back all that it had brought. Commits in O(commits) that it brought are left to it.
      - Git takes the merged branch for merged still. Merging it once more brings only what is new on it, until the
        revert is reverted itself. The result says so.
    type: int
    default: 0
  to:
    description:
      - For O(method=checkout), the commit to go to, as a hash or tag.
      - For O(method=release), the release to go to, as the name of its directory or the hash in its C(REVISION). Empty
        for the newest whole release before O(from), in the order of the deploy tool. Releases that are marked as bad
        or whose deploy did not finish do not count.
    type: str
    default: ""
  from:
    description:
      - For O(method=release), the release that is rolled back, as the name of its directory or the hash in its
        C(REVISION). Where the symlink points to it, it is switched; where it points to the earlier one, all is done
        already; elsewhere it is refused. "The previous release" alone would be another one at each run.
      - Required where O(to) is empty.
    type: str
    default: ""
  install:
    description:
      - The command that installs what the app needs, as a list of arguments, run in O(repo). Empty for none. No shell
        is involved. Examples are V([uv, sync, --frozen]), V([poetry, sync]), V([npm, ci]) and
        V([.venv/bin/pip, install, --require-hashes, -r, requirements.lock]).
      - O(step=preflight) runs it in a copy of the earlier release below the restore point. The environments that this
        makes (virtual environments, C(node_modules)) are whole before the stop. O(step=main) moves them in, and those
        that were there into the restore point; O(step=recover) moves these back. Neither runs the command or needs a
        network then.
      - An environment is replaced as a whole. What was installed there beside what the command installs is gone with
        the old one, and comes back with it.
      - Where the command makes other files too, such as a build, or no environment at all, O(step=main) and
        O(step=recover) run it in O(repo) as well. Then they need what it needs.
      - A program that is not on E(PATH) is looked for in C(~/.local/bin), C(~/.cargo/bin), C(/usr/local/bin) and
        C(/opt/poetry/bin). E(VIRTUAL_ENV) is removed from its environment.
      - Not used for O(method=release).
    type: list
    elements: str
    default: []
  rehearse_install:
    description:
      - Whether O(step=preflight) runs O(install) in a copy, which proves it and prepares the environments.
      - Turn this off for a command that installs into a place of its own, such as C(pip install --target). Then nothing
        is proven or prepared, and O(step=main) and O(step=recover) run the command in O(repo).
      - In check mode the command is never run.
    type: bool
    default: true
  push_remote:
    description:
      - The remote that the revert is pushed to, by its name in the repository, such as V(origin). Empty for no push.
      - O(step=preflight) proves that the push will go, with C(git push --dry-run), and that it publishes nothing but
        the revert. What only the server decides (protected branches, hooks) is not known before.
      - O(step=close) pushes, which is when the whole run is done and verified. It is never forced. A push that fails
        then is a warning that says what to type, since the rollback itself is done.
      - O(step=recover) after a push pushes one more commit, which puts the change back.
      - Git is never let ask for a password. Give the user of the phase a key, a credential helper, or a token in
        O(environment_files).
    type: str
    default: ""
  push_branch:
    description: The branch of O(push_remote) that the revert is pushed to. Required with O(push_remote).
    type: str
    default: ""
  push_here:
    description: Whether this is the host that pushes. One host is enough, because the commit is the same on all.
    type: bool
    default: true
  author:
    description: Author and committer of the revert, as C(Name <mail>).
    type: str
    default: changeops.rollback <changeops.rollback@localhost>
  date:
    description:
      - Date of the revert as an ISO date, or date and time, in UTC unless it says otherwise.
      - Empty for that of the newest reverted commit. It is never older than the commit that the revert follows.
    type: str
    default: ""
  subject:
    description: First line of the revert's message. Empty for C(Revert <hash> <subject>).
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Prove that the commit can be reverted
  changeops.rollback.git_revert:
    step: preflight
    repo: /srv/shop
    commits: [4f1c2e9]
    install: [uv, sync, --frozen]
    restore_point: 2026-11-22T101500Z-C001/1-git_revert

- name: Revert it
  changeops.rollback.git_revert:
    repo: /srv/shop
    commits: [4f1c2e9]
    install: [uv, sync, --frozen]
    restore_point: 2026-11-22T101500Z-C001/1-git_revert

- name: Put the change back
  changeops.rollback.git_revert:
    step: recover
    repo: /srv/shop
    commits: [4f1c2e9]
    install: [uv, sync, --frozen]
    restore_point: 2026-11-22T101500Z-C001/1-git_revert

- name: Go back to the last release, by its tag
  changeops.rollback.git_revert:
    repo: /srv/shop
    method: checkout
    to: v1.4.2

- name: Switch from the release that was made of 4f1c2e9 to the one before it
  changeops.rollback.git_revert:
    repo: /srv/shop
    method: release
    from: 4f1c2e9
"""

RETURN = r"""
msg:
  description: What was done, or what is to be done, in a sentence.
  returned: always
  type: str
  sample: Reverting 4f1c2e9a07 brought /srv/shop from 4f1c2e9a07 to 51d0e2f3b8.
pending:
  description: Whether O(step=main) would change something.
  returned: for O(step=preflight)
  type: bool
  sample: true
before:
  description:
    - The commit and the branch that preflight found. The branch is empty where HEAD was on none.
    - For O(method=release), the release and the commit.
  returned: success
  type: dict
  sample: {commit: 4f1c2e9a07d0b1c2d3e4f5061728394a5b6c7d8e, branch: main}
after:
  description: The same afterwards; for O(step=preflight) and in check mode, as it is to be.
  returned: success
  type: dict
  sample: {commit: 51d0e2f3b8a9c0d1e2f30415263748596a7b8c9d, branch: main}
commit:
  description: The commit afterwards, which is the same on all hosts. For O(method=release), what C(REVISION) says.
  returned: success
  type: str
  sample: 51d0e2f3b8a9c0d1e2f30415263748596a7b8c9d
code:
  description: How it goes back, for the option O(changeops.rollback.alembic_downgrade#module:fit) of another phase.
  returned: for O(step=preflight)
  type: dict
  sample: {repo: /srv/shop, method: revert, commits: [4f1c2e9], install: [uv, sync, --frozen]}
fit:
  description: How many seconds the code that is gone back to took to C(install), to C(test) and to C(start) its app.
  returned: for O(step=rehearse), when there is something to do
  type: dict
  sample: {install: 3.2, start: 1.1}
release:
  description: The name of the release afterwards.
  returned: for O(method=release)
  type: str
  sample: "20261101093000"
asked:
  description: O(commits) or O(to), as given. Hosts that are asked for the same ones are to end on one RV(commit).
  returned: success
  type: list
  elements: str
  sample: [4f1c2e9]
files:
  description: The files that the rollback changes. Empty for O(method=release).
  returned: success
  type: list
  elements: dict
  contains:
    path:
      description: The file, relative to the top of the work tree.
      returned: success
      type: str
      sample: shop/main.py
    status:
      description: What the rollback does to it, which is one of V(added), V(deleted) and V(modified).
      returned: success
      type: str
      sample: modified
  sample: [{path: shop/main.py, status: modified}]
"""

import dataclasses

from ansible_collections.changeops.rollback.plugins.module_utils import _git_revert, _release
from ansible_collections.changeops.rollback.plugins.module_utils._fit import FIT_ARGUMENT, rehearse_code
from ansible_collections.changeops.rollback.plugins.module_utils._git_push import refuse_push
from ansible_collections.changeops.rollback.plugins.module_utils._phase import Context, Report, run_module

# what decides which code is gone back to
CODE = (
    "repo",
    "method",
    "commits",
    "mainline",
    "to",
    "author",
    "date",
    "subject",
    "install",
    "rehearse_install",
)
ARGUMENTS = {
    "repo": {"type": "path", "required": True},
    "method": {"type": "str", "choices": ["revert", "checkout", "release"], "default": "revert"},
    "commits": {"type": "list", "elements": "str", "default": []},
    "mainline": {"type": "int", "default": 0},
    "to": {"type": "str", "default": ""},
    "from": {"type": "str", "default": ""},
    "install": {"type": "list", "elements": "str", "default": []},
    "rehearse_install": {"type": "bool", "default": True},
    "push_remote": {"type": "str", "default": ""},
    "push_branch": {"type": "str", "default": ""},
    "push_here": {"type": "bool", "default": True},
    "author": {"type": "str", "default": "changeops.rollback <changeops.rollback@localhost>"},
    "date": {"type": "str", "default": ""},
    "subject": {"type": "str", "default": ""},
}


def preflight(ctx: Context) -> Report:
    refuse_push(ctx.params)
    if ctx.params.get("step") == "rehearse":
        ctx = dataclasses.replace(ctx, check=True)  # what a check leaves out, the rehearsal does
    report = _way(ctx).preflight(ctx)
    report.facts["code"] = {name: ctx.params[name] for name in CODE}
    return report


def rehearse(ctx: Context) -> Report:
    if ctx.params["method"] == "release":
        return Report("The code of an earlier release is there already; it was not tried.")
    return rehearse_code(ctx)


def switch(ctx: Context) -> Report:
    return _way(ctx).main(ctx)


def recover(ctx: Context) -> Report:
    return _way(ctx).recover(ctx)


def can_undo(ctx: Context) -> Report:
    return _way(ctx).can_undo(ctx)


def close(ctx: Context) -> Report:
    return _git_revert.close(ctx)


def _way(ctx):
    """The symlink of a release is switched in other ways than a work tree."""
    return _release if ctx.params["method"] == "release" else _git_revert


def subject(params):
    """What a stand-alone use works on: the repository and the goal."""
    return " ".join([params["repo"], params["method"], params["from"], params["to"], *params["commits"]])


def main():
    more = {"close": close, "can_undo": can_undo, "rehearse": rehearse}
    run_module(
        dict(ARGUMENTS, fit=FIT_ARGUMENT), preflight, switch, recover, subject=subject, phase="git_revert", **more
    )


if __name__ == "__main__":
    main()
