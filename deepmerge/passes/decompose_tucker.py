"""A convolution becomes three small ones, an inner product two.

Given:   x → Convolution kxk (N ← C) → y
Result:  x → 1x1 (R_in ← C) → kxk (R_out ← R_in) → 1x1 (N ← R_out) → y

Given:   x → InnerProduct (N ← C) → y
Result:  x → InnerProduct (R ← C) → InnerProduct (N ← R) → y

A 1x1 convolution becomes two. With groups each group is decomposed by itself. Ranks: VBMF, a share of the
energy (squared singular values), or a share of the channels. Left alone where it does not save a fifth
of the MACs: two layers more cost about that much in time (measured in Caffe on GoogLeNet's layers).

Exact: no.
Source: Kim et al., Compression of Deep CNNs for Fast and Low Power Mobile Applications (ICLR 2016).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from deepmerge.errors import PassError
from deepmerge.graph.costs import layer_macs
from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.graph.params import Convolution, InnerProduct
from deepmerge.passes import choices
from deepmerge.passes.base import Match, Pass
from deepmerge.passes.chains import fixed
from deepmerge.passes.weights import bias_of, weight_of

SAVING = 0.2


@dataclass(frozen=True)
class _Ranks:
    """Ranks per group; `out` 0 means one rank only (`inside`), as for a matrix."""

    inside: int
    out: int = 0


def parse_rank(text: str) -> tuple[str, float]:
    """("vbmf" | "energy" | "ratio", value) of --rank; PassError for anything else."""
    try:
        kind, _, share = choices.rank(text).partition(":")
    except ValueError:
        raise PassError(f"--rank {text}: give vbmf, energy:SHARE or ratio:SHARE, with a share above 0 and up to 1") from None
    return kind, float(share or 0)


class DecomposeTucker(Pass):
    name = "decompose_tucker"
    exact = False
    summary = "a convolution into three small ones (Tucker-2), an inner product into two (SVD)"
    types = frozenset(("Convolution", "InnerProduct"))

    def match(self, graph, layer, shapes):
        shape = shapes.get(layer.bottom)
        if shape is None or shapes.get(layer.top) is None:
            return None
        if reason := self._obstacle(graph, layer, shape):
            return self.refuse(layer, reason)
        if not layer.weights:
            return self.refuse(layer, "its ranks come from its weights, and there are none; give the caffemodel")
        ranks = self._ranks(layer)
        before, after = layer_macs(layer, shapes), _macs(layer, ranks, shapes)
        if after > (1 - SAVING) * before:
            what = f"ranks {ranks.inside}, {ranks.out}" if ranks.out else f"rank {ranks.inside}"
            return self.refuse(layer, f"at {what} it would need {after:,} MACs in place of {before:,}; it must save {SAVING:.0%}")
        return Match(layer, (layer,), (layer,), ranks, exact=False)

    @staticmethod
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

    def _ranks(self, layer: Layer) -> _Ranks:
        from deepmerge.kernels import svd, tucker

        kind, value = parse_rank(self.options.rank)
        weight = weight_of(layer)
        group = 1 if layer.type == "InnerProduct" else layer.params.group
        if layer.type == "InnerProduct" or layer.params.kernel == (1, 1):
            if kind == "vbmf":
                rank = svd.rank_vbmf(weight, group)
            else:
                rank = {"energy": svd.rank_energy, "ratio": svd.rank_ratio}[kind](weight, value, group)
            return _Ranks(max(1, rank))
        if kind == "vbmf":
            out, inside = tucker.ranks_vbmf(weight, group)
        else:
            out, inside = {"energy": tucker.ranks_energy, "ratio": tucker.ranks_ratio}[kind](weight, group, value)
        out, inside = tucker.feasible_ranks(weight.shape, max(1, out), max(1, inside), group)
        return _Ranks(inside, out)

    def rewrite(self, graph, match):
        layer, ranks = match.layer, match.plan
        parts = _inner_products(layer, ranks) if layer.type == "InnerProduct" else _convolutions(layer, ranks)
        return _chain(graph, layer, parts)


@dataclass(frozen=True)
class _Part:
    """One of the layers that take a layer's place. main: it keeps the layer's own fields (fillers, a fork's)."""

    suffix: str
    params: Convolution | InnerProduct
    weight: np.ndarray
    main: bool


def _convolutions(layer: Layer, ranks: _Ranks) -> list[_Part]:
    """1x1, kxk, 1x1, or of a 1x1 two; one of them, the main one, has the layer's window."""
    from deepmerge.kernels.svd import conv1x1_svd
    from deepmerge.kernels.tucker import tucker2

    p, weight = layer.params, layer.weights[0]
    if p.kernel == (1, 1):
        main = "reduce"
        factors = zip(("reduce", "expand"), conv1x1_svd(weight, ranks.inside, p.group), strict=True)
    else:
        main = "core"
        factors = zip(("reduce", "core", "expand"), tucker2(weight, ranks.out, ranks.inside, p.group), strict=True)
    point = Convolution(num_output=1, kernel_h=1, kernel_w=1, group=p.group)
    return [
        _Part(suffix, replace(p if suffix == main else point, num_output=len(factor)), factor, suffix == main)
        for suffix, factor in factors
        if factor is not None
    ]


def _inner_products(layer: Layer, ranks: _Ranks) -> list[_Part]:
    from deepmerge.kernels.svd import truncated_svd

    first, last = truncated_svd(weight_of(layer), ranks.inside)
    p = replace(layer.params, transpose=False)
    return [
        _Part("reduce", replace(p, num_output=len(first)), first, True),
        _Part("expand", replace(p, num_output=len(last)), last, True),
    ]


def _chain(graph: Graph, layer: Layer, parts: list[_Part]) -> list[Layer]:
    """Put the parts, one behind the other, in the layer's place; the last one has its bias."""
    made: list[Layer] = []
    blob, bias = layer.bottom, bias_of(layer)
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


def _macs(layer: Layer, ranks: _Ranks, shapes) -> int:
    """Multiply-adds of what would take the layer's place, for one image."""
    into, out = shapes[layer.bottom], shapes[layer.top]
    p = layer.params
    if layer.type == "InnerProduct":
        outputs, inputs = weight_of(layer).shape
        return layer_macs(layer, shapes) // (outputs * inputs) * ranks.inside * (outputs + inputs)
    before, after = into[2] * into[3], out[2] * out[3]
    inside, outside = into[1] // p.group, p.num_output // p.group
    if not ranks.out:  # a 1x1 convolution: its stride goes with the first factor
        return p.group * ranks.inside * (inside + outside) * after
    core = ranks.inside * ranks.out * p.kernel_h * p.kernel_w * after
    first = inside * ranks.inside * before if ranks.inside < inside else 0
    last = ranks.out * outside * after if ranks.out < outside else 0
    return p.group * (first + core + last)
