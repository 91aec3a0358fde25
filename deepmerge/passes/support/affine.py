"""Folding per-channel affine layers (BatchNorm, Scale, Bias) into the layers around them.

What fold_batchnorm and fold_scale share: they differ only in where k and t of y = k·x + t come from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from deepmerge.graph.graph import Graph, Layer
from deepmerge.kernels import fold
from deepmerge.passes.support.base import Match, Pass, Shapes
from deepmerge.passes.support.chains import ACTIVATIONS, CONVOLUTIONS, LINEAR, alone, empty_window, fixed, only_reader
from deepmerge.passes.support.weights import bias_of, declare_bias, set_weights, weight_of

Affine = tuple[np.ndarray, np.ndarray]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class _Plan:
    """How to fold: where to, and the map (None where the network has no weights: structure only)."""

    way: Literal["back", "forth", "scale"]
    affine: Affine | None


class FoldAffine(Pass):
    """Base of the two passes; they give `affine`, and say where they know more of it than the weights tell."""

    exact = True

    def positive(self, layer: Layer) -> bool:
        """Whether every k is above 0, whatever the weights."""
        return False

    def affine(self, layer: Layer, shape: Shape | None) -> Affine | str | None:
        """(k, t), float64, (channels,), on a bottom of `shape`; a str says why there is none; None without weights."""
        raise NotImplementedError

    def match(self, graph, layer, shapes):
        if len(layer.bottoms) != 1:
            return self.refuse(layer, f"it has {len(layer.bottoms)} bottoms: its factors are data, not weights")
        affine = self.affine(layer, shapes.get(layer.bottom))
        if affine is not None and not isinstance(affine, str) and not np.isfinite(affine).all():
            affine = f"its channel {int(np.argmin(np.isfinite(affine).all(axis=0)))} has no finite factor"
        if isinstance(affine, str):
            return self.refuse(layer, affine)
        if reason := fixed(graph, layer):
            return self.refuse(layer, reason)
        producer, back = self._back(graph, layer, affine, shapes)
        if producer is not None:
            return Match(layer, (layer,), (producer,), _Plan("back", affine))
        readers, forth = self._forth(graph, layer, affine, shapes)
        if readers:
            return Match(layer, (layer,), tuple(readers), _Plan("forth", affine))
        scale = self._scale_behind(graph, layer, shapes)
        if scale is not None:
            return Match(layer, (layer,), (scale,), _Plan("scale", affine))
        return self.refuse(layer, f"not into the layer before it: {back}; nor into the one behind: {forth}")

    def _back(self, graph: Graph, layer: Layer, affine: Affine | None, shapes: Shapes) -> tuple[Layer | None, str]:
        """The Convolution, Deconvolution or InnerProduct to fold into, or None and what is in the way."""
        blob = layer.bottom
        while alone(blob) and blob.producer.type == "Pooling":
            if reason := self._through_pooling(blob.producer, affine, self.positive(layer), shapes):
                return None, reason
            blob = blob.producer.bottom
        if not alone(blob):
            return None, f"{blob.name!r} is read by others too"
        producer = blob.producer
        if producer.type not in LINEAR or producer.params is None:
            what = "the activation" if producer.type in ACTIVATIONS else "the layer"
            return None, f"{what} {producer.name!r} ({producer.type}) stands before it"
        if reason := fixed(graph, producer):
            return None, f"{producer.name!r}: {reason}"
        return producer, ""

    def _through_pooling(self, pool: Layer, affine: Affine | None, positive: bool, shapes: Shapes) -> str:
        """What keeps the map from standing before the pooling instead of behind it: "" if nothing."""
        if len(pool.tops) != 1:
            return f"pooling {pool.name!r} gives a mask"
        if empty_window(pool, shapes):
            return f"pooling {pool.name!r} has a window outside of the image"
        if pool.params.pool == "MAX":
            positive = positive or (affine is not None and bool((affine[0] >= 0).all()))
            return "" if positive else f"MAX pooling {pool.name!r} stands between, and a factor may be negative"
        if pool.params.pool == "AVE":
            harmless = pool.params.pad == (0, 0) or not _shifts(affine)
            return "" if harmless else f"AVE pooling {pool.name!r} stands between, and pads with zeros"
        return f"pooling {pool.name!r} is {pool.params.pool}"

    def _forth(self, graph: Graph, layer: Layer, affine: Affine | None, shapes: Shapes) -> tuple[list[Layer], str]:
        """The layers behind, all of which must take the map, or none and what is in the way."""
        readers = layer.top.consumers
        if not readers:
            return [], f"its top {layer.top.name!r} is an output of the network"
        for reader in readers:
            if reason := _takes_map(graph, reader, affine, shapes):
                return [], reason
        return readers, ""

    def _scale_behind(self, graph: Graph, layer: Layer, shapes: Shapes) -> Layer | None:
        """A Scale that is the only reader and scales by channel: two maps are one."""
        reader = only_reader(layer.top)
        if reader is None or reader.type != "Scale" or fixed(graph, reader):
            return None
        return reader if by_channel(reader, shapes.get(layer.top)) else None

    def rewrite(self, graph, match):
        plan: _Plan = match.plan
        for layer in match.into:
            if plan.affine is None or not layer.weights:
                declare_bias(layer)
            else:
                {"back": _scale_outputs, "forth": _scale_inputs, "scale": _compose}[plan.way](layer, plan.affine)
        graph.bypass(match.layer)
        return list(match.into)


def by_channel(layer: Layer, shape: Shape | None) -> bool:
    """Whether a Scale or Bias has one factor for each channel: axis 1, and no other axis of more than one value."""
    axis, num_axes = layer.params.axis, layer.params.num_axes
    if shape is None or len(shape) < 2:
        return (axis, num_axes) == (1, 1)
    end = len(shape) if num_axes == -1 else axis % len(shape) + num_axes
    return axis % len(shape) == 1 and num_axes != 0 and all(size == 1 for size in shape[2:end])


def _shifts(affine: Affine | None) -> bool:
    """Whether the map takes 0 elsewhere; without weights it may."""
    return affine is None or bool(affine[1].any())


def _takes_map(graph: Graph, reader: Layer, affine: Affine | None, shapes: Shapes) -> str:
    """What keeps `reader` from taking up the map of the layer that it reads: "" if nothing."""
    if reader.type not in CONVOLUTIONS | {"InnerProduct"} or reader.params is None:
        return f"{reader.name!r} ({reader.type}) reads it"
    if reason := fixed(graph, reader):
        return f"{reader.name!r}: {reason}"
    if reader.type in CONVOLUTIONS and any(reader.params.pad + reader.params.pad_nd) and _shifts(affine):
        return f"{reader.name!r} pads with zeros, which would have to be shifted too"
    return ""


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
