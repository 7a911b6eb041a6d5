# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The phase config_restore on files outside git: given content, single keys, owners, validation, attributes."""

from __future__ import annotations

import json
import os
import stat
import struct
import sys

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils import _config_restore as phase
from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.plugins.module_utils._restore_point import RestorePoint
from ansible_collections.changeops.rollback.tests.unit.plugins.modules import given_host
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.given_host import (
    ENV,
    NOBODY,
    OTHER,
    ROOT,
    SERVER,
)
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal

host = given_host.host


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"DEBUG": "no"}, ENV.replace("DEBUG=yes # not now", "DEBUG=no")),
        ({"DEBUG": "yes # not now", "WORKERS": 2, "LIST": "ab"}, ENV),
        ({"WORKERS": 4, "NEW": "a b"}, ENV.replace("WORKERS=2", "WORKERS=4") + "NEW='a b'\n"),
        ({"PASSWORD": None, "NOT_THERE": None}, ENV.replace("PASSWORD='hun ter2'\n", "")),
        ({"LIST": 'it\'s $5 \\ "x"'}, ENV.replace('"a\\\nb"', '"it\'s \\$5 \\\\ \\"x\\""')),
        ({"LIST": ""}, ENV.replace('"a\\\nb"', "")),
        ({"NEW": "two\nlines"}, ENV + "NEW='two\nlines'\n"),
        (["DEBUG", "WORKERS", "LIST"], ENV.replace("DEBUG=yes # not now", "DEBUG=no").replace('LIST="a\\\nb"\n', "")),
    ],
)
def test_only_these_keys_change(host, keys, text):
    item = {"path": str(host.env), "keys": keys}
    if isinstance(keys, list):
        item["source"] = str(host.kept)
    before = host.state()
    pending = host.step("preflight", item).pending
    assert host.state() == before
    assert host.step("main", item).changed is pending is (text != ENV)
    assert host.env.read_text() == text
    assert stat.S_IMODE(host.env.stat().st_mode) == 0o640
    assert not host.step("main", item).changed
    host.step("recover", item)
    assert host.state() == before


def test_line_ends_and_a_missing_last_one_are_kept_and_duplicates_go(host):
    host.env.write_bytes(b"A=1\r\nB=2\r\nA=3")
    host.step("main", {"path": str(host.env), "keys": {"A": "4", "C": "5"}})
    assert host.env.read_bytes() == b"B=2\r\nA=4\r\nC=5\r\n"


@pytest.mark.parametrize("exists", [True, False])
def test_given_content_takes_the_place_with_owner_group_and_mode(host, exists):
    if not exists:
        host.server.unlink()
    before = host.state()
    item = {"path": str(host.server), "content": "listen 81;\n", "mode": "0604", "owner": OTHER, "group": str(OTHER)}
    if not ROOT:
        item["group"] = os.getegid()
    host.step("preflight", item)
    assert host.state() == before
    assert host.step("main", item).changed
    found = host.server.stat()
    assert host.server.read_text() == "listen 81;\n"
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o604, OTHER, int(item["group"]))
    assert not host.step("main", item).changed
    again = host.step("main", dict(item, mode="0640"))
    assert "mode: 0604" in again.diff[0]["before"]
    assert "mode: 0640" in again.diff[0]["after"]
    host.step("recover", item)
    assert host.state() == before


def test_a_symlink_comes_back_with_its_owner_and_time(host):
    link = host.etc / "current.conf"
    link.symlink_to("server.conf")
    os.utime(link, ns=(10**18, 10**18 + 5), follow_symlinks=False)
    os.chown(link, OTHER, -1, follow_symlinks=False)
    before = host.state()
    # what git or somebody's edit would make of it: main removes the link and recover makes it anew
    point = RestorePoint(str(host.part))
    was = phase.look(str(link)).record()
    point.write(
        progress="started",
        prepared={
            "replaced": [{"path": str(link), "was": was, "wrote": phase.Found(phase.ABSENT).record(), "made": []}]
        },
    )
    link.unlink()
    host.step("recover")
    assert host.state() == before


def test_the_private_half_of_an_item_is_put_together_again(host):
    paths = [{"path": str(host.env)}, {"path": str(host.server)}]
    private = json.dumps([{"keys": {"DEBUG": "no"}}, {"content": "listen 82;\n"}])
    host.step("main", *paths, private=private)
    assert "DEBUG=no\n" in host.env.read_text()
    assert host.server.read_text() == "listen 82;\n"


@pytest.mark.parametrize("as_text", [False, True])
def test_a_new_file_is_validated_beside_its_place_before_it_takes_it(host, as_text):
    argv = host.validate()
    item = {"path": str(host.server), "content": "listen 81;\n", "mode": "0600"}
    item["validate"] = " ".join(argv) if as_text else argv
    before = host.state()
    host.step("preflight", item, check=True)
    assert host.calls() == [], "check mode writes nothing beside the file"
    for step in ("preflight", "main"):
        host.step(step, item)
        (seen,) = host.calls()
        host.seen.unlink()
        assert os.path.dirname(seen["name"]) == str(host.etc)
        assert (seen["text"], seen["there"]) == ("listen 81;\n", SERVER)
        assert (seen["mode"], seen["uid"]) == (0o600, OTHER)
        assert (host.state() == before) is (step == "preflight")
    assert host.server.read_text() == "listen 81;\n"
    host.step("main", item)
    assert host.calls() == [], "a file that stays is not validated"


