"""Rules for weight blobs: (layer, bottom shapes) → their shapes, in Caffe's order. Caffe: each layer's LayerSetUp."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from deepmerge.graph.shape_errors import Shape, axis_of
from deepmerge.graph.shape_rules import channels_second, scaled_axes
from deepmerge.graph.shape_windows import channel_axis, check_groups, window_axes

if TYPE_CHECKING:
    from deepmerge.graph.graph import Layer


def convolution(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """Caffe: base_conv_layer.cpp."""
    params, shape = layer.params, bottoms[0]
    axis = channel_axis(layer, shape)
    check_groups(layer, shape[axis])
    out, into = params.num_output, shape[axis]
    if layer.type == "Deconvolution":
        out, into = into, out
    kernel = window_axes(layer, len(shape) - axis - 1).kernel
    return [(out, into // params.group, *kernel)] + [(params.num_output,)] * params.bias_term


def inner_product(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """Caffe: inner_product_layer.cpp."""
    params, shape = layer.params, bottoms[0]
    outputs, inputs = params.num_output, prod(shape[axis_of(layer, params.axis, shape) :])
    return [(inputs, outputs) if params.transpose else (outputs, inputs)] + [(outputs,)] * params.bias_term


def batch_norm(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """Caffe: batch_norm_layer.cpp."""
    channels = channels_second(layer, bottoms)[0][1]
    return [(channels,), (channels,), (1,)] + [(channels,), (channels,)] * layer.params.scale_bias


def scale(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """With a second bottom, only Scale's bias is learned, as wide as that bottom."""
    if len(bottoms) > 1:
        return [bottoms[1]] * layer.params.bias_term
    return [scaled_axes(layer, bottoms[0])] * (1 + layer.params.bias_term)


def bias(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """Caffe: bias_layer.cpp."""
    return [scaled_axes(layer, bottoms[0])] if len(bottoms) == 1 else []


def per_channel(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """PReLU and Normalize: one number for each channel, or one for all. SSD: normalize_layer.cpp."""
    return [() if layer.params.channel_shared else channels_second(layer, bottoms)[0][1:2]]


def bn(layer: Layer, bottoms: list[Shape]) -> list[Shape] | None:
    """BN has two or four blobs, each with one, two or four axes, depending on the fork; see graph/params_forks.py."""
    params = layer.params
    count = {"folded": 2, "stored": 4}.get(params.statistics)
    if count is None:
        return None
    channels = bottoms[0][params.axis : params.axis + 1]
    known = next((w.shape for w in layer.weights[:1] if prod(w.shape) == prod(channels)), (1, *channels, 1, 1))
    return [known] * count


def embed(layer: Layer, _bottoms: list[Shape]) -> list[Shape]:
    """Caffe: embed_layer.cpp."""
    params = layer.params
    return [(params.input_dim, params.num_output)] + [(params.num_output,)] * params.bias_term


def parameter(layer: Layer, _bottoms: list[Shape]) -> list[Shape]:
    """Caffe: parameter_layer.hpp."""
    return [layer.params.shape]


def recurrent(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """Return gates × inputs, their bias, gates × static input, gates × state; an RNN also has its output's.

    Caffe: lstm_layer.cpp, rnn_layer.cpp.
    """
    params, size = layer.params, layer.params.num_output
    gates, states = (4 * size, 2) if layer.type == "LSTM" else (size, 1)
    static = bottoms[2:3] if len(bottoms) == 3 + states * params.expose_hidden else []
    shapes = [(gates, prod(bottoms[0][2:])), (gates,), *((gates, prod(shape[1:])) for shape in static), (gates, size)]
    return shapes if layer.type == "LSTM" else [*shapes, (size, size), (size,)]
