"""Layers of forks in passes: what folds into and out of them, and what stays. Real Caffe judges their twins (fork_twins.py)."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from deepmerge.errors import ShapeError
from deepmerge.formats.read import read_network
from deepmerge.formats.write import write_pair
from deepmerge.graph.check import require
from deepmerge.graph.graph import Graph
from deepmerge.graph.shapes import infer_shapes
from deepmerge.passes.fold_batchnorm import FoldBatchnorm
from deepmerge.passes.fold_scale import FoldScale
from deepmerge.passes.merge_pooling import MergePooling
from deepmerge.passes.registry import CLEANUP, FOLDS, make
from deepmerge.passes.remove_identity import RemoveIdentity
from deepmerge.passes.support.base import Options, run
from deepmerge.passes.swap_relu_pool import SwapReluPool
from tests.fork_nets import NETS, NVCAFFE, fill
from tests.fork_twins import run_twin
from tests.helpers import apart, feeds, inputs

EXACT = 1e-5  # of the output's range
DATA = inputs((2, 6, 9, 8))
DW = "num_output: 6 group: 6 kernel_h: 3 kernel_w: 2 stride: 2 bias_term: false"
YJXIONG = "bn_param { slope_filler { value: 1 } frozen: true eps: 0.01 }"


def fork(name: str, kind: str, bottom: str, params: str = "", top: str | None = None) -> str:
    blobs = "".join(f'bottom: "{b}" ' for b in bottom.split()) + "".join(f'top: "{t}" ' for t in (top or name).split())
    return f'layer {{ name: "{name}" type: "{kind}" {blobs} {params} }}\n'


def conv(name: str, bottom: str, params: str, kind: str = "Convolution") -> str:
    return fork(name, kind, bottom, f"convolution_param {{ {params} }}")


@pytest.fixture
def read(tmp_path):
    def read(text: str) -> Graph:
        path = tmp_path / "net.prototxt"
        path.write_text(text, encoding="utf-8")
        return fill(read_network(path))

    return read


@pytest.fixture(scope="module")
def worker(real_caffe):
    with real_caffe.start() as worker:
        yield worker


@pytest.fixture
def judge(read, worker, tmp_path):
    """judge(text or Graph, passes…, left={type: number}) → the graph after the passes, its twin within EXACT of the original's."""

    def judge(net: str | Graph, *passes, left: dict[str, int], **options) -> Graph:
        graph = read(net) if isinstance(net, str) else net
        made = graph.copy()
        changes = run([one(Options(**options)) for one in passes], made).changes
        require(made)
        assert Counter(layer.type for layer in made.layers if layer.type != "Input") == Counter(left)
        fed = feeds(graph)
        assert changes and apart(run_twin(worker, tmp_path, graph, fed), run_twin(worker, tmp_path, made, fed)) <= EXACT
        blind = graph.copy()
        for layer in blind.layers:
            layer.weights = []
        run([one(Options(**options)) for one in passes], blind)
        assert [(la.name, la.type, la.params) for la in blind.layers] == [
            (la.name, la.type, la.params) for la in made.layers
        ]
        return made

    return judge


def refused(graph: Graph, *passes) -> dict[str, str]:
    applied = run([one() for one in passes], graph)
    assert applied.changes == []
    return {refusal.layer: refusal.reason for refusal in applied.refusals}


BOTH = FoldBatchnorm, FoldScale
BN_SCALE = fork("bn", "BatchNorm", "conv") + fork("scale", "Scale", "bn", "scale_param { bias_term: true }")


@pytest.mark.parametrize("kind", ["DepthwiseConvolution", "ConvolutionDepthwise"])
def test_a_depthwise_convolution_takes_what_a_grouped_one_takes(judge, kind):
    made = judge(
        DATA + conv("conv", "data", DW, kind) + BN_SCALE + fork("relu", "ReLU", "scale"),
        *BOTH,
        left={kind: 1, "ReLU": 1},
    )
    assert made.layer("conv").params.bias_term and made.layer("conv").weights[0].shape == (6, 1, 3, 2)


