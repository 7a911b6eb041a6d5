#!/usr/bin/python
# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: service_stop
short_description: Stop an app's services until nothing of them is left
version_added: 0.1.0
author: changeops.rollback contributors (@changeops)
description:
  - Stops services in the order given and waits for each until its processes are gone and its ports are free.
  - One task stops all of them, whatever manages them, so that a rollback's downtime has one remote task for it;
    M(ansible.builtin.service) would need one for each and does not wait for the port.
  - Before that the host is drained (O(drain)), and units of systemd are kept from being started (O(hold)).
  - O(step=recover) starts exactly those that ran before, in reverse order, waits until they are up again, and undrains.
notes:
  - A process that outlives its manager's stop is named, not killed.
  - Jobs (C(Type=oneshot)) that are at work are stopped too, and not started again.
  - What runs under supervisord with C(autostart=true) starts again when supervisord itself is restarted, an init script
    when the host reboots, and a container with C(restart=always) when the Docker daemon does (use C(unless-stopped));
    O(step=preflight) names the first two.
seealso:
  - module: changeops.rollback.service_start
extends_documentation_fragment:
  - changeops.rollback.phase
  - changeops.rollback.services
  - changeops.rollback.services.drain
options:
  hold:
    description:
      - Whether stopped units of systemd, and those that go with them, are kept from being started, at boot, by a
        socket, a timer, another unit or a person.
      - A drop-in does that, C(/etc/systemd/system/<unit>.d/99-changeops-rollback-stopped.conf) or the same below
        C(~/.config/systemd/user). C(systemctl start) fails and C(systemctl status) names it, and removing it lets the
        unit start again. M(changeops.rollback.service_start) and O(step=recover) remove it.
      - Whether a unit is enabled is left as it is.
      - Set it to V(false) where something other than M(changeops.rollback.service_start) starts the units.
    type: bool
    default: true
"""

EXAMPLES = r"""
---
- name: Stop the web app, then its worker
  changeops.rollback.service_stop:
    services:
      - name: shop-web
        manager: systemd
        port: 8080
      - name: shop-worker
        manager: supervisord
        config: /srv/shop/supervisord.conf
      - name: shop-cache
        manager: command
        start: [/srv/shop/bin/cache, start]
        stop: [/srv/shop/bin/cache, stop]
        status: [/srv/shop/bin/cache, status]
        pid_file: /srv/shop/run/cache.pid
    drain:
      - [touch, /srv/shop/maintenance]
    undrain:
      - [rm, -f, /srv/shop/maintenance]
    drain_wait: 10
    timeout: 60

- name: Stop a service of Docker Compose
  changeops.rollback.service_stop:
    services:
      - name: web
        manager: command
        stop: [docker, compose, -f, /srv/shop/compose.yml, stop, web]
        start: [docker, compose, -f, /srv/shop/compose.yml, up, --detach, --no-deps, web]
        status: [docker, compose, -f, /srv/shop/compose.yml, ps, --status, running, -q, web]
        running_when: output
        port: 8080
"""

RETURN = r"""
msg:
  description: What was done, or what is to be done, in a sentence.
  returned: always
  type: str
  sample: Stopped shop-web then shop-worker in 1.2 s.
pending:
  description: Always V(null), as this phase only follows the others.
  returned: for O(step=preflight)
  type: bool
  sample: null
before:
  description:
    - C(services) is V(running), V(stopped), V(failed) or V(working) for each service, C(pids) its main processes.
    - V(failed) is a service that its manager wants to run and could not keep up, V(working) a job that was under way.
    - C(units) has the units of services that have several, in the order in which they are stopped.
  returned: success
  type: dict
  sample: {services: {shop-web: running}, pids: {shop-web: [4711]}}
after:
  description: The same afterwards.
  returned: success
  type: dict
  sample: {services: {shop-web: stopped}, pids: {}}
stopped:
  description: The services that were stopped, or in check mode would be, in that order.
  returned: for O(step=main)
  type: list
  elements: str
  sample: [shop-web, shop-worker]
holds:
  description: The drop-ins that are new and keep units of systemd from being started.
  returned: for O(step=main)
  type: list
  elements: str
  sample: [/etc/systemd/system/shop-web.service.d/99-changeops-rollback-stopped.conf]
started:
  description: The services that were started again, in that order.
  returned: for O(step=recover)
  type: list
  elements: str
  sample: [shop-worker, shop-web]
service:
  description: The service that could not be stopped or started.
  returned: failure of a service
  type: str
  sample: shop-web
left:
  description: Processes of the service that are still there.
  returned: failure to stop within the timeout
  type: list
  elements: int
  sample: [4711]
log:
  description: The last lines of the log of a service that did not come up again, without secrets.
  returned: failure to start
  type: list
  elements: str
  sample: ["ModuleNotFoundError: No module named 'shop'"]
"""

from ansible_collections.changeops.rollback.plugins.module_utils._phase import run_module
from ansible_collections.changeops.rollback.plugins.module_utils._service_drain import DRAIN_ARGUMENTS
from ansible_collections.changeops.rollback.plugins.module_utils._service_stop import (
    stop_main,
    stop_preflight,
    stop_recover,
)
from ansible_collections.changeops.rollback.plugins.module_utils._services import SERVICES_ARGUMENT


def main():
    """Stop services."""
    run_module(
        {"services": SERVICES_ARGUMENT, "hold": {"type": "bool", "default": True}, **DRAIN_ARGUMENTS},
        stop_preflight,
        stop_main,
        stop_recover,
        subject=lambda params: " ".join(item["name"] for item in params["services"]),
        phase="service_stop",
    )


if __name__ == "__main__":
    main()
