# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""verify's checks of the host: services, files and commands."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.plugins.module_utils._processes import probe
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.verify_bench import evidence, run
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal


@pytest.mark.parametrize(
    ("options", "ok", "says"),
    [
        ({"argv": ["sh", "-c", "echo fine"]}, True, "exit code 0: fine"),
        ({"argv": ["true"]}, True, "exit code 0"),
        ({"argv": ["sh", "-c", "pwd"], "chdir": "/usr", "contains": "/usr"}, True, "exit code 0: /usr"),
        ({"argv": ["sh", "-c", "exit 4"], "rc": 4}, True, "exit code 4"),
        ({"argv": ["sh", "-c", "echo token=hunter2; exit 4"]}, False, "exit code 4, expected 0: token=********"),
        ({"argv": ["echo", "fine"], "contains": "well"}, False, "exit code 0, does not print 'well': fine"),
        ({"argv": ["/nowhere/program"]}, False, "'/nowhere/program' could not start: No such file or directory."),
        (
            {"argv": ["sleep", "600"]},
            False,
            "'sleep 600' was ended, with all that it had started, because it did not finish within 0.4 s.",
        ),
    ],
)
def test_command(tmp_path, options, ok, says):
    timeout = 0.4 if "sleep" in options["argv"] else 5.0
    assert evidence(tmp_path, {"command": options, "timeout": timeout}) == (ok, says)


def test_service_up_flapping_and_down(rig, tmp_path):
    ports = [rig.supervised("up"), rig.supervised("down", autostart=False)]
    rig.supervised("flaps", die=0.5, more="startsecs=0\nautorestart=true")
    rig.start_supervisord()
    rig.until(lambda: probe("127.0.0.1", ports[0]))
    found = {}
    for name in ("up", "down", "flaps"):
        found[name] = evidence(tmp_path, {"service": name}, services=rig.items, stays_healthy=1.2)
    assert [ok for ok, _said in found.values()] == [True, False, False]
    assert found["up"][1].startswith("up is up as process ")
    assert found["down"][1].startswith("down is not up: STOPPED")
    # between two lives it is not up, which a look may hit
    assert found["flaps"][1].startswith(("it held, and no longer after ", "flaps is not up: ", "flaps died"))


