"""Pooling and SPP, with Caffe's rounding; graph/windows.py has the rules.

The gradient of MAX goes to the first of equal values. Torch has the same rules, unless pads are larger than half a
window, or windows start after the image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from deepmerge.graph.shape_windows import pooled_size
from deepmerge.graph.windows import Windows, pooling_windows, pyramid_windows

if TYPE_CHECKING:
    from torch import Tensor

    from deepmerge.engines.pytorch.step import Step

_LOWEST = torch.finfo(torch.float32).min  # -FLT_MAX: what Caffe's MAX starts from


def pooling(step: Step, x: Tensor) -> Tensor | list[Tensor]:
    """Compute MAX, with its mask if there is a second top, or AVE."""
    p = step.params
    if p.pool not in ("MAX", "AVE"):
        raise step.error(f"engine 'torch' does not have {p.pool} pooling; Caffe has it on a GPU only")
    high, wide = pooling_windows(p, x.shape[2:])
    if p.pool == "AVE":
        return average(x, high, wide)
    return maximum(x, high, wide) if len(step.layer.tops) == 1 else _maximum_and_mask(x, high, wide)


def spp(step: Step, x: Tensor) -> Tensor:
    """Caffe: spp_layer.cpp: level i pools with 2^i windows each way; the levels are flattened and joined."""
    if step.params.pool not in ("MAX", "AVE"):
        raise step.error(f"engine 'torch' does not have {step.params.pool} pooling")
    pool = maximum if step.params.pool == "MAX" else average
    levels = [pool(x, *pyramid_windows(x.shape[2:], 2**level)) for level in range(step.params.pyramid_height)]
    return levels[0] if len(levels) == 1 else torch.cat([level.flatten(1) for level in levels], 1)


def average(x: Tensor, high: Windows, wide: Windows) -> Tensor:
    """Compute AVE pooling."""
    if high.whole and wide.whole:
        return x.mean((2, 3), keepdim=True)
    kernel, stride, pad = (high.kernel, wide.kernel), (high.stride, wide.stride), (high.pad, wide.pad)
    if (ceil := _native(high, wide)) is not None:
        return F.avg_pool2d(x, kernel, stride, pad, ceil)
    y = F.avg_pool2d(_padded(x, high, wide, 0.0), kernel, stride)
    # Torch has divided by the size of the whole window. 0 / 0 is NaN, as in Caffe.
    counted = torch.as_tensor(high.counted[:, None] * wide.counted, dtype=x.dtype, device=x.device)
    return y * (high.kernel * wide.kernel / counted)


def maximum(x: Tensor, high: Windows, wide: Windows) -> Tensor:
    """Compute MAX pooling."""
    kernel, stride, pad = (high.kernel, wide.kernel), (high.stride, wide.stride), (high.pad, wide.pad)
    if (ceil := _native(high, wide)) is not None:
        return F.max_pool2d(x, kernel, stride, pad, 1, ceil)
    return F.max_pool2d(_padded(x, high, wide, _LOWEST), kernel, stride)


def _maximum_and_mask(x: Tensor, high: Windows, wide: Windows) -> list[Tensor]:
    """Compute MAX and its mask: h · width + w of each maximum, as a float; −1 for a window outside the image."""
    kernel, stride = (high.kernel, wide.kernel), (high.stride, wide.stride)
    y, index = F.max_pool2d(_padded(x, high, wide, _LOWEST), kernel, stride, return_indices=True)
    width = wide.pad + wide.size + wide.end_pad
    row, column = torch.div(index, width, rounding_mode="floor") - high.pad, index % width - wide.pad
    mask = (row * wide.size + column).to(x.dtype)
    return [y, torch.where(y > _LOWEST, mask, -1.0).detach()]


def _native(high: Windows, wide: Windows) -> bool | None:
    """Return the ceil_mode for which torch has the same windows, or None. Source: ATen's native/Pool.h."""
    for ceil in (False, True):
        sizes = [pooled_size(a.size, a.kernel, a.stride, a.pad, ceil, True) for a in (high, wide)]
        if sizes == [high.out, wide.out] and all(2 * a.pad <= a.kernel for a in (high, wide)):
            return ceil
    return None


def _padded(x: Tensor, high: Windows, wide: Windows, value: float) -> Tensor:
    return F.pad(x, (wide.pad, wide.end_pad, high.pad, high.end_pad), value=value)
