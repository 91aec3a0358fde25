"""Networks for tests of graph/: prototxt text layer by layer, and nets that between them hold every layer type."""

from __future__ import annotations

import itertools

from deepmerge.graph import Blob, Graph, Layer
from deepmerge.graph import params as typed


def shape(*dims: int) -> str:
    return "shape { " + " ".join(f"dim: {dim}" for dim in dims) + " }"


def data(*dims: int, name: str = "x") -> str:
    return f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ {shape(*dims)} }} }}\n'


def layer(kind: str, body: str = "", name: str = "y", bottoms: str = "x", tops: str | None = None) -> str:
    """A layer; bottoms and tops are names with blanks between, tops by default the layer's name."""
    ends = " ".join(
        [f'bottom: "{b}"' for b in bottoms.split()] + [f'top: "{t}"' for t in (name if tops is None else tops).split()]
    )
    return f'layer {{ name: "{name}" type: "{kind}" {ends} {body} }}\n'


def convolution(body: str, name: str = "y", bottoms: str = "x", kind: str = "Convolution") -> str:
    return layer(kind, f"convolution_param {{ {body} }}", name, bottoms)


def one_layer(kind: str, params: typed.Params, *bottoms: tuple[int, ...]) -> Graph:
    graph = Graph("net")
    for index, dims in enumerate(bottoms):
        graph.insert(Layer(f"x{index}", "Input", typed.Input(shape=(dims,)), [], [Blob(f"x{index}")]))
    graph.insert(Layer("y", kind, params, graph.inputs, [Blob("y")]))
    return graph


def pooling_net() -> str:
    """MAX, AVE, both roundings, windows that overhang, pads on one axis only."""
    net, count = data(2, 3, 7, 10), 0
    kernels, strides, pads = (
        ((1, 2), (2, 3), (3, 3), (5, 4)),
        ((1, 1), (2, 3), (3, 2), (4, 4)),
        ((0, 0), (0, 1), (1, 0), (2, 2)),
    )
    for (kh, kw), (sh, sw), (ph, pw), mode in itertools.product(kernels, strides, pads, ("CEIL", "FLOOR")):
        if ph >= kh or pw >= kw:
            continue
        body = f"kernel_h: {kh} kernel_w: {kw} stride_h: {sh} stride_w: {sw} pad_h: {ph} pad_w: {pw} round_mode: {mode}"
        count += 1
        net += layer("Pooling", f"pooling_param {{ {body} pool: {'AVE' if count % 2 else 'MAX'} }}", f"y{count}")
    net += layer("Pooling", "pooling_param { kernel_size: 2 stride: 2 }", "masked", tops="masked mask")
    net += layer("Pooling", "pooling_param { global_pooling: true pool: AVE }", "whole")
    net += data(1, 2, 2, 2, name="small") + layer(
        "Pooling", "pooling_param { kernel_size: 3 stride: 2 }", "over", "small"
    )
    return net


def convolution_net() -> str:
    net, count = data(2, 6, 9, 12), 0
    grid = itertools.product(((1, 2), (3, 2), (4, 3)), ((1, 1), (2, 3)), ((0, 0), (1, 2)), (1, 2), ((4, 1), (9, 3)))
    for (kh, kw), (sh, sw), (ph, pw), dilation, (out, group) in grid:
        count += 1
        body = (
            f"kernel_h: {kh} kernel_w: {kw} stride_h: {sh} stride_w: {sw} pad_h: {ph} pad_w: {pw} dilation: {dilation}"
        )
        body += f" num_output: {out} group: {group}" + (" bias_term: false" if count % 3 == 0 else "")
        net += convolution(body, f"conv{count}")
        net += convolution(body, f"deconv{count}", kind="Deconvolution")
        net += convolution(body, f"cols{count}", kind="Im2col")
    return net


def window_axes_net() -> str:
    """Windows over no, one and three spatial axes, another channel axis, several bottoms."""
    net = data(2, 5, name="flat") + data(2, 5, 9, name="line") + data(1, 3, 5, 6, 7, name="cube")
    net += convolution("num_output: 3 kernel_size: 1", "none", "flat")
    net += convolution("num_output: 4 kernel_size: 3 stride: 2 pad: 1", "one", "line")
    net += convolution("num_output: 4 kernel_size: 3 stride: 2 bias_term: false", "up", "line", "Deconvolution")
    net += convolution("num_output: 4 kernel_size: 2", "same", "cube")
    net += convolution(
        "num_output: 4 kernel_size: 2 kernel_size: 3 kernel_size: 4 pad: 1 stride: 1 stride: 2 stride: 3", "own", "cube"
    )
    net += convolution(
        "num_output: 6 group: 3 kernel_size: 1 kernel_size: 3 kernel_size: 2 dilation: 2",
        "up3",
        "cube",
        "Deconvolution",
    )
    net += convolution("num_output: 2 kernel_size: 3 axis: 2", "axis", "cube")
    net += convolution("num_output: 2 kernel_size: 3 kernel_size: 2 kernel_size: 2 axis: -4", "col", "cube", "Im2col")
    net += data(1, 3, 5, 6, name="a") + data(1, 3, 5, 6, name="b")
    return net + layer("Convolution", "convolution_param { num_output: 2 kernel_size: 3 }", "twin", "a b", "ya yb")


