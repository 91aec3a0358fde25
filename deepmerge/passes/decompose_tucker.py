"""A convolution becomes three small ones, an inner product two.

Given:   x → Convolution kxk (N ← C) → y
Result:  x → 1x1 (R_in ← C) → kxk (R_out ← R_in) → 1x1 (N ← R_out) → y

Given:   x → InnerProduct (N ← C) → y
Result:  x → InnerProduct (R ← C) → InnerProduct (N ← R) → y

A 1x1 convolution becomes two. With groups, each group is decomposed by itself. Ranks come from VBMF, a share of
the energy (squared singular values), a share of the channels, or a share of the MACs of all layers together. A layer
is left alone unless this saves a fifth of its MACs: two more layers cost about that much time (measured in Caffe on
GoogLeNet's layers).

Calibration images make the layer's outputs on the data, rather than its weights W, stay close: W' minimises
|(W − W') Σ^½|, where Σ is the covariance of the layer's input patches. Energies are then those of its outputs on the
data, and the bias corrects the mean: b' = b + (W − W') μ.

Exact: no.
Source: Kim et al., Compression of Deep CNNs for Fast and Low Power Mobile Applications (ICLR 2016); with data:
Zhang et al., Accelerating Very Deep Convolutional Networks for Classification and Detection (TPAMI 2016).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import numpy as np

from deepmerge.graph.costs import layer_macs
from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.graph.params import Convolution, InnerProduct
from deepmerge.kernels.moments import Moments
from deepmerge.passes.support.base import Match, Options, Pass, Refused, Shapes, possible
from deepmerge.passes.support.chains import check_own_weights
from deepmerge.passes.support.tucker_ranks import (
    SAVING,
    Ranks,
    allot_ranks,
    choose_ranks,
    decomposed_macs,
    energy_ranks,
    parse_rank,
)
from deepmerge.passes.support.weights import bias_of, bias_or_zero, group_of, weight_of


class DecomposeTucker(Pass):
    """Decompose a convolution into three small ones (Tucker-2), an inner product into two (SVD)."""

    name = "decompose_tucker"
    exact = False
    types = frozenset(("Convolution", "InnerProduct"))

    def __init__(self, options: Options | None = None, chosen: bool = False):
        """Take the options. chosen: `Options.ranks` has all ranks, and layers that are not in it are left alone."""
        super().__init__(options)
        self.chosen = chosen or bool(self.options.ranks)

    def prepare(self, graph: Graph, names: Collection[str], shapes: Shapes) -> Pass:
        """With `rank` macs:SHARE, and no ranks by name, choose the ranks of all these layers together."""
        if self.chosen or parse_rank(self.options.rank)[0] != "macs":
            return self
        layers = [layer for layer in decomposable(graph, shapes, self.options.keep) if layer.name in names]
        return DecomposeTucker(replace(self.options, ranks=allot_ranks(layers, self.options, shapes)), chosen=True)

    def match(self, graph, layer, shapes):
        """Choose the layer's ranks, and see whether they save enough work."""
        shape = shapes.get(layer.bottom)
        if shape is None or shapes.get(layer.top) is None:
            return None
        _check(graph, layer, shape)
        if not layer.weights:
            raise Refused(layer, "its ranks come from its weights, and there are none; give the caffemodel")
        moments = self.options.moments.get(layer.name)
        if moments is not None and not moments.fits(weight_of(layer).shape, group_of(layer)):
            raise Refused(layer, f"it changed after calibration; put {self.name} in its own step")
        if self.chosen and layer.name not in self.options.ranks:
            raise Refused(layer, f"{self.options.rank} keeps it as it is")
        ranks = choose_ranks(layer, self.options, shapes)
        before, after = layer_macs(layer, shapes), decomposed_macs(layer, ranks.inside, ranks.out, shapes)
        if after > (1 - SAVING) * before:
            work = f"at {ranks} it would need {after:,} MACs instead of {before:,}"
            raise Refused(layer, f"{work}; it must save {SAVING:.0%}")
        return Match(layer, (layer,), (layer,), ranks, exact=False)

    def rewrite(self, graph, match):
        """Put the small layers in the layer's place."""
        layer, ranks, moments = match.layer, match.plan, self.options.moments.get(match.layer.name)
        if layer.type == "InnerProduct":
            parts, bias = _inner_products(layer, ranks, moments)
        else:
            parts, bias = _convolutions(layer, ranks, moments)
        return _chain(graph, layer, parts, bias)


ENERGIES = (0.85, 0.7, 0.5)  # shares to choose from by measurement


def offered(layers: Collection[Layer], options: Options) -> Iterator[tuple[str, dict[str, list[int]]]]:
    """Yield each --rank to choose from by measurement, and the ranks that it means for these layers, by name."""
    found = {layer.name: energy_ranks(layer, options, ENERGIES) for layer in layers}
    for place, share in enumerate(ENERGIES):
        yield f"energy:{share:g}", {name: ranks[place].as_list for name, ranks in found.items()}


def decomposable(graph: Graph, shapes: Shapes, keep: Collection[str] = ()) -> list[Layer]:
    """Return the layers that could be decomposed if their ranks were small enough, in the network's order."""
    found = []
    for layer in graph.layers:
        if layer.type not in DecomposeTucker.types or layer.params is None or not layer.weights:
            continue
        shape, kept = shapes.get(layer.bottom), {layer.name, layer.type} & set(keep)
        if not kept and shape and shapes.get(layer.top) is not None and possible(_check, graph, layer, shape):
            found.append(layer)
    return found


def _check(graph: Graph, layer: Layer, shape: tuple[int, ...]) -> None:
    """Raise Refused where a layer that reads this shape cannot be decomposed at any rank."""
    check_own_weights(graph, layer)
    if layer.type == "Convolution" and len(shape) != 4:
        raise Refused(layer, "its window is not two-dimensional")
    if layer.type == "Convolution" and shape[1] == layer.params.group:
        raise Refused(layer, "it is depthwise")
    if layer.made_by == DecomposeTucker.name:
        raise Refused(layer, "it comes from a decomposition")


@dataclass(frozen=True)
class _Part:
    """One of the layers that replace a layer. main: it keeps the layer's own fields (fillers, a fork's fields)."""

    suffix: str
    params: Convolution | InnerProduct
    weight: np.ndarray
    main: bool


def _convolutions(layer: Layer, ranks: Ranks, moments: Moments | None) -> tuple[list[_Part], np.ndarray | None]:
    """Return the parts (1x1, kxk, 1x1, or two for a 1x1) and the last one's bias. The main part has the window."""
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
    """Return the two parts, and the last one's bias."""
    (first, last), bias = _factors(layer, ranks, moments)
    p = replace(layer.params, transpose=False)
    return [
        _Part("reduce", replace(p, num_output=len(first)), first, True),
        _Part("expand", replace(p, num_output=len(last)), last, True),
    ], bias


def _factors(
    layer: Layer, ranks: Ranks, moments: Moments | None
) -> tuple[tuple[np.ndarray | None, ...], np.ndarray | None]:
    """Return the weights of the new layers, first to last, and the last one's bias."""
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
    """Replace the layer by the parts, one after the other; the last one has the bias."""
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
