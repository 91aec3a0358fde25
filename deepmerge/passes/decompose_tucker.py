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

from collections.abc import Collection, Iterator, MutableMapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from deepmerge.graph.costs import layer_macs
from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.graph.params import Convolution, InnerProduct
from deepmerge.graph.shapes import Shape
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
from deepmerge.passes.support.weights import bias_of, bias_or_zero, finite_weight_of, group_of, weight_of, weight_shape


class DecomposeTucker(Pass):
    """Decompose a convolution into three small ones (Tucker-2), an inner product into two (SVD)."""

    name = "decompose_tucker"
    exact = False
    types = frozenset(("Convolution", "InnerProduct"))
    uses = ("rank", "calibration", "ranks")

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
            raise Refused(layer, "the shape that it reads is not known here, so its MACs cannot be counted")
        _check(graph, layer, shape)
        if not layer.weights and layer.name not in self.options.ranks:
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
        return Match(layer, (layer,), (layer,), Split.of(layer, ranks, weight_shape(layer, shapes)), exact=False)

    def rewrite(self, graph, match):
        """Put the small layers in the layer's place; a layer without weights gives layers without."""
        layer, split, moments = match.layer, match.plan, self.options.moments.get(match.layer.name)
        factors, bias = (None,) * len(split.sizes), None
        if layer.weights:
            factors, bias = _factors(layer, split.ranks, moments)
        return _chain(graph, layer, _parts(layer, split, factors), bias)


@dataclass(frozen=True)
class Split:
    """What a layer is split into. sizes: the outputs of each part, first to last; None for one that is not needed."""

    ranks: Ranks
    sizes: tuple[int | None, ...]

    @classmethod
    def of(cls, layer: Layer, ranks: Ranks, shape: Shape) -> Split:
        """Return it for these ranks. shape: of the layer's weights. A full rank needs no 1x1 on its side."""
        group, outputs = group_of(layer), shape[0]
        if not ranks.out:
            return cls(ranks, (ranks.inside * group, outputs))
        first = None if ranks.inside == shape[1] else ranks.inside * group
        last = None if ranks.out * group == outputs else outputs
        return cls(ranks, (first, ranks.out * group, last))


ENERGIES = (0.85, 0.7, 0.5)  # shares to choose from by measurement


Known = MutableMapping[str, tuple[np.ndarray, list[Ranks]]]


def offered(layers: Collection[Layer], options: Options, known: Known) -> Iterator[tuple[str, dict[str, list[int]]]]:
    """Yield each --rank to choose from by measurement, and the ranks that it means for these layers, by name.

    known: each layer's weights and ranks from earlier calls with the same options, which it adds to.
    """
    for layer in layers:
        if layer.name not in known or known[layer.name][0] is not layer.weights[0]:
            known[layer.name] = layer.weights[0], energy_ranks(layer, options, ENERGIES)
    found = {layer.name: known[layer.name][1] for layer in layers}
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
    """One of the layers that replace a layer. weight: None in a network without weights.

    main: it keeps the layer's own fields (fillers, a fork's fields).
    """

    suffix: str
    params: Convolution | InnerProduct
    weight: np.ndarray | None
    main: bool


def _parts(layer: Layer, split: Split, factors: Sequence[np.ndarray | None]) -> list[_Part]:
    """Return the parts: 1x1, kxk, 1x1, or two for a matrix. The main part has the window."""
    three = bool(split.ranks.out)
    names, main = (("reduce", "core", "expand"), "core") if three else (("reduce", "expand"), "reduce")
    if layer.type == "InnerProduct":
        own = point = replace(layer.params, transpose=False)
    else:
        own, point = layer.params, Convolution(num_output=1, kernel_h=1, kernel_w=1, group=layer.params.group)
    return [
        _Part(suffix, replace(own if suffix == main else point, num_output=size), factor, suffix == main)
        for suffix, size, factor in zip(names, split.sizes, factors, strict=True)
        if size is not None
    ]


def _factors(
    layer: Layer, ranks: Ranks, moments: Moments | None
) -> tuple[tuple[np.ndarray | None, ...], np.ndarray | None]:
    """Return the weights of the new layers, first to last, and the last one's bias."""
    from deepmerge.kernels import data_aware, svd, tucker

    weight, group, bias = finite_weight_of(layer), group_of(layer), bias_of(layer)
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
    has_bias = bias is not None if layer.weights else layer.params.bias_term
    made: list[Layer] = []
    blob = layer.bottom
    for part in parts:
        name = graph.fresh_name(f"{layer.name}_{part.suffix}")
        ends = part is parts[-1]
        weights = [part.weight, bias if ends else None]
        weights = [array for array in weights if array is not None]
        params = replace(part.params, bias_term=ends and has_bias)
        new = Layer(name, layer.type, params, [blob], [layer.top if ends else Blob(name)], weights)
        if part.main:
            new.tree, new.read_params = layer.tree.copy(), layer.read_params
            new.unknown_fields = layer.unknown_fields
        made.append(new)
        blob = new.top
    graph.replace([layer], made)
    return made
