# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Alembic as projects have set it up: its own templates, options of its command line, where migrations lie."""

from __future__ import annotations

import compileall
import shutil
from pathlib import Path

import pytest

pytest.importorskip("alembic")
pytest.importorskip("aiosqlite")

import alembic
from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.alembic_shop import ENV, INI, Shop
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal

LOGGING = INI[INI.index("[loggers]") :]


class Project:
    """What the cases below do to a shop."""

    def __init__(self, shop):
        self.shop = shop
        self.root = shop.root

    def env(self, engine, options=""):
        (self.root / "migrations" / "env.py").write_text(ENV.format(engine=engine, options=options))

    def ini(self, *lines, name="alembic.ini", section="alembic"):
        path = self.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join([f"[{section}]", *lines, LOGGING]))

    def template(self, name):
        """The env.py that 'alembic init' makes."""
        text = (Path(alembic.__file__).parent / "templates" / name / "env.py").read_text()
        (self.root / "migrations" / "env.py").write_text(text)

    def move(self, revision, folder):
        (self.root / folder).mkdir(parents=True)
        (self.shop.versions / f"{revision}.py").rename(self.root / folder / f"{revision}.py")


def generic(project):
    project.template("generic")
    project.ini("script_location = migrations", "prepend_sys_path = .", "sqlalchemy.url = sqlite:///var/shop.db")


def asynchronous(project):
    project.template("async")
    project.ini("script_location = migrations", "sqlalchemy.url = sqlite+aiosqlite:///var/shop.db")


def pyproject(project):
    project.template("pyproject")
    project.ini("sqlalchemy.url = sqlite:///var/shop.db")
    (project.root / "pyproject.toml").write_text('[tool.alembic]\nscript_location = "%(here)s/migrations"\n')


def pyproject_alone(project):
    (project.root / "alembic.ini").unlink()
    (project.root / "pyproject.toml").write_text('[tool.alembic]\nscript_location = "%(here)s/migrations"\n')
    path = project.root / "migrations" / "env.py"
    path.write_text(path.read_text().replace("logging.config.fileConfig", "str"))
    return {"config": "pyproject.toml"}


def extra_arguments(project):
    project.env("engine = create_engine('sqlite:///' + context.get_x_argument(as_dictionary=True)['--file'])")
    return {"x": ["tenant=north", "--file=var/shop.db"]}


def configuration_and_section_elsewhere(project):
    (project.root / "alembic.ini").unlink()
    lines = ["script_location = %(here)s/../migrations", "sqlalchemy.url = sqlite:///var/shop.db"]
    project.ini(*lines, name="db/a b.ini", section="shop")
    project.template("generic")
    return {"config": "db/a b.ini", "section": "shop"}


def environment_file(project):
    project.env("engine = create_engine(os.environ['SHOP_URL'])")
    (project.root / "shop.env").write_text("SHOP_URL='sqlite:///var/shop.db'\n")
    return {"environment_files": [str(project.root / "shop.env")]}


def version_table(project):
    project.env("engine = create_engine('sqlite:///var/shop.db')", ", version_table='shop versions'")
    project.shop.sql('ALTER TABLE alembic_version RENAME TO "shop versions"')


def several_places_with_folders_by_year(project):
    project.move("new", "plugins/totals/2026/11")
    places = "version_locations = %(here)s/migrations/versions %(here)s/plugins/totals"
    project.ini("script_location = migrations", "path_separator = space", places, "recursive_version_locations = true")


def package(project):
    (project.root / "src").mkdir()
    (project.root / "migrations").rename(project.root / "src" / "shop")
    (project.root / "src" / "shop" / "__init__.py").write_text("URL = 'sqlite:///var/shop.db'\n")
    env = project.root / "src" / "shop" / "env.py"
    env.write_text(ENV.format(engine="import shop\nengine = create_engine(shop.URL)", options=""))
    project.ini("script_location = shop:.", "prepend_sys_path = src")


def other_directory(project):
    project.env("os.chdir('migrations')\nengine = create_engine('sqlite:///../var/shop.db')")


# Alembic reads pyproject.toml since 1.16, which is not for every Python.
READS_PYPROJECT = (Path(alembic.__file__).parent / "templates" / "pyproject").is_dir()
PROJECTS = [
    generic,
    asynchronous,
    *([pyproject, pyproject_alone] if READS_PYPROJECT else []),
    extra_arguments,
    configuration_and_section_elsewhere,
    environment_file,
    version_table,
    several_places_with_folders_by_year,
    package,
    other_directory,
]


