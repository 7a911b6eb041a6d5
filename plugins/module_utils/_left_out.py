# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where hosts are that take no part in a run, as this host knows it. Private to this collection."""

from __future__ import annotations

import ipaddress
import socket
import time
import typing as t


def addresses_of(hosts: t.Mapping[str, str], seconds: float = 5.0) -> dict[str, list[str]]:
    """The addresses of hosts, given an address or a name of each, as far as they can be found out in ``seconds``.

    An address that means each machine by itself tells nothing.
    """
    found, until = {}, time.monotonic() + seconds
    for host, name in hosts.items():
        if time.monotonic() > until:
            break
        try:
            answers = socket.getaddrinfo(name, None, proto=socket.IPPROTO_TCP)
        except (OSError, UnicodeError):
            continue
        known = {str(answer[4][0]).partition("%")[0] for answer in answers}
        outside = sorted(address for address in known if not ipaddress.ip_address(address).is_loopback)
        found.update({host: outside} if outside else {})
    return found
