# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The break-glass script on the sample app: it ends as the playbook does, and what it says brings the app back."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from harness import BIN, Ops, Shop, assert_rolled_back


def written(ops: Ops) -> Path:
    """The script that the report has of the ops repository's plan, which ShellCheck has nothing to say about."""
    assert ops.run("changeops.rollback.report", "-e", "change=C001").returncode == 0
    path = ops.root / "reports" / "rollback-c001.sh"
    assert os.access(path, os.X_OK)
    done = subprocess.run([BIN / "shellcheck", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    return path


def run(command: str, ops: Ops) -> subprocess.CompletedProcess[str]:
    """Type a command where nobody can answer a question."""
    cache = subprocess.check_output([BIN / "uv", "cache", "dir"], text=True).strip()
    environ = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    done = subprocess.run(
        command,
        shell=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**environ, "HOME": str(ops.root), "UV_CACHE_DIR": cache},
        timeout=300,
        check=False,
    )
    print(done.stdout)
    return done


def test_it_stops_gets_back_and_ends_as_the_playbook(ops: Ops, shop: Shop) -> None:
    ops.group_vars["verify_stays_healthy"] = 0.5
    ops.write()
    before = shop.state()
    path = written(ops)
    shown = run(f"bash {path} --dry-run", ops)
    assert shown.returncode == 0 and "downgrade 8ae1f0c2 51b7d9aa" in shown.stdout
    assert "--yes" in run(f"bash {path}", ops).stdout
    assert shop.state() == before

    ops.flag.write_text("verify")
    failed = run(f"bash {path} --yes", ops)
    assert failed.returncode == 1
    assert "stopped in phase 7, verify" in failed.stdout
    assert shop.revision() == "51b7d9aa"
    (advice,) = re.findall(r"This does all of it:\n +(.+)", failed.stdout)
    back = run(f"{advice} --yes", ops)
    assert back.returncode == 0
    assert shop.state() == before

    ops.flag.unlink()
    assert run(f"bash {path} --yes", ops).returncode == 0
    assert_rolled_back(shop, before)
    by_script = shop.state()
    again = run(f"bash {path} --yes", ops)
    assert again.returncode == 0 and "only verified" in again.stdout
    assert shop.state() == by_script
    assert ops.rollback().returncode == 0, "Ansible does not take it as done"
    assert shop.state() == by_script

    assert run(f"bash {path} --back --yes", ops).returncode == 0
    assert shop.state() == before
    assert ops.rollback().returncode == 0
    assert shop.state() == by_script
