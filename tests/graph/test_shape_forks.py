"""Shapes of forks' layers: figures that were published with them, and the forks' own rules, worked out by hand."""

from __future__ import annotations

import pytest

from deepmerge.errors import ShapeError
from deepmerge.formats.read import read_network
from deepmerge.graph.costs import layer_costs, param_count, summary
from deepmerge.graph.shapes import check_weights, expected_weights, infer_shapes
from deepmerge.graph.types import TYPES
from tests.fork_nets import NETS


@pytest.fixture
def shapes_of(tmp_path):
    """(bottoms' shapes, type, what follows the tops, tops) → the tops' shapes."""

    def shapes_of(bottoms, kind: str, rest: str = "", tops: str = "y"):
        inputs = "".join(
            f'layer {{ name: "x{i}" type: "Input" top: "x{i}" input_param {{ shape {{ {" ".join(f"dim: {n}" for n in shape)} }} }} }}\n'
            for i, shape in enumerate(bottoms)
        )
        ends = "".join(f'bottom: "x{i}" ' for i in range(len(bottoms))) + "".join(
            f'top: "{top}" ' for top in tops.split()
        )
        path = tmp_path / "net.prototxt"
        path.write_text(f'{inputs}layer {{ name: "l" type: "{kind}" {ends} {rest} }}')
        graph = read_network(path)
        found = infer_shapes(graph)
        return [found[top] for top in graph.layer("l").tops]

    return shapes_of


def test_every_type_has_a_rule_and_stands_in_a_network():
    forks = {kind for kind, known in TYPES.items() if known.fork}
    assert all(TYPES[kind].shape and TYPES[kind].params for kind in forks)
    texts = "".join(NETS.values())
    assert {kind for kind in forks if f'type: "{kind}"' not in texts} == {"YoloDetectionOutput"}


RATIO2, RATIO23 = "aspect_ratio: 2 flip: true", "aspect_ratio: 2 aspect_ratio: 3 flip: true"


def test_ssd300_has_8732_prior_boxes(shapes_of):
    """Liu et al., SSD (ECCV 2016), section 3.1: 8732 boxes on maps of 38, 19, 10, 5, 3 and 1."""
    total = 0
    for size, ratios in ((38, RATIO2), (19, RATIO23), (10, RATIO23), (5, RATIO23), (3, RATIO2), (1, RATIO2)):
        params = f"prior_box_param {{ min_size: 30 max_size: 60 {ratios} step: 8 variance: 0.1 }}"
        ((batch, rows, values),) = shapes_of([(4, 512, size, size), (4, 3, 300, 300)], "PriorBox", params)
        assert (batch, rows) == (1, 2)
        total += values // 4
    assert total == 8732


@pytest.mark.parametrize(
    ("params", "boxes"),
    [
        ("min_size: 5", 1),
        ("min_size: 5 max_size: 7", 2),
        ("min_size: 5 min_size: 6 max_size: 7 max_size: 9 aspect_ratio: 2", 8),
        ("min_size: 5 aspect_ratio: 2 flip: false", 2),
        (
            "min_size: 5 aspect_ratio: 1 aspect_ratio: 2 aspect_ratio: 0.5 aspect_ratio: 2.0000001",
            3,
        ),  # 1 and what flips into another
    ],
)
def test_prior_boxes_at_a_place(shapes_of, params, boxes):
    assert shapes_of([(1, 2, 3, 5)], "PriorBox", f"prior_box_param {{ {params} }}") == [(1, 2, 3 * 5 * boxes * 4)]


def test_prior_boxes_of_another_fork_are_not_counted(shapes_of):
    """FaceBoxes' densities, for one."""
    assert shapes_of([(1, 2, 3, 5)], "PriorBox", "prior_box_param { min_size: 5 density: 2 }") == [None]


