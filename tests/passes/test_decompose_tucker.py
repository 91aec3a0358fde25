"""Tucker-2 and truncated SVD on networks, in real Caffe: weights with planted ranks come out as they were."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.errors import PassError
from deepmerge.graph.costs import macs
from deepmerge.graph.shapes import infer_shapes
from deepmerge.passes.decompose_tucker import DecomposeTucker
from deepmerge.passes.support.base import Options, run
from tests.helpers import conv, inputs, layer, network, relu

NEAR = 3e-5  # of the output's range: three layers round where there was one
ALL = "energy:0.9999999"


def planted(shape: tuple[int, ...], rank_out: int, rank_in: int, group: int = 1, noise: float = 0.0) -> np.ndarray:
    """Convolution weights (num_output, channels/group, kernel_h, kernel_w) with these ranks in every group."""
    rng = np.random.default_rng(3)
    outputs, channels, kernel_h, kernel_w = shape
    blocks = []
    for _ in range(group):
        core = rng.normal(0, 1, (rank_out, rank_in, kernel_h, kernel_w))
        if (kernel_h, kernel_w) == (1, 1):  # a small square matrix of noise has next to no rank in some direction
            core = np.eye(rank_out)[:, :, None, None]
        left, right = rng.normal(0, 1, (outputs // group, rank_out)), rng.normal(0, 1, (rank_in, channels))
        blocks.append(np.einsum("na,abyx,bc->ncyx", left, core, right))
    weight = np.concatenate(blocks)
    weight /= weight.std()
    return (weight + noise * rng.normal(0, 1, shape)).astype(np.float32) / np.float32(
        np.sqrt(channels * kernel_h * kernel_w)
    )


def parts(found) -> list[str]:
    return [x.name for x in found.graph.layers if x.type in ("Convolution", "InnerProduct")]


@pytest.mark.parametrize("bias", ["true", "false"])
@pytest.mark.parametrize(
    ("window", "kernel"),
    [
        ("kernel_size: 3 pad: 1", (3, 3)),
        ("kernel_h: 3 kernel_w: 5 stride_h: 2 stride_w: 1 pad_h: 0 pad_w: 2", (3, 5)),
        ("kernel_h: 1 kernel_w: 3 stride: 2 dilation: 2 pad: 1", (1, 3)),
    ],
)
@pytest.mark.parametrize("group", [1, 2])
def test_a_convolution_becomes_three(apply_and_check, tmp_path, window, kernel, bias, group):
    text = (
        inputs((2, 24, 13, 11)) + conv("conv", "data", 32, f"group: {group} bias_term: {bias} {window}") + relu("conv")
    )
    graph = network(tmp_path, text)
    graph.layer("conv").weights[0] = planted((32, 24 // group, *kernel), 4, 3, group)
    found = apply_and_check(
        graph, DecomposeTucker, blind=False, within=NEAR, rank=ALL, left={"Convolution": 3, "ReLU": 1}
    )
    assert parts(found) == ["conv_reduce", "conv_core", "conv_expand"]
    reduce, core, expand = (found.layer(name) for name in parts(found))
    assert [x.params.num_output for x in (reduce, core, expand)] == [3 * group, 4 * group, 32]
    assert [x.params.group for x in (reduce, core, expand)] == [group] * 3
    assert [x.params.bias_term for x in (reduce, core, expand)] == [False, False, bias == "true"]
    old = graph.layer("conv").params
    assert (core.params.kernel, core.params.stride, core.params.pad, core.params.dilation) == (
        (old.kernel, old.stride, old.pad, old.dilation)
    )
    (change,) = found.applied.changes
    assert not change.exact and change.merged == ("conv",) and change.into == tuple(parts(found))
    assert [b.name for b in found.graph.outputs] == ["conv"]


def test_one_side_only(apply_and_check, tmp_path):
    """Full rank on one side: Tucker-1, two convolutions."""
    graph = network(tmp_path, inputs((2, 3, 13, 11)) + conv("conv", "data", 32, "kernel_size: 5 stride: 2"))
    graph.layer("conv").weights[0] = planted((32, 3, 5, 5), 6, 3)
    found = apply_and_check(graph, DecomposeTucker, blind=False, within=NEAR, rank=ALL)
    assert parts(found) == ["conv_core", "conv_expand"] and found.layer("conv_core").params.stride == (2, 2)


@pytest.mark.parametrize("window", ["kernel_size: 1", "kernel_size: 1 stride_h: 2 stride_w: 3 pad_h: 1 pad_w: 0"])
@pytest.mark.parametrize("group", [1, 2])
def test_a_1x1_becomes_two(apply_and_check, tmp_path, window, group):
    graph = network(tmp_path, inputs((2, 24, 9, 8)) + conv("conv", "data", 32, f"group: {group} {window}"))
    graph.layer("conv").weights[0] = planted((32, 24 // group, 1, 1), 4, 4, group)
    found = apply_and_check(graph, DecomposeTucker, blind=False, within=NEAR, rank=ALL)
    assert parts(found) == ["conv_reduce", "conv_expand"]
    first, last = (found.layer(name).params for name in parts(found))
    assert (first.num_output, first.stride, first.pad) == (
        4 * group,
        graph.layer("conv").params.stride,
        graph.layer("conv").params.pad,
    )
    assert (last.stride, last.pad, last.group) == ((1, 1), (0, 0), group)


@pytest.mark.parametrize("transpose", ["true", "false"])
@pytest.mark.parametrize("bias", ["true", "false"])
def test_an_inner_product_becomes_two(apply_and_check, tmp_path, transpose, bias):
    product = layer("ip", "InnerProduct", "data", f"num_output: 30 transpose: {transpose} bias_term: {bias}")
    graph = network(tmp_path, inputs((3, 4, 3, 2)) + product)
    matrix = planted((30, 24, 1, 1), 4, 4)[:, :, 0, 0]
    graph.layer("ip").weights[0] = np.ascontiguousarray(matrix.T if transpose == "true" else matrix)
    found = apply_and_check(graph, DecomposeTucker, blind=False, within=NEAR, rank=ALL, left={"InnerProduct": 2})
    assert [(x.params.num_output, x.params.bias_term, x.params.transpose) for x in found.graph.layers[1:]] == [
        (4, False, False),
        (30, bias == "true", False),
    ]


@pytest.mark.pitfall("row", 34)
def test_vbmf_finds_the_planted_rank(apply_and_check, tmp_path):
    graph = network(
        tmp_path,
        inputs((1, 40, 9, 8))
        + conv("conv", "data", 48, "kernel_size: 3")
        + layer("ip", "InnerProduct", "conv", "num_output: 60"),
    )
    graph.layer("conv").weights[0] = planted((48, 40, 3, 3), 6, 5, noise=0.05)
    graph.layer("ip").weights[0] = planted((60, 48 * 7 * 6, 1, 1), 7, 7, noise=0.05)[:, :, 0, 0]
    found = apply_and_check(graph, DecomposeTucker, blind=False, within=0.05, rank="vbmf")
    sizes = {x.name: x.params.num_output for x in found.graph.layers[1:]}
    assert sizes == {"conv_reduce": 5, "conv_core": 6, "conv_expand": 48, "ip_reduce": 7, "ip_expand": 60}


@pytest.mark.pitfall("row", 34)
@pytest.mark.parametrize(
    "text",
    [
        conv("l", "data", 48, "kernel_size: 3"),
        conv("l", "data", 48),
        layer("l", "InnerProduct", "data", "num_output: 400"),
    ],
)
def test_a_floor_where_vbmf_finds_nothing_but_noise(runs_and_keeps_shapes, tmp_path, text):
    graph = network(tmp_path, inputs((1, 40, 9, 8)) + text)
    shape = graph.layer("l").weights[0].shape
    graph.layer("l").weights[0] = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
    found = runs_and_keeps_shapes(graph, DecomposeTucker, blind=False, rank="vbmf")
    sizes = [x.params.num_output for x in found.graph.layers[1:]]
    assert len(sizes) > 1 and set(sizes[:-1]) == {1}


def test_ratio_and_how_near(apply_and_check, tmp_path):
    """More energy is nearer, and costs more."""
    text = inputs((2, 24, 9, 8)) + conv("conv", "data", 32, "kernel_size: 3 pad: 1")
    graph = network(tmp_path, text)
    graph.layer("conv").weights[0] = planted((32, 24, 3, 3), 8, 6, noise=0.2)
    runs = [
        apply_and_check(graph, DecomposeTucker, blind=False, within=1, rank=f"energy:{share}")
        for share in (0.5, 0.8, 0.95)
    ]
    assert runs[0].error > runs[1].error > runs[2].error
    work = [macs(x.graph, infer_shapes(x.graph)) for x in runs]
    assert work[0] < work[1] < work[2] < macs(graph, infer_shapes(graph))
    found = apply_and_check(text, DecomposeTucker, blind=False, within=1, rank="ratio:0.25")
    assert [x.params.num_output for x in found.graph.layers[1:]] == [6, 8, 32]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (conv("conv", "data", 32, "kernel_size: 3"), "it must save"),
        (conv("conv", "data", 12, "kernel_size: 3 group: 12"), "it is depthwise"),
        (conv("conv", "data", 24, "kernel_size: 3 group: 12"), "it is depthwise"),
        (layer("conv", "InnerProduct", "data", "num_output: 4 axis: 2"), "it works on axis 2"),
        (conv("conv", "data", 1), "it must save"),
        (
            layer("conv", "Convolution", "data", "num_output: 8 kernel_size: 3", param='param { name: "w" }')
            + layer("o", "Convolution", "data", "num_output: 8 kernel_size: 3", param='param { name: "w" }'),
            "its weights are shared with 'o'",
        ),
    ],
)
def test_refusals(refusals, text, why):
    assert why in refusals(inputs((2, 12, 9, 8)) + text, DecomposeTucker, rank="energy:0.999")["conv"]


@pytest.mark.pitfall("row", 34)
def test_the_figures_in_the_refusal(refusals):
    """Of every batch size the work for one image: 7 x 6 places of 12·9·32 products."""
    for batch in (1, 4):
        reason = refusals(
            inputs((batch, 12, 9, 8)) + conv("conv", "data", 32, "kernel_size: 3"), DecomposeTucker, rank="ratio:1"
        )["conv"]
        assert reason.startswith(
            f"at ranks 12, 32 it would need {12 * 9 * 32 * 42:,} MACs instead of {12 * 9 * 32 * 42:,}"
        )


def test_a_convolution_of_three_axes(refusals):
    text = inputs((1, 12, 5, 6, 4)) + conv("conv", "data", 32, "kernel_size: 2")
    assert refusals(text, DecomposeTucker)["conv"] == "its window is not two-dimensional"


def test_shapes_that_are_not_known(refusals):
    """As those of Faster R-CNN's fc6 and fc7, behind ROIPooling."""
    text = inputs((1, 12, 9, 8)) + layer("roi", "ROIPooling", "data")
    text += layer("fc6", "InnerProduct", "roi", "num_output: 40")
    text += layer("fc7", "InnerProduct", "fc6", "num_output: 30")
    reason = "the shape that it reads is not known here, so its MACs cannot be counted"
    assert refusals(text, DecomposeTucker) == {"fc6": reason, "fc7": reason}


