# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of a revert after the run: pushed, or to be pushed by somebody. Private to this collection."""

from __future__ import annotations

from ._git_place import Place


def to_do_later(place: Place) -> list[str]:
    """What somebody has to know or do after the run, or the next deploy or merge undoes it; as sentences."""
    return [*_unpushed(place), *_on_no_branch(place), *_merge_trap(place)]


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
