# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever stands in a check, it is refused or does not hold, in a sentence, and runs nothing."""

from __future__ import annotations

import contextlib

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils._checks import CHECKS_ARGUMENT, KINDS
from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.verify_bench import run

GOOD = {
    "http": {"url": "http://127.0.0.1:9/"},
    "service": "x",
    "revision": {"database": "{place}/db", "expected": ["base"]},
    "sql": {"database": "{place}/db", "query": "SELECT 1", "expected": 1},
    "rows": {"database": "{place}/db"},
    "content": {"database": "{place}/db", "table": "t", "columns": ["a"]},
    "files": {"paths": ["{place}/db"]},
    "log": {"path": "{place}/db"},
    "journal": {"unit": "x"},
    "command": {"argv": ["true"]},
}
HOSTILE = [
    "",
    "a\0b",
    "\udcff",
    "-",
    "--output={canary}",
    "; touch {canary} #",
    "$(touch {canary})",
    "`touch {canary}`",
    "\\! touch {canary}",
    "a\ntouch {canary}\n",
    "${",
    "${HOME}",
    "(",
    "http://[::1",
    "http://a:99999/",
    "postgresql://a@b@c/d",
    "sqlite://",
    "/dev/zero",
    "../../x",
    "%s%n",
]
CASES = [(kind, sub) for kind in KINDS for sub in CHECKS_ARGUMENT["options"][kind].get("options", {"": None})]


def with_text(kind, sub, text):
    """A good check with the text in one place; None where no text can stand."""
    options = GOOD[kind]
    if not sub:
        return text
    option = CHECKS_ARGUMENT["options"][kind]["options"][sub]
    if option["type"] in ("str", "path", "raw"):
        return {**options, sub: text}
    if option.get("elements") == "str" or option.get("elements") == "path":
        return {**options, sub: [text]}
    return {**options, sub: {text: text}} if option["type"] == "dict" else None


def filled_in(value, words):
    if isinstance(value, dict):
        return {filled_in(key, words): filled_in(one, words) for key, one in value.items()}
    if isinstance(value, list):
        return [filled_in(one, words) for one in value]
    for word, text in words.items():
        value = value.replace(word, text) if isinstance(value, str) else value
    return value


@pytest.mark.parametrize(("kind", "sub"), CASES, ids=["-".join(case) for case in CASES])
def test_it_is_answered_in_a_sentence(tmp_path, monkeypatch, kind, sub):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "db").touch()
    words = {"{place}": str(tmp_path), "{canary}": str(tmp_path / "canary")}
    for number, text in enumerate(HOSTILE):
        options = filled_in(with_text(kind, sub, text), words)
        if options is None:
            continue
        with contextlib.suppress(PhaseError):
            run(tmp_path, "main", {kind: options, "timeout": 1.0}, root=f"R{number}")
        assert {path.name for path in tmp_path.iterdir()} <= {"db", "state"}, text
