"""Layers of Caffe's forks whose formula is public; see graph/params_forks.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from deepmerge.graph.shape_forks import interp as interp_shape

if TYPE_CHECKING:
    from torch import Tensor

    from deepmerge.engines.pytorch.step import Step


def relu6(step: Step, x: Tensor) -> Tensor:
    """MobileNet-YOLO: relu6_layer.cpp: min(max(x, 0) + negative_slope · min(x, 0), 6)."""
    slope = step.params.negative_slope
    return F.leaky_relu(x, slope).clamp(max=6) if slope else F.relu6(x)


def axpy(_step: Step, factor: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """SENet: axpy_layer.cpp: a · x + y, a number for each channel."""
    return torch.addcmul(y, factor.reshape(*x.shape[:2], *[1] * (x.dim() - 2)), x)


def bn(step: Step, x: Tensor) -> Tensor:
    """PSPNet's, yjxiong's and SegNet's bn_layer.cpp, with stored statistics."""
    p = step.params
    count = {"folded": 2, "stored": 4}.get(p.statistics)
    if count is None or len(step.layer.tops) != 1:
        raise step.error("bn_param does not say that it uses stored statistics, so that results depend on the batch")
    slope, shift, *stored = (step.weight(i).reshape(-1) for i in range(count))
    if stored:
        slope = slope / torch.sqrt(stored[1] + p.eps)
        shift = shift - slope * stored[0]
    wide = (-1, *[1] * (x.dim() - p.axis - 1))
    return torch.addcmul(shift.reshape(wide), x, slope.reshape(wide))


def normalize(step: Step, x: Tensor) -> Tensor:
    """SSD: normalize_layer.cpp: by the root of (the sum of squares + eps), then a scale."""
    axes = tuple(range(1, x.dim() if step.params.across_spatial else 2))
    norm = torch.sqrt((x * x).sum(axes, keepdim=True) + step.params.eps)
    return x / norm * step.weight(0).reshape(-1, *[1] * (x.dim() - 2))


def interp(step: Step, x: Tensor, *like: Tensor) -> Tensor:
    """DeepLab: interp.cpp, caffe_cpu_interp2: bilinear, with aligned corners. Negative pads cut first."""
    p = step.params
    if p.interp_type != "bilinear":
        raise step.error(f"engine 'torch' does not have interp_type {p.interp_type!r}")
    size = interp_shape(step.layer, [tuple(b.shape) for b in (x, *like)])[0][2:]
    if p.pad_beg or p.pad_end:
        height, width = x.shape[2:]
        x = x[:, :, -p.pad_beg : height + p.pad_end, -p.pad_beg : width + p.pad_end]
    return F.interpolate(x, size, mode="bilinear", align_corners=True)


def upsample(step: Step, x: Tensor, *mask: Tensor) -> Tensor:
    """MobileNet-YOLO: upsample_layer.cpp: each value scale × scale times. With a mask (SegNet) it is another layer."""
    if mask:
        raise step.error("engine 'torch' does not have unpooling by a mask")
    scale = step.params.scale or 1
    return x.repeat_interleave(scale, -2).repeat_interleave(scale, -1) if scale > 1 else x


def reorg(step: Step, x: Tensor) -> Tensor:
    """MobileNet-YOLO: reorg_layer.hpp, darknet's order: read over the bottom's own shape, not over the top's.

    Each way (channels/s², height·s, width·s) meets (s·s·channels/s², height, width).
    """
    (batch, channels, height, width), s = x.shape, step.params.stride
    rest = channels // s**2
    if step.params.reverse:
        x = x.reshape(batch, s, s, rest, height, width).permute(0, 3, 4, 1, 5, 2)
        return x.reshape(batch, rest, height * s, width * s)
    x = x.reshape(batch, rest, height, s, width, s).permute(0, 3, 5, 1, 2, 4)
    return x.reshape(batch, channels * s * s, height // s, width // s)


def shuffle_channel(step: Step, x: Tensor) -> Tensor:
    """ShuffleNet: shuffle_channel_layer.cpp: channels as a group × rest matrix, transposed."""
    shape, group = x.shape, step.params.group
    return x.reshape(shape[0], group, shape[1] // group, -1).transpose(1, 2).reshape(shape)


def crop_center(step: Step, x: Tensor) -> Tensor:
    """waifu2x: crop_center_layer.cpp."""
    for axis, cut in enumerate(step.params.crop_size):
        x = x.narrow(axis, cut, x.shape[axis] - 2 * cut) if cut else x
    return x
