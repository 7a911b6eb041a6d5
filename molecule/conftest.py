# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the scenarios' tests look at a host: from outside of Ansible, as the app's owner."""

from __future__ import annotations

import typing as t

import pytest
import testinfra


class App:
    """The sample app on a host."""

    def __init__(self, name: str, inventory: str) -> None:
        self.host = testinfra.get_host(f"ansible://{name}", ansible_inventory=inventory)
        self.facts: dict[str, t.Any] = self.host.ansible.get_variables()["shop"]
        self.repo: str = self.facts["repo"]
        self.health = f"http://127.0.0.1:{self.facts['port']}/health"

    def run(self, *argv: str) -> str:
        """What a command prints, run as the app's owner."""
        with self.host.sudo("shop"):
            return t.cast("str", self.host.check_output(" ".join(["%s"] * len(argv)), *argv))

    def git(self, *args: str) -> str:
        return self.run("git", "-C", self.repo, *args)

    def status(self) -> str:
        """What the app answers when it is asked whether it is well: an HTTP status."""
        return self.run("curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", self.health)

    def sql(self, query: str, database: str = "shop") -> list[str]:
        """The lines that a query gives, with | between the columns.

        :arg database: that of the app, which all hosts share, or ``pristine``, of which it was made.
        """
        server, _slash, _name = self.facts["database_url"].replace("+psycopg", "").rpartition("/")
        url = f"{server}/{database}"
        return self.run("psql", "--no-psqlrc", "--tuples-only", "--no-align", "--command", query, url).splitlines()


@pytest.fixture
def apps(request: pytest.FixtureRequest) -> t.Callable[[str], App]:
    """The app on a host of the inventory, by the host's name."""
    return lambda name: App(name, request.config.getoption("--ansible-inventory"))


@pytest.fixture
def app(request: pytest.FixtureRequest, apps: t.Callable[[str], App]) -> App:
    """The app on the host that the test's parameter names."""
    return apps(request.param)