X = (2, 12, 6, 8)
SHAPES = [
    ([X], "ReLU6", "", [X]),
    ([X], "BN", "bn_param { frozen: true }", [X]),
    ([X], "Normalize", "", [X]),
    ([(2, 12), X, X], "Axpy", "", [X]),
    ([(2, 12, 1, 1), X, X], "Axpy", "", [X]),
    ([X], "ShuffleChannel", "shuffle_channel_param { group: 3 }", [X]),
    ([X], "CropCenter", "crop_center_param { crop_size: 0 crop_size: 1 crop_size: 2 crop_size: 3 }", [(2, 10, 2, 2)]),
    ([X], "Reorg", "reorg_param { stride: 2 }", [(2, 48, 3, 4)]),
    ([X], "Reorg", "reorg_param { stride: 2 reverse: true }", [(2, 3, 12, 16)]),
    ([X], "Upsample", "upsample_param { scale: 3 }", [(2, 12, 18, 24)]),
    ([X], "Upsample", "", [X]),
    ([(12, 6, 8)], "Upsample", "upsample_param { scale: 2 }", [(12, 12, 16)]),
    ([X, X], "Upsample", "", [(2, 12, 12, 16)]),
    ([X, X], "Upsample", "upsample_param { scale: 2 pad_out_h: true }", [(2, 12, 11, 16)]),
    ([X, X], "Upsample", "upsample_param { scale_h: 3 scale_w: 2 }", [(2, 12, 18, 16)]),
    ([X, X], "Upsample", "upsample_param { upsample_h: 13 upsample_w: 15 }", [(2, 12, 13, 15)]),
    ([X], "Interp", "interp_param { zoom_factor: 8 }", [(2, 12, 41, 57)]),
    ([X], "Interp", "interp_param { shrink_factor: 2 }", [(2, 12, 3, 4)]),
    ([X], "Interp", "interp_param { shrink_factor: 2 zoom_factor: 3 }", [(2, 12, 7, 10)]),
    ([X], "Interp", "interp_param { height: 5 width: 9 }", [(2, 12, 5, 9)]),
    ([X], "Interp", "interp_param { height: 5 width: 9 pad_beg: -1 pad_end: -2 }", [(2, 12, 5, 9)]),
    ([X], "Interp", "interp_param { zoom_factor: 2 pad_beg: 0 pad_end: -1 }", [(2, 12, 9, 13)]),
    ([X, (1, 1, 40, 30)], "Interp", 'interp_param { interp_type: "nearest_neighbor" }', [(2, 12, 40, 30)]),
    ([X], "DetectionOutput", "detection_output_param { num_classes: 2 }", [None]),
    ([X], "YoloDetectionOutput", "", [None]),
    (
        [X],
        "DepthwiseConvolution",
        "convolution_param { num_output: 24 group: 12 kernel_h: 3 kernel_w: 2 stride: 2 }",
        [(2, 24, 2, 4)],
    ),
    (
        [X],
        "ConvolutionDepthwise",
        "convolution_param { num_output: 12 kernel_size: 3 pad: 1 dilation: 2 }",
        [(2, 12, 4, 6)],
    ),
    ([X], "Convolution", "convolution_param { num_output: 5 kernel_size: 3 pad: 2 hole: 2 }", [(2, 5, 6, 8)]),
    ([X], "Convolution", "convolution_param { num_output: 5 kernel_size: 3 hole_h: 2 hole_w: 1 }", [(2, 5, 2, 6)]),
    ([X], "Python", 'python_param { module: "m" layer: "L" param_str: "{}" }', [None]),
]


@pytest.mark.parametrize(("bottoms", "kind", "params", "expected"), SHAPES)
def test_shapes(shapes_of, bottoms, kind, params, expected):
    assert shapes_of(bottoms, kind, params) == expected


def test_several_tops(shapes_of):
    assert shapes_of([X], "BN", "bn_param { bn_mode: LEARN }", "y mean variance") == [X, (1, 12, 1, 1), (1, 12, 1, 1)]
    assert shapes_of([X, X], "Python", "", "a b c") == [None] * 3


