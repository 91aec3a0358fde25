"""Shape rules of the layers of Caffe's forks (graph/params_forks.py). Each fork's Reshape."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from deepmerge.graph import shape_windows as windows
from deepmerge.graph.shape_errors import Shape, misfit, needs_axes, needs_equal, reads
from deepmerge.graph.shape_rules import channels_second

if TYPE_CHECKING:
    from deepmerge.graph.graph import Layer


_MAX_RATIOS = 100  # SSD has 2; the time to count them grows with their square


def depthwise(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """Like Convolution, but ConvolutionDepthwise makes as many channels as it gets."""
    channels, outputs = bottoms[0][1:2], layer.params.num_output
    if layer.type == "ConvolutionDepthwise" and channels != (outputs,):
        raise misfit(layer, "num_output", f"the channels of {reads(layer)} {bottoms[0]}", outputs)
    return windows.convolution(layer, bottoms)


def bn(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """SegNet: bn_layer.cpp. The second and third top are the batch's mean and variance."""
    shape = channels_second(layer, bottoms)[0]
    return [shape, (1, shape[1], 1, 1), (1, shape[1], 1, 1)][: len(layer.tops)]


def prior_box(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """SSD: prior_box_layer.cpp: the boxes' corners, then their variances."""
    needs_axes(layer, bottoms[0])
    if not layer.params.min_size:
        raise misfit(layer, "min_size", "one or more", "none")
    ratios = layer.params.aspect_ratio
    if len(ratios) > _MAX_RATIOS or not all(0 < ratio < inf for ratio in ratios):
        raise misfit(layer, "aspect_ratio", f"at most {_MAX_RATIOS} numbers above 0", ratios)
    return [(1, 2, bottoms[0][2] * bottoms[0][3] * layer.params.boxes * 4)]


def unknown(layer: Layer, _bottoms: list[Shape]) -> list[None]:
    """Leave all tops unknown: only a run shows how many detections there are."""
    return [None] * len(layer.tops)


def interp(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """DeepLab: interp_layer.cpp. Negative pads cut the bottom first."""
    needs_axes(layer, bottoms[0])
    pad = layer.params.pad_beg, layer.params.pad_end
    if max(pad) > 0:
        raise misfit(layer, "pad_beg and pad_end", "0 or less (they cut)", pad)
    inside = tuple(size + sum(pad) for size in bottoms[0][2:])
    if min(inside) < 1:
        raise misfit(layer, "pad_beg and pad_end", f"some of {reads(layer)} {bottoms[0]} left", pad)
    return [(*bottoms[0][:2], *_interpolated(layer, bottoms, inside))]


def _interpolated(layer: Layer, bottoms: list[Shape], inside: Shape) -> Shape:
    p = layer.params
    zoom, shrink = p.zoom_factor, p.shrink_factor
    for name, factor in (("zoom_factor", zoom), ("shrink_factor", shrink)):
        if factor is not None and factor < 1:
            raise misfit(layer, name, "1 or more", factor)
    if len(bottoms) == 2:
        needs_axes(layer, bottoms[1])
        return bottoms[1][2:]
    if (zoom is None) == (shrink is None) and p.height is not None and p.width is not None:
        return p.height, p.width
    if zoom is None and shrink is None:
        raise misfit(layer, "height and width", "a size, zoom_factor, shrink_factor or a second bottom", "none")
    sizes = tuple((size - 1) // (shrink or 1) + 1 for size in inside)
    if p.zoom_rule == "times":
        return tuple(size * (zoom or 1) for size in sizes)
    return tuple((size - 1) * (zoom or 1) + 1 for size in sizes)


def upsample(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """SegNet: upsample_layer.cpp (two bottoms); MobileNet-YOLO: upsample_layer.cpp (one)."""
    p, shape = layer.params, bottoms[0]
    if len(bottoms) == 1:
        if len(shape) < 2:
            raise misfit(layer, reads(layer), "2 axes or more, height and width last", shape)
        return [(*shape[:-2], *(size * (p.scale or 1) for size in shape[-2:]))]
    needs_axes(layer, shape)
    needs_equal(layer, bottoms)
    if p.upsample_h is not None and p.upsample_w is not None:
        return [(*shape[:2], p.upsample_h, p.upsample_w)]
    scale = (p.scale_h, p.scale_w) if p.scale_h is not None and p.scale_w is not None else (p.scale or 2,) * 2
    sizes = zip(shape[2:], scale, (p.pad_out_h, p.pad_out_w), strict=True)
    return [(*shape[:2], *(size * factor - pad for size, factor, pad in sizes))]


def reorg(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """MobileNet-YOLO: reorg_layer.cpp. In darknet's order, both ways need a multiple of stride² channels."""
    needs_axes(layer, bottoms[0])
    (batch, channels, height, width), stride = bottoms[0], layer.params.stride
    if stride < 1 or channels % stride**2:
        raise misfit(
            layer, "stride", f"a number whose square divides the {channels} channels of {reads(layer)}", stride
        )
    if layer.params.reverse:
        return [(batch, channels // stride**2, height * stride, width * stride)]
    if height % stride or width % stride:
        raise misfit(layer, "stride", f"a number that divides height and width of {reads(layer)} {bottoms[0]}", stride)
    return [(batch, channels * stride**2, height // stride, width // stride)]


def shuffle_channel(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """ShuffleNet: shuffle_channel_layer.cpp."""
    shape, group = channels_second(layer, bottoms)[0], layer.params.group
    if group < 1 or shape[1] % group:
        raise misfit(layer, "group", f"a number that divides the {shape[1]} channels of {reads(layer)}", group)
    return [shape]


def crop_center(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """waifu2x: crop_center_layer.cpp."""
    shape, cut = bottoms[0], layer.params.crop_size
    if len(cut) != len(shape) or any(size < 2 * c + 1 for size, c in zip(shape, cut, strict=False)):
        raise misfit(
            layer, "crop_size", f"one number for each axis of {reads(layer)} {shape} that leaves some of it", cut
        )
    return [tuple(size - 2 * c for size, c in zip(shape, cut, strict=True))]


def axpy(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """SENet: axpy_layer.cpp."""
    factor, shape, other = bottoms
    if len(shape) < 2 or factor[:2] != shape[:2] or any(size != 1 for size in factor[2:]):
        raise misfit(layer, reads(layer), f"one number for each channel of {reads(layer, 1)} {shape}", factor)
    if other != shape:
        raise misfit(layer, reads(layer, 2), f"{shape}, the shape of {reads(layer, 1)}", other)
    return [shape]
