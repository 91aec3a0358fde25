"""Folding affine layers (BatchNorm, Scale, Bias) into their neighbours, channel by channel.

Shared by fold_batchnorm and fold_scale, which differ only in where k and t of y = k·x + t come from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.graph.tree import Quoted
from deepmerge.kernels import fold
from deepmerge.passes.support.base import Match, Pass, Refused, Shapes, possible
from deepmerge.passes.support.chains import (
    alone,
    check_own_weights,
    empty_window,
    only_reader,
)
from deepmerge.passes.support.weights import bias_of, declare_bias, set_weights, weight_of
from deepmerge.text import unused

Affine = tuple[np.ndarray, np.ndarray]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class _Plan:
    """fold: puts a map into a layer's weights. maps: that of each layer of Match.into; None without weights.

    share_bias: whether the layers of Match.into, which share their weights, get a bias, which they are to share, too.
    """

    fold: Callable[[Layer, Affine], None]
    maps: tuple[Affine | None, ...]
    share_bias: bool = False


class FoldAffine(Pass):
    """Base of the two passes, which define `affine`."""

    exact = True

    def positive(self, layer: Layer) -> bool:
        """Return whether every k is above 0, whatever the weights are."""
        return False

    def affine(self, layer: Layer, shape: Shape | None) -> Affine | None:
        """Return the map of a layer whose bottom has this shape: (k, t), float64, both (channels,).

        None where the network has no weights. Refused where the layer is not such a map.
        """
        raise NotImplementedError

    def match(self, graph, layer, shapes):
        """Look for layers before it to fold into, then for layers after it, then for a Scale after it."""
        if len(layer.bottoms) != 1:
            raise Refused(layer, f"it has {len(layer.bottoms)} bottoms: its factors are data, not weights")
        affine = self.affine(layer, shapes.get(layer.bottom))
        check_finite(layer, affine)
        if graph.sharers(layer):
            return self._together(graph, layer, affine, shapes)
        check_own_weights(graph, layer)
        try:
            return self._backwards(graph, layer, affine, shapes)
        except Refused as error:
            before = error.seen_from(layer)
        try:
            readers = _readers(graph, layer, affine)
            self.check_touched(layer, readers, exact=True)
            return Match(layer, (layer,), readers, _Plan(_scale_inputs, (affine,) * len(readers)))
        except Refused as error:
            after = error.seen_from(layer)
        scale = _scale_after(graph, layer, shapes)
        if scale is not None:
            return Match(layer, (layer,), (scale,), _Plan(_compose, (affine,)))
        raise Refused(layer, f"it cannot go into the layer before it ({before}), nor into the one after it ({after})")

    def _together(self, graph: Graph, layer: Layer, affine: Affine | None, shapes: Shapes) -> Match:
        """Fold a layer and those that share its weights into convolutions that share theirs in the same way."""
        layers = _family(graph, layer)
        twin = next(other for other in layers if other is not layer)
        if len(layer.shared_names) < len(layer.weights):
            raise Refused(layer, f"it shares only some of its weights with {twin.name!r}")
        try:
            found = [self._backwards(graph, one, affine, shapes, shared=True).into for one in layers]
        except Refused as error:
            raise Refused(layer, f"its weights are shared with {twin.name!r}, and {error.reason}") from None
        into = tuple(one for each in found for one in each)
        if len(into) != len(layers) or set(into) != set(_family(graph, into[0])):
            raise Refused(layer, f"its weights are shared with {twin.name!r}, and those of {into[0].name!r} are not")
        new = not into[0].params.bias_term
        return Match(layer, layers, into, _Plan(_scale_outputs, (affine,) * len(into), share_bias=new))

    def _backwards(
        self, graph: Graph, layer: Layer, affine: Affine | None, shapes: Shapes, shared: bool = False
    ) -> Match:
        """Match the layers before the layer that can take up its map. shared: their weights may be shared."""
        parts = self._producers(layer, layer.bottom, affine, shapes)
        for producer, _ in parts:
            if not producer.kind.linear or producer.params is None:
                what = "the activation" if producer.kind.activation else "the layer"
                raise Refused(layer, f"{what} {producer.name!r} ({producer.type}) comes before it")
            check_own_weights(graph, producer, shared)
        into, maps = zip(*parts, strict=True)
        self.check_touched(layer, into, exact=True)
        return Match(layer, (layer,), into, _Plan(_scale_outputs, maps))

    def _producers(
        self, layer: Layer, blob: Blob, affine: Affine | None, shapes: Shapes
    ) -> list[tuple[Layer, Affine | None]]:
        """Return the layers that make `blob`, each with its channels' part of the map.

        The way back to them leads over pooling and over Concat of channels, if nothing else reads what they make.
        """
        if not alone(blob):
            raise Refused(layer, f"{blob.name!r} has other readers")
        producer = blob.producer
        if producer.type == "Pooling":
            self._check_pooling(producer, layer, affine, shapes)
            return self._producers(layer, producer.bottom, affine, shapes)
        if producer.type == "Concat" and producer.params.axis % len(shapes.get(blob) or (0, 0)) == 1:
            parts = _by_bottom(producer, layer, affine, shapes)
            return [one for bottom, part in parts for one in self._producers(layer, bottom, part, shapes)]
        return [(producer, affine)]

    def _check_pooling(self, pool: Layer, layer: Layer, affine: Affine | None, shapes: Shapes) -> None:
        """Raise Refused unless the layer's map may be applied before the pooling instead of after it."""
        if len(pool.tops) != 1:
            raise Refused(layer, f"the mask of pooling {pool.name!r} is used")
        if empty_window(pool, shapes):
            raise Refused(layer, f"pooling {pool.name!r} has a window outside of the image")
        if pool.params.pool == "MAX":
            if not (self.positive(layer) or (affine is not None and bool((affine[0] >= 0).all()))):
                raise Refused(layer, f"MAX pooling {pool.name!r} is between them, and a factor may be negative")
        elif pool.params.pool == "AVE":
            if pool.params.pad != (0, 0) and _shifts(affine):
                raise Refused(layer, f"AVE pooling {pool.name!r} is between them, and pads with zeros")
        else:
            raise Refused(layer, f"pooling {pool.name!r} is {pool.params.pool}")

    def rewrite(self, graph, match):
        """Put the map into the other layers' weights and take the layer out."""
        plan: _Plan = match.plan
        for layer, affine in zip(match.into, plan.maps, strict=True):
            if affine is None or not layer.weights:
                declare_bias(layer)
            else:
                plan.fold(layer, affine)
        if plan.share_bias:
            _share_bias(graph, match.into)
        for layer in match.merged:
            graph.bypass(layer)
        return list(match.into)


