"""Layers that join, cut, copy, order or rename axes, and those that reduce one: Reduction and ArgMax."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import torch

from deepmerge.engines.pytorch.step import in_float32

if TYPE_CHECKING:
    from torch import Tensor

    from deepmerge.engines.pytorch.step import Step


def flatten(step: Step, x: Tensor) -> Tensor:
    """Caffe: flatten_layer.cpp. An end_axis just before `axis` inserts an axis of 1."""
    start, end = step.axis(x, step.params.axis), step.axis(x, step.params.end_axis)
    return x.reshape(*x.shape[:start], prod(x.shape[start : end + 1]), *x.shape[end + 1 :])


def reshape(step: Step, x: Tensor) -> Tensor:
    """Caffe: reshape_layer.cpp."""
    p, rank = step.params, x.dim()
    start = p.axis if p.axis >= 0 else rank + p.axis + 1
    end = rank if p.num_axes == -1 else start + p.num_axes
    new = [x.shape[start + i] if size == 0 else size for i, size in enumerate(p.shape)]
    if -1 in new:
        new[new.index(-1)] = prod(x.shape[start:end]) // -prod(new)
    return x.reshape(*x.shape[:start], *new, *x.shape[end:])


def split(step: Step, x: Tensor) -> list[Tensor]:
    """Return the bottom for each top."""
    return [x for _ in step.layer.tops]


def silence(_step: Step, *_bottoms: Tensor) -> list[Tensor]:
    """Compute nothing."""
    return []


def concat(step: Step, *bottoms: Tensor) -> Tensor:
    """Compute Concat."""
    return torch.cat(bottoms, step.axis(bottoms[0], step.params.axis)) if len(bottoms) > 1 else bottoms[0]


def slice_(step: Step, x: Tensor) -> list[Tensor]:
    """Compute Slice."""
    axis, count, points = step.axis(x, step.params.axis), len(step.layer.tops), step.params.slice_point
    size = x.shape[axis]
    if not points and size % count:
        raise step.error(f"axis {axis} has {size} values, which {count} tops cannot share evenly")
    edges = (0, *(points or [size // count * i for i in range(1, count)]), size)
    return list(x.split([high - low for low, high in zip(edges, edges[1:], strict=False)], axis))


def crop(step: Step, x: Tensor, like: Tensor) -> Tensor:
    """Caffe: crop_layer.cpp: one offset for all axes from `axis` on, or one for each."""
    first, offset = step.axis(x, step.params.axis), step.params.offset or (0,)
    for i in range(first, x.dim()):
        x = x.narrow(i, offset[i - first] if len(offset) > 1 else offset[0], like.shape[i])
    return x


def tile(step: Step, x: Tensor) -> Tensor:
    """Compute Tile."""
    repeats = [1] * x.dim()
    repeats[step.axis(x, step.params.axis)] = step.params.tiles
    return x.repeat(repeats)


def permute(step: Step, x: Tensor) -> Tensor:
    """SSD: permute_layer.cpp. Axes that `order` leaves out follow in their own order."""
    order = list(step.params.order)
    return x.permute(order + [axis for axis in range(x.dim()) if axis not in order])


def batch_reindex(_step: Step, x: Tensor, index: Tensor) -> Tensor:
    """Compute BatchReindex."""
    return x.index_select(0, index.reshape(-1).long())


_REDUCE = {
    "SUM": lambda x: x.sum(-1),
    "ASUM": lambda x: x.abs().sum(-1),
    "SUMSQ": lambda x: (x * x).sum(-1),
    "MEAN": lambda x: x.mean(-1),
}


@in_float32
def reduction(step: Step, x: Tensor) -> Tensor:
    """Caffe: reduction_layer.cpp: the axes from `axis` on become one value, times coeff."""
    if step.params.operation not in _REDUCE:
        raise step.error(f"engine 'torch' does not have operation {step.params.operation}")
    y = _REDUCE[step.params.operation](x.flatten(step.axis(x, step.params.axis)))
    return y if step.params.coeff == 1 else y * step.params.coeff


@torch.no_grad()
def argmax(step: Step, x: Tensor) -> Tensor:
    """Caffe: argmax_layer.cpp. It sorts (value, index) downwards: the last of equal values comes first."""
    p, shape = step.params, x.shape
    if p.axis is not None:
        values, indices = _largest(x, step.axis(x, p.axis), p.top_k)
        return values if p.out_max_val else indices
    values, indices = _largest(x.flatten(1), 1, p.top_k)
    both = torch.cat((indices, values), 1) if p.out_max_val else indices
    return both.reshape(shape[0], 1 + p.out_max_val, p.top_k, *[1] * (len(shape) - 3))


def _largest(x: Tensor, axis: int, count: int) -> tuple[Tensor, Tensor]:
    """Return the largest values along an axis, and their indices as floats. The last of equal values comes first."""
    # a stable sort keeps the first of equals, so x is reversed
    values, order = x.flip(axis).sort(dim=axis, descending=True, stable=True)
    indices = (x.shape[axis] - 1 - order).to(x.dtype)
    return values.narrow(axis, 0, count), indices.narrow(axis, 0, count)
