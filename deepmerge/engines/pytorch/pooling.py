"""Pooling and SPP, with Caffe's rounding.

Caffe's windows start at −pad, one each stride, as many as pooled_size says; the last ones may reach past the padded
image. MAX looks at what is inside the image, and its gradient goes to the first of equals. AVE divides by the window's
part inside the padded image: pad counts, overhang does not. Source: Caffe's pooling_layer.cpp.
Torch has the same rules, but where pads are larger than half a window, or windows lie behind the image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F

from deepmerge.graph.shape_windows import pooled_size

if TYPE_CHECKING:
    from torch import Tensor

    from deepmerge.engines.pytorch.step import Step

_LOWEST = torch.finfo(torch.float32).min  # -FLT_MAX: what Caffe's MAX starts from


class Windows(NamedTuple):
    """The windows along one axis: `out` of them over `size` values, `pad` before and after."""

    size: int
    kernel: int
    stride: int
    pad: int
    out: int

    @property
    def end_pad(self) -> int:
        """What is needed after the image, so that the last window is whole."""
        return max((self.out - 1) * self.stride + self.kernel - self.size - self.pad, 0)

    def counted(self, x: Tensor) -> Tensor:
        """How many places of each window AVE counts (as Caffe reckons: 0 or less where it starts behind all)."""
        starts = torch.arange(self.out, dtype=x.dtype, device=x.device) * self.stride - self.pad
        return (starts + self.kernel).clamp(max=self.size + self.pad) - starts


def pooling(step: Step, x: Tensor) -> Tensor | list[Tensor]:
    """MAX, with its mask if there is a second top, or AVE."""
    p, size = step.params, x.shape[2:]
    if p.pool not in ("MAX", "AVE"):
        raise step.error(f"{p.pool} pooling is not among what engine 'torch' has; Caffe has it on a GPU only")
    kernel = tuple(size) if p.global_pooling else p.kernel
    padded = p.pad != (0, 0)
    high, wide = (
        Windows(s, k, stride, pad, pooled_size(s, k, stride, pad, p.ceil, padded))
        for s, k, stride, pad in zip(size, kernel, p.stride, p.pad, strict=True)
    )
    if p.pool == "AVE":
        return average(x, high, wide)
    return maximum(x, high, wide) if len(step.layer.tops) == 1 else _maximum_and_mask(x, high, wide)


def spp(step: Step, x: Tensor) -> Tensor:
    """Caffe: spp_layer.cpp: level i pools with 2^i windows each way; the levels are flattened and joined."""
    if step.params.pool not in ("MAX", "AVE"):
        raise step.error(f"{step.params.pool} pooling is not among what engine 'torch' has")
    pool = maximum if step.params.pool == "MAX" else average
    levels = [pool(x, *_bins(x.shape[2:], 2**level)) for level in range(step.params.pyramid_height)]
    return levels[0] if len(levels) == 1 else torch.cat([level.flatten(1) for level in levels], 1)


def average(x: Tensor, high: Windows, wide: Windows) -> Tensor:
    if _whole(high) and _whole(wide):
        return x.mean((2, 3), keepdim=True)
    kernel, stride, pad = (high.kernel, wide.kernel), (high.stride, wide.stride), (high.pad, wide.pad)
    if (ceil := _native(high, wide)) is not None:
        return F.avg_pool2d(x, kernel, stride, pad, ceil)
    y = F.avg_pool2d(_padded(x, high, wide, 0.0), kernel, stride)
    # Torch has divided by the whole window, so put that right. 0 / 0 is NaN, in Caffe, too.
    return y * (high.kernel * wide.kernel / (high.counted(x)[:, None] * wide.counted(x)))


def maximum(x: Tensor, high: Windows, wide: Windows) -> Tensor:
    kernel, stride, pad = (high.kernel, wide.kernel), (high.stride, wide.stride), (high.pad, wide.pad)
    if (ceil := _native(high, wide)) is not None:
        return F.max_pool2d(x, kernel, stride, pad, 1, ceil)
    return F.max_pool2d(_padded(x, high, wide, _LOWEST), kernel, stride)


def _maximum_and_mask(x: Tensor, high: Windows, wide: Windows) -> list[Tensor]:
    """The mask is h · width + w of each maximum in its channel, as a float; −1 for a window outside the image."""
    kernel, stride = (high.kernel, wide.kernel), (high.stride, wide.stride)
    y, index = F.max_pool2d(_padded(x, high, wide, _LOWEST), kernel, stride, return_indices=True)
    width = wide.pad + wide.size + wide.end_pad
    row, column = torch.div(index, width, rounding_mode="floor") - high.pad, index % width - wide.pad
    mask = (row * wide.size + column).to(x.dtype)
    return [y, torch.where(y > _LOWEST, mask, -1.0).detach()]


def _native(high: Windows, wide: Windows) -> bool | None:
    """The ceil_mode with which torch has the same windows; None: with neither. Source: ATen's native/Pool.h."""
    for ceil in (False, True):
        sizes = [pooled_size(a.size, a.kernel, a.stride, a.pad, ceil, True) for a in (high, wide)]
        if sizes == [high.out, wide.out] and all(2 * a.pad <= a.kernel for a in (high, wide)):
            return ceil
    return None


def _padded(x: Tensor, high: Windows, wide: Windows, value: float) -> Tensor:
    return F.pad(x, (wide.pad, wide.end_pad, high.pad, high.end_pad), value=value)


def _whole(windows: Windows) -> bool:
    """One window, which is the whole axis."""
    return windows.out == 1 and windows.kernel == windows.size and windows.pad == 0


def _bins(size: tuple[int, ...], count: int) -> list[Windows]:
    """Caffe: spp_layer.cpp, GetPoolingParam: windows for `count` each way; Pooling's rule says how many they become."""
    kernels = [-(-s // count) for s in size]
    pads = [(kernel * count - s + 1) // 2 for s, kernel in zip(size, kernels, strict=True)]
    outs = [pooled_size(s, k, k, p, True, any(pads)) for s, k, p in zip(size, kernels, pads, strict=True)]
    return [Windows(s, k, k, p, o) for s, k, p, o in zip(size, kernels, pads, outs, strict=True)]
