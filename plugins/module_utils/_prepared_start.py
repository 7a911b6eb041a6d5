# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start a module that an earlier call left on this host. Private to this collection.

``_prepared`` of the controller sends this file's text with a call of ``start`` behind it, so it stands alone, and
imports what it needs where it needs it: all of it is in the downtime.
"""

from __future__ import annotations

import os
import stat
import sys

MISSING = '{"changeops_prepared": false}'  # said instead of a result: send the archive as well
FORGOTTEN = 30 * 86400  # seconds after which the modules of another version go


def own(path: str) -> bool:
    """Whether a directory belongs to this account or to root and nobody else may write there."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid in (0, os.geteuid()) and not found.st_mode & 0o022


def places(state_dir: str, key: str) -> list[str]:
    """Where modules may lie, the best first: in the state directory of the run, which may be another account's, and in
    that of this account."""
    bases = [os.path.expanduser(state_dir)] if state_dir else []
    if os.geteuid() != 0:
        base = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
        bases.append(os.path.join(base, "changeops"))
    elif not bases:
        bases.append("/var/lib/changeops")
    return [os.path.join(base, "program", key) for base in bases if base[:1] == "/"]


def trusted(place: str) -> bool:
    """Whether what lies there can have come from nobody but this account or root."""
    program = os.path.dirname(place)
    return own(os.path.dirname(program)) and own(program) and own(place)


def unpack(archive: bytes, place: str) -> None:
    """Write what the archive has and the place has not, whole files only, the module last."""
    import io
    import zipfile

    with zipfile.ZipFile(io.BytesIO(archive)) as packed:
        for name in sorted(packed.namelist(), key=lambda name: ("/plugins/modules/" in name, name)):
            path, content = os.path.join(place, name), packed.read(name)
            try:
                with open(path, "rb") as file:
                    if file.read() == content:
                        continue
            except OSError:
                os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            part = f"{path}.{os.getpid()}"
            with open(part, "wb") as file:
                file.write(content)
            os.replace(part, path)


def keep(archive: bytes, place: str) -> bool:
    """Put the modules there and take away those of versions that were not used for long; whether that worked."""
    import shutil
    import time

    program = os.path.dirname(place)
    umask = os.umask(0o022)
    try:
        for folder, mode in ((os.path.dirname(program), 0o711), (program, 0o700), (place, 0o700)):
            if not os.path.isdir(folder):
                os.makedirs(folder, mode=mode)
        if not trusted(place):
            return False
        unpack(archive, place)
        os.utime(place)
        for other in os.listdir(program):
            path = os.path.join(program, other)
            if path != place and time.time() - os.lstat(path).st_mtime > FORGOTTEN:
                shutil.rmtree(path, ignore_errors=True)
    except OSError:
        return False
    finally:
        os.umask(umask)
    return True


def socket_in(point: str) -> str:
    """Where the process of this account listens that runs modules of the run with that restore point."""
    return os.path.join(point, f"server-{os.geteuid()}.sock")


def ask(point: str, request: dict[str, str]) -> int | None:
    """Let the process that listens there run the module, with this one's output; its exit code.

    None where nobody listens, or another account or version does: nothing was started then.
    """
    server = socket_in(point)
    if not os.path.exists(server):
        return None
    import array
    import json
    import socket

    try:
        folder = os.open(point, os.O_RDONLY)
    except OSError:
        return None
    umask = os.umask(0o077)
    os.umask(umask)
    data = json.dumps({**request, "environ": dict(os.environ), "cwd": os.getcwd(), "umask": umask}).encode()
    with socket.socket(socket.AF_UNIX) as line:
        try:
            # through the directory, since the path of a socket may have 107 bytes
            line.connect(f"/proc/self/fd/{folder}/{os.path.basename(server)}")
            line.sendmsg([b"%16d" % len(data)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [1, 2]))])
            line.sendall(data)
            if not line.recv(1):
                return None
        except OSError:
            return None
        finally:
            os.close(folder)
        ended = line.recv(1)
    return ended[0] if ended else 1


def start(
    state_dir: str, key: str, module: str, params: str, profile: str, archive: str, point: str, leave: bool
) -> None:
    """Run a module, in this process as Ansible's own wrapper does, or in one that has all of it in memory.

    :arg state_dir: the run's state directory, empty for this account's own. :arg key: names version and content.
    :arg module: its full name. :arg params: its options as JSON. :arg profile: how Ansible reads and writes that.
    :arg archive: the module with all that it imports, as a zip archive in base64; empty to use what is there.
    :arg point: the restore point where a process may listen that runs it; empty for none.
    :arg leave: leave the module on this host, and in a phase of a run (CHANGEOPS_RUN is set) such a process where
        there is none. Check mode leaves nothing.
    """
    try:
        os.getcwd()
    except OSError:
        os.chdir("/")
    if point:
        code = ask(point, {"key": key, "module": module, "params": params, "profile": profile})
        if code is not None:
            raise SystemExit(code)
    sys.path[:] = [path for path in sys.path if path not in ("", ".")]
    file = module.replace(".", os.sep) + ".py"
    found = [place for place in places(state_dir, key) if trusted(place)]
    place = next((place for place in found if os.path.exists(os.path.join(place, file))), "")
    temporary = ""
    if not place and not archive:
        sys.stdout.write(MISSING + "\n")
        return
    if not place:
        import base64

        content = base64.b64decode(archive)
        place = next((place for place in places(state_dir, key) if leave and keep(content, place)), "")
        if not place:
            import tempfile

            place = temporary = tempfile.mkdtemp(prefix="changeops-")
            unpack(content, place)
    sys.path.insert(0, place)
    sys.dont_write_bytecode = bool(temporary) or not leave
    if point and leave and not temporary and os.environ.get("CHANGEOPS_RUN"):
        from ansible_collections.changeops.rollback.plugins.module_utils._prepared_server import listen

        listen(socket_in(point), place, key)
    try:
        from ansible.module_utils._internal._ansiballz import _loader

        _loader.run_module(
            json_params=params.encode(), profile=profile, module_fqn=module, modlib_path=place, extensions={}
        )
    finally:
        if temporary:
            import shutil

            shutil.rmtree(temporary, ignore_errors=True)
