"""Looking, refusing, applying, running: what a pass inherits."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.errors import PassError
from deepmerge.graph.shapes import KeptShapes, infer_shapes
from deepmerge.passes.fold_batchnorm import FoldBatchnorm
from deepmerge.passes.fold_scale import FoldScale
from deepmerge.passes.registry import make
from deepmerge.passes.support import base
from deepmerge.passes.support.base import Change, Match, Options, Pass, Refusal, Refused, first_match, possible, run
from deepmerge.targets.target import target_of
from tests.helpers import conv, inputs, layer, network, relu, structure

NET = inputs((2, 6, 9, 7)) + conv("a", "data", 4) + layer("bn", "BatchNorm", "a") + relu("bn")
NET += conv("b", "bn", 3) + layer("s", "Scale", "b", "bias_term: true")


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


def test_the_way_out_is_a_word_of_a_shell(tmp_path):
    graph = network(tmp_path, NET.replace('"a"', '"$a"'))
    graph.layer("$a").weights[0] = np.full_like(graph.layer("$a").weights[0], 3e38)
    graph.layer("bn").weights[1][:] = 1e-9
    with np.errstate(over="ignore"), pytest.raises(PassError) as caught:
        run([FoldBatchnorm()], graph)
    assert caught.value.remedy == "keep it with --keep '$a'"


def test_a_pass_of_ones_own():
    class Nothing(Pass):
        name, exact, types = "nothing", True, frozenset(("ReLU",))

    with pytest.raises(NotImplementedError):
        Nothing().match(None, None, {})
    with pytest.raises(NotImplementedError):
        Nothing().rewrite(None, None)
    assert Nothing.summary() == "nothing"  # which has no docstring


class Picky(Pass):
    """Take every ReLU, unless it has a neighbour called "bad".

    More than one line.
    """

    name, exact, types = "picky", True, frozenset(("ReLU",))

    def match(self, graph, layer, shapes):
        if layer.name == "none":
            return None
        if layer.name == "bad":
            raise Refused(layer, "it is bad", costly=True)
        if layer.bottom.producer.name == "bad":
            raise Refused(layer.bottom.producer, "it is bad")
        return Match(layer, (layer,), (layer.bottom.producer,))


CHAIN = inputs((1, 2)) + "".join(
    layer(name, kind, bottom)
    for name, kind, bottom in (
        ("good", "ReLU", "data"),
        ("bad", "ReLU", "good"),
        ("next", "ReLU", "bad"),
        ("none", "ReLU", "next"),
        ("other", "TanH", "none"),
    )
)


def test_a_summary_is_the_docstrings_first_line():
    assert Picky.summary() == 'Take every ReLU, unless it has a neighbour called "bad"'


def test_look_records_refusals(tmp_path):
    """With the name of the layer that is in the way, if that is another one."""
    graph = network(tmp_path, CHAIN)
    refusals: list[Refusal] = []
    found = {x.name: Picky().look(graph, x, {}, refusals) for x in graph.layers[1:]}
    assert [name for name, match in found.items() if match] == ["good"]
    assert refusals == [Refusal("picky", "bad", "it is bad", costly=True), Refusal("picky", "next", "'bad': it is bad")]
    assert Picky().look(graph, graph.layer("bad"), {}) is None  # nobody wants to know why


@pytest.mark.parametrize("kept", ["good", "input", "Input", "ReLU"])
def test_what_a_match_touches_may_be_kept(tmp_path, kept):
    graph, refusals = network(tmp_path, CHAIN), []
    assert Picky(Options(keep=frozenset([kept]))).look(graph, graph.layer("good"), {}, refusals) is None
    assert refusals[0].layer == "good" and refusals[0].reason.endswith("is kept, as asked")


@pytest.mark.parametrize(("fields", "folds"), [("engine: CUDNN", True), ("normalize: true", False)])
def test_exact_passes_leave_layers_with_unknown_fields_alone(tmp_path, fields, folds):
    """happynear/caffe-windows: inner_product_param { normalize: true } normalises the rows of the weights."""
    text = inputs((2, 6)) + layer("fc", "InnerProduct", "data", f"num_output: 4 {fields}") + layer("s", "Scale", "fc")
    applied = run([FoldScale()], network(tmp_path, text))
    why = "'fc': its inner_product_param has 'normalize', which is not known here, and may change what it computes"
    last = "its top 's' is an output of the network"
    reason = f"it cannot go into the layer before it ({why}), nor into the one after it ({last})"
    assert [change.layer for change in applied.changes] == ["s"] * folds
    assert applied.refusals == ([] if folds else [Refusal("fold_scale", "s", reason)])


def test_the_first_match(tmp_path):
    graph = network(tmp_path, CHAIN)
    passes, refusals = [Picky(Options(keep=frozenset(["input"]))), Picky(), Picky()], []
    one, match = first_match(passes, graph, graph.layer("good"), {}, refusals)
    assert one is passes[1] and match.layer.name == "good" and len(refusals) == 1
    assert first_match(passes, graph, graph.layer("none"), {}) is None


def test_possible(tmp_path):
    graph = network(tmp_path, CHAIN)
    assert possible(Picky().match, graph, graph.layer("good"), {})
    assert not possible(Picky().match, graph, graph.layer("bad"), {})


# -- targets ---------------------------------------------------------------------------------------

POOLED = inputs((1, 3, 32, 24)) + conv("a", "data", 4, "kernel_size: 3 stride: 2 pad: 1") + relu("a")
POOLED += layer("p", "Pooling", "a", "kernel_size: 3 stride: 2")


def chip(monkeypatch, most: int):
    """A target that takes convolutions up to a stride."""
    rule = {"name": "stride", "types": ["Convolution"], "value": "stride", "most": most}
    facts = {"title": "A chip", "source": "its manual", "date": "2026-01-31", "tried": False, "rule": [rule]}
    monkeypatch.setattr(base, "load_target", lambda name: target_of(name, facts))


@pytest.mark.parametrize(("most", "taken"), [(3, False), (4, True)])
def test_a_stride_that_the_target_does_not_take(tmp_path, monkeypatch, most, taken):
    chip(monkeypatch, most)
    graph = network(tmp_path, POOLED)
    before, refusals, shapes = structure(graph), [], KeptShapes(graph).refresh()
    (merge,) = make(["merge_pooling"], Options(target="chip"))
    assert (merge.look(graph, graph.layer("p"), shapes, refusals) is not None) == taken
    reason = "chip would not take 'a': stride is 4; it takes at most 3"
    assert refusals == ([] if taken else [Refusal("merge_pooling", "p", reason)])
    assert structure(graph) == before and dict(shapes) == infer_shapes(graph)


def test_what_the_target_did_not_take_before_may_stay(tmp_path, monkeypatch):
    chip(monkeypatch, 1)  # the convolution has stride 2 already
    graph = network(tmp_path, POOLED)
    (merge,) = make(["merge_pooling"], Options(target="chip"))
    assert merge.look(graph, graph.layer("p"), infer_shapes(graph)) is not None


@pytest.mark.parametrize(("target", "kind"), [("nnie", "BatchNorm"), ("rknn2", "Scale"), ("", "Scale")])
def test_a_type_that_the_target_does_not_take(tmp_path, target, kind):
    graph = network(tmp_path, inputs((2, 3, 9, 7)) + layer("r", "ReLU", "data") + layer("bn", "BatchNorm", "r"))
    refusals = run(make(["convert_batchnorm"], Options(target=target)), graph).refusals
    assert graph.layer("bn").type == kind
    assert [r.reason.partition(":")[0] for r in refusals] == (["nnie would not take 'bn'"] if target == "nnie" else [])
