#!/usr/bin/python
# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: run_script
short_description: Run a script as a part of a rollback, once
version_added: 0.1.0
author: changeops.rollback contributors (@changeops)
description:
  - Runs a script of the host, or one of the ops repository, which is kept in the restore point before anything is
    touched. What runs it is said by its first line.
  - A script that has come to its end is not run again by a run that is resumed. One that was cut short is.
  - Without O(creates) nothing tells whether the change is live, so each new run in which something is to be done runs
    the script. Write it so that it bears that.
  - What it prints goes to C(output.log) in the restore point, which only the owner reads. When it fails, the last lines
    are in the message, without what looks like a secret.
  - The script finds a directory of its own in the environment variable E(ROLLBACK_KEEP), in the restore point, for what
    its recover script needs. That one finds V(finished) or V(unfinished) in E(ROLLBACK_SCRIPT).
notes:
  - At the timeout the script is ended, with all that it has started and left in its process group.
extends_documentation_fragment:
  - changeops.rollback.phase
options:
  script:
    description:
      - The script. An absolute path is one on the host, and is run where it lies. Any other is taken from the ops
        repository, from the plan's directory, or those of the inventory and the playbook.
    type: str
    required: true
  arguments:
    description: Its arguments. They appear in the process list of the host; a secret belongs in O(environment_files).
    type: list
    elements: str
    default: []
  recover:
    description:
      - The script that puts back what O(script) did, for O(step=recover). It is run wherever O(script) had begun, so it
        has to bear finding little or nothing to do. Without it what O(script) did stays as it is.
    type: str
    default: ""
  recover_arguments:
    description: The arguments of the recover script.
    type: list
    elements: str
    default: []
  directory:
    description: The directory on the host that both work in. By default that of the task.
    type: str
    default: ""
  creates:
    description: A path on the host. Where there is something, the script has nothing to do.
    type: str
    default: ""
  follows:
    description:
      - Whether it is known from other phases if anything is to be done. Then V(pending) is V(null), unless O(creates)
        tells.
    type: bool
    default: false
  script_content:
    description: The text of O(script) in base64, put here by the action plugin where it comes from the ops repository.
    type: str
  recover_content:
    description: The same for O(recover).
    type: str
attributes:
  diff_mode:
    description: Nobody knows what a script is going to change.
    support: none
"""

EXAMPLES = r"""
---
- name: Rebuild the search index for the earlier release
  changeops.rollback.run_script:
    script: scripts/reindex.sh
    arguments: [--release, "1.2.0"]
    recover: scripts/reindex.sh
    recover_arguments: [--release, "1.3.0"]
    directory: /srv/shop
    timeout: 900
"""

RETURN = r"""
msg:
  description: What was done, or what is to be done, in a sentence.
  returned: always
  type: str
  sample: >-
    Ran scripts/reindex.sh --release 1.2.0 in 41.2 s. Its output is in
    /var/lib/changeops/C001-1a2b/4-run_script/output.log.
pending:
  description: Whether O(step=main) would run it. V(null) where it only follows the other phases.
  returned: for O(step=preflight)
  type: bool
  sample: true
before:
  description: Nothing, as nobody knows what a script is going to change.
  returned: success
  type: dict
  sample: {}
after:
  description: C(log), where the output is, and C(seconds), how long the script took, where it was run.
  returned: success
  type: dict
  sample: {log: /var/lib/changeops/C001-1a2b/4-run_script/output.log, seconds: 41.2}
rc:
  description: The exit code of a script that failed.
  returned: failure of a script
  type: int
  sample: 1
"""

from ansible_collections.changeops.rollback.plugins.module_utils._phase import run_module
from ansible_collections.changeops.rollback.plugins.module_utils._run_script import (
    script_main,
    script_preflight,
    script_recover,
)


def main():
    """Run a script."""
    arguments = {"type": "list", "elements": "str", "default": []}
    run_module(
        {
            "script": {"type": "str", "required": True},
            "arguments": arguments,
            "recover": {"type": "str", "default": ""},
            "recover_arguments": arguments,
            "directory": {"type": "str", "default": ""},
            "creates": {"type": "str", "default": ""},
            "follows": {"type": "bool", "default": False},
            "script_content": {"type": "str", "no_log": True},
            "recover_content": {"type": "str", "no_log": True},
        },
        script_preflight,
        script_main,
        script_recover,
        subject=lambda params: " ".join([params["script"], *params["arguments"]]),
        phase="run_script",
    )


if __name__ == "__main__":
    main()
