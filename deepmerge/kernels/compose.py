"""Window algebra of convolutions: kernels inside larger ones, two convolutions as one, receptive fields.

Weights (num_output, channels, kernel_h, kernel_w), group 1; float64 inside, float32 out.
Source: Ding et al., Diverse Branch Block (CVPR 2021), transforms III and V, and the convolution of kernels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


def compose_convolutions(
    first: np.ndarray, first_bias: np.ndarray | None, second: np.ndarray, second_bias: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return (weight, bias) of the convolution that does `first` and then `second`; one of them is 1x1.

    Exact if the second has no padding or the first no bias. The bias is None if neither has one.
    """
    a, b = first.astype(np.float64), second.astype(np.float64)
    if b.shape[2:] == (1, 1):
        weight = np.tensordot(b[:, :, 0, 0], a, axes=(1, 0))
    else:
        weight = np.einsum("nmhw,mc->nchw", b, a[:, :, 0, 0])
    if first_bias is None and second_bias is None:
        return np.ascontiguousarray(weight, np.float32), None
    bias = np.zeros(len(b)) if second_bias is None else second_bias.astype(np.float64)
    if first_bias is not None:
        bias = bias + b.sum(axis=(2, 3)) @ first_bias.astype(np.float64)
    return np.ascontiguousarray(weight, np.float32), bias.astype(np.float32)


def embed_at(weight: np.ndarray, kernel_h: int, kernel_w: int, top: int, left: int) -> np.ndarray:
    """Return a (kernel_h, kernel_w) kernel with the given one at (top, left) and zeros around it.

    weight: (num_output, channels, height, width), of any type, which the result has, too.
    """
    wide = np.zeros((*weight.shape[:2], kernel_h, kernel_w), weight.dtype)
    wide[:, :, top : top + weight.shape[2], left : left + weight.shape[3]] = weight
    return wide


def spread_average(weight: np.ndarray, window: tuple[int, int], step: tuple[int, int]) -> np.ndarray:
    """Return a kernel followed by a mean over `window` of its outputs, `step` inputs apart, as one kernel, float32.

    window, step: (height, width). The new kernel has kernel + (window − 1)·step taps along each axis: the receptive
    field of both. Source: DBB, transform V.
    """
    kernel_h, kernel_w = ((k + (n - 1) * s) for k, n, s in zip(weight.shape[2:], window, step, strict=True))
    total = np.zeros((*weight.shape[:2], kernel_h, kernel_w))
    for y in range(window[0]):
        for x in range(window[1]):
            total += embed_at(weight.astype(np.float64), kernel_h, kernel_w, y * step[0], x * step[1])
    return (total / (window[0] * window[1])).astype(np.float32)


@dataclass(frozen=True)
class Span:
    """The receptive field of one output: `size` values of the input, moving by `stride` from output to output.

    Output 0 reads the values from `start` on; a negative one is in the padding.
    """

    size: int
    stride: int
    start: int

    @property
    def centre(self) -> float:
        """The middle of output 0's values."""
        return self.start + (self.size - 1) / 2

    def then(self, kernel: int, stride: int, pad: int) -> Span:
        """Return the span of a window over this one's outputs."""
        return Span(self.size + (kernel - 1) * self.stride, self.stride * stride, self.start - pad * self.stride)


def window(kernel: int, stride: int, pad: int, dilation: int = 1) -> Span:
    """Return the span of one window."""
    return Span(dilation * (kernel - 1) + 1, stride, -pad)


def pad_for(size: int, out: int, extent: int, span: Span) -> int | None:
    """Return the pad with which a window of `extent` (dilated) at the span's stride makes `out` values of `size`.

    Of several, the one that puts the window's middle nearest to the span's; None if there is none. All numbers are
    along one axis, height or width.
    """
    rooms = {pad: size + 2 * pad - extent for pad in range(extent)}
    fits = [pad for pad, room in rooms.items() if room >= 0 and room // span.stride + 1 == out]
    return min(fits, key=lambda pad: (abs(-pad + (extent - 1) / 2 - span.centre), pad), default=None)
