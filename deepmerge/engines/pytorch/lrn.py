"""LRN, across channels and within them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from torch import Tensor

    from deepmerge.engines.pytorch.step import Step


def lrn(step: Step, x: Tensor) -> Tensor:
    """Caffe: lrn_layer.cpp. alpha is divided by the window's size.

    Caffe builds WITHIN_CHANNEL of other layers: x · (1 + alpha · AVE(x²)) ^ −beta, without k. The stride is 1, so no
    window reaches past the pad, and each average is over the whole window.
    """
    p = step.params
    if p.norm_region == "ACROSS_CHANNELS":
        return _Across.apply(x, p.local_size, p.alpha, p.beta, p.k)
    mean = F.avg_pool2d(x * x, p.local_size, 1, p.local_size // 2)
    return x * (mean * p.alpha + 1).pow(-p.beta)


class _Across(torch.autograd.Function):
    """y = x · s^−beta, with s = k + alpha/n · S(x²), and S the sum over a window of n channels, n odd.

    dx = dy · s^−beta − 2 alpha beta / n · x · S(dy · y / s). This takes less than half the time of autograd.
    Caffe: lrn_layer.cpp, CrossChannelBackward_cpu.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, size: int, alpha: float, beta: float, k: float) -> Tensor:
        scale = _window_sum(x * x, size).mul_(alpha / size).add_(k)
        power = _negative_power(scale, beta)
        ctx.save_for_backward(x, scale, power)
        ctx.numbers = size, alpha, beta
        return x * power

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, power = ctx.saved_tensors
        size, alpha, beta = ctx.numbers
        direct = dy * power
        ratio = (direct * x).div_(scale)
        return direct.addcmul_(_window_sum(ratio, size), x, value=-2 * alpha * beta / size), None, None, None, None


def _window_sum(x: Tensor, size: int) -> Tensor:
    """Return the sum over the `size` channels around each channel, with zeros outside."""
    total = x.clone()
    for shift in range(1, min(size // 2, x.shape[1] - 1) + 1):
        total[:, shift:] += x[:, :-shift]
        total[:, :-shift] += x[:, shift:]
    return total


def _negative_power(x: Tensor, beta: float) -> Tensor:
    """Return x^−beta. Square roots compute Caffe's default beta much faster."""
    if beta == 0.75:
        root = x.rsqrt()
        return root.sqrt().mul_(root)
    return x.pow(-beta)
