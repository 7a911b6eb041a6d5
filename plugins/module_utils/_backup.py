# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The phase ``backup``: fills the restore point. Private to this collection.

Kept in the phase's part::

    files/<absolute path>   the content of each config file, mode 0600
    archive.tar.gz          extra paths, and databases/ whole databases, where asked for; never restored by themselves
    kept.jsonl              a record for each file as soon as it is kept; gone when the manifest is there
    manifest.json           code, what the other phases' preflights found, a record with SHA-256 for each of these

A manifest says that the backup is complete. From then on it is only verified: what a later attempt would find is a
half-rolled-back host. Used alone, the role keeps the same in ``<part>-kept/<time>``, beside its part, which is
forgotten at each use: a new one whenever there is something new (with an archive or a database always, because they are
not compared), and the last five of them.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import re
import shutil
import typing as t
from pathlib import Path

from . import _backup_archive, _backup_databases
from ._backup_store import all_stores, current_store, extras, home, new_store, read_manifest, verify
from ._command import PhaseError
from ._files import ABSENT, FILE, LINK, SPECIAL, Found, damage, keep, look, walk
from ._git import Git
from ._phase import Context, Report
from ._restore_point import RestorePoint, make_private, read_json, write_file, write_json
from ._words import amount

STANDALONE_KEPT = 5
_MARGIN = 1 << 20  # bytes, beside 10 % of what is to be kept

Manifest = t.Dict[str, t.Any]


@dataclasses.dataclass(frozen=True)
class Survey:
    """What is to be kept: the state of the code, files by absolute path (not read yet), an archive, databases."""

    code: Manifest
    files: dict[str, Found]
    archive: _backup_archive.Listing | None
    dumps: list[_backup_databases.Dump]
    warnings: list[str]

    @property
    def extras(self) -> list[str]:
        """What is kept beside the files, in words."""
        archived = f"an archive of {self.archive.files} files ({amount(self.archive.size)})" if self.archive else ""
        return [archived] * bool(archived) + [f"a dump of {one.name} ({amount(one.size)})" for one in self.dumps]


def preflight(ctx: Context) -> Report:
    """Prove that all that is to be kept is there, readable, and fits."""
    store = current_store(ctx)
    manifest = read_manifest(store)
    if manifest and not home(ctx).standalone:
        verify(store, manifest)
        return Report(_done(manifest, store), before=_state(manifest["code"]), after=_after(manifest))
    found = _survey(ctx)
    size = _space(store, found)
    what = ", ".join([f"{_count(found)} files ({amount(size)})", *found.extras])
    return Report(
        f"{what} can be kept in {store}.", before=_state(found.code), after=_state(found.code), warnings=found.warnings
    )


def main(ctx: Context) -> Report:
    """Keep what is not kept yet, then verify all of it."""
    store = current_store(ctx)
    manifest = read_manifest(store)
    if manifest and home(ctx).standalone and not _same(manifest, _survey(ctx)):
        manifest, store = {}, new_store(ctx)
    if manifest:
        verify(store, manifest)
        changed = _set_ref(ctx, manifest["code"])
        return _report(_done(manifest, store), manifest, changed)
    found = _survey(ctx)
    _space(store, found)
    if ctx.check:
        planned = {"code": found.code, "files": [dict(one.record(), path=path) for path, one in found.files.items()]}
        what = ", ".join([f"{_count(found)} files", *found.extras])
        report = _report(f"Would keep {what} in {store}.", planned, True)
    else:
        make_private(store)
        _set_ref(ctx, found.code)
        manifest = {
            "restore_point": home(ctx).root.name,
            "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "code": found.code,
            "phases": _other_phases(ctx.point),
            "files": _keep_all(store, found.files),
            "archive": _backup_archive.make(ctx, found.archive, store, found.warnings) if found.archive else None,
            "databases": _backup_databases.make(ctx, found.dumps, store),
        }
        write_json(store / "manifest.json", manifest)
        verify(store, read_manifest(store))
        (store / "kept.jsonl").unlink()
        if home(ctx).standalone:
            for old in all_stores(ctx)[:-STANDALONE_KEPT]:
                shutil.rmtree(str(old))
        report = _report(f"Kept {_count(found)} files in {store} and verified them.", manifest, True)
    report.warnings = found.warnings
    return report


