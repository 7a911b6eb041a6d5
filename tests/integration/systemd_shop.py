# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sample app on a test host as a real one has it: systemd runs it, and ``shop``, who may nothing else, owns it."""

from __future__ import annotations

import fcntl
import json
import platform
import subprocess
import sys
import tomllib
import typing as t
from pathlib import Path

from harness import DEPLOY, Ops
from hosts import HOSTS, Host

CACHE = HOSTS.parents[1] / ".cache" / "hosts"
ROOT = "/srv/shop/app"
PORT = 8000
# Where each host of the app has the directory that all of them share.
SHIP = "/ship"
# The host has no registry of packages: all that uv installs comes from a directory.
UV_TOML = 'no-index = true\nfind-links = ["/opt/wheels"]\npython-downloads = "never"\n'
UNIT = """\
[Unit]
Description=The shop
[Service]
User=shop
WorkingDirectory={repo}
Environment=SHOP_ENV_FILE={env_file}
ExecStart={repo}/.venv/bin/uvicorn --factory shop.main:create_app --host 0.0.0.0 --port {port}
TimeoutStopSec=15
[Install]
WantedBy=multi-user.target
"""
# What of a host is the app.
PACK = f"""\
cp -a {ROOT} /srv/shop/pristine
mv /srv/shop/pristine/shop/.venv /srv/shop/pristine-venv
tar -C / -cf "$1.part" opt etc/uv etc/systemd/system/shop-web.service srv/shop/pristine srv/shop/pristine-venv
mv "$1.part" "$1"
"""
# The app as it was shipped, whatever was done to it. No package is unpacked or copied again, their files are linked: a
# file system without a journal is slow to make files where it has just removed thousands.
PUT_BACK = f"""\
systemctl stop shop-web
[ ! -d /var/lib/changeops ] || find /var/lib/changeops -mindepth 1 -maxdepth 1 ! -name program -exec rm -rf {{}} +
rm -rf {ROOT} /srv/shop/.local /etc/systemd/system/shop-web.service.d
cp -a /srv/shop/pristine {ROOT}
cp -al /srv/shop/pristine-venv {ROOT}/shop/.venv
systemctl daemon-reload
"""
START = """\
systemctl enable --quiet shop-web
systemctl start shop-web
"""
RESET = PUT_BACK + START
# What is seen of the app on its host.
LOOK = """\
import hashlib, json, os, pathlib, sqlite3, subprocess, sys, time, urllib.error, urllib.request
facts = json.loads(sys.argv[1])
repo = pathlib.Path(facts["repo"])
git = lambda *args: subprocess.check_output(("git", "-C", facts["repo"]) + args, text=True).strip()
digest = lambda path: hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
unit = lambda name: subprocess.check_output(("systemctl", "show", "--value", "-p", name, "shop-web"), text=True).strip()
for attempt in range(100):
    try:
        health = urllib.request.urlopen("http://127.0.0.1:%d/health" % facts["port"], timeout=5).status
    except urllib.error.HTTPError as exc:
        health = exc.code
    except OSError:
        health = 0
    if health or subprocess.call(("systemctl", "is-active", "--quiet", "shop-web")):
        break
    time.sleep(0.1)
seen = {
    "tree": git("rev-parse", "HEAD^{tree}"),
    "commit": git("rev-parse", "HEAD"),
    "branch": git("symbolic-ref", "--short", "-q", "HEAD"),
    "dirty": git("status", "--porcelain"),
    "files": {name: digest(repo / name) for name in git("ls-files").splitlines()},
    "packages": sorted(path.name for path in repo.glob(".venv/lib/python*/site-packages/*.dist-info")),
    "env_file": digest(pathlib.Path(facts["env_file"])),
    "service": [unit("ActiveState"), unit("UnitFileState")],
    "health": health,
}
"""
LOOK_SQLITE = """\
db = sqlite3.connect("file:" + facts["database"] + "?mode=ro", uri=True)
columns = [row[1] for row in db.execute("PRAGMA table_info(invoices)")]
rest = ", ".join(name for name in columns if name != "total")
seen["revision"] = db.execute("SELECT version_num FROM alembic_version").fetchone()[0]
seen["totals"] = db.execute("SELECT id, total FROM invoices ORDER BY id").fetchall() if "total" in columns else None
seen["rows"] = db.execute("SELECT " + rest + " FROM invoices ORDER BY id").fetchall()
"""
SHOW = "print(json.dumps(seen))"


def wheels(version: str) -> Path:
    """A directory of all packages that the app needs in its releases, for a Python ``version`` like 3.11."""
    wanted = {"supervisor", "uv", "psycopg[binary]", "colorama", "tzdata"}  # a lock is made for Windows, too
    for project in DEPLOY.parent.glob("*/pyproject.toml"):
        known = tomllib.loads(project.read_text())
        wanted |= {*known["project"]["dependencies"], *known.get("dependency-groups", {}).get("dev", [])}
    place = CACHE / f"wheels-{version}"
    listed = "\n".join(sorted(wanted))
    if not (place / "wanted").exists() or (place / "wanted").read_text() != listed:
        machine = platform.machine()
        platforms = [f"--platform=manylinux_2_{minor}_{machine}" for minor in (17, 27, 28, 31, 34)]
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
                *("--only-binary=:all:", f"--python-version={version}", f"--platform=manylinux2014_{machine}"),
                *platforms,
                *(f"--dest={place}", *sorted(wanted)),
            ],
            check=True,
        )
        (place / "wanted").write_text(listed)
    return place