@pytest.mark.parametrize("group", ["group: 3", "group: 6", ""])
def test_a_depthwise_convolution_by_its_group(judge, read, group):
    """DepthwiseConvolution has Convolution's group; without one it is a group a channel. ConvolutionDepthwise does not look at it."""
    params = f"num_output: 6 {group} kernel_size: 2"
    made = read(
        DATA + conv("a", "data", params, "DepthwiseConvolution") + conv("b", "data", params, "ConvolutionDepthwise")
    )
    assert made.layer("a").params.group == (3 if "3" in group else 6) and made.layer("b").params.group == 6
    if group != "group: 3":
        judge(
            DATA + conv("conv", "data", params, "DepthwiseConvolution") + BN_SCALE,
            *BOTH,
            left={"DepthwiseConvolution": 1},
        )


def test_forwards_into_a_depthwise_convolution(judge):
    text = DATA + fork("bn", "BatchNorm", "data") + conv("conv", "bn", DW, "ConvolutionDepthwise")
    judge(text, FoldBatchnorm, left={"ConvolutionDepthwise": 1})


def test_not_forwards_where_it_pads(read):
    text = DATA + fork("bn", "BatchNorm", "data") + conv("conv", "bn", DW + " pad: 1", "DepthwiseConvolution")
    assert "'conv' pads with zeros" in refused(read(text), FoldBatchnorm)["bn"]


@pytest.mark.pitfall("row", 30)
def test_row_30_shared_depthwise_weights_are_left_alone(read):
    """PITFALLS row 30: ParamSpec names shared between layers: all sharers are transformed, or none."""
    shared = 'param { name: "w" } convolution_param { num_output: 6 kernel_size: 3 bias_term: false }'
    text = (
        DATA
        + fork("conv", "DepthwiseConvolution", "data", shared)
        + fork("other", "DepthwiseConvolution", "data", shared)
    )
    graph = read(text + fork("bn", "BatchNorm", "conv"))
    assert [layer.name for layer in graph.sharers(graph.layer("conv"))] == ["other"]
    assert "'conv': its weights are shared with 'other'" in refused(graph, FoldBatchnorm)["bn"]


@pytest.mark.pitfall("row", 30)
def test_row_30_shared_bn_is_left_alone(read):
    text = (
        DATA
        + conv("conv", "data", "num_output: 4 kernel_size: 2")
        + conv("conv2", "data", "num_output: 4 kernel_size: 2")
    )
    for name, bottom in (("bn", "conv"), ("bn2", "conv2")):
        text += fork(name, "BN", bottom, f'param {{ name: "slope" }} {YJXIONG}')
    assert refused(read(text), FoldBatchnorm) == {
        "bn": "it shares only some of its weights with 'bn2'",
        "bn2": "it shares only some of its weights with 'bn'",
    }


def test_a_pooling_goes_into_a_depthwise_convolution(read):
    text = (
        DATA
        + conv("conv", "data", "num_output: 6 kernel_size: 3 pad: 1", "ConvolutionDepthwise")
        + fork("relu", "ReLU6", "conv")
    )
    graph = read(text + fork("pool", "Pooling", "relu", "pooling_param { kernel_size: 2 stride: 2 }"))
    before = infer_shapes(graph)[graph.outputs[0]]
    (change,) = run([MergePooling()], graph).changes
    require(graph)
    conv_layer = graph.layer("conv")
    assert (
        change.merged == ("conv", "pool")
        and conv_layer.type == "ConvolutionDepthwise"
        and conv_layer.params.stride == (2, 2)
    )
    assert infer_shapes(graph)[graph.outputs[0]] == before


# -- BN ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "params", [YJXIONG, "bn_param { moving_average: true var_eps: 0.02 }", "bn_param { bn_mode: INFERENCE }"]
)
@pytest.mark.parametrize("kind", ["Convolution", "Deconvolution", "InnerProduct", "DepthwiseConvolution"])
def test_bn_goes_into_the_layer_before_it(judge, kind, params):
    if kind == "InnerProduct":
        before = fork("conv", kind, "data", "inner_product_param { num_output: 5 }")
    else:
        group = 6 if kind == "DepthwiseConvolution" else 2
        before = conv(
            "conv", "data", f"num_output: 6 group: {group} kernel_h: 3 kernel_w: 2 stride: 2 bias_term: false", kind
        )
    judge(DATA + before + fork("bn", "BN", "conv", params), FoldBatchnorm, left={kind: 1})


