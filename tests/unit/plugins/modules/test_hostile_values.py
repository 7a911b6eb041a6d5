# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever stands in an option, no shell runs it, no path leaves its place, and the answer is a sentence."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args

PHASES = ["alembic_downgrade", "backup", "config_restore", "git_revert", "service_start", "service_stop", "verify"]
# Options that say which program is to run, or that Ansible itself gives to all modules.
PROGRAMS = {"install", "python"}
ROOT = Path(__file__).parents[4]
GIT = ["git", "-c", "user.name=U", "-c", "user.email=u@example.org", "-c", "init.defaultBranch=main"]


def hostile(canary):
    """Texts that would leave ``canary`` behind if a shell, git or another program took them for its own."""
    touch = f"touch {canary}"
    return [
        f"; {touch} #",
        f"$({touch})",
        f"`{touch}`",
        f"a\n{touch}\n",
        f"|{touch}",
        f"--upload-pack={touch}",
        f"--output={canary}",
        f"../../../../../../{canary}",
        f"ext::sh -c {touch}",
        "-",
        "\\",
        "%s%n",
        "é\u202e",
    ]


def module(name):
    return importlib.import_module(f"ansible_collections.changeops.rollback.plugins.modules.{name}")


def options(name):
    return yaml.safe_load(module(name).DOCUMENTATION).get("options", {})


def values_for(option, text):
    """The text in the shapes that an option takes; nothing for numbers and switches."""
    kind = option.get("type", "str")
    if kind in ("str", "path", "raw"):
        return [text]
    if kind == "list":
        if option.get("elements") in ("str", "path", "raw"):
            return [[text]]
        if option.get("elements") == "dict":
            inner = option.get("suboptions") or {}
            return [[{key: values_for(sub, text)[0]}] for key, sub in inner.items() if values_for(sub, text)]
    if kind == "dict" and not option.get("suboptions"):
        return [{text: text}]
    return []


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    path = tmp_path_factory.mktemp("hostile") / "app"
    path.mkdir()
    (path / "app.conf").write_text("a = 1\n")
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "one"]):
        subprocess.run([*GIT, *words], cwd=path, check=True)
    return path


BASE = {
    "alembic_downgrade": {"from": "a1", "to": "b2"},
    "backup": {"paths": ["app.conf"]},
    "config_restore": {"paths": ["app.conf"], "commit": "HEAD"},
    "git_revert": {"commits": ["abcd"]},
    "service_start": {},
    "service_stop": {},
    "verify": {},
}
CASES = [(name, option) for name in PHASES for option in options(name) if option not in PROGRAMS]


def preflight(name, arguments, capsys):
    """What the module answers to these options."""
    with patch_module_args({**arguments, "step": "preflight"}), pytest.raises(SystemExit):
        module(name).main()
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(("name", "option"), CASES, ids=[f"{name}-{option}" for name, option in CASES])
def test_no_shell_runs_it(tmp_path, monkeypatch, capsys, repo, name, option):
    monkeypatch.chdir(tmp_path)
    spec, canary = options(name), tmp_path / "canary"
    for text in hostile(canary):
        for value in values_for(spec[option], text):
            place = {key: str(repo) for key in ("project", "repo") if key in spec}
            state = {"restore_point": str(tmp_path / "state" / "R1" / "1-x")}
            answer = preflight(name, {**place, **BASE[name], **state, option: value}, capsys)
            assert answer["msg"] and "exception" not in answer, (text, answer)
            assert not canary.exists(), (text, answer)
    assert {path.name for path in tmp_path.iterdir()} <= {"state"}


SHELL = re.compile(r"shell\s*=\s*True|os\.system|os\.popen|subprocess\.getoutput|ansible\.builtin\.(?:shell|raw)\b")


@pytest.mark.parametrize("place", ["plugins", "roles", "playbooks"])
def test_nothing_here_calls_a_shell(place):
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sorted((ROOT / place).rglob("*"))
        if path.suffix in (".py", ".yml", ".j2")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if SHELL.search(line)
    ]
    assert found == []