def test_without_weights(refusals, tmp_path):
    graph = network(tmp_path, inputs((2, 12, 9, 8)) + conv("conv", "data", 32, "kernel_size: 3"), seed=None)
    assert "give the caffemodel" in refusals(graph, DecomposeTucker)["conv"]


def test_named_ranks_need_no_weights(tmp_path):
    graph = network(tmp_path, inputs((2, 12, 9, 8)) + conv("conv", "data", 32, "kernel_size: 3"), seed=None)
    run([DecomposeTucker(Options(ranks={"conv": (4, 8)}))], graph)
    assert [layer.params.num_output for layer in graph.layers if layer.type == "Convolution"] == [4, 8, 32]
    assert not any(layer.weights for layer in graph.layers)


@pytest.mark.parametrize(
    "rank", ["", "energy", "energy:", "energy:0", "energy:1.5", "ratio:x", "vbmf:1", "energy:nan", "svd"]
)
def test_a_rank_that_is_none(tmp_path, rank):
    graph = network(tmp_path, inputs((2, 12, 9, 8)) + conv("conv", "data", 32, "kernel_size: 3"))
    with pytest.raises(PassError, match="--rank .*: give vbmf, energy:SHARE, ratio:SHARE or macs:SHARE"):
        DecomposeTucker(Options(rank=rank)).look(graph, graph.layer("conv"), infer_shapes(graph))


