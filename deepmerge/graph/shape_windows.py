"""Shape rules of the layers that slide a window over an image (or over any number of spatial axes)."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, NamedTuple

from deepmerge.graph.shape_errors import Shape, axis_of, misfit, needs_axes, needs_equal, reads
from deepmerge.graph.windows import pooling_windows, pyramid_windows

if TYPE_CHECKING:
    from deepmerge.graph.graph import Layer


def convolved_size(size: int, kernel: int, stride: int, pad: int, dilation: int = 1) -> int:
    """Return Convolution's output size along one axis. Caffe: conv_layer.cpp, compute_output_shape."""
    return (size + 2 * pad - (dilation * (kernel - 1) + 1)) // stride + 1


class WindowAxes(NamedTuple):
    """A window, one number for each spatial axis."""

    kernel: Shape
    stride: Shape
    pad: Shape
    dilation: Shape


def channel_axis(layer: Layer, shape: Shape) -> int:
    """Return the axis of the channels, counted from the front."""
    return axis_of(layer, layer.params.axis, shape)


def window_axes(layer: Layer, count: int) -> WindowAxes:
    """Return the window of a Convolution, Deconvolution or Im2col over `count` spatial axes.

    A number given once holds for all axes; one given for height and width needs exactly two axes.
    Caffe: base_conv_layer.cpp, LayerSetUp.
    """
    window = WindowAxes(*(_per_axis(layer, name, count) for name in WindowAxes._fields))
    for name, smallest in (("kernel", 1), ("stride", 1), ("pad", 0), ("dilation", 1)):
        values = getattr(window, name)
        if any(value < smallest for value in values):
            raise misfit(layer, name, f"{smallest} or more", values)
    return window


def _per_axis(layer: Layer, name: str, count: int) -> Shape:
    params = layer.params
    if params.kernel_nd or params.stride_nd or params.pad_nd or params.dilation_nd:
        values = getattr(params, f"{name}_nd") or ((0,) if name == "pad" else (1,))
        if len(values) == 1:
            return values * count
        if len(values) != count:
            raise misfit(layer, name, f"one number, or one for each of the {count} spatial axes", values)
        return values
    height, width = getattr(params, f"{name}_h"), getattr(params, f"{name}_w")
    if count == 2:
        return height, width
    if height != width:
        raise misfit(layer, f"{name} {height} x {width}", f"2 spatial axes in {reads(layer)}", count)
    return (height,) * count


def check_groups(layer: Layer, channels: int) -> None:
    """Caffe: base_conv_layer.cpp; Convolution and Deconvolution alike."""
    params = layer.params
    if params.num_output < 1:
        raise misfit(layer, "num_output", "1 or more", params.num_output)
    if params.group < 1 or channels % params.group:
        raise misfit(layer, "group", f"a divisor of the {channels} channels of {reads(layer)}", params.group)
    if params.num_output % params.group:
        raise misfit(layer, "num_output", f"a multiple of group {params.group}", params.num_output)


def _one_top_each(layer: Layer, bottoms: list[Shape]) -> None:
    if len(layer.tops) != len(bottoms):
        raise misfit(layer, "top", f"as many as bottoms, {len(bottoms)}", len(layer.tops))
    needs_equal(layer, bottoms)


def _convolved(layer: Layer, spatial: Shape) -> Shape:
    window = window_axes(layer, len(spatial))
    sizes = []
    for size, kernel, stride, pad, dilation in zip(spatial, *window, strict=True):
        extent = dilation * (kernel - 1) + 1
        if extent > size + 2 * pad:
            dilated = f" (extent {extent} with its dilation)" if dilation > 1 else ""
            raise misfit(
                layer,
                "kernel",
                f"at most {size + 2 * pad}, the size of {reads(layer)} with its pad",
                f"{kernel}{dilated}",
            )
        sizes.append(convolved_size(size, kernel, stride, pad, dilation))
    return tuple(sizes)


def convolution(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """Caffe: conv_layer.cpp.

    A kernel larger than the padded image is always an error here; Caffe rounds towards 0 and accepts some.
    """
    _one_top_each(layer, bottoms)
    shape = bottoms[0]
    axis = channel_axis(layer, shape)
    check_groups(layer, shape[axis])
    return [(*shape[:axis], layer.params.num_output, *_convolved(layer, shape[axis + 1 :]))] * len(bottoms)


def deconvolution(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """Caffe: deconv_layer.cpp, compute_output_shape."""
    _one_top_each(layer, bottoms)
    shape = bottoms[0]
    axis = channel_axis(layer, shape)
    check_groups(layer, shape[axis])
    spatial = shape[axis + 1 :]
    sizes = tuple(
        stride * (size - 1) + dilation * (kernel - 1) + 1 - 2 * pad
        for size, kernel, stride, pad, dilation in zip(spatial, *window_axes(layer, len(spatial)), strict=True)
    )
    return [(*shape[:axis], layer.params.num_output, *sizes)] * len(bottoms)


def im2col(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """Caffe: im2col_layer.cpp."""
    shape = bottoms[0]
    axis = channel_axis(layer, shape)
    spatial = shape[axis + 1 :]
    if not spatial:
        raise misfit(layer, reads(layer), "a spatial axis after the channels", shape)
    columns = shape[axis] * prod(window_axes(layer, len(spatial)).kernel)
    return [(*shape[:axis], columns, *_convolved(layer, spatial))]


def pooling(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """Caffe: pooling_layer.cpp. A second top is MAX's mask."""
    params, shape = layer.params, bottoms[0]
    needs_axes(layer, shape)
    if len(layer.tops) > 1 and params.pool != "MAX":
        raise misfit(layer, "top", f"one, as pool is {params.pool} (only MAX has a mask)", len(layer.tops))
    if params.global_pooling:
        if params.stride != (1, 1) or params.pad != (0, 0):
            raise misfit(layer, "global_pooling", "stride 1 and pad 0", f"stride {params.stride} and pad {params.pad}")
        return [(*shape[:2], 1, 1)] * len(layer.tops)
    for name, least in (("kernel", 1), ("stride", 1), ("pad", 0)):
        if min(getattr(params, name)) < least:
            raise misfit(layer, name, f"{least} or more", getattr(params, name))
    if params.pad_h >= params.kernel_h or params.pad_w >= params.kernel_w:
        raise misfit(layer, "pad", f"less than the kernel {params.kernel}", params.pad)
    sizes = tuple(windows.out for windows in pooling_windows(params, shape[2:]))
    if min(sizes) < 1:
        raise misfit(layer, "kernel", f"one that fits the height and width of {reads(layer)} {shape}", params.kernel)
    return [(*shape[:2], *sizes)] * len(layer.tops)


def spp(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """Caffe: spp_layer.cpp: level i pools with windows of ceil(size / 2^i); one level alone keeps its four axes."""
    shape, levels = bottoms[0], layer.params.pyramid_height
    needs_axes(layer, shape)
    if levels < 1:
        raise misfit(layer, "pyramid_height", "1 or more", levels)
    bins = 0
    for level in range(levels):
        count = 2**level
        windows = pyramid_windows(shape[2:], count)
        if any(one.pad >= one.kernel for one in windows):
            raise misfit(
                layer,
                "pyramid_height",
                f"levels whose 2^i windows fit {reads(layer)} {shape}",
                f"{levels}, with {count} windows",
            )
        bins += prod(one.out for one in windows)
    return [(*shape[:2], 1, 1) if levels == 1 else (shape[0], shape[1] * bins)]