def test_bn_in_place_and_forwards_and_into_a_scale(judge):
    text = (
        DATA
        + conv("conv", "data", "num_output: 4 kernel_size: 1")
        + fork("bn", "BN", "conv", YJXIONG, "conv")
        + fork("r", "ReLU", "conv")
    )
    judge(text, FoldBatchnorm, left={"Convolution": 1, "ReLU": 1})
    text = DATA + fork("bn", "BN", "data", YJXIONG) + conv("conv", "bn", "num_output: 4 group: 2 kernel_size: 2")
    judge(text, FoldBatchnorm, left={"Convolution": 1})
    judge(DATA + fork("bn", "BN", "data", YJXIONG) + fork("s", "Scale", "bn"), FoldBatchnorm, left={"Scale": 1})


def test_bn_through_a_pooling_only_where_no_slope_is_negative(judge, read):
    pooled = conv("conv", "data", "num_output: 4 kernel_size: 2") + fork(
        "pool", "Pooling", "conv", "pooling_param { kernel_size: 2 stride: 2 }"
    )
    text = DATA + pooled + fork("bn", "BN", "pool", YJXIONG)
    assert "a factor may be negative" in refused(read(text), FoldBatchnorm)["bn"]
    graph = read(text)
    graph.layer("bn").weights = []
    assert "a factor may be negative" in refused(graph, FoldBatchnorm)["bn"]


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        (
            "",
            "bn_param does not show which fork it is from; give it `frozen: true` or its `eps` if it uses its stored mean and variance",
        ),
        ("bn_param { engine: CUDNN }", "bn_param does not show which fork it is from"),
        ("bn_param { scale_filler { value: 1 } shift_filler { value: 0 } }", "it normalises by the current batch"),
        ("bn_param { bn_mode: LEARN }", "it normalises by the current batch"),
        ("bn_param { var_eps: 1e-9 moving_average: false }", "it normalises by the current batch"),
        ("bn_param { use_history_in_test: false frozen: true }", "it normalises by the current batch"),
        ("bn_param { frozen: true axis: 2 }", "it works on axis 2, not on the channels"),
    ],
)
def test_bn_that_does_not_use_what_is_stored(read, params, reason):
    graph = read(DATA + conv("conv", "data", "num_output: 4 kernel_size: 1") + fork("bn", "BN", "conv", params))
    assert refused(graph, FoldBatchnorm)["bn"].startswith(reason)


def test_bn_whose_blobs_are_another_forks(read):
    graph = read(DATA + conv("conv", "data", "num_output: 4 kernel_size: 1") + fork("bn", "BN", "conv", YJXIONG))
    graph.layer("bn").weights = graph.layer("bn").weights[:2]
    assert refused(graph, FoldBatchnorm)["bn"] == "it has 2 blobs, and by its bn_param it should have 4"
    tops = read(
        DATA
        + conv("conv", "data", "num_output: 4 kernel_size: 1")
        + fork("bn", "BN", "conv", YJXIONG, "y mean variance")
    )
    assert refused(tops, FoldBatchnorm)["bn"] == "it has 3 tops, the batch's statistics among them"


# -- NVCaffe's BatchNorm ---------------------------------------------------------------------------------


@pytest.mark.pitfall("row", 29)
def test_row_29_nvcaffes_five_blobs_fold_by_its_formula(judge):
    """PITFALLS row 29: BatchNorm with 3 blobs (BVLC) or 5 (NVCaffe): means, not sums; eps at least 1e-5; scale and bias."""
    graph = judge(NVCAFFE, FoldBatchnorm, left={"Convolution": 1, "ReLU": 1})
    assert graph.outputs[0].name == "bn"


@pytest.mark.pitfall("row", 29)
@pytest.mark.parametrize("factor", [0.0, 1.0, 7.5])
def test_row_29_the_factor_does_not_count(judge, read, factor):
    graph = read(NVCAFFE)
    graph.layer("bn").weights[2] = np.float32([factor])
    graph.layer("bn").weights[1][0] = 1e-7  # where NVCaffe's least eps counts, and not the file's
    judge(graph, FoldBatchnorm, left={"Convolution": 1, "ReLU": 1})


