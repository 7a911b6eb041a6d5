# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation that the modules share which work with services."""

from __future__ import annotations


class ModuleDocFragment:
    """The list of services; and, as C(services.drain), what goes around stopping and starting them."""

    DOCUMENTATION = r"""
notes:
  - Reads C(/proc), so hosts must run Linux.
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
          - The service's name. For systemd a unit of any kind (C(shop-web), C(shop-cleanup.timer), C(shop.target),
            C(shop-worker@1.service)) or a pattern for all loaded instances (C(shop-worker@*.service)), which
            the preflight looks up; for supervisord a program, C(group:program), or C(group:*) for all programs of a
            group; for commands any name.
          - With a unit of systemd goes what would start it again or is stopped with it, namely its sockets, timers and
            paths, what they trigger, and units that are C(PartOf=) it. Instances are stopped and started in the order
            that systemd gives them.
        type: str
        required: true
      manager:
        description:
          - What starts and stops it.
          - V(service) is what M(ansible.builtin.service) would drive on the host, which is systemd where that is the
            init, else the init scripts of sysvinit or OpenRC.
          - V(command) is commands of your own, those of Docker Compose for one; see O(services[].running_when).
        type: str
        default: service
        choices: [service, systemd, supervisord, command]
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
      running_when:
        description:
          - For commands, how O(services[].status) tells that the service runs; V(exit_code) unless given.
          - V(output) means that it ends with 0 and prints something, as C(docker compose ps --status running -q web)
            prints the ids of running containers and nothing else. Another exit code is then an error, not a stopped
            service.
        type: str
        choices: [exit_code, output]
      pid_file:
        description:
          - For commands and init scripts, the file with the process id, so that the process itself can be watched.
        type: path
      port:
        description:
          - A port that is free when the service is stopped and accepts connections when it is up.
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

    DRAIN = r"""
options:
  drain:
    description:
      - Commands, each an argument list, that take this host out of use before its services are stopped (out of a load
        balancer, behind a maintenance page). They run on the host, in order, before anything is stopped.
      - Where one fails, nothing has been stopped; the recovery undrains.
    type: list
    elements: list
    default: []
  undrain:
    description:
      - Commands, each an argument list, that take the host back in. They run when the services are up and have stayed
        up; a host on which they did not start stays drained.
      - Required with O(drain).
    type: list
    elements: list
    default: []
  drain_wait:
    description:
      - Seconds that open connections to the services' ports may take to end after the host was drained. When the last
        has ended the services are stopped at once, and when the time is up all the same.
      - Without ports the whole time is waited.
    type: float
    default: 0.0
  drain_timeout:
    description: Seconds that each of the commands of O(drain) and O(undrain) may take.
    type: float
    default: 60.0
"""