def _by_bottom(concat: Layer, layer: Layer, affine: Affine | None, shapes: Shapes) -> list[tuple[Blob, Affine | None]]:
    """Return the Concat's bottoms, each with its channels' part of the map."""
    if affine is None:
        return [(bottom, None) for bottom in concat.bottoms]
    if any(shapes.get(bottom) is None for bottom in concat.bottoms):
        raise Refused(layer, f"the channels of {concat.name!r} are not known")
    ends = np.cumsum([shapes[bottom][1] for bottom in concat.bottoms])[:-1]
    parts = zip(np.split(affine[0], ends), np.split(affine[1], ends), strict=True)
    return list(zip(concat.bottoms, parts, strict=True))


def _family(graph: Graph, layer: Layer) -> tuple[Layer, ...]:
    """Return the layer and those that share its weights, in the network's order; Refused where they differ."""
    family = tuple(graph.in_order((layer, *graph.sharers(layer))))
    for other in family:
        if (other.type, other.params, other.shared_names) != (layer.type, layer.params, layer.shared_names):
            raise Refused(layer, f"its weights are shared with {other.name!r}, which is not the same layer")
    return family


def _share_bias(graph: Graph, layers: Sequence[Layer]) -> None:
    """Give the layers' biases one name, under which they are shared as the weights are."""
    bias = unused(f"{layers[0].blob_name(0)}_bias", graph.shared_names)
    for layer in layers:
        layer.param_specs[1].add("name", Quoted(bias))


def check_finite(layer: Layer, affine: Affine | None) -> None:
    """Raise Refused where the map of a channel is infinite or not a number."""
    if affine is not None and not np.isfinite(affine).all():
        channel = int(np.argmin(np.isfinite(affine).all(axis=0)))
        raise Refused(layer, f"its channel {channel} has no finite factor")


def by_channel(layer: Layer, shape: Shape | None) -> bool:
    """Return whether a Scale or Bias has one factor per channel: axis 1, and no other axis with several values."""
    axis, num_axes = layer.params.axis, layer.params.num_axes
    if shape is None or len(shape) < 2:
        return (axis, num_axes) == (1, 1)
    end = len(shape) if num_axes == -1 else axis % len(shape) + num_axes
    return axis % len(shape) == 1 and num_axes != 0 and all(size == 1 for size in shape[2:end])


def _readers(graph: Graph, layer: Layer, affine: Affine | None) -> tuple[Layer, ...]:
    """Return the layers after this one, if all of them can take up its map."""
    readers = layer.top.consumers
    if not readers:
        raise Refused(layer, f"its top {layer.top.name!r} is an output of the network")
    for reader in readers:
        if not (reader.kind.convolution or reader.type == "InnerProduct") or reader.params is None:
            raise Refused(layer, f"{reader.name!r} ({reader.type}) reads it")
        check_own_weights(graph, reader)
        if reader.kind.convolution and any(reader.params.pad + reader.params.pad_nd) and _shifts(affine):
            raise Refused(layer, f"{reader.name!r} pads with zeros, which the map would have to shift too")
    return tuple(readers)


def _scale_after(graph: Graph, layer: Layer, shapes: Shapes) -> Layer | None:
    """Return a Scale by channel that is the layer's only reader: two maps in a row are one."""
    reader = only_reader(layer.top)
    if reader is None or reader.type != "Scale" or not possible(check_own_weights, graph, reader):
        return None
    return reader if by_channel(reader, shapes.get(layer.top)) else None


def _shifts(affine: Affine | None) -> bool:
    """Return whether the map changes 0; without weights it may."""
    return affine is None or bool(affine[1].any())


def _scale_outputs(layer: Layer, affine: Affine) -> None:
    if layer.type == "Deconvolution":
        folded = fold.scale_outputs_deconvolution(layer.weights[0], bias_of(layer), *affine, layer.params.group)
    else:
        folded = fold.scale_outputs(weight_of(layer), bias_of(layer), *affine)
    set_weights(layer, *folded)


def _scale_inputs(layer: Layer, affine: Affine) -> None:
    if layer.type == "InnerProduct":
        folded = fold.scale_inputs_inner_product(weight_of(layer), bias_of(layer), *affine)
    else:
        folded = fold.scale_inputs(layer.weights[0], bias_of(layer), *affine, layer.params.group)
    set_weights(layer, *folded)


def _compose(scale: Layer, affine: Affine) -> None:
    shape = scale.weights[0].shape
    gamma, *beta = (array.astype(np.float64).reshape(-1) for array in scale.weights)
    folded = fold.compose(affine, (gamma, beta[0] if beta else np.zeros_like(gamma)))
    scale.weights = [np.ascontiguousarray(array.reshape(shape), np.float32) for array in folded]
    declare_bias(scale)
