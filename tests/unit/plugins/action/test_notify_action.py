# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role notify and its module under a real ansible-playbook."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

from ansible_collections.changeops.rollback.tests.unit.plugins.plugin_utils.places import Web, closed_port, serving

ROLE = "changeops.rollback.notify"


def test_a_message_of_ones_own(tmp_path: Path, run_tasks: t.Callable[..., str]) -> None:
    with serving(Web()) as web:
        closed = f"http://127.0.0.1:{closed_port()}/hunter2"
        said = {"notify_text": "Release 1.3.0 is out; password=hunter2.", "notify_change": "C001"}
        places = [
            {"kind": "slack", "url": web.url()},
            {"kind": "slack", "name": "gone", "url": closed},
            {"kind": "webhook", "url": web.url("/not/asked"), "events": ["failed"]},
        ]
        tasks = [
            {"include_role": {"name": ROLE}, "vars": said},
            {"include_role": {"name": ROLE}, "vars": {**said, "notify_places": []}},
            {"changeops.rollback.notify": {"places": "{{ notify_places }}", "text": "dry"}, "check_mode": True},
            {"changeops.rollback.notify": {"places": "{{ notify_places }}", "text": "x"}, "register": "done"},
            {"copy": {"dest": "{{ playbook_dir }}/done.json", "content": "{{ done | to_json }}"}},
        ]
        out = run_tasks(tmp_path, tasks, notify_places=places)
    assert [got.json["text"].splitlines()[0] for got in web.got] == [
        "C001: Release 1.3.0 is out; password=********",
        "x",
    ]
    fault = "gone of 'message': it cannot be reached: Connection refused."
    done = json.loads((tmp_path / "done.json").read_text())
    assert (done["told"], done["faults"], done["changed"]) == (1, [fault], False)
    assert "hunter2" not in out + json.dumps(done)
