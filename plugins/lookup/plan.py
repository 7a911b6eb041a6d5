# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lookup changeops.rollback.plan."""

from __future__ import annotations

DOCUMENTATION = r"""
name: plan
short_description: Load and check the rollback plan of a change
version_added: 1.0.0
description:
  - Finds the YAML file that describes how a change is rolled back, checks all of it, and returns it as a dictionary.
  - Every fault is reported at once, with the file, the line and the words to type instead.
  - The plan of change V(C001) is C(C001.yml) or C(C001.yaml) in O(changes_dir). Without that option it is in
    C(changes/) beside the inventory or the inventory's folder, else beside the playbook, else in the current directory.
author:
  - changeops.rollback contributors (@changeops)
options:
  _terms:
    description:
      - ID of the change. It begins with a letter, then come letters, digits, V(.), V(_) and V(-), 64 at most.
      - Without one, or with an empty one, the lookup fails and names the plans that exist.
    type: list
    elements: raw
    required: true
  want:
    description:
      - V(plan) gives the checked plan, also that of a change which cannot be rolled back.
      - V(hosts) gives the hosts of the plan and of all its phases, for the C(hosts) keyword of a play.
      - V(hosts) fails, with a sentence, when the change cannot be rolled back, when the plan has no phases, when a
        pattern matches no host of the inventory, and when C(--limit) leaves none of the hosts.
      - It fails as well when C(--limit) leaves out one of the hosts that share a database, unless the plan says
        C(schema_compatible). Hosts share one where fewer of them downgrade it than have services stopped for it.
      - It fails as well when a plan with a database phase names a host that the inventory lacks, and in a job slice of
        AWX.
      - It warns of other hosts that C(--limit) leaves out, by name.
    type: str
    choices: [plan, hosts]
    default: plan
  changes_dir:
    description:
      - Folder where the plans are, instead of C(changes/). A relative path starts in the current directory.
      - Set the variable in C(group_vars/all) or with C(-e). In the C(hosts) keyword of a play there is no host yet, so
        Ansible knows no other group's variables there, and none that stand in the inventory file itself.
    type: str
    vars:
      - name: rollback_changes_dir
  slice:
    description: Which part of the hosts this is, such as V(2/3), of a run that several playbooks do side by side.
    type: str
    vars:
      - name: rollback_slice
notes:
  - Values of a plan are literals. Jinja in a plan is a fault.
  - YAML anchors may stand in a plan; aliases and tags may not. A plan has at most 1,000,000 bytes.
  - A number stays text when it would not be written the same way again, such as V(0123456), V(12:30:45) and V(1.10).
  - Below keys of C(vars) with the word C(commit), C(commits), C(revision), C(revisions), C(from) or C(to) in their
    name, every number stays text. So a commit hash of digits needs no quotes.
"""

EXAMPLES = r"""
- name: Roll a change back on the hosts that its plan names
  hosts: "{{ lookup('changeops.rollback.plan', change | default(''), want='hosts') }}"
  gather_facts: false
  roles:
    - changeops.rollback.run

- name: Show how much a rollback asks for
  hosts: localhost
  gather_facts: false
  vars:
    plan: "{{ lookup('changeops.rollback.plan', 'C001') }}"
  tasks:
    - name: Show the complexity and the phases of C001
      ansible.builtin.debug:
        msg: "{{ plan.title }}: {{ plan.complexity }}, {{ plan.phases | map(attribute='name') | join(', ') }}"
"""

RETURN = r"""
_raw:
  description:
    - One dictionary for each change, or with O(want=hosts) one string of host names with commas between them.
    - Keys that the file leaves out have their default.
    - C(batches) are the hosts of the play, split as C(serial) asks for; outside a play there are none.
    - C(host_names) are those of them that the pattern of a phase, its C(hosts), matches; in a slice, of all slices.
    - C(slices) is how many slices there are; V(0) where one playbook does all hosts.
    - C(left_out) are hosts of phases that C(--limit) leaves out, each with the address by which Ansible reaches it.
  type: list
  elements: raw
  sample:
    - change: C001
      title: Add invoice totals
      date: "2026-11-20"
      implemented_by: Dana Ng
      hosts: shop
      possible: true
      reason: ""
      method: automated
      accept_loss: []
      require_rehearsal:
      schema_compatible: false
      serial: [1, 25%]
      batches: [[web1], [web2, web3], [web4, web5]]
      slices: 0
      left_out: {web6: 10.0.0.16}
      risks:
        - issue: Totals entered since the release are lost
          mitigation: Lost columns are exported first
      on_failure: recover
      timeout: 1800
      path: /home/dana/ops/changes/C001.yml
      digest: 4b2a6e0c7d0f6c1bb3a1f1a1cf0b7f6b3cc1a0c4b7e2a1d0f9e8d7c6b5a49382
      estimate: 120
      complexity: simple
      accounts:
        - {become: true, become_user: shop, hosts: shop, phases: [1-git_revert]}
      commits: [4f1c2e9]
      code_first: false
      phases:
        - index: 1
          id: 1-git_revert
          name: git_revert
          role: changeops.rollback.git_revert
          hosts: shop
          host_names: [web1, web2, web3, web4, web5]
          vars: {git_revert_commits: [4f1c2e9]}
          estimate: 120
          timeout:
          become: true
          become_user: shop
          environment: {}
          steps: [preflight, main, recover, close]
"""