class SystemdShop:
    """The app on a host, with the bad release shipped but not at work yet: ``reset`` puts it to that.

    It is deployed once, and each host gets the same.

    :arg ship: the directory that hosts of the app have as /ship, shared by all of this session.
    :arg database: the app's URL of its database, which is empty; else it has a file of SQLite.

    ``facts``: what instance.json says of the app. ``unpack``: the command that puts the same on one more host.
    """

    def __init__(self, host: Host, ship: Path, database: str = "") -> None:
        self.host = host
        kind = "postgresql" if database else "sqlite"
        app, rows = (f"{SHIP}/{kind}.{suffix}" for suffix in ("tar", "sql"))
        self.unpack = ["tar", "-C", "/", "-xf", app]
        url = database.replace("+psycopg", "")
        with (ship / f"{kind}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (ship / Path(app).name).exists():
                self._install(f"--port {PORT}" + (f" --database-url {database}" if database else ""))
                if database:
                    host.run("pg_dump", f"--file={rows}", url)
                host.run("sh", "-ec", PACK, "pack", app)
            else:
                host.run(*self.unpack)
                if database:
                    host.run("psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", f"--file={rows}", url)
        self.facts = json.loads(host.sh("cat /srv/shop/pristine/instance.json"))
        self.facts["kept_env_file"] = f"{ROOT}/etc/kept/C001/shop.env"

    def _install(self, options: str) -> None:
        """Deploy the app there, ship its bad release, and have systemd know it."""
        version = self.host.sh("python3 -c 'import sys; print(\"%d.%d\" % sys.version_info[:2])'")
        self.host.sh("mkdir -p /opt/wheels /opt/sample_app /etc/uv; cat > /etc/uv/uv.toml", stdin=UV_TOML)
        self.host.put(wheels(version), "/opt/wheels")
        self.host.put(DEPLOY.parent, "/opt/sample_app")
        self.host.sh(
            "python3 -m venv /opt/tools; chmod -R a+rX /opt;"
            "/opt/tools/bin/pip install --quiet --no-index --find-links /opt/wheels uv supervisor"
        )
        for args in (f"deploy {ROOT} --rows 300 {options}", f"release {ROOT}", f"stop {ROOT}"):
            self.deploy(args)
        facts = json.loads(self.host.sh(f"cat {ROOT}/instance.json"))
        self.host.sh("cat > /etc/systemd/system/shop-web.service", stdin=UNIT.format(**facts))

    def deploy(self, args: str) -> None:
        self.host.sh(
            f"cd /srv/shop; HOME=/srv/shop /opt/tools/bin/python /opt/sample_app/deploy.py {args}", user="shop"
        )

    def reset(self) -> None:
        self.host.sh(RESET)

    def state(self) -> dict[str, t.Any]:
        """All that a rollback may change, as one value to compare."""
        done = self.host.run("python3", "-c", LOOK + LOOK_SQLITE + SHOW, json.dumps(self.facts), user="shop")
        return t.cast("dict[str, t.Any]", json.loads(done.stdout))

    def not_owned(self) -> str:
        """Files of the app that do not belong to its owner any more."""
        return self.host.sh(f"find {ROOT} ! -user shop -o ! -group shop | head")


class HostOps(Ops):
    """The user's repository for an app on a test host."""

    def __init__(self, root: Path, shop: SystemdShop, user: str) -> None:
        facts = shop.facts
        self.root = root
        self.on = shop
        self.hosts = {shop.host.name: shop.host.inventory(user)}
        self.extra: dict[str, t.Any] = {}
        health = f"http://127.0.0.1:{facts['port']}/health"
        self.group_vars: dict[str, t.Any] = {
            "rollback_repo": facts["repo"],
            "rollback_install": ["/opt/tools/bin/uv", "sync", "--frozen"],
            "rollback_services": [{"name": "shop-web", "manager": "systemd", "port": facts["port"]}],
            "rollback_config": ["config/", {"path": facts["env_file"], "source": facts["kept_env_file"]}],
            "rollback_checks": [
                {"name": "healthy", "http": {"url": health}},
                {"name": "rows kept", "rows": {"database": facts["database"], "tables": ["invoices"]}},
                {"name": "not told to fail", "command": {"argv": ["test", "!", "-e", "/tmp/fail"]}, "retries": 0},
            ],
            "rollback_history_url": f"sqlite:///{root}/history.sqlite",
        }
        revisions = facts["revisions"]
        owner = {"become_user": "shop"}
        self.phases: list[dict[str, t.Any]] = [
            {"role": "backup", **owner},
            {"role": "service_stop", "become": True},
            {
                "role": "alembic_downgrade",
                "vars": {
                    "alembic_downgrade_from": revisions["bad"],
                    "alembic_downgrade_to": revisions["good"],
                },
                "environment": {"SHOP_ENV_FILE": facts["env_file"]},
                **owner,
            },
            {
                "role": "git_revert",
                "vars": {"git_revert_commits": [facts["commits"]["bad"]]},
                **owner,
            },
            {"role": "config_restore", **owner},
            {"role": "service_start", "become": True},
            {"role": "verify", **owner},
        ]


def assert_rolled_back(shop: SystemdShop, before: dict[str, t.Any]) -> None:
    """The good release runs, at its content, revision and config, with every row, and all of it is the owner's."""
    after = shop.state()
    repo, good = shop.facts["repo"], shop.facts["commits"]["good"]
    assert after["tree"] == shop.host.sh(f"git -C {repo} rev-parse {good}^{{tree}}", user="shop")
    assert after["dirty"] == ""
    assert after["revision"] == shop.facts["revisions"]["good"]
    assert after["totals"] is None
    assert after["rows"] == before["rows"]
    assert after["env_file"] == shop.host.sh(f"sha256sum {shop.facts['kept_env_file']}").split()[0]
    assert after["health"] == 200
    assert shop.not_owned() == ""
