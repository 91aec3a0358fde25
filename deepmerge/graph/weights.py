"""Which learned blobs a layer has, and in which shapes. Caffe: each layer's LayerSetUp."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING

from deepmerge.graph.params_forks import DEPTHWISE
from deepmerge.graph.shape_errors import Shape, axis_of
from deepmerge.graph.shape_rules import channels_second, scaled_axes
from deepmerge.graph.shape_windows import channel_axis, check_groups, window_axes

if TYPE_CHECKING:
    from deepmerge.graph.graph import Layer


def expected_weights(layer: Layer, bottom_shapes: list[Shape | None]) -> list[Shape] | None:
    """The shapes of the layer's learned blobs, in Caffe's order and axes; [] for a layer that learns nothing.

    None where that cannot be known: a type that deepmerge does not know, or bottoms without a shape.
    ShapeError where parameters and bottoms do not fit.
    """
    if layer.params is None:
        return None
    rule = _LEARNED.get(layer.type)
    if rule is None:
        return []
    if None in bottom_shapes:
        return None
    return rule(layer, bottom_shapes)


def fits(found: Shape, expected: Shape) -> bool:
    """Whether a stored blob of this shape may be loaded where `expected` is wanted.

    Files from before N-d blobs give every blob four axes, with ones in front: (1, 1, N, C) for the weights of an
    InnerProduct, (1, 1, 1, N) for a bias. Caffe: blob.cpp, ShapeEquals.
    """
    found, expected = tuple(found), tuple(expected)
    return found == expected or (len(found) == 4 > len(expected) and found == (1,) * (4 - len(expected)) + expected)


def _convolution(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    params, shape = layer.params, bottoms[0]
    axis = channel_axis(layer, shape)
    check_groups(layer, shape[axis])
    out, into = params.num_output, shape[axis]
    if layer.type == "Deconvolution":
        out, into = into, out
    kernel = window_axes(layer, len(shape) - axis - 1).kernel
    return [(out, into // params.group, *kernel)] + [(params.num_output,)] * params.bias_term


def _inner_product(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    params, shape = layer.params, bottoms[0]
    outputs, inputs = params.num_output, prod(shape[axis_of(layer, params.axis, shape) :])
    return [(inputs, outputs) if params.transpose else (outputs, inputs)] + [(outputs,)] * params.bias_term


def _batch_norm(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    channels = channels_second(layer, bottoms)[0][1]
    return [(channels,), (channels,), (1,)] + [(channels,), (channels,)] * layer.params.scale_bias


def _scale(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """With a second bottom, only Scale's bias is learned, as wide as that bottom."""
    if len(bottoms) > 1:
        return [bottoms[1]] * layer.params.bias_term
    return [scaled_axes(layer, bottoms[0])] * (1 + layer.params.bias_term)


def _bias(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    return [scaled_axes(layer, bottoms[0])] if len(bottoms) == 1 else []


def _prelu(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    return [() if layer.params.channel_shared else channels_second(layer, bottoms)[0][1:2]]


def _bn(layer: Layer, bottoms: list[Shape]) -> list[Shape] | None:
    """BN's blobs have one axis, two or four, as the fork has it, and are two or four; see graph/params_forks.py."""
    params = layer.params
    count = {"folded": 2, "stored": 4}.get(params.statistics)
    if count is None:
        return None
    channels = bottoms[0][params.axis : params.axis + 1]
    known = next((w.shape for w in layer.weights[:1] if prod(w.shape) == prod(channels)), (1, *channels, 1, 1))
    return [known] * count


def _normalize(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    return [() if layer.params.channel_shared else channels_second(layer, bottoms)[0][1:2]]


def _embed(layer: Layer, _bottoms: list[Shape]) -> list[Shape]:
    params = layer.params
    return [(params.input_dim, params.num_output)] + [(params.num_output,)] * params.bias_term


def _parameter(layer: Layer, _bottoms: list[Shape]) -> list[Shape]:
    return [layer.params.shape]


def _recurrent(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """Gates × inputs, their bias, gates × static input, gates × state; an RNN also has its output's.

    Caffe: lstm_layer.cpp, rnn_layer.cpp.
    """
    params, size = layer.params, layer.params.num_output
    gates, states = (4 * size, 2) if layer.type == "LSTM" else (size, 1)
    static = bottoms[2:3] if len(bottoms) == 3 + states * params.expose_hidden else []
    shapes = [(gates, prod(bottoms[0][2:])), (gates,), *((gates, prod(shape[1:])) for shape in static), (gates, size)]
    return shapes if layer.type == "LSTM" else [*shapes, (size, size), (size,)]


_LEARNED: dict[str, Callable[[Layer, list[Shape]], list[Shape] | None]] = {
    "BN": _bn,
    "BatchNorm": _batch_norm,
    "Bias": _bias,
    "Convolution": _convolution,
    "Deconvolution": _convolution,
    "Embed": _embed,
    "InnerProduct": _inner_product,
    "LSTM": _recurrent,
    "Normalize": _normalize,
    "PReLU": _prelu,
    "Parameter": _parameter,
    "RNN": _recurrent,
    "Scale": _scale,
} | dict.fromkeys(DEPTHWISE, _convolution)
