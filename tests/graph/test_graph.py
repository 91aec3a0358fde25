"""Edits keep uses and producers in step, or refuse and change nothing."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.errors import GraphError
from deepmerge.graph import Blob, Field, Graph, Layer, Message, Quoted, Token
from deepmerge.graph import params as typed
from deepmerge.graph.check import check
from tests.graph.graph_nets import convolution, data, layer

#  x ─ conv ─ relu (in place) ─┬─ left ──┬─ join
#                              └─ right ─┘
NET = (
    data(1, 3, 7, 5)
    + convolution("num_output: 4 kernel_size: 1", "conv")
    + layer("ReLU", "", "relu", "conv", "conv")
    + layer("Power", "", "left", "conv")
    + layer("AbsVal", "", "right", "conv")
    + layer("Eltwise", "", "join", "left right")
)


@pytest.fixture
def graph(read):
    return read(NET)


def edges(graph: Graph) -> list[tuple[str, list[str], list[str]]]:
    return [(la.name, [b.name for b in la.bottoms], [t.name for t in la.tops]) for la in graph.layers]


def sound(graph: Graph) -> bool:
    return all(row.ok for row in check(graph))


def test_looking(graph):
    conv, relu = graph.layer("conv"), graph.layer("relu")
    assert conv.top is not relu.top and conv.top.name == relu.top.name == "conv"
    assert relu.bottom is conv.top and conv.top.consumers == [relu]
    assert [blob.name for blob in graph.blobs] == ["x", "conv", "conv", "left", "right", "join"]
    assert graph.inputs == [graph.layer("x").top] and graph.outputs == [graph.layer("join").top]
    assert repr(conv) == "Layer('conv', Convolution)" and repr(conv.top) == "Blob('conv')"
    with pytest.raises(GraphError, match="has no layer 'relu2'"):
        graph.layer("relu2")


def test_a_blob_read_twice_by_one_layer_has_two_consumers(read):
    graph = read(data(1, 2) + layer("Eltwise", "", "y", "x x"))
    assert graph.inputs[0].consumers == [graph.layer("y")] * 2
    graph.rewire(
        graph.inputs[0], graph.insert(Layer("z", "Input", typed.Input(), [], [Blob("z")]), graph.layer("y")).top
    )
    assert [blob.name for blob in graph.layer("y").bottoms] == ["z", "z"] and len(graph.inputs[1].consumers) == 2


def test_insert_links_and_places(graph):
    relu = graph.layer("relu")
    new = graph.insert(Layer("new", "Power", typed.Power(), [relu.top], [Blob("new")]), before=graph.layer("right"))
    assert [la.name for la in graph.layers] == ["x", "conv", "relu", "left", "new", "right", "join"]
    assert new.top.producer is new and new in relu.top.consumers and sound(graph)


def test_insert_refuses_tops_and_bottoms_that_do_not_belong(graph):
    before = edges(graph)
    with pytest.raises(GraphError, match="layer 'new': top 'conv' is made by layer 'conv' already"):
        graph.insert(Layer("new", "Input", None, [], [graph.layer("conv").top]))
    with pytest.raises(GraphError, match=r"layer 'new' \(ReLU\): bottom 'lost' is made by no layer"):
        graph.insert(Layer("new", "ReLU", None, [Blob("lost")], [Blob("new")]))
    assert edges(graph) == before and sound(graph)


def test_remove_takes_only_what_nobody_reads(graph):
    with pytest.raises(GraphError, match="layer 'left': top 'left' is still read by layer 'join'"):
        graph.remove(graph.layer("left"))
    join, left = graph.layer("join"), graph.layer("left")
    graph.remove(join)
    assert left.top.consumers == [] and join.top.producer is None
    assert [blob.name for blob in graph.outputs] == ["left", "right"] and sound(graph)


def test_rewire_moves_every_reader(graph):
    conv, relu = graph.layer("conv"), graph.layer("relu")
    graph.rewire(relu.top, conv.top)
    assert relu.top.consumers == [] and [la.name for la in conv.top.consumers] == ["relu", "left", "right"]
    assert sound(graph)


def test_a_bottom_goes_with_its_flag(read):
    flags = "propagate_down: true propagate_down: false propagate_down: true"
    graph = read(data(1, 3) + layer("ReLU") + layer("AbsVal", "", "z") + layer("Concat", flags, "join", "x y z"))
    join, before = graph.layer("join"), graph.layer("join").tree
    with graph.trial():
        graph.drop_bottom(join, graph.layer("y").top)
        assert edges(graph)[-1] == ("join", ["x", "z"], ["join"]) and sound(graph)
        assert join.tree.values("propagate_down") == ["true", "true"]
    assert join.tree is before and before.values("propagate_down") == ["true", "false", "true"] and sound(graph)


def test_bypass_keeps_the_tops_name_where_it_can(graph):
    relu, conv = graph.layer("relu"), graph.layer("conv")
    top = relu.top
    graph.bypass(relu)
    assert conv.top is top and top.producer is conv and relu not in graph.layers and sound(graph)
    graph.bypass(graph.layer("left"))  # its bottom has another reader
    assert edges(graph)[-1] == ("join", ["conv", "right"], ["join"]) and sound(graph)


def test_bypass_of_the_last_layer_keeps_the_outputs_name(read):
    graph = read(data(1, 3) + layer("ReLU") + layer("Dropout", "", "prob", "y"))
    graph.bypass(graph.layer("prob"))
    assert edges(graph) == [("x", [], ["x"]), ("y", ["x"], ["prob"])] and sound(graph)


def test_bypass_behind_an_input_keeps_the_inputs_name(read):
    graph = read(data(1, 3) + layer("Dropout") + layer("ReLU", "", "z", "y"))
    graph.bypass(graph.layer("y"))
    assert edges(graph) == [("x", [], ["x"]), ("z", ["x"], ["z"])] and sound(graph)


def test_bypass_refuses(read, graph):
    with pytest.raises(GraphError, match=r"layer 'join' \(Eltwise\) must have one bottom and one top"):
        graph.bypass(graph.layer("join"))
    alone = read(data(1, 3) + layer("Dropout"))
    with pytest.raises(GraphError, match="layer 'y': its top 'y' is an output of the network"):
        alone.bypass(alone.layer("y"))
    forked = read(data(1, 3) + layer("ReLU") + layer("Dropout", "", "a", "y") + layer("ReLU", "", "b", "y"))
    with pytest.raises(GraphError, match="output of the network"):
        forked.bypass(forked.layer("a"))
    assert sound(graph) and sound(alone) and sound(forked)


def test_absorb(graph):
    conv, relu, left = graph.layer("conv"), graph.layer("relu"), graph.layer("left")
    with pytest.raises(GraphError, match="layer 'left' cannot go into 'relu': it is not the only reader of its top"):
        graph.absorb(left, relu)
    with pytest.raises(GraphError, match="cannot go into 'x'"):
        graph.absorb(relu, graph.layer("x"))
    graph.absorb(relu, conv)
    assert conv.top.consumers == [left, graph.layer("right")] and sound(graph)


def test_absorb_drops_the_layers_other_bottoms(read):
    graph = read(data(2, 3) + data(2, 3, name="z") + layer("ReLU") + layer("Eltwise", "", "sum", "y z"))
    graph.absorb(graph.layer("sum"), graph.layer("y"))
    assert edges(graph)[-1] == ("y", ["x"], ["sum"])
    assert [blob.name for blob in graph.outputs] == ["z", "sum"] and sound(graph)


def test_replace_puts_new_layers_where_the_last_old_one_stood(graph):
    left, right, join = (graph.layer(name) for name in ("left", "right", "join"))
    source, blob = graph.layer("relu").top, Blob("both")
    both = Layer("both", "Power", typed.Power(), [source], [blob])
    last = Layer("last", "ReLU", typed.ReLU(), [blob], [join.top])
    graph.replace([left, right, join], [both, last])
    assert edges(graph)[-2:] == [("both", ["conv"], ["both"]), ("last", ["both"], ["join"])]
    assert source.consumers == [both] and join.top.producer is last and sound(graph)


def test_replace_refuses_to_lose_a_blob_and_changes_nothing(graph):
    before = edges(graph)
    with pytest.raises(GraphError, match="layer 'relu' cannot be replaced: its top 'conv' is read by 'left'"):
        graph.replace([graph.layer("conv"), graph.layer("relu")], [])
    assert edges(graph) == before and sound(graph)


def test_fresh_names_are_free_among_layers_and_blobs(graph):
    assert graph.fresh_name("other") == "other"
    assert graph.fresh_name("conv") == "conv_2"
    graph.insert(Layer("conv_2", "ReLU", typed.ReLU(), [graph.inputs[0]], [Blob("conv_3")]))
    assert graph.fresh_name("conv") == "conv_4"


def spec(name: str) -> Message:
    return Message([Field("name", Quoted(name))])


@pytest.mark.pitfall("row", 30)
def test_sharers_go_by_the_names_of_parameters(graph):
    conv, left, right = (graph.layer(name) for name in ("conv", "left", "right"))
    conv.param_specs, left.param_specs, right.param_specs = [spec("w"), spec("b")], [Message(), spec("b")], [spec("v")]
    assert conv.shared_names == ["w", "b"] and left.shared_names == ["b"]
    assert graph.sharers(conv) == [left] and graph.sharers(left) == [conv] and graph.sharers(right) == []
    assert graph.sharers(graph.layer("relu")) == []


def test_the_first_layer_that_stores_a_shared_blob_owns_it(graph):
    left, right = graph.layer("left"), graph.layer("right")
    left.param_specs = [Message(), spec("b")]
    right.param_specs = [spec("a"), spec("b")]
    right.weights = [np.zeros(2, np.float32), np.ones(3, np.float32)]
    assert [left.blob_name(index) for index in range(3)] == ["", "b", ""] and left.shared_names == ["b"]
    owners = graph.shared_weights()
    assert owners == {"a": (right, 0), "b": (right, 1)} and owners["b"].array is right.weights[1]
    left.weights = [np.zeros(1, np.float32), np.ones(3, np.float32)]
    assert graph.shared_weights() == {"a": (right, 0), "b": (left, 1)}


def test_a_copy_is_its_own_graph_with_the_same_arrays(graph):
    conv = graph.layer("conv")
    conv.weights = [np.ones((4, 3, 1, 1), np.float32), np.ones(4, np.float32)]
    conv.step, conv.param_specs = "conv1", [spec("w")]
    graph.warnings, graph.train_layers = ["note"], [spec("loss")]
    graph.tree.add("force_backward", Token("true"))
    twin = graph.copy()
    assert edges(twin) == edges(graph) and sound(twin) and twin.warnings == ["note"] and twin.tree == graph.tree
    copied = twin.layer("conv")
    assert copied.weights[0] is conv.weights[0] and copied.step == "conv1"
    assert copied.params is conv.params and copied.read_params is conv.read_params
    twin.bypass(twin.layer("relu"))
    copied.weights.pop()
    copied.tree.add("new", Token("1"))
    copied.param_specs[0].set("name", Quoted("v"))
    twin.train_layers[0].set("name", Quoted("v"))
    assert sound(graph) and len(graph.layers) == len(twin.layers) + 1
    assert len(conv.weights) == 2 and "new" not in conv.tree and conv.shared_names == ["w"]
    assert graph.train_layers == [spec("loss")]
