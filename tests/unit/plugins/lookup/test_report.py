# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a report, from plans, an inventory and a history without a run."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible import constants
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import EncryptedString, VaultLib, VaultSecret, VaultSecretsContext
from ansible.template import Templar, trust_as_template
from ansible_collections.changeops.rollback.plugins.lookup import report

NAME = "changeops.rollback.report"
GROUPS = {"all": ["web1", "web2"], "ungrouped": [], "shop": ["web1", "web2"]}
HEAD = "title: T\ndate: 2026-11-20\n"
PLANS = {
    "C001": (
        "hosts: shop\nphases:\n- {role: git_revert, vars: {git_revert_commits: [4f1c2e9]}}\n"
        "- role: config_restore\n- role: verify\n"
    ),
    "C002": "hosts: shop\nrollback: {possible: false, reason: The data is gone}\n",
    "C003": "hosts: shop\nrollback: {method: manual}\n",
    "C004": "hosts: nowhere\nphases: [{role: verify}]\n",
    "C005": "hosts: shop\nphases: [{role: verify, wrong: 1, other: 2}]\n",
}
Run = t.Callable[..., dict[str, dict[str, t.Any]]]


class HostVars(dict[str, t.Any]):
    """The variables of all hosts, as they stand in the inventory."""

    def raw_get(self, host: str) -> t.Any:
        return self[host]


@pytest.fixture
def secret() -> t.Iterator[EncryptedString]:
    """A value from a vault."""
    key = VaultSecret(b"open sesame")
    VaultSecretsContext._current = None
    VaultSecretsContext.initialize(VaultSecretsContext([("default", key)]))
    yield EncryptedString(ciphertext=VaultLib([("default", key)]).encrypt("tiger-in-a-vault", key).decode())
    VaultSecretsContext._current = None


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secret: EncryptedString) -> Run:
    """The lookup, in a repository with a plan of each kind: files by their names."""
    options = yaml.safe_load(report.DOCUMENTATION)["options"]
    constants.config.initialize_plugin_configuration_definitions("lookup", NAME, options)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHANGEOPS_HISTORY_URL", f"sqlite:///{tmp_path}/history.sqlite")
    (tmp_path / "changes").mkdir()
    for change, text in PLANS.items():
        (tmp_path / "changes" / f"{change}.yml").write_text(HEAD + text)
    checks = [
        {"name": "up", "http": {"url": "http://127.0.0.1:1/", "headers": {"X-Id": "lion-in-a-header"}}},
        {"name": "ours", "command": {"argv": ["ping", secret]}},
    ]
    app = {"environment": {"COLOUR": "bear-in-an-environment"}, "test": ["pytest", "-q"]}
    kept = [{"path": "/etc/shop.env", "source": trust_as_template("/etc/kept/{{ rollback_plan.change }}/shop.env")}]
    known = {
        "rollback_repo": trust_as_template("{{ home }}/shop"),
        "home": "/srv",
        "rollback_checks": checks,
        "rollback_app": app,
        "rollback_config": kept,
        "rollback_unknown": [trust_as_template("{{ rollback_restore_point }}")],
    }
    variables = {"groups": GROUPS, "hostvars": HostVars(dict.fromkeys(GROUPS["all"], known))}

    def look(*terms: str, told: t.Mapping[str, t.Any] | None = None, **options: t.Any) -> dict[str, dict[str, t.Any]]:
        loader = DataLoader()
        plugin = report.LookupModule(loader=loader, templar=Templar(loader=loader, variables={"groups": GROUPS}))
        plugin._load_name = NAME
        found = plugin.run(list(terms), variables={**variables, **(told or {})}, **options)
        return {os.path.relpath(one["path"], tmp_path): one for one in found}

    return look


def test_every_change_has_a_row_and_every_sound_plan_a_document(run: Run) -> None:
    found = run()
    documents = [f"reports/C00{number}.md" for number in range(1, 5)]
    assert [name for name in found if name.endswith(".md")] == ["reports/README.md", *documents]
    rows = [line for line in found["reports/README.md"]["text"].splitlines() if line.startswith(("| [C0", "| C0"))]
    assert ["[C001]" in rows[0], "| No " in rows[1], "| manual " in rows[2], "| never " in rows[3]] == [True] * 4
    assert "`wrong` is not known here" in rows[4].replace("\\", "")
    assert {found[name]["mode"] for name in documents} == {"0644"}
    assert found["reports/rollback-c001.sh"]["mode"] == "0755"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("C001", "git -C /srv/shop revert --no-edit 4f1c2e9"),
        ("C001", "/etc/kept/C001/shop.env"),
        ("C002", "It cannot be rolled back: The data is gone"),
        ("C003", "The plan has no phases, so it is followed by hand."),
        ("C004", "**Hosts**: none of the inventory"),
    ],
)
def test_what_a_document_says_of_a_plan(run: Run, change: str, said: str) -> None:
    found = run(change)
    assert [name for name in found if name.endswith(".md")] == ["reports/README.md", f"reports/{change}.md"]
    assert said in found[f"reports/{change}.md"]["text"]
    assert "C004" in found["reports/README.md"]["text"], "what lists the changes has all of them"
    assert found == run(change), "nothing in it is of the moment"


def test_folder_is_the_one_that_is_asked_for(run: Run) -> None:
    assert {os.path.dirname(name) for name in run("C001", report_dir="there/of/it")} == {"there/of/it"}


def test_a_change_that_is_asked_for_must_be_sound(run: Run) -> None:
    for change, said in (("C005", "wrong"), ("C009", "There is no plan of C009")):
        with pytest.raises(AnsibleError, match=said):
            run(change)


def test_a_history_in_the_container_of_an_awx_job_is_not_read(run: Run) -> None:
    job = {"awx_job_id": 41}
    with pytest.raises(AnsibleError, match="The history would be a file in the container of AWX job 41 and vanish"):
        run("C001", told=job)
    assert run("C001", told={**job, "rollback_allow_ephemeral_history": "true"}) == run("C001")


def test_no_secret_of_vault_header_or_environment_is_written_down(run: Run) -> None:
    documents = [one["text"] for name, one in run().items() if name.endswith(".md")]
    for text in documents:
        assert [word for word in ("tiger", "lion", "bear") if word in text] == []
    assert "ping ********" in documents[1]