def test_a_restart_between_two_looks_is_noticed(rig, tmp_path):
    port = rig.supervised("up", more="startsecs=0\nautorestart=true")
    rig.start_supervisord()
    rig.until(lambda: probe("127.0.0.1", port))

    # supervisorctl, and a note that it was called
    calls, wrapper = tmp_path / "calls", tmp_path / "supervisorctl"
    wrapper.write_text(f'#!/bin/sh\n{rig.supervisorctl} "$@"\ncode=$?\necho >> {calls}\nexit $code\n')
    wrapper.chmod(0o755)
    rig.items[0]["supervisorctl"] = str(wrapper)
    run(tmp_path, "preflight", {"service": "up"}, services=rig.items)
    calls.write_text("")

    def kill():
        rig.until(calls.read_text)
        time.sleep(0.2)
        os.kill(int(rig.ctl("pid", "up")), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    holds, said = evidence(tmp_path, {"service": "up"}, services=rig.items, stays_healthy=3.0)
    killer.join()
    assert not holds and said.startswith("it held, and no longer after ") and said.endswith(WHY), said


WHY = ("up died and its manager restarted it", "up died")


@pytest.fixture
def tree(tmp_path):
    top = tmp_path / "uploads"
    (top / "deep").mkdir(parents=True)
    for number in range(5):
        (top / "deep" / f"{number}.txt").write_text(f"canary {number}")
    (top / "link").symlink_to("deep/0.txt")
    (top / "dangling").symlink_to("nowhere")
    os.mkfifo(str(top / "pipe"))
    return top


def none(top):
    pass


def new(top):
    (top / "deep" / "new.txt").write_text("x")


def touch(top):
    os.utime(str(top / "deep" / "0.txt"), (1, 1))
    (top / "deep" / "0.txt").chmod(0o600)


def change(top):
    status = os.stat(str(top / "deep" / "3.txt"))
    (top / "deep" / "3.txt").write_text("CANARY 3")  # the same size and the same time
    os.utime(str(top / "deep" / "3.txt"), ns=(status.st_atime_ns, status.st_mtime_ns))


def lose(top):
    for number in range(4):
        (top / "deep" / f"{number}.txt").unlink()


def point_elsewhere(top):
    (top / "link").unlink()
    (top / "link").symlink_to("deep/1.txt")


def lose_all(top):
    top.rename(top.parent / "away")


@pytest.mark.parametrize(
    ("does", "options", "ok", "says"),
    [
        (none, {}, True, "7 files are as expected"),
        (touch, {}, True, "7 files are as expected"),
        (new, {}, True, "7 files are as expected"),
        (new, {"exactly": True}, False, "{top}/deep/new.txt is new"),
        (change, {}, False, "{top}/deep/3.txt has other content"),
        (lose, {}, False, "{top}/deep/0.txt, {top}/deep/1.txt, {top}/deep/2.txt and 1 more are gone"),
        (point_elsewhere, {}, False, "{top}/link has other content"),
        (lose_all, {}, False, "{top}/dangling, {top}/deep/0.txt, {top}/deep/1.txt and 4 more are gone"),
    ],
)
def test_files_are_kept(tmp_path, tree, does, options, ok, says):
    check = {"name": "uploads", "files": {"paths": [str(tree)], **options}}
    report = run(tmp_path, "preflight", check)
    assert report.before["kept"] == {"uploads": "7 files"}
    does(tree)
    assert evidence(tmp_path, check) == (ok, says.format(top=tree))
    kept = "".join(path.read_text() for path in (tmp_path / "state").rglob("*.json"))
    assert "deep/0.txt" in kept and "canary" not in kept


def test_files_have_a_given_digest(tmp_path, tree):
    path = str(tree / "deep" / "0.txt")
    digest = hashlib.sha256(b"canary 0").hexdigest()
    for given, ok, says in [
        ({path: digest.upper()}, True, "1 file is as expected"),
        ({path: "0" * 64}, False, f"{path} has other content"),
        ({path + "x": digest}, False, f"{path}x is gone"),
    ]:
        assert evidence(tmp_path, {"name": "given", "files": {"sha256": given}}) == (ok, says)


def test_reading_files_ends_at_the_timeout(tmp_path):
    with open(str(tmp_path / "large"), "wb") as stream:
        stream.truncate(4 << 30)
    check = {"files": {"sha256": {str(tmp_path / "large"): "0" * 64}}, "timeout": 0.2}
    begun = time.monotonic()
    assert evidence(tmp_path, check) == (False, "not read within 0.2 s")
    assert time.monotonic() - begun < 2


REFUSALS = [
    Refusal(
        "files that are not there",
        "Check '<name>': there is no /nowhere on this host. Correct `paths`.",
        {"files": {"paths": ["/nowhere"]}},
    ),
    Refusal(
        "files that are too many for the timeout",
        "Check '<name>': <path> cannot be read within 0.05 s. Raise `timeout`, or name less in `paths`.",
        {"files": {"paths": ["{large}"]}, "timeout": 0.05},
    ),
    Refusal(
        "no file to look at",
        "Check 'nothing': it names no file. Give `paths` whose content is to be kept, or `sha256` with a digest for a "
        "path.",
        {"name": "nothing", "files": {}},
    ),
    Refusal("a relative path", "Check 'files a': a must be absolute.", {"files": {"paths": ["a"]}}),
    Refusal(
        "a digest that is none",
        "Check 'files /bin/sh': 'abc' for /bin/sh is no SHA-256. Write the 64 digits that sha256sum prints.",
        {"files": {"sha256": {"/bin/sh": "abc"}}},
    ),
    Refusal(
        "an empty command",
        "Check 'command': `argv` is empty. Give the program and its arguments as a list.",
        {"command": {"argv": []}},
    ),
    Refusal(
        "a service that is not known",
        "Check 'service web': there is no service web in rollback_services (or verify_services). Add it there.",
        {"service": "web"},
    ),
]


@pytest.mark.parametrize("row", REFUSALS, ids=[row.case for row in REFUSALS])
def test_refused(tmp_path, row):
    given = row.given
    if given.get("files", {}).get("paths") == ["{large}"]:
        with open(str(tmp_path / "large"), "wb") as stream:
            stream.truncate(4 << 30)
        given = {**given, "files": {"paths": [str(tmp_path / "large")]}}
    with pytest.raises(PhaseError) as caught:
        run(tmp_path, "preflight", given)
    assert row.matches(str(caught.value)), str(caught.value)
