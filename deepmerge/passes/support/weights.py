"""Weights of a convolution or inner product: reading them, and replacing them together with the parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from deepmerge.errors import PassError
from deepmerge.graph.costs import weight_shapes
from deepmerge.graph.graph import Blob, Layer
from deepmerge.graph.shapes import Shape
from deepmerge.graph.tokens import number
from deepmerge.graph.tree import Message, Token
from deepmerge.names import for_shell


def weight_of(layer: Layer) -> np.ndarray:
    """Return the weights, float32: InnerProduct's as (num_output, inputs), also if they are stored transposed.

    A convolution's are as Caffe stores them: (num_output, channels/group, kernel_h, kernel_w).
    """
    return layer.weights[0].T if layer.type == "InnerProduct" and layer.params.transpose else layer.weights[0]


def finite_weight_of(layer: Layer) -> np.ndarray:
    """Return `weight_of`; PassError for a NaN or an infinity."""
    weight = weight_of(layer)
    if not np.isfinite(weight).all():
        text = f"layer {layer.name!r} ({layer.type}): its weights hold a NaN or an infinity"
        raise PassError(text, layer=layer.name, remedy=f"keep it with --keep {for_shell(layer.name)}")
    return weight


def weight_shape(layer: Layer, shapes: Mapping[Blob, Shape | None]) -> Shape:
    """Return the shape of `weight_of`, which a layer without weights has, too."""
    shape = tuple(weight_shapes(layer, shapes)[0])
    return shape[::-1] if layer.type == "InnerProduct" and layer.params.transpose else shape


def group_of(layer: Layer) -> int:
    """Return the layer's number of groups; 1 for an InnerProduct."""
    return 1 if layer.type == "InnerProduct" else layer.params.group


def bias_of(layer: Layer) -> np.ndarray | None:
    """Return the bias, (num_output,), or None where the layer has none."""
    return layer.weights[1] if len(layer.weights) > 1 else None


def bias_or_zero(layer: Layer) -> np.ndarray:
    """Return the bias, (num_output,), or zeros where the layer has none."""
    bias = bias_of(layer)
    return np.zeros(layer.params.num_output, np.float32) if bias is None else bias


def set_weights(layer: Layer, weight: np.ndarray, bias: np.ndarray | None) -> None:
    """Replace the weights (in the form of `weight_of`) and the bias; declare the bias where there was none.

    bias: (num_output,), or None. Both are stored as float32.
    """
    if layer.type == "InnerProduct" and layer.params.transpose:
        weight = weight.T
    layer.weights = [np.ascontiguousarray(weight, np.float32)]
    if bias is not None:
        layer.weights.append(np.ascontiguousarray(bias, np.float32))
        declare_bias(layer)


def declare_bias(layer: Layer) -> None:
    """Set bias_term, and add a second ParamSpec where the weights have one."""
    if not layer.params.bias_term:
        layer.params = replace(layer.params, bias_term=True)
    if len(layer.param_specs) == 1:
        rate = number(layer.param_specs[0].value("lr_mult") or "1")
        spec = Message()
        spec.add("lr_mult", Token(f"{2 * rate:g}"))
        spec.add("decay_mult", Token("0"))
        layer.param_specs.append(spec)
