# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's side of the module ``hold``."""

from __future__ import annotations

from ansible_collections.changeops.rollback.plugins.plugin_utils._prepared import ModuleAction


class ActionModule(ModuleAction):
    """Runs what lies on the host already."""
