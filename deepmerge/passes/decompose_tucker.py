"""A convolution becomes three small ones, an inner product two.

Given:   x → Convolution kxk (N ← C) → y
Result:  x → 1x1 (R_in ← C) → kxk (R_out ← R_in) → 1x1 (N ← R_out) → y

Given:   x → InnerProduct (N ← C) → y
Result:  x → InnerProduct (R ← C) → InnerProduct (N ← R) → y

A 1x1 convolution becomes two. With groups each group is decomposed by itself. Ranks: VBMF, a share of the
energy (squared singular values), a share of the channels, or a share of the MACs of all layers together. Left
alone where it does not save a fifth of the MACs: two layers more cost about that much in time (measured in Caffe
on GoogLeNet's layers).

With calibration images the weights W are near in what they make of the data, not in themselves: W' minimises
|(W − W') Σ^½|, Σ the covariance of the layer's input patches, energies are those of its outputs on the data, and
the bias makes up for the mean: b' = b + (W − W') μ.

Exact: no.
Source: Kim et al., Compression of Deep CNNs for Fast and Low Power Mobile Applications (ICLR 2016); with data:
Zhang et al., Accelerating Very Deep Convolutional Networks for Classification and Detection (TPAMI 2016).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from deepmerge.graph.costs import layer_macs
from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.graph.params import Convolution, InnerProduct
from deepmerge.kernels.moments import Moments
from deepmerge.passes.support.base import Match, Pass, Shapes
from deepmerge.passes.support.chains import fixed
from deepmerge.passes.support.tucker_ranks import (
    SAVING,
    Ranks,
    allot_ranks,
    choose_ranks,
    decomposed_macs,
    group_of,
    parse_rank,
)
from deepmerge.passes.support.weights import bias_of, bias_or_zero, weight_of


class DecomposeTucker(Pass):
    name = "decompose_tucker"
    exact = False
    summary = "a convolution into three small ones (Tucker-2), an inner product into two (SVD)"
    types = frozenset(("Convolution", "InnerProduct"))
    prepared = False  # whether `prepare` has shared out a budget

    def prepare(self, graph: Graph, names: Collection[str], shapes: Shapes) -> None:
        """With `rank` macs:SHARE, and no ranks by name, ranks for all of these layers together."""
        if self._shared_out():
            layers = [layer for layer in decomposable(graph, shapes, self.options.keep) if layer.name in names]
            self.options, self.prepared = replace(self.options, ranks=allot_ranks(layers, self.options, shapes)), True

    def match(self, graph, layer, shapes):
        shape = shapes.get(layer.bottom)
        if shape is None or shapes.get(layer.top) is None:
            return None
        if reason := _obstacle(graph, layer, shape):
            return self.refuse(layer, reason)
        if not layer.weights:
            return self.refuse(layer, "its ranks come from its weights, and there are none; give the caffemodel")
        moments = self.options.moments.get(layer.name)
        if moments is not None and not moments.fits(weight_of(layer).shape, group_of(layer)):
            return self.refuse(
                layer, "it is not the layer any more that calibration looked at; give this pass a step of its own"
            )
        if layer.name not in self.options.ranks and (self.prepared or self.options.ranks):
            return self.refuse(layer, f"{self.options.rank} keeps it as it is")
        ranks = choose_ranks(layer, self.options, shapes)
        before, after = layer_macs(layer, shapes), decomposed_macs(layer, ranks.inside, ranks.out, shapes)
        if after > (1 - SAVING) * before:
            return self.refuse(
                layer, f"at {ranks} it would need {after:,} MACs in place of {before:,}; it must save {SAVING:.0%}"
            )
        return Match(layer, (layer,), (layer,), ranks, exact=False)

    def _shared_out(self) -> bool:
        return parse_rank(self.options.rank)[0] == "macs" and not self.options.ranks and not self.prepared

    def rewrite(self, graph, match):
        layer, ranks, moments = match.layer, match.plan, self.options.moments.get(match.layer.name)
        if layer.type == "InnerProduct":
            parts, bias = _inner_products(layer, ranks, moments)
        else:
            parts, bias = _convolutions(layer, ranks, moments)
        return _chain(graph, layer, parts, bias)


def decomposable(graph: Graph, shapes: Shapes, keep: Collection[str] = ()) -> list[Layer]:
    """The layers that could be decomposed if their ranks were small enough, in the network's order."""
    return [
        layer
        for layer in graph.layers
        if layer.type in DecomposeTucker.types and layer.params is not None and layer.weights
        if not {layer.name, layer.type} & set(keep)
        if shapes.get(layer.top) is not None
        and (shape := shapes.get(layer.bottom))
        and not _obstacle(graph, layer, shape)
    ]


