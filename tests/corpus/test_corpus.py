"""The corpus is read: no traceback, and 97 % of the definitions that are whole. Real Caffe judges those that it has layers for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from deepmerge.formats.read import read_network
from deepmerge.formats.write import write_pair
from deepmerge.plan import make_plan, run_recipe
from deepmerge.plan.plan import Wishes
from tests.corpus.__main__ import outcome
from tests.corpus.kinds import KINDS, entries
from tests.helpers import apart, feeds, fill

ENTRIES = list(entries())


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_read(tmp_path, kind):
    chosen = [entry for entry in ENTRIES if entry.kind == kind]
    said = [outcome(entry, tmp_path) for entry in chosen]
    assert not [line for line in said if line.startswith("Traceback")]
    for entry, line in zip(chosen, said, strict=True):
        assert (entry.refused in line and line.count("\n") <= 2) if entry.refused else not line
    assert len({entry.text for entry in chosen}) > len(chosen) / 2, "the variants are alike"


def test_without_the_size_the_line_says_which_option_to_give(tmp_path):
    open_ones = ("data_layer", "python_data", "no_input", "open_sizes", "train_data_alone")
    chosen = [entry for entry in ENTRIES if entry.kind in open_ones]
    said = [outcome(replace(entry, inputs={}), tmp_path) for entry in chosen]
    assert [line for line in said if "give its size: --input data=" not in line or "\n" in line] == []


def test_how_many_there_are():
    """Of a size and a variety that a share of 97 % means something."""
    assert len(ENTRIES) >= 350 and len(KINDS) >= 25
    assert sum(bool(entry.refused) for entry in ENTRIES) / len(ENTRIES) <= 0.05


@pytest.mark.parametrize("kind", sorted({entry.kind for entry in ENTRIES if entry.caffe}))
def test_real_caffe_finds_the_same_after_exact_steps(tmp_path, real_caffe, kind):
    """Two of each kind: the definition as it was published, and the converted one."""
    with real_caffe.start() as worker:
        for entry in [entry for entry in ENTRIES if entry.kind == kind and entry.caffe][:2]:
            path = tmp_path / "net.prototxt"
            path.write_text(entry.text)
            graph = read_network(path, inputs=entry.inputs)
            fill(graph, 4)
            values = feeds(graph)
            if kind == "recurrent":  # indices of words, and whether a sentence goes on
                values = {name: np.floor(np.abs(array)) % 2 for name, array in values.items()}
            before = tmp_path / "before.prototxt", tmp_path / "before.caffemodel"
            after = tmp_path / "after.prototxt", tmp_path / "after.caffemodel"
            write_pair(graph, *before)
            for _ in run_recipe(graph, make_plan(graph, Wishes(exact=True)).recipe):
                pass
            write_pair(graph, *after)
            runs = []
            for pair in (before, after):
                with worker.load(*pair) as session:
                    runs.append(session.forward(values))
            assert apart(*runs) <= 1e-5
