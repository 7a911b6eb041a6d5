# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The phase config_restore shows no secret of the config."""

from __future__ import annotations

import json
import stat
import sys

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.tests.unit.plugins.modules import given_host

host = given_host.host


SECRETS = {
    "shop.env": 'A=1\nPASSWORD=canary two\nexport API_KEY="canary\nthree"\nTOKEN=canary \\\ncanary\n'
    'X_SECRET="ca\\"canary"\n'
    "APP_KEY=canary\nURL=postgresql://app:canary@db/shop\nB=2\n",
    "a.yml": "a: 1\nsecrets:\n  - canary\n  - deeper: canary\npassword: |\n  canary\nb: 2\n",
    "b.json": '{"a": 1,\n  "tokens": [\n    "canary"\n  ],\n  "b": 2}\n',
    "c.toml": 'a = 1\nprivate_key = """\ncanary\n"""\nb = 2\n',
    "d.pem": "a\n-----BEGIN RSA PRIVATE KEY-----\ncanary\n-----END RSA PRIVATE KEY-----\nb\n",
    "e.conf": "a 1\nrequirepass canary\nproxy_set_header Authorization canary;\n# password=canary\nb 2\n",
    "f.xml": '<a>1</a>\n<password>canary</password>\n<add key="db.password" value="canary"/>\n<b>2</b>\n',
}


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("was", [True, False])
def test_no_secret_is_shown(host, name, was):
    path = host.etc / name
    if was:
        path.write_text(SECRETS[name].replace("canary", "canary0"))
    report = host.step("main", {"path": str(path), "content": SECRETS[name]})
    text = json.dumps([report.msg, report.diff, report.before, report.after, report.facts, report.warnings])
    assert "canary" not in text, text
    assert path.read_text() == SECRETS[name]
    shown = report.diff[0]["after"].lower()
    assert "a" in shown.split("\n")[0], "what is no secret is shown"
    assert "b" in shown.replace("(the difference is in a masked value)", "").rstrip("\n").split("\n")[-1]


def test_nothing_is_shown_of_a_secret_file(host):
    new = host.etc / "seed"
    for item in (
        {"path": str(host.server), "content": "canary", "secret": True},
        {"path": str(new), "content": "canary"},
    ):
        item["secret"] = True
        item["validate"] = [sys.executable, "-c", "import sys; sys.exit(open(sys.argv[1]).read())", "%s"]
        with pytest.raises(PhaseError, match="what it printed is not shown") as caught:
            host.step("preflight", item)
        del item["validate"]
        report = host.step("main", item)
        assert "canary" not in json.dumps([report.msg, report.diff, str(caught.value)])
    assert stat.S_IMODE(new.stat().st_mode) == 0o600