@pytest.mark.parametrize("kept", ["conv", "Convolution"])
def test_keep(refusals, kept):
    text = inputs((2, 24, 9, 8)) + conv("conv", "data", 32, "kernel_size: 3")
    assert "is kept, as asked" in refusals(text, DecomposeTucker, rank="ratio:0.25", keep=frozenset([kept]))["conv"]


def test_fields_of_its_own_go_with_the_window(runs_and_keeps_shapes, tmp_path):
    """Fillers, a fork's fields: the core (of a 1x1 the first part) keeps what the file said; names do not clash."""
    text = (
        inputs((2, 24, 9, 8))
        + conv("conv_core", "data", 24)
        + conv("conv", "conv_core", 32, 'kernel_size: 3 weight_filler { type: "xavier" }')
    )
    found = runs_and_keeps_shapes(text, DecomposeTucker, blind=False, rank="ratio:0.25", keep=frozenset(["conv_core"]))
    assert parts(found) == ["conv_core", "conv_reduce", "conv_core_2", "conv_expand"]
    blocks = [found.layer(name).tree.message("convolution_param") for name in parts(found)[1:]]
    assert ["weight_filler" in (block or ()) for block in blocks] == [False, True, False]


# -- by the data -----------------------------------------------------------------------------------


def measured(graph, names, count=300):
    """The moments of layers that read the only input, from images with few directions and a mean."""
    from deepmerge.convert.calibrate.collect import collect
    from deepmerge.engines import engine

    return collect(graph, names, [few_directions(graph, count)], engine())[0]


