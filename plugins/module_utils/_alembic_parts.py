# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs in the app's own interpreter, beside the app's Alembic. Private."""

from __future__ import annotations

import types
import typing as t
from pathlib import Path

from . import (
    _alembic_copy,
    _alembic_driver,
    _alembic_export,
    _alembic_file,
    _alembic_foresee,
    _alembic_graph,
    _alembic_keep,
    _alembic_loss,
    _alembic_mysql,
    _alembic_orphans,
    _alembic_pg_export,
    _alembic_pg_put,
    _alembic_pg_recover,
    _alembic_pg_scratch,
    _alembic_pg_tables,
    _alembic_pg_transaction,
    _alembic_postgresql,
    _alembic_put,
    _alembic_run,
    _alembic_same,
    _alembic_served,
    _alembic_server,
    _alembic_sqlite,
    _alembic_wait,
)
from ._restore_point import make_private

DRIVER = (
    _alembic_copy,
    _alembic_driver,
    _alembic_export,
    _alembic_file,
    _alembic_foresee,
    _alembic_graph,
    _alembic_keep,
    _alembic_loss,
    _alembic_mysql,
    _alembic_orphans,
    _alembic_pg_export,
    _alembic_pg_put,
    _alembic_pg_recover,
    _alembic_pg_scratch,
    _alembic_pg_tables,
    _alembic_pg_transaction,
    _alembic_postgresql,
    _alembic_put,
    _alembic_run,
    _alembic_same,
    _alembic_served,
    _alembic_server,
    _alembic_sqlite,
    _alembic_wait,
)
# Nothing is written into the app's environment. Where Alembic was compiled there, that bytecode is used; else what
# preflight compiles is kept, so that main need not do it again.
START = """\
import importlib.util
import os
import sys

alembic = importlib.util.find_spec("alembic")
if alembic and alembic.origin and not sys.pycache_prefix:
    if not os.path.exists(importlib.util.cache_from_source(alembic.origin)):
        sys.pycache_prefix, sys.dont_write_bytecode = {bytecode!r}, False

from changeops_alembic._alembic_driver import main

main()
"""


def lay_out(base: Path, bytecode: Path) -> None:
    """Write what an interpreter runs that is started with ``base``.

    :arg bytecode: where it is kept, if need be.
    """
    package = base / "changeops_alembic"
    make_private(package)
    files = {package / (part.__name__.rpartition(".")[2] + ".py"): _source(part) for part in DRIVER}
    start = START.format(bytecode=str(bytecode)).encode()
    for path, content in {**files, package / "__init__.py": b"", base / "__main__.py": start}.items():
        if not path.exists() or path.read_bytes() != content:  # one that was started ahead has read it
            path.touch(0o600)
            path.write_bytes(content)


def _source(part: types.ModuleType) -> bytes:
    """The source of a module, also out of the archive that Ansible packs on its way to a host."""
    loader: t.Any = part.__loader__
    return t.cast(bytes, loader.get_data(part.__file__))
