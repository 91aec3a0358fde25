"""Forks' messages, read by name: whose layer it is, and what is left alone. The forks' protos are the judges."""

from __future__ import annotations

import pytest

from deepmerge.errors import ReadError, ShapeError
from deepmerge.formats import schema
from deepmerge.formats.read import read_network
from deepmerge.formats.read.forks import MESSAGES
from deepmerge.formats.read.params import read_params
from deepmerge.formats.read.prototxt import parse
from deepmerge.graph import params as typed
from deepmerge.graph.graph import Graph
from deepmerge.graph.params_forks import (
    BN,
    Axpy,
    CropCenter,
    DepthwiseConvolution,
    Interp,
    Normalize,
    PriorBox,
    ReLU6,
    Reorg,
    ShuffleChannel,
    Upsample,
)
from deepmerge.graph.shapes import infer_shapes
from deepmerge.graph.types import TYPES
from tests.fork_nets import NETS


def read(kind: str, fields: str, bottoms: str = 'bottom: "x"') -> typed.Params | None:
    return read_params(kind, parse(f'type: "{kind}" {bottoms} {fields}'), "net.prototxt", f"layer 'l' ({kind})")


@pytest.fixture
def network(tmp_path):
    def network(text: str) -> Graph:
        path = tmp_path / "net.prototxt"
        path.write_text(text, encoding="utf-8")
        return read_network(path)

    return network


def test_messages_are_those_of_the_types_and_none_of_caffes():
    """In the schema a fork's message would collide with another fork's number; here each is a name."""
    fields = {
        known.params.FIELD for kind, known in TYPES.items() if (known.fork or kind == "Clip") and known.params.FIELD
    } - {"convolution_param"}
    assert set(MESSAGES) == fields | {"resize_param", "transform_param"}
    assert not fields & schema.fields("LayerParameter").keys()


TWO = 'bottom: "x" bottom: "mask"'
KERNEL = {"kernel_h": 3, "kernel_w": 3}


@pytest.mark.parametrize(
    ("kind", "fields", "expected"),
    [
        ("ReLU6", "", ReLU6()),
        ("ReLU6", "relu6_param { negative_slope: 0.1 engine: CUDNN }", ReLU6(negative_slope=0.1)),
        ("ReLU6", "relu_param { negative_slope: 0.2 }", ReLU6(negative_slope=0.2)),
        ("Axpy", "", Axpy()),
        ("Normalize", "norm_param { across_spatial: false }", Normalize(across_spatial=False)),
        ("CropCenter", "crop_center_param { crop_size: [0, 0, 1, 2] }", CropCenter(crop_size=(0, 0, 1, 2))),
        ("ShuffleChannel", "shuffle_channel_param { group: 3 }", ShuffleChannel(group=3)),
        ("ShuffleChannel", "", ShuffleChannel()),
        ("Reorg", "reorg_param { stride: 2 reverse: true }", Reorg(stride=2, reverse=True)),
        ("Reorg", "", None),  # MobileNet-YOLO asks for it
        ("Interp", "interp_param { height: 5 width: 6 pad_beg: -1 }", Interp(height=5, width=6, pad_beg=-1)),
        ("Interp", "interp_param { zoom_factor: 8 }", Interp(zoom_factor=8)),
        ("Interp", "interp_param { height: 5 width: 6 align_corners: true }", Interp(height=5, width=6)),
        ("Interp", "interp_param { height: 5 width: 6 align_corners: false }", None),
        ("Upsample", "upsample_param { scale: 2 }", Upsample(scale=2)),
        ("Upsample", "upsample_param { scale: 2 mode: BILINEAR }", None),
        ("Upsample", "upsample_param { scale: 2.5 }", None),
        ("Upsample", "upsample_param { scale: 1 stride: 2 }", None),  # Huawei's
        ("Upsample", "upsample_param { upsample_h: 4 upsample_w: 5 }", None),  # of one bottom
        ("PriorBox", "prior_box_param { min_size: 3 min_size: 4 flip: false variance: 0.1 step_h: 4 step_w: 8 }",
         PriorBox(min_size=(3.0, 4.0), flip=False)),
        ("PriorBox", "prior_box_param { fixed_size: 3 density: 4 }", None),
        ("Clip", "clip_param { min: -1 max: 6 }", typed.Clip(min=-1, max=6)),
        ("Clip", "clip_param { max: 6 }", None),
        ("DetectionOutput", "detection_output_param { num_classes: 21 }", typed.Plain()),
        ("Swish", "swish_param { beta: 1.5 }", typed.Swish(beta=1.5)),
        ("DepthwiseConvolution", "convolution_param { num_output: 8 group: 4 kernel_size: 3 }",
         DepthwiseConvolution(num_output=8, group=4, **KERNEL)),
        ("DepthwiseConvolution", "convolution_param { num_output: 8 kernel_size: 3 }", DepthwiseConvolution(num_output=8, group=8, **KERNEL)),
        ("ConvolutionDepthwise", "convolution_param { num_output: 8 group: 2 kernel_size: 3 }",
         DepthwiseConvolution(num_output=8, group=8, **KERNEL)),
        ("ConvolutionDepthwise", "convolution_param { kernel_size: 3 }", None),
        ("Python", 'python_param { module: "m" }', None),
        ("Region", "", None),
    ],
)  # fmt: skip
def test_types(kind, fields, expected):
    assert read(kind, fields) == expected