@pytest.mark.parametrize(
    ("bottoms", "kind", "params", "message"),
    [
        ([X], "PriorBox", "", "min_size: expected one or more, found none"),
        ([(2, 3)], "PriorBox", "prior_box_param { min_size: 5 }", "expected 4 axes"),
        ([X, X], "Axpy", "", "bottom: expected 3, found 2"),
        ([(2, 11), X, X], "Axpy", "", "one number for each channel of bottom 'x1' (2, 12, 6, 8), found (2, 11)"),
        ([(2, 12), X, (2, 12, 6, 7)], "Axpy", "", "bottom 'x2': expected (2, 12, 6, 8)"),
        (
            [X],
            "ShuffleChannel",
            "shuffle_channel_param { group: 5 }",
            "group: expected a number that divides the 12 channels",
        ),
        ([X], "CropCenter", "crop_center_param { crop_size: 1 }", "crop_size: expected one number for each axis"),
        (
            [X],
            "CropCenter",
            "crop_center_param { crop_size: 0 crop_size: 0 crop_size: 3 crop_size: 0 }",
            "leaves some of it",
        ),
        ([X], "Reorg", "reorg_param { stride: 3 }", "stride: expected a number whose square divides the 12 channels"),
        (
            [(1, 4, 5, 6)],
            "Reorg",
            "reorg_param { stride: 2 }",
            "stride: expected a number that divides height and width",
        ),
        ([X, (2, 12, 6, 7)], "Upsample", "", "bottom 'x1': expected (2, 12, 6, 8)"),
        ([X], "Interp", "", "height and width: expected a size, zoom_factor, shrink_factor or a second bottom"),
        ([X], "Interp", "interp_param { zoom_factor: 2 pad_beg: 1 }", "pad_beg and pad_end: expected 0 or less"),
        ([X], "Interp", "interp_param { zoom_factor: 2 pad_beg: -6 }", "some of bottom 'x0'"),
        ([X], "Interp", "interp_param { zoom_factor: 0 }", "zoom_factor: expected 1 or more, found 0"),
        (
            [X],
            "ConvolutionDepthwise",
            "convolution_param { num_output: 24 kernel_size: 3 }",
            "num_output: expected the channels of bottom 'x0'",
        ),
        ([X], "DepthwiseConvolution", "convolution_param { num_output: 8 kernel_size: 3 group: 8 }", "group"),
    ],
)
def test_what_does_not_fit_is_named(shapes_of, bottoms, kind, params, message):
    with pytest.raises(ShapeError) as refusal:
        shapes_of(bottoms, kind, params)
    assert (
        message in str(refusal.value)
        and f"layer 'l' ({kind}): " in str(refusal.value)
        and "\n" not in str(refusal.value)
    )


@pytest.mark.parametrize("name", NETS)
def test_networks(name, tmp_path):
    """Outputs as the papers' networks have them, in small."""
    path = tmp_path / "net.prototxt"
    path.write_text(NETS[name])
    graph = read_network(path)
    shapes = {blob.name: shape for blob, shape in infer_shapes(graph).items()}
    boxes = 24 * 20 * 6 + 12 * 10 * 6
    expected = {
        "ssd_mobilenet": {"mbox_loc": (1, 4 * boxes), "mbox_conf_flatten": (1, 3 * boxes), "mbox_priorbox": (1, 2, 4 * boxes), "detection_out": None},
        "enet": {"pool1_mask": (1, 6, 8, 12), "upsample3": (1, 6, 16, 24), "bn4": (1, 3, 32, 48), "sum2_1": None},
        "pspnet": {"conv4_3x3": (1, 8, 13, 17), "conv5_3_pool2_interp": (1, 4, 13, 17), "conv6_interp": (1, 5, 25, 33)},
        "yolo": {"reorg": (1, 32, 12, 16), "layer4-upsample": (1, 24, 24, 32), "detection_out": None},
        "senet": {"out": (2, 6, 7, 5)},
        "shufflenet": {"shuffle1": (1, 12, 10, 8), "crop": (1, 12, 3, 3)},
        "nvcaffe": {"bn": (2, 5, 5, 4)},
    }[name]  # fmt: skip
    assert {blob: shapes[blob] for blob in expected} == expected