import os
import typing as t
from pathlib import Path

from ansible import context
from ansible.errors import AnsibleError
from ansible.inventory.group import Group
from ansible.inventory.manager import InventoryManager, split_host_pattern
from ansible.plugins.loader import vars_loader
from ansible.plugins.lookup import LookupBase
from ansible.utils.collection_loader._collection_finder import _get_collection_role_path
from ansible.utils.display import Display
from ansible_collections.changeops.rollback.plugins.plugin_utils._awx import slice_of
from ansible_collections.changeops.rollback.plugins.plugin_utils._batches import split
from ansible_collections.changeops.rollback.plugins.plugin_utils._plan import Plan, find_plan, near
from ansible_collections.changeops.rollback.plugins.plugin_utils._plan_check import load_plan
from ansible_collections.changeops.rollback.plugins.plugin_utils._plan_yaml import PlanError
from ansible_collections.changeops.rollback.plugins.plugin_utils._slices import part_of, share

display = Display()

STEPS = ("preflight", "rehearse", "main", "can_recover", "can_undo", "recover", "undone", "close")


class LookupModule(LookupBase):
    def run(self, terms: list[t.Any], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[t.Any]:
        variables = variables or {}
        self.set_options(var_options=variables, direct=kwargs)
        want = self.get_option("want")
        if want == "hosts" and not any(terms) and context.CLIARGS.get("syntax"):
            # A syntax check, also that of ansible-lint, names no change and runs nothing.
            return ["all"]
        try:
            folders = self._directories(variables)
            plans = [self._plan(term, folders) for term in terms or [None]]
        except PlanError as error:
            many = f"The plan has {len(error.faults)} faults.\n" if len(error.faults) > 1 else ""
            raise AnsibleError(f"{many}{error}") from error
        if want == "plan":
            return [self._in_play(plan, variables) for plan in plans]
        return [self._hosts(plan, variables) for plan in plans]

    def _plan(self, change: t.Any, folders: t.Sequence[Path]) -> Plan:
        # An extra variable is a subclass of str that knows where it comes from.
        path = find_plan(str(change) if isinstance(change, str) else change, folders)
        return load_plan(path, _shown(path))

    def _directories(self, variables: dict[str, t.Any]) -> list[Path]:
        here = Path.cwd()
        sources = variables.get("ansible_inventory_sources") or []
        inventories = [Path(source) for source in sources if "," not in source]
        chosen = self._chosen(variables, [source if source.is_dir() else source.parent for source in inventories])
        if chosen:
            return [Path(os.path.normpath(here / Path(chosen).expanduser()))]
        folders = []
        for source in inventories:
            folders += [source.parent] if source.is_dir() else [source.parent, source.parent.parent]
        playbooks = Path(variables.get("playbook_dir") or here)
        if Path(__file__).parents[2] not in playbooks.parents:  # this collection's own hold no plans
            folders.append(playbooks)
        return list(dict.fromkeys(folder / "changes" for folder in [*folders, here]))

    def _chosen(self, variables: dict[str, t.Any], inventory_dirs: list[Path]) -> str:
        chosen, templar = self.get_option("changes_dir"), self._templar
        if not chosen and "inventory_hostname" not in variables:
            # In the hosts keyword of a play Ansible has not read group_vars yet.
            shared = self._group_vars(inventory_dirs, variables.get("playbook_dir") or ".")
            chosen = shared.get("rollback_changes_dir")
            templar = templar.copy_with_new_env(available_variables=shared | variables)
        return str(templar.template(chosen)) if chosen else ""

    def _group_vars(self, inventory_dirs: list[Path], playbook_dir: str) -> dict[str, t.Any]:
        values: dict[str, t.Any] = {"inventory_dir": str(inventory_dirs[0])} if inventory_dirs else {}
        files = vars_loader.get("host_group_vars")
        for folder in [*map(str, inventory_dirs), playbook_dir]:
            values |= files.get_vars(self._loader, folder, [Group("all")])
        return values

    def _hosts(self, plan: Plan, variables: dict[str, t.Any]) -> str:
        where = f"{plan.change} ({_shown(Path(plan.path))})"
        if not plan.possible:
            raise AnsibleError(f"{where} cannot be rolled back: {plan.reason}")
        if not plan.phases:
            raise AnsibleError(
                f"{where} has method {plan.method} and no phases, so there is nothing that a playbook could run. "
                "Follow the plan by hand, or give it phases: run_script for a script, manual_step for "
                "what a person does."
            )
        _with_steps(plan)  # a role that cannot be found is better said before the play than in it
        inventory = self._inventory(variables)
        # Each pattern on its own: in one list the `!db` of one would take hosts out of another.
        hosts: dict[str, None] = {}
        for pattern in plan.patterns:
            found = _match(inventory, pattern)
            if not found:
                there = _inventory_has(variables, pattern)
                raise AnsibleError(f"{where}: the pattern '{pattern}' matches no host. {there}")
            hosts.update(dict.fromkeys(found))
        if _changes_database(plan) and (partial := _partial(plan, inventory, variables)):
            raise AnsibleError(f"{where} changes a database, and {partial}")
        limit = variables.get("ansible_limit")
        try:
            if part := part_of(self.get_option("slice")):
                return ",".join(share(list(hosts), _hosts_of(plan, inventory, "alembic_downgrade"), part, limit))
        except ValueError as exc:
            raise AnsibleError(f"{where}: {exc}") from exc
        if limit:
            downgraded, served = _shared_database(plan, inventory)
            inventory.subset(limit)
            left = _match(inventory, ",".join(hosts))
            if not left:
                known = f"{_some(hosts)}. Limit the run to some of these."
                raise AnsibleError(f"--limit {limit} leaves none of the hosts of {where}: {known}")
            left_out = [host for host in hosts if host not in left]
            if set(left_out) & {*downgraded, *served}:
                reason = _torn(downgraded, served, left_out)
                raise AnsibleError(f"--limit {limit} leaves out {_some(left_out)} of {where}: {reason}")
            if left_out:
                display.warning(
                    f"--limit {limit} leaves out {_some(left_out)}: {plan.change} is not rolled back there."
                )
        return ",".join(hosts)

    def _in_play(self, plan: Plan, variables: dict[str, t.Any]) -> dict[str, t.Any]:
        values, hosts = _with_steps(plan), variables.get("ansible_play_hosts_all") or []
        inventory, part = self._inventory(variables), part_of(self.get_option("slice")) if hosts else None
        whole = dict.fromkeys(host for pattern in plan.patterns if part for host in _match(inventory, pattern))
        everyone = list(whole) or hosts
        mine, everywhere = set(hosts), dict[str, None]()
        for phase in values["phases"]:
            found = dict.fromkeys(_match(inventory, phase["hosts"]))
            phase["host_names"] = [host for host in everyone if host in found]
            everywhere |= found
        left_out = _left_out(everywhere, hosts, variables) if variables.get("ansible_limit") else {}
        batches = [[host for host in batch if host in mine] for batch in split(everyone, plan.serial)]
        return {**values, "batches": batches, "slices": part.total if part else 0, "left_out": left_out}

    def _inventory(self, variables: dict[str, t.Any]) -> InventoryManager:
        """Build an inventory of the groups that are known here, to match patterns against."""
        inventory = InventoryManager(self._loader, parse=False)
        for group, hosts in (variables.get("groups") or {}).items():
            inventory.add_group(group)
            for host in hosts:
                inventory.add_host(host, group=group)
        return inventory


def _with_steps(plan: Plan) -> dict[str, t.Any]:
    """Return the plan as a dictionary, each phase with the entry points that its role has."""
    values = plan.as_dict()
    for phase in values["phases"]:
        tasks = _role_path(phase["role"], plan) / "tasks"
        files = {path.stem for path in tasks.glob("*.y*ml")}
        phase["steps"] = [step for step in STEPS if step in files]
    return values


def _role_path(role: str, plan: Plan) -> Path:
    collection, _dot, name = role.rpartition(".")
    if collection == "changeops.rollback":
        return Path(__file__).parents[2] / "roles" / name
    found = _get_collection_role_path(role)
    if not found:
        raise AnsibleError(
            f"{_shown(Path(plan.path))}: there is no role {role} here. Mend its name in the plan, or install it: "
            f"ansible-galaxy collection install {collection}"
        )
    return Path(found[1])


def _hosts_of(plan: Plan, inventory: InventoryManager, name: str) -> list[str]:
    """Return the hosts of all phases of one of this collection's roles."""
    patterns = [phase.hosts for phase in plan.phases if phase.role == f"changeops.rollback.{name}"]
    return list(dict.fromkeys(host for pattern in patterns for host in _match(inventory, pattern)))


def _shared_database(plan: Plan, inventory: InventoryManager) -> tuple[list[str], list[str]]:
    """Return the hosts that downgrade a database, and those whose services are stopped for it.

    Both are empty where each of the latter downgrades its own, and where both releases run on both schemas.
    """
    downgraded, served = (_hosts_of(plan, inventory, name) for name in ("alembic_downgrade", "service_stop"))
    if plan.schema_compatible or not downgraded or set(served) <= set(downgraded):
        return [], []
    return downgraded, served


def _changes_database(plan: Plan) -> bool:
    return any(phase.role == "changeops.rollback.alembic_downgrade" for phase in plan.phases)


def _partial(plan: Plan, inventory: InventoryManager, variables: dict[str, t.Any]) -> str:
    """Say that the inventory has not all hosts of the plan, as far as that can be known; empty where it may."""
    template = slice_of(variables)
    if template:
        return (
            f"this job is a slice of template '{template}', with a part of the inventory only: apps on the other hosts "
            "would still use the database. Set the template's job slicing to 1. (A workflow that has the name of its "
            "template looks the same: rename it.)"
        )
    named = dict.fromkeys(part for pattern in plan.patterns for part in split_host_pattern(pattern))
    missing = [part for part in named if part[:1] not in ("!", "&") and not _match(inventory, part)]
    if not missing:
        return ""
    return (
        f"the inventory has no {_some(missing)}: apps there would still use it. Run it with an inventory that has all "
        "hosts of the plan, or take those that are gone out of the plan."
    )


def _torn(downgraded: list[str], served: list[str], left_out: list[str]) -> str:
    """Say what comes of it when a limit leaves out some of the hosts that share a database."""
    missed = [host for host in downgraded if host in left_out]
    if missed:
        harm = f"the database, which {_some(missed)} downgrades, would keep the newer schema under reverted code"
    else:
        apps = [host for host in served if host in left_out]
        harm = f"the database that {_some(served)} share would be downgraded while apps on {_some(apps)} still use it"
    return (
        f"{harm}. Run it without --limit; hosts that are rolled back already are only verified. Take a host that is "
        "gone out of the inventory. Where each release runs on either schema, say `schema_compatible: true` in "
        "the plan."
    )


def _left_out(found: t.Iterable[str], hosts: list[str], variables: dict[str, t.Any]) -> dict[str, str]:
    """Return those of ``found`` that are none of ``hosts``, with the address by which Ansible reaches each.

    One that has it in common with one of ``hosts`` is not told from that by its address, so it is not among them.
    """
    known = variables.get("hostvars") or {}

    def address(host: str) -> str:
        return str(known[host].get("ansible_host", host)) if host in known else host

    taken = {address(host) for host in hosts}
    return {host: address(host) for host in found if host not in hosts and address(host) not in taken}


def _match(inventory: InventoryManager, pattern: str) -> list[str]:
    try:
        return [host.name for host in inventory.get_hosts(pattern)]
    except AnsibleError:
        return []  # not a pattern that Ansible can read, so no host either


def _inventory_has(variables: dict[str, t.Any], pattern: str) -> str:
    groups = variables.get("groups") or {}
    if not groups.get("all"):
        return "The inventory has no hosts at all. Name one with -i, or in ansible.cfg."
    named = sorted(group for group in groups if group not in ("all", "ungrouped"))
    known = [*named, *groups["all"]]
    return f"Groups are {_some(named) or 'none'}; hosts are {_some(groups['all'])}.{near(pattern, known)}"


def _some(names: t.Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more


def _shown(path: Path) -> str:
    """Give a path as a user would type it here."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
