"""Weights for layers that no caffemodel has any for: as Caffe's fillers (filler.hpp) draw them, seeded.

Usually these layers are an auxiliary head of a train_val network. The distributions are Caffe's, the numbers are not.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection
from math import ceil, sqrt

import numpy as np

from deepmerge.errors import ReadError
from deepmerge.formats.read.scalars import Reader
from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.graph.shapes import Shape, expected_weights
from deepmerge.names import encoded
from deepmerge.text import listed


def fill(graph: Graph, shapes: dict[Blob, Shape | None], seed: int, known: Collection[str] = ()) -> list[str]:
    """Give each layer without weights those of its fillers, and return notes for the user.

    The weights depend only on the seed and the layer's name. known: layers that get other weights later, and need no
    note. ReadError for a filler that Caffe does not have.
    """
    filled, zeros = [], []
    for layer in graph.layers:
        wanted = expected_weights(layer, [shapes.get(bottom) for bottom in layer.bottoms])
        if not wanted or layer.weights:
            continue
        random = np.random.default_rng([seed, zlib.crc32(encoded(layer.name))])
        layer.weights = [_filled(layer, index, shape, random) for index, shape in enumerate(wanted)]
        if layer.type != "BatchNorm" and layer.name not in known:
            (filled if layer.weights[0].any() else zeros).append(layer.name)
    notes = [f"no caffemodel has weights for {listed(filled)}; fillers make them"] if filled else []
    if zeros:
        notes.append(
            f"no caffemodel has weights for {listed(zeros)}, and there is no weight_filler: all 0, as in Caffe"
        )
    return notes


def _filled(layer: Layer, index: int, shape: Shape, random: np.random.Generator) -> np.ndarray:
    fields = layer.kind.fillers
    matrix = layer.kind.tensor and len(shape) > 1  # a recurrent layer has several
    name, usual = fields[0 if matrix else min(layer.role(index), len(fields) - 1)]
    params = layer.tree.message(layer.params.FIELD) if layer.params is not None and layer.params.FIELD else None
    message = params.message(name) if params is not None and name else None
    if message is None:
        return np.full(shape, usual, np.float32)
    reader = Reader(message, "FillerParameter", None, f"layer {layer.name!r} ({layer.type}), {name}")
    kind = reader.one("type")
    if kind not in _FILLERS:
        raise reader.error(f"{kind!r} is not a filler of Caffe's; give one of {', '.join(_FILLERS)}")
    return np.ascontiguousarray(_FILLERS[kind](reader, shape, random), dtype=np.float32).reshape(shape)


def _rows(shape: Shape) -> int:
    """Return the size along the first axis; 1 for a single number. Caffe: blob.hpp, LegacyShape."""
    return shape[0] if shape else 1


def _fan(reader: Reader, shape: Shape) -> float:
    """Return the number of values that an element of the blob is connected to, as variance_norm says."""
    count = int(np.prod(shape))
    fan_in, fan_out = count / _rows(shape), count / shape[1] if len(shape) > 1 else count
    fans = {"FAN_IN": fan_in, "FAN_OUT": fan_out, "AVERAGE": (fan_in + fan_out) / 2}
    norm = reader.one("variance_norm")
    if norm not in fans:
        raise reader.error(f"variance_norm {norm} is not one of {', '.join(fans)}")
    return fans[norm]


def _gaussian(reader: Reader, shape: Shape, random: np.random.Generator) -> np.ndarray:
    values = random.normal(reader.one("mean"), reader.one("std"), shape)
    sparse = reader.one("sparse")
    return values if sparse < 0 else values * (random.random(shape) < sparse / _rows(shape))


def _xavier(reader: Reader, shape: Shape, random: np.random.Generator) -> np.ndarray:
    limit = sqrt(3 / _fan(reader, shape))
    return random.uniform(-limit, limit, shape)


def _unitball(_reader: Reader, shape: Shape, random: np.random.Generator) -> np.ndarray:
    rows = random.random((_rows(shape), -(-int(np.prod(shape)) // _rows(shape))))
    return rows / rows.sum(axis=1, keepdims=True)


def _bilinear(reader: Reader, shape: Shape, _random: np.random.Generator) -> np.ndarray:
    if len(shape) != 4 or shape[2] != shape[3]:
        raise ReadError(f"{reader.where}: bilinear is for square kernels, and this blob is {shape}")
    half = ceil(shape[3] / 2)
    line = 1 - np.abs(np.arange(shape[3]) / half - (shape[3] - 1) / (2 * half))
    return np.broadcast_to(np.outer(line, line), shape)


_FILLERS: dict[str, Callable[[Reader, Shape, np.random.Generator], np.ndarray]] = {
    "constant": lambda reader, shape, _random: np.full(shape, reader.one("value")),
    "uniform": lambda reader, shape, random: random.uniform(reader.one("min"), reader.one("max"), shape),
    "gaussian": _gaussian,
    "positive_unitball": _unitball,
    "xavier": _xavier,
    "msra": lambda reader, shape, random: random.normal(0, sqrt(2 / _fan(reader, shape)), shape),
    "bilinear": _bilinear,
}