# -- weights and costs -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "params", "expected"),
    [
        (
            "DepthwiseConvolution",
            "convolution_param { num_output: 24 group: 12 kernel_h: 3 kernel_w: 2 }",
            [(24, 1, 3, 2), (24,)],
        ),
        (
            "ConvolutionDepthwise",
            "convolution_param { num_output: 12 kernel_size: 3 bias_term: false }",
            [(12, 1, 3, 3)],
        ),
        ("Normalize", "norm_param { channel_shared: false }", [(12,)]),
        ("Normalize", "", [()]),
        ("BatchNorm", "batch_norm_param { scale_bias: true }", [(12,), (12,), (1,), (12,), (12,)]),
        ("BatchNorm", "batch_norm_param { bias_filler { value: 0 } }", [(12,), (12,), (1,), (12,), (12,)]),
        ("BN", "bn_param { frozen: true }", [(1, 12, 1, 1)] * 4),
        ("BN", "bn_param { bn_mode: INFERENCE }", [(1, 12, 1, 1)] * 2),
        ("BN", "", None),
        ("ReLU6", "", []),
        ("PriorBox", "prior_box_param { min_size: 3 }", []),
        ("Python", "", None),
    ],
)
def test_learned_blobs(tmp_path, kind, params, expected):
    path = tmp_path / "net.prototxt"
    path.write_text(
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 12 dim: 6 dim: 8 } } }\n'
        f'layer {{ name: "l" type: "{kind}" bottom: "x" top: "y" {params} }}'
    )
    graph = read_network(path)
    assert expected_weights(graph.layer("l"), [X]) == expected
    if expected:
        graph.layer("l").weights = [_zeros(shape) for shape in expected]
        check_weights(graph, infer_shapes(graph))


def _zeros(shape):
    import numpy as np

    return np.zeros(shape, np.float32)


@pytest.mark.parametrize("shape", [(12,), (1, 12), (1, 12, 1, 1)])
def test_bn_has_one_axis_two_or_four(tmp_path, shape):
    path = tmp_path / "net.prototxt"
    path.write_text(
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 12 dim: 6 dim: 8 } } }\n'
        'layer { name: "l" type: "BN" bottom: "x" top: "y" bn_param { frozen: true } }'
    )
    graph = read_network(path)
    graph.layer("l").weights = [_zeros(shape)] * 4
    check_weights(graph, infer_shapes(graph))
    graph.layer("l").weights = [_zeros(shape)] * 3
    with pytest.raises(ShapeError, match="expected 4 blobs"):
        check_weights(graph, infer_shapes(graph))


@pytest.mark.parametrize("kind", [kind for kind, known in TYPES.items() if known.depthwise])
def test_a_depthwise_convolution_costs_what_a_grouped_one_costs(tmp_path, kind):
    path = tmp_path / "net.prototxt"
    text = (
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 12 dim: 6 dim: 8 } } }\n'
        'layer { name: "l" type: "Convolution" bottom: "x" top: "y" convolution_param { num_output: 12 group: 12 kernel_size: 3 } }'
    )
    path.write_text(text)
    grouped = read_network(path)
    path.write_text(text.replace("Convolution", kind))
    found = read_network(path)
    one, other = layer_costs(grouped)[1], layer_costs(found)[1]
    assert (other.params, other.macs, other.bytes, other.tensor) == (one.params, one.macs, one.bytes, True)
    assert found.layer("l").kind.tensor and one.macs == 12 * 9 * 4 * 6


def test_statistics_are_no_parameters(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 12 dim: 6 dim: 8 } } }\n'
        'layer { name: "bn" type: "BN" bottom: "x" top: "a" bn_param { frozen: true } }\n'
        'layer { name: "nv" type: "BatchNorm" bottom: "a" top: "b" batch_norm_param { scale_bias: true } }\n'
        'layer { name: "own" type: "BatchNorm" bottom: "b" top: "c" }'
    )
    graph = read_network(path)
    assert param_count(graph) == 12 + 12 + 12 + 12
    assert summary(graph)["storage_bytes"] == 4 * (4 * 12 + 4 * 12 + 1 + 2 * 12 + 1)
