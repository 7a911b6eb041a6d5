# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long an app was away, as its users see it: each host is asked every 20 ms.

While the app answers it is asked for a page that it does not have, which costs it least, and any answer counts: the bad
release calls itself unhealthy all the time. From the first request without an answer on it is asked for /health, and is
there again with the first 200.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
import typing as t

INTERVAL = 0.02
PATIENCE = 2.0  # seconds that an answer may take
Outage = tuple[float, float | None]  # when it began and ended


async def ask(address: str, port: int, path: str) -> int:
    """The HTTP status that the app answers with, 0 for none."""
    writer = None
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection(address, port)
            writer.write(f"GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n".encode())
            return int((await reader.readline()).split()[1])
    except (OSError, TimeoutError, IndexError, ValueError):
        return 0
    finally:
        if writer:
            writer.close()


async def watch(address: str, port: int, ready: asyncio.Event, outages: list[list[float | None]]) -> None:
    """Note each outage of the app, from when it has answered once."""
    while not await ask(address, port, "/"):
        await asyncio.sleep(INTERVAL)
    ready.set()
    down = False
    while True:
        asked = time.monotonic()
        status = await ask(address, port, "/health" if down else "/")
        if not down and not status:
            outages.append([asked, None])
        elif down and status == 200:
            outages[-1][1] = time.monotonic()
        down = bool(outages) and outages[-1][1] is None
        await asyncio.sleep(max(0.0, asked + INTERVAL - time.monotonic()))


async def serve(port: int, addresses: t.Sequence[str]) -> None:
    """Watch apps until the input ends; says ``ready`` when all have answered, and in the end their outages."""
    with contextlib.suppress(PermissionError):
        os.nice(-5)  # a late look would lengthen every outage
    seen: dict[str, list[list[float | None]]] = {address: [] for address in addresses}
    ready = [asyncio.Event() for _address in addresses]
    tasks = [
        asyncio.create_task(watch(address, port, event, seen[address]))
        for address, event in zip(addresses, ready, strict=True)
    ]
    for event in ready:
        await event.wait()
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for task in tasks:
        task.cancel()
    print(json.dumps(seen), flush=True)


def downtime(outages: t.Sequence[t.Sequence[float | None]]) -> float | None:
    """Seconds of all outages of a host together; None where the last has not ended."""
    total = 0.0
    for began, ended in outages:
        if ended is None or began is None:
            return None
        total += ended - began
    return total


@contextlib.contextmanager
def probe(port: int, addresses: t.Sequence[str]) -> t.Iterator[dict[str, float | None]]:
    """Watch hosts in the block; what is yielded has the downtime of each, by address, when the block has ended."""
    found: dict[str, float | None] = {}
    argv = [sys.executable, __file__, str(port), *addresses]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            if process.stdout.readline() != "ready\n":
                raise AssertionError("the probe ended before all hosts had answered")
            yield found
            out, _err = process.communicate(timeout=30)
            found.update({address: downtime(outages) for address, outages in json.loads(out).items()})
        finally:
            process.kill()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2:]))
