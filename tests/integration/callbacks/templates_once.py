# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets the many ansible-playbooks of a session compile each template once. For the tests only.

Each task on each host is a process of its own, in which Ansible compiles each template that it names anew: half of what
that process does. What a template compiles to depends on nothing but its text, so it is kept by that, in the directory
of the session that the environment variable TEMPLATES_ONCE names.
"""

from __future__ import annotations

import hashlib
import marshal
import os
import types
import typing as t
from functools import partialmethod
from pathlib import Path

from ansible.plugins.callback import CallbackBase
from jinja2 import nodes
from jinja2.environment import Environment, TemplateExpression

compile_anew, compile_expression_anew = Environment.compile, Environment.compile_expression
SETTINGS = ("block_start_string", "variable_start_string", "comment_start_string", "trim_blocks", "lstrip_blocks")
SETTINGS += ("line_statement_prefix", "line_comment_prefix", "keep_trailing_newline", "newline_sequence", "optimized")


class Templates:
    """What templates compile to, in a directory that all processes share."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.known: dict[str, types.CodeType] = {}
        self.last: types.CodeType | None = None  # what Jinja compiled last in this process

    def kept(self, env: Environment, kind: str, source: str, anew: t.Callable[[], types.CodeType]) -> types.CodeType:
        """What it compiled to in an earlier process, or does now."""
        settings = [repr(getattr(env, name)) for name in SETTINGS]
        name = hashlib.sha256("\0".join([kind, *settings, source]).encode()).hexdigest()
        if name not in self.known:
            file = self.place / name
            try:
                self.known[name] = marshal.loads(file.read_bytes())
            except FileNotFoundError:
                self.known[name] = anew()
                part = file.with_suffix(f".{os.getpid()}")
                part.write_bytes(marshal.dumps(self.known[name]))
                part.rename(file)
        return self.known[name]


# In the place of two methods of Jinja. A text with a backslash is left to Jinja: what becomes of that depends on where
# the text stands.


def compile_once(env: Environment, templates: Templates, source: str | nodes.Template, *args: t.Any) -> t.Any:
    if isinstance(source, str) and "\\" not in source and not args:
        return templates.kept(env, "template", source, lambda: compile_anew(env, source))
    templates.last = compile_anew(env, source, *args)
    return templates.last


def compile_expression_once(
    env: Environment, templates: Templates, source: str, undefined_to_none: bool = True
) -> TemplateExpression:
    def anew() -> types.CodeType:
        compile_expression_anew(env, source)
        assert templates.last
        return templates.last

    if "\\" in source:
        return compile_expression_anew(env, source, undefined_to_none)
    code = templates.kept(env, "expression", source, anew)
    template = env.template_class.from_code(env, code, env.make_globals(None), None)
    return TemplateExpression(template, undefined_to_none)


class CallbackModule(CallbackBase):
    """Puts them there before the first template is read."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "templates_once"

    def __init__(self) -> None:
        super().__init__()
        once = os.environ.get("TEMPLATES_ONCE")
        if once:
            templates = Templates(Path(once))
            Environment.compile = partialmethod(compile_once, templates)
            Environment.compile_expression = partialmethod(compile_expression_once, templates)