def test_one_invalid_file_keeps_all_from_being_replaced(host):
    paths = [
        {"path": str(host.env), "keys": {"DEBUG": "no"}},
        {"path": str(host.server), "content": "lsten 81;\n", "validate": host.validate()},
    ]
    before = host.state()
    for step in ("preflight", "main"):
        with pytest.raises(PhaseError, match=r"server\.conf would not be valid, so nothing was replaced"):
            host.step(step, *paths)
        assert host.state() == before


@pytest.mark.parametrize("good", [True, False])
def test_all_of_the_config_is_validated_in_place_and_put_back(host, good):
    """The command reads the two files where they belong, as `nginx -t` reads what nginx.conf includes."""
    both = "import sys; a, b = (open(n).read() for n in sys.argv[1:]); sys.exit('DEBUG=no' not in a or '81' not in b)"
    paths = [
        {"path": str(host.env), "keys": {"DEBUG": "no"}},
        {"path": str(host.server), "content": "listen 81;\n" if good else "listen 80 ;\n"},
    ]
    validate = [sys.executable, "-c", both, str(host.env), str(host.server)]
    before = host.state()
    host.step("preflight", *paths, validate=validate)
    if good:
        assert host.step("main", *paths, validate=validate).changed
        assert host.server.read_text() == "listen 81;\n"
        return
    with pytest.raises(PhaseError, match="The restored config is not valid, so what was there before was put back"):
        host.step("main", *paths, validate=validate)
    assert host.state() == before
    host.step("recover", *paths, validate=validate)
    assert host.state() == before


def test_a_resumed_main_validates_what_a_killed_one_had_written(host):
    item = {"path": str(host.server), "content": "listen 81;\n"}
    host.step("main", item)
    RestorePoint(str(host.part)).write(progress="started")
    with pytest.raises(PhaseError, match="The restored config is not valid"):
        host.step("main", item, validate=["false"])
    assert host.server.read_text() == SERVER


# rw for the owner, r for uid 4712, for the group and as the mask, nothing for others; as acl(5) and the kernel have it
ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, permissions, uid)
    for tag, permissions, uid in [(1, 6, NOBODY), (2, 4, 4712), (4, 4, NOBODY), (16, 4, NOBODY), (32, 0, NOBODY)]
)


@pytest.mark.parametrize(
    ("name", "value"), [("user.selinux", b"httpd_config_t"), ("system.posix_acl_access", ACL)], ids=["context", "acl"]
)
def test_a_replaced_file_keeps_its_attributes_and_a_removed_one_gets_them_back(host, name, value):
    """An attribute in the user's namespace stands for a SELinux context; the ACL is a real one."""
    try:
        os.setxattr(host.server, name, value)
    except OSError:
        pytest.skip(f"this file system has no {name}")
    host.step("main", {"path": str(host.server), "content": "listen 81;\n"})
    assert os.getxattr(host.server, name) == value
    host.server.unlink()  # recover finds it gone, as after a main that removes a file
    state = json.loads((host.part / "state.json").read_text())
    state["prepared"]["replaced"][0]["wrote"] = phase.Found(phase.ABSENT).record()
    (host.part / "state.json").write_text(json.dumps(state))
    host.step("recover")
    assert host.server.read_text() == SERVER
    assert os.getxattr(host.server, name) == value


@pytest.mark.parametrize("enabled", [True, False])
def test_a_new_file_gets_the_context_of_its_place_where_there_is_selinux(host, tmp_path, monkeypatch, enabled):
    """A stand-in for restorecon notes what it was called with; there is no SELinux on a test machine."""
    calls = tmp_path / "calls"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "restorecon").write_text(f'#!/bin/sh\necho "$@" >>{calls}\n')
    (tmp_path / "bin" / "restorecon").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    monkeypatch.setattr(phase, "_SELINUX", str(tmp_path) if enabled else "/nowhere")
    new = host.etc / "new.conf"
    host.step("main", {"path": str(host.server), "content": "listen 81;\n"}, {"path": str(new), "content": "x\n"})
    assert (calls.read_text() if calls.exists() else "") == (f"{new}\n" if enabled else "")


def refused(case, says, **item):
    return Refusal(case, f"The config cannot be restored: {says}", item)


