"""Activations: one value in, one value out."""

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
    """Caffe: dropout_layer.cpp: while training, the values that stay are divided by the share that stays."""
    ratio = step.params.dropout_ratio
    if not step.training:
        return x
    mask = torch.empty_like(x).bernoulli_(1 - ratio, generator=step.net.generator(x.device))
    return x * mask.div_(1 - ratio)