@pytest.mark.parametrize("project", PROJECTS, ids=[p.__name__ for p in PROJECTS])
def test_a_project_is_downgraded_and_recovered(tmp_path, project):
    shop = Shop(tmp_path).totals()
    params = project(Project(shop)) or {}
    before = shop.dump()
    assert shop.run("main", **params).facts["exported"] == {"invoices": 9}
    assert shop.sql("SELECT version_num FROM 'shop versions'" if project is version_table else "") in ([("old",)], [])
    assert shop.dump() != before
    assert shop.run("recover", **params).changed
    assert shop.dump() == before


@pytest.mark.parametrize("compiled", [True, False])
def test_nothing_is_compiled_into_the_apps_environment(tmp_path, monkeypatch, compiled):
    shop = Shop(tmp_path).totals()
    site = tmp_path / "site"
    shutil.copytree(Path(alembic.__file__).parent, site / "alembic", ignore=shutil.ignore_patterns("__pycache__"))
    if compiled:
        compileall.compile_dir(site, quiet=1)
    before = sorted(site.rglob("*"))
    monkeypatch.setenv("PYTHONPATH", str(site))
    shop.run("preflight")
    assert sorted(site.rglob("*")) == before
    assert not list(shop.root.rglob("*.pyc"))
    # where the environment has no bytecode, main uses that of preflight
    kept = shop.state / "R1" / "3-alembic_downgrade" / "scratch" / "bytecode"
    assert bool(list(kept.rglob("*.pyc"))) is not compiled


def test_what_alembic_is_asked_for_is_what_its_command_line_would_say(tmp_path):
    shop = Shop(tmp_path).totals()
    words = "f'{context.config.cmd_opts.cmd[0].__name__} {context.get_revision_argument()}'"
    Project(shop).env(f"open('asked', 'a').write({words})\nengine = create_engine('sqlite:///var/shop.db')")
    shop.run("main")
    assert (shop.root / "asked").read_text().endswith("downgrade old")
    shop.run("recover")
    assert (shop.root / "asked").read_text().endswith("upgrade new")


ENGINE = "engine = create_engine('sqlite:///var/shop.db')"
ATTACH = "engine.connect().exec_driver_sql(\"ATTACH 'var/other.db' AS other\")"
HOOK = "event.listen(engine, 'connect', lambda con, _r: con.execute(\"ATTACH 'var/other.db' AS other\"))"
HINT = (
    "It runs without a terminal; what it reads from its environment belongs into the environment files of this phase "
    "(rollback_environment_files)."
)
REFUSALS = [
    Refusal(
        "an env.py that ends the program",
        f"The app's env.py failed: SystemExit: SHOP_URL is not set. {HINT}",
        "import sys\nsys.exit('SHOP_URL is not set')",
    ),
    Refusal(
        "an env.py that asks at the terminal",
        f"The app's env.py failed: EOFError: EOF when reading a line. {HINT}",
        "input('Really?')",
    ),
    Refusal(
        "an env.py with an error",
        f"The app's env.py failed: KeyError: 'SHOP_URL'. {HINT}",
        "create_engine(os.environ['SHOP_URL'])",
    ),
    Refusal(
        "an env.py that connects nowhere",
        "The app's env.py has to connect to one database to be downgraded; it does to: none.",
    ),
    Refusal(
        "a second database, attached by env.py",
        "The app's env.py or one of its migrations attaches a second database (ATTACH), and that one cannot be led to "
        "a copy. Downgrade by hand, as a phase of your own.",
        f"{ENGINE}\n{ATTACH}",
    ),
    Refusal(
        "a second database, attached to every connection",
        "The app's env.py or one of its migrations attaches a second database (ATTACH), and that one cannot be led to "
        "a copy. Downgrade by hand, as a phase of your own.",
        f"{ENGINE}\nfrom sqlalchemy import event\n{HOOK}",
    ),
    Refusal(
        "an env.py that connects to two databases",
        "The app's env.py has to connect to one database to be downgraded; it does to: <one>, <other>.",
        f"create_engine('sqlite:///var/other.db').connect()\n{ENGINE}",
    ),
]


@pytest.mark.parametrize("row", REFUSALS, ids=[row.case for row in REFUSALS])
def test_an_env_py_that_cannot_be_used_is_refused(tmp_path, row):
    shop = Shop(tmp_path).totals()
    Project(shop).env(row.given)
    if row.given is None:
        (shop.root / "migrations" / "env.py").write_text("")
    (shop.root / "var" / "other.db").touch()
    before = shop.files()
    with pytest.raises(PhaseError) as caught:
        shop.run("preflight")
    assert row.matches(str(caught.value)), str(caught.value)
    assert shop.files() == before
