"""Looking along chains of layers."""

from __future__ import annotations

import pytest

from deepmerge.graph.params import Convolution
from deepmerge.graph.shapes import infer_shapes
from deepmerge.passes.support.base import Refused
from deepmerge.passes.support.chains import (
    alone,
    back_over_activations,
    check_absorber,
    check_own_weights,
    empty_window,
    is_plain_1x1,
    only_reader,
    same_size,
)
from tests.helpers import conv, inputs, layer, network, relu

DATA = inputs((2, 6, 9, 7))


def test_readers(tmp_path):
    graph = network(tmp_path, DATA + conv("a", "data", 4) + relu("a") + layer("sum", "Eltwise", "a a"))
    data, a, act, total = (x.top for x in graph.layers)
    assert only_reader(data).name == "a" and alone(a)
    assert only_reader(act) is None and not alone(act)  # one reader that reads it twice
    assert only_reader(total) is None  # an output


def test_back_over_activations(tmp_path):
    graph = network(
        tmp_path, DATA + conv("a", "data", 4) + relu("a") + layer("t", "TanH", "a") + layer("n", "LRN", "t")
    )
    blob, passed = back_over_activations(graph.layer("n").bottom)
    assert (blob.producer.name, [x.name for x in passed]) == ("a", ["a/relu", "t"])
    check_absorber(graph, graph.layer("n"), blob)
    graph = network(
        tmp_path,
        DATA + conv("a", "data", 4) + layer("t", "TanH", "a") + layer("n", "LRN", "t") + layer("o", "TanH", "a"),
    )
    blob, passed = back_over_activations(graph.layer("n").bottom)
    assert (blob.producer.name, [x.name for x in passed]) == ("a", ["t"])
    with pytest.raises(Refused, match="'a' has other readers"):
        check_absorber(graph, graph.layer("n"), blob)


@pytest.mark.pitfall("row", 30)
def test_what_may_not_change(tmp_path):
    text = DATA + layer("a", "Convolution", "data", "num_output: 4 kernel_size: 1", param='param { name: "w" }')
    text += layer("b", "Convolution", "data", "num_output: 4 kernel_size: 1", param='param { name: "w" }')
    text += layer("twice", "Convolution", "a b", "num_output: 3 kernel_size: 1", "x y")
    text += layer("ip", "InnerProduct", "x", "num_output: 3 axis: -1") + conv("free", "y", 2)
    graph = network(tmp_path, text)
    for name, reason in (
        ("a", "its weights are shared with 'b'"),
        ("twice", "its weights work on 2 bottoms at once"),
        ("ip", "it works on axis -1, not 1"),
    ):
        with pytest.raises(Refused) as refused:
            check_own_weights(graph, graph.layer(name))
        assert (refused.value.layer.name, str(refused.value)) == (name, reason)
    check_own_weights(graph, graph.layer("free"))


@pytest.mark.parametrize(
    ("params", "plain"),
    [("", True), ("stride: 2", False), ("pad: 1", False), ("group: 2", False), ("dilation: 2", True)],
)
def test_plain_1x1(tmp_path, params, plain):
    graph = network(tmp_path, DATA + conv("a", "data", 4, f"kernel_size: 1 {params}"))
    assert is_plain_1x1(graph.layer("a")) == plain
    assert not is_plain_1x1(graph.layers[0])


@pytest.mark.parametrize(
    ("kernel", "pad", "dilation", "same"),
    [
        ((3, 5), (1, 2), (1, 1), True),
        ((3, 3), (2, 2), (2, 2), True),
        ((3, 3), (1, 0), (1, 1), False),
        ((2, 2), (1, 1), (1, 1), False),
    ],
)
def test_the_middle_tap_on_its_own_place(kernel, pad, dilation, same):
    made = Convolution(
        num_output=1, kernel_h=kernel[0], kernel_w=kernel[1], pad_h=pad[0], pad_w=pad[1], dilation_h=dilation[0], dilation_w=dilation[1]
    )  # fmt: skip
    assert same_size(made) == same


@pytest.mark.parametrize(
    ("params", "empty"),
    [
        ("kernel_size: 3 stride: 2", False),
        ("kernel_size: 2 stride: 3", True),  # of 9 values takes 0, 3, 6 and the 10th
        ("kernel_size: 1 stride: 5", True),  # of 9 values takes 0, 5 and the 11th
        ("kernel_h: 3 kernel_w: 1 stride_h: 2 stride_w: 4", True),  # of 7 values takes 0, 4 and the 9th
        ("kernel_h: 3 kernel_w: 1 stride_h: 2 stride_w: 4 pad_h: 1 pad_w: 0", False),  # with a pad Caffe drops that one
        ("kernel_size: 3 stride: 2 pad: 1", False),
    ],
)
def test_windows_behind_the_image(tmp_path, params, empty):
    graph = network(tmp_path, DATA + layer("p", "Pooling", "data", params))
    assert empty_window(graph.layer("p"), infer_shapes(graph)) == empty
    assert empty_window(graph.layer("p"), {})  # shapes unknown
