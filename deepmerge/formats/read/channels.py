"""How many channels a network's weights expect in its input."""

from __future__ import annotations

from math import prod

from deepmerge.formats.read.params import read_params
from deepmerge.formats.read.stored import StoredLayer
from deepmerge.formats.read.validate import name_of
from deepmerge.graph.tree import Message

# Types without weights whose top has as many channels as their bottom
_PASSES = frozenset(
    "AbsVal BNLL Clip Dropout ELU Exp LRN Log MVN Pooling Power ReLU Sigmoid Split Swish TanH Threshold".split()
)
_PER_CHANNEL = frozenset(("BatchNorm", "Bias", "PReLU", "Scale"))


def channels_of(blob: str, size: tuple[int, int], layers: list[Message], stored: list[StoredLayer], file) -> int | None:
    """The channels of `blob`, images of (height, width) `size`, from the weights of the first layer that has any."""
    weights = {s.name: s.blobs[0].shape for s in stored if s.blobs and s.blobs[0] is not None}
    same = {blob}
    for layer in layers:
        if not same & set(layer.values("bottom")):
            continue
        kind, shape = str(layer.value("type")), weights.get(str(layer.value("name")), ())
        if kind == "Convolution" and len(shape) == 4:
            return shape[1] * read_params(kind, layer, file, name_of(layer)).group
        if kind == "Deconvolution" and len(shape) == 4:
            return shape[0]
        if kind in _PER_CHANNEL and shape and shape[-1] > 1:
            return shape[-1]
        if kind == "InnerProduct" and len(shape) > 1 and blob in layer.values("bottom") and shape[-1] % prod(size) == 0:
            return shape[-1] // prod(size)
        if kind in _PASSES | _PER_CHANNEL:
            same.update(layer.values("top"))
    return None
