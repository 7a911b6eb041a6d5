# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets the many ansible-playbooks of a session pack each module once. For the tests only.

Ansible packs a module with all that it imports, once in a run: a third of the controller's work in a rollback. The
environment variable MODULES_ONCE names a directory of the session where it is kept.
"""

from __future__ import annotations

import os
from pathlib import Path

from ansible import constants as C
from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    """Puts the session's directory in the place of the one that Ansible would keep for this run."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "modules_once"

    def __init__(self) -> None:
        super().__init__()
        once = os.environ.get("MODULES_ONCE")
        if once:
            Path(C.DEFAULT_LOCAL_TMP, "ansiballz_cache").symlink_to(once)
