# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""For the Pythons that the tests run modules with: keep what the sources in an archive compile to. For the tests only.

Ansible sends a module with all that it imports as an archive, and Python compiles all of it anew at each call: half of
what a small module costs. What is run stays the same; it is found by a hash of its source.
"""

import _imp
import marshal
import os
import sys
import zipimport

PLACE = os.path.join(sys.prefix, "ansiballz")
compile_source = zipimport._compile_source


def kept(path, source):
    """What ``source`` compiles to, from an earlier time where there was one."""
    name = os.path.join(PLACE, sys.implementation.cache_tag + _imp.source_hash(0, source).hex())
    try:
        with open(name, "rb") as file:
            code = marshal.load(file)
    except (OSError, EOFError, ValueError, TypeError):
        code = compile_source(path, source)
        part = f"{name}.{os.getpid()}"
        with open(part, "wb") as file:
            marshal.dump(code, file)
        os.rename(part, name)
        return code
    _imp._fix_co_filename(code, path)
    return code


if os.path.isdir(PLACE):
    zipimport._compile_source = kept