@pytest.mark.pitfall("row", 29)
@pytest.mark.parametrize("digits", [False, True])
def test_row_29_files_of_five_blobs_are_read(judge, tmp_path, digits):
    """The prototxt need not say so. DIGITS' files have the scale and bias first."""
    text = NVCAFFE.replace("scale_bias: true", "")
    path, weights = tmp_path / "nv.prototxt", tmp_path / "nv.caffemodel"
    path.write_text(NVCAFFE)
    graph = fill(read_network(path))
    mean, variance, factor, scale, bias = graph.layer("bn").weights
    if digits:
        wide = [blob.reshape(1, -1, 1, 1) for blob in (scale, bias, mean, variance)]
        graph.layer("bn").weights = [*wide, factor]
    write_pair(graph, tmp_path / "other.prototxt", weights)
    path.write_text(text)
    found = read_network(path, weights)
    assert found.layer("bn").params.scale_bias
    for one, other in zip(found.layer("bn").weights, (mean, variance, factor, scale, bias), strict=True):
        np.testing.assert_array_equal(one, other)
    write_pair(found, tmp_path / "out.prototxt", tmp_path / "out.caffemodel")
    assert "scale_bias: true" in (tmp_path / "out.prototxt").read_text()
    judge(found, FoldBatchnorm, left={"Convolution": 1, "ReLU": 1})


@pytest.mark.pitfall("row", 29)
def test_row_29_three_blobs_where_five_are_declared(tmp_path, read):
    graph = read(NVCAFFE)
    graph.layer("bn").weights = graph.layer("bn").weights[:3]
    assert refused(graph, FoldBatchnorm)["bn"] == "it has 3 blobs, and NVCaffe's BatchNorm with scale_bias has 5"
    write_pair(graph, tmp_path / "a.prototxt", tmp_path / "a.caffemodel")
    with pytest.raises(ShapeError, match=r"'bn' \(BatchNorm\): weights: expected 5 blobs .*, found 3 blobs"):
        read_network(tmp_path / "a.prototxt", tmp_path / "a.caffemodel")


@pytest.mark.pitfall("row", 29)
def test_row_29_a_negative_scale_does_not_pass_a_maximum(read):
    pool = fork("pool", "Pooling", "conv", "pooling_param { kernel_size: 2 stride: 2 }")
    for nv, reason in (("scale_bias: true", "a factor may be negative"), ("", None)):
        bn = fork("bn", "BatchNorm", "pool", f"batch_norm_param {{ {nv} }}")
        graph = read(DATA + conv("conv", "data", "num_output: 4 kernel_size: 2") + pool + bn)
        for layer in graph.layers:
            layer.weights = []
        if reason:
            assert reason in refused(graph, FoldBatchnorm)["bn"]
        else:
            assert len(run([FoldBatchnorm()], graph).changes) == 1


# -- activations ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("params", ["", "relu6_param { negative_slope: 0.1 }"])
def test_relu6_moves_behind_a_maximum(judge, params):
    text = DATA + conv("conv", "data", "num_output: 4 kernel_size: 2") + fork("relu", "ReLU6", "conv", params, "conv")
    made = judge(text + fork("pool", "Pooling", "conv", "pooling_param { kernel_size: 2 stride: 2 }"), SwapReluPool,
                 left={"Convolution": 1, "Pooling": 1, "ReLU6": 1})  # fmt: skip
    assert [layer.type for layer in made.layers[-2:]] == ["Pooling", "ReLU6"]


@pytest.mark.parametrize(
    ("first", "second", "left"),
    [
        ("ReLU6", "ReLU6", {"ReLU6": 1}),
        ("ReLU6", "ReLU", {"ReLU6": 1}),
        ("ReLU", "ReLU", {"ReLU": 1}),
        ("ReLU", "ReLU6", None),
    ],
)
def test_relu6_twice_is_relu6_once(judge, read, first, second, left):
    text = (
        DATA + conv("conv", "data", "num_output: 4 kernel_size: 2") + fork("a", first, "conv") + fork("b", second, "a")
    )
    if left:
        judge(text, RemoveIdentity, left={"Convolution": 1, **left})
    else:
        assert refused(read(text), RemoveIdentity) == {}


