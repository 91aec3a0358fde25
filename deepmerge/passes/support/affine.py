"""Folding affine layers (BatchNorm, Scale, Bias) into their neighbours, channel by channel.

Shared by fold_batchnorm and fold_scale, which differ only in where k and t of y = k·x + t come from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from deepmerge.graph.graph import Graph, Layer
from deepmerge.kernels import fold
from deepmerge.passes.support.base import Match, Pass, Refused, Shapes, possible
from deepmerge.passes.support.chains import (
    alone,
    check_own_weights,
    empty_window,
    only_reader,
)
from deepmerge.passes.support.weights import bias_of, declare_bias, set_weights, weight_of

Affine = tuple[np.ndarray, np.ndarray]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class _Plan:
    """fold: puts the map into a layer's weights. affine: the map; None where the network has no weights."""

    fold: Callable[[Layer, Affine], None]
    affine: Affine | None


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
        """Look for a layer before it to fold into, then for layers after it, then for a Scale after it."""
        if len(layer.bottoms) != 1:
            raise Refused(layer, f"it has {len(layer.bottoms)} bottoms: its factors are data, not weights")
        affine = self.affine(layer, shapes.get(layer.bottom))
        if affine is not None and not np.isfinite(affine).all():
            channel = int(np.argmin(np.isfinite(affine).all(axis=0)))
            raise Refused(layer, f"its channel {channel} has no finite factor")
        check_own_weights(graph, layer)
        try:
            producer = self._producer(graph, layer, affine, shapes)
            return Match(layer, (layer,), (producer,), _Plan(_scale_outputs, affine))
        except Refused as error:
            before = error.seen_from(layer)
        try:
            readers = _readers(graph, layer, affine)
            return Match(layer, (layer,), readers, _Plan(_scale_inputs, affine))
        except Refused as error:
            after = error.seen_from(layer)
        scale = _scale_after(graph, layer, shapes)
        if scale is not None:
            return Match(layer, (layer,), (scale,), _Plan(_compose, affine))
        raise Refused(layer, f"it cannot go into the layer before it ({before}), nor into the one after it ({after})")

    def _producer(self, graph: Graph, layer: Layer, affine: Affine | None, shapes: Shapes) -> Layer:
        """Return the Convolution, Deconvolution or InnerProduct before the layer that it can be folded into."""
        blob = layer.bottom
        while alone(blob) and blob.producer.type == "Pooling":
            self._check_pooling(blob.producer, layer, affine, shapes)
            blob = blob.producer.bottom
        if not alone(blob):
            raise Refused(layer, f"{blob.name!r} has other readers")
        producer = blob.producer
        if not producer.kind.linear or producer.params is None:
            what = "the activation" if producer.kind.activation else "the layer"
            raise Refused(layer, f"{what} {producer.name!r} ({producer.type}) comes before it")
        check_own_weights(graph, producer)
        return producer

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
        for layer in match.into:
            if plan.affine is None or not layer.weights:
                declare_bias(layer)
            else:
                plan.fold(layer, plan.affine)
        graph.bypass(match.layer)
        return list(match.into)


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
