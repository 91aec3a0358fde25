"""BatchNorm, MVN and Softmax."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from torch import Tensor

    from deepmerge.engines.pytorch.step import Step


def batch_norm(step: Step, x: Tensor) -> Tensor:
    """Caffe: batch_norm_layer.cpp: by stored statistics in TEST, the batch's in TRAIN, or as use_global_stats says."""
    given, eps = step.params.use_global_stats, step.params.eps
    scale = bias = None
    if step.params.scale_bias:  # NVCaffe: batch_norm_layer.cpp: means, not sums, and a scale and bias of its own
        scale, bias, eps = step.weight(3).reshape(-1), step.weight(4).reshape(-1), max(eps, 1e-5)
    if not (given if given is not None else not step.training):
        return _by_the_batch(step, x, scale, bias, eps)
    mean, variance, factor = (step.weight(i).reshape(-1) for i in range(3))
    if not step.params.scale_bias:
        inverse = torch.where(factor == 0, factor, 1 / factor)
        mean, variance = mean * inverse, variance * inverse
    return F.batch_norm(x, mean, variance, scale, bias, False, 0.0, eps)


def _by_the_batch(step: Step, x: Tensor, scale: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """Normalise by the batch's mean and variance; in TRAIN, add them to the stored sums. Caffe: Forward_cpu."""
    if step.params.scale_bias:
        raise step.error("NVCaffe's BatchNorm runs on stored statistics only; give it use_global_stats: true")
    mean, variance = (x.new_zeros(x.shape[1]) for _ in range(2))
    # with a momentum of 1, torch stores the mean and the unbiased variance, m / (m − 1) times the biased one
    y = torch.batch_norm(x, scale, bias, mean, variance, True, 1.0, eps, x.is_cuda)
    if step.training:
        fraction = step.params.moving_average_fraction
        variance = variance if x.numel() > x.shape[1] else torch.zeros_like(variance)
        with torch.no_grad():
            for blob, new in zip(step.weights, (mean, variance, 1.0), strict=True):
                blob.mul_(fraction).add_(new)
    return y


def mvn(step: Step, x: Tensor) -> Tensor:
    """Caffe: mvn_layer.cpp: (x − mean) / (deviation + eps); the top has four axes."""
    p, shape = step.params, tuple(x.shape) + (1,) * (4 - x.dim())
    x = x.reshape(*shape[: 1 if p.across_channels else 2], -1)
    y = x - x.mean(-1, keepdim=True)
    if p.normalize_variance:
        variance = (y * y).mean(-1, keepdim=True)
        # a root's gradient at 0 is infinite; if all values are equal, y is 0 anyway
        deviation = torch.where(variance > 0, variance, 1.0).sqrt() * (variance > 0)
        y = y / (deviation + p.eps)
    return y.reshape(shape)


def softmax(step: Step, x: Tensor) -> Tensor:
    """Compute Softmax."""
    return F.softmax(x, step.axis(x, step.params.axis))
