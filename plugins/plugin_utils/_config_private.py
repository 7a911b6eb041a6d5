# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Items of config on their way to a host: templates are rendered, and what may be secret is taken out of sight."""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

from ansible.plugins.loader import lookup_loader

Items = list[t.Any]
Render = t.Callable[[Path], t.Any]


class ItemError(Exception):
    """What is wrong with an item, in a sentence."""


def rendered(items: Items, folders: list[Path], render: Render) -> Items:
    """The items, those with ``template`` with the ``content`` that it renders to.

    :arg folders: where templates may lie, there or in ``templates`` there; first come, first served.
    :raises ItemError: a template is missing, lies elsewhere, or cannot be rendered.
    """
    return [
        {**item, "content": _content(item, folders, render)} if isinstance(item, dict) and "template" in item else item
        for item in items
    ]


def taken_apart(items: Items) -> tuple[Items, Items]:
    """The items without content and values of keys, and these, item by item."""
    public, private = [], []
    for item in items:
        values = item if isinstance(item, dict) else {}
        hidden = {
            name: value
            for name, value in values.items()
            if name == "content" or (name == "keys" and not isinstance(value, list))
        }
        public.append({name: value for name, value in values.items() if name not in hidden} if hidden else item)
        private.append(hidden)
    return public, private


def split(items: t.Any, variables: t.Mapping[str, t.Any], action: t.Any) -> tuple[t.Any, str | None]:
    """Items as a module gets them, and as JSON what may be secret of them, None where nothing is.

    :arg action: the action plugin, whose loader and templar render templates.
    :raises ItemError: a template cannot be rendered.
    """
    if not isinstance(items, list):
        return items, None
    lookup = lookup_loader.get("ansible.builtin.template", loader=action._loader, templar=action._templar)
    whole = rendered(items, template_folders(variables), lambda path: lookup.run([str(path.resolve())], variables)[0])
    public, private = taken_apart(whole)
    # an empty list would be masked wherever a result holds one; a value from a vault is no str yet
    return public, json.dumps(private, default=str) if any(private) else None


def template_folders(variables: t.Mapping[str, t.Any]) -> list[Path]:
    """The folders of the user's own repository: those of the inventory, of the playbook, and where it was started."""
    folders: list[Path] = []
    for source in variables.get("ansible_inventory_sources") or []:
        if "," not in source:
            path = Path(source)
            folders += [path.parent] if path.is_dir() else [path.parent, path.parent.parent]
    if variables.get("playbook_dir"):
        folders.append(Path(variables["playbook_dir"]))
    return list(dict.fromkeys([*folders, Path.cwd()]))


def _content(item: dict[str, t.Any], folders: list[Path], render: Render) -> str:
    path, name = item.get("path"), item["template"]
    others = sorted({"content", "source", "keys"}.intersection(item))
    if others:
        raise ItemError(f"config_restore_paths: {path} has template and {others[0]}. Write one of them.")
    places = [place / str(name) for folder in folders for place in (folder / "templates", folder)]
    found = next((place for place in places if place.is_file()), None)
    if not isinstance(name, str) or found is None:
        raise ItemError(
            f"There is no template '{name}' for {path}. Put it into {folders[0] / 'templates'}, or correct its name."
        )
    real = Path(os.path.realpath(found))
    if not any(real.is_relative_to(os.path.realpath(folder)) for folder in folders):
        raise ItemError(f"The template '{name}' for {path} lies outside {folders[0]}, at {real}. Put it in there.")
    try:
        text = render(found)
    except Exception as exc:
        raise ItemError(f"The template {found} for {path} cannot be rendered: {exc}") from exc
    if not isinstance(text, str):
        raise ItemError(f"The template {found} for {path} renders to no text. End it with a line of text.")
    return text
