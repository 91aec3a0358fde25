"""InnerProduct, Embed, Scale and Bias."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from torch import Tensor

    from deepmerge.engines.pytorch.step import Step


def inner_product(step: Step, x: Tensor) -> Tensor:
    """Caffe: inner_product_layer.cpp: the axes from `axis` on, flattened, times the weights."""
    axis, weights = step.axis(x, step.params.axis), step.weight(0)
    bias = step.weight(1).reshape(-1) if step.params.bias_term else None
    return F.linear(x.flatten(axis), weights.t() if step.params.transpose else weights, bias)


def embed(step: Step, x: Tensor) -> Tensor:
    """Caffe: embed_layer.cpp: a row of the weights for each index, plus the bias."""
    y = F.embedding(x.long(), step.weight(0))
    return y + step.weight(1).reshape(-1) if step.params.bias_term else y


def scale(step: Step, x: Tensor, *given: Tensor) -> Tensor:
    """Caffe: scale_layer.cpp. The factors are learned, or the second bottom; `axis` is where they start."""
    factor, *rest = (*given, *map(step.weight, range(len(step.weights))))
    factor = _beside(step, x, factor)
    if step.params.bias_term:
        return torch.addcmul(_beside(step, x, rest[0]), x, factor)
    return x * factor


def bias(step: Step, x: Tensor, *given: Tensor) -> Tensor:
    """Caffe: bias_layer.cpp."""
    return x + _beside(step, x, given[0] if given else step.weight(0))


def _beside(step: Step, x: Tensor, values: Tensor) -> Tensor:
    """Values that cover the axes of x from `axis` on, shaped so that they broadcast over x."""
    if not values.dim():
        return values
    trailing = x.dim() - values.dim() - step.axis(x, step.params.axis)
    return values.reshape(*values.shape, *[1] * trailing)
