# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation that the modules share which work with services."""

from __future__ import annotations


class ModuleDocFragment:
    """The list of services."""

    DOCUMENTATION = r"""
options:
  services:
    description:
      - The app's services, in the order in which they are stopped. They are started in reverse order.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description:
          - The service's name. For systemd a unit; for supervisord a program, C(group:program), or C(group:*) for all
            programs of a group; for commands any name.
        type: str
        required: true
      manager:
        description: What starts and stops it.
        type: str
        required: true
        choices: [systemd, supervisord, command]
      scope:
        description: For systemd, whose unit it is; V(system) unless given. V(user) is the user that the task runs as.
        type: str
        choices: [system, user]
      config:
        description: For supervisord, the path of C(supervisord.conf), else where C(supervisorctl) looks for it.
        type: path
      supervisorctl:
        description: For supervisord, the path of C(supervisorctl). Unless given, it is found on E(PATH).
        type: path
      start:
        description:
          - For commands, the argument list that starts the service and returns. What the service prints should go to
            a file of its own.
        type: list
        elements: str
      stop:
        description: For commands, the argument list that stops the service.
        type: list
        elements: str
      status:
        description:
          - For commands, the argument list that ends with 0 when the service runs. 3, as the LSB says, and all others
            are taken as stopped.
        type: list
        elements: str
      pid_file:
        description: For commands, the file with the process id, so that the process itself can be watched.
        type: path
      port:
        description:
          - A port that is free when the service is stopped and accepts connections when it is up. Not for a socket
            that systemd itself listens on.
        type: int
      ports:
        description: Several such ports.
        type: list
        elements: int
        default: []
      address:
        description: Where the ports are.
        type: str
        default: 127.0.0.1
"""
