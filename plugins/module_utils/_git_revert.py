# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Roll code back in a git work tree: rehearsed beforehand, a fast switch in the downtime. Private to this collection.

``preflight`` makes the rolled-back commit in a scratch repository below the restore point, which borrows the objects
of the real one, so that nothing is written there. ``main`` brings that commit over and switches to it.

How far the work came is noted as ``stage``: rehearsed, switching, installing, done; recovering, recovered.
"""

from __future__ import annotations

import shutil
import typing as t

from ._command import PhaseError
from ._dependencies import Dependencies
from ._git import SHOWN, Git, named, printable
from ._git_commits import revertible
from ._git_obstacles import nearly_full_told, refuse_filters, refuse_in_the_way, refuse_unfinished, refuse_unwritable
from ._git_place import SCRATCH_REF, Place
from ._git_push import prove_push, push, push_back, still_reverted, to_do_later
from ._git_rehearsal import changes, check_out, refuse_missing, rehearse_revert, scratch_repository, signature
from ._install_command import Trial
from ._phase import Context, Report

AGAIN = "Nothing was switched. Run the same command again: it will be rehearsed from there."


def preflight(ctx: Context) -> Report:
    """Prove the rollback and the install command in a scratch repository; note the commit to switch to."""
    place = Place(ctx)
    here = place.position()
    report = _resumed(place, here) if ctx.resumed else None
    if report:
        return report
    refuse_unfinished(place.git)
    scratch = ctx.point.scratch()
    with nearly_full_told(scratch):
        rehearsed = scratch_repository(place.git, scratch / "tree")
        goal = goal_of(place, rehearsed, here["commit"])
    target = goal["target"]
    files = changes(rehearsed, here["commit"], target)
    # What is not to be shipped again, once the run has succeeded.
    release = here["commit"] if target != here["commit"] else ""
    held = {"repo": str(place.repo), "commits": goal["reverts"], "release": release}
    prepared = {"base": here["commit"], "branch": here["branch"], "files": files, "hold": held, **goal}
    if target == here["commit"]:
        shutil.rmtree(str(scratch), ignore_errors=True)
        return _report(
            place,
            f"The code in {place.repo} ({target[:10]}) is as it was before the change already. Nothing to do.",
            pending=False,
            before=here,
            after=here,
            prepared=dict(prepared, stage="done", stat=""),
        )
    refuse_in_the_way(place.git, files)
    refuse_unwritable(place.git, files, rehearsed)
    if not ctx.check:  # a filter may fetch what it lacks
        refuse_filters(place.git, files, target, rehearsed)
    rehearsed.run("update-ref", SCRATCH_REF, target)
    stat_ = rehearsed.line("diff", "--stat=100", "--no-ext-diff", "--no-color", "--no-renames", here["commit"], target)
    note, installed = _prove_install(place, rehearsed, target)
    note += prove_push(place, rehearsed, here["commit"], target)
    return _report(
        place,
        f"{goal['what']} in {place.repo} goes without a conflict: {here['commit'][:10]} to {target[:10]}, "
        f"{len(files)} file(s).{note}",
        pending=True,
        before=here,
        after=place.goal(prepared),
        prepared=dict(prepared, stage="rehearsed", stat=stat_, **installed),
    )


def _resumed(place: Place, here: dict[str, str]) -> Report | None:
    """What is left of an earlier attempt; None where the work is to be rehearsed anew."""
    prepared = place.ctx.prepared
    stage = prepared.get("stage")
    if place.half_done():
        place.refuse_elsewhere(here)
        msg = f"An earlier attempt was interrupted in the middle of the switch of {place.repo}. It will be completed."
        return _report(place, msg, pending=True, after=place.goal())
    if stage == "installing":
        place.refuse_elsewhere(here)
        msg = f"{place.repo} was switched to {here['commit'][:10]} earlier. The install command is left to do."
        return _report(place, msg, pending=bool(place.ctx.params["install"]), after=here)
    if stage == "done" and (here == place.goal() or _contains(place, here["commit"])):
        return _report(place, f"The code in {place.repo} was rolled back earlier.", pending=False, after=here)
    return None


def _contains(place: Place, commit: str) -> bool:
    """True where somebody committed on top of the revert that this run made."""
    prepared = place.ctx.prepared
    own = place.moves_branch and prepared["target"] != prepared["base"]
    return own and place.git.is_ancestor(prepared["target"], commit)


def goal_of(place: Place, scratch: Git, head: str) -> dict[str, t.Any]:
    """The commit to switch to, made in the scratch repository where need be; with words for it, and what it reverts."""
    params, git = place.ctx.params, place.git
    if not place.moves_branch:
        if not params["to"]:
            raise PhaseError("No commit to go back to was named. Give it: git_revert_to: <hash>")
        target = git.resolve_fixed(params["to"])
        if not git.is_ancestor(target, head):
            raise PhaseError(
                f"Commit {params['to']} is not an earlier commit of what is checked out in {git.repo} "
                f"({head[:10]}). Look for it with: {git.say('log --oneline')}"
            )
        reverts = git.line("rev-list", f"{target}..{head}").split()
        return {"target": target, "what": f"Going back to {target[:10]}", "reverts": reverts, "merges": []}
    selection = revertible(git, params["commits"], head, params["mainline"])
    commits = selection.commits
    refuse_missing(git, scratch, selection)
    who = signature(params["author"], params["date"], git.commit_time(head), git.commit_time(commits[0]))
    subject = " ".join(params["subject"].split())
    if not subject:
        more = f" and {len(commits) - 1} more" if len(commits) > 1 else ""
        subject = f"Revert {commits[0][:10]} {git.subject(commits[0])}{more}"
    target, reverted = rehearse_revert(scratch, selection, head, who, subject)
    shown = [commit[:10] for commit in reverted or commits]
    more = f" and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
    return {
        "target": target,
        "what": f"Reverting {', '.join(shown[:SHOWN])}{more}",
        "reverts": commits,
        "merges": [commit for commit in reverted if commit in selection.merges],
    }


def _prove_install(place: Place, scratch: Git, target: str) -> tuple[str, dict[str, t.Any]]:
    """Run the install command in the scratch copy. Returns words for the user, and what was prepared."""
    ctx = place.ctx
    dependencies = Dependencies(ctx, place.app)
    nothing: dict[str, t.Any] = {"environments": [], "run_install": True}
    if not dependencies.argv:
        return "", nothing
    if not ctx.params["rehearse_install"]:
        return f" '{dependencies.shown}' was not tried.", nothing
    if ctx.check:
        # it would fill the user's caches
        return f" '{dependencies.shown}' is not tried in check mode.", nothing
    prepared = dependencies.prepare(try_install(place, scratch, target))
    return dependencies.said(prepared), prepared


def try_install(place: Place, scratch: Git, target: str) -> Trial:
    """Run the install command in the scratch copy.

    :raises PhaseError: it fails, or changes what is in git.
    """
    dependencies = Dependencies(place.ctx, place.app)
    check_out(scratch, target)
    trial = dependencies.attempt(scratch.repo, place.repo, target[:10])
    touched = scratch.dirty()
    if touched:
        raise PhaseError(
            f"The install command '{dependencies.shown}' changes tracked files: {named(touched)}. It must install what "
            "these files say; for uv, that is: [uv, sync, --frozen]"
        )
    return trial


def main(ctx: Context) -> Report:
    """Switch to the commit that preflight made, and run the install command."""
    place = Place(ctx)
    here, prepared, goal = place.position(), ctx.prepared, place.goal()
    target, stage = prepared["target"], prepared["stage"]
    if stage == "done":
        if here != goal and not _contains(place, here["commit"]):
            place.refuse_elsewhere(here, AGAIN)
        already = f"{place.repo} stands at {here['commit'][:10]}, with the change rolled back already."
        return _report(place, already, after=here, warnings=to_do_later(place))
    if ctx.check:
        msg = f"{prepared['what']} would bring {place.repo} from {here['commit'][:10]} to {target[:10]}."
        return _report(place, msg, changed=True, after=goal, warnings=to_do_later(place))
    warnings: list[str] = []
    if place.half_done():
        place.refuse_elsewhere(here)
        ctx.note(stage="switching")
        warnings += place.settle(prepared["files"])
    elif stage == "installing":
        place.refuse_elsewhere(here)
    else:
        refuse_unfinished(place.git)
        place.refuse_elsewhere(here, AGAIN)
        refuse_in_the_way(place.git, prepared["files"])
        place.bring(target)
        ctx.note(stage="switching")
    if here != goal:
        place.switch(target, "" if not place.moves_branch else goal["branch"])
    place.prove(goal)
    ctx.note(stage="installing")
    Dependencies(ctx, place.app).install(
        f"The code stands at {target[:10]} already. Run the same command again to go on."
    )
    place.forget_target()
    ctx.note(stage="done")
    done = f"{prepared['what']} brought {place.repo} from {prepared['base'][:10]} to {target[:10]}."
    later = to_do_later(place)
    msg = " ".join([done, *later])
    return _report(place, msg, changed=True, after=place.position(), warnings=warnings + later)


def close(ctx: Context) -> Report:
    """Push the revert, where that is asked for, or in an undo what puts it back: all is verified now."""
    if not (ctx.params["push_remote"] and ctx.params["push_here"]):
        return Report("Nothing is to be pushed from here.")
    place = Place(ctx)
    if ctx.undo:
        said, warnings = push_back(place)
        words = said.strip() or "Nothing is to be put back elsewhere."
        return _report(place, words, changed=bool(said), after=place.position(), warnings=warnings)
    pushed, msg, warnings = push(place)
    report = _report(place, msg or f"{place.repo} was not pushed.", after=place.position(), warnings=warnings)
    report.changed = pushed
    return report


def can_undo(ctx: Context) -> Report:
    """See that the code is where the rollback left it, so that it can go back to where that found it."""
    place = Place(ctx)
    here, prepared = place.position(), ctx.prepared
    if prepared["base"] == prepared["target"] or here == place.found():
        return _report(place, f"The code in {place.repo} is not to be put back.", after=here)
    if not place.half_done():
        place.refuse_moved(here)
        refuse_unfinished(place.git)
        refuse_in_the_way(place.git, prepared["files"])
    Dependencies(ctx, place.app).refuse_gone()
    words = f"The code in {place.repo} can go from {here['commit'][:10]} back to {prepared['base'][:10]}."
    return _report(place, words, after=place.found())


def recover(ctx: Context) -> Report:
    """Go back to the commit and the branch that preflight found, and install what belongs to it."""
    place = Place(ctx)
    here, prepared = place.position(), ctx.prepared
    stage = prepared.get("stage")
    own = stage in ("installing", "done") and prepared["base"] != prepared["target"]
    if not own and not place.half_done():
        place.forget_target()
        return _report(place, f"The code in {place.repo} was not switched, so nothing is to be put back.", after=here)
    by_hand = f"revert {prepared['target']}" if place.moves_branch else f"checkout {prepared['branch']}"
    place.refuse_elsewhere(here, f"To put the change back by hand: {place.git.say(by_hand)}")
    found = place.found()
    ctx.note(stage="recovering")
    warnings = place.settle(prepared["files"])
    if here != found:
        place.switch(found["commit"], found["branch"])
    place.prove(found)
    standing = f"The code stands at {found['commit'][:10]} again. Run the same command again to go on."
    Dependencies(ctx, place.app).put_back(standing)
    place.forget_target()
    # an undo pushes when all is verified
    pushed, unpushed = ("", still_reverted(place)) if ctx.undo else push_back(place)
    ctx.note(stage="recovered")
    branch = f" on {found['branch']}" if found["branch"] else ""
    msg = f"{place.repo} is back at {found['commit'][:10]}{branch}.{pushed}"
    files = prepared["files"]
    diff = "\n".join([f"{place.repo}: {prepared['target'][:10]} -> {found['commit'][:10]}", *_letters(files), ""])
    return _report(
        place, msg, changed=True, after=place.position(), warnings=warnings + unpushed, diff=[{"prepared": diff}]
    )


def _letters(files: t.Sequence[t.Mapping[str, str]]) -> list[str]:
    """One line for each file, as ``git diff --name-status`` has them."""
    return [f"{change['status'][0].upper()}\t{printable(change['path'])}" for change in files]


def _report(place: Place, msg: str, **kw: t.Any) -> Report:
    """A report with what all of them have: the commit, the files, and the diff where there is something to do."""
    report = Report(msg, **kw)
    prepared = report.prepared or place.ctx.prepared
    report.before = report.before or place.found()
    report.facts = {
        "asked": place.ctx.params["commits"] if place.moves_branch else [place.ctx.params["to"]],
        "commit": report.after["commit"],
        "files": [{"path": printable(change["path"]), "status": change["status"]} for change in prepared["files"]],
    }
    if (report.changed or report.pending) and not report.diff:
        head = f"{place.repo}: {prepared['base'][:10]} -> {prepared['target'][:10]}"
        report.diff = [{"prepared": "\n".join([head, *_letters(prepared["files"]), prepared["stat"], ""])}]
    return report