def test_relu6_with_a_slope_is_not_idempotent(read):
    sloped = "relu6_param { negative_slope: 0.1 }"
    text = (
        DATA
        + conv("conv", "data", "num_output: 4 kernel_size: 2")
        + fork("a", "ReLU6", "conv", sloped)
        + fork("b", "ReLU6", "a", sloped)
    )
    assert refused(read(text), RemoveIdentity) == {}


def test_a_shuffle_of_one_group_is_taken_out(judge, read):
    text = (
        DATA
        + conv("conv", "data", "num_output: 4 kernel_size: 2")
        + fork("s", "ShuffleChannel", "conv", "shuffle_channel_param { group: %s }")
    )
    for group in ("1", "4"):
        judge(text % group, RemoveIdentity, left={"Convolution": 1})
    assert refused(read(text % "2"), RemoveIdentity) == {}


# -- data are no weights -------------------------------------------------------------------------------


@pytest.mark.pitfall("row", 28)
def test_row_28_axpy_and_a_scale_of_two_bottoms_are_data(read):
    """PITFALLS row 28: Scale with two bottoms (SENet), Axpy: data, not weights: never folded."""
    text = inputs((2, 6, 9, 8), (2, 6)) + conv("conv", "data", "num_output: 6 kernel_size: 1")
    scale = fork("scale", "Scale", "conv data1", "scale_param { axis: 0 bias_term: true }")
    reason = "it has 2 bottoms: its factors are data, not weights"
    assert refused(read(text + scale), *BOTH) == {"scale": reason}
    axpy = fork("axpy", "Axpy", "data1 conv data") + fork("s", "Scale", "axpy", "scale_param { bias_term: true }")
    assert "the layer 'axpy' (Axpy) comes before it" in refused(read(text + axpy), *BOTH)["s"]


@pytest.mark.pitfall("row", 23)
def test_row_23_a_mask_that_is_used_keeps_its_pooling(read):
    """PITFALLS row 23: MAX pooling's second top is the mask: kept; such a layer is not merged."""
    text = DATA + conv("conv", "data", "num_output: 6 kernel_size: 3 pad: 1") + fork("relu", "ReLU", "conv")
    text += fork("pool", "Pooling", "relu", "pooling_param { kernel_size: 2 stride: 2 }", "pool mask")
    text += fork("up", "Upsample", "pool mask", "upsample_param { scale: 2 pad_out_h: true }")
    graph = read(text)
    assert refused(graph, SwapReluPool, MergePooling) == {"pool": "its mask is used"}
    assert infer_shapes(graph)[graph.outputs[0]] == (2, 6, 9, 8)


@pytest.mark.parametrize("name", [name for name in NETS if name != "enet"])
def test_everything_around_them_still_merges(judge, read, name):
    left = Counter(
        layer.type
        for layer in read(NETS[name]).layers
        if layer.type not in ("Input", "BatchNorm", "Scale", "BN", "ShuffleChannel")
    )
    left["ShuffleChannel"] = NETS[name].count('"ShuffleChannel"')
    judge(NETS[name], *BOTH, left={kind: count for kind, count in left.items() if count})


def test_everything_around_them_still_merges_in_enet(judge):
    left = {
        "Convolution": 3,
        "PReLU": 1,
        "Pooling": 1,
        "SpatialDropout": 1,
        "Eltwise": 1,
        "Upsample": 1,
        "Deconvolution": 1,
    }
    judge(NETS["enet"], *BOTH, left=left)


@pytest.mark.parametrize("name", NETS)
def test_a_layer_whose_parameters_are_another_forks_is_left_alone(read, name):
    """Without typed parameters, as a fork of the same layer name may have it, no pass fails and none touches it."""
    graph = read(NETS[name])
    for layer in graph.layers:
        if layer.type in ("ReLU6", "BN", "DepthwiseConvolution", "ConvolutionDepthwise", "ShuffleChannel", "Normalize"):
            layer.params = layer.read_params = None
    kinds = Counter(layer.type for layer in graph.layers if layer.params is None)
    run(make([*CLEANUP, *FOLDS, "merge_pooling", "merge_lrn"], Options()), graph)
    require(graph)
    assert Counter(layer.type for layer in graph.layers if layer.params is None) == kinds
