"""What a target's rule may look at in a layer, by the words that its file uses.

A measure gives all values that must be allowed: one for each axis of a window, for instance. It gives none where they
are not known, or where the rule has no meaning. Any other word names a field of the layer's parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from deepmerge.graph.graph import Layer
from deepmerge.graph.shape_errors import Shape


@dataclass(frozen=True)
class Seen:
    """A layer with the shapes of its bottoms and tops, None where they are not known."""

    layer: Layer
    bottoms: Sequence[Shape | None]
    tops: Sequence[Shape | None]


def measured(word: str, seen: Seen) -> list:
    """Return the values that a word stands for in a layer."""
    if word in MEASURES:
        return list(MEASURES[word](seen))
    if word in _WINDOW and _has_no_window(seen.layer):
        return []
    value = getattr(seen.layer.params, word, None)
    return [one for one in (value if isinstance(value, tuple) else [value]) if one is not None]


def _has_no_window(layer: Layer) -> bool:
    """Return whether the layer's window is the whole bottom, or has other than two axes, which `kernel` leaves out."""
    return bool(getattr(layer.params, "global_pooling", False) or getattr(layer.params, "kernel_nd", ()))


def _known(shapes: Sequence[Shape | None]) -> list[Shape]:
    return [shape for shape in shapes if shape is not None]


def _strides_by_kernel(seen: Seen) -> list[float]:
    p = seen.layer.params
    return [] if _has_no_window(seen.layer) else [s / k for s, k in zip(p.stride, p.kernel, strict=True)]


def _pads_over_kernel(seen: Seen) -> list[int]:
    p = seen.layer.params
    return [] if _has_no_window(seen.layer) else [pad - k for pad, k in zip(p.pad, p.kernel, strict=True)]


def _average_buffer(seen: Seen) -> list[int]:
    p = seen.layer.params
    if p.pool != "AVE" or p.global_pooling:
        return []
    return [p.kernel_h * p.kernel_w * 32 + b[-1] * (31 * p.stride_h + p.kernel_w) for b in _known(seen.bottoms)]


def _window_axes(seen: Seen) -> list[int]:
    return [len(bottom) - seen.layer.params.axis % len(bottom) - 1 for bottom in _known(seen.bottoms)]


def _axis(seen: Seen) -> list[int]:
    """Return the axis counted from the front."""
    axis = getattr(seen.layer.params, "axis", None)
    if axis is None:
        return []
    return [axis] if axis >= 0 else [axis % len(bottom) for bottom in _known(seen.bottoms[:1])]


_WINDOW = ("kernel", "stride", "pad", "dilation")
MEASURES: dict[str, Callable[[Seen], Iterable]] = {
    "stride / kernel": _strides_by_kernel,
    "pad - kernel": _pads_over_kernel,
    "AVE pooling's buffer, kernel_h*kernel_w*32 + width*(31*stride_h + kernel_w)": _average_buffer,
    "difference of dilations": lambda seen: [abs(seen.layer.params.dilation_h - seen.layer.params.dilation_w)],
    "window axes": _window_axes,
    "axis": _axis,
    "bottoms": lambda seen: [len(seen.bottoms)],
    "tops": lambda seen: [len(seen.tops)],
    "bottom axes": lambda seen: map(len, _known(seen.bottoms[:1])),
    "top axes": lambda seen: map(len, _known(seen.tops)),
    "input dimensions": lambda seen: [size for shape in seen.layer.params.shape for size in shape],
    "top height and width": lambda seen: [size for top in _known(seen.tops) if len(top) == 4 for size in top[2:]],
    "top channels": lambda seen: [top[1] for top in _known(seen.tops) if len(top) == 4],
    "fields": lambda seen: dict.fromkeys(field.name for field in seen.layer.tree),
}