def test_an_upsample_of_two_bottoms_unpools():
    assert read("Upsample", "upsample_param { upsample_h: 4 upsample_w: 5 }", TWO) == Upsample(
        upsample_h=4, upsample_w=5
    )
    assert read("Upsample", "upsample_param { scale: 2 pad_out_w: true }", TWO) == Upsample(scale=2, pad_out_w=True)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("frozen: true", BN(statistics="stored")),
        ("slope_filler { value: 1 } bias_filler { value: 0 } frozen: true momentum: 0.95", BN(statistics="stored")),
        ("eps: 0.001", BN(statistics="stored", eps=0.001)),
        ("moving_average: true", BN(statistics="stored", eps=1e-10)),
        ("moving_average: true var_eps: 1e-5 axis: 2", BN(statistics="stored", eps=1e-5, axis=2)),
        ("use_history_in_test: true var_eps: 1e-3", BN(statistics="stored", eps=1e-3)),
        ("moving_average: false frozen: true", BN(statistics="batch", eps=1e-10)),
        ("scale_filler { value: 1 } shift_filler { value: 0 } bn_mode: INFERENCE", BN(statistics="folded")),
        ("bn_mode: 1", BN(statistics="folded")),
        ("scale_filler { value: 1 } shift_filler { value: 0 } bn_mode: LEARN", BN(statistics="batch")),
        ("scale_filler { value: 1 } shift_filler { value: 0 }", BN(statistics="batch", eps=1e-10)),
        ("", BN()),
        ("engine: CUDNN", BN()),
        ("eps: nothing", None),
    ],
)
def test_bn(fields, expected):
    assert read("BN", f"bn_param {{ {fields} }}") == expected


@pytest.mark.pitfall("row", 29)
@pytest.mark.parametrize(
    ("fields", "five"),
    [("", False), ("eps: 1e-3", False), ("scale_bias: true", True), ("scale_bias: false", False),
     ("scale_filler { value: 1 }", True), ("bias_filler { value: 0 }", True)],
)  # fmt: skip
def test_row_29_nvcaffes_batch_norm_by_its_fields(fields, five):
    """PITFALLS row 29. NVCaffe: batch_norm_layer.cpp, LayerSetUp."""
    assert read("BatchNorm", f"batch_norm_param {{ {fields} }}").scale_bias is five


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("dropout_ratio: 0.7", typed.Dropout(dropout_ratio=0.7)),
        ("dropout_ratio: 0.7 scale_train: false", typed.Dropout(dropout_ratio=0.7, scale_train=False)),
        ("sample_weights_test: true", typed.Dropout(sample_weights_test=True)),
        ("scale_train: true sample_weights_test: 0", typed.Dropout()),
    ],
)
def test_what_a_dropout_does_in_a_test(fields, expected):
    """caffe-fast-rcnn, caffe-segnet: caffe.proto, DropoutParameter."""
    assert read("Dropout", f"dropout_param {{ {fields} }}") == expected


def test_a_dropout_whose_field_has_no_such_value():
    with pytest.raises(ReadError, match="dropout_param: 'scale_train' needs true or false, found 'maybe'"):
        read("Dropout", "dropout_param { scale_train: maybe }")


@pytest.mark.parametrize(
    ("fields", "dilation"),
    [
        ("hole: 2", (2, 2)),
        ("hole_h: 2 hole_w: 3", (2, 3)),
        ("hole: 4 hole_w: 1", (4, 1)),
        ("hole_w: 2", (1, 2)),
        ("dilation: 3", (3, 3)),
    ],
)
def test_holes_are_dilation(fields, dilation):
    """DeepLab and PSPNet: caffe.proto, ConvolutionParameter."""
    assert read("Convolution", f"convolution_param {{ num_output: 1 kernel_size: 3 {fields} }}").dilation == dilation


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("hole: 2 dilation: 2", "gives both 'dilation' and 'hole'; keep 'dilation'"),
        ("hole: two", "'hole' needs a whole number, found two, two"),
        ("hole: 0", "dilation must be 1 or more, found 0"),
    ],
)
def test_holes_that_are_none(fields, message):
    with pytest.raises(ReadError) as refusal:
        read("Convolution", f"convolution_param {{ num_output: 1 kernel_size: 3 {fields} }}")
    assert message in str(refusal.value)