def _obstacle(graph: Graph, layer: Layer, shape) -> str:
    if reason := fixed(graph, layer):
        return reason
    if layer.type == "Convolution" and len(shape) != 4:
        return "its window is not two-dimensional"
    if layer.type == "Convolution" and shape[1] == layer.params.group:
        return "it is depthwise"
    if layer.made_by == DecomposeTucker.name:
        return "it comes from a decomposition"
    return ""


@dataclass(frozen=True)
class _Part:
    """One of the layers that take a layer's place. main: it keeps the layer's own fields (fillers, a fork's)."""

    suffix: str
    params: Convolution | InnerProduct
    weight: np.ndarray
    main: bool


def _convolutions(layer: Layer, ranks: Ranks, moments: Moments | None) -> tuple[list[_Part], np.ndarray | None]:
    """1x1, kxk, 1x1, or of a 1x1 two; one of them, the main one, has the layer's window. And the bias behind them."""
    p = layer.params
    names, main = (("reduce", "core", "expand"), "core") if ranks.out else (("reduce", "expand"), "reduce")
    factors, bias = _factors(layer, ranks, moments)
    point = Convolution(num_output=1, kernel_h=1, kernel_w=1, group=p.group)
    return [
        _Part(suffix, replace(p if suffix == main else point, num_output=len(factor)), factor, suffix == main)
        for suffix, factor in zip(names, factors, strict=True)
        if factor is not None
    ], bias


def _inner_products(layer: Layer, ranks: Ranks, moments: Moments | None) -> tuple[list[_Part], np.ndarray | None]:
    (first, last), bias = _factors(layer, ranks, moments)
    p = replace(layer.params, transpose=False)
    return [
        _Part("reduce", replace(p, num_output=len(first)), first, True),
        _Part("expand", replace(p, num_output=len(last)), last, True),
    ], bias


def _factors(
    layer: Layer, ranks: Ranks, moments: Moments | None
) -> tuple[tuple[np.ndarray | None, ...], np.ndarray | None]:
    """The weights of the layers to come, first to last, and the last one's bias."""
    from deepmerge.kernels import data_aware, svd, tucker

    weight, group, bias = weight_of(layer), group_of(layer), bias_of(layer)
    if moments is None:
        if ranks.out:
            return tucker.tucker2(weight, ranks.out, ranks.inside, group), bias
        if layer.type == "InnerProduct":
            return svd.truncated_svd(weight, ranks.inside), bias
        return svd.conv1x1_svd(weight, ranks.inside, group), bias
    if ranks.out:
        factors = data_aware.aware_tucker2(weight, ranks.out, ranks.inside, group, moments)
    else:
        factors = data_aware.aware_svd(weight, ranks.inside, group, moments)
    shift = data_aware.bias_shift(weight, factors, group, moments)
    return factors, (bias_or_zero(layer) + shift).astype(np.float32)


def _chain(graph: Graph, layer: Layer, parts: list[_Part], bias: np.ndarray | None) -> list[Layer]:
    """Put the parts, one behind the other, in the layer's place; the last one has the bias."""
    made: list[Layer] = []
    blob = layer.bottom
    for part in parts:
        name = graph.fresh_name(f"{layer.name}_{part.suffix}")
        ends = part is parts[-1]
        weights = [part.weight, bias] if ends and bias is not None else [part.weight]
        params = replace(part.params, bias_term=len(weights) == 2)
        new = Layer(name, layer.type, params, [blob], [layer.top if ends else Blob(name)], weights)
        if part.main:
            new.tree, new.read_params = layer.tree.copy(), layer.read_params
        made.append(new)
        blob = new.top
    graph.replace([layer], made)
    return made