def dense_net() -> str:
    net = data(2, 3, 4, 5)
    for axis, transpose in itertools.product((1, 2, -1), ("true", "false")):
        body = f"num_output: 7 axis: {axis} transpose: {transpose}" + (" bias_term: false" if axis == 2 else "")
        net += layer("InnerProduct", f"inner_product_param {{ {body} }}", f"fc{axis}{transpose}")
    net += layer("InnerProduct", "inner_product_param { num_output: 7 axis: 0 }", "fc0")
    net += layer("Embed", "embed_param { num_output: 7 input_dim: 11 }", "embed")
    net += layer("Embed", "embed_param { num_output: 7 input_dim: 11 bias_term: false }", "embed_only")
    net += layer("Parameter", f"parameter_param {{ {shape(3, 1, 2)} }}", "own", "")
    return net


def affine_net() -> str:
    net = data(2, 3, 4, 5) + data(3, 4, name="f") + data(name="one")
    net += (
        layer("BatchNorm", "", "bn")
        + layer("LRN", "", "lrn")
        + layer("LRN", "lrn_param { norm_region: WITHIN_CHANNEL }", "lrn2")
    )
    net += layer("PReLU", "", "prelu") + layer("PReLU", "prelu_param { channel_shared: true }", "prelu1")
    for axis, count in ((1, 1), (0, 2), (1, -1), (-2, 2), (1, 0), (3, 1)):
        name = f"_{axis}_{count}".replace("-", "m")
        net += layer("Scale", f"scale_param {{ axis: {axis} num_axes: {count} bias_term: true }}", f"scale{name}")
        net += layer("Bias", f"bias_param {{ axis: {axis} num_axes: {count} }}", f"bias{name}")
    net += layer("Scale", "", "plain") + layer("Scale", "scale_param { bias_term: true }", "by", "x f")
    return net + layer("Bias", "", "plus", "x f") + layer("Scale", "scale_param { axis: 2 }", "times", "x one")


def elementwise_net() -> str:
    kinds = "AbsVal BNLL Dropout ELU Exp Log Power ReLU Sigmoid Swish TanH Threshold Softmax MVN".split()
    net = data(2, 3, 4, 5) + "".join(layer(kind, "", kind) for kind in kinds)
    net += layer("ReLU", "", "inplace", "Log", "Log") + layer("Softmax", "softmax_param { axis: -1 }", "last")
    net += layer("Split", "", "split", "x", "s1 s2 s3") + layer("Silence", "", "silence", "s1 s2", "")
    net += layer("Eltwise", "eltwise_param { coeff: 1 coeff: -1 coeff: 2 }", "sum", "x Exp x")
    net += layer("Eltwise", "eltwise_param { operation: PROD }", "prod", "x Exp")
    net += data(4, name="n") + layer("MVN", "", "mvn1", "n") + layer("ReLU", "", "relu1", "n")
    return net


def axes_net() -> str:
    net = data(2, 6, 4, 5) + data(2, 6, 3, 5, name="z") + data(3, name="i") + data(1, 2, 3, 4, name="like")
    for axis, end in ((1, -1), (0, 1), (2, 3), (-2, -1), (1, 1), (2, 1), (0, -1)):
        net += layer("Flatten", f"flatten_param {{ axis: {axis} end_axis: {end} }}", f"flat{axis}_{end}")
    for axis, count, dims in (
        (0, -1, (0, -1)), (0, -1, (4, 60)), (1, 2, (-1, 3)), (-1, 0, (1,)), (1, 0, (1, 1)),
        (0, -1, (0, 3, 0, -1)), (2, -1, (20,)),
    ):  # fmt: skip
        body = f"reshape_param {{ {shape(*dims)} axis: {axis} num_axes: {count} }}"
        net += layer("Reshape", body, f"reshape{axis}_{count}_{dims[0]}_{len(dims)}")
    for axis in (0, 1, 2, -1):
        net += layer("Reduction", f"reduction_param {{ axis: {axis} }}", f"sum{axis}")
        net += layer("Tile", f"tile_param {{ axis: {axis} tiles: 3 }}", f"tile{axis}")
        net += layer("ArgMax", f"argmax_param {{ axis: {axis} top_k: 2 }}", f"max{axis}")
    net += layer("ArgMax", "argmax_param { top_k: 4 }", "max") + layer(
        "ArgMax", "argmax_param { out_max_val: true }", "maxval"
    )
    net += layer("ArgMax", "", "max_of_vector", "i") + layer(
        "Permute", "permute_param { order: 0 order: 2 order: 3 order: 1 }", "permute"
    )
    net += layer("Permute", "permute_param { order: 3 }", "front")
    net += layer("Concat", "concat_param { axis: 2 }", "concat", "x z x") + layer(
        "Concat", "concat_param { concat_dim: 0 }", "c0", "x x"
    )
    net += layer("Concat", "concat_param { axis: -1 }", "alone", "x")
    net += layer("Slice", "slice_param { slice_point: 1 slice_point: 3 }", "slice", "x", "p q r")
    net += layer("Slice", "slice_param { axis: -2 }", "halves", "x", "u v") + layer(
        "Slice", "slice_param { slice_dim: 0 }", "w", "x", "w"
    )
    net += layer("Crop", "crop_param { axis: 1 offset: 1 }", "crop", "x like")
    net += layer("Crop", "crop_param { axis: -2 offset: 0 offset: 1 }", "crop2", "x like") + layer(
        "Crop", "", "crop0", "x like"
    )
    return net + layer("BatchReindex", "", "pick", "x i")


