# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The main job where there is nothing but what the execution environment has.

There is no registry of images where these tests run. So the stages of the image (base, galaxy, builder, final) are gone
through in an empty virtual environment instead, with the context that ansible-builder makes and what it finds there.
"""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import subprocess
import typing as t
from pathlib import Path

import psycopg
import pytest
import yaml
from harness import BIN, HERE, Ops, Shop, assert_rolled_back

ROOT = HERE.parents[1]
UV = str(BIN / "uv")
INSTALLED = Path("ansible_collections", "changeops", "rollback")


class Image:
    """What would be in the image, and a home and a history for its jobs."""

    def __init__(self, root: Path, history: str) -> None:
        self.python = root / "python"
        self.collections = root / "collections"
        self.environ = {
            "PATH": f"{self.python / 'bin'}:/usr/bin:/bin",
            "HOME": str(root),
            "LANG": "C.UTF-8",
            "ANSIBLE_COLLECTIONS_PATH": str(self.collections),
            "ANSIBLE_NOCOLOR": "1",
            "CHANGEOPS_HISTORY_URL": history,
            "UV_CACHE_DIR": subprocess.check_output([UV, "cache", "dir"], text=True).strip(),
            "UV_SYSTEM_CERTS": "true",
        }

    def run(self, *command: str | Path, cwd: Path, **environ: str) -> str:
        done = subprocess.run(
            command,
            cwd=cwd,
            env={**self.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
            check=False,
        )
        print(done.stdout)
        assert done.returncode == 0, done.stdout
        return done.stdout


@pytest.fixture
def image(tmp_path: Path, postgresql: str) -> Image:
    with psycopg.connect(f"host={postgresql} user=postgres", autocommit=True) as server:
        server.execute("CREATE DATABASE execution_environment")
    root = tmp_path / "image"
    image = Image(root, f"postgresql://postgres@/execution_environment?host={postgresql}")
    context = root / "context"
    root.mkdir()
    image.run(BIN / "ansible-builder", "create", "-f", ROOT / "execution-environment.yml", "-c", context, cwd=root)
    # base: Ansible and its runner, and nothing else
    ours = [f"{name}=={importlib.metadata.version(name)}" for name in ("ansible-core", "ansible-runner")]
    image.run(UV, "venv", "--quiet", "--python", BIN / "python", image.python, cwd=root)
    image.run(UV, "pip", "install", "--quiet", "--python", image.python, *ours, cwd=root)
    # galaxy: the collection, found from where the image has it; there is no server for what it depends on
    offline = ("--offline", "--no-deps")
    install = (image.python / "bin" / "ansible-galaxy", "collection", "install", *offline, "-r", "requirements.yml")
    image.run(*install, "--collections-path", image.collections, cwd=context / "_build")
    # builder, final: what the collection names
    system, python = root / "bindep.txt", root / "requirements.txt"
    wanted = ("--write-bindep", system, "--write-pip", python)
    image.run(BIN / "ansible-builder", "introspect", "--sanitize", image.collections, *wanted, cwd=root)
    image.run(UV, "pip", "install", "--quiet", "--python", image.python, "-r", python, cwd=root)
    assert {line.split()[0] for line in system.read_text().splitlines()} >= {"git-core", "openssh-clients", "sshpass"}
    return image


def test_rolled_back_in_the_image(image: Image, ops: Ops, shop: Shop, tmp_path: Path) -> None:
    before = shop.state()
    del ops.group_vars["rollback_history_url"]  # the job's environment has it
    ops.write()
    job = tmp_path / "job"
    (job / "env").mkdir(parents=True)
    (job / "project").symlink_to(ops.root)
    (job / "inventory").symlink_to(ops.root / "inventory")
    (job / "env" / "extravars").write_text(yaml.safe_dump({"change": "C001"}))
    runner = image.python / "bin" / "ansible-runner"
    said = image.run(runner, "run", job, "-p", "rollback.yml", cwd=tmp_path)
    assert "C001: succeeded" in said
    assert_rolled_back(shop, before)
    events = [json.loads(path.read_text()) for path in job.glob("artifacts/*/job_events/*.json")]
    (told,) = [one["event_data"]["artifact_data"] for one in events if one["event"] == "playbook_on_stats"]
    dropped = len([total for total in before["totals"].values() if total is not None])
    assert told["rollback_loss"] == [f"invoices.total ({dropped} values)"]
    assert 0 < told["rollback_downtime"] < told["rollback_duration"]
    assert_installed_as_a_project(image, ops, tmp_path)
    assert_seen_by_navigator(image, ops, tmp_path)


def assert_installed_as_a_project(image: Image, ops: Ops, tmp_path: Path) -> None:
    """This repository's own collections/requirements.yml, as AWX reads it, brings playbooks that are found by name."""
    project, place = tmp_path / "project", tmp_path / "installed"
    names = subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, text=True)
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (project / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, project / name)
    galaxy = (image.python / "bin" / "ansible-galaxy", "collection", "install", "-r", "collections/requirements.yml")
    only_here = {"ANSIBLE_COLLECTIONS_PATH": str(place)}
    image.run(*galaxy, "--offline", "--no-deps", "-p", place, cwd=project, **only_here)
    assert (place / INSTALLED / "playbooks" / "rollback.yml").is_file()
    assert not (place / INSTALLED / "collections").exists()
    playbook = image.python / "bin" / "ansible-playbook"
    said = image.run(playbook, "changeops.rollback.history", "-e", "format=json", cwd=ops.root, **only_here)
    assert '"outcome": "succeeded"' in said.replace('\\"', '"')


def assert_seen_by_navigator(image: Image, ops: Ops, tmp_path: Path) -> None:
    """ansible-navigator without an image: it runs the ansible-playbook that is first on PATH."""
    options = ("--ee", "false", "--mode", "stdout", "--pae", "false", "--lf", tmp_path / "navigator.log")
    said = image.run(BIN / "ansible-navigator", "run", "history.yml", *options, cwd=ops.root)
    assert "succeeded" in said and "C001" in said


def test_ops_repository_names_the_collection() -> None:
    written = (ROOT / "roles/sample_app/templates/ops/collections/requirements.yml.j2").read_text()
    galaxy: dict[str, t.Any] = yaml.safe_load((ROOT / "galaxy.yml").read_text())
    (one,) = yaml.safe_load(written)["collections"]
    assert one["name"] == f"{galaxy['repository']}.git"
    assert one["type"] == "git"
