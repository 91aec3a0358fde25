"""What does not fit is refused in one line; real Caffe refuses it, too."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deepmerge.errors import EngineError, ShapeError
from deepmerge.graph import params as typed
from deepmerge.graph.shapes import infer_shapes
from tests.graph.graph_nets import convolution, data, layer, one_layer, shape

IMAGE = data(1, 6, 7, 10)
REFUSALS = {
    "concat of unequal heights": (
        data(1, 2, 7, 5) + data(1, 3, 8, 5, name="z") + layer("Concat", "", "y", "x z"),
        "layer 'y' (Concat): axis 2 of bottom 'z': expected 7, like bottom 'x' (1, 2, 7, 5), found 8 in (1, 3, 8, 5)",
    ),
    "concat of unequal axes": (
        data(1, 2, 7) + data(1, 2, name="z") + layer("Concat", "", "y", "x z"),
        "bottom 'z': expected 3 axes",
    ),
    "concat axis": (
        IMAGE + layer("Concat", "concat_param { axis: 4 }"),
        "axis: expected one of the 4 axes of bottom 'x' (1, 6, 7, 10), found 4",
    ),
    "kernel too large": (
        IMAGE + convolution("num_output: 2 kernel_h: 10 kernel_w: 1 pad: 1"),
        "layer 'y' (Convolution): kernel: expected at most 9, the size of bottom 'x' with its pad, found 10",
    ),
    "dilated kernel too large": (
        IMAGE + convolution("num_output: 2 kernel_size: 3 dilation: 4"),
        "found 3 (extent 9 with its dilation)",
    ),
    "group and channels": (
        IMAGE + convolution("num_output: 8 kernel_size: 1 group: 4"),
        "layer 'y' (Convolution): group: expected a divisor of the 6 channels of bottom 'x', found 4",
    ),
    "group and num_output": (
        IMAGE + convolution("num_output: 8 kernel_size: 1 group: 3"),
        "num_output: expected a multiple of group 3, found 8",
    ),
    "group of a Deconvolution": (
        IMAGE + convolution("num_output: 8 kernel_size: 1 group: 3", kind="Deconvolution"),
        "multiple of group 3, found 8",
    ),
    "output below 1": (
        IMAGE + convolution("num_output: 2 kernel_size: 2 pad: 5", kind="Deconvolution"),
        "layer 'y' (Deconvolution): top 'y': expected sizes of 1 or more, found (1, 2, -2, 1)",
    ),
    "convolution axis": (IMAGE + convolution("num_output: 2 kernel_size: 1 axis: -5"), "found -5"),
    "h and w over three axes": (
        data(1, 2, 5, 5, 5) + convolution("num_output: 2 kernel_h: 3 kernel_w: 2"),
        "kernel 3 x 2: expected 2 spatial axes in bottom 'x', found 3",
    ),
    "three numbers over two axes": (
        IMAGE + convolution("num_output: 2 kernel_size: 3 kernel_size: 2 kernel_size: 1"),
        "kernel: expected one number, or one for each of the 2 spatial axes, found (3, 2, 1)",
    ),
    "im2col without space": (
        data(2, 3) + convolution("kernel_size: 1", kind="Im2col"),
        "a spatial axis after the channels",
    ),
    "convolution of unequal bottoms": (
        IMAGE
        + data(1, 6, 7, 9, name="z")
        + layer("Convolution", "convolution_param { num_output: 1 kernel_size: 1 }", "y", "x z", "y u"),
        "bottom 'z': expected (1, 6, 7, 10), the shape of bottom 'x', found (1, 6, 7, 9)",
    ),
    "convolution with too few tops": (
        IMAGE + layer("Convolution", "convolution_param { num_output: 1 kernel_size: 1 }", "y", "x x"),
        "top: expected as many as bottoms, 2, found 1",
    ),
    "pooling of a vector": (
        data(2, 5) + layer("Pooling", "pooling_param { kernel_size: 2 }"),
        "expected 4 axes (batch, channels, height, width)",
    ),
    "pooling pad": (
        IMAGE + layer("Pooling", "pooling_param { kernel_size: 2 pad: 2 }"),
        "pad: expected less than the kernel (2, 2), found (2, 2)",
    ),
    "pooling window": (
        IMAGE + layer("Pooling", "pooling_param { kernel_size: 9 }"),
        "kernel: expected one that fits the height and width",
    ),
    "global pooling with pad": (
        IMAGE + layer("Pooling", "pooling_param { global_pooling: true pad: 1 }"),
        "global_pooling: expected stride 1 and pad 0",
    ),
    "mask of AVE": (
        IMAGE + layer("Pooling", "pooling_param { kernel_size: 2 pool: AVE }", "y", "x", "y mask"),
        "only MAX has a mask",
    ),
    "pyramid": (data(2, 3, 13, 5) + layer("SPP", "spp_param { pyramid_height: 3 }"), "pyramid_height"),
    "InnerProduct axis": (
        IMAGE + layer("InnerProduct", "inner_product_param { num_output: 3 axis: 4 }"),
        "(InnerProduct): axis: expected one of the 4 axes",
    ),
    "eltwise of different shapes": (
        IMAGE + data(1, 6, 7, 9, name="z") + layer("Eltwise", "", "y", "x z"),
        "layer 'y' (Eltwise): bottom 'z': expected (1, 6, 7, 10), the shape of bottom 'x', found (1, 6, 7, 9)",
    ),
    "eltwise coeff": (
        IMAGE + layer("Eltwise", "eltwise_param { coeff: 1 }", "y", "x x"),
        "coeff: expected none, or one for each of the 2 bottoms, found 1",
    ),
    "eltwise PROD coeff": (
        IMAGE + layer("Eltwise", "eltwise_param { operation: PROD coeff: 1 coeff: 2 }", "y", "x x"),
        "operation is PROD",
    ),
    "one bottom too few": (IMAGE + layer("Eltwise"), "layer 'y' (Eltwise): bottom: expected 2 or more, found 1"),
    "one bottom too many": (IMAGE + layer("LRN", "", "y", "x x"), "layer 'y' (LRN): bottom: expected 1, found 2"),
    "one top too many": (
        IMAGE + layer("Softmax", "", "y", "x", "y z"),
        "layer 'y' (Softmax): top: expected 1, found 2",
    ),
    "no top": (IMAGE + layer("ReLU", "", "y", "x", ""), "top: expected 1, found 0"),
    "slice points that fall": (
        IMAGE + layer("Slice", "slice_param { slice_point: 4 slice_point: 2 }", "y", "x", "a b c"),
        "slice_point: expected increasing numbers between 0 and 6, axis 1 of bottom 'x', found (4, 2)",
    ),
    "slice point behind the end": (
        IMAGE + layer("Slice", "slice_param { slice_point: 9 }", "y", "x", "a b"),
        "found (9,)",
    ),
    "slice points and tops": (
        IMAGE + layer("Slice", "slice_param { slice_point: 2 }", "y", "x", "a b c"),
        "slice_point: expected 2 for 3 tops, found 1",
    ),
    "slice into unequal parts": (
        IMAGE + layer("Slice", "", "y", "x", "a b c d"),
        "a number that divides the 6 of axis 1",
    ),
    "reshape count": (
        IMAGE + layer("Reshape", f"reshape_param {{ {shape(5, 7)} }}"),
        "shape: expected dims for the 420 values",
    ),
    "reshape rest": (
        IMAGE + layer("Reshape", f"reshape_param {{ {shape(11, -1)} }}"),
        "dims that divide the 420 values of bottom 'x'",
    ),
    "reshape two unknowns": (IMAGE + layer("Reshape", f"reshape_param {{ {shape(-1, -1)} }}"), "at most one -1"),
    "reshape copies nothing": (
        IMAGE + layer("Reshape", f"reshape_param {{ {shape(1, 6, 7, 10, 0)} }}"),
        "shape, dim 4: expected an axis 4",
    ),
    "reshape axis": (IMAGE + layer("Reshape", f"reshape_param {{ {shape(1)} axis: 5 }}"), "axis: expected"),
    "reshape num_axes": (
        IMAGE + layer("Reshape", f"reshape_param {{ {shape(1)} axis: 2 num_axes: 3 }}"),
        "num_axes: expected",
    ),
    "flatten": (
        IMAGE + layer("Flatten", "flatten_param { axis: 3 end_axis: 1 }"),
        "end_axis: expected 3 or more, as axis is 3, found 1",
    ),
    "tile": (IMAGE + layer("Tile", "tile_param { tiles: 0 }"), "tiles: expected 1 or more, found 0"),
    "tile beyond int": (
        data(1, 2**15, 2**15) + layer("Tile", "tile_param { tiles: 2 }"),
        "top 'y': expected at most 2,147,483,647 values, found 2,147,483,648 in (1, 65536, 32768)",
    ),
    "argmax top_k": (IMAGE + layer("ArgMax", "argmax_param { axis: 1 top_k: 7 }"), "top_k: expected 1 to 6"),
    "crop too far": (
        IMAGE + data(1, 6, 7, 9, name="z") + layer("Crop", "crop_param { offset: 0 offset: 2 }", "y", "x z"),
        "offset on axis 3: expected at most 1, to cut 9 out of 10, found 2",
    ),
    "crop offsets": (
        IMAGE + layer("Crop", "crop_param { axis: 1 offset: 0 offset: 2 }", "y", "x x"),
        "one for each of the 3 axes from 1 on",
    ),
    "scale's second bottom": (
        IMAGE + data(7, name="z") + layer("Scale", "", "y", "x z"),
        "bottom 'z': expected the shape of bottom 'x'",
    ),
    "scale num_axes": (
        IMAGE + layer("Scale", "scale_param { axis: 2 num_axes: 3 }"),
        "num_axes: expected -1, or 0 to 2 from axis 2",
    ),
    "prelu of a vector": (data(5) + layer("PReLU"), "2 axes or more, channels second, found (5,)"),
    # batch_norm_layer.cpp: LayerSetUp takes it, and Reshape then asks for its axis 1
    "batch norm of a vector": (data(5) + layer("BatchNorm"), "2 axes or more, channels second, found (5,)"),
    "MVN of five axes": (data(1, 2, 3, 4, 5) + layer("MVN"), "at most 4 axes"),
    "even LRN": (IMAGE + layer("LRN", "lrn_param { local_size: 4 }"), "local_size: expected an odd number, found 4"),
    "labels": (data(2, 5) + data(3, name="l") + layer("Accuracy", "", "y", "x l"), "bottom 'l': expected 2 labels"),
    "targets": (
        data(2, 5) + data(2, 4, name="t") + layer("EuclideanLoss", "", "y", "x t"),
        "bottom 't': expected as many values",
    ),
    "a label each": (
        data(2, 5) + data(3, name="l") + layer("HingeLoss", "", "y", "x l"),
        "bottom 'l': expected 2 labels",
    ),
    "infogain matrix": (
        data(2, 5) + data(2, name="l") + data(5, 4, name="h") + layer("InfogainLoss", "", "y", "x l h"),
        "bottom 'h': expected a matrix of 5 x 5, found (5, 4)",
    ),
    "pairs": (
        data(2, 5) + data(2, 4, name="z") + data(2, name="s") + layer("ContrastiveLoss", "", "y", "x z s"),
        "bottom 'z': expected (2, 5), the shape of bottom 'x', found (2, 4)",
    ),
    "a value for each pair": (
        data(2, 5) + data(2, 5, name="z") + data(3, name="s") + layer("ContrastiveLoss", "", "y", "x z s"),
        "bottom 's': expected 2 values, one for each pair, found (3,)",
    ),
    "input shapes": (
        layer("Input", f"input_param {{ {shape(1)} {shape(2)} }}", "in", "", "a b c"),
        "shape: expected one, or one for each of the 3 tops, found 2",
    ),
    "data fillers": (
        layer("DummyData", f"dummy_data_param {{ {shape(1)} data_filler {{ }} data_filler {{ }} }}", "y", "", "a b c"),
        "layer 'y' (DummyData): data_filler: expected none, one, or one for each of the 3 tops, found 2",
    ),
    "recurrent cont": (
        data(4, 2, 5) + data(4, 3, name="c") + layer("LSTM", "recurrent_param { num_output: 3 }", "y", "x c"),
        "bottom 'c': expected (4, 2), the time and streams of bottom 'x', found (4, 3)",
    ),
    "recurrent states": (
        data(4, 2, 5)
        + data(4, 2, name="c")
        + layer("RNN", "recurrent_param { num_output: 3 expose_hidden: true }", "y", "x c"),
        "expected 3 or 4, and 2, found 2 and 1",
    ),
    "reindex": (IMAGE + data(2, 2, name="i") + layer("BatchReindex", "", "y", "x i"), "one axis, of indices"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_name_layer_field_expected_and_found(name, read):
    text, words = REFUSALS[name]
    with pytest.raises(ShapeError) as refusal:
        read(text)
    message = str(refusal.value)
    assert words in message
    assert "\n" not in message and ": expected " in message and ", found " in message


# What Caffe lets pass: it makes blobs without values and fails when they are used, or not at all.
CAFFE_TAKES = {"pooling window", "output below 1", "slice point behind the end"}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(REFUSALS) - CAFFE_TAKES))
def test_real_caffe_refuses_the_same(name, real_caffe, tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(REFUSALS[name][0], encoding="utf-8")
    with pytest.raises(EngineError), real_caffe.load_files(path):
        pass


def test_not_strict_leaves_misfits_unknown():
    graph = one_layer("Convolution", typed.Convolution(num_output=3, kernel_h=9, kernel_w=2), (1, 4, 5, 6))
    with pytest.raises(ShapeError, match="kernel"):
        infer_shapes(graph)
    assert infer_shapes(graph, strict=False)[graph.layer("y").top] is None


CONV = typed.Convolution(num_output=3, kernel_h=2, kernel_w=1)


@pytest.mark.parametrize(
    "kind, params, words",
    [
        ("Convolution", replace(CONV, stride_h=0), r"stride: expected 1 or more, found \(0, 1\)"),
        ("Convolution", replace(CONV, pad_w=-1), r"pad: expected 0 or more, found \(0, -1\)"),
        ("Convolution", replace(CONV, num_output=0), "num_output: expected 1 or more, found 0"),
        ("Convolution", replace(CONV, group=0), "group"),
        ("Convolution", replace(CONV, kernel_h=0), "kernel"),
        ("Pooling", typed.Pooling(kernel_h=2), r"kernel: expected 1 or more, found \(2, 0\)"),
        ("InnerProduct", typed.InnerProduct(num_output=0), "num_output"),
        ("Permute", typed.Permute(order=(0, 4)), "order"),
        ("Permute", typed.Permute(order=(0, 0)), "order"),
        ("SPP", typed.SPP(pyramid_height=0), "pyramid_height"),
    ],
)
def test_parameters_that_a_pass_could_get_wrong(kind, params, words):
    graph = one_layer(kind, params, (1, 4, 5, 6))
    with pytest.raises(ShapeError, match=words):
        infer_shapes(graph)


def test_a_size_of_zero_and_too_many_axes_are_refused():
    with pytest.raises(ShapeError, match=r"top 'x0': expected sizes of 1 or more, found \(1, 0\)"):
        infer_shapes(one_layer("ReLU", typed.ReLU(), (1, 0)))
    with pytest.raises(ShapeError, match="at most 32 axes"):
        infer_shapes(one_layer("ReLU", typed.ReLU(), (1,) * 33))
