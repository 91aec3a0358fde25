"""Which layers make a segment's output, and which are directly before them."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.graph.shapes import infer_shapes
from deepmerge.train.recover.linear import chain_of, last_layers
from tests.helpers import conv, inputs, layer, network, relu


def found(tmp_path, text, output):
    graph = network(tmp_path, inputs((1, 6, 9, 8)) + text)
    blob = {b.name: b for b in graph.blobs}[output]
    trained, shapes = {one.name for one in graph.layers if one.weights}, infer_shapes(graph)
    lasts = last_layers(blob, trained, shapes)
    return {x.layer.name: (x.own, x.to, None if x.slope is None else x.slope.tolist()) for x in lasts}, [
        [link.layer.name for link in chain_of(x, trained, shapes)] for x in lasts
    ]


def test_concat_and_activations(tmp_path):
    text = (
        conv("a", "data", 3)
        + relu("a")
        + conv("b", "data", 2)
        + relu("b", params="negative_slope: 0.5")
        + conv("c", "data", 1)
    )
    lasts, chains = found(tmp_path, text + layer("y", "Concat", "a b c") + layer("d", "Dropout", "y", tops="y"), "y")
    assert lasts == {"a": ((0, 3), (0, 3), [0, 0, 0]), "b": ((0, 2), (3, 5), [0.5, 0.5]), "c": ((0, 1), (5, 6), None)}
    assert chains == [["a"], ["b"], ["c"]]


def test_a_prelu_after_a_concat_is_divided(tmp_path):
    text = conv("a", "data", 3) + conv("b", "data", 2) + layer("y", "Concat", "a b") + layer("p", "PReLU", "y")
    lasts, _ = found(tmp_path, text, "p")
    assert len(lasts["a"][2]) == 3 and len(lasts["b"][2]) == 2 and all(0 < s < 1 for s in lasts["a"][2] + lasts["b"][2])


def test_slices_take_some_of_a_layers_outputs(tmp_path):
    text = conv("a", "data", 5) + layer("s", "Slice", "a", "slice_point: 1 slice_point: 3", "x y z")
    text += conv("b", "x", 2) + layer("out", "Concat", "b y")
    lasts, chains = found(tmp_path, text, "out")
    assert lasts == {"b": ((0, 2), (0, 2), None), "a": ((1, 3), (2, 4), None)}
    assert chains == [["b"], []]


def test_a_layer_that_slices_take_apart_is_solved_range_by_range(tmp_path):
    text = conv("a", "data", 5) + layer("s", "Slice", "a", "slice_point: 2", "x y") + conv("b", "data", 1)
    graph = network(tmp_path, inputs((1, 6, 9, 8)) + text + layer("out", "Concat", "y b x"))
    lasts = last_layers(graph.outputs[0], {"a", "b"}, infer_shapes(graph))
    found = [(last.layer.name, last.own, last.to) for last in lasts]
    assert found == [("a", (2, 5), (0, 3)), ("b", (0, 1), (3, 4)), ("a", (0, 2), (4, 6))]


@pytest.mark.parametrize(
    "after",
    [
        layer("y", "Pooling", "a", "kernel_size: 2"),
        layer("y", "Sigmoid", "a"),
        layer("y", "LRN", "a"),
        layer("y", "Dropout", "a", "scale_train: false"),  # a fork's, which scales
        relu("a", params="negative_slope: 2") + layer("y", "Dropout", "a"),
        relu("a") + relu("a", "again", "negative_slope: 0.1") + layer("y", "Dropout", "a"),
        layer("y", "Concat", "a data", "axis: 2").replace("data", "a"),
    ],
)
def test_what_is_left_alone(tmp_path, after):
    assert found(tmp_path, conv("a", "data", 3) + after, "y")[0] == {}


def test_other_branches_of_a_concat_are_no_obstacle(tmp_path):
    text = conv("a", "data", 3) + layer("p", "Pooling", "data", "kernel_size: 1") + layer("y", "Concat", "p a data")
    assert found(tmp_path, text, "y")[0] == {"a": ((0, 3), (6, 9), None)}


def test_a_layer_that_is_there_twice_is_solved_once(tmp_path):
    assert found(tmp_path, conv("a", "data", 3) + layer("y", "Concat", "a a"), "y")[0] == {"a": ((0, 3), (0, 3), None)}


def test_chains(tmp_path):
    """reducer → ReLU → reduce, core, expand: at most one of them has a window."""
    text = (
        conv("r", "data", 4)
        + relu("r")
        + conv("x", "r", 3)
        + conv("core", "x", 3, "kernel_size: 3")
        + conv("y", "core", 5)
    )
    assert found(tmp_path, text + relu("y"), "y")[1] == [["r", "x", "core", "y"]]


@pytest.mark.parametrize(
    ("text", "chain"),
    [
        (conv("a", "data", 4, "kernel_size: 3") + conv("y", "a", 2, "kernel_size: 2"), ["y"]),
        (conv("a", "data", 4) + conv("y", "a", 2, "kernel_size: 2") + conv("z", "a", 2), ["y"]),
        (conv("a", "data", 4) + layer("p", "Pooling", "a", "kernel_size: 2") + conv("y", "p", 2), ["y"]),
        (conv("a", "data", 4, "kernel_size: 1 group: 2") + conv("y", "a", 2), ["y"]),
        (conv("a", "data", 4, "kernel_size: 1 stride: 2") + conv("y", "a", 2), ["a", "y"]),
        (conv("a", "data", 4, "kernel_size: 1 stride: 2") + conv("y", "a", 2, "kernel_size: 2"), ["y"]),
        (conv("a", "data", 4) + layer("s", "Sigmoid", "a") + conv("y", "s", 2), ["y"]),
        (conv("a", "data", 4) + layer("y", "InnerProduct", "a", "num_output: 2"), []),
        (conv("y", "data", 2, "kernel_size: 1 group: 2"), []),
    ],
)
def test_where_chains_end(tmp_path, text, chain):
    assert found(tmp_path, text, "y")[1] == [chain]


def test_slopes_in_a_chain(tmp_path):
    graph = network(
        tmp_path,
        inputs((1, 6, 9, 8)) + conv("a", "data", 4) + relu("a", params="negative_slope: 0.1") + conv("y", "a", 2),
    )
    shapes = infer_shapes(graph)
    (last,) = last_layers(graph.outputs[0], {"a", "y"}, shapes)
    links = chain_of(last, {"a", "y"}, shapes)
    np.testing.assert_allclose(links[0].slope, [0.1] * 4)
    assert links[1].slope is None and [len(chain_of(last, {"y"}, shapes))] == [1]
