# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the driver of Alembic in the app's own interpreter, and reads its answer. Private."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
import typing as t
from pathlib import Path

from ._alembic_ahead import Start, ask, leave
from ._alembic_parts import lay_out
from ._command import PhaseError
from ._install_command import moved
from ._phase import RECOVERY_TIMEOUT, RUN, Context
from ._restore_point import make_private, read_json, write_json

ACTS_IN_MAIN = ("downgrade", "look")


def python_of(given: t.Sequence[str], folder: Path, project: Path) -> list[str]:
    """The command that starts the app's interpreter in ``folder``, the project or a preserved checkout of it.

    An interpreter inside the project stands for the one at the same place in the checkout, where there is one.
    """
    if not given:
        for place in (folder, project):
            if (place / ".venv/bin/python").exists():
                return [str(place / ".venv/bin/python")]
        return ["uv", "run", "--no-sync", "python"]
    return moved(given, folder, project)


def drive(ctx: Context, folder: Path, action: str, **request: t.Any) -> dict[str, t.Any]:
    """Run the driver in ``folder`` and return its answer.

    :raises PhaseError: with the driver's sentence, or because it ended without an answer.
    """
    project = project_of(ctx)
    base = ctx.point.part / "driver"
    request.setdefault("kept", str(kept_in(ctx)))
    for place in (ctx.point.part, base, *([Path(request["kept"])] if action == "downgrade" else [])):
        make_private(place)
    lay_out(base, ctx.point.scratch_path / "bytecode")
    reply = base / "reply.json"
    if reply.exists():
        reply.unlink()
    write_json(
        base / "request.json",
        dict(
            request,
            action=action,
            reply=str(reply),
            project=str(project),
            config=config_of(ctx),
            alone=ctx.point.standalone,
            **{name: ctx.params[name] for name in ("section", "x", "accept_loss", "schema_compatible")},
            scratch=str(_try_place(ctx)),
            until=time.time() + (ctx.commands.remaining() or RECOVERY_TIMEOUT),
        ),
    )
    start = _start(ctx, folder)
    done = ask(start, _place(ctx), ctx.commands) if action in ACTS_IN_MAIN else None
    done = done or ctx.commands.run(start.argv, cwd=folder, env=start.env, check=False)
    answer = read_json(reply)
    if answer is None:
        raise PhaseError(
            f"Alembic could not be run with '{start.argv[0]}' in {folder} (exit code {done.rc}): {done.said} "
            "Name the app's interpreter in alembic_downgrade_python."
        )
    if "error" in answer:
        raise PhaseError(answer["error"])
    return t.cast("t.Dict[str, t.Any]", answer)


def start_ahead(ctx: Context, folder: Path, installed: dict[str, t.Any]) -> None:
    """In the preflight of a run: start the interpreter whose time main, in the downtime, would have to pay.

    :arg folder: where main will work.
    :arg installed: what the driver said there that it needs of the interpreter.
    """
    trial = ctx.check or ctx.params["rehearsing"] or ctx.params["step"] != "preflight"
    if os.environ.get(RUN) and not trial and not ctx.point.standalone:
        leave(_start(ctx, folder), _place(ctx), installed, ctx.commands)


def _start(ctx: Context, folder: Path) -> Start:
    """How the driver is started in ``folder``, with the request that lies there."""
    project, base = project_of(ctx), ctx.point.part / "driver"
    elsewhere = ctx.commands.environ.get("PYTHONPYCACHEPREFIX")
    env: dict[str, str | None] = {"PYTHONDONTWRITEBYTECODE": None if elsewhere else "1"}
    if folder != project:
        env.update(VIRTUAL_ENV=None, UV_PROJECT_ENVIRONMENT=None)
    python = python_of(ctx.params["python"], folder, project)
    return Start([*python, str(base), str(base / "request.json")], folder, env)


def _place(ctx: Context) -> Path:
    """Where the socket of the driver lies that was started ahead for this phase."""
    return ctx.point.root / f"{ctx.point.phase}.sock"


def kept_in(ctx: Context) -> Path:
    """Where the export lies. In stand-alone use a later run starts afresh, and must not take the export with it."""
    if not ctx.point.standalone:
        return ctx.point.part
    subject = " ".join([str(project_of(ctx)), *ctx.params["from"], *ctx.params["to"]])
    return ctx.point.root / "alembic_downgrade.kept" / hashlib.sha256(subject.encode()).hexdigest()[:12]


def project_of(ctx: Context) -> Path:
    return Path(os.path.expanduser(ctx.params["project"])).absolute()


def config_of(ctx: Context) -> str:
    """Alembic's configuration, relative to the project wherever it is in there, so that a checkout uses its own."""
    path, project = Path(ctx.params["config"]), project_of(ctx)
    return str(path.relative_to(project)) if project in path.parents else str(path)


def _try_place(ctx: Context) -> Path:
    """An empty directory for the databases that are tried on."""
    place = ctx.point.scratch_path / "try"
    shutil.rmtree(str(place), ignore_errors=True)
    make_private(place)
    return place
