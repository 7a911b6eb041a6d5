# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet: the sample app on several test hosts, all on the one PostgreSQL database of a host of its own, or each on a
file of SQLite.

The hosts have a network of their own with fixed addresses, so a host that reboots is found where it was.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import typing as t
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hosts import Host, network, podman
from systemd_shop import LOOK, LOOK_SQLITE, PUT_BACK, SHIP, SHOW, START, HostOps, SystemdShop

T = t.TypeVar("T")

USER, PASSWORD = "shop", "not-a-secret"
# It keeps when each transaction was committed, and logs what changes tables. What is tested here is not PostgreSQL, so
# it need not survive a power cut.
POSTGRESQL = f"""\
cd /etc/postgresql/*/main
cat >conf.d/fleet.conf <<'END'
listen_addresses = '*'
fsync = off
full_page_writes = off
wal_level = minimal
max_wal_senders = 0
track_commit_timestamp = on
log_statement = ddl
log_line_prefix = '%n %d '
END
echo "host all all samenet scram-sha-256" >>pg_hba.conf
systemctl enable --quiet --now postgresql
cd /
runuser -u postgres -- psql -qc "CREATE ROLE {USER} LOGIN CREATEDB PASSWORD '{PASSWORD}'"
runuser -u postgres -- createdb --owner={USER} shop
"""
# Else systemd stops what it runs for that account after its last session, and who logs in meanwhile waits for ten
# seconds and more.
LINGER = "loginctl enable-linger deploy"


def postgresql(host: Host) -> str:
    """Start PostgreSQL there, with an empty database ``shop`` and a user who owns it; returns the app's URL of it."""
    host.sh(POSTGRESQL)
    return f"postgresql+psycopg://{USER}:{PASSWORD}@{host.name}/shop"


class Fleet:
    """Hosts of the app, and the one of their database. ``reset`` brings all of it to the bad release, as shipped.

    :arg place: a directory of this session, for the ssh key.
    :arg count: how many hosts of the app: web1, web2, and so on.
    :arg shared: whether they share a database; else each has its own, a file, and there is no ``db``.
    :arg ship: a directory for what goes from host to host, that of another fleet to have the same app.

    ``hosts``: those of the app, by name. ``db``: that of the database. ``facts``: what instance.json says of the app,
    which is the same on each host.
    """

    def __init__(self, place: Path, count: int = 2, shared: bool = True, ship: Path | None = None) -> None:
        self.network = network()
        ship = ship or place / "ship"
        ship.mkdir(exist_ok=True)
        self.shared = shared
        self.hosts: dict[str, Host] = {}
        with contextlib.ExitStack() as undo:
            undo.callback(self.close)
            (its,) = json.loads(podman("network", "inspect", self.network).stdout)
            address = ipaddress.ip_network(its["subnets"][0]["subnet"])[10]
            for number, name in enumerate(["db1", *(f"web{number}" for number in range(1, count + 1))]):
                if name == "db1" and not shared:
                    continue
                here = address + number
                # with another address of its card, a host that reboots would be looked for in vain for a while
                card = ":".join(f"{byte:02x}" for byte in b"\x02\x00" + here.packed)
                network_options = [
                    f"--network={self.network}",
                    f"--ip={here}",
                    f"--mac-address={card}",
                    f"--add-host=db1:{address}",
                ]
                self.hosts[name] = Host(name, place, [f"{ship}:{SHIP}"], network_options)
            if shared:
                self.db = self.hosts.pop("db1")
            first, *others = self.hosts.values()
            self.shop = SystemdShop(first, ship, postgresql(self.db) if shared else "")
            self.facts = self.shop.facts
            self.each(lambda one: one.run(*self.shop.unpack), others)
            self.each(lambda one: one.sh(LINGER), [*self.hosts.values(), *([self.db] if shared else [])])
            if shared:
                self.sql("ALTER DATABASE shop RENAME TO pristine", "postgres")
            undo.pop_all()

    def each(self, work: t.Callable[[Host], T], hosts: t.Iterable[Host] | None = None) -> dict[str, T]:
        """Do it on hosts, or on all of the app's, at the same time; returns what came of it, by the host's name."""
        listed = list(self.hosts.values() if hosts is None else hosts)
        with ThreadPoolExecutor(max(1, len(listed))) as pool:
            return dict(zip([one.name for one in listed], pool.map(work, listed), strict=True))

    def sql(self, text: str, database: str = "shop") -> list[str]:
        """Run SQL as PostgreSQL's superuser, on its own host; returns the lines that it gives."""
        argv = ["psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", database]
        return self.db.run(*argv, user="postgres", stdin=text).stdout.splitlines()

    def reset(self) -> None:
        """The bad release runs on each host, all of it as it was shipped; a few seconds."""
        if self.shared:
            self.db.sh("systemctl start postgresql")
        self.each(lambda one: one.sh(f"pkill -KILL -u shop || true; {PUT_BACK}"))
        if self.shared:
            self.sql("DROP DATABASE IF EXISTS shop WITH (FORCE)", "postgres")
            self.sql(f"CREATE DATABASE shop TEMPLATE pristine OWNER {USER}", "postgres")
        self.each(lambda one: one.sh(START))

    def state(self, *names: str) -> dict[str, dict[str, t.Any]]:
        """All that a rollback may change, as values to compare: that of hosts (all, or those named), and ``database``
        where they share it.

        A host: ``commit``, ``branch``, ``dirty``, ``tree``, ``files`` and ``env_file`` (digests), ``packages``,
        ``service`` (systemd's ActiveState and UnitFileState) and ``health`` (an HTTP status; 0 where nothing answers).
        """
        look = LOOK if self.shared else LOOK + LOOK_SQLITE
        argv = ["python3", "-c", look + SHOW, json.dumps(self.facts)]
        chosen = [self.hosts[name] for name in names or self.hosts]
        seen = self.each(lambda one: one.run(*argv, user="shop").stdout, chosen)
        database = {"database": self.database()} if self.shared else {}
        return {name: json.loads(text) for name, text in seen.items()} | database

    def database(self) -> dict[str, t.Any]:
        """``revision``, ``rows`` ({id: what both releases know}) and ``totals`` ({id: total}; None: no such column)."""
        revision, *lines = self.sql(
            "SELECT version_num FROM alembic_version; SELECT row_to_json(invoices) FROM invoices ORDER BY id;"
        )
        rows = {row.pop("id"): row for row in map(json.loads, lines)}
        totals = {id_: row.pop("total") for id_, row in rows.items() if "total" in row}
        return {"revision": revision, "rows": rows, "totals": totals if len(totals) == len(rows) else None}

    def close(self) -> None:
        """Remove the hosts and their network."""
        for one in [*self.hosts.values(), *([self.db] if hasattr(self, "db") else [])]:
            one.close()
        podman("network", "rm", "--force", self.network, check=False)


