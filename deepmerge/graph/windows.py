"""The windows of Pooling and SPP layers, by Caffe's rules.

Windows start at −pad, one each stride. The last ones may reach past the padded image. MAX looks at what is inside the
image. AVE divides by the part of the window inside the padded image: pad counts, overhang does not.

References
----------
Caffe: pooling_layer.cpp, spp_layer.cpp.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from deepmerge.graph.params import Pooling


def pooled_size(size: int, kernel: int, stride: int, pad: int, ceil: bool, padded: bool) -> int:
    """Return Pooling's output size along one axis. Caffe: pooling_layer.cpp, Reshape.

    A last window that starts after the image is dropped; on both axes, as soon as one of them is padded.
    padded: whether one is.
    """
    span = size + 2 * pad - kernel
    out = (-(-span // stride) if ceil else span // stride) + 1
    if padded and (out - 1) * stride >= size + pad:
        out -= 1
    return out


class Windows(NamedTuple):
    """The windows along one axis: `out` of them over `size` values, with `pad` zeros before and after."""

    size: int
    kernel: int
    stride: int
    pad: int
    out: int

    @property
    def end_pad(self) -> int:
        """How many values must follow the image for the last window to be whole."""
        return max((self.out - 1) * self.stride + self.kernel - self.size - self.pad, 0)

    @property
    def counted(self) -> np.ndarray:
        """How many places of each window AVE counts: integers of shape (out,).

        As in Caffe, 0 or less for a window that starts after the padded image.
        """
        starts = np.arange(self.out) * self.stride - self.pad
        return np.minimum(starts + self.kernel, self.size + self.pad) - starts

    @property
    def whole(self) -> bool:
        """Whether there is one window, which is the whole axis."""
        return self.out == 1 and self.kernel == self.size and self.pad == 0


def pooling_windows(params: Pooling, size: Sequence[int]) -> list[Windows]:
    """Return the windows of a Pooling layer over an image of `size`, (height, width): one for each axis."""
    kernels = size if params.global_pooling else params.kernel
    padded = params.pad != (0, 0)
    return [
        Windows(s, k, stride, pad, pooled_size(s, k, stride, pad, params.ceil, padded))
        for s, k, stride, pad in zip(size, kernels, params.stride, params.pad, strict=True)
    ]


def pyramid_windows(size: Sequence[int], count: int) -> list[Windows]:
    """Return the windows of one level of an SPP layer, which is to have `count` each way: one for each axis.

    Pooling's rule says how many there are. Caffe: spp_layer.cpp, GetPoolingParam.
    """
    kernels = [-(-s // count) for s in size]
    pads = [(kernel * count - s + 1) // 2 for s, kernel in zip(size, kernels, strict=True)]
    padded = any(pads)
    return [
        Windows(s, k, k, pad, pooled_size(s, k, k, pad, True, padded))
        for s, k, pad in zip(size, kernels, pads, strict=True)
    ]
