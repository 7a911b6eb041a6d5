# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeping, comparing and putting back single files."""

from __future__ import annotations

import os
import stat

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.plugins.module_utils._files import (
    Found,
    damage,
    keep,
    look,
    put_back,
    put_file,
    put_link,
    remove,
    set_access,
    temporary_name,
    walk,
)

OTHER_UID = 4711 if os.geteuid() == 0 else os.geteuid()


def make(path, kind):
    if kind == "file":
        path.write_text("one\n")
        path.chmod(0o640)
        os.chown(path, OTHER_UID, -1)
        os.utime(path, ns=(10**18, 10**18 + 7))
    elif kind == "link":
        path.symlink_to("elsewhere")
    elif kind == "folder":
        path.mkdir(mode=0o750)
    elif kind == "special":
        os.mkfifo(path)


@pytest.mark.parametrize("kind", ["absent", "file", "link", "folder", "special"])
def test_look_tells_kinds_apart_and_survives_json(tmp_path, kind):
    path = tmp_path / "x"
    make(path, kind)
    found = look(str(path))
    assert found.kind == kind
    assert Found.read(found.record()) == found


@pytest.mark.parametrize("replaced_by", ["absent", "file", "link"])
@pytest.mark.parametrize("kind", ["absent", "file", "link"])
def test_put_back_gives_content_owner_mode_and_time(tmp_path, kind, replaced_by):
    path, copy = tmp_path / "x", tmp_path / "kept" / "x"
    make(path, kind)
    before = look(str(path))
    if kind == "file":
        assert keep(str(path), copy) == before
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    remove(str(path))
    if replaced_by == "file":
        path.write_text("two\n")
    elif replaced_by == "link":
        path.symlink_to("two")
    put_back(str(path), before, copy)
    after = look(str(path))
    if kind == "link":
        assert (after.target, after.uid) == (before.target, before.uid)
    else:
        assert after == before
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        (["x"] if kind != "absent" else []) + (["kept"] if kind == "file" else [])
    )


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda copy: copy.write_bytes(b"onE\n"), "is damaged"),
        (lambda copy: copy.write_bytes(b"one"), "is damaged"),
        (lambda copy: copy.unlink(), "is missing"),
    ],
)
def test_a_damaged_copy_is_not_put_back(tmp_path, harm, said):
    path, copy = tmp_path / "x", tmp_path / "copy"
    make(path, "file")
    found = keep(str(path), copy)
    assert damage(copy, found) == ""
    path.write_text("two\n")
    harm(copy)
    with pytest.raises(PhaseError, match=said):
        put_back(str(path), found, copy)
    assert path.read_text() == "two\n"


def test_what_a_killed_run_left_beside_the_target_is_replaced_not_followed(tmp_path):
    path, victim = tmp_path / "x", tmp_path / "victim"
    victim.write_text("untouched")
    make(path, "file")
    os.symlink(str(victim), temporary_name(str(path)))
    new = tmp_path / "new"
    new.write_text("two\n")
    put_file(str(path), new, look(str(path)))
    assert path.read_text() == "two\n"
    assert victim.read_text() == "untouched"
    put_link(str(path), "victim")
    assert os.readlink(path) == "victim"


def test_a_file_is_replaced_in_one_step_and_keeps_its_attributes(tmp_path):
    path, new = tmp_path / "x", tmp_path / "new"
    make(path, "file")
    try:
        os.setxattr(path, "user.note", b"kept")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    new.write_text("two\n")
    with path.open() as reader:
        put_file(str(path), new, look(str(path)))
        assert reader.read() == "one\n"
    assert os.getxattr(path, "user.note") == b"kept"


def test_set_access_changes_the_mode_only(tmp_path):
    path = tmp_path / "x"
    make(path, "file")
    before = look(str(path))
    path.chmod(0o600)
    set_access(str(path), before)
    assert look(str(path)) == before


def test_walk_gives_everything_in_order_without_following_links(tmp_path):
    (tmp_path / "b" / "empty").mkdir(parents=True)
    (tmp_path / "a").write_text("")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "skipped").mkdir()
    (tmp_path / "skipped" / "x").write_text("")
    names = [os.path.relpath(one, tmp_path) for one in walk(str(tmp_path), str(tmp_path / "skipped"))]
    assert names == [".", "a", "b", "b/empty", "loop"]
