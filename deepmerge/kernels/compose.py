"""Two convolutions with nothing between them as one convolution.

Weights (num_output, channels, kernel_h, kernel_w), group 1; float64 inside, float32 out.
Source: Ding et al., Diverse Branch Block (CVPR 2021), transform III, and the convolution of kernels.
"""

from __future__ import annotations

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
