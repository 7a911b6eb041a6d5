# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each mutation of tests/mutations.py still finds what it takes out, once, and the test that is to turn red."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("mutations", ROOT / "tests" / "mutations.py")
assert SPEC and SPEC.loader
MODULE = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(MODULE)


@pytest.mark.parametrize("mutation", MODULE.MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mutation_finds_its_place(mutation) -> None:
    assert (ROOT / mutation.file).read_text().count(mutation.old) == 1
    path, _colons, test = mutation.test.partition("::")
    assert not test or f"def {test.partition('[')[0]}(" in (ROOT / path).read_text()
