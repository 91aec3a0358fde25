"""BatchNorm folded, in real Caffe. The rows are those of the table of cases that folding scripts get wrong."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.passes.fold_batchnorm import FoldBatchnorm
from deepmerge.passes.fold_scale import FoldScale
from tests.helpers import conv, inputs, layer, network, relu

FOLDS = FoldBatchnorm, FoldScale
ODD = "kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 1 pad_h: 1 pad_w: 0"
CONV = inputs((2, 6, 9, 7)) + conv("conv", "data", 4, ODD)
BN = layer("bn", "BatchNorm", "conv")


def bn(bottom: str, name: str = "bn", params: str = "", top: str | None = None) -> str:
    return layer(name, "BatchNorm", bottom, params, top)


def scale(bottom: str, name: str = "scale", params: str = "bias_term: true", top: str | None = None) -> str:
    return layer(name, "Scale", bottom, params, top)


@pytest.mark.pitfall("fold", 1)
@pytest.mark.parametrize("eps", ["1e-3", "1e-4", "1e-5", "2e-5", "1e-8"])
def test_row_1_eps_is_the_files(apply_and_check, eps):
    found = apply_and_check(CONV + bn("conv", params=f"eps: {eps}"), FoldBatchnorm, left={"Convolution": 1})
    assert found.graph.outputs[0].name == "bn"
    assert [(c.layer, c.merged, c.into, c.exact) for c in found.applied.changes] == [("bn", ("bn",), ("conv",), True)]


@pytest.mark.pitfall("fold", 1)
def test_row_1_eps_is_what_counts_where_the_variance_is_small(apply_and_check, tmp_path):
    graph = network(tmp_path, CONV + bn("conv", params="eps: 1e-3"))
    graph.layer("bn").weights[1] = np.float32([1e-4, 0, 3, 1e-6]) * np.float32(999.98)
    apply_and_check(graph, FoldBatchnorm, left={"Convolution": 1})


@pytest.mark.pitfall("fold", 2)
def test_row_2_a_factor_of_0_makes_mean_and_variance_0(apply_and_check, tmp_path):
    graph = network(tmp_path, CONV + bn("conv", params="eps: 1e-4"))
    graph.layer("bn").weights[2] = np.float32([0])
    found = apply_and_check(graph, FoldBatchnorm, left={"Convolution": 1})
    np.testing.assert_allclose(found.layer("conv").weights[0], graph.layer("conv").weights[0] * 100, rtol=1e-6)


@pytest.mark.pitfall("fold", 3)
@pytest.mark.parametrize("affine", ["", scale("bn", params=""), scale("bn"), layer("scale", "Bias", "bn")])
@pytest.mark.parametrize("in_place", [False, True])
def test_row_3_batchnorm_without_scale_scale_without_bias_bias_alone(apply_and_check, affine, in_place):
    text = CONV + BN + affine
    if in_place:
        text = text.replace('"bn" top: "bn"', '"bn" top: "conv"').replace('"conv" top: "bn"', '"conv" top: "conv"')
        text = text.replace('bottom: "bn" top: "scale"', 'bottom: "conv" top: "conv"')
    apply_and_check(
        text + relu("conv" if in_place else "scale" if affine else "bn"), *FOLDS, left={"Convolution": 1, "ReLU": 1}
    )


@pytest.mark.pitfall("fold", 4)
@pytest.mark.parametrize(
    ("spec", "rates"),
    [
        ("", []),
        ("param { lr_mult: 3 decay_mult: 1 }", [("3", "1"), ("6", "0")]),
        ("param { decay_mult: 2 }", [("None", "2"), ("2", "0")]),
        ("param { lr_mult: 0 }", [("0", "None"), ("0", "0")]),
    ],
)
def test_row_4_a_bias_where_there_was_none(apply_and_check, spec, rates):
    made = layer("conv", "Convolution", "data", f"num_output: 4 bias_term: false {ODD}", param=spec)
    found = apply_and_check(inputs((2, 6, 9, 7)) + made + BN, FoldBatchnorm, left={"Convolution": 1})
    folded = found.layer("conv")
    assert folded.params.bias_term and [w.shape for w in folded.weights] == [(4, 6, 3, 2), (4,)]
    assert [(str(s.value("lr_mult")), str(s.value("decay_mult"))) for s in folded.param_specs] == rates
    assert not found.original.layer("conv").params.bias_term


@pytest.mark.pitfall("fold", 5)
@pytest.mark.parametrize("transpose", ["true", "false"])
@pytest.mark.parametrize("bias", ["true", "false"])
def test_row_5_inner_product_before(apply_and_check, transpose, bias):
    product = layer("ip", "InnerProduct", "data", f"num_output: 5 transpose: {transpose} bias_term: {bias}")
    apply_and_check(inputs((3, 4, 3, 2)) + product + bn("ip"), FoldBatchnorm, left={"InnerProduct": 1})


@pytest.mark.pitfall("fold", 5)
@pytest.mark.parametrize("transpose", ["true", "false"])
def test_row_5_inner_product_behind_takes_each_channels_columns(apply_and_check, transpose):
    product = layer("ip", "InnerProduct", "bn", f"num_output: 5 transpose: {transpose} bias_term: false")
    apply_and_check(inputs((3, 4, 3, 2)) + bn("data") + product, FoldBatchnorm, left={"InnerProduct": 1})


@pytest.mark.pitfall("fold", 5)
def test_row_5_inner_product_on_another_axis(refusals):
    product = layer("ip", "InnerProduct", "data", "num_output: 5 axis: 2")
    assert "'ip': it works on axis 2" in refusals(inputs((3, 4, 3, 2)) + product + bn("ip"), FoldBatchnorm)["bn"]
    behind = layer("ip", "InnerProduct", "bn", "num_output: 5 axis: 2")
    assert "'ip': it works on axis 2" in refusals(inputs((3, 4, 3, 2)) + bn("data") + behind, FoldBatchnorm)["bn"]


@pytest.mark.pitfall("fold", 6)
@pytest.mark.pitfall("row", 26)
@pytest.mark.parametrize("group", [1, 2, 3])
@pytest.mark.parametrize("bias", ["true", "false"])
def test_row_6_deconvolution_by_group(apply_and_check, group, bias):
    params = f"num_output: 12 group: {group} bias_term: {bias} kernel_h: 3 kernel_w: 4 stride: 2 pad_h: 1 pad_w: 0"
    made = layer("deconv", "Deconvolution", "data", params)
    apply_and_check(inputs((2, 6, 4, 3)) + made + bn("deconv") + scale("bn"), *FOLDS, left={"Deconvolution": 1})


@pytest.mark.parametrize("group", [1, 2, 6])
def test_row_6_convolution_by_group(apply_and_check, group):
    made = conv("conv", "data", 12, f"group: {group} {ODD}")
    apply_and_check(inputs((2, 6, 9, 7)) + made + BN + scale("bn"), *FOLDS, left={"Convolution": 1})


@pytest.mark.pitfall("fold", 7)
def test_row_7_statistics_of_the_batch_at_hand(refusals):
    assert "use_global_stats is false" in refusals(CONV + bn("conv", params="use_global_stats: false"), *FOLDS)["bn"]


def test_row_7_statistics_that_are_asked_for(apply_and_check):
    apply_and_check(CONV + bn("conv", params="use_global_stats: true"), FoldBatchnorm, left={"Convolution": 1})


@pytest.mark.pitfall("fold", 8)
def test_row_8_not_backwards_over_an_activation(refusals):
    text = CONV + relu("conv") + BN
    reason = refusals(text, FoldBatchnorm)["bn"]
    assert "'conv/relu' (ReLU) comes before it" in reason and "'bn' is an output" in reason


@pytest.mark.pitfall("fold", 8)
def test_row_8_over_an_activation_it_goes_forwards(apply_and_check):
    text = CONV + relu("conv") + BN + conv("last", "bn", 3, "kernel_size: 2")
    found = apply_and_check(text, FoldBatchnorm, left={"Convolution": 2, "ReLU": 1})
    assert found.applied.changes[0].into == ("last",)


@pytest.mark.pitfall("fold", 8)
def test_row_8_another_reader_of_the_convolution(refusals):
    reasons = refusals(CONV + BN + layer("other", "Sigmoid", "conv"), FoldBatchnorm)
    assert "'conv' has other readers" in reasons["bn"]


@pytest.mark.pitfall("fold", 8)
def test_row_8_a_convolution_with_two_tops(refusals):
    twice = layer("conv", "Convolution", "data data1", "num_output: 4 kernel_size: 3", tops="a b")
    text = inputs((2, 6, 9, 7), (2, 6, 9, 7)) + twice + bn("a") + layer("sum", "ReLU", "b")
    assert "'conv': its weights work on 2 bottoms" in refusals(text, FoldBatchnorm)["bn"]


@pytest.mark.pitfall("fold", 8)
def test_row_8_before_a_convolution_with_two_bottoms(refusals):
    twice = layer("conv", "Convolution", "bn data", "num_output: 4 kernel_size: 3", tops="a b")
    assert (
        "'conv': its weights work on 2 bottoms"
        in refusals(inputs((2, 6, 9, 7)) + bn("data") + twice, FoldBatchnorm)["bn"]
    )


@pytest.mark.pitfall("fold", 9)
@pytest.mark.parametrize("group", [1, 2, 3])
@pytest.mark.parametrize("bias", ["true", "false"])
def test_row_9_forwards_into_a_convolution_without_pad(apply_and_check, group, bias):
    behind = conv(
        "conv",
        "scale",
        6,
        f"group: {group} bias_term: {bias} kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 1 dilation: 2",
    )
    apply_and_check(inputs((2, 6, 9, 8)) + bn("data") + scale("bn") + behind, *FOLDS, left={"Convolution": 1})


@pytest.mark.pitfall("fold", 9)
def test_row_9_forwards_into_several_readers(apply_and_check):
    text = inputs((2, 6, 9, 8)) + bn("data") + conv("a", "bn", 3, "kernel_size: 3") + conv("b", "bn", 5) + relu("b")
    found = apply_and_check(text, FoldBatchnorm, left={"Convolution": 2, "ReLU": 1})
    assert found.applied.changes[0].into == ("a", "b")


@pytest.mark.pitfall("fold", 9)
def test_row_9_pad_and_a_shift(refusals):
    text = inputs((2, 6, 9, 8)) + bn("data") + conv("conv", "bn", 4, "kernel_size: 3 pad_h: 0 pad_w: 1")
    assert "'conv' pads with zeros" in refusals(text, FoldBatchnorm)["bn"]


@pytest.mark.pitfall("fold", 9)
def test_row_9_pad_on_other_than_two_axes(refusals):
    text = inputs((1, 4, 3, 5, 4)) + bn("data") + conv("conv", "bn", 4, "kernel_size: 2 pad: 0 pad: 1 pad: 0")
    assert "'conv' pads with zeros" in refusals(text, FoldBatchnorm)["bn"]
    text = inputs((1, 4, 3, 5, 4)) + bn("data") + conv("conv", "bn", 4, "kernel_size: 2 pad: 1")
    assert "'conv' pads with zeros" in refusals(text, FoldBatchnorm)["bn"]


@pytest.mark.pitfall("fold", 9)
def test_row_9_pad_without_a_shift(apply_and_check, tmp_path):
    graph = network(
        tmp_path, inputs((2, 6, 9, 8)) + bn("data") + conv("conv", "bn", 4, "group: 2 kernel_size: 3 pad: 1")
    )
    graph.layer("bn").weights[0][:] = 0
    apply_and_check(graph, FoldBatchnorm, left={"Convolution": 1}, blind=False)


@pytest.mark.pitfall("fold", 9)
@pytest.mark.parametrize("behind", ["Deconvolution", "LRN"])
def test_row_9_other_readers_take_no_map(refusals, behind):
    params = "num_output: 4 kernel_size: 2" if behind == "Deconvolution" else ""
    text = inputs((2, 6, 9, 8)) + bn("data") + layer("last", behind, "bn", params) + conv("conv", "bn", 4)
    assert f"'last' ({behind}) reads it" in refusals(text, FoldBatchnorm)["bn"]


@pytest.mark.pitfall("fold", 10)
def test_row_10_before_a_scale_that_stays_no_batchnorm_is_left(apply_and_check):
    """Pre-activation: nothing takes both, so the two become one Scale, which holds sqrt(variance + eps) too."""
    text = inputs((2, 6, 9, 8)) + layer("act", "ReLU", "data") + bn("act", params="eps: 1e-3") + scale("bn", params="")
    found = apply_and_check(text + relu("scale"), *FOLDS, left={"Scale": 1, "ReLU": 2})
    assert found.layer("scale").params.bias_term and len(found.layer("scale").weights) == 2


@pytest.mark.pitfall("fold", 10)
def test_row_10_a_chain_leaves_one_scale(apply_and_check):
    """Bias → Scale → BatchNorm → Scale, by channel and by a scalar, in front of an activation."""
    text = inputs((2, 3, 4, 5)) + layer("b", "Bias", "data") + scale("b", "s", "num_axes: 0") + bn("s") + scale("bn")
    found = apply_and_check(text + relu("scale"), *FOLDS, left={"Scale": 1, "ReLU": 1})
    assert found.graph.layers[1].name == "scale"


@pytest.mark.pitfall("fold", 11)
@pytest.mark.pitfall("row", 30)
def test_row_11_shared_weights(refusals):
    spec = 'param { name: "w" } param { name: "b" }'
    text = inputs((2, 6, 9, 7), (2, 6, 5, 5))
    for number, data in ((1, "data"), (2, "data1")):
        text += layer(f"c{number}", "Convolution", data, f"num_output: 4 {ODD}", param=spec) + bn(
            f"c{number}", f"bn{number}"
        )
    reasons = refusals(text, FoldBatchnorm)
    assert "'c1': its weights are shared with 'c2'" in reasons["bn1"] and "shared with 'c1'" in reasons["bn2"]


@pytest.mark.pitfall("fold", 11)
@pytest.mark.pitfall("row", 30)
def test_row_11_shared_weights_behind(refusals):
    spec = 'param { name: "w" } param { name: "b" }'
    text = inputs((2, 6, 9, 7)) + bn("data")
    text += "".join(
        layer(name, "Convolution", bottom, f"num_output: 4 {ODD}", param=spec)
        for name, bottom in (("c1", "bn"), ("c2", "data"))
    )
    assert "'c1': its weights are shared with 'c2'" in refusals(text, FoldBatchnorm)["bn"]


@pytest.mark.pitfall("fold", 11)
@pytest.mark.pitfall("row", 30)
def test_row_11_shared_statistics(refusals):
    spec = 'param { name: "m" } param { name: "v" } param { name: "f" }'
    text = (
        CONV
        + conv("c2", "data", 4)
        + layer("bn", "BatchNorm", "conv", param=spec)
        + layer("bn2", "BatchNorm", "c2", param=spec)
    )
    assert set(refusals(text, FoldBatchnorm).values()) == {
        "its weights are shared with 'bn2', and those of 'conv' are not",
        "its weights are shared with 'bn', and those of 'conv' are not",
    }


def twins(bias: str, stages: str = "bc", spec: str = 'param { name: "w" }') -> str:
    """Two towers with one convolution, BatchNorm and Scale; every weight is shared."""
    text = inputs((2, 6, 9, 7), (2, 6, 5, 8))
    for tower, data in (("a", "data"), ("b", "data1")):
        made = f"num_output: 4 kernel_size: 3 bias_term: {bias}"
        text += layer(f"conv_{tower}", "Convolution", data, made, param=spec)
        if "b" in stages:
            spec3 = 'param { name: "m" } param { name: "v" } param { name: "f" }'
            text += layer(f"bn_{tower}", "BatchNorm", f"conv_{tower}", param=spec3)
        spec2 = 'param { name: "g" } param { name: "t" }'
        bottom = f"bn_{tower}" if "b" in stages else f"conv_{tower}"
        text += layer(f"scale_{tower}", "Scale", bottom, "bias_term: true", param=spec2)
    return text


@pytest.mark.pitfall("fold", 11)
@pytest.mark.parametrize("spec", ['param { name: "w" }', 'param { name: "w" } param { name: "own" }'])
def test_row_11_all_of_a_tower_is_shared(apply_and_check, spec):
    bias = "true" if "own" in spec else "false"
    found = apply_and_check(twins(bias, spec=spec), *FOLDS, left={"Convolution": 2})
    a, b = (found.layer(f"conv_{tower}") for tower in "ab")
    assert a.shared_names == b.shared_names == (["w", "own"] if "own" in spec else ["w", "w_bias"])
    assert [c.merged for c in found.applied.changes] == [("bn_a", "bn_b"), ("scale_a", "scale_b")]


@pytest.mark.pitfall("fold", 11)
def test_row_11_biases_of_their_own_stay_so(apply_and_check):
    found = apply_and_check(twins("true"), *FOLDS, left={"Convolution": 2})
    a, b = (found.layer(f"conv_{tower}") for tower in "ab")
    assert a.shared_names == b.shared_names == ["w"]
    assert (a.weights[1] != b.weights[1]).any()


@pytest.mark.pitfall("fold", 11)
def test_row_11_a_tower_that_differs(refusals):
    other = twins("false") + layer("t", "TanH", "conv_b")
    reason = "its weights are shared with 'bn_b', and 'conv_b' has other readers"
    assert refusals(other, FoldBatchnorm)["bn_a"] == reason
    text = twins("false", stages="c") + conv("conv_c", "data", 4)
    text += layer("scale_c", "Scale", "conv_c", "bias_term: true", param='param { name: "g" } param { name: "t" }')
    reason = refusals(text, FoldScale)["scale_a"]
    assert reason == "its weights are shared with 'scale_b', and those of 'conv_a' are not"
    text = text.replace('param { name: "t" }', "")
    assert "it shares only some of its weights" in refusals(text, FoldScale)["scale_a"]


@pytest.mark.pitfall("fold", 12)
def test_row_12_neighbours_by_edges(apply_and_check):
    """The layers of two branches alternate in the file."""
    text = inputs((2, 6, 9, 7)) + conv("a", "data", 4) + conv("b", "data", 4, "kernel_size: 3")
    text += bn("a", "bn_a") + bn("b", "bn_b") + scale("bn_a", "s_a") + scale("bn_b", "s_b") + relu("s_b") + relu("s_a")
    found = apply_and_check(text, *FOLDS, left={"Convolution": 2, "ReLU": 2})
    assert {c.layer: c.into for c in found.applied.changes} == {
        "bn_a": ("a",),
        "bn_b": ("b",),
        "s_a": ("a",),
        "s_b": ("b",),
    }


@pytest.mark.pitfall("fold", 13)
@pytest.mark.parametrize("pool", ["MAX", "AVE"])
@pytest.mark.parametrize(
    "window", ["kernel_size: 3 stride: 2", "kernel_h: 2 kernel_w: 3 stride_h: 2 stride_w: 3", "global_pooling: true"]
)
def test_row_13_behind_pooling_without_pad(apply_and_check, pool, window):
    text = CONV + layer("pool", "Pooling", "conv", f"pool: {pool} {window}") + bn("pool")
    found = apply_and_check(text, FoldBatchnorm, left={"Convolution": 1, "Pooling": 1})
    assert found.graph.outputs[0].name == "bn"


@pytest.mark.pitfall("fold", 13)
def test_row_13_behind_max_pooling_with_pad(apply_and_check):
    text = CONV + layer("pool", "Pooling", "conv", "kernel_size: 3 stride: 2 pad: 1") + bn("pool")
    apply_and_check(text, FoldBatchnorm, left={"Convolution": 1, "Pooling": 1})


@pytest.mark.pitfall("fold", 13)
def test_row_13_behind_average_pooling_with_pad(refusals, apply_and_check, tmp_path):
    graph = network(
        tmp_path, CONV + layer("pool", "Pooling", "conv", "pool: AVE kernel_size: 3 stride: 2 pad: 1") + bn("pool")
    )
    assert "AVE pooling 'pool' is between them, and pads" in refusals(graph, FoldBatchnorm)["bn"]
    graph.layer("bn").weights[0][:] = 0  # no mean, no shift
    apply_and_check(graph, FoldBatchnorm, left={"Convolution": 1, "Pooling": 1}, blind=False)


@pytest.mark.pitfall("fold", 13)
@pytest.mark.pitfall("row", 23)
def test_row_13_a_pooling_with_another_reader_mask_or_empty_windows(refusals):
    pool = layer("pool", "Pooling", "conv", "kernel_size: 3 stride: 2")
    assert (
        "'pool' has other readers"
        in refusals(CONV + pool + bn("pool") + layer("r", "ReLU", "pool"), FoldBatchnorm)["bn"]
    )
    pool = layer("pool", "Pooling", "conv", "kernel_size: 2 stride: 2", tops="pool mask")
    assert "the mask of pooling 'pool' is used" in refusals(CONV + pool + bn("pool"), FoldBatchnorm)["bn"]
    pool = layer("pool", "Pooling", "conv", "kernel_size: 1 stride: 3")  # of 5 values takes 0, 3 and the 6th
    assert "window outside of the image" in refusals(CONV + pool + bn("pool"), FoldBatchnorm)["bn"]
    pool = layer("pool", "Pooling", "conv", "pool: STOCHASTIC kernel_size: 2 stride: 2")
    assert "'pool' is STOCHASTIC" in refusals(CONV + pool + bn("pool"), FoldBatchnorm)["bn"]


@pytest.mark.pitfall("fold", 15)
def test_row_15_variances_of_1e_45(apply_and_check, tmp_path):
    graph = network(tmp_path, CONV + bn("conv", params="eps: 1e-8"))
    graph.layer("bn").weights[1] = np.float32([1e-45, 1, 0, 1e-38])
    graph.layer("bn").weights[2] = np.float32([1])
    found = apply_and_check(graph, FoldBatchnorm, left={"Convolution": 1})
    assert all(np.isfinite(w).all() for w in found.layer("conv").weights)


@pytest.mark.pitfall("fold", 15)
def test_row_15_no_variance_and_no_eps(refusals, tmp_path):
    graph = network(tmp_path, CONV + bn("conv", params="eps: 0"))
    graph.layer("bn").weights[1][2] = 0
    assert refusals(graph, FoldBatchnorm)["bn"] == "its channel 2 has no finite factor"


@pytest.mark.pitfall("fold", 15)
def test_row_15_a_variance_below_0(apply_and_check, refusals, tmp_path):
    """Caffe adds eps to it as it is, and computes NaN where that leaves nothing to take the root of."""
    graph = network(tmp_path, CONV + bn("conv", params="eps: 1e-3"))
    graph.layer("bn").weights[1] = np.float32([-5e-4, 1, 0.5, 2]) * np.float32(999.98)
    apply_and_check(graph, FoldBatchnorm, left={"Convolution": 1})
    graph.layer("bn").weights[1] = np.float32([1, -2e-3, 0.5, 2]) * np.float32(999.98)
    assert refusals(graph, FoldBatchnorm)["bn"] == "its channel 1 has no finite factor"


def test_blobs_of_another_number_are_refused(refusals, tmp_path):
    """A file with five is NVCaffe's, and read as such: tests/passes/test_forks.py."""
    graph = network(tmp_path, CONV + BN)
    statistics = graph.layer("bn").weights
    graph.layer("bn").weights = [*statistics, statistics[0], statistics[1]]
    assert refusals(graph, FoldBatchnorm)["bn"] == "it has 5 blobs, and BVLC's BatchNorm has 3"


