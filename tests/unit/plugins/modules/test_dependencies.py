# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The environments that an install command makes: prepared, moved in, moved back, whatever interrupts it.

The commands here are small scripts; the real tools are in tests/integration/test_dependencies.py.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import venv
from pathlib import Path

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils._alembic_downgrade import preserve
from ansible_collections.changeops.rollback.plugins.module_utils._command import Commands
from ansible_collections.changeops.rollback.plugins.module_utils._restore_point import RestorePoint
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.git_work_tree import tree
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal

# It fails where there is an environment: in the work tree it must never run.
MAKE = "mkdir node_modules && cp app.py node_modules/installed"


@pytest.fixture
def app(repo):
    """The work tree with an environment, of which git knows nothing."""
    (repo.path / ".git" / "info" / "exclude").write_text("node_modules\n.venv\ndist\n")
    environment = repo.path / "node_modules"
    environment.mkdir()
    (environment / "installed").write_text("two\n")
    (environment / "by-hand").symlink_to("installed")
    repo.options["install"] = ["sh", "-c", MAKE]
    repo.environment = environment
    return repo


def installed(repo):
    return tree(repo.environment) if repo.environment.is_dir() else None


OLD = {"installed": b"two\n", "by-hand": "installed"}
NEW = {"installed": b"one\n"}


def test_an_environment_is_prepared_moved_in_and_moved_back(app):
    report = app.run("preflight")
    assert installed(app) == OLD
    assert f"What it made is ready to be put in place of {app.environment}." in report.msg
    app.run("main")
    assert installed(app) == NEW
    app.run("recover")
    assert installed(app) == OLD
    assert not (app.point.part / "environments" / "0").exists()


def test_where_there_was_none_recover_leaves_none(app):
    shutil.rmtree(app.environment)
    app.run("main")
    assert installed(app) == NEW
    app.run("recover")
    assert installed(app) is None


def test_a_link_to_an_environment_stays_a_link(app, tmp_path):
    shared = tmp_path / "shared"
    app.environment.rename(shared)
    app.environment.symlink_to(shared)
    app.run("main")
    assert os.readlink(app.environment) == str(shared)
    assert installed(app) == NEW
    app.run("recover")
    assert (installed(app), os.readlink(app.environment)) == (OLD, str(shared))


class Killed(BaseException):
    """Nothing that would tidy up sees it, as with kill -9."""


@contextlib.contextmanager
def killed_at(number, two_file_systems):
    """Kill what moves directories at its act with this number, with half of the act done. Gives the acts."""
    acts = []

    def act(name, real):
        def wrapped(*args, **kwargs):
            paths = [Path(str(path)) for path in args]
            if not any("node_modules" in path.name or "environments" in path.parts for path in paths):
                return real(*args, **kwargs)
            acts.append(name)
            if len(acts) == number:
                if name == "rmtree" and (paths[0] / "installed").exists():
                    (paths[0] / "installed").unlink()
                if name == "copytree":
                    paths[1].mkdir()
                raise Killed
            if name == "rename" and two_file_systems and len({"state" in path.parts for path in paths}) == 2:
                raise OSError(errno.EXDEV, "Invalid cross-device link")
            return real(*args, **kwargs)

        return wrapped

    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((os, "rename"), (shutil, "rmtree"), (shutil, "copytree")):
            patch.setattr(module, name, act(name, getattr(module, name)))
        yield acts


@pytest.mark.parametrize(("killed_in", "then"), [("main", "main"), ("main", "recover"), ("recover", "recover")])
@pytest.mark.parametrize("two_file_systems", [False, True], ids=["one file system", "two file systems"])
def test_killed_at_any_point(app, tmp_path, killed_in, then, two_file_systems):
    for number in range(1, 20):
        app.point = RestorePoint(str(tmp_path / "state" / f"R{number}" / "1-git_revert"))
        app.run("preflight")
        if killed_in == "recover":
            app.run("main")
        with killed_at(number, two_file_systems) as acts, contextlib.suppress(Killed):
            app.run(killed_in)
        if len(acts) < number:
            break
        if then == "main":
            app.run("preflight")
            app.run("main")
            assert installed(app) == NEW, acts
        app.run("recover")
        assert installed(app) == OLD, acts
        assert app.git("status", "--porcelain", "--untracked-files=no") == ""
    assert len(acts) >= (7 if two_file_systems else 2)
    assert not list(app.path.glob(".*.changeops"))


FAKE_UV = """#!/bin/sh
env=${UV_PROJECT_ENVIRONMENT:-%s}
mkdir -p $env/lib/python3.1/site-packages/x $env/bin && touch $env/pyvenv.cfg && cp app.py $env/installed
"""


