"""What is kept while a graph is edited equals what is derived from the whole graph, and costs work only near edits."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepmerge.graph import Blob, Graph, Layer
from deepmerge.graph import params as typed
from deepmerge.graph import shapes as inference
from deepmerge.graph.check import require
from deepmerge.graph.costs import KeptCosts, summary
from deepmerge.graph.shapes import KeptShapes, infer_shapes
from deepmerge.passes.registry import PASSES, make
from deepmerge.passes.support.base import Options, first_match
from deepmerge.plan import Wishes, make_plan, run_recipe
from tests.helpers import conv, inputs, layer, network, relu, structure
from tests.passes.test_random_networks import grown, module

PASS_NAMES = [name for name in PASSES if name != "decompose_tucker"]
SHARED = 'param { name: "w" } param { name: "b" }'


def text_of(seed: int) -> str:
    """One of the random networks, with two convolutions that share their weights before a part without a batch."""
    kind = seed % 3
    if kind == 0:
        return module(seed)
    twins = "".join(
        layer(f"twin{i}", "Convolution", "data", "num_output: 6 kernel_size: 1", param=SHARED) for i in "ab"
    )
    views = layer("flat", "Flatten", "twina") + layer("again", "Reshape", "flat", "shape { dim: 0 dim: -1 }")
    return grown(seed, 30) + (twins + views if kind == 1 else "")


def everything(graph: Graph) -> list:
    """All that a graph holds, its order of readers and its indexes included."""
    readers = [[reader.name for reader in blob.consumers] for blob in graph.blobs]
    fields = [(la.params, la.step, la.made_by, len(la.weights), len(la.param_specs)) for la in graph.layers]
    weights = [array for la in graph.layers for array in la.weights]
    return [structure(graph), readers, fields, list(map(id, weights)), graph.warnings, len(graph.train_layers)]


def check_indexes(graph: Graph) -> None:
    assert [graph.find(la.name) for la in graph.layers] == graph.layers
    assert [graph.index(la) for la in graph.layers] == list(range(len(graph.layers)))
    names = {la.name for la in graph.layers} | {blob.name for blob in graph.blobs}
    assert all((graph.fresh_name(name) != name) == (name in names) for name in names | {"nobody"})
    for la in graph.layers:
        found = [other for other in graph.layers if other is not la and set(other.shared_names) & set(la.shared_names)]
        assert graph.sharers(la) == found
    require(graph)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), choices=st.lists(st.tuples(st.integers(0, 99), st.integers(0, 2)), max_size=14))
def test_after_any_edits_what_is_kept_is_what_is_derived_from_scratch(tmp_path_factory, seed, choices):
    graph = network(tmp_path_factory.mktemp("net"), text_of(seed), seed)
    shapes, costs = KeptShapes(graph).refresh(), KeptCosts(graph)
    costs.summary()
    passes = make(PASS_NAMES, Options(costly=True))
    for choice, undone in choices:
        target = graph.layers[choice % len(graph.layers)]
        before = everything(graph)
        with graph.trial() as trial:
            taken = first_match(passes, graph, target, shapes)
            if taken is not None:
                taken[0].apply(graph, taken[1])
            if undone == 1:  # what is kept may have seen the edits that are undone, or not
                shapes.refresh()
                costs.summary()
            trial.kept = undone == 0
        if undone:
            assert everything(graph) == before
        assert shapes.refresh() == infer_shapes(graph)
        assert costs.summary() == summary(graph)
        check_indexes(graph)


def test_keys_are_given_out_again_where_none_is_left(tmp_path):
    graph = network(tmp_path, inputs((1, 2, 3, 4)) + relu("data", "last"), None)
    costs, last = KeptCosts(graph), graph.layer("last")
    names = [f"new{i}" for i in range(100)]
    for name in names:
        graph.insert(Layer(name, "ReLU", typed.ReLU(), [graph.inputs[0]], [Blob(name)]), before=last)
        assert costs.summary() == summary(graph)
    assert [la.name for la in graph.layers] == ["input", *names, "last"]
    check_indexes(graph)


def test_a_trial_that_fails_is_undone(tmp_path):
    graph = network(tmp_path, inputs((1, 2, 3, 4)) + conv("c", "data", 4) + relu("c", "r"), None)
    before = everything(graph)
    with pytest.raises(ValueError, match="stop"), graph.trial():
        graph.bypass(graph.layer("r"))
        graph.rename(graph.layer("c"), "other")
        graph.warnings.append("noted")
        raise ValueError("stop")
    assert everything(graph) == before and graph.layer("c").name == "c"
    check_indexes(graph)


def chain(layers: int) -> str:
    text, bottom = inputs((1, 4, 6, 5)), "data"
    for i in range(layers // 4):
        text += conv(f"c{i}", bottom, 4) + layer(f"b{i}", "BatchNorm", f"c{i}") + layer(f"s{i}", "Scale", f"b{i}")
        text += relu(f"s{i}")
        bottom = f"s{i}"
    return text


def pooled(layers: int) -> str:
    """Convolutions of one blob, each with a pooling that can be merged into it."""
    text = inputs((1, 4, 12, 11))
    pool = "pool: MAX kernel_size: 2 stride: 2"
    for i in range(layers // 3):
        text += conv(f"c{i}", "data", 4, "kernel_size: 3 pad: 1") + relu(f"c{i}")
        text += layer(f"p{i}", "Pooling", f"c{i}", pool)
    return text


@pytest.mark.parametrize("text", [chain, pooled])
def test_a_plan_of_twice_the_layers_infers_twice_the_shapes_and_copies_no_more(tmp_path, monkeypatch, text):
    counts = {"rules": 0, "copies": 0}
    rule, copy = inference.top_shapes, Graph.copy

    def counted_rule(*args):
        counts["rules"] += 1
        return rule(*args)

    def counted_copy(graph):
        counts["copies"] += 1
        return copy(graph)

    monkeypatch.setattr(inference, "top_shapes", counted_rule)
    monkeypatch.setattr(Graph, "copy", counted_copy)
    found = []
    for layers in (120, 240):
        graph = network(tmp_path, text(layers), None)
        counts.update(rules=0, copies=0)
        plan = make_plan(graph, Wishes())
        costs = KeptCosts(graph)
        steps = [costs.summary() for _ in run_recipe(graph, plan.recipe)]
        assert len(steps) == len(plan.recipe.steps) >= layers // 4
        found.append(dict(counts))
    assert found[1]["rules"] <= 2.2 * found[0]["rules"] and found[1]["copies"] == found[0]["copies"]


@pytest.mark.parametrize("inner", [True, False])
@pytest.mark.parametrize("outer", [True, False])
def test_a_trial_inside_another(tmp_path, inner, outer):
    """What the inner one keeps, the outer one still undoes; what it undoes, the outer one does not keep."""
    graph = network(tmp_path, inputs((1, 3, 8, 8)) + conv("a", "data", 4))
    with graph.trial() as first:
        graph.rename(graph.layer("a"), "b")
        with graph.trial() as second:
            graph.rename(graph.layer("b"), "c")
            second.kept = inner
        assert graph.layers[1].name == ("c" if inner else "b")
        graph.rename(graph.layers[1], "d")
        first.kept = outer
    assert graph.layers[1].name == ("d" if outer else "a")
    assert graph.find(graph.layers[1].name) is graph.layers[1]