def few_directions(graph, count, seed=1):
    """Images whose channels are mixtures of 3, smooth across the image, and nowhere of mean 0."""
    rng = np.random.default_rng(seed)
    channels, height, width = infer_shapes(graph)[graph.inputs[0]][1:]
    mix = np.random.default_rng(8).normal(0, 1, (channels, 3))
    images = np.einsum("cm,nmhw->nchw", mix, rng.normal(0.5, 1, (count, 3, height, width)))
    return (images + 2).astype(np.float32)


@pytest.mark.parametrize(
    "text",
    [
        conv("l", "data", 32, "kernel_h: 3 kernel_w: 5 stride_h: 2 stride_w: 1 pad_w: 2 group: 2"),
        conv("l", "data", 32, "kernel_size: 3 bias_term: false"),
        conv("l", "data", 32, "kernel_size: 1 stride: 2"),
        layer("l", "InnerProduct", "data", "num_output: 300 bias_term: false transpose: true"),
    ],
)
def test_near_on_the_data_in_caffe(apply_and_check, caffe, tmp_path, text):
    """On images of the calibration's kind, at ranks at which the plain decomposition is far off."""
    graph = network(tmp_path, inputs((4, 24, 9, 8)) + text)
    rank = [9] if "InnerProduct" in text or "kernel_size: 1" in text else [4, 9]
    found = measured(graph, ["l"])
    made = apply_and_check(
        graph, DecomposeTucker, blind=False, within=None, ranks={"l": rank}, moments=found, calibration="some"
    )
    plain = apply_and_check(graph, DecomposeTucker, blind=False, within=None, ranks={"l": rank})
    assert [x.name for x in made.graph.layers] == [x.name for x in plain.graph.layers]
    assert made.graph.layers[-1].params.bias_term and len(made.graph.layers[-1].weights) == 2
    images = {"data": few_directions(graph, 4, seed=2)}
    wanted, near, far = (caffe(g, images)["l"] for g in (graph, made.graph, plain.graph))
    assert np.sum((wanted - near) ** 2) < 0.5 * np.sum((wanted - far) ** 2)


def test_moments_of_another_layer_are_refused(refusals, tmp_path):
    graph = network(tmp_path, inputs((2, 24, 9, 8)) + conv("conv", "data", 32, "kernel_size: 3"))
    other = network(tmp_path, inputs((2, 24, 9, 8)) + conv("conv", "data", 32, "kernel_size: 2"))
    found = refusals(graph, DecomposeTucker, rank="ratio:0.25", moments=measured(other, ["conv"]))
    assert "it changed after calibration; put decompose_tucker in its own step" == found["conv"]