@pytest.mark.parametrize(
    ("makes", "stands", "told"),
    [
        (".venv", ".venv", ""),
        ("backend/.venv", "backend/.venv", ""),  # as uv sync --project backend
        ("../.venv", "../.venv", ""),  # the app is a member of a workspace
        (".venv", "../../env", "../../env"),
    ],
    ids=["beside the app", "another project", "workspace", "elsewhere"],
)
@pytest.mark.parametrize("script", [False, True], ids=["uv", "a script with uv"])
def test_uvs_environment_is_found_wherever_it_is(app, tmp_path, monkeypatch, makes, stands, told, script):
    below = app.path / "lib"
    app.commit("App", {"lib/app.py": "one\n"})
    app.bad = app.commit("Bad", {"lib/app.py": "two\n"})
    app.environment = Path(os.path.normpath(below / stands))
    app.environment.mkdir(parents=True)
    (app.environment / "pyvenv.cfg").touch()
    (app.environment / "installed").write_text("two\n")
    other = below / ".venv"
    if other != app.environment:  # must be left alone
        venv.create(other, with_pip=False)
    if told:
        monkeypatch.setenv("UV_PROJECT_ENVIRONMENT", str(app.environment))
    uv = tmp_path / "bin" / "uv"
    uv.parent.mkdir()
    uv.write_text(FAKE_UV % makes)
    uv.chmod(0o755)
    app.options.update(commits=[app.bad], repo=str(below), install=["sh", "-c", str(uv)] if script else [str(uv)])
    others = tree(other) if other != app.environment else {}
    app.run("preflight")
    assert (app.environment / "installed").read_text() == "two\n"
    app.run("main")
    assert (app.environment / "installed").read_text() == "one\n"
    app.run("recover")
    assert (app.environment / "installed").read_text() == "two\n"
    assert others == (tree(other) if others else {})


def test_other_files_mean_that_the_command_is_run_in_the_downtime_too(app):
    app.options["install"] = ["sh", "-c", "rm -rf node_modules && " + MAKE + " && cp app.py dist"]
    assert "It is run again in the downtime, for the files that it makes beside that." in app.run("preflight").msg
    app.run("main")
    assert (installed(app), (app.path / "dist").read_text()) == (NEW, "one\n")
    app.run("recover")
    assert (installed(app), (app.path / "dist").read_text()) == ({"installed": b"two\n"}, "two\n")


def test_without_a_trial_the_command_is_run_in_place(app):
    app.options.update(install=["cp", "app.py", "node_modules/installed"], rehearse_install=False)
    app.run("preflight")
    app.run("main")
    assert installed(app) == {**OLD, "installed": b"one\n"}
    app.run("recover")
    assert installed(app) == OLD


def test_a_program_beside_the_path_is_found(app, tmp_path, monkeypatch):
    place = tmp_path / "home" / ".local" / "bin"
    place.mkdir(parents=True)
    (place / "make-it").write_text(f"#!/bin/sh\n{MAKE}\n")
    (place / "make-it").chmod(0o755)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    app.run("main", install=["make-it"])
    assert installed(app) == NEW


def test_the_release_that_alembic_runs_from_gets_an_environment_of_its_own(app, tmp_path):
    """The pip of the app's environment must not be the one that installs for another release."""
    venv.create(app.path / ".venv", with_pip=False)
    pip = app.path / ".venv" / "bin" / "pip"
    pip.write_text(f"#!{app.path}/.venv/bin/python\nimport sys\nopen('pip-of', 'w').write(sys.prefix)\n")
    pip.chmod(0o755)
    (app.path / "alembic.ini").touch()
    before = tree(app.path)
    install = [".venv/bin/pip", "install", "-r", "requirements.lock"]
    folder = preserve(app.path, "alembic.ini", app.bad, tmp_path / "release", install, Commands(60.0))
    assert (folder / "pip-of").read_text() == str(tmp_path / "release" / ".venv")
    assert tree(app.path) == before


def program(app, name):
    """A program with this name on PATH; it must never run."""
    path = app.point.state_dir.parent / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\necho ran > {app.path}/ran\n")
    path.chmod(0o755)
    return name


def somebody_elses(app):
    os.chown(app.environment, 4321, 4321)
    return ["sh", "-c", MAKE]


TAIL = (
    " Nothing was changed. Correct it (git_revert_install), or do without the trial: git_revert_rehearse_install: false"
)
REFUSALS = [
    Refusal(
        "install: pip of the whole host",
        "'pip install -r requirements.lock' does not install into a virtual environment, so it would change what the "
        "whole host uses. Give the pip of the app's environment with its path: git_revert_install: [.venv/bin/pip, "
        "install, --require-hashes, -r, requirements.lock]" + TAIL,
        lambda app: [program(app, "pip"), "install", "-r", "requirements.lock"],
    ),
    Refusal(
        "install: pip into a place of its own",
        "The install command 'pip install --target=vendor -r requirements.lock' names a place of its own to install "
        "into, so it cannot be tried beforehand: it would change what runs now. Write it relative to the work tree."
        + TAIL,
        lambda app: [program(app, "pip"), "install", "--target=vendor", "-r", "requirements.lock"],
    ),
    Refusal(
        "install: uv into an environment of its own",
        "The install command 'uv pip sync --python /opt/shop requirements.lock' names a place of its own to install "
        "into, so it cannot be tried beforehand: it would change what runs now. Write it relative to the work tree."
        + TAIL,
        lambda app: [program(app, "uv"), "pip", "sync", "--python", "/opt/shop", "requirements.lock"],
    ),
    Refusal(
        "install: an environment of somebody else",
        "<repo>/node_modules belongs to 4321, and this task runs as root, who cannot replace it. Run the phase as its "
        "owner: become_user: 4321",
        somebody_elses,
    ),
]


@pytest.mark.parametrize("row", REFUSALS, ids=[row.case for row in REFUSALS])
def test_refused_with_nothing_changed(app, monkeypatch, row):
    if row.given is somebody_elses and os.geteuid() != 0:
        pytest.skip("only root can give files away")
    monkeypatch.setenv("PATH", f"{app.point.state_dir.parent / 'bin'}{os.pathsep}{os.environ['PATH']}")
    message = app.refused(install=row.given(app))
    assert row.matches(message), message
