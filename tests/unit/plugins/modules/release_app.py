# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An app with three releases, as Capistrano, Deployer and Ansistrano leave them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils import _release
from ansible_collections.changeops.rollback.plugins.module_utils._phase import run_step
from ansible_collections.changeops.rollback.plugins.module_utils._restore_point import RestorePoint
from ansible_collections.changeops.rollback.plugins.modules import git_revert

STEPS = {"preflight": _release.preflight, "main": _release.main, "recover": _release.recover}
DEFAULTS = {name: spec.get("default") for name, spec in git_revert.ARGUMENTS.items()}
# tool: names of releases, the oldest first; what stands before the name in the link
TOOLS = {
    "capistrano": (["20261101093000", "20261110093000", "20261120101500"], "{root}/releases/"),
    "deployer": (["9", "10", "11"], "releases/"),
    "ansistrano": (["20261101093000Z", "20261110093000Z", "20261120101500Z"], "./releases/"),
}


class App:
    """An app with three releases; the last one is bad."""

    def __init__(self, place: Path, tool: str) -> None:
        self.tool = tool
        self.root = place / "srv" / "shop"
        self.names, prefix = TOOLS[tool]
        self.prefix = prefix.format(root=self.root)
        self.first, self.good, self.bad = self.names
        for number, name in enumerate(self.names):
            self.add(name, f"{number}{'ab' * 19}f\n")
        (self.root / "shared").mkdir()
        if tool == "capistrano":
            log = [
                f"Branch main (at {number}abababa) deployed as release {n} by dana"
                for number, n in enumerate(self.names)
            ]
            (self.root / "revisions.log").write_text("\n".join(log) + "\n")
        if tool == "deployer":
            (self.root / ".dep").mkdir()
            for name in self.names:
                self.log(name)
        self.point("current", self.bad)
        self.restore_point = RestorePoint(str(place / "state" / "R1" / "1-git_revert"))
        self.options: dict = {"from": self.bad}

    def add(self, name: str, revision: str = "") -> Path:
        path = self.root / "releases" / name
        path.mkdir(parents=True)
        (path / "app.py").write_text(f"{name}\n")
        if revision:
            (path / "REVISION").write_text(revision)
        # as the tools would have it by the time of change: this phase must not go by that
        os.utime(path, (1000, 1000))
        return path

    def log(self, name: str) -> None:
        with (self.root / ".dep" / "releases_log").open("a") as stream:
            stream.write(json.dumps({"created_at": "2026-11-01T09:30:00+0000", "release_name": name}) + "\n")

    def point(self, link: str, name: str) -> None:
        path = self.root / link
        if path.is_symlink():
            path.unlink()
        path.symlink_to(self.prefix + name)

    def path(self, name: str) -> Path:
        return self.root / "releases" / name

    @property
    def link(self) -> str:
        return os.readlink(self.root / "current")

    def files(self) -> dict:
        return {
            str(path.relative_to(self.root)): os.readlink(path) if path.is_symlink() else path.read_bytes()
            for path in self.root.rglob("*")
            if path.is_symlink() or path.is_file()
        }

    def run(self, step: str, check: bool = False, **options):
        params = {**DEFAULTS, "repo": str(self.root), "method": "release", "timeout": 60.0, "wait": 5.0}
        params.update(self.options)
        params.update(options)
        return run_step(step, params, self.restore_point, STEPS, check)


@pytest.fixture(params=TOOLS)
def app(request, tmp_path):
    return App(tmp_path, request.param)


@pytest.fixture
def capistrano(tmp_path):
    return App(tmp_path, "capistrano")
