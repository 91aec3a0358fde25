"""Reduction and ArgMax."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from deepmerge.engines.pytorch.step import Step

_REDUCE = {
    "SUM": lambda x: x.sum(-1),
    "ASUM": lambda x: x.abs().sum(-1),
    "SUMSQ": lambda x: (x * x).sum(-1),
    "MEAN": lambda x: x.mean(-1),
}


def reduction(step: Step, x: Tensor) -> Tensor:
    """Caffe: reduction_layer.cpp: the axes from `axis` on become one value, times coeff."""
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
