# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation that all phase modules share."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of every phase module."""

    DOCUMENTATION = r"""
options:
  step:
    description:
      - V(preflight) proves that V(main) will work, notes the state it found and prepares what can be prepared while the
        service still runs. It changes nothing outside the restore point.
      - V(rehearse) tries more than V(preflight), which it does first, and takes longer. It works beside the live
        service and leaves nothing behind. Only M(changeops.rollback.alembic_downgrade) and
        M(changeops.rollback.git_revert) have more to try.
      - V(main) does the work. A second run changes nothing. Without an earlier V(preflight) it runs that first.
      - V(can_recover) sees whether V(recover) can do its work. It changes nothing. In a run it is asked on all hosts
        before anything is put back anywhere.
      - V(recover) puts back the state that V(preflight) found.
      - V(close) does what waits until the whole run is done and verified. Most phases have nothing to do then.
      - V(can_undo) sees, while the service runs, whether V(recover) can put back a run that had come to its end.
        V(undone) sees afterwards whether all is well. Both change nothing.
    type: str
    choices: [preflight, rehearse, main, can_recover, can_undo, recover, undone, close]
    default: main
  restore_point:
    description:
      - Where this phase keeps what it found, as C(<restore point>/<phase>) below C(/var/lib/changeops) for root and
        C(~/.local/state/changeops) for everybody else, or as an absolute path.
      - Without it the phase keeps a restore point of its own, for use outside a run.
    type: str
  environment_files:
    description:
      - Files on the host with C(KEY=value) lines, as systemd's C(EnvironmentFile=) has them, for the commands that the
        phase runs. Of two with the same key the later one wins, and the files win over the environment of the task.
      - A secret belongs here. One in C(environment) of a task stands in the process list of the host for a moment.
    type: list
    elements: path
    default: []
  timeout:
    description:
      - Seconds after which the step, and everything that it started on the host, is ended.
      - O(step=recover) has ten minutes at least.
    type: float
    default: 600.0
  wait:
    description:
      - Seconds to wait for work that an interrupted run left behind on this host. After that it is ended.
    type: float
    default: 60.0
attributes:
  check_mode:
    description: Can run in C(check_mode) and says what it would do without changing the host.
    support: full
  diff_mode:
    description: Says what would change, or has changed, in diff mode.
    support: full
  platform:
    description: Hosts that can be worked on.
    platforms: posix
    support: full
"""

    RETURN_COMMON = r"""
msg:
  description: What was done, or what is to be done, in a sentence.
  returned: always
  type: str
  sample: Reverted 4f1c2e9 in /srv/shop; it stands at 51d0e2f now.
pending:
  description: Whether O(step=main) would change something. V(null) where the phase only follows the others.
  returned: for O(step=preflight)
  type: bool
  sample: true
before:
  description: The state that preflight found.
  returned: success
  type: dict
  sample: {}
after:
  description: The state afterwards.
  returned: success
  type: dict
  sample: {}
"""
