# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps what a host answers over ssh, with how long it took, or gives those answers in the place of hosts.

BENCH_KEEP names the file to write, which is for one host. BENCH_GIVE names the one to read: then nothing is connected,
each host gets the answers in their order, each after the time it took, and whoever asks for something else fails.
BENCH_PLACE is a directory that knows how far each host is.
"""

from __future__ import annotations

import json
import os
import re
import time
import typing as t
from pathlib import Path

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.callback import CallbackBase
from ansible.plugins.connection.ssh import Connection

MODULE = re.compile(rb"module_fqn=['\"]([\w.]+)['\"]|AnsiballZ_(\w+)")


def asked(what: str, cmd: str, data: bytes | None) -> str:
    """What is asked of a host, as far as it is the same in each run: the module, else only that it is a command."""
    found = MODULE.search((data or b"")[:1_000_000]) or MODULE.search(cmd.encode())
    return f"{what} {(found[1] or found[2]).decode() if found else ''}".strip()


def _keep(what: str, real: t.Callable[..., t.Any], file: Path) -> t.Callable[..., t.Any]:
    def kept(self: Connection, cmd: str, *args: t.Any, **kwargs: t.Any) -> t.Any:
        data = kwargs.get("in_data") or (args[0] if args and what == "exec" else None)
        began = time.monotonic()
        answer = real(self, cmd, *args, **kwargs)
        seconds = time.monotonic() - began
        said = [answer[0], answer[1].decode(), answer[2].decode()] if what == "exec" else None
        with file.open("a") as out:
            out.write(json.dumps({"asked": asked(what, cmd, data), "answer": said, "seconds": seconds}) + "\n")
        return answer

    return kept


def _give(what: str, answers: list[dict[str, t.Any]], place: Path) -> t.Callable[..., t.Any]:
    def given(self: Connection, cmd: str, *args: t.Any, **kwargs: t.Any) -> t.Any:
        data = kwargs.get("in_data") or (args[0] if args and what == "exec" else None)
        file = place / str(self._play_context.remote_addr)
        number = int(file.read_text()) if file.exists() else 0
        file.write_text(str(number + 1))
        here = asked(what, cmd, data)
        known = answers[number] if number < len(answers) else {"asked": "nothing more"}
        if known["asked"] != here:
            raise AnsibleConnectionFailure(
                f"Number {number + 1} is {here}; the host that was kept was asked: {known['asked']}"
            )
        time.sleep(known["seconds"])
        code, out, err = known["answer"] or (0, "", "")
        return code, out.encode(), err.encode()

    return given


class CallbackModule(CallbackBase):
    """Puts that into Ansible's ssh, before there are workers."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "bench_answers"

    def __init__(self) -> None:
        super().__init__()
        keep, give = os.environ.get("BENCH_KEEP"), os.environ.get("BENCH_GIVE")
        answers = [json.loads(line) for line in Path(give).read_text().splitlines()] if give else []
        for what in ("exec", "put", "fetch"):
            name = "exec_command" if what == "exec" else f"{what}_file"
            if keep:
                setattr(Connection, name, _keep(what, getattr(Connection, name), Path(keep)))
            elif give:
                setattr(Connection, name, _give(what, answers, Path(os.environ["BENCH_PLACE"])))
