# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation that the modules share which use the history."""

from __future__ import annotations


class ModuleDocFragment:
    """Where the history is, and that hosts are not touched."""

    DOCUMENTATION = r"""
options:
  url:
    description:
      - Database that keeps the history, C(sqlite:////path/history.sqlite) or C(postgresql://user@host/database).
      - Without it the variable C(rollback_history_url) is used, then the environment variable E(CHANGEOPS_HISTORY_URL),
        then the file C(~/.local/state/changeops/history.sqlite) (E(XDG_STATE_HOME) is honored).
      - In a job of AWX a file is refused, because it vanishes with the job's container, unless the variable
        C(rollback_allow_ephemeral_history) is true.
    type: str
requirements:
  - SQLAlchemy in the Python that runs Ansible
  - psycopg there, if the history is kept in PostgreSQL
attributes:
  action:
    description: Works on the controller, as an action plugin.
    support: full
  diff_mode:
    description: There are no details to show.
    support: none
  platform:
    description: Hosts that can be worked on. Hosts are not touched.
    platforms: posix
    support: full
"""