def test_a_bottom_of_two_axes(apply_and_check):
    text = (
        inputs((4, 6)) + layer("ip", "InnerProduct", "data", "num_output: 5") + bn("ip") + scale("bn") + relu("scale")
    )
    apply_and_check(text, *FOLDS, left={"InnerProduct": 1, "ReLU": 1})


def test_convolutions_of_three_axes(apply_and_check):
    text = (
        inputs((1, 4, 5, 4, 6))
        + conv("conv", "data", 6, "kernel_size: 3 kernel_size: 2 kernel_size: 1 group: 2 pad: 1")
        + BN
    )
    apply_and_check(text + conv("next", "bn", 3, "kernel_size: 2"), FoldBatchnorm, left={"Convolution": 2})


@pytest.mark.parametrize("kept", ["bn", "BatchNorm", "conv", "Convolution"])
def test_keep(refusals, kept):
    assert "is kept, as asked" in refusals(CONV + BN, FoldBatchnorm, keep=frozenset([kept]))["bn"]


@pytest.mark.parametrize(
    ("behind", "left", "into"),
    [
        (scale("bn") + relu("scale"), {"Convolution": 1, "Scale": 1, "ReLU": 1}, "scale"),
        (conv("next", "bn", 3, "kernel_size: 2"), {"Convolution": 2}, "next"),
    ],
)
def test_keep_of_the_layer_before_leaves_those_behind(apply_and_check, behind, left, into):
    found = apply_and_check(CONV + BN + behind, *FOLDS, left=left, keep=frozenset(["conv"]))
    assert found.applied.changes[0].into == (into,)
    for before, after in zip(found.original.layer("conv").weights, found.layer("conv").weights, strict=True):
        np.testing.assert_array_equal(before, after)


