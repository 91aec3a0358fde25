"""What all passes have in common: base.py, registry.py, choices.py."""

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
from deepmerge.passes.fold_batchnorm import FoldBatchnorm
from deepmerge.passes.fold_scale import FoldScale
from deepmerge.passes.registry import CLEANUP, FOLDS, PASSES, make
from deepmerge.passes.support import choices
from deepmerge.passes.support.base import Change, Match, Options, Pass, Refusal, run
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


def test_only_the_layers_asked_for(tmp_path):
    graph = network(tmp_path, NET)
    applied = run(make(FOLDS, Options()), graph, only=["s"])
    assert [c.layer for c in applied.changes] == ["s"]
    assert "bn" in [x.name for x in graph.layers]


def test_changes_and_marks(tmp_path):
    graph = network(tmp_path, NET)
    (fold,) = make(["fold_batchnorm"], Options())
    match = fold.look(graph, graph.layer("bn"), infer_shapes(graph))
    assert fold.apply(graph, match, "conv1") == Change("fold_batchnorm", "bn", True, ("bn",), ("a",))
    assert (graph.layer("a").step, graph.layer("a").made_by) == ("conv1", "fold_batchnorm")
    assert (graph.layer("b").step, graph.layer("b").made_by) == ("", "")


def test_refusals_are_the_last_rounds(tmp_path):
    """What is refused at first, and taken once another pass has been there, is no refusal."""
    graph = network(tmp_path, NET)
    assert run([FoldScale(), FoldBatchnorm()], graph).refusals == []
    text = NET + relu("s") + layer("bn2", "BatchNorm", "s")
    (refusal,) = run([FoldBatchnorm(), FoldScale()], network(tmp_path, text)).refusals
    assert (refusal.pass_name, refusal.layer, refusal.costly) == ("fold_batchnorm", "bn2", False)


def test_weights_that_are_no_numbers(tmp_path):
    graph = network(tmp_path, NET)
    graph.layer("a").weights[0] = np.full_like(graph.layer("a").weights[0], 3e38)
    graph.layer("bn").weights[1][:] = 1e-9
    with (
        np.errstate(over="ignore"),
        pytest.raises(PassError, match="fold_batchnorm: layer 'a' would get weights that are not finite; keep"),
    ):
        run([FoldBatchnorm()], graph)


def test_every_pass_leaves_a_sound_graph_without_weights(tmp_path):
    """Structure only, as `plan` without a caffemodel."""
    graph = network(tmp_path, NET, seed=None)
    applied = run(make(PASSES, Options()), graph)
    require(graph)
    assert [c.layer for c in applied.changes] == ["bn", "s"]
    assert all(not x.weights for x in graph.layers)


def test_a_pass_of_ones_own():
    class Nothing(Pass):
        name, exact, types = "nothing", True, frozenset(("ReLU",))

    with pytest.raises(NotImplementedError):
        Nothing().match(None, None, {})
    with pytest.raises(NotImplementedError):
        Nothing().rewrite(None, None)
    assert Nothing.summary() == "nothing"  # which has no docstring


@pytest.mark.parametrize("value", [0.5, 1, "0.25", "full"])
def test_widths(value):
    assert choices.width(value) == (value if value == "full" else float(value))


@pytest.mark.parametrize("value", [0, -1, 1.5, "x", None, True, float("nan")])
def test_no_widths(value):
    with pytest.raises(ValueError, match="neither a number above 0"):
        choices.width(value)


@pytest.mark.parametrize("value", ["vbmf", "energy:0.9", "ratio:1"])
def test_ranks(value):
    assert choices.rank(value) == value


@pytest.mark.parametrize("value", ["", "vbmf:1", "energy", "energy:2", "ratio:0", "svd", 3])
def test_no_ranks(value):
    with pytest.raises(ValueError, match="is none of vbmf"):
        choices.rank(value)
