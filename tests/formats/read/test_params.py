"""Typed parameters from every spelling that the format has; real Caffe says which it takes and what they mean."""

from __future__ import annotations

import dataclasses

import pytest

from deepmerge.engines.caffe import CaffeEngine
from deepmerge.errors import EngineError, ReadError
from deepmerge.formats import schema
from deepmerge.formats.read import read_network
from deepmerge.formats.read.params import read_params
from deepmerge.formats.read.prototxt import parse
from deepmerge.graph import params as typed
from deepmerge.graph.shapes import infer_shapes
from deepmerge.graph.types import TYPES

CONV = {
    "kernel_size: 3": {},
    "kernel_size: 3 kernel_size: 2": {"kernel_w": 2},
    "kernel_size: [3, 2] stride: [2, 1] pad: [0, 1] dilation: [1, 2]": {
        "kernel_w": 2,
        "stride_h": 2,
        "pad_w": 1,
        "dilation_w": 2,
    },
    "kernel_h: 3 kernel_w: 2 pad: 1 stride: 2": {"kernel_w": 2, "pad_h": 1, "pad_w": 1, "stride_h": 2, "stride_w": 2},
    "kernel_w: 2 kernel_h: 3 stride_h: 2 stride_w: 3 pad_h: 1 pad_w: 0": {
        "kernel_w": 2,
        "stride_h": 2,
        "stride_w": 3,
        "pad_h": 1,
    },
    "kernel_size: 3 pad_h: 2": {"pad_h": 2},
    "kernel_size: 3 pad_w: 1": {"pad_w": 1},
    "kernel_size: 3 dilation: 2 group: 2 bias_term: false": {
        "dilation_h": 2,
        "dilation_w": 2,
        "group": 2,
        "bias_term": False,
    },
    "kernel_size: 0x3 axis: -3": {"axis": -3},
}
POOL = {
    "kernel_size: 3": {},
    "kernel_size: 3 stride: 2 pad: 1 pool: AVE": {"stride_h": 2, "stride_w": 2, "pad_h": 1, "pad_w": 1, "pool": "AVE"},
    "kernel_h: 3 kernel_w: 2 stride_w: 3 stride_h: 2 pad_w: 1 pad_h: 0 pool: 1": {"kernel_w": 2, "stride_h": 2, "stride_w": 3, "pad_w": 1, "pool": "AVE"},
    "global_pooling: true pool: AVE": {"kernel_h": 0, "kernel_w": 0, "global_pooling": True, "pool": "AVE"},
    "kernel_size: 3 stride: 2 round_mode: FLOOR": {"stride_h": 2, "stride_w": 2, "ceil": False},
    "kernel_size: 3 stride: 2 round_mode: CEIL": {"stride_h": 2, "stride_w": 2},
}  # fmt: skip
FORKS = {"ceil_mode: false": False, "ceil_mode: 0": False, "ceil_mode: true": True, "round_mode: 1": False, "": True}
REFUSED = {
    ("Convolution", "num_output: 2"): "'kernel_size' is missing",
    ("Convolution", "num_output: 2 kernel_h: 3"): "gives 'kernel_h' alone; give 'kernel_h' and 'kernel_w', or 'kernel_size'",
    ("Convolution", "num_output: 2 kernel_size: 3 kernel_w: 3"): "gives both 'kernel_size' and 'kernel_w'; keep one spelling",
    ("Convolution", "num_output: 2 kernel_size: 3 stride_h: 2"): "gives 'stride_h' alone; give 'stride_h' and 'stride_w', or 'stride'",
    ("Convolution", "num_output: 2 kernel_size: 3 pad: 1 pad_h: 1"): "gives both 'pad' and 'pad_h'; keep one spelling",
    ("Convolution", "num_output: 2 kernel_size: 0"): "kernel must be 1 or more, found 0",
    ("Convolution", "num_output: 2 kernel_size: 3 stride: 0"): "stride must be 1 or more, found 0",
    ("Convolution", "num_output: 0 kernel_size: 3"): "'num_output' must be 1 or more, found 0",
    ("Pooling", ""): "'kernel_size' is missing",
    ("Pooling", "kernel_size: 3 pad_h: 2"): "gives 'pad_h' alone; give 'pad_h' and 'pad_w', or 'pad'",
    ("Pooling", "kernel_size: 3 stride_w: 2"): "gives 'stride_w' alone; give 'stride_h' and 'stride_w', or 'stride'",
    ("Pooling", "global_pooling: true kernel_size: 3"): "gives 'kernel_size' and global_pooling; keep one of them",
    ("Concat", "axis: 1 concat_dim: 1"): "gives both 'axis' and 'concat_dim'; keep 'axis'",
    ("Exp", "base: 0"): "'base' must be finite and above 0, or -1 for e, found 0",
    ("Log", "base: -2"): "'base' must be finite, above 0 and not 1, or -1 for e, found -2",
    ("Log", "base: 1"): "'base' must be finite, above 0 and not 1, or -1 for e, found 1",
}  # fmt: skip


