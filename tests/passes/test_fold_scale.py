"""Scale and Bias folded, in real Caffe. Rows as in test_fold_batchnorm.py, where most of them are."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.passes.fold_batchnorm import FoldBatchnorm
from deepmerge.passes.fold_scale import FoldScale
from tests.helpers import apart, conv, feeds, inputs, layer, network, relu

CONV = inputs((2, 6, 9, 7)) + conv("conv", "data", 4, "kernel_h: 3 kernel_w: 2 pad_h: 1 pad_w: 0")


def scale(bottom: str, params: str = "bias_term: true", name: str = "scale") -> str:
    return layer(name, "Scale", bottom, params)


@pytest.mark.pitfall("fold", 3)
@pytest.mark.parametrize("params", ["", "bias_term: true"])
@pytest.mark.parametrize("bias", ["true", "false"])
def test_row_3_scale_alone(apply_and_check, params, bias):
    text = inputs((2, 6, 9, 7)) + conv("conv", "data", 4, f"kernel_size: 3 bias_term: {bias}") + scale("conv", params)
    found = apply_and_check(text, FoldScale, left={"Convolution": 1})
    assert found.applied.changes[0].into == ("conv",)


@pytest.mark.pitfall("fold", 3)
def test_row_3_bias_alone(apply_and_check):
    found = apply_and_check(CONV + layer("bias", "Bias", "conv"), FoldScale, left={"Convolution": 1})
    np.testing.assert_array_equal(found.layer("conv").weights[0], found.original.layer("conv").weights[0])


@pytest.mark.pitfall("fold", 3)
def test_row_3_bias_forwards(apply_and_check):
    text = inputs((2, 6, 9, 7)) + layer("bias", "Bias", "data") + conv("conv", "bias", 4, "group: 2 kernel_size: 3")
    apply_and_check(text, FoldScale, left={"Convolution": 1})


@pytest.mark.pitfall("fold", 5)
@pytest.mark.parametrize("transpose", ["true", "false"])
def test_row_5_inner_product(apply_and_check, transpose):
    product = layer("ip", "InnerProduct", "data", f"num_output: 5 transpose: {transpose} bias_term: false")
    apply_and_check(inputs((3, 4, 3, 2)) + product + scale("ip"), FoldScale, left={"InnerProduct": 1})


@pytest.mark.pitfall("fold", 6)
@pytest.mark.pitfall("row", 26)
@pytest.mark.parametrize("group", [1, 3])
def test_row_6_deconvolution(apply_and_check, group):
    params = f"num_output: 9 group: {group} bias_term: false kernel_h: 2 kernel_w: 3 stride: 2"
    text = inputs((2, 6, 4, 3)) + layer("deconv", "Deconvolution", "data", params) + scale("deconv")
    apply_and_check(text, FoldScale, left={"Deconvolution": 1})


@pytest.mark.pitfall("fold", 8)
def test_row_8_activation_other_reader_output(refusals):
    assert "'conv/relu' (ReLU) comes before it" in refusals(CONV + relu("conv") + scale("conv"), FoldScale)["scale"]
    assert "'conv' has other readers" in refusals(CONV + scale("conv") + layer("o", "TanH", "conv"), FoldScale)["scale"]
    reason = refusals(inputs((2, 6, 9, 7)) + scale("data"), FoldScale)["scale"]
    assert reason == (
        "it cannot go into the layer before it (the layer 'input' (Input) comes before it), "
        "nor into the one after it (its top 'scale' is an output of the network)"
    )


@pytest.mark.pitfall("fold", 9)
def test_row_9_pad_with_and_without_a_shift(apply_and_check, refusals):
    behind = conv("conv", "scale", 4, "kernel_size: 3 pad: 1 group: 2")
    assert "'conv' pads" in refusals(inputs((2, 6, 9, 7)) + scale("data") + behind, FoldScale)["scale"]
    apply_and_check(
        inputs((2, 6, 9, 7)) + scale("data", "axis: 1") + behind, FoldScale, left={"Convolution": 1}, blind=False
    )


@pytest.mark.pitfall("fold", 13)
def test_row_13_max_pooling_wants_no_negative_factor(apply_and_check, refusals, tmp_path):
    graph = network(tmp_path, CONV + layer("pool", "Pooling", "conv", "kernel_size: 3 stride: 2") + scale("pool"))
    assert (graph.layer("scale").weights[0] < 0).any()
    assert "a factor may be negative" in refusals(graph, FoldScale)["scale"]
    graph.layer("scale").weights[0] = np.float32([0.5, 2, 0, 1])  # 0 is none
    apply_and_check(graph, FoldScale, left={"Convolution": 1, "Pooling": 1}, blind=False)


@pytest.mark.pitfall("fold", 13)
def test_row_13_average_pooling_takes_any_factor(apply_and_check, refusals):
    pool = layer("pool", "Pooling", "conv", "pool: AVE kernel_h: 3 kernel_w: 2 stride: 2")
    apply_and_check(CONV + pool + scale("pool"), FoldScale, left={"Convolution": 1, "Pooling": 1})
    pool = layer("pool", "Pooling", "conv", "pool: AVE kernel_size: 3 stride: 2 pad_h: 0 pad_w: 1")
    assert "pads with zeros" in refusals(CONV + pool + scale("pool"), FoldScale)["scale"]
    apply_and_check(
        CONV + pool + scale("pool", "axis: 1"), FoldScale, left={"Convolution": 1, "Pooling": 1}, blind=False
    )


@pytest.mark.pitfall("fold", 13)
def test_row_13_over_two_poolings(apply_and_check):
    pools = layer("p1", "Pooling", "conv", "pool: AVE kernel_size: 2 stride: 2") + layer(
        "p2", "Pooling", "p1", "pool: AVE global_pooling: true"
    )
    apply_and_check(CONV + pools + scale("p2"), FoldScale, left={"Convolution": 1, "Pooling": 2})


@pytest.mark.pitfall("fold", 14)
@pytest.mark.parametrize(
    "params", ["num_axes: 0", "num_axes: 0 bias_term: true", "axis: 1", "axis: -3", "axis: 1 num_axes: 1"]
)
def test_row_14_by_channel_or_a_scalar(apply_and_check, params):
    apply_and_check(CONV + scale("conv", params) + relu("scale"), FoldScale, left={"Convolution": 1, "ReLU": 1})


@pytest.mark.pitfall("fold", 14)
def test_row_14_all_axes_where_the_others_have_one_value(apply_and_check):
    text = (
        inputs((2, 6, 3, 2))
        + conv("conv", "data", 4, "kernel_h: 3 kernel_w: 2")
        + scale("conv", "num_axes: -1 bias_term: true")
    )
    apply_and_check(text, FoldScale, left={"Convolution": 1})
    text = (
        inputs((2, 6, 1, 1))
        + layer("act", "TanH", "data")
        + scale("act", name="s")
        + scale("s", "num_axes: -1")
        + relu("scale")
    )
    found = apply_and_check(text, FoldScale, left={"TanH": 1, "Scale": 1, "ReLU": 1})
    assert found.layer("scale").weights[0].shape == (6, 1, 1)
    product = layer("ip", "InnerProduct", "data", "num_output: 5")
    apply_and_check(inputs((2, 6)) + product + scale("ip", "num_axes: -1"), FoldScale, left={"InnerProduct": 1})


@pytest.mark.pitfall("fold", 14)
@pytest.mark.parametrize("kind", ["Scale", "Bias"])
@pytest.mark.parametrize(
    "params", ["axis: 2", "axis: 1 num_axes: 2", "axis: 1 num_axes: -1", "axis: 0 num_axes: 2", "axis: -1"]
)
def test_row_14_other_axes(refusals, kind, params):
    assert "not channel by channel" in refusals(CONV + layer("scale", kind, "conv", params), FoldScale)["scale"]


@pytest.mark.pitfall("fold", 14)
def test_row_14_a_scalar_forwards_and_before_a_scale(apply_and_check):
    text = inputs((2, 6, 4, 3)) + scale("data", "num_axes: 0 bias_term: true", "s") + scale("s") + relu("scale")
    apply_and_check(text, FoldScale, left={"Scale": 1, "ReLU": 1})
    text = (
        inputs((2, 6, 4, 3))
        + scale("data", "num_axes: 0 bias_term: true")
        + layer("ip", "InnerProduct", "scale", "num_output: 3")
    )
    apply_and_check(text, FoldScale, left={"InnerProduct": 1})


@pytest.mark.pitfall("row", 28)
@pytest.mark.parametrize("kind", ["Scale", "Bias"])
def test_two_bottoms_are_data(refusals, kind):
    """As SENet's: the factors come out of a Sigmoid."""
    gate = layer("squeeze", "Pooling", "conv", "pool: AVE global_pooling: true") + conv("excite", "squeeze", 4)
    gate += layer("gate", "Sigmoid", "excite") + layer("flat", "Reshape", "gate", "shape { dim: 0 dim: -1 }")
    text = CONV + gate + layer("scale", kind, "conv flat", "axis: 0") + conv("next", "scale", 3)
    assert refusals(text, FoldScale)["scale"] == "it has 2 bottoms: its factors are data, not weights"


