# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Go back to an earlier release by its symlink ``current``. Private to this collection.

"The previous release" is another one after each rollback, as ``-1`` is another revision, so the plan names the release
that is rolled back: ``current`` stands there (do it), at the earlier one (done already) or elsewhere (refuse).

How far the work came is noted as ``stage``: found, switching, done; recovering, recovered.
"""

from __future__ import annotations

import contextlib
import datetime
import getpass
import os
import typing as t
from pathlib import Path

from ._command import PhaseError
from ._files import put_link, remove
from ._git import HASH
from ._phase import Context, Report
from ._release_layout import BAD, Layout, Release, names
from ._restore_point import write_file

NEXT_DEPLOY = "The next deploy brings the change back, unless it is reverted where it is deployed from."


def preflight(ctx: Context) -> Report:
    """Find the release to go back to, and prove that it is whole and that the symlink can be switched."""
    layout = Layout(Path(ctx.params["repo"]).expanduser())
    here = layout.current
    prepared = ctx.prepared
    if ctx.resumed and prepared.get("stage") in ("switching", "done"):
        _refuse_elsewhere(layout, prepared)
        pending = prepared["stage"] == "switching"
        words = "an earlier attempt was interrupted. It will be completed" if pending else "it was switched earlier"
        goal = layout.named(prepared["target"])
        return _report(layout, f"{layout.link}: {words}.", pending=pending, after=_state(goal or here))
    layout.refuse_deploy()
    target = _target(layout, ctx.params["from"], ctx.params["to"])
    commits = [here.revision] if HASH.match(here.revision) and here.revision != target.revision else []
    held = {"repo": str(layout.root), "commits": commits, "release": here.name if here != target else ""}
    found = {"base": here.name, "link": layout.text, "target": target.name, "stage": "found", "mark": "", "hold": held}
    if target == here:
        msg = f"{layout.link} points to {target.title} already. Nothing to do."
        return _report(layout, msg, pending=False, after=_state(here), prepared=dict(found, stage="done"))
    layout.refuse_read_only()
    if not (here.path / BAD).exists():
        found["mark"] = f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%dT%H:%M:%S+0000},{getpass.getuser()}\n"
    msg = f"{layout.link} can go back from {here.title} to {target.title}."
    return _report(layout, msg, pending=True, after=_state(target), prepared=found, diff=_diff(layout, target))


def _target(layout: Layout, from_: str, to: str) -> Release:
    """The release to go back to; the current one where that was done already."""
    here = layout.current
    if to:
        wanted = layout.matching(to)
        if here in wanted:
            return here
        if not wanted:
            raise PhaseError(f"There is no release '{to}' in {layout.folder}. {layout.choice} Correct git_revert_to.")
        target = wanted[-1]
        if from_ and here not in layout.matching(from_):
            raise _elsewhere(layout, from_, target.name)
        if not from_ and layout.is_newer(target):
            raise PhaseError(
                f"{layout.link} points to {here.title}, which is older than {target.title}: this would bring a later "
                f"release, and perhaps the change, back. Name an earlier one. {layout.choice}"
            )
    elif not from_:
        raise PhaseError(
            "No release was named. 'The previous one' is another one after each rollback, so give the release that is "
            f"to be rolled back (git_revert_from: {here.name} stands there now), or the one to go back to "
            f"(git_revert_to). {layout.choice}"
        )
    else:
        target = _previous(layout, from_)
    if target != here and target.fault:
        raise PhaseError(f"{layout.link} cannot go to release {target.name}: {target.fault} {layout.choice}")
    return target


def _previous(layout: Layout, from_: str) -> Release:
    """The newest whole release before the one that is rolled back."""
    here, rolled_back = layout.current, layout.matching(from_)
    if not rolled_back:
        raise PhaseError(
            f"There is no release '{from_}' in {layout.folder}, so which one was before it is not known. "
            f"{layout.choice} Name the one to go back to: git_revert_to: <name>"
        )
    if not layout.ordered:
        raise PhaseError(
            f"The releases in {layout.folder} have no order: their names are no numbers or times, and there is no "
            f".dep/releases_log. {layout.choice} Name the one to go back to: git_revert_to: <name>"
        )
    last = here if here in rolled_back else rolled_back[-1]
    earlier = [r for r in layout.releases[: layout.releases.index(last)] if r not in rolled_back]
    whole = [r for r in earlier if not r.fault]
    if not whole:
        left_out = "".join(f" {r.name}: {r.fault}" for r in earlier)
        raise PhaseError(
            f"There is no whole release before {last.name} in {layout.folder}.{left_out} Deploy the earlier release "
            "with your deploy tool instead."
        )
    if here not in (last, whole[-1]):
        raise _elsewhere(layout, from_, whole[-1].name)
    return whole[-1]


def _elsewhere(layout: Layout, from_: str, to: str) -> PhaseError:
    return PhaseError(
        f"{layout.link} points to {layout.current.title}, where {from_} (to be rolled back) or {to} (done already) was "
        "expected. Correct git_revert_from if that is what is to be rolled back."
    )


def main(ctx: Context) -> Report:
    """Switch the symlink, and mark the release that was left as bad."""
    layout = Layout(Path(ctx.params["repo"]).expanduser())
    prepared = ctx.prepared
    if prepared["stage"] == "done":
        if prepared["base"] != prepared["target"]:
            _refuse_elsewhere(layout, prepared)
        return _report(layout, f"{layout.link} points to {layout.current.title} already.", after=_state(layout.current))
    _refuse_elsewhere(layout, prepared)
    target = layout.named(prepared["target"])
    if target is None or (target.fault and layout.current != target):
        why = f"it is gone from {layout.folder}." if target is None else target.fault
        raise PhaseError(
            f"{layout.link} cannot go to release {prepared['target']} any more: {why} Nothing was switched. "
            "Run the same command again: it will be looked for anew."
        )
    diff = _diff(layout, target)
    words = f"{layout.link} from release {prepared['base']} to {target.title}. {NEXT_DEPLOY}"
    if ctx.check:
        return _report(layout, f"Would switch {words}", changed=True, after=_state(target), diff=diff)
    if prepared["stage"] == "found":
        layout.refuse_deploy()
    ctx.note(stage="switching")
    _switch(layout, _like(prepared["link"], target.name), target.path)
    base = layout.named(prepared["base"])
    if prepared["mark"] and base:
        # Deployer's mark: neither it nor this phase goes back to a release that has it.
        write_file(base.path / BAD, prepared["mark"].encode(), 0o644)
    ctx.note(stage="done")
    return _report(layout, f"Switched {words}", changed=True, after=_state(target), diff=diff, warnings=[NEXT_DEPLOY])


def can_undo(ctx: Context) -> Report:
    """See that the symlink is where the rollback left it, and that the release is there to which it goes back."""
    layout = Layout(Path(ctx.params["repo"]).expanduser(), dangling=True)
    prepared = ctx.prepared
    if prepared["base"] in (prepared["target"], layout.name):
        return _report(layout, f"{layout.link} is not to be put back.", after=layout.state)
    _refuse_elsewhere(layout, prepared)
    layout.refuse_deploy()
    base = _base(layout, prepared)
    return _report(layout, f"{layout.link} can go back to {base.title}.", after=_state(base))


def _base(layout: Layout, prepared: dict[str, t.Any]) -> Release:
    """The release that preflight found.

    :raises PhaseError: it is gone.
    """
    base = layout.named(prepared["base"])
    if base is None:
        raise PhaseError(
            f"Release {prepared['base']}, to which {layout.link} pointed, is gone from {layout.folder}. Deploy it "
            "again with your deploy tool."
        )
    return base


def recover(ctx: Context) -> Report:
    """Point the symlink to the release that preflight found."""
    layout = Layout(Path(ctx.params["repo"]).expanduser(), dangling=True)
    prepared = ctx.prepared
    if prepared.get("stage") not in ("switching", "done", "recovering") or prepared["base"] == prepared["target"]:
        return _report(layout, f"{layout.link} was not switched, so nothing is to be put back.", after=layout.state)
    base = _base(layout, prepared)
    _refuse_elsewhere(layout, prepared)
    ctx.note(stage="recovering")
    diff = _diff(layout, base)
    _switch(layout, prepared["link"], base.path)
    with contextlib.suppress(FileNotFoundError):
        if prepared["mark"] and (base.path / BAD).read_text() == prepared["mark"]:
            remove(str(base.path / BAD))
    ctx.note(stage="recovered")
    return _report(layout, f"{layout.link} points to {base.title} again.", changed=True, after=_state(base), diff=diff)


def _refuse_elsewhere(layout: Layout, prepared: dict[str, t.Any]) -> None:
    if layout.name not in (prepared["base"], prepared["target"]):
        raise PhaseError(
            f"Somebody switched {layout.link} since preflight: it points to {layout.name}, where "
            f"{names([prepared['base'], prepared['target']], ' or ')} was expected. Look at who deploys. To put it "
            f"where it was: ln -sfn {prepared['link']} {layout.link}"
        )


def _switch(layout: Layout, text: str, target: Path) -> None:
    """Make the symlink anew in one step, for the same owner, and prove where it leads."""
    status = os.lstat(str(layout.link))
    if os.readlink(str(layout.link)) != text:
        put_link(str(layout.link), text)
        if os.geteuid() == 0:
            os.lchown(str(layout.link), status.st_uid, status.st_gid)
    if os.path.realpath(str(layout.link)) != os.path.realpath(str(target)):
        raise PhaseError(f"After the switch, {layout.link} ({text}) does not lead to {target}. Look at: ls -l {target}")


def _like(text: str, name: str) -> str:
    """The text of the symlink for another release, relative or absolute as it was."""
    return str(text.rstrip("/").rpartition("/")[0]) + "/" + name


def _state(release: Release) -> dict[str, str]:
    return {"release": release.name, "commit": release.revision}


def _diff(layout: Layout, target: Release) -> list[dict[str, str]]:
    return [{"prepared": f"{layout.link}: {layout.text} -> {_like(layout.text, target.name)}\n"}]


def _report(layout: Layout, msg: str, **kw: t.Any) -> Report:
    report = Report(msg, **kw)
    if report.pending is not None:
        report.before = layout.state
    report.facts = {"commit": report.after["commit"], "release": report.after["release"], "files": []}
    return report
