"""A small kernel inside a larger one.

Weights (num_output, channels, kernel_h, kernel_w). Source: Ding et al., Diverse Branch Block (CVPR 2021).
"""

from __future__ import annotations

import numpy as np


def embed_at(weight: np.ndarray, kernel_h: int, kernel_w: int, top: int, left: int) -> np.ndarray:
    """Return a (kernel_h, kernel_w) kernel with the given one at (top, left) and zeros around it."""
    wide = np.zeros((*weight.shape[:2], kernel_h, kernel_w), weight.dtype)
    wide[:, :, top : top + weight.shape[2], left : left + weight.shape[3]] = weight
    return wide


def spread_average(weight: np.ndarray, window: tuple[int, int], step: tuple[int, int]) -> np.ndarray:
    """Return a kernel followed by a mean over `window` of its outputs, `step` inputs apart, as one kernel.

    It has kernel + (window − 1)·step taps along each axis: the receptive field of both. Source: DBB, transform V.
    """
    kernel_h, kernel_w = ((k + (n - 1) * s) for k, n, s in zip(weight.shape[2:], window, step, strict=True))
    total = np.zeros((*weight.shape[:2], kernel_h, kernel_w))
    for y in range(window[0]):
        for x in range(window[1]):
            total += embed_at(weight.astype(np.float64), kernel_h, kernel_w, y * step[0], x * step[1])
    return (total / (window[0] * window[1])).astype(np.float32)