def test_a_scale_behind_that_may_not_change(refusals):
    spec = 'param { name: "g" }'
    text = (
        inputs((2, 6, 4, 3))
        + scale("data", "axis: 1", "s")
        + layer("a", "Scale", "s", param=spec)
        + layer("b", "Scale", "data", param=spec)
    )
    reasons = refusals(text + layer("x", "TanH", "a") + layer("y", "TanH", "b"), FoldScale)
    assert "'a' (Scale) reads it" in reasons["s"]
    assert reasons["a"] == "its weights are shared with 'b', and the layer 's' (Scale) comes before it"


def pooled(tmp_path, params: str):
    """As res5 of Faster R-CNN: behind ROIPooling no shape is known. Caffe judges it with a TanH in its place."""
    text = inputs((2, 6, 9, 7)) + layer("roi", "TanH", "data") + conv("conv", "roi", 4, "kernel_size: 3")
    text += layer("bn", "BatchNorm", "conv") + scale("bn", params) + layer("bias", "Bias", "scale") + relu("bias")
    graph = network(tmp_path, text)
    known = graph.layer("roi").params
    graph.layer("roi").type, graph.layer("roi").params = "ROIPooling", None
    return graph, known


def test_channels_that_only_the_weights_show(apply_and_check, caffe, tmp_path):
    graph, known = pooled(tmp_path, "bias_term: true")
    left = {"ROIPooling": 1, "Convolution": 1, "ReLU": 1}
    found = apply_and_check(graph, FoldBatchnorm, FoldScale, within=None, left=left)
    for one in (graph, found.graph):
        one.layer("roi").type, one.layer("roi").params = "TanH", known
    values = feeds(graph)
    assert apart(caffe(graph, values), caffe(found.graph, values)) <= 1e-5


