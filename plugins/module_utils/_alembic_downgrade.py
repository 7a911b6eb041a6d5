# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The phase ``alembic_downgrade``, as seen from the host: where Alembic runs, and what is reported. Private.

The work on the database is done by ``_alembic_driver``, in one process of the app's own interpreter.
"""

from __future__ import annotations

import os
import shlex
import shutil
import typing as t
from pathlib import Path

from ._alembic_drive import config_of, drive, kept_in, project_of, start_ahead
from ._alembic_graph import relative
from ._alembic_keep import EXPORT, MANIFEST
from ._alembic_loss import Statement, destroyed, refusal
from ._alembic_sayings import kept, proven, sql_diff, standing, way
from ._alembic_sqlite import spoken
from ._command import Commands, PhaseError
from ._install_command import Trial
from ._left_out import addresses_of
from ._phase import FOUND, REHEARSAL, Context, Report

Sizes = t.Dict[str, int]
FOUND_ONLY = ("losses", "sql", "touched", "untried", "seeds", "size", "export_size")  # where there is something to do


def shortage(needs: Sizes, free: t.Callable[[str], tuple[int, int]], what: str = "downgrade") -> str | None:
    """Say which file system is too small for ``needs`` ({directory: bytes}); None where there is room.

    :arg free: of a directory, the device that it is on and the bytes that are free there.
    :arg what: what needs it.
    """
    wanted: dict[int, tuple[int, int, list[str]]] = {}
    for folder, size in needs.items():
        device, left = free(folder)
        known = wanted.get(device, (0, left, []))
        wanted[device] = (known[0] + size, left, [*known[2], folder])
    for size, left, folders in wanted.values():
        if size > left:
            return (
                f"The {what} needs {size / 1e6:.1f} MB in {' and '.join(folders)}, and only {left / 1e6:.1f} MB are "
                "free there. Make room, and run the same command again."
            )
    return None


def free_space(folder: str) -> tuple[int, int]:
    """The device of a directory and the bytes free on it."""
    return os.stat(folder).st_dev, shutil.disk_usage(folder).free


def _check_options(ctx: Context) -> Path:
    """The project, after a look at what can be wrong without starting anything."""
    project = project_of(ctx)
    if not (project / ctx.params["config"]).is_file():
        raise PhaseError(
            f"There is no {ctx.params['config']} in {project}. Set alembic_downgrade_project to the directory that "
            "holds it, and alembic_downgrade_config to its name."
        )
    for name in ("from", "to"):
        if not all(word.strip() for word in ctx.params[name] or [""]):
            raise PhaseError(
                f"alembic_downgrade_{name} is empty. Write a revision there; 'alembic history' lists them."
            )
    if any(relative(word) for word in ctx.params["from"]):
        raise PhaseError(
            f"alembic_downgrade_from is '{', '.join(ctx.params['from'])}', which only tells a way. Write the revision "
            "that the change brought, so that nothing else is undone; 'alembic history' lists them."
        )
    return project


def preserve(
    project: Path, config: str, release: str, target: Path, install: t.Sequence[str], commands: Commands
) -> Path:
    """Make a checkout of a release, with an environment of its own, and return the project's directory in it.

    :arg config: Alembic's configuration, which goes there too where the repository does not have it.
    :arg target: where the checkout goes; what is there is removed.
    :arg install: the command that makes the environment; nothing is run where it is empty.
    """
    top = commands.run(["git", "rev-parse", "--show-toplevel"], cwd=project, check=False)
    if top.rc != 0:
        raise PhaseError(
            f"No checkout of a release can be made of {project}: {top.said}. Set alembic_downgrade_project to the "
            "directory in the repository, or take alembic_downgrade_release out."
        )
    prefix = commands.run(["git", "rev-parse", "--show-prefix"], cwd=project).out.strip()
    found = commands.run(["git", "rev-parse", "--verify", "--quiet", release + "^{commit}"], cwd=project, check=False)
    if found.rc != 0:
        raise PhaseError(f"There is no commit '{release}' in {top.out.strip()}. Correct alembic_downgrade_release.")
    shutil.rmtree(str(target), ignore_errors=True)
    quiet = ["git", "-c", "core.hooksPath=/dev/null", "-c", "advice.detachedHead=false"]
    commands.run([*quiet, "clone", "--quiet", "--shared", "--no-checkout", "--template=", top.out.strip(), str(target)])
    commands.run([*quiet, "checkout", "--quiet", "--detach", found.out.strip()], cwd=target)
    folder = target / prefix
    if not (folder / config).exists():
        (folder / config).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(str(project / config), str(folder / config))
    if install:
        trial = Trial(commands, install, project, Path(top.out.strip()), target, folder / ".venv")
        trial.refuse(shlex.join(install))
        trial.begin()
        commands.run(trial.words, cwd=folder, env=trial.environment)
    return folder


def preflight(ctx: Context) -> Report:
    """See where the database stands, and try the downgrade on a copy of its schema."""
    project = _check_options(ctx)
    asked = [ctx.params["from"], ctx.params["to"]]
    noted = ctx.prepared if ctx.prepared.get("asked") == asked else {}
    folder = Path(noted["folder"]) if noted.get("folder") and Path(noted["folder"]).is_dir() else project
    # Where another host works on the database for this one, the migrations need not be here any more: this host may
    # have been lost with its code reverted, and the database put back since.
    looks = ctx.resumed and bool(noted.get("done_by"))
    away = looks or (folder == project and bool(ctx.params["release"] or ctx.params["preserve"]))
    request = {
        "from": noted.get("from", asked[0]),
        "to": noted.get("to", asked[1]),
        "left_out": addresses_of(ctx.params["left_out"]),
    }
    ctx.point.scratch()
    found = drive(ctx, folder, "inspect", elsewhere=away, resumed=ctx.resumed, **request)
    if looks:
        return _looked(found, noted)
    if away and found["pending"]:
        release, target = ctx.params["release"] or "HEAD", ctx.point.part / "release"
        folder = preserve(project, config_of(ctx), release, target, ctx.params["install"], ctx.commands)
        live = found["database"]
        found = drive(ctx, folder, "inspect", elsewhere=False, resumed=ctx.resumed, **request)
        if not _one_database(found, live):
            raise PhaseError(
                f"The app connects to {live}, but a fresh checkout of it to {found['database']}: a setting is missing "
                "there. Give it in the environment of this phase."
            )
    report = Report("", pending=found["pending"])
    report.before = {"revision": spoken(found["current"]), "database": found["database"]}
    report.facts = {"identity": found["identity"]}
    report.prepared = {key: found[key] for key in ("kind", "from", "to", "database", "version_table")}
    report.prepared.update(asked=asked, folder=str(folder), journal=noted.get("journal", found["journal"]))
    report.prepared.update({key: found.get(key) for key in FOUND_ONLY})
    if not found["pending"]:
        report.msg = standing(found)
        return report
    needs = {} if found["kind"] else {os.path.dirname(os.path.realpath(found["database"])): 2 * found["size"]}
    part = str(ctx.point.state_dir)
    needs[part] = needs.get(part, 0) + found["export_size"]
    short = shortage(needs, free_space)
    if short:
        raise PhaseError(short)
    # In a rehearsal all of it is judged afterwards, with what only the data tells.
    if not (ctx.resumed or ctx.params["rehearsing"] or ctx.point.root.name == REHEARSAL):
        refuse_loss(found["losses"], ctx, f"The downgrade of {way(found)}")
    report.msg, more = proven(found)
    report.warnings += more
    if found["beside"] and not noted:
        report.warnings.append(
            f"To go back to {spoken(found['to'])}, {spoken(found['beside'])} is undone too, which does not build on "
            f"it. To keep it, write alembic_downgrade_to: [{', '.join(sorted([*found['to'], *found['beside']]))}]"
        )
    report.diff = sql_diff(found)
    if not found.get("untried"):
        report.facts["destroys"] = destroyed(found["losses"]) + found.get("lost", [])
    start_ahead(ctx, folder, found["installed"])
    return report


def refuse_loss(found: Statement, ctx: Context, subject: str, **facts: t.Any) -> None:
    """Refuse a loss that the plan does not accept.

    :raises PhaseError: with the statement and the line that accepts it.
    """
    said = refusal(found, ctx.params["accept_loss"], subject, ctx.point.standalone)
    if said:
        raise PhaseError(said, **facts)


def _looked(found: dict[str, t.Any], noted: dict[str, t.Any]) -> Report:
    """What the preflight of a resumed run says on a host for which another one works on the database."""
    place = f"The database {found['database']} stands at {spoken(found['current'])}"
    return Report(
        f"{place}; {noted['done_by']} works on it for this host too.",
        pending=found["pending"],
        before={"revision": spoken(found["current"]), "database": found["database"]},
        prepared=noted,
        facts={"identity": found["identity"]},
    )


def main(ctx: Context) -> Report:
    """Export what the downgrade destroys, and downgrade, while the apps are stopped."""
    noted = ctx.prepared
    after = {"revision": spoken(noted["to"]), "database": noted["database"]}
    if ctx.check:
        if noted.get("sql") is None:
            return Report(standing(noted), after=after)
        if ctx.params["done_by"]:
            return Report(f"{ctx.params['done_by']}, which has the same database, would downgrade {way(noted)}.")
        return Report(
            f"Would downgrade {way(noted)}.",
            changed=True,
            after=after,
            diff=sql_diff(noted),
            facts={"exported": {}},
        )
    if ctx.params["done_by"]:
        ctx.note(elsewhere=pending(ctx) and not (kept_in(ctx) / MANIFEST).exists(), done_by=ctx.params["done_by"])
        return Report(_look(ctx, "to"), after=after, facts={"exported": {}})
    reply = drive(ctx, Path(noted["folder"]), "downgrade", **task(noted))
    if not reply["changed"]:
        # Not by us, where nothing was kept: another host has the same database.
        ctx.note(elsewhere=pending(ctx) and not (kept_in(ctx) / MANIFEST).exists())
        loss = reply["loss"]
        return Report(standing(noted), after=dict(after, loss=loss), facts={"exported": {}, "loss": loss})
    exported, loss = reply["exported"], reply["loss"]
    ctx.note(exported=exported)
    words = f"exported {kept(exported)} to {kept_in(ctx) / EXPORT}" if exported else "nothing had to be exported"
    return Report(
        f"Downgraded {way(noted)}; {words}.",
        changed=True,
        after=dict(after, exported=exported, loss=loss),
        diff=sql_diff(noted) if noted.get("sql") is not None else [],
        facts={"exported": exported, "loss": loss},
    )


def _idle(ctx: Context) -> Report | None:
    """A report where there is nothing to put back from this host."""
    noted = ctx.prepared
    started = ctx.state.get("progress") != FOUND and "database" in noted
    there = (kept_in(ctx) / MANIFEST).exists()
    if not started or not (pending(ctx) or there):
        return Report("The database had not been downgraded here, so there is nothing to put back.")
    if noted.get("elsewhere") and not there:
        return Report(f"The database {noted['database']} was downgraded from another host, which has to put it back.")
    return None


def can_recover(ctx: Context) -> Report:
    """See that the database of a server answers."""
    noted, idle = ctx.prepared, _idle(ctx)
    if idle or not noted["kind"]:
        return idle or Report(f"The database {noted['database']} is on this host.")
    reply = drive(ctx, Path(noted["folder"]), "look", **task(noted))
    return Report(f"The database {noted['database']} answers, and stands at {spoken(reply['current'])}.")


def recover(ctx: Context) -> Report:
    """Upgrade again, and put back what the downgrade destroyed."""
    if ctx.params["done_by"] and not (kept_in(ctx) / MANIFEST).exists() and pending(ctx):
        return Report(_look(ctx, "from"))
    noted, idle = ctx.prepared, _idle(ctx)
    if idle:
        return idle
    reply = drive(ctx, Path(noted["folder"]), "recover", **task(noted))
    if ctx.point.standalone:
        shutil.rmtree(str(ctx.point.scratch_path), ignore_errors=True)
    after, left = {"revision": spoken(noted["from"]), "database": noted["database"]}, reply["left"]
    if not reply["changed"]:
        said = f"The database {after['database']} stands at {after['revision']}, as before."
        return Report(said, after=after, warnings=left)
    words = f" and put back {kept(reply['exported'])}" if reply["exported"] else ""
    return Report(
        f"Upgraded {noted['database']} from {spoken(noted['to'])} to {spoken(noted['from'])} again{words}.",
        changed=True,
        after=after,
        warnings=left,
        facts={"exported": reply["exported"]},
    )


def _look(ctx: Context, place: str) -> str:
    """Look whether another host has brought the database to ``place`` (from or to), and say so.

    :raises PhaseError: it has not.
    """
    noted, host = ctx.prepared, ctx.params["done_by"]
    reply = drive(ctx, Path(noted["folder"]), "look", **task(noted))
    if not reply[place]:
        raise PhaseError(
            f"The database {noted['database']} stands at {spoken(reply['current'])}, not at {spoken(noted[place])}, "
            f"where {host} was to bring it for all hosts that share it. Look what {host} says, and at what was "
            "migrated by somebody else; then run the same command again."
        )
    return f"The database {noted['database']} stands at {spoken(noted[place])}; {host} saw to that for this host too."


def task(noted: dict[str, t.Any]) -> dict[str, t.Any]:
    """What the driver has to know of what preflight found."""
    wanted = {key: noted[key] for key in ("kind", "from", "to", "database", "version_table", "journal")}
    more = {"touched": noted.get("touched") or {}, "seeds": noted.get("seeds") or {}}
    return dict(wanted, foreseen=noted.get("losses") or {}, **more)


def pending(ctx: Context) -> bool:
    """Whether preflight found the database where the change had brought it."""
    return bool(ctx.before.get("revision") != spoken(ctx.prepared["to"]))


def _one_database(found: dict[str, t.Any], live: str) -> bool:
    name = str(found["database"])
    return name == live if found["kind"] else os.path.realpath(name) == os.path.realpath(live)
