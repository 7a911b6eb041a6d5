# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The app is deployed and the bad release shipped once; each test gets a copy of its own, on a port of its own."""

from __future__ import annotations

import itertools
import os
import tempfile
import typing as t
from pathlib import Path

import ansible
import pytest
import sqlalchemy as sa
from ansible_collections.changeops.rollback.tests.unit import conftest as servers
from fault_summary import FaultSummary
from fleet import Fleet, FleetOps
from harness import ROWS, Ops, Shop, deploy
from hosts import Host, NoHosts, host
from systemd_shop import SHIP, SystemdShop
from systemd_units import COLLECTION, ROOT, Systemd

from awx import Awx

postgresql = servers.postgresql
NUMBERS = itertools.count()


def pytest_configure(config: pytest.Config) -> None:
    """Tell at the end how the cases of the fault matrix ended; let the workers have in common what is made once."""
    config.pluginmanager.register(FaultSummary(), "fault-summary")
    os.environ["ANSIBLE_CALLBACK_PLUGINS"] = str(Path(__file__).parent / "callbacks")
    for name in {"MODULES_ONCE", "TEMPLATES_ONCE", "APP_ONCE"} - {*os.environ}:  # xdist's workers find them there
        once = tempfile.TemporaryDirectory(prefix="changeops-once-")
        config.add_cleanup(once.cleanup)
        os.environ[name] = once.name


@pytest.fixture(scope="session")
def bad_release(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Path]:
    """The sample app with C001 shipped."""
    root = tmp_path_factory.mktemp("source")
    deploy("deploy", root, "--rows", str(ROWS))
    deploy("release", root)
    deploy("stop", root)
    yield root


@pytest.fixture
def shop(bad_release: Path, tmp_path: Path) -> t.Iterator[Shop]:
    root = tmp_path / "app"
    deploy("clone", bad_release, root)
    try:
        yield Shop(root)
    finally:
        deploy("stop", root)


@pytest.fixture
def ops(shop: Shop, tmp_path: Path) -> Ops:
    root = tmp_path / "ops"
    root.mkdir()
    ops = Ops(root, shop)
    ops.write()
    return ops


@pytest.fixture
def history_url(postgresql: str) -> str:
    """The URL of a new history in PostgreSQL."""
    name = f"awx{os.getpid()}_{next(NUMBERS)}"
    engine = sa.create_engine(
        f"postgresql+psycopg://postgres@/postgres?host={postgresql}", isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return f"postgresql://postgres@/{name}?host={postgresql}"


@pytest.fixture
def awx(ops: Ops, history_url: str, tmp_path: Path) -> Awx:
    """Jobs as AWX runs them, with a history of their own in PostgreSQL."""
    return Awx(tmp_path / "awx", ops, history_url)


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the session's ssh key is, and ssh's sockets."""
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="session")
def ship() -> Path:
    """Where the app is for hosts that are to have it; all workers have the same directory."""
    return Path(os.environ["APP_ONCE"])


@pytest.fixture(scope="session")
def systemd_host(keys: Path, ship: Path) -> t.Iterator[Host]:
    """A test host with systemd, shared by the session: leave it as it was found."""
    try:
        with host("web1", keys, [f"{ship}:{SHIP}"]) as one:
            yield one
    except NoHosts as exc:
        pytest.skip(str(exc))


@pytest.fixture(scope="session")
def deployed_shop(systemd_host: Host, ship: Path) -> SystemdShop:
    return SystemdShop(systemd_host, ship)


@pytest.fixture
def systemd_shop(deployed_shop: SystemdShop) -> SystemdShop:
    """The app with its bad release on a test host, as it was shipped."""
    deployed_shop.reset()
    return deployed_shop


@pytest.fixture(scope="session")
def deployed_fleet(keys: Path, ship: Path) -> t.Iterator[Fleet]:
    try:
        fleet = Fleet(keys, ship=ship)
    except NoHosts as exc:
        pytest.skip(str(exc))
    yield fleet
    fleet.close()


@pytest.fixture
def fleet(deployed_fleet: Fleet) -> Fleet:
    """The app with its bad release on hosts that share a database, as it was shipped."""
    deployed_fleet.reset()
    return deployed_fleet


@pytest.fixture
def fleet_ops(fleet: Fleet, tmp_path: Path) -> FleetOps:
    return FleetOps(tmp_path, fleet)


@pytest.fixture(scope="session")
def booted(keys: Path) -> t.Iterator[Systemd]:
    """A host for tests of units; other than ``systemd_host`` it is rebooted, and sees the checkout."""
    core = Path(ansible.__file__).parent
    try:
        with host("services", keys, [f"{ROOT}:{COLLECTION}:ro", f"{core}:/site/ansible:ro"]) as one:
            one.sh("loginctl enable-linger shop")
            yield Systemd(one)
    except NoHosts as exc:
        pytest.skip(str(exc))


@pytest.fixture
def systemd(booted: Systemd) -> t.Iterator[Systemd]:
    yield booted
    booted.do(["clear"])
