"""Where the stages front and tail cut a network, and which blob both networks are compared at."""

from __future__ import annotations

import pytest

from deepmerge.graph.costs import layer_macs
from deepmerge.graph.extract import layers_between
from deepmerge.graph.shapes import infer_shapes
from deepmerge.out.read import read_converted
from deepmerge.train.recover.cut import LEAST, MOST, find_cut, find_feature, is_learned, stages_at
from deepmerge.train.recover.segments import Segment, find_anchors
from tests.helpers import conv, inputs, layer, network, relu

CHAIN = (
    inputs((1, 3, 32, 32))
    + conv("conv1", "data", 8, "kernel_size: 3 pad: 1")
    + relu("conv1")
    + layer("pool1", "Pooling", "conv1", "pool: MAX kernel_size: 2 stride: 2")
    + conv("conv2", "pool1", 8, "kernel_size: 3 pad: 1")
    + relu("conv2")
)
BRANCHES = (
    conv("a", "conv2", 8, "kernel_size: 1")
    + conv("b", "conv2", 8, "kernel_size: 3 pad: 1")
    + layer("both", "Concat", "a b")
    + layer("fc", "InnerProduct", "both", "num_output: 4")
    + layer("prob", "Softmax", "fc")
)


def share_after(graph, name: str) -> float:
    shapes, finals = infer_shapes(graph), {blob.name: blob for blob in graph.blobs}
    after = layers_between(graph, [finals[name]], graph.outputs)
    return sum(layer_macs(layer, shapes) for layer in after) / sum(layer_macs(layer, shapes) for layer in graph.layers)


def test_at_most_half_of_the_work_is_after_the_cut(tmp_path):
    """conv1 is 221,184 multiplications, conv2 147,456, a 16,384, b 147,456, fc 16,384: after conv2 are 33 %."""
    graph = network(tmp_path, CHAIN + BRANCHES)
    assert find_cut(graph, set(graph.blobs)) == "conv2"
    assert share_after(graph, "conv2") == pytest.approx(0.328, abs=0.001)
    assert LEAST < 0.328 < MOST < share_after(graph, "pool1")


def test_a_blob_beside_which_another_is_read_later_is_no_cut(tmp_path):
    """The sum reads pool1, too; after conv1 is more than half of the work, and after the sum too little of it."""
    narrow = conv("conv2", "pool1", 8, "kernel_size: 3 pad: 1")
    wide = CHAIN.replace(narrow, conv("conv2", "pool1", 8, "kernel_size: 5 pad: 2"))
    assert wide != CHAIN
    text = wide + layer("sum", "Eltwise", "conv2 pool1") + layer("fc", "InnerProduct", "sum", "num_output: 4")
    graph = network(tmp_path, text)
    assert find_cut(graph, set(graph.blobs)) is None


def test_a_network_with_an_early_output_is_not_cut_after_it(tmp_path):
    early = CHAIN.replace(
        conv("conv2", "pool1", 8, "kernel_size: 3 pad: 1"),
        conv("early", "pool1", 1) + conv("conv2", "pool1", 8, "kernel_size: 3 pad: 1"),
    )
    graph = network(tmp_path, early + BRANCHES)
    assert early != CHAIN and find_cut(graph, set(graph.blobs)) is None


def test_a_large_map_is_no_cut(tmp_path):
    large = (CHAIN + BRANCHES).replace("dim: 32 dim: 32", "dim: 512 dim: 512")
    graph = network(tmp_path, large)
    assert large != CHAIN + BRANCHES and find_cut(graph, set(graph.blobs)) is None


def test_the_original_has_the_cut_too(tmp_path):
    """Else there is nothing that the layers before it could learn; "both" has too little work after it."""
    graph = network(tmp_path, CHAIN + BRANCHES)
    assert find_cut(graph, {blob for blob in graph.blobs if blob.name != "conv2"}) is None


def segment(layers: str) -> Segment:
    return Segment("step", ("step",), (), "", tuple(layers.split()), ())


@pytest.mark.parametrize(
    ("layers", "stages"),
    [
        (("a b", "conv2 relu_conv2"), ("front", "tail")),
        (("a b both",), ("tail",)),
    ],
)
def test_front_has_something_to_learn_where_a_segment_is_before_the_cut(tmp_path, layers, stages):
    graph = network(tmp_path, CHAIN + BRANCHES)
    assert stages_at("conv2", graph, [segment(one) for one in layers]) == stages
    assert stages_at(None, graph, [segment(one) for one in layers]) == ()


def test_the_feature_is_the_last_map_that_both_networks_have(small):
    found = read_converted(small)
    original, merged = found.original.read(), found.final.read()
    assert find_feature(merged, find_anchors(original, merged, found.entries)) == "norm2"


def test_without_a_map_there_is_no_feature(tmp_path):
    graph = network(tmp_path, inputs((1, 12)) + layer("fc", "InnerProduct", "data", "num_output: 4"))
    assert find_feature(graph, set(graph.blobs)) is None


def test_what_layers_after_a_cut_learn(tmp_path):
    graph = network(tmp_path, CHAIN + BRANCHES)
    assert [is_learned(blob, "conv2", graph) for blob in ("conv1", "conv2", "both")] == [False, False, True]
    assert not is_learned("pool1", "conv1", graph) and is_learned("conv2", "pool1", graph)
