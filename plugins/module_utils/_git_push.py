# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of a revert after the run: it is pushed, or somebody is told to. Private to this collection.

One host pushes, in the step ``close``, which comes when everything is verified: a push sets off deploys, and a rollback
that fails must leave no trace that others deploy from. Preflight proves that the push will go. Nothing is ever forced:
what was pushed and is put back after all is put back by one more commit.
"""

from __future__ import annotations

import shlex
import typing as t

from ._command import Completed, PhaseError
from ._git import Git
from ._git_place import Place
from ._git_rehearsal import signature

# The revert and nothing else, whatever push.* in somebody's configuration adds.
QUIET = ("--porcelain", "--no-verify", "--no-follow-tags", "--recurse-submodules=no", "--no-signed")
NETWORK = 60.0  # seconds that one command may take that talks to a remote
WITHOUT = 'or do without the push: git_revert_push_remote: ""'


class Remote:
    """The branch of a remote that the revert is pushed to, from the repository of ``place``."""

    def __init__(self, place: Place) -> None:
        self.git = place.git
        self.name: str = place.ctx.params["push_remote"]
        self.branch: str = place.ctx.params["push_branch"]
        self.words = f"{self.branch} of {self.name}"
        scratch = place.ctx.point.scratch_path / "tree" / ".git" / "objects"
        # Before the switch, the revert is in the scratch repository only.
        self.objects = str(scratch) if scratch.is_dir() else None

    def _run(self, *args: str) -> Completed:
        environ = self.git.commands.environ
        ssh = environ.get("GIT_SSH_COMMAND") or self.git.run("config", "core.sshCommand", check=False).out.strip()
        ssh = ssh or shlex.quote(environ.get("GIT_SSH") or "ssh")
        env = {
            "GIT_SSH_COMMAND": f"{ssh} -o BatchMode=yes -o ConnectTimeout=20",  # it must not ask for a password
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": self.objects,
        }
        try:
            return self.git.run(*args, check=False, env=env, timeout=NETWORK)
        except PhaseError as exc:
            return Completed([], 1, "", str(exc))

    def tip(self) -> str:
        """The commit that the branch is at.

        :raises PhaseError: the remote does not answer, or has no such branch.
        """
        done = self._run("ls-remote", self.name, f"refs/heads/{self.branch}")
        if done.rc:
            raise PhaseError(
                f"The remote {self.name} of {self.git.repo} does not answer: {done.said}. See what "
                f"{self.git.say(f'ls-remote {self.name}')} says as this user, {WITHOUT}"
            )
        tips = [line.split("\t")[0] for line in done.out.splitlines() if line.endswith(f"\trefs/heads/{self.branch}")]
        if not tips:
            raise PhaseError(
                f"The remote {self.name} of {self.git.repo} has no branch {self.branch}. Correct "
                f"git_revert_push_branch, {WITHOUT}"
            )
        return tips[0]

    def push(self, commit: str, *options: str) -> str:
        """Push ``commit``, never by force. Returns why it was not taken, or nothing."""
        done = self._run("push", *QUIET, *options, self.name, f"{commit}:refs/heads/{self.branch}")
        if not done.rc:
            return ""
        rejected = [line.split("\t")[-1] for line in done.out.splitlines() if line.startswith("!")]
        return f"{self.name} would not take it: {done._replace(err=rejected[0]).said if rejected else done.said}."


def refuse_push(params: t.Mapping[str, t.Any]) -> None:
    """Refuse to push what is no revert."""
    if params["push_remote"] and params["method"] != "revert":
        raise PhaseError(
            f"Only a revert can be pushed, and git_revert_method is {params['method']}. Choose git_revert_method: "
            f"revert, {WITHOUT}"
        )


def remote(place: Place) -> Remote | None:
    """Where to push to; None where nothing is to be pushed.

    :raises PhaseError: it cannot be told.
    """
    params, git = place.ctx.params, place.git
    if not params["push_remote"]:
        return None
    if not params["push_branch"]:
        raise PhaseError("It is not said which branch the revert is pushed to. Give it: git_revert_push_branch: main")
    if git.run("check-ref-format", f"refs/heads/{params['push_branch']}", check=False).rc:
        raise PhaseError(f"'{params['push_branch']}' is not the name of a branch. Correct git_revert_push_branch.")
    names = git.line("remote").split()
    if params["push_remote"] not in names:
        raise PhaseError(
            f"{git.repo} has no remote of the name that git_revert_push_remote gives. It has: "
            f"{', '.join(names) or 'none'}. Give one of these names; a URL belongs into git remote add."
        )
    return Remote(place)


def prove_push(place: Place, scratch: Git, base: str, target: str) -> str:
    """Refuse a push that would not go, or would publish more than the revert. Returns words for the user.

    :arg scratch: the repository that has ``target``.
    """
    there = remote(place)
    if there is None or not place.ctx.params["push_here"] or target == base:
        return ""
    tip = there.tip()
    if tip != base:
        raise PhaseError(" ".join(_not_next(place.git, there, tip, base)))
    why = there.push(target, "--dry-run")
    if why:
        words = place.git.say(f"push --dry-run {there.name} HEAD:{there.branch}")
        raise PhaseError(
            f"The revert in {place.repo} cannot be pushed to {there.words}. {why} Let this user push there ({words}), "
            + WITHOUT
        )
    return f" It will be pushed to {there.words} when the run has succeeded."


def _not_next(git: Git, there: Remote, tip: str, here: str) -> tuple[str, str]:
    """Why a push would not add the revert and nothing else, and what can be done about it beforehand."""
    place = f"{there.words} stands at {tip[:10]}, and {git.repo} at {here[:10]}"
    if _known(git, tip) and git.is_ancestor(tip, here):
        more = git.line("rev-list", "--count", f"{tip}..{here}")
        words = git.say(f"push {there.name} {here[:10]}:{there.branch}")
        return (
            f"The branch {place}, {more} commit(s) further on, which a push of the revert would publish too.",
            f"If they are meant to be there, push them before: {words} ; {WITHOUT}",
        )
    return (
        f"The branch {place}. It has moved on, and would not take the revert.",
        f"Deploy what is there before, {WITHOUT}",
    )


def _known(git: Git, commit: str) -> bool:
    return git.run("cat-file", "-e", f"{commit}^{{commit}}", check=False).rc == 0


def push(place: Place) -> tuple[bool, str, list[str]]:
    """Push the revert that main made. Returns whether something was pushed, a sentence, and warnings.

    It does not fail: the rollback is done and verified, and nobody should put it back for want of a push.
    """
    there, target = Remote(place), place.ctx.prepared["target"]
    try:
        tip = there.tip()
        if _has(place.git, tip, target):
            return False, f"The revert is in {there.words} already.", []
        why = _why_not(place, there, tip)
        if not why:
            place.ctx.note(pushing=target)
            why = there.push(target)
    except PhaseError as exc:
        why = str(exc)
    if why:
        return False, "", [_left_to_do(place, there, why)]
    return True, f"Pushed {target[:10]} to {there.words}.", []


def _has(git: Git, tip: str, commit: str) -> bool:
    """Whether ``commit`` is in the history of ``tip``, as far as is known here."""
    return tip == commit or git.is_ancestor(commit, tip)


def _why_not(place: Place, there: Remote, tip: str) -> str:
    """Why the revert is not to be pushed on top of ``tip``; empty where it is."""
    git, prepared = place.git, place.ctx.prepared
    target = prepared["target"]
    body = git.line("log", "-1", "--no-show-signature", "--format=%P%n%b", target).splitlines()
    said = [f"This reverts commit {commit}." for commit in prepared["reverts"]]
    if body and body[0] == tip and any(line in said for line in body):
        return ""
    if target == prepared["base"] and not _known(git, tip):
        words = f"{git.say(f'fetch {there.name}')} && {git.say(f'branch -r --contains {target[:10]}')}"
        return f"{there.words} stands at {tip[:10]}, where the revert may be or not. Look with: {words} ."
    return _not_next(git, there, tip, prepared["base"])[0]


def _left_to_do(place: Place, there: Remote, why: str) -> str:
    named = " ".join(place.ctx.params["commits"])
    mainline = f" -m {place.ctx.params['mainline']}" if place.ctx.params["mainline"] else ""
    return (
        f"The rollback is done, but NOT PUSHED: {why} The next deploy brings the change back, unless it is reverted "
        f"there. In a clone of your own, on {there.branch}, type: git pull && git revert{mainline} {named} && git push"
    )


def push_back(place: Place) -> tuple[str, list[str]]:
    """Put back what was pushed, by a commit on top of it. Returns a sentence, and warnings; it does not fail either."""
    prepared = place.ctx.prepared
    target = prepared.get("pushing")
    if not target or not place.ctx.params["push_remote"]:
        return "", []
    there = Remote(place)
    try:
        tip = there.tip()
        again = _reapplied(place, target)
        if tip in (prepared["base"], again):
            return "", []
        why = there.push(again) if tip == target else f"It stands at {tip[:10]} now."
    except PhaseError as exc:
        why = str(exc)
    if why:
        return "", [_left_reverted(there, target, why)]
    return f" Pushed {again[:10]} to {there.words}, which puts the change back there.", []


def _reapplied(place: Place, target: str) -> str:
    """The commit on top of the revert that has the files from before it; the same at every attempt."""
    git, params = place.git, place.ctx.params
    who = signature(params["author"], params["date"], git.commit_time(target), git.commit_time(target))
    message = f"Put back: {git.subject(target)}\n\nThis reverts commit {target}.\n"
    tree = f"{place.ctx.prepared['base']}^{{tree}}"
    return git.run("commit-tree", tree, "-p", target, "-F", "-", stdin=message, env=who.environment).out.strip()


def _left_reverted(there: Remote, target: str, why: str) -> str:
    return (
        f"The revert {target[:10]} is pushed to {there.words}, and could not be put back there: {why} The next deploy "
        f"rolls the change back. In a clone of your own, on {there.branch}, type: git pull && git revert "
        f"{target[:10]} && git push"
    )


def still_reverted(place: Place) -> list[str]:
    """Say after an undo that the next deploy rolls the change back again, where somebody has pushed the revert."""
    git, target = place.git, place.ctx.prepared["target"]
    upstream = git.run("rev-parse", "--verify", "--quiet", "@{upstream}", check=False)
    if upstream.rc or place.ctx.params["push_remote"] or not git.is_ancestor(target, upstream.out.strip()):
        return []
    name = git.line("rev-parse", "--abbrev-ref", "@{upstream}")
    return [
        f"The revert {target[:10]} is in {name}: the next deploy rolls the change back again. In a clone of your own, "
        f"on that branch, type: git pull && git revert {target[:10]} && git push"
    ]


def to_do_later(place: Place) -> list[str]:
    """What somebody has to know or do after the run, or the next deploy or merge undoes it; as sentences."""
    unpushed = [] if place.ctx.params["push_remote"] else _unpushed(place)
    return [*unpushed, *_on_no_branch(place), *_merge_trap(place)]


def _unpushed(place: Place) -> list[str]:
    """Say that the next deploy undoes the rollback, unless the upstream branch has it."""
    git, target = place.git, place.ctx.prepared["target"]
    if not place.moves_branch:
        return [
            f"{place.repo} is not on a branch now: the next deploy brings the change back, unless it is reverted on "
            f"the branch that is deployed from."
        ]
    if target == place.ctx.prepared["base"] and not git.line("remote"):
        return []
    upstream = git.run("rev-parse", "--verify", "--quiet", "@{upstream}", check=False)
    if upstream.rc == 0:
        if git.is_ancestor(target, upstream.out.strip()):
            return []
        words = git.say("push")
    else:
        remotes = git.line("remote").split()
        if not remotes:
            return [f"The rollback is only in {place.repo}: the next deploy from elsewhere brings the change back."]
        words = git.say(f"push {remotes[0]} HEAD:{place.ctx.prepared['branch'] or '<branch>'}")
    return [
        f"The rollback is only in {place.repo} and NOT PUSHED: the next deploy brings the change back. "
        f"On one host (the commit is the same on all), type: {words}"
    ]


def _on_no_branch(place: Place) -> list[str]:
    prepared = place.ctx.prepared
    if not place.moves_branch or prepared["branch"] or prepared["target"] == prepared["base"]:
        return []
    return [
        f"{place.repo} is on no branch (detached HEAD), so the revert is lost with the next checkout. To keep it: "
        + place.git.say(f"branch <name> {prepared['target'][:10]}")
    ]


def _merge_trap(place: Place) -> list[str]:
    prepared = place.ctx.prepared
    if not prepared.get("merges"):
        return []
    merges = ", ".join(merge[:10] for merge in prepared["merges"])
    return [
        f"Git takes what {merges} brought for merged still: merging it once more brings only what is new. "
        f"To bring it all back, type before that: git revert {prepared['target'][:10]}"
    ]
