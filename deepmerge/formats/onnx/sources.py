"""Layers without a bottom."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deepmerge.graph.tokens import number
from deepmerge.graph.tree import Message

if TYPE_CHECKING:
    from deepmerge.formats.onnx.builder import Builder
    from deepmerge.graph.graph import Layer


def given(b: Builder, layer: Layer) -> list[str]:
    """Return the tops of an Input: they are the model's inputs, and need no node."""
    return [b.of(top) for top in layer.tops]


def parameter(b: Builder, layer: Layer) -> str:
    """Caffe: parameter_layer.hpp: the learned blob; zeros if the network has no caffemodel."""
    known = layer.weights or layer.shared_names
    return b.constant(
        b.weight(0).reshape(layer.params.shape) if known else np.zeros(layer.params.shape, np.float32), "weights"
    )


def dummy_data(b: Builder, layer: Layer) -> list[str]:
    """Caffe: dummy_data_layer.cpp. Constants only: random fillers give other values each time."""
    message = layer.tree.message("dummy_data_param") or Message()
    fillers = message.values("data_filler") or [Message()]
    if len(fillers) == 1:
        fillers *= len(layer.tops)
    for filler in fillers:
        kind = str(filler.value("type") or "constant")
        if kind != "constant":
            text = f"data from a {kind!r} filler cannot be written as ONNX"
            raise b.refuse(text, "make it an Input, or constant")
    values = [np.float32(number(str(filler.value("value") or 0))) for filler in fillers]
    return [b.constant(np.full(b.sizes(top), value, np.float32)) for top, value in zip(layer.tops, values, strict=True)]
