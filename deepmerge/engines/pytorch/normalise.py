"""LRN, BatchNorm, MVN and Softmax."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from deepmerge.engines.pytorch.step import in_float32

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
    """Return the sum over the `size` channels around each channel, with zeros outside.

    On a CPU it is a 1x1 convolution with a band of ones. In float32 this takes as long as adding shifted channels; in
    bfloat16, a third: 1.3 instead of 4.0 ms for GoogLeNet's two LRNs. A GPU may round a convolution's inputs (TF32).
    """
    if x.device.type == "cpu" and x.shape[1] <= _MOST_BAND:
        channels = torch.arange(x.shape[1])
        band = ((channels[:, None] - channels).abs() <= size // 2).to(x.dtype)
        with torch.autocast("cpu", enabled=False):
            return F.conv2d(x, band[:, :, None, None])
    total = x.clone()
    for shift in range(1, min(size // 2, x.shape[1] - 1) + 1):
        total[:, shift:] += x[:, :-shift]
        total[:, :-shift] += x[:, shift:]
    return total


_MOST_BAND = 256  # channels: the band's work grows with their square


def _negative_power(x: Tensor, beta: float) -> Tensor:
    """Return x^−beta. Square roots compute Caffe's default beta much faster."""
    if beta == 0.75:
        root = x.rsqrt()
        return root.sqrt().mul_(root)
    return x.pow(-beta)


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
    mean, variance = (step.weight(index).new_zeros(x.shape[1]) for index in range(2))  # float32, whatever x is
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


@in_float32
def softmax(step: Step, x: Tensor) -> Tensor:
    """Compute Softmax."""
    return F.softmax(x, step.axis(x, step.params.axis))