def recover(ctx: Context) -> Report:
    """Remove the backup ref; what was kept stays until the restore point is pruned."""
    repo = ctx.params["repo"]
    if not repo:
        return Report("The backup is kept; there is nothing to put back.")
    ref = ref_name(home(ctx))
    git = Git(ctx.commands, repo)
    if not _ref_commit(git, ref):
        return Report(f"There is no {ref} in {repo} any more. The files that were kept stay.")
    git.run("update-ref", "-d", ref)
    return Report(f"Removed {ref} from {repo}. The files that were kept stay.", changed=True)


def ref_name(home: RestorePoint) -> str:
    """The backup ref of a restore point, with what git does not allow in a name replaced."""
    name = re.sub(r"[^A-Za-z0-9._-]|\.(?=\.)|^[.-]|\.$|\.(?=lock$)", "-", home.root.name)
    return f"refs/changeops/{name}/before"


def _survey(ctx: Context) -> Survey:
    """Look at all that is to be kept.

    :raises PhaseError: something cannot be kept; all faults are named.
    """
    repo = ctx.params["repo"]
    git = Git(ctx.commands, repo) if repo else None
    code: Manifest = {}
    if git:
        git.top()  # says what is wrong with the repository, if anything is
        code = {"repo": repo, "commit": git.head(), "branch": git.branch() or None, "ref": ref_name(home(ctx))}
    faults: list[str] = []
    found: dict[str, Found] = {}
    for item in ctx.params["paths"]:
        path, may_be_absent = _path(item, repo)
        if os.path.lexists(path):
            _look_below(path, str(ctx.point.state_dir), found, faults)
        elif may_be_absent or (git and _git_knew(git, path)):
            found[path] = Found(ABSENT)  # the change removed it; config_restore brings it back
        else:
            faults.append(f"{path} does not exist.")
    special = [path for path, record in found.items() if record.kind == SPECIAL]
    faults.extend(
        f"{path} cannot be read (Permission denied)."
        for path, record in found.items()
        if record.kind == FILE and not os.access(path, os.R_OK)
    )
    if faults:
        raise PhaseError(
            "Not everything can be kept: {} Correct backup_paths (rollback_config), or read it as another user "
            "(become_user).".format(" ".join(faults)),
            faults=faults,
        )
    warnings = [f"{path} is a socket, pipe or device; it is not kept." for path in special]
    return Survey(
        code,
        {path: record for path, record in found.items() if path not in special},
        _backup_archive.survey(ctx, warnings),
        _backup_databases.survey(ctx),
        warnings,
    )


def _look_below(path: str, skip: str, found: dict[str, Found], faults: list[str]) -> None:
    """Add ``path`` and all below it; of a symlink also what it points to, because that is the config."""
    starts = [path]
    if os.path.islink(path) and os.path.exists(path):
        starts.append(os.path.realpath(path))
    for start in starts:
        try:
            for one in walk(start, skip):
                found[one] = look(one, digest=False)
        except OSError as exc:
            faults.append(f"{exc.filename} cannot be read ({exc.strerror}).")


def _path(item: t.Any, repo: str | None) -> tuple[str, bool]:
    """The absolute path of an item of ``paths``, and whether the item says where else its content comes from."""
    elsewhere = False
    if isinstance(item, dict):
        elsewhere = any(item.get(name) for name in ("source", "content", "template", "given"))
        item = item.get("path")
    if not isinstance(item, str) or not item:
        raise PhaseError(f"backup_paths: {item!r} is not a path. Write a path, or a dictionary with 'path'.")
    if not os.path.isabs(item) and not repo:
        raise PhaseError(
            f"backup_paths: {item} is relative, and there is no repository. Set backup_repo (rollback_repo)."
        )
    return os.path.normpath(os.path.join(repo or "/", item)), elsewhere


def _git_knew(git: Git, path: str) -> bool:
    done = git.run("--literal-pathspecs", "log", "-1", "--format=%H", "HEAD", "--", path, check=False)
    return done.rc == 0 and bool(done.out.strip())


def _space(store: Path, found: Survey) -> int:
    """Bytes of files that are still to be kept.

    :raises PhaseError: they do not fit, with the archive and the databases as large as they can become.
    """
    kept = _journal(store)
    size = sum(record.size for path, record in found.files.items() if record.kind == FILE and path not in kept)
    extras = (found.archive.size if found.archive else 0) + sum(dump.size for dump in found.dumps)
    place = store
    while not place.exists():
        place = place.parent
    status = os.statvfs(str(place))
    free = status.f_bavail * status.f_frsize
    need = int((size + extras) * 1.1) + _MARGIN
    if need > free:
        raise PhaseError(
            f"The restore point {store} needs {amount(need)} and {amount(free)} are free on {place}. "
            "Make room there, or take large folders out of backup_paths (rollback_config) and backup_archive, or large "
            "databases out of backup_databases.",
            bytes_needed=need,
            bytes_free=free,
        )
    return size


