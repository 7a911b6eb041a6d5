# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was compiled in one environment is taken over into another one, and Python uses it there."""

from __future__ import annotations

import os
import py_compile
import subprocess
import sys

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils._bytecode import take_over

SITE = "lib/python3.9/site-packages"


@pytest.fixture
def both(tmp_path):
    """A module in the old environment, where it is compiled, and the same one in the new environment."""
    for name in ("old", "new"):
        package = tmp_path / name / SITE / "shop"
        package.mkdir(parents=True)
        (package / "rules.py").write_text("print(__cached__)\n")
        os.utime(str(package / "rules.py"), (1e9, 1e9 + (name == "new")))
    old, new = (tmp_path / name / SITE / "shop" / "rules.py" for name in ("old", "new"))
    py_compile.compile(str(old))
    return old, new


def compiled(source):
    return source.parent / "__pycache__" / f"rules.{sys.implementation.cache_tag}.pyc"


def other_source(old, new):
    new.write_text("print( 'new'    )\n")  # as long


def no_source(old, new):
    new.unlink()


def compiled_before_a_change(old, new):
    for source in (old, new):
        source.write_text("print( 'new'    )\n")


def compiled_by_hash(old, new):
    py_compile.compile(str(old), invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)


def compiled_file_cut_short(old, new):
    compiled(old).write_bytes(b"\0\0\0\0")


def strange_name(old, new):
    compiled(old).rename(compiled(old).with_name("rules.pyc"))


def not_compiled(old, new):
    compiled(old).unlink()


CASES = [
    other_source,
    no_source,
    compiled_before_a_change,
    compiled_by_hash,
    compiled_file_cut_short,
    strange_name,
    not_compiled,
]


@pytest.mark.parametrize("case", CASES, ids=[case.__name__ for case in CASES])
def test_not_taken_over(both, tmp_path, case):
    old, new = both
    case(old, new)
    take_over(tmp_path / "old", tmp_path / "new")
    assert not compiled(new).exists()


def test_taken_over_and_used(both, tmp_path):
    new = both[1]
    take_over(tmp_path / "old", tmp_path / "new")
    argv = [
        sys.executable,
        "-v",
        "-c",
        f"import sys; sys.path.insert(0, {str(tmp_path / 'new' / SITE)!r}); import shop.rules",
    ]
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(argv, env=env, capture_output=True, check=True, text=True)
    assert f"{compiled(new)} matches {new}" in done.stderr


def test_what_is_there_already_stays(both, tmp_path):
    new = both[1]
    compiled(new).parent.mkdir()
    compiled(new).write_bytes(b"its own")
    take_over(tmp_path / "old", tmp_path / "new")
    assert compiled(new).read_bytes() == b"its own"