class FleetOps(HostOps):
    """The user's repository for the fleet: group ``shop``, and plan C001 with all phases on all of its hosts."""

    def __init__(self, root: Path, fleet: Fleet, user: str = "deploy") -> None:
        super().__init__(root, fleet.shop, user)
        self.hosts = {name: one.inventory(user) for name, one in fleet.hosts.items()}
        # where the app's URL of the database is, with its password
        self.group_vars["rollback_environment_files"] = [fleet.facts["env_file"]]
        self.check("rows kept")["rows"]["database"] = "${DATABASE_URL}"
        self.write()

    def check(self, name: str) -> dict[str, t.Any]:
        """A check of the inventory by its name."""
        return next(check for check in self.group_vars["rollback_checks"] if check["name"] == name)


def assert_rolled_back(fleet: Fleet, before: dict[str, dict[str, t.Any]]) -> None:
    """The good release runs on each host, at one commit on all, and its database has every row."""
    after = fleet.state()
    database = after.pop("database")
    assert database == {**before["database"], "revision": fleet.facts["revisions"]["good"], "totals": None}
    good, bad = (fleet.facts["commits"][which] for which in ("good", "bad"))
    git = f"git -C {fleet.facts['repo']} rev-parse"
    commits = {one["commit"] for one in after.values()}
    assert len(commits) == 1
    for name, one in after.items():
        tree, parent = fleet.hosts[name].sh(f"{git} {good}^{{tree}} {one['commit']}^", user="shop").split()
        kept = fleet.hosts[name].sh(f"sha256sum {fleet.facts['kept_env_file']}").split()[0]
        assert one["tree"] == tree and parent == bad
        assert one["branch"] == before[name]["branch"] and one["dirty"] == ""
        assert one["env_file"] == kept
        assert not [package for package in one["packages"] if package.startswith("humanize-")]
        assert one["service"] == before[name]["service"] == ["active", "enabled"]
        assert one["health"] == 200