def read(kind: str, fields: str, name: str = ""):
    name = name or TYPES[kind].params.FIELD
    message = parse(f'name: "l" type: "{kind}"\n{name} {{ {fields} }}') if name else parse("")
    return read_params(kind, message, "net.prototxt", f"layer 'l' ({kind})")


def network(*layers: tuple[str, str]) -> str:
    text = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: [1, 4, 9, 7] } } }\n'
    for index, (kind, fields) in enumerate(layers):
        field = TYPES[kind].params.FIELD
        text += f'layer {{ name: "y{index}" type: "{kind}" bottom: "x" top: "y{index}" {field} {{ {fields} }} }}\n'
    return text


@pytest.mark.pitfall("row", 25)
@pytest.mark.parametrize(("fields", "differs"), CONV.items())
def test_convolutions(fields, differs):
    expected = typed.Convolution(**{"num_output": 2, "kernel_h": 3, "kernel_w": 3} | differs)
    assert read("Convolution", "num_output: 2 " + fields) == expected
    as_deconvolution = read("Deconvolution", "num_output: 2 " + fields)
    assert as_deconvolution == typed.Deconvolution(**dataclasses.asdict(expected))


@pytest.mark.pitfall("row", 25)
@pytest.mark.parametrize(("fields", "differs"), POOL.items())
def test_poolings(fields, differs):
    assert read("Pooling", fields) == typed.Pooling(**{"kernel_h": 3, "kernel_w": 3} | differs)


@pytest.mark.pitfall("row", 21)
@pytest.mark.parametrize(("fields", "ceil"), FORKS.items())
def test_spellings_of_rounding(fields, ceil):
    assert read("Pooling", f"kernel_size: 3 {fields}").ceil is ceil


@pytest.mark.pitfall("row", 25)
def test_windows_mean_what_worker_makes_of_them(tmp_path, worker):
    layers = [("Convolution", "num_output: 2 " + fields) for fields in CONV] + [("Pooling", fields) for fields in POOL]
    path = tmp_path / "net.prototxt"
    path.write_text(network(*layers))
    shapes = infer_shapes(read_network(path))
    with worker.load(path) as session:
        assert {blob.name: shape for blob, shape in shapes.items()}.items() <= session.info()["blobs"].items()


@pytest.mark.pitfall("row", 25)
@pytest.mark.parametrize(("kind", "fields"), REFUSED)
def test_refusals(kind, fields):
    with pytest.raises(ReadError) as caught:
        read(kind, fields)
    where = f"net.prototxt:2:1: layer 'l' ({kind}), {TYPES[kind].params.FIELD}: "
    assert str(caught.value) == where + REFUSED[kind, fields]


@pytest.mark.parametrize(("kind", "fields"), list(REFUSED)[1:5:2] + list(REFUSED)[9:11] + list(REFUSED)[13:])
def test_real_caffe_refuses_them_too(tmp_path, caffe_python, kind, fields):
    path = tmp_path / "net.prototxt"
    path.write_text(network((kind, fields)))
    with pytest.raises(EngineError):
        CaffeEngine(caffe_python).load_files(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("convolution_param { kernal_size: 3 num_output: 2 }", "convolution_param: 'kernel_size' is missing; is 'kernal_size' a misspelling of it?"),
        ("convolution_param { kernel_size: 3 num_outputs: 2 }", "convolution_param: 'num_output' is missing; is 'num_outputs' a misspelling of it?"),
        ("convolution_parm { kernel_size: 3 num_output: 2 }", "convolution_param (misspelt as 'convolution_parm'?): 'kernel_size' is missing"),
        ("", "convolution_param: 'kernel_size' is missing"),
    ],
)  # fmt: skip
def test_misspellings(text, message):
    with pytest.raises(ReadError) as caught:
        read_params("Convolution", parse(f"name: 'l'\n{text}"), "net.prototxt", "layer 'l' (Convolution)")
    line = 2 if text.startswith("convolution_param ") else 1
    assert str(caught.value) == f"net.prototxt:{line}:1: layer 'l' (Convolution), {message}"


@pytest.mark.pitfall("row", 25)
def test_windows_of_three_axes():
    params = read("Convolution", "num_output: 2 kernel_size: [1, 2, 3] pad: [0, 1, 2] stride: 2")
    assert (params.kernel_nd, params.pad_nd, params.stride_nd, params.dilation_nd) == ((1, 2, 3), (0, 1, 2), (2,), ())