def test_a_scalar_where_the_channels_are_not_known(refusals, tmp_path):
    graph, _ = pooled(tmp_path, "num_axes: 0")
    assert refusals(graph, FoldScale)["scale"] == "the number of channels is not known here"


@pytest.mark.parametrize("kept", ["scale", "Scale"])
def test_keep(refusals, kept):
    assert (
        refusals(CONV + scale("conv"), FoldScale, keep=frozenset([kept]))["scale"]
        == "'scale' (Scale) is kept, as asked"
    )


def test_factors_of_0(apply_and_check, tmp_path):
    graph = network(tmp_path, CONV + scale("conv"))
    graph.layer("scale").weights[0] = np.float32([0, 1, -0.0, 3])
    apply_and_check(graph, FoldScale, left={"Convolution": 1})


def concat(*bottoms: str, params: str = "") -> str:
    return layer("concat", "Concat", " ".join(bottoms), params)


BRANCHES = CONV + conv("c2", "data", 3, "kernel_h: 3 kernel_w: 2 pad_h: 1 pad_w: 0 bias_term: false")


@pytest.mark.parametrize("params", ["", "axis: -3", "concat_dim: 1"])
def test_a_concat_of_channels_gives_each_convolution_its_own(apply_and_check, params):
    text = BRANCHES + concat("conv", "c2", params=params) + scale("concat")
    found = apply_and_check(text, FoldScale, left={"Convolution": 2, "Concat": 1})
    assert found.applied.changes[0].into == ("conv", "c2")


def test_a_concat_of_concats_and_poolings(apply_and_check):
    text = BRANCHES + layer("inner", "Concat", "c2 conv")
    text += layer("tail", "Pooling", "inner", "pool: AVE kernel_h: 5 kernel_w: 3")
    text += conv("c3", "data", 2, "kernel_h: 3 kernel_w: 2") + layer(
        "pool", "Pooling", "c3", "pool: AVE kernel_size: 3"
    )
    text += concat("tail", "pool") + scale("concat")
    found = apply_and_check(text, FoldScale, left={"Convolution": 3, "Concat": 2, "Pooling": 2})
    assert found.applied.changes[0].into == ("c2", "conv", "c3")


@pytest.mark.parametrize(
    ("bottoms", "params", "why"),
    [
        ("conv conv", "", "'conv' has other readers"),
        ("conv r", "", "the activation 'r' (ReLU) comes before it"),
        ("conv c2", "axis: 2", "the layer 'concat' (Concat) comes before it"),
    ],
)
def test_a_concat_that_is_in_the_way(refusals, bottoms, params, why):
    text = CONV + conv("c2", "data", 4, "kernel_h: 3 kernel_w: 2 pad_h: 1 pad_w: 0")
    text += layer("r", "ReLU", "c2") if "r" in bottoms.split() else ""
    assert why in refusals(text + concat(*bottoms.split(), params=params) + scale("concat"), FoldScale)["scale"]
