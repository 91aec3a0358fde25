"""Power, Exp, Log and Eltwise."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from deepmerge.engines.pytorch.step import Step


def affine(x: Tensor, scale: float, shift: float) -> Tensor:
    """Compute scale · x + shift, without the parts that do nothing."""
    if scale != 1:
        x = x * scale
    return x + shift if shift != 0 else x


def power(step: Step, x: Tensor) -> Tensor:
    """Caffe: power_layer.cpp: (shift + scale · x) ^ power; a constant where x does not count."""
    p = step.params
    if p.power * p.scale == 0:
        return torch.full_like(x, 1.0).mul_(p.shift).pow_(p.power) if p.power else torch.ones_like(x)
    x = affine(x, p.scale, p.shift)
    return x if p.power == 1 else x.pow(p.power)


def exp(step: Step, x: Tensor) -> Tensor:
    """Caffe: exp_layer.cpp: base ^ (shift + scale · x) = exp(x · scale · log base) · base ^ shift."""
    p = step.params
    log_base = 1.0 if p.base == -1 else math.log(p.base)
    return affine(torch.exp(affine(x, log_base * p.scale, 0)), math.exp(log_base * p.shift), 0)


def log(step: Step, x: Tensor) -> Tensor:
    """Caffe: log_layer.cpp: log(shift + scale · x) / log base."""
    p = step.params
    return affine(torch.log(affine(x, p.scale, p.shift)), 1.0 if p.base == -1 else 1 / math.log(p.base), 0)


def eltwise(step: Step, *bottoms: Tensor) -> Tensor:
    """Caffe: eltwise_layer.cpp. SUM has a coefficient for each bottom; bottoms are taken in order.

    MAX: the gradient of two equal values goes to the second bottom; a later bottom gets it only if it is larger.
    """
    operation, total = step.params.operation, bottoms[0]
    if operation == "MAX":
        total = torch.where(total > bottoms[1], total, bottoms[1])
        for x in bottoms[2:]:
            total = torch.where(x > total, x, total)
    elif operation == "PROD":
        for x in bottoms[1:]:
            total = total * x
    else:
        coeff = step.params.coeff or (1.0,) * len(bottoms)
        total = affine(total, coeff[0], 0)
        for x, c in zip(bottoms[1:], coeff[1:], strict=True):
            total = torch.add(total, x, alpha=c)
    return total
