"""The last linear layers of a segment, each of which makes some channels of its output with at most an activation behind it,
and the linear layers straight before them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from deepmerge.graph.graph import Blob, Layer
from deepmerge.graph.params import Slice
from deepmerge.graph.shapes import Shape

_SAME = frozenset(("Dropout", "Split"))  # hand on what they get


@dataclass(frozen=True)
class Last:
    """A Convolution or InnerProduct, and what of it arrives where.

    own: its outputs, from and up to, that arrive; to: the channels of the segment's output that they are.
    slope: of the activation between, for each of them, (own,) from 0 to 1; None where there is none.
    """

    layer: Layer
    own: tuple[int, int]
    to: tuple[int, int]
    slope: np.ndarray | None = None


def last_layers(output: Blob, trained: Collection[str], shapes: Mapping[Blob, Shape]) -> list[Last]:
    """The linear layers, of those in `trained`, that make channels of `output`; each once.

    A layer is left out, with the channels that it makes, behind which stands anything but a ReLU, PReLU, Dropout, Concat
    or Slice of channels.
    """
    found: dict[Layer, Last] = {}
    for last in _back(output, (0, shapes[output][1]), (0, shapes[output][1]), None, shapes):
        if last.layer.name in trained and _plain(last.layer):
            found.setdefault(last.layer, last)
    return list(found.values())


@dataclass(frozen=True)
class Link:
    """A convolution in a chain. slope: of the activation behind it, (num_output,), None where there is none."""

    layer: Layer
    slope: np.ndarray | None

    @property
    def is_point(self) -> bool:
        """Whether it works on each place by itself: 1x1, no pad, stride 1."""
        p = self.layer.params
        return (p.kernel, p.stride, p.pad) == ((1, 1), (1, 1), (0, 0))


def chain_of(last: Last, trained: Collection[str], shapes: Mapping[Blob, Shape]) -> list[Link]:
    """The convolutions that lead to `last`, itself included, in order: each the only reader of the one before, without
    groups, of those in `trained`, and at most one of them more than a 1x1. [] where it is no such convolution itself.
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
    """From channels `own` of a blob, which become `to`, to the layers that make them."""
    layer = blob.producer
    if layer.type in ("Convolution", "InnerProduct"):
        yield Last(layer, own, to, slope)
    elif layer.type in _SAME:
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


def _slope(layer: Layer, channels: int) -> np.ndarray | None:
    """The activation's slope below 0 for each channel; None where it is not from 0 to 1."""
    slope = layer.weights[0].reshape(-1) if layer.type == "PReLU" else np.array([layer.params.negative_slope])
    slope = np.broadcast_to(slope, (channels,)).astype(np.float32)
    return slope if ((slope >= 0) & (slope <= 1)).all() else None


def _plain(layer: Layer) -> bool:
    """Whether its outputs lie on axis 1 and its window, if any, has two axes."""
    p = layer.params
    if p is None or p.axis != 1 or len(layer.bottoms) != 1 or not layer.weights:
        return False
    return layer.type == "InnerProduct" or not p.kernel_nd
