# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What import_plan.yml writes, says and leaves alone, in one run."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

TEXT = """\
### C001: Add totals
**Rollback Possible**: Yes
## Procedure
1. systemctl stop shop
### C002: Drop it
**Rollback Possible**: No, it is gone
## Notes
- Ask Dana
```bash
make call
```
"""


def test_import_plan(tmp_path: Path, run_tasks: t.Callable[..., str]) -> None:
    (tmp_path / "ROLLBACK.md").write_text(TEXT)
    ops = tmp_path / "ops" / "changes"
    given = {"document": f"{tmp_path}/ROLLBACK.md", "directory": str(ops)}
    asked: list[tuple[str, dict[str, t.Any], dict[str, t.Any]]] = [
        ("dry", given, {"check_mode": True, "diff": True}),
        ("first", {**given, "document": f"{tmp_path}/ROLLBACK.md"}, {}),
        ("nowhere", {**given, "document": f"{tmp_path}/no.md"}, {"ignore_errors": True}),
        ("empty", {"document": "", "directory": str(ops)}, {"ignore_errors": True}),
        ("binary", {**given, "document": "/bin/true"}, {"ignore_errors": True}),
        (
            "looked",
            {"document": f"{tmp_path}/ROLLBACK.md"},
            {"vars": {"rollback_changes_dir": f"{tmp_path}/elsewhere"}},
        ),
    ]
    names = [name for name, _given, _more in asked]
    tasks: list[dict[str, t.Any]] = [
        {"changeops.rollback.import_plan": given, "register": name, **more} for name, given, more in asked
    ]
    kept = f"{{{{ {{{', '.join(f'{name!r}: {name}' for name in names)}}} | to_json }}}}"
    seen = {"ansible.builtin.stat": {"path": str(ops)}, "register": "seen"}
    untouched = {"ansible.builtin.assert": {"that": ["not seen.stat.exists"]}}
    mine = {"ansible.builtin.copy": {"dest": f"{ops}/C001.yaml", "content": "mine"}}
    away = {"ansible.builtin.file": {"path": str(ops), "state": "directory"}}
    results_file = {"ansible.builtin.copy": {"dest": f"{tmp_path}/results.json", "content": kept}}
    out = run_tasks(tmp_path, [tasks[0], seen, untouched, away, mine, *tasks[1:], results_file])
    results = json.loads((tmp_path / "results.json").read_text())

    assert (ops / "C001.yaml").read_text() == "mine"
    assert [path.name for path in sorted(ops.iterdir())] == ["C001.yaml", "C002.yml"]
    assert "possible: false" in (ops / "C002.yml").read_text()
    assert sorted(path.name for path in (tmp_path / "elsewhere").iterdir()) == ["C001.yml", "C002.yml"]
    assert list(results["first"]["plans"]) == ["C002"]
    assert list(results["first"]["kept"]) == ["C001"]
    assert results["first"]["listed"] == [
        {"line": 10, "text": "make call", "why": "is code outside the procedure; it is a comment"}
    ]
    assert [results[name]["changed"] for name in ("dry", "first")] == [True, True]
    assert "would be written" in out
    assert "+  reason: it is gone" in out, "the diff"
    assert "C001.yaml is there already and stays as it is. To import anew, move it away." in out
    assert "Not answered yet: on which hosts" in out
    assert f"{tmp_path}/ROLLBACK.md:10: 'make call' is code outside the procedure; it is a comment." in out
    assert results["nowhere"]["msg"] == f"{tmp_path}/no.md: No such file or directory."
    assert results["empty"]["msg"].startswith("Say which document: ansible-playbook changeops.rollback.import_plan")
    assert results["binary"]["msg"].startswith("/bin/true: Line ")