def _journal(store: Path) -> dict[str, Manifest]:
    """The records of an attempt that was killed, without a last line that was not written to its end."""
    records = {}
    try:
        text = (store / "kept.jsonl").read_text(encoding="ascii")
    except FileNotFoundError:
        return {}
    for line in text.splitlines(keepends=True):
        if line.endswith("\n"):
            record = json.loads(line)
            if record["kind"] != FILE or not damage(store / record["kept"], Found.read(record)):
                records[record["path"]] = record
    return records


def _keep_all(store: Path, found: dict[str, Found]) -> list[Manifest]:
    """Keep each file that an earlier attempt has not kept, and return the records of all."""
    records = _journal(store)
    write_file(store / "kept.jsonl", "".join(json.dumps(record) + "\n" for record in records.values()).encode())
    with open(str(store / "kept.jsonl"), "a", encoding="ascii") as journal:
        for path, known in found.items():
            if path in records:
                continue
            record: Manifest = {"path": path}
            if known.kind == FILE:
                record["kept"] = "files" + path
                known = keep(path, store / record["kept"])  # noqa: PLW2901
            record.update(known.record())
            journal.write(json.dumps(record) + "\n")
            journal.flush()
            os.fsync(journal.fileno())
            records[path] = record
    return list(records.values())


def _other_phases(point: RestorePoint) -> Manifest:
    """What the preflights of the run's other phases found, by phase."""
    return {
        path.parent.name: (read_json(path) or {}).get("before", {})
        for path in sorted(point.root.glob("*/state.json"))
        if path.parent != point.part
    }


def _same(manifest: Manifest, now: Survey) -> bool:
    """Whether a backup that was made alone is still what would be kept now."""
    if now.archive or now.dumps:
        return False
    found = now.files
    records = {record["path"]: Found.read(record) for record in manifest["files"]}
    if manifest["code"] != now.code or set(records) != set(found):
        return False
    return all(
        look(path) == records[path]
        if record.kind in (FILE, LINK)
        else record.kind == records[path].kind and record.same_access(records[path])
        for path, record in found.items()
    )


def _ref_commit(git: Git, ref: str) -> str:
    return git.run("rev-parse", "--verify", "--quiet", ref, check=False).out.strip()


def _set_ref(ctx: Context, code: Manifest) -> bool:
    """Point the backup ref at the commit that was found; True if it did not yet."""
    if not code:
        return False
    git = Git(ctx.commands, code["repo"])
    if _ref_commit(git, code["ref"]) == code["commit"]:
        return False
    if not ctx.check:
        git.run("update-ref", code["ref"], code["commit"])
    return True


def _report(msg: str, manifest: Manifest, changed: bool) -> Report:
    sizes = [record["size"] for record in manifest["files"] if record["kind"] == FILE]
    facts = {"files": len(sizes), "bytes": sum(sizes), "ref": manifest["code"].get("ref")}
    if extras(manifest):
        facts.update(archive=manifest["archive"], databases=manifest["databases"])
        msg = " ".join([msg, *map(_by_hand, extras(manifest)), "What is written later is not in there."])
    return Report(msg, changed=changed, before=_state(manifest["code"]), after=_after(manifest), facts=facts)


def _state(code: Manifest) -> Manifest:
    return {key: code[key] for key in ("commit", "branch") if key in code}


def _after(manifest: Manifest) -> Manifest:
    return dict(_state(manifest["code"]), files=sum(record["kind"] == FILE for record in manifest["files"]))


def _done(manifest: Manifest, store: Path) -> str:
    return "The backup in {} is complete: {} files, all as they were written.".format(
        store, sum(record["kind"] == FILE for record in manifest["files"])
    )


def _by_hand(record: Manifest) -> str:
    """What was kept for people only, and what they type to restore it."""
    name = record.get("name") or f"{record['files']} more files"
    made = f"{amount(record['size'])} in {record['seconds']} s"
    look_into = f"look into it with '{record['look']}', " if "look" in record else ""
    return f"{name}: {made}; it is never restored by itself, {look_into}restore it with '{record['restore']}'."


def _count(found: Survey) -> int:
    return sum(record.kind == FILE for record in found.files.values())
