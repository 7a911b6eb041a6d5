# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where action plugins look for plans, and where they write new ones. Private to this collection."""

from __future__ import annotations

import typing as t
from pathlib import Path

from ansible.plugins.action import ActionBase
from ansible.plugins.loader import lookup_loader


def plan_folders(action: ActionBase, variables: dict[str, t.Any]) -> list[Path]:
    """The folders in which the lookup ``plan`` looks, the first one first; not each needs to be there."""
    lookup = lookup_loader.get("changeops.rollback.plan", loader=action._loader, templar=action._templar)
    lookup.set_options(var_options=variables)
    folders: list[Path] = lookup._directories(variables)
    return folders


def folder_of_new_plans(folders: t.Sequence[Path]) -> Path:
    """The first folder that is there, else ``changes`` in the current directory, which is the last one."""
    return next((folder for folder in folders if folder.is_dir()), folders[-1])
