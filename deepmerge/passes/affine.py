"""Folding per-channel affine layers (BatchNorm, Scale, Bias) into the layers around them.

What fold_batchnorm and fold_scale share: they differ only in where k and t of y = k·x + t come from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from deepmerge.graph.graph import Graph, Layer
from deepmerge.kernels import fold
from deepmerge.passes.base import Match, Pass
from deepmerge.passes.chains import ACTIVATIONS, LINEAR, alone, shared
from deepmerge.passes.weights import bias_of, declare_bias, set_weights, weight_of

Affine = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class _Plan:
    """How to fold: where to, and the map (None where the network has no weights: structure only)."""

    way: Literal["back", "forth", "scale"]
    affine: Affine | None


class FoldAffine(Pass):
    """Base of the two passes; they give `affine`."""

    exact = True

    def affine(self, layer: Layer, channels: int | None) -> Affine | str | None:
        """(k, t) float64 of shape (channels,); a str is the reason why there is none; None without weights."""
        raise NotImplementedError

    def match(self, graph, layer, shapes):
        if len(layer.bottoms) != 1 or len(layer.tops) != 1:
            return self.refuse(layer, f"has {len(layer.bottoms)} bottoms: its factors are data, not weights") if len(layer.bottoms) == 2 else None
        shape = shapes.get(layer.bottom)
        affine = self.affine(layer, shape[1] if shape and len(shape) > 1 else None)
        if isinstance(affine, str):
            return self.refuse(layer, affine)
        if others := shared(graph, layer):
            return self.refuse(layer, others)
        producer, back = self._back(graph, layer, affine)
        if not back:
            return Match(layer, (layer,), (producer,), _Plan("back", affine))
        readers, forth = self._forth(graph, layer, affine, shapes)
        if not forth:
            return Match(layer, (layer,), tuple(readers), _Plan("forth", affine))
        reader = self._scale_behind(graph, layer, shapes)
        if reader is not None:
            return Match(layer, (layer,), (reader,), _Plan("scale", affine))
        return self.refuse(layer, f"not into the layer before it: {back}; nor into the one behind: {forth}")

    def _back(self, graph: Graph, layer: Layer, affine: Affine | None) -> tuple[Layer | None, str]:
        """The Convolution, Deconvolution or InnerProduct to fold into, and "" or what is in the way."""
        blob = layer.bottom
        while True:
            producer = blob.producer
            if not alone(blob):
                return None, f"{blob.name!r} is read by others too"
            if producer.type != "Pooling":
                break
            if reason := _through_pooling(producer, affine):
                return None, reason
            blob = producer.bottom
        if producer.type not in LINEAR:
            what = "the activation" if producer.type in ACTIVATIONS else "the layer"
            return None, f"{what} {producer.name!r} ({producer.type}) stands before it"
        if producer.params.axis != 1:
            return None, f"{producer.name!r} has axis {producer.params.axis}"
        if reason := shared(graph, producer):
            return None, f"{producer.name!r}: {reason}"
        if affine is not None and len(affine[0]) != producer.params.num_output:
            return None, f"it has {len(affine[0])} channels, {producer.name!r} {producer.params.num_output}"
        return producer, ""

    def _forth(self, graph: Graph, layer: Layer, affine: Affine | None, shapes) -> tuple[list[Layer], str]:
        """The layers behind, all of which must take the map, and "" or what is in the way."""
        readers = layer.top.consumers
        if not readers:
            return [], f"its top {layer.top.name!r} is an output of the network"
        for reader in readers:
            if reason := _takes_map(graph, reader, layer, affine, shapes):
                return [], reason
        return readers, ""

    def _scale_behind(self, graph: Graph, layer: Layer, shapes) -> Layer | None:
        """A Scale that is the only reader and scales by channel: two maps are one."""
        reader = layer.top.consumers[0] if alone(layer.top) else None
        if reader is None or reader.type != "Scale" or len(reader.bottoms) != 1 or shared(graph, reader):
            return None
        by_channel = reader.params.axis == 1 and reader.params.num_axes == 1
        return reader if by_channel else None

    def rewrite(self, graph, match):
        plan: _Plan = match.plan
        if plan.way == "back":
            _scale_outputs(match.into[0], plan.affine)
        elif plan.way == "forth":
            for reader in match.into:
                _scale_inputs(reader, plan.affine)
        else:
            _compose(plan.affine, match.into[0])
        graph.bypass(match.layer)
        return list(match.into)


def _through_pooling(pool: Layer, affine: Affine | None) -> str:
    """What keeps the map from standing before the pooling instead of behind it: "" if nothing."""
    p = pool.params
    if len(pool.tops) != 1:
        return f"pooling {pool.name!r} gives a mask"
    if p.pool == "MAX":
        positive = affine is not None and bool((affine[0] >= 0).all())
        return "" if positive else f"MAX pooling {pool.name!r} stands between, and a factor is negative"
    if p.pool == "AVE":
        harmless = p.pad == (0, 0) or (affine is not None and not affine[1].any())
        return "" if harmless else f"AVE pooling {pool.name!r} stands between, and pads with zeros"
    return f"pooling {pool.name!r} is {p.pool}"


def _takes_map(graph: Graph, reader: Layer, layer: Layer, affine: Affine | None, shapes) -> str:
    """What keeps `reader` from taking up the map of `layer`, which it reads: "" if nothing."""
    if reader.type not in ("Convolution", "InnerProduct"):
        return f"{reader.name!r} ({reader.type}) reads it"
    if reader.params.axis != 1:
        return f"{reader.name!r} has axis {reader.params.axis}"
    if reason := shared(graph, reader):
        return f"{reader.name!r}: {reason}"
    if reader.type == "InnerProduct":
        return "" if shapes.get(layer.top) else f"the shape of {layer.top.name!r} is not known"
    shifts = affine is None or bool(affine[1].any())
    if reader.params.pad != (0, 0) and shifts:
        return f"{reader.name!r} pads with zeros, which would have to be shifted too"
    return ""


def _scale_outputs(layer: Layer, affine: Affine | None) -> None:
    if affine is None or not layer.weights:
        declare_bias(layer)
    elif layer.type == "Deconvolution":
        set_weights(layer, *fold.scale_outputs_deconvolution(layer.weights[0], bias_of(layer), *affine, layer.params.group))
    else:
        set_weights(layer, *fold.scale_outputs(weight_of(layer), bias_of(layer), *affine))


def _scale_inputs(layer: Layer, affine: Affine | None) -> None:
    if affine is None or not layer.weights:
        declare_bias(layer)
    elif layer.type == "InnerProduct":
        set_weights(layer, *fold.scale_inputs_inner_product(weight_of(layer), bias_of(layer), *affine))
    else:
        set_weights(layer, *fold.scale_inputs(layer.weights[0], bias_of(layer), *affine, layer.params.group))


def _compose(affine: Affine | None, scale: Layer) -> None:
    if affine is not None and scale.weights:
        gamma = scale.weights[0].astype(np.float64)
        beta = scale.weights[1].astype(np.float64) if len(scale.weights) > 1 else np.zeros_like(gamma)
        k, t = fold.compose(affine, (gamma, beta))
        scale.weights = [k.astype(np.float32), t.astype(np.float32)]
    declare_bias(scale)
