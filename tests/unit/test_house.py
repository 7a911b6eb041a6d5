# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules that hold for the checkout as a whole."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LISTED = subprocess.run(
    ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
)
FILES = sorted(name for name in LISTED.stdout.split("\0") if name and (ROOT / name).is_file())
TEXTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in FILES if not name.endswith((".png", ".gif"))}
SOURCES = [name for name in FILES if name.endswith(".py") and TEXTS[name].strip()]
PLUGINS = [
    name for name in FILES if re.fullmatch(r"plugins/(modules|action|filter|lookup|callback)/[a-z]\w*\.py", name)
]

# Nobody else's machine has these.
MACHINE = re.compile(r"(?<![\w.])/(?:work|root|tmp/dev)/")
# A promise for later is not a feature.
LATER = re.compile(r"\b(?:TODO|FIXME|XXX)\b")


def _lines(pattern):
    this = Path(__file__).relative_to(ROOT).as_posix()
    return [
        f"{name}:{number}: {line.strip()}"
        for name, text in TEXTS.items()
        if name not in (this, "LICENSE")
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


@pytest.mark.parametrize("pattern", [MACHINE, LATER], ids=["machine", "later"])
def test_no_file_contains(pattern):
    assert _lines(pattern) == []


@pytest.mark.parametrize("name", SOURCES)
def test_python_file_names_its_licence(name):
    assert "SPDX-License-Identifier: GPL-3.0-or-later" in TEXTS[name][:400]


@pytest.mark.parametrize("name", [name for name in SOURCES if not name.startswith("tests/")])
def test_python_file_is_short(name):
    assert len(TEXTS[name].splitlines()) <= 400


@pytest.mark.parametrize("name", PLUGINS)
def test_plugin_has_a_unit_test(name):
    """A test file of its own, beside its kind or where the util that does its work is tested, or one that calls it."""
    stem = Path(name).stem
    own = re.compile(rf"tests/unit/plugins/\w+/test_{stem}\.py")
    called = re.compile(rf"\bchangeops\.rollback\.{stem}\b")
    tests = [other for other in FILES if other.startswith("tests/unit/plugins/")]
    assert any(own.fullmatch(other) or called.search(TEXTS[other]) for other in tests), f"no unit test calls {name}"


def test_demo_has_each_playbook_that_the_readme_types():
    typed = set(re.findall(r"^ +ansible-playbook (\w+)\.yml", (ROOT / "README.md").read_text(), re.MULTILINE))
    ours = typed & {path.stem for path in (ROOT / "playbooks").glob("*.yml")}
    written = (ROOT / "playbooks" / "demo.yml").read_text()
    assert ours and [name for name in ours if f"        - {name}.yml\n" not in written] == []
