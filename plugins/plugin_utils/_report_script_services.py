# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The services of an app as functions of the break-glass script. Private."""

from __future__ import annotations

import typing as t

from ._report_shell import Values, word, words


def service_lines(number: int, service: Values) -> list[str]:
    """``known_N``, ``runs_N``, ``start_N``, ``stop_N``, and ``up_N``, which waits for its ports."""
    manager = service.get("manager") or "service"
    make = {"supervisord": _supervisord, "command": _command}.get(manager, _unit)
    verbs = make(service, manager)
    address = word(service.get("address") or "127.0.0.1")
    ports = [int(port) for port in [service.get("port"), *(service.get("ports") or [])] if port]
    free = [
        f"wait_for 30 not port_open {address} {word(port)} || die {word(f'Port {port} is still in use.')}"
        for port in ports
    ]
    up = [
        f"wait_for 60 port_open {address} {word(port)} || die {word(f'Nothing answers on port {port}.')}"
        for port in ports
    ]
    bodies = {
        "known": verbs["known"],
        "runs": verbs["runs"],
        "start": verbs["start"],
        "stop": [
            *verbs["stop"],
            f"wait_for 60 not runs_{number} || die {word(service['name'] + ' still runs.')}",
            *free,
        ],
        "up": up or [":"],
    }
    lines = []
    for verb, body in bodies.items():
        lines += ["", f"{verb}_{number}() {{", *(f"  {line}" for line in body), "}"]
    return lines


def _supervisord(service: Values, _manager: str) -> dict[str, list[str]]:
    argv = [
        service.get("supervisorctl") or "supervisorctl",
        *(["-c", service["config"]] if service.get("config") else []),
    ]
    control, name = words(argv), word(service["name"])
    states = "RUNNING|STARTING|STOPPING|BACKOFF"
    said = f"said=$({control} status {name} 2>&1) || true"
    known = f'[[ $said =~ ({states}|STOPPED|EXITED|FATAL|UNKNOWN) ]] || die "supervisord says: $said"'
    return {
        "known": ["local said", said, known],
        "runs": ["local said", said, f"[[ $said =~ [[:space:]]({states})([[:space:]]|$) ]]"],
        "start": [f"{control} start {name}"],
        "stop": [f"{control} stop {name}"],
    }


def _command(service: Values, _manager: str) -> dict[str, list[str]]:
    status = words(service["status"])
    if service.get("running_when") == "output":
        runs = [
            "local said",
            f"said=$({status}) || die {word('The status command of ' + service['name'] + ' failed.')}",
            "[[ -n $said ]]",
        ]
    else:
        runs = [f"{status} > /dev/null 2>&1"]
    program = str(service["start"][0])
    return {
        "known": [f"command -v {word(program)} > /dev/null || die {word(f'There is no program {program}.')}"],
        "runs": runs,
        "start": [f'(umask "$USUAL_UMASK" && {words(service["start"])})'],
        "stop": [words(service["stop"])],
    }


def _unit(service: Values, manager: str) -> dict[str, list[str]]:
    """A unit of systemd; with the manager ``service``, on a host without systemd, an init script."""
    name = word(service["name"])
    control = "systemctl --user" if service.get("scope") == "user" else "systemctl"
    runtime = (
        ['export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-/run/user/$(id -u)}"'] if service.get("scope") == "user" else []
    )
    pattern = any(sign in service["name"] for sign in "*?[")
    units = f'"$KEPT"/units-{name}'
    verbs: dict[str, t.Any] = {
        "known": [f"{control} cat {name} > /dev/null" if not pattern else ":"],
        "runs": [
            f"grep -Eq '^(active|activating|reloading|deactivating)' <<< \"$({control} is-active {name} || true)\""
        ],
        # The instances of a pattern are noted, because systemd forgets those that are stopped.
        "start": [f"{control} start {name}" if not pattern else f"xargs -r {control} start < {units}"],
        "stop": [f"{control} stop {name}"],
    }
    if pattern:
        listing = f"{control} list-units --plain --no-legend --state=active {name} | awk '{{print $1}}' > {units}"
        verbs["stop"].insert(0, f"[[ -e {units} ]] || {listing}")
    if manager == "systemd":
        return {verb: runtime + lines for verb, lines in verbs.items()}
    script = {
        "known": f"[[ -e /etc/init.d/{name} ]]",
        "runs": f"service {name} status > /dev/null 2>&1",
        "start": f"service {name} start",
        "stop": f"service {name} stop",
    }
    return {
        verb: [
            *runtime,
            "if [[ -d /run/systemd/system ]]; then",
            *(f"  {line}" for line in lines),
            "else",
            f"  {script[verb]}",
            "fi",
        ]
        for verb, lines in verbs.items()
    }