NAMES = "path, source, content, template, keys, owner, group, mode, validate, secret"
REFUSALS = [
    refused(
        "an item without a path",
        "config_restore_paths: An item is no path. Write a path, or a dictionary with path.",
        content="canary",
    ),
    refused(
        "an unknown key of an item",
        f"config_restore_paths: <file> has the unknown key 'src'. Known are {NAMES}.",
        path="{env}",
        src="canary",
    ),
    refused(
        "two origins for one file",
        "config_restore_paths: <file> has content and keys. Write one of source, content, template and keys, or source "
        "with a list of keys.",
        path="{env}",
        content="canary",
        keys={"A": "canary"},
    ),
    refused(
        "a list of keys without a source",
        "The keys of <file> are a list, so say where to take them from: the source, a kept copy.",
        path="{env}",
        keys=["A"],
    ),
    refused(
        "keys that are none",
        "The keys of <file> must be a dictionary of KEY and value, or a list of the keys to take from its source.",
        path="{env}",
        keys="canary",
    ),
    refused(
        "a key that is no name",
        "The keys of <file>: 'A B' is no name of a variable. Write it as SHOP_URL.",
        path="{env}",
        keys={"A B": "canary"},
    ),
    refused(
        "a value that is no text",
        "The value of A for <file> must be text. Put it in quotes, or write null to remove it.",
        path="{env}",
        keys={"A": False},
    ),
    refused(
        "a value that would not read back",
        "The value of A cannot be written to <file> so that it reads back; change its value.",
        path="{env}",
        keys={"A": "canary\u2028x"},
    ),
    refused(
        "content that is no text",
        "The content of <file> must be text. Write it as a block: 'content: |'.",
        path="{env}",
        content=17,
    ),
    refused(
        "keys in a file that is not there",
        "There is no file <file>, so no keys in it can be changed; give it content or source.",
        path="{etc}/none.env",
        keys={"A": "canary"},
    ),
    refused(
        "keys in a file that is no environment file",
        "<file>:1: this line is neither KEY=value nor a comment (#). Correct it.",
        path="{server}",
        keys={"A": "canary"},
    ),
    refused(
        "keys in a file that is not UTF-8",
        "<file> is not UTF-8 text, so no keys in it can be changed; give it content or source.",
        path="{etc}/latin1.env",
        keys={"A": "canary"},
    ),
    refused(
        "an owner who does not exist",
        "There is no user 'shp' on this host for <file>. Make it, or correct its owner.",
        path="{server}",
        content="canary",
        owner="shp",
    ),
    refused(
        "a group that does not exist",
        "There is no group 'shp' on this host for <file>. Make it, or correct its group.",
        path="{server}",
        content="canary",
        group="shp",
    ),
    refused(
        "a mode that is no octal number in quotes",
        "The mode of <file> must be an octal number in quotes, as '0640'.",
        path="{server}",
        content="canary",
        mode=640,
    ),
    refused(
        "secret that is not true or false",
        "The secret of <file> must be true or false.",
        path="{server}",
        content="canary",
        secret="canary",
    ),
    refused(
        "a validation that is no command",
        "The validate of <file> is no command. Write it as a list of arguments: [nginx, -t, -c, '%s'].",
        path="{server}",
        content="canary",
        validate="nginx 'canary",
    ),
    refused(
        "a validation without the new file's name",
        "The validate of <file> does not say %s where the name of the new file goes: [nginx, -t, -c, '%s'].",
        path="{server}",
        content="canary",
        validate=["nginx", "-t"],
    ),
    refused(
        "a folder that is missing",
        "There is no folder /nowhere for /nowhere/x; make it first.",
        path="/nowhere/x",
        content="canary",
    ),
    Refusal(
        "a new file that is not valid",
        "<file> would not be valid, so nothing was replaced. '<command>' ended with exit code 1: nginx: [emerg] "
        "password = ******** Correct what it comes from (content), or its validate.",
        {"path": "{server}", "content": "canary", "validate": "{validate}"},
    ),
    Refusal(
        "a validation that does not start",
        "'/nowhere/nginx -t <file>' could not start: No such file or directory.",
        {"path": "{server}", "content": "canary", "validate": ["/nowhere/nginx", "-t", "%s"]},
    ),
]


@pytest.mark.parametrize("row", REFUSALS, ids=[row.case for row in REFUSALS])
def test_refused(host, row):
    (host.etc / "latin1.env").write_bytes(b"A=\xe9\n")
    places = {"env": host.env, "server": host.server, "etc": host.etc}
    item = dict(row.given)
    if "path" in item:
        item["path"] = item["path"].format(**places)
    if item.get("validate") == "{validate}":
        item["validate"] = host.validate()
    before = host.state()
    with pytest.raises(PhaseError) as caught:
        host.step("preflight", item)
    assert row.matches(str(caught.value)), str(caught.value)
    assert "canary" not in json.dumps([str(caught.value), caught.value.facts])
    assert host.state() == before


def test_a_wrong_validation_of_all_is_refused_before_anything_is_touched(host):
    with pytest.raises(PhaseError, match="config_restore_validate is no command"):
        host.step("preflight", {"path": str(host.env), "keys": {"A": "1"}}, validate={"a": 1})