@pytest.mark.pitfall("row", 5)
@pytest.mark.parametrize("name", NETS)
def test_row_5_no_fork_is_warned_of_as_a_misspelling(name, network):
    """PITFALLS row 5: fields of forks are kept as a tree; unknown types are named, and nothing else is said."""
    warnings = network(NETS[name]).warnings
    assert [line for line in warnings if "unknown type" not in line] == []
    assert len(warnings) == NETS[name].count("SpatialDropout") and not any("did you mean" in line for line in warnings)


DATA = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 dim: 6 dim: 8 } } }\n'


@pytest.mark.parametrize(
    ("kind", "fields", "unknown"),
    [
        ("InnerProduct", "inner_product_param { num_output: 3 normalize: true engine: CUDNN }", ("normalize",)),
        ("ReLU", "relu_param { fuse: true negative_slope: 0.1 }", ("fuse",)),
        ("Convolution", "convolution_param { num_output: 3 kernel_size: 1 hole: 2 conv_algos_override: '-1' }", ()),
        ("BatchNorm", "batch_norm_param { scale_bias: true scale_filler { value: 1 } }", ()),
        ("Dropout", "dropout_param { scale_train: false }", ()),
        ("Pooling", "pooling_param { kernel_size: 2 ceil_mode: false }", ()),
        ("ReLU6", "relu6_param { engine: NPU }", ()),
        ("Odd", "odd_param { normalize: true }", ()),
    ],
)
def test_fields_that_may_change_what_a_layer_computes(network, kind, fields, unknown):
    """happynear/caffe-windows: inner_product_param { normalize: true } normalises the rows of the weights."""
    graph = network(DATA + f'layer {{ name: "y" type: "{kind}" bottom: "data" top: "y" {fields} }}')
    assert graph.layer("y").unknown_fields == unknown


@pytest.mark.pitfall("row", 6)
def test_row_6_unknown_enum_values_are_kept(network):
    """PITFALLS row 6: `phase: RUN` and the like are kept, where protobuf's own parser stops."""
    graph = network(
        DATA
        + 'layer { name: "a" type: "Pooling" bottom: "data" top: "a" pooling_param { pool: L2 kernel_size: 2 } }\n'
        + 'layer { name: "b" type: "LOCAL" bottom: "a" top: "b" local_param { type: LOCAL } }\n'
        + 'layer { name: "c" type: "ReLU" bottom: "b" top: "c" relu_param { engine: NPU } }\n'
        + 'layer { name: "d" type: "ReLU" bottom: "b" top: "d" include { phase: RUN } }\n'
    )
    assert [layer.name for layer in graph.layers] == ["data", "a", "b", "c"]
    assert (graph.layer("a").params.pool, graph.layer("b").type, graph.layer("b").params) == ("L2", "LOCAL", None)
    assert [str(m.value("name")) for m in graph.train_layers] == ["d"]


@pytest.mark.pitfall("row", 6)
def test_row_6_unknown_types_of_old_files_are_kept(network):
    """`type: LOCAL` is an enum's value in V1 files."""
    graph = network(
        'input: "data" input_dim: [1, 4, 6, 8]\n'
        'layers { name: "b" type: LOCAL bottom: "data" top: "b" local_param { kind: LOCAL } }\n'
        'layers { name: "c" type: CONVOLUTION_DEPTHWISE bottom: "data" top: "c" }\n'
    )
    assert [layer.params for layer in graph.layers[1:]] == [None, None]
    assert [f.name for f in graph.layer("b").tree] == ["local_param"]
    assert any("LOCAL is not a V1 type" in line for line in graph.warnings)


@pytest.mark.pitfall("row", 23)
def test_row_23_a_mask_is_a_top(network):
    """PITFALLS row 23: MAX pooling's second top, and its reader (SegNet's Upsample)."""
    graph = network(NETS["enet"])
    pool, up = graph.layer("pool1"), graph.layer("upsample3")
    assert [top.name for top in pool.tops] == ["pool1", "pool1_mask"] and pool.tops[1].consumers == [up]


@pytest.mark.pitfall("row", 28)
def test_row_28_axpys_factor_is_data(network):
    """PITFALLS row 28: SENet's Axpy reads its factors from a blob, and has no weights."""
    graph = network(NETS["senet"])
    axpy = graph.layer("out")
    assert [b.name for b in axpy.bottoms] == ["prob", "conv", "proj"] and infer_shapes(graph)[axpy.bottom] == (
        2,
        6,
        1,
        1,
    )


