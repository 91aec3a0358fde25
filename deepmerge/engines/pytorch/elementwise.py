"""Activations, Power, Exp, Log and Eltwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from torch import Tensor

    from deepmerge.engines.pytorch.step import Step


def plain(function: Callable[[Tensor], Tensor]) -> Callable[[Step, Tensor], Tensor]:
    """Return the operation of a layer type that is one function without parameters."""
    return lambda _step, x: function(x)


def relu(step: Step, x: Tensor) -> Tensor:
    """Caffe: relu_layer.cpp: max(x, 0) + negative_slope · min(x, 0)."""
    slope = step.params.negative_slope
    return F.leaky_relu(x, slope) if slope else F.relu(x)


def relu_in_place(step: Step, x: Tensor) -> Tensor:
    """Compute ReLU in the memory of x. Torch does not do that with a negative slope."""
    slope = step.params.negative_slope
    if slope < 0:
        return relu(step, x)
    return F.leaky_relu_(x, slope) if slope else F.relu_(x)


def prelu(step: Step, x: Tensor) -> Tensor:
    """Caffe: prelu_layer.cpp: a slope for each channel, or one for all."""
    return F.prelu(x, step.weight(0).reshape(-1))


def elu(step: Step, x: Tensor) -> Tensor:
    """Compute ELU."""
    return F.elu(x, step.params.alpha)


def swish(step: Step, x: Tensor) -> Tensor:
    """Compute Swish: x · sigmoid(beta · x)."""
    return x * torch.sigmoid(step.params.beta * x)


def clip(step: Step, x: Tensor) -> Tensor:
    """Compute Clip."""
    return x.clamp(step.params.min, step.params.max)


def threshold(step: Step, x: Tensor) -> Tensor:
    """Compute Threshold: 1 where x > threshold, else 0."""
    return (x > step.params.threshold).to(x.dtype)


def dropout(step: Step, x: Tensor) -> Tensor:
    """Caffe: dropout_layer.cpp: while training, the values that stay are divided by the share that stays.

    With caffe-fast-rcnn's scale_train: false, all values are multiplied by that share in TEST instead.
    """
    p = step.params
    share = 1 - p.dropout_ratio
    if step.training:
        mask = torch.empty_like(x).bernoulli_(share, generator=step.net.generator(x.device))
        return x * (mask.div_(share) if p.scale_train else mask)
    if p.sample_weights_test:
        raise step.error("engine 'torch' does not have sample_weights_test, which drops values in TEST, too")
    return x if p.scale_train else x * share


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
    return affine(torch.exp(affine(x, p.inner_scale, 0)), p.outer_scale, 0)


def log(step: Step, x: Tensor) -> Tensor:
    """Caffe: log_layer.cpp: log(shift + scale · x) / log base."""
    p = step.params
    return affine(torch.log(affine(x, p.scale, p.shift)), p.outer_scale, 0)


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
    elif operation == "SUM":
        coeff = step.params.coeff or (1.0,) * len(bottoms)
        total = affine(total, coeff[0], 0)
        for x, c in zip(bottoms[1:], coeff[1:], strict=True):
            total = torch.add(total, x, alpha=c)
    else:
        raise step.error(f"engine 'torch' does not have operation {operation}")
    return total
