"""The last linear layers of a segment, and the linear layers directly before them.

Each last layer makes some channels of the segment's output, with at most an activation after it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from deepmerge.graph.graph import Blob, Layer
from deepmerge.graph.params import Dropout, Slice
from deepmerge.graph.shapes import Shape


@dataclass(frozen=True)
class Last:
    """A Convolution or InnerProduct, and which of its outputs are which channels of the segment's output.

    own: range of its outputs. to: range of the segment's channels. slope: of the activation in between below 0, for
    each of these outputs, from 0 to 1; None without an activation.
    """

    layer: Layer
    own: tuple[int, int]
    to: tuple[int, int]
    slope: np.ndarray | None = None


def last_layers(output: Blob, trained: Collection[str], shapes: Mapping[Blob, Shape]) -> list[Last]:
    """Return the linear layers in `trained` that make channels of `output`: once for each range of their outputs.

    A layer is left out if anything comes after it but a ReLU, PReLU, idle Dropout, Concat or Slice of channels.
    """
    lasts: dict[tuple[Layer, tuple[int, int]], Last] = {}
    for last in _back(output, (0, shapes[output][1]), (0, shapes[output][1]), None, shapes):
        if last.layer.name in trained and _plain(last.layer):
            lasts.setdefault((last.layer, last.own), last)
    return list(lasts.values())


@dataclass(frozen=True)
class Link:
    """A convolution in a chain. slope: of the activation after it, (num_output,); None without one."""

    layer: Layer
    slope: np.ndarray | None

    @property
    def is_point(self) -> bool:
        """Whether it works on each place alone: 1x1, no pad, stride 1."""
        p = self.layer.params
        return (p.kernel, p.stride, p.pad) == ((1, 1), (1, 1), (0, 0))


def chain_of(last: Last, trained: Collection[str], shapes: Mapping[Blob, Shape]) -> list[Link]:
    """Return the convolutions that lead to `last`, in order, including itself; [] if it cannot be part of a chain.

    Each is in `trained`, has no groups, and is the only reader of the one before. At most one of them is not a 1x1.
    """
    if last.own != (0, shapes[last.layer.top][1]) or not _chains(last.layer):
        return []
    links = [Link(last.layer, last.slope)]
    while True:
        blob, slope = links[0].layer.bottom, None
        if len(blob.consumers) == 1 and blob.producer.type in ("ReLU", "PReLU"):
            slope = _slope(blob.producer, shapes[blob][1])
            if slope is None:
                return links
            blob = blob.producer.bottom
        before = blob.producer
        if len(blob.consumers) != 1 or before.name not in trained or not _chains(before):
            return links
        link = Link(before, slope)
        if not link.is_point and not all(other.is_point for other in links):
            return links
        links.insert(0, link)


def _chains(layer: Layer) -> bool:
    return layer.type == "Convolution" and layer.params is not None and layer.params.group == 1 and _plain(layer)


def _back(blob: Blob, own: tuple[int, int], to: tuple[int, int], slope, shapes) -> Iterator[Last]:
    """Yield the layers that make channels `own` of a blob, which become channels `to`."""
    layer = blob.producer
    if layer.type in ("Convolution", "InnerProduct"):
        yield Last(layer, own, to, slope)
    elif layer.type == "Split" or is_idle_dropout(layer):
        yield from _back(layer.bottom, own, to, slope, shapes)
    elif layer.type in ("ReLU", "PReLU") and slope is None:
        if (below := _slope(layer, shapes[blob][1])) is not None:
            yield from _back(layer.bottom, own, to, below[own[0] : own[1]], shapes)
    elif layer.type == "Concat" and layer.params.axis == 1:
        start = 0
        for bottom in layer.bottoms:
            end = start + shapes[bottom][1]
            first, stop = max(own[0], start), min(own[1], end)
            if first < stop:
                part = None if slope is None else slope[first - own[0] : stop - own[0]]
                at = to[0] + first - own[0]
                yield from _back(bottom, (first - start, stop - start), (at, at + stop - first), part, shapes)
            start = end
    elif isinstance(layer.params, Slice) and layer.params.axis == 1:
        start = sum(shapes[top][1] for top in layer.tops[: layer.tops.index(blob)])
        yield from _back(layer.bottom, (own[0] + start, own[1] + start), to, slope, shapes)


def is_idle_dropout(layer: Layer) -> bool:
    """Return whether the layer is a Dropout that passes its bottom on in TEST."""
    return isinstance(layer.params, Dropout) and layer.params.is_identity


def _slope(layer: Layer, channels: int) -> np.ndarray | None:
    """Return the activation's slope below 0 for each channel; None if it is not from 0 to 1."""
    slope = layer.weights[0].reshape(-1) if layer.type == "PReLU" else np.array([layer.params.negative_slope])
    slope = np.broadcast_to(slope, (channels,)).astype(np.float32)
    return slope if ((slope >= 0) & (slope <= 1)).all() else None


def _plain(layer: Layer) -> bool:
    """Return whether its outputs are on axis 1, and its window, if any, has two axes."""
    p = layer.params
    if p is None or p.axis != 1 or len(layer.bottoms) != 1 or not layer.weights:
        return False
    return layer.type == "InnerProduct" or not p.kernel_nd
