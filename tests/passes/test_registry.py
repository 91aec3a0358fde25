"""All passes: their names and docstrings, and what holds of every one."""

from __future__ import annotations

import hashlib
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deepmerge.errors import PassError
from deepmerge.graph.check import require
from deepmerge.graph.shapes import infer_shapes
from deepmerge.kernels.moments import Moments
from deepmerge.passes.registry import CLEANUP, FOLDS, PASSES, make
from deepmerge.passes.support.base import Match, Options, Refusal, run
from tests.helpers import conv, inputs, layer, network, relu
from tests.passes.module_nets import inception

NET = inputs((2, 6, 9, 7)) + conv("a", "data", 4) + layer("bn", "BatchNorm", "a") + relu("bn")
NET += conv("b", "bn", 3) + layer("s", "Scale", "b", "bias_term: true")


@pytest.mark.parametrize("name", PASSES)
def test_names_and_docstrings(name):
    """verb_noun; the class is the file's name in capitals; the file's docstring draws, says whether exact, and why."""
    one = PASSES[name]
    assert one.__module__ == f"deepmerge.passes.{name}"
    assert one.__name__ == "".join(word.capitalize() for word in name.split("_"))
    text = inspect.getmodule(one).__doc__
    assert "Given:" in text and "Result:" in text and "Source:" in text
    assert re.search(rf"^Exact: {'yes' if one.exact else 'no'}", text, re.M)
    assert re.match(r"[A-Z][a-z]+ .+[^.]$", one.summary()) and one.types
    assert set(one.uses) <= set(Options.__dataclass_fields__)


def test_exact_passes_first():
    order = [PASSES[name].exact for name in PASSES]
    assert order == sorted(order, reverse=True)
    assert all(PASSES[name].exact for name in (*CLEANUP, *FOLDS))


def test_a_name_that_is_none():
    with pytest.raises(PassError, match="there is no pass 'fold_batchnrom'; did you mean 'fold_batchnorm'"):
        make(["fold_batchnrom"], Options())
    with pytest.raises(PassError, match="there is no pass 'zzz'; there are remove_identity, "):
        make(["zzz"], Options())


def test_make_hands_the_options_on():
    options = Options(width=0.25)
    assert [(type(p).name, p.options) for p in make(FOLDS, options)] == [(name, options) for name in FOLDS]


def test_looking_changes_nothing(tmp_path):
    graph = network(tmp_path, NET)
    before = [(x.name, x.params, [w.tobytes() for w in x.weights]) for x in graph.layers]
    for one in make(PASSES, Options(costly=True)):
        for x in graph.layers:
            refusals = []
            answer = one.look(graph, x, infer_shapes(graph), refusals)
            assert isinstance(answer, Match) if answer else all(isinstance(r, Refusal) for r in refusals)
    assert [(x.name, x.params, [w.tobytes() for w in x.weights]) for x in graph.layers] == before


def digest(folder: Path) -> str:
    """Of the weights that the passes make of some networks, by their own and by a layer's moments."""
    found = hashlib.sha256()
    tall = inputs((2, 24, 9, 8)) + conv("conv", "data", 32, "kernel_size: 3")
    mix = np.random.default_rng(0).normal(0, 1, (216, 40))
    moments = {"conv": Moments("patches", np.ones((1, 216)), (mix @ mix.T)[None])}
    for text, name, options in (
        (NET, "fold_batchnorm", {}),
        (inception() + layer("pool", "Pooling", "out", "kernel_size: 3 stride: 2"), "merge_branches", {}),
        (inception(), "embed_branches", {"costly": True}),
        (tall, "decompose_tucker", {"rank": "ratio:0.25"}),
        (tall, "decompose_tucker", {"rank": "energy:0.9", "moments": moments}),
    ):
        graph = network(folder, text)
        assert run(make([name], Options(**options)), graph).changes
        for x in graph.layers:
            found.update(repr((x.name, x.params, [array.tobytes() for array in x.weights])).encode())
    return found.hexdigest()


def test_the_same_bytes_whatever_the_order_of_sets(tmp_path):
    code = (
        "import sys, pathlib; from tests.passes.test_registry import digest; print(digest(pathlib.Path(sys.argv[1])))"
    )
    root = Path(__file__).parents[2]
    found = [digest(tmp_path)]
    for seed in "12":
        environment = dict(os.environ, PYTHONHASHSEED=seed, PYTHONPATH=str(root))
        command = [sys.executable, "-c", code, tmp_path]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=root)
        found.append(done.stdout.strip())
    assert len(set(found)) == 1


def test_every_pass_leaves_a_sound_graph_without_weights(tmp_path):
    """Structure only, as `plan` without a caffemodel."""
    graph = network(tmp_path, NET, seed=None)
    applied = run(make(PASSES, Options()), graph)
    require(graph)
    assert [c.layer for c in applied.changes] == ["bn", "s"]
    assert all(not x.weights for x in graph.layers)
