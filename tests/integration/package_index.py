# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A package index and an npm registry on this machine, with tiny packages, which can be taken away."""

from __future__ import annotations

import base64
import hashlib
import http.server
import io
import json
import tarfile
import threading
import typing as t
import zipfile


def wheel(name: str, version: str) -> bytes:
    """A package with a module and a script, both of which say the version."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"VERSION = '{version}'\n\n\ndef main():\n    print(VERSION)\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n",
    }
    record = "".join(f"{path},sha256={_digest(text)},{len(text)}\n" for path, text in files.items())
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for path, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(zipfile.ZipInfo(path), text)
    return out.getvalue()


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def node_package(name: str, version: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for path, text in {
            "package/package.json": json.dumps(
                {"name": name, "version": version, "main": "index.js", "bin": "index.js"}
            ),
            "package/index.js": f"#!/usr/bin/env node\nconsole.log('{version}')\n",
        }.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(text), 0o755
            archive.addfile(entry, io.BytesIO(text.encode()))
    return out.getvalue()


class Index:
    """Serves /simple/ (PyPI's) and /npm/ on the loopback until it is closed."""

    def __init__(self, packages: t.Iterable[tuple[str, str]]) -> None:
        packages = list(packages)
        self.wheels = {f"{name}-{version}-py3-none-any.whl": wheel(name, version) for name, version in packages}
        self.tarballs = {f"{name}-{version}.tgz": node_package(name, version) for name, version in packages}
        index = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = index.answer(self.path.strip("/"))
                self.send_response(200 if found else 404)
                self.send_header("Content-Type", found[0] if found else "text/plain")
                self.send_header("Content-Length", str(len(found[1]) if found else 0))
                self.end_headers()
                self.wfile.write(found[1] if found and self.command == "GET" else b"")

            do_HEAD = do_GET

            def log_message(self, *args: t.Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def sha256(self, name: str, version: str) -> str:
        return hashlib.sha256(self.wheels[f"{name}-{version}-py3-none-any.whl"]).hexdigest()

    def answer(self, path: str) -> tuple[str, bytes] | None:
        """Content type and content of what lies at ``path``; None where nothing does."""
        kind, _slash, name = path.partition("/")
        if kind == "files":
            content = self.wheels.get(name) or self.tarballs.get(name)
            return ("application/octet-stream", content) if content else None
        if kind == "simple":
            links = [
                f'<a href="{self.url}/files/{file}#sha256={hashlib.sha256(content).hexdigest()}">{file}</a>'
                for file, content in self.wheels.items()
                if file.startswith(f"{name}-")
            ]
            return (
                ("text/html", f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>".encode()) if links else None
            )
        versions = {}
        for file, content in self.tarballs.items():
            package, version = file[: -len(".tgz")].rsplit("-", 1)
            if package == name:
                integrity = "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()
                dist = {"tarball": f"{self.url}/files/{file}", "integrity": integrity}
                versions[version] = {"name": name, "version": version, "bin": "index.js", "dist": dist}
        found = {"name": name, "versions": versions, "dist-tags": {"latest": max(versions, default="")}}
        return ("application/json", json.dumps(found).encode()) if kind == "npm" and versions else None

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