def test_layers_of_other_forks_under_a_known_name_pass_through(network):
    graph = network(
        DATA + 'layer { name: "up" type: "Upsample" bottom: "data" top: "up" upsample_param { mode: CUBIC factor: 3 } }'
    )
    assert graph.layer("up").params is None and infer_shapes(graph)[graph.outputs[0]] is None
    assert graph.warnings == [
        "layer 'up' has upsample_param fields that are not those of the Upsample known here, and is passed through as it is"
    ]


def test_python_layers_of_several_bottoms_and_tops(network):
    graph = network(
        DATA
        + 'layer { name: "p" type: "Python" bottom: "data" bottom: "data" top: "a" top: "b" top: "c" python_param { module: "m" layer: "L" } }\n'
        + 'layer { name: "r" type: "ReLU" bottom: "b" top: "b" }\n'
    )
    assert [top.name for top in graph.layer("p").tops] == ["a", "b", "c"] and len(graph.outputs) == 3


def test_a_python_data_layer_is_a_data_layer(network):
    with pytest.raises(ReadError, match="does not say how large its images are"):
        network(
            'layer { name: "d" type: "Python" top: "data" top: "label" python_param { module: "m" layer: "L" } }\n'
            'layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: 2 kernel_size: 1 } }\n'
            'layer { name: "l" type: "SoftmaxWithLoss" bottom: "c" bottom: "label" top: "l" }\n'
        )


SSD_TEST = """
layer { name: "data" type: "AnnotatedData" top: "data" top: "label" include { phase: TEST }
  transform_param { mean_value: 104 mean_value: 117 mean_value: 123 resize_param { prob: 1 resize_mode: WARP height: 30 width: 40 } }
  data_param { source: "lmdb" batch_size: 1 backend: LMDB } annotated_data_param { batch_sampler { } label_map_file: "map" } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 24 kernel_size: 3 stride: 2 } }
layer { name: "perm" type: "Permute" bottom: "conv" top: "perm" permute_param { order: [0, 2, 3, 1] } }
layer { name: "loc" type: "Flatten" bottom: "perm" top: "loc" }
layer { name: "prior" type: "PriorBox" bottom: "conv" bottom: "data" top: "prior" prior_box_param { min_size: 3 aspect_ratio: 2 } }
layer { name: "mbox_loss" type: "MultiBoxLoss" bottom: "loc" bottom: "loc" bottom: "prior" bottom: "label" top: "mbox_loss"
  include { phase: TRAIN } }
layer { name: "detection_out" type: "DetectionOutput" bottom: "loc" bottom: "loc" bottom: "prior" top: "detection_out"
  include { phase: TEST } detection_output_param { num_classes: 2 } }
layer { name: "detection_eval" type: "DetectionEvaluate" bottom: "detection_out" bottom: "label" top: "detection_eval"
  include { phase: TEST } detection_evaluate_param { num_classes: 2 } }
"""


def test_ssds_train_val_becomes_a_deploy_network(network):
    """What DetectionEvaluate judges is the output; the images are as resize_param makes them."""
    graph = network(SSD_TEST)
    assert [layer.name for layer in graph.layers] == ["data", "conv", "perm", "loc", "prior", "detection_out"]
    assert [b.name for b in graph.outputs] == ["detection_out"]
    assert infer_shapes(graph)[graph.inputs[0]] == (1, 3, 30, 40)
    assert [str(m.value("name")) for m in graph.train_layers] == ["data", "mbox_loss", "detection_eval"]


def test_crop_h_and_crop_w(network):
    text = SSD_TEST.replace("resize_param {", "crop_h: 20 crop_w: 26 resize_param {")
    graph = network(text)
    assert infer_shapes(graph)[graph.inputs[0]] == (1, 3, 20, 26)


@pytest.mark.pitfall("row", 30)
def test_row_30_shared_names_are_kept(network):
    """PITFALLS row 30: ParamSpec names shared between layers, a fork's among them."""
    text = DATA
    for name in ("a", "b"):
        text += (
            f'layer {{ name: "{name}" type: "DepthwiseConvolution" bottom: "data" top: "{name}" param {{ name: "w" }} '
        )
        text += "convolution_param { num_output: 4 kernel_size: 3 bias_term: false } }\n"
    graph = network(text)
    assert graph.sharers(graph.layer("a")) == [graph.layer("b")]


def test_depthwise_weights_that_do_not_fit_are_named(network):
    text = (
        DATA
        + 'layer { name: "a" type: "ConvolutionDepthwise" bottom: "data" top: "a" convolution_param { num_output: 8 kernel_size: 3 } }'
    )
    with pytest.raises(
        ShapeError, match=r"net\.prototxt:2:\d+: layer 'a' \(ConvolutionDepthwise\): num_output: expected the channels"
    ):
        network(text)
