# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a module that lies on the host already. Private to this collection.

Ansible packs a module with all that it imports, sends that, and has the host compile it, anew for each task: the larger
part of what a task costs, and most of the tasks of a phase are in the downtime. Here the first call leaves the module
in ``<state dir>/program``; later ones, in this run and the next, send its options only. Where there is no pipelining,
and so a module is a file and not what Python reads, Ansible's own way is gone.
"""

from __future__ import annotations

import hashlib
import json
import re
import typing as t
from pathlib import Path

from ansible.errors import AnsibleError
from ansible.executor.interpreter_discovery import InterpreterDiscoveryRequiredError
from ansible.executor.module_common import _BuiltModule, _get_shebang
from ansible.module_utils.common.json import Direction, get_module_encoder
from ansible.plugins.action import ActionBase
from ansible.release import __version__

from ..module_utils import _prepared_start
from ..module_utils._restore_point import STANDALONE

PLUGINS = Path(__file__).resolve().parents[1]
NAMES = "ansible_collections.changeops.rollback.plugins.modules."
START = Path(_prepared_start.__file__).read_text()
PROFILE = "legacy"
ARCHIVE = re.compile(rb"zip_data='([A-Za-z0-9+/=]*)'")


def fingerprint() -> str:
    """What names the modules as they are: another version of them, or of Ansible, is another place on the host."""
    digest = hashlib.sha256(__version__.encode())
    for folder in ("modules", "module_utils"):
        for path in sorted((PLUGINS / folder).glob("*.py")):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


KEY = fingerprint()  # once, in the process that all workers are forked from


def script(shebang: str, **values: str | bool) -> bytes:
    """What Python reads on the host: the file ``_prepared_start`` and a call of its ``start``."""
    return f"{shebang}\n{START}\n\nstart(**{values!r})\n".encode()


class PreparedAction(ActionBase):
    """Has ``run_prepared``, which takes the place of Ansible's ``_execute_module``."""

    _lean = False  # whether no more than the options is sent
    _point = ""  # the run's restore point, where a process may listen that runs it

    def run_prepared(self, args: dict[str, t.Any], variables: dict[str, t.Any]) -> dict[str, t.Any]:
        """Run the module with ``args``; returns its result."""
        if not self._is_pipelining_enabled("new", bool(self._task.async_val)):
            return t.cast("dict[str, t.Any]", self._execute_module(module_args=args, task_vars=variables))
        self._lean, self._point = True, self.run_point(args)
        done = self._execute_module(module_args=dict(args), task_vars=variables)
        if "changeops_prepared" in done:
            self._lean = False
            done = self._execute_module(module_args=args, task_vars=variables)
        return t.cast("dict[str, t.Any]", done)

    def run_point(self, args: dict[str, t.Any]) -> str:
        """The run's restore point, of which the options name the phase's part; empty where they name none."""
        part = Path(str(args.get("restore_point") or ""))
        return str(part.parent) if part.is_absolute() and part.parent.name != STANDALONE else ""

    def _configure_module(
        self, module_name: str, module_args: dict[str, t.Any], task_vars: dict[str, t.Any]
    ) -> tuple[_BuiltModule, str]:
        leaf = module_name.rpartition(".")[2]
        path, archive = str(PLUGINS / "modules" / f"{leaf}.py"), ""
        host_vars = task_vars
        if self._task.delegate_to:
            host_vars = task_vars["ansible_delegated_vars"][self._task.delegate_to]
        if self._lean:
            local = bool(getattr(self._connection, "_remote_is_local", False))
            try:
                shebang, _interpreter = _get_shebang("/usr/bin/python", host_vars, self._templar, remote_is_local=local)
            except InterpreterDiscoveryRequiredError:
                self._lean = False
        if not self._lean:
            built, path = super()._configure_module(module_name, module_args, task_vars)
            pipelined = self._is_pipelining_enabled("new", bool(self._task.async_val))
            found = ARCHIVE.search(built.b_module_data) if pipelined else None
            if not found:
                return built, path
            shebang, archive = built.shebang, found[1].decode()
        encoder = get_module_encoder(PROFILE, Direction.CONTROLLER_TO_MODULE)
        try:
            params = json.dumps({"ANSIBLE_MODULE_ARGS": module_args}, cls=encoder)
        except TypeError as exc:
            raise AnsibleError(f"The options of {module_name} cannot be sent: {exc}") from exc
        state_dir = str(self._templar.template(task_vars.get("rollback_state_dir", "")) or "")
        values = {"state_dir": state_dir, "key": KEY, "module": NAMES + leaf, "params": params, "profile": PROFILE}
        data = script(shebang, **values, archive=archive, point=self._point, leave=not self._task.check_mode)
        bits = _BuiltModule(b_module_data=data, module_style="new", shebang=shebang, serialization_profile=PROFILE)
        return bits, path


class ModuleAction(PreparedAction):
    """Runs the module of the task with its options as they are."""

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Run it with the options of the task; as for every action plugin."""
        result = super().run(None, task_vars)
        return dict(result, **self.run_prepared(dict(self._task.args), task_vars or {}))