def test_keep_of_one_of_several_readers(refusals):
    text = inputs((2, 6, 9, 8)) + layer("act", "TanH", "data") + bn("act")
    reason = refusals(text + conv("a", "bn", 3) + conv("b", "bn", 4), FoldBatchnorm, keep=frozenset(["b"]))["bn"]
    assert reason.endswith("nor into the one after it ('b' (Convolution) is kept, as asked)")


def test_keep_of_one_leaves_the_others(apply_and_check):
    text = CONV + BN + conv("c2", "bn", 3, "kernel_size: 2") + bn("c2", "bn2")
    apply_and_check(text, FoldBatchnorm, left={"Convolution": 2, "BatchNorm": 1}, keep=frozenset(["bn2"]))


def test_a_residual_block(apply_and_check):
    """As ResNet has them: BatchNorm and Scale in place, a projection, Eltwise."""
    text = inputs((2, 6, 8, 7))
    for name, bottom, out, params in (
        ("proj", "data", 8, "kernel_size: 1 stride: 2 bias_term: false"),
        ("a", "data", 4, "kernel_size: 1 stride: 2 bias_term: false"),
        ("b", "a", 4, "kernel_size: 3 pad: 1 bias_term: false"),
        ("c", "b", 8, "kernel_size: 1 bias_term: false"),
    ):
        text += (
            conv(name, bottom, out, params) + bn(name, f"bn_{name}", top=name) + scale(name, f"scale_{name}", top=name)
        )
        text += relu(name) if name in "ab" else ""
    text += layer("sum", "Eltwise", "proj c") + relu("sum")
    apply_and_check(text, *FOLDS, left={"Convolution": 4, "ReLU": 3, "Eltwise": 1})
