"""A network in float64, to show how far rounding takes the float32 of the engines.

ONNX's reference implementation, in numpy, runs the model of formats/onnx. The operators whose reference takes
minutes, or (LRN) is wrong, are written here, for the attributes that formats/onnx writes.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from deepmerge.errors import EngineError
from deepmerge.formats.onnx import tensor_names, to_onnx
from deepmerge.formats.onnx.batch import with_firsts
from deepmerge.text import flat

if TYPE_CHECKING:
    from deepmerge.engines.base import Feeds
    from deepmerge.graph import Graph


class Float64Session:
    """A network in float64, at one batch.

    graph: with its weights. firsts: input → its first size. blobs: those that `forward` returns.
    EngineError for a layer that ONNX does not have, ShapeError if the network does not run at these first sizes.
    """

    def __init__(self, graph: Graph, firsts: dict[str, int], blobs: Sequence[str]) -> None:
        graph = with_firsts(graph, firsts)
        last = graph.finals
        model = to_onnx(graph, [last[name] for name in blobs if last[name].consumers], free_batch=False)
        tensors = tensor_names(graph)
        self._inputs = {blob.name: tensors[blob] for blob in graph.inputs}
        self._wanted = {name: tensors[last[name]] for name in blobs}
        _widen(model)
        self._evaluator = ReferenceEvaluator(model, new_ops=OPERATORS)

    def forward(self, feeds: Feeds) -> dict[str, np.ndarray]:
        """Return the blobs in float64. feeds: an array for each input. EngineError if an operator fails."""
        fed = {self._inputs[name]: np.asarray(array, np.float64) for name, array in feeds.items()}
        try:
            with np.errstate(all="ignore"):
                values = self._evaluator.run(list(self._wanted.values()), fed)
        except Exception as error:  # whatever numpy and the reference raise
            raise EngineError(f"the network does not run in float64: {flat(error)}") from None
        return dict(zip(self._wanted, values, strict=True))


def _widen(model: Any) -> None:
    """Turn every float32 of the model into float64; the numbers stay the same."""
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.DOUBLE
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.DOUBLE


def _places(kernel: Sequence[int], sizes: Sequence[int], window: dict) -> Iterator[tuple[tuple, tuple]]:
    """Yield each place in the kernel, and the slices of axes of these sizes that it reads, all windows at once."""
    strides, dilations = (window.get(name) or [1] * len(kernel) for name in ("strides", "dilations"))
    for place in np.ndindex(*kernel):
        cuts = []
        for at, k, size, stride, dilation in zip(place, kernel, sizes, strides, dilations, strict=True):
            start, reach = at * dilation, (k - 1) * dilation
            cuts.append(slice(start, start + size - reach, stride))
        yield place, (..., *cuts)


def _padded(x: np.ndarray, window: dict, fill: float = 0.0) -> np.ndarray:
    rank = x.ndim - 2
    pads = window["pads"] or [0] * 2 * rank
    ends = list(zip(pads[:rank], pads[rank:], strict=True))
    return np.pad(x, [(0, 0), (0, 0), *ends], constant_values=fill)


def _grouped(x: np.ndarray, group: int) -> np.ndarray:
    """Return (N, C, …) as (N, group, C/group, places)."""
    return x.reshape(len(x), group, x.shape[1] // group, -1)


def _filters(weight: np.ndarray) -> np.ndarray:
    """Return (group, rows, columns, *kernel) with the kernel first, so that BLAS takes the matrix of each place."""
    kernel = range(3, weight.ndim)
    return np.ascontiguousarray(weight.transpose(*kernel, 0, 1, 2))


def _biased(y: np.ndarray, bias: np.ndarray | None) -> tuple[np.ndarray]:
    return (y if bias is None else y + bias.reshape(-1, *[1] * (y.ndim - 2)),)


class Conv(OpRun):
    """Σ over the kernel's places: the weights there · what the place reads."""

    def _run(self, x, weight, bias=None, group=1, kernel_shape=None, **window):
        x = _padded(x, window)
        filters = _filters(weight.reshape(group, len(weight) // group, *weight.shape[1:]))
        total = 0.0
        for place, cut in _places(kernel_shape, x.shape[2:], window):
            read = x[cut]
            total = total + filters[place] @ _grouped(read, group)
        return _biased(total.reshape(len(x), len(weight), *read.shape[2:]), bias)


class ConvTranspose(OpRun):
    """Each place of the kernel adds to what a Conv's place would read."""

    def _run(self, x, weight, bias=None, group=1, kernel_shape=None, pads=None, **window):
        axes = zip(x.shape[2:], window["strides"], kernel_shape, window["dilations"], strict=True)
        sizes = [(size - 1) * stride + (k - 1) * dilation + 1 for size, stride, k, dilation in axes]
        y = np.zeros((len(x), weight.shape[1] * group, *sizes))
        filters = _filters(weight.reshape(group, len(weight) // group, *weight.shape[1:]).swapaxes(1, 2))
        for place, cut in _places(kernel_shape, sizes, window):
            y[cut] += (filters[place] @ _grouped(x, group)).reshape(y[cut].shape)
        rank = len(sizes)
        inside = (slice(low, size - high) for low, high, size in zip(pads[:rank], pads[rank:], sizes, strict=True))
        return _biased(y[(..., *inside)], bias)


class MaxPool(OpRun):
    """The maximum of each window."""

    def _run(self, x, kernel_shape=None, **window):
        if len(self.onnx_node.output) > 1:
            raise NotImplementedError("MaxPool with a mask")
        x = _padded(x, window, -np.inf)
        return (functools.reduce(np.maximum, (x[cut] for _, cut in _places(kernel_shape, x.shape[2:], window))),)


class AveragePool(OpRun):
    """The mean of each window, its padding included."""

    def _run(self, x, kernel_shape=None, **window):
        x = _padded(x, window)
        return (sum(x[cut] for _, cut in _places(kernel_shape, x.shape[2:], window)) / math.prod(kernel_shape),)


class LRN(OpRun):
    """x / (bias + alpha / size · Σ x²) ^ beta, over the `size` channels around each."""

    def _run(self, x, alpha=None, beta=None, bias=None, size=None):
        squares = np.pad(x * x, [(0, 0), ((size - 1) // 2, size // 2), *[(0, 0)] * (x.ndim - 2)])
        total = sum(squares[:, shift : shift + x.shape[1]] for shift in range(size))
        return (x / (bias + alpha / size * total) ** beta,)


class Resize(OpRun):
    """Bilinear with aligned corners, to these sizes; or each value repeated, by whole scales."""

    def _run(self, x, _roi=None, scales=None, sizes=None, mode="", **_how):
        if mode == "nearest":
            for axis, scale in enumerate(scales):
                x = x.repeat(int(scale), axis)
            return (x,)
        for axis, size in enumerate(sizes):
            x = _stretched(x, axis, int(size))
        return (x,)


def _stretched(x: np.ndarray, axis: int, size: int) -> np.ndarray:
    """Interpolate along an axis, from the first value to the last."""
    at = np.arange(size) * ((x.shape[axis] - 1) / max(size - 1, 1))
    low = np.floor(at).astype(int)
    share = (at - low).reshape(-1, *[1] * (x.ndim - axis - 1))
    high = np.minimum(low + 1, x.shape[axis] - 1)
    return x.take(low, axis) * (1 - share) + x.take(high, axis) * share


OPERATORS = [Conv, ConvTranspose, MaxPool, AveragePool, LRN, Resize]