def pyramid_net() -> str:
    net, count = "", 0
    for (height, width), levels in itertools.product(((7, 10), (8, 8), (13, 5), (31, 17)), (1, 2, 3)):
        if levels == 3 and min(height, width) == 5:
            continue  # Caffe refuses: test_refusals has it
        count += 1
        net += data(2, 3, height, width, name=f"x{count}")
        net += layer("SPP", f"spp_param {{ pyramid_height: {levels} }}", f"spp{count}", f"x{count}")
    return net


def label_net() -> str:
    net = data(2, 5, 3) + data(2, 3, name="label") + data(4, 6, name="s") + data(4, name="l")
    net += layer("Accuracy", "", "acc", "x label", "acc each") + layer(
        "Accuracy", "accuracy_param { axis: -1 }", "acc1", "s l"
    )
    net += layer("SoftmaxWithLoss", "", "loss", "x label") + layer("SoftmaxWithLoss", "", "nameless", "s l", "")
    net += layer("DummyData", f"dummy_data_param {{ {shape(3, 2)} {shape(1)} }}", "dummy", "", "d1 d2")
    net += layer("DummyData", "dummy_data_param { num: 1 channels: 2 height: 3 width: 4 }", "old", "", "old")
    return net + layer("Input", f"input_param {{ {shape(3, 2)} }}", "in", "", "in1 in2")


def loss_net() -> str:
    net = data(4, 6, 3) + data(4, 6, 3, name="like") + data(4, name="label") + data(4, name="alike")
    net += data(4, 3, name="labels") + data(1, 1, 6, 6, name="gain") + data(4, 6, name="v") + data(4, 6, name="w")
    for kind, bottoms in (
        ("EuclideanLoss", "x like"),
        ("SigmoidCrossEntropyLoss", "x like"),
        ("HingeLoss", "x label"),
        ("MultinomialLogisticLoss", "x label"),
        ("ContrastiveLoss", "v w alike"),
        ("InfogainLoss", "x labels gain"),
    ):
        net += layer(kind, "", kind, bottoms)
    net += layer("HingeLoss", "", "nameless", "x label", "")  # Caffe gives it a top
    return net + layer("InfogainLoss", "loss_weight: 1 loss_weight: 0", "gained", "x labels gain", "gained chances")


def recurrent_net() -> str:
    net = data(4, 2, 5, 3) + data(4, 2, name="cont") + data(2, 7, 2, name="static")
    body = "recurrent_param { num_output: 6 expose_hidden: %s }"
    net += data(1, 2, 6, name="h") + data(1, 2, 6, name="c") + data(1, 2, 24, name="gates") + data(1, 2, name="now")
    for kind, states in (("LSTM", "h c"), ("RNN", "h")):
        for static in ("", "static"):
            name = kind + static
            net += layer(kind, body % "false", f"{name}_alone", f"x cont {static}")
            tops = " ".join(f"{name}_{top}" for top in f"y {states}".split())
            net += layer(kind, body % "true", name, f"x cont {static} {states}", tops)
    return net + layer("LSTMUnit", "", "unit", "c gates now", "c1 h1")


NETS = {
    "pooling": pooling_net, "convolution": convolution_net, "window axes": window_axes_net, "dense": dense_net,
    "affine": affine_net, "elementwise": elementwise_net, "axes": axes_net, "pyramid": pyramid_net, "labels": label_net,
    "losses": loss_net, "recurrent": recurrent_net,
}  # fmt: skip
