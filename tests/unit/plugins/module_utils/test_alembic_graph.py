# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which revisions a target means, compared with what Alembic itself would undo."""

from __future__ import annotations

import itertools
import types

import pytest

pytest.importorskip("alembic")

from alembic import script
from alembic.config import Config
from ansible_collections.changeops.rollback.plugins.module_utils import _alembic_graph as graphs
from ansible_collections.changeops.rollback.plugins.module_utils._alembic_sqlite import spoken

# shop:  a1 - a2 - a3 ------- m - n       b2 depends on a2, f forks off a1
#          \                 /
# fork:     f               /
# stock: b1 ---------- b2 -
TREE = {
    "a1": ("None", "branch_labels = ('shop',)"),
    "a2": ("'a1'", ""),
    "a3": ("'a2'", ""),
    "f": ("'a1'", "branch_labels = ('fork',)"),
    "b1": ("None", "branch_labels = ('stock',)"),
    "b2": ("'b1'", "depends_on = ('a2',)"),
    "m": ("('a3', 'b2')", ""),
    "n": ("'m'", ""),
}


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    place = tmp_path_factory.mktemp("migrations")
    (place / "versions").mkdir()
    for revision, (down, more) in TREE.items():
        text = f"revision = '{revision}'\ndown_revision = {down}\n{more}\ndef downgrade(): pass\n"
        (place / "versions" / f"{revision}.py").write_text(text)
    config = Config()
    config.set_main_option("script_location", str(place))
    return graphs.Graph(script.ScriptDirectory.from_config(config))


def places(graph):
    """Every place that a database can be at."""
    for number in range(len(TREE) + 1):
        for some in itertools.combinations(TREE, number):
            if graph.applied(some) == set(some):
                yield graph.tops(set(some))


# Not fork@base: where no other branch stands, Alembic goes on through what the fork grew out of, down to the ground.
WORDS = ["-1", "-2", "shop@-1", "stock@-1", "stock@-2", "shop@base", "stock@base", "base"]


def test_a_way_undoes_what_alembic_would_undo(graph):
    compared = set()
    for start, word in itertools.product(places(graph), WORDS):
        try:
            steps = graph.scripts._downgrade_revs(word, tuple(start))
        except Exception:  # Alembic cannot tell: nothing to compare with
            continue
        place = graph.resolve([word], start)
        if place is None:
            continue
        compared.add((spoken(start), word))
        assert sorted(graph.between(start, place)) == sorted(s.revision.revision for s in steps), (start, word)
    assert {("a3", "-2"), ("a3 and b2", "stock@base"), ("a3 and b1", "shop@-1"), ("n", "base")} <= compared


@pytest.mark.parametrize(
    ("start", "words", "place", "undone", "beside"),
    [
        # the rows of the version table, the target, where it leads, in which order, what Alembic would have left
        (["n"], ["m"], ["m"], ["n"], []),
        (["m"], ["-1"], ["a3", "b2"], ["m"], []),
        (["m"], ["m-1"], ["a3", "b2"], ["m"], []),
        (["m"], ["a3"], ["a3"], ["m", "b2", "b1"], ["b2"]),
        (["n"], ["a2"], ["a2"], ["n", "m", "a3", "b2", "b1"], ["b1"]),
        (["a3", "b2"], ["a2", "b2"], ["a2", "b2"], ["a3"], []),
        (["a3", "b2"], ["a3"], ["a3"], ["b2", "b1"], []),
        (["b2"], ["-1"], ["a2", "b1"], ["b2"], []),
        (["b2"], ["b1"], ["b1"], ["b2", "a2", "a1"], ["a2"]),
        (["a3", "b2"], ["shop@-1", "stock@-1"], ["a2", "b1"], ["a3", "b2"], []),
        (["a3", "b2"], ["shop@-2"], ["a1", "b1"], ["a3", "b2", "a2"], []),
        (["a3", "b2"], ["shop@base"], ["b1"], ["a3", "b2", "a2", "a1"], []),
        (["a3", "b2", "f"], ["fork@base"], ["a3", "b2"], ["f"], []),
        (["a3"], ["a3-2"], ["a1"], ["a3", "a2"], []),
        (["a3"], ["a3-3"], [], ["a3", "a2", "a1"], []),
        (["n"], ["base"], [], ["n", "m", "a3", "b2", "a2", "a1", "b1"], []),
        (["a3"], ["a3"], ["a3"], [], []),
        # what cannot be told, and what is no way down
        (["a3", "b2"], ["-1"], None, None, None),
        (["n"], ["-3"], None, None, None),
        (["a1"], ["-2"], None, None, None),
        (["a3"], ["stock@-1"], None, None, None),
        (["a3"], ["stock@base"], None, None, None),
        (["a3", "b2"], ["shop@-1", "b2"], None, None, None),
        (["a3"], ["other@base"], None, None, None),
        (["a3"], ["other"], None, None, None),
        (["a2"], ["a3"], ["a3"], None, []),
        (["a3"], ["f"], ["f"], None, []),
    ],
)
def test_where_a_target_leads(graph, start, words, place, undone, beside):
    assert graph.resolve(words, start) == place
    if place is not None:
        assert graph.between(start, place) == undone
    if undone is not None and not graphs.relative(words[0]):
        assert graph.beside(start, place) == beside


def test_a_place_is_the_same_however_it_is_named(graph):
    assert graph.same(["b2"], ["a2", "b2"])
    assert graph.same(["gone"], ["gone"])
    assert not graph.same(["b2"], ["a3", "b2"])
    assert not graph.same(["gone"], ["b2"])


def test_a_long_history_is_walked_fast():
    class Revision:
        def __init__(self, number):
            self.revision = f"r{number}"
            self._all_down_revisions = (f"r{number - 1}",) if number else ()

    made = {f"r{number}": Revision(number) for number in range(20000)}
    scripts = types.SimpleNamespace(get_revision=made.get)
    assert len(graphs.Graph(scripts).between(["r19999"], [])) == 20000


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("raise NotImplementedError", 3),
        ('"""No way\n    back."""\n    raise Exception("x")', 5),
        ("pass", None),
        ("op.drop_table('x')\n    raise Exception", None),
        ("if context.get_x_argument():\n        raise Exception", None),
    ],
)
def test_a_downgrade_that_begins_with_raise_is_known(tmp_path, body, line):
    path = tmp_path / "m.py"
    path.write_text(f"def upgrade(): raise Exception\ndef downgrade():\n    {body}\n")
    assert graphs.raises_first(str(path)) == line