@pytest.mark.parametrize(
    ("kind", "fields", "expected"),
    [
        ("InnerProduct", "num_output: 3 transpose: true", typed.InnerProduct(num_output=3, transpose=True)),
        ("LRN", "local_size: 3 alpha: 1e-4 norm_region: WITHIN_CHANNEL", typed.LRN(local_size=3, alpha=1e-4, norm_region="WITHIN_CHANNEL")),
        ("BatchNorm", "", typed.BatchNorm()),
        ("BatchNorm", "use_global_stats: false eps: 2e-5", typed.BatchNorm(use_global_stats=False, eps=2e-5)),
        ("Scale", "bias_term: true", typed.Scale(bias_term=True)),
        ("Concat", "", typed.Concat()),
        ("Concat", "concat_dim: 2", typed.Concat(axis=2)),
        ("Slice", "slice_dim: 0 slice_point: 1 slice_point: 3", typed.Slice(axis=0, slice_point=(1, 3))),
        pytest.param("Eltwise", "operation: PROD", typed.Eltwise(operation="PROD"), marks=pytest.mark.pitfall("row", 27)),
        pytest.param("Eltwise", "coeff: 1 coeff: -1", typed.Eltwise(coeff=(1, -1)), marks=pytest.mark.pitfall("row", 27)),
        ("Reshape", "shape { dim: 0 dim: -1 } axis: 1", typed.Reshape(shape=(0, -1), axis=1)),
        ("Reshape", "", typed.Reshape()),
        ("Parameter", "shape { dim: 2 dim: 3 }", typed.Parameter(shape=(2, 3))),
        ("Input", "shape { dim: 2 } shape { dim: [3, 4] }", typed.Input(shape=((2,), (3, 4)))),
        ("DummyData", "shape { dim: 2 }", typed.DummyData(shape=((2,),))),
        ("DummyData", "num: 1 channels: 2 height: 3 width: 4", typed.DummyData(shape=((1, 2, 3, 4),))),
        ("DummyData", "num: 1 num: 5 channels: 2 height: 3 height: 6 width: 4", typed.DummyData(shape=((1, 2, 3, 4), (5, 2, 6, 4)))),
        ("DummyData", "", typed.DummyData()),
        ("Permute", "order: [0, 2, 1]", typed.Permute(order=(0, 2, 1))),
        ("LSTM", "num_output: 4", typed.Recurrent(num_output=4)),
        ("Accuracy", "top_k: 5", typed.Accuracy(top_k=5)),
        ("SoftmaxWithLoss", "axis: 2", typed.SoftmaxWithLoss(axis=2)),
        ("HingeLoss", "norm: L2", typed.HingeLoss(norm="L2")),
        ("ContrastiveLoss", "margin: 2.5 legacy_version: true", typed.ContrastiveLoss(margin=2.5, legacy_version=True)),
        ("InfogainLoss", "axis: -1", typed.InfogainLoss(axis=-1)),
        ("EuclideanLoss", "", typed.Plain()),
        ("ReLU", "", typed.ReLU()),
        ("Sigmoid", "", typed.Plain()),
    ],
)  # fmt: skip
def test_types(kind, fields, expected):
    assert read(kind, fields) == expected


@pytest.mark.parametrize(
    ("kind", "fields", "expected"),
    [
        ("SoftmaxWithLoss", "", typed.SoftmaxWithLoss(normalization="VALID")),
        ("SoftmaxWithLoss", "normalize: false", typed.SoftmaxWithLoss(normalization="BATCH_SIZE")),
        (
            "SoftmaxWithLoss",
            "normalize: true ignore_label: 255",
            typed.SoftmaxWithLoss(normalization="VALID", ignore_label=255),
        ),
        ("SoftmaxWithLoss", "normalize: false normalization: FULL", typed.SoftmaxWithLoss(normalization="FULL")),
        ("SoftmaxWithLoss", "ignore_label: 0", typed.SoftmaxWithLoss(ignore_label=0)),
        ("InfogainLoss", "normalization: NONE", typed.InfogainLoss(normalization="NONE")),
        ("SigmoidCrossEntropyLoss", "", typed.SigmoidCrossEntropyLoss(normalization="BATCH_SIZE")),
        ("SigmoidCrossEntropyLoss", "normalize: true", typed.SigmoidCrossEntropyLoss(normalization="VALID")),
    ],
)
def test_loss_param(kind, fields, expected):
    """`normalize` is the older spelling of normalization. Caffe: loss_layer.cpp, caffe.proto."""
    assert read(kind, fields, "loss_param") == expected


def test_dummy_data_in_unequal_numbers():
    with pytest.raises(ReadError, match="gives num, channels, height and width unequally often"):
        read("DummyData", "num: 1 channels: 2 height: 3")


@pytest.mark.parametrize(
    "kind", [kind for kind, known in TYPES.items() if known.params.FIELD in schema.fields("LayerParameter")]
)
def test_defaults_are_the_schemas(kind):
    """What a file leaves out means what the schema says, in the dataclasses, too."""
    cls = TYPES[kind].params
    known = schema.fields(schema.fields("LayerParameter")[cls.FIELD].type_name)
    for field in dataclasses.fields(cls):
        same = known.get(field.name)
        if same and not same.repeated and field.default is not dataclasses.MISSING and same.kind != "message":
            windows = field.name.startswith(("kernel_", "stride_", "pad_"))
            assert windows or field.default == same.default or same.default is None, field.name


@pytest.mark.parametrize("kind", ["SomeFork", "conv"])
def test_types_that_are_not_known(kind):
    assert read_params(kind, parse("some_fork_param { min: 1 }"), "x", "y") is None
