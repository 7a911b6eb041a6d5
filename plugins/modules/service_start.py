#!/usr/bin/python
# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: service_start
short_description: Start an app's services again and see that they stay up
version_added: 0.1.0
author: changeops.rollback contributors (@changeops)
description:
  - Starts services in REVERSE of the order given, each when the one before is up, that is running with its ports
    accepting connections, and watches all of them for O(stays_up) seconds.
  - In a run only those are started that ran when O(step=preflight) looked, or that had failed then, which is what a
    bad release often does. What was stopped on purpose stays stopped.
  - Alone, without O(restore_point), it starts all that are listed, with their enabled sockets, timers and paths.
  - In a run it first notes where the logs end that M(changeops.rollback.verify) reads from there on.
  - Units of systemd that M(changeops.rollback.service_stop) kept from being started may be started again. When all are
    up, the host is undrained (O(undrain)).
  - One task starts all of them, whatever manages them, so that a rollback's downtime has one remote task for it;
    M(ansible.builtin.service) would need one for each and does not see whether they stay up.
  - O(step=recover) stops what O(step=main) started, so that the earlier phases can be put back, and drains first where
    O(step=main) had undrained.
seealso:
  - module: changeops.rollback.service_stop
extends_documentation_fragment:
  - changeops.rollback.phase
  - changeops.rollback.services
  - changeops.rollback.services.drain
options:
  stays_up:
    description: Seconds that the services must stay up, with the same processes, after the last of them has come up.
    type: float
    default: 1.0
"""

EXAMPLES = r"""
---
- name: Start the worker, then the web app
  changeops.rollback.service_start:
    services:
      - name: shop-web
        manager: systemd
        port: 8080
      - name: shop-worker
        manager: supervisord
        config: /srv/shop/supervisord.conf
    stays_up: 3
    drain:
      - [touch, /srv/shop/maintenance]
    undrain:
      - [rm, -f, /srv/shop/maintenance]
"""

RETURN = r"""
msg:
  description: What was done, or what is to be done, in a sentence.
  returned: always
  type: str
  sample: Started shop-worker then shop-web; up and staying up after 2.9 s.
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
  sample: {services: {shop-web: running}, pids: {shop-web: [4805]}}
started:
  description: The services that were started, or in check mode would be, in that order.
  returned: for O(step=main)
  type: list
  elements: str
  sample: [shop-worker, shop-web]
stopped:
  description: The services that were stopped, in that order.
  returned: for O(step=recover)
  type: list
  elements: str
  sample: [shop-web, shop-worker]
service:
  description: The service that could not be started or stopped.
  returned: failure of a service
  type: str
  sample: shop-web
log:
  description: The last lines of the log of a service that did not come up or stay up, without secrets.
  returned: failure to start
  type: list
  elements: str
  sample: ["ModuleNotFoundError: No module named 'shop'"]
left:
  description: Processes of the service that are still there.
  returned: failure to stop within the timeout
  type: list
  elements: int
  sample: [4805]
"""

from ansible_collections.changeops.rollback.plugins.module_utils._phase import run_module
from ansible_collections.changeops.rollback.plugins.module_utils._service_drain import DRAIN_ARGUMENTS
from ansible_collections.changeops.rollback.plugins.module_utils._service_start import (
    start_main,
    start_preflight,
    start_recover,
)
from ansible_collections.changeops.rollback.plugins.module_utils._services import SERVICES_ARGUMENT


def main():
    """Start services."""
    run_module(
        {"services": SERVICES_ARGUMENT, "stays_up": {"type": "float", "default": 1.0}, **DRAIN_ARGUMENTS},
        start_preflight,
        start_main,
        start_recover,
        subject=lambda params: " ".join(item["name"] for item in params["services"]),
        phase="service_start",
    )


if __name__ == "__main__":
    main()
