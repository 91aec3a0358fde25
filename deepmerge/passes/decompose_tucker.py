"""A convolution becomes three small ones, an inner product two.

Given:   x → Convolution kxk (N ← C) → y
Result:  x → 1x1 (R_in ← C) → kxk (R_out ← R_in) → 1x1 (N ← R_out) → y

Given:   x → InnerProduct (N ← C) → y
Result:  x → InnerProduct (R ← C) → InnerProduct (N ← R) → y

A 1x1 convolution becomes two. With groups each group is decomposed by itself. Ranks: VBMF, a share of the
energy (squared singular values), or a share of the channels. Left alone where the MACs would not fall.

Exact: no.
Source: Kim et al., Compression of Deep CNNs for Fast and Low Power Mobile Applications (ICLR 2016).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from deepmerge.errors import PassError
from deepmerge.graph.costs import layer_macs
from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.graph.params import Convolution, InnerProduct
from deepmerge.passes.base import Match, Pass
from deepmerge.passes.chains import shared
from deepmerge.passes.weights import bias_of, weight_of


@dataclass(frozen=True)
class _Ranks:
    """Ranks per group; `out` 0 means one rank only (`inside`), as for a matrix."""

    inside: int
    out: int = 0


def parse_rank(text: str) -> tuple[str, float]:
    """("vbmf" | "energy" | "ratio", value) of --rank; PassError for anything else."""
    kind, _, number = text.partition(":")
    try:
        value = float(number) if number else 0.0
    except ValueError:
        value = -1.0
    if (kind == "vbmf" and not number) or (kind in ("energy", "ratio") and 0 < value <= 1):
        return kind, value
    raise PassError(f"--rank {text}: give vbmf, energy:SHARE or ratio:SHARE, with a share above 0 and up to 1")


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
        if after >= before:
            what = f"ranks {ranks.inside}, {ranks.out}" if ranks.out else f"rank {ranks.inside}"
            return self.refuse(layer, f"at {what} it would need {after:,} MACs, not {before:,}")
        return Match(layer, (layer,), (layer,), ranks, exact=False)

    @staticmethod
    def _obstacle(graph: Graph, layer: Layer, shape) -> str:
        if reason := shared(graph, layer):
            return reason
        if layer.params.axis != 1:
            return f"it has axis {layer.params.axis}"
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
        if layer.type == "InnerProduct" or weight.shape[2:] == (1, 1):
            group = 1 if layer.type == "InnerProduct" else layer.params.group
            matrix = weight.reshape(len(weight), -1)
            rank = {"vbmf": lambda: svd.rank_vbmf(matrix, group), "energy": lambda: svd.rank_energy(matrix, value, group),
                    "ratio": lambda: svd.rank_ratio(matrix, value, group)}[kind]()  # fmt: skip
            return _Ranks(max(1, rank))
        group = layer.params.group
        out, inside = {"vbmf": lambda: tucker.ranks_vbmf(weight, group), "energy": lambda: tucker.ranks_energy(weight, group, value),
                       "ratio": lambda: tucker.ranks_ratio(weight, group, value)}[kind]()  # fmt: skip
        out, inside = tucker.feasible_ranks(weight.shape, max(1, out), max(1, inside), group)
        return _Ranks(inside, out)

    def rewrite(self, graph, match):
        layer, ranks = match.layer, match.plan
        if layer.type == "InnerProduct":
            return self._inner_product(graph, layer, ranks)
        parts = self._factors(layer, ranks)
        return _chain(graph, layer, parts)

    def _factors(self, layer: Layer, ranks: _Ranks) -> list[tuple[str, Convolution, list]]:
        """(suffix, parameters, weights) of the convolutions that take the layer's place."""
        from deepmerge.kernels.svd import conv1x1_svd
        from deepmerge.kernels.tucker import tucker2

        p, bias = layer.params, bias_of(layer)
        if p.kernel == (1, 1):
            first, last = conv1x1_svd(layer.weights[0], ranks.inside, p.group)
            factors = [("reduce", first, False), ("expand", last, False)]
            windowed = "reduce"  # a stride or pad goes with the first
        else:
            first, core, last = tucker2(layer.weights[0], ranks.out, ranks.inside, p.group)
            factors = [("reduce", first, False), ("core", core, True), ("expand", last, False)]
            windowed = "core"
        factors = [f for f in factors if f[1] is not None]
        if windowed not in [f[0] for f in factors]:
            windowed = factors[0][0]
        made = []
        for suffix, weight, _ in factors:
            ending = suffix == factors[-1][0]
            if suffix == windowed:
                q = replace(p, num_output=len(weight), bias_term=False)
            else:
                q = Convolution(num_output=len(weight), kernel_h=1, kernel_w=1, group=p.group, bias_term=False)
            made.append((suffix, replace(q, bias_term=ending and bias is not None), [weight] + ([bias] if ending and bias is not None else [])))
        return made

    def _inner_product(self, graph: Graph, layer: Layer, ranks: _Ranks) -> list[Layer]:
        from deepmerge.kernels.svd import truncated_svd

        p, bias = layer.params, bias_of(layer)
        first, last = truncated_svd(weight_of(layer), ranks.inside)
        new = [
            ("reduce", InnerProduct(num_output=len(first), bias_term=False, axis=p.axis), [first]),
            ("expand", InnerProduct(num_output=p.num_output, bias_term=bias is not None, axis=p.axis), [last] + ([bias] if bias is not None else [])),
        ]
        return _chain(graph, layer, new)


def _chain(graph: Graph, layer: Layer, parts: list) -> list[Layer]:
    """Put the parts, one behind the other, in the layer's place."""
    made: list[Layer] = []
    blob = layer.bottom
    for i, (suffix, params, weights) in enumerate(parts):
        name = graph.fresh_name(f"{layer.name}_{suffix}")
        top = layer.top if i == len(parts) - 1 else Blob(name)
        new = Layer(name, layer.type, params, [blob], [top], weights)
        # the part with the window keeps the layer's own fields (fillers, a fork's); so do an inner product's
        if layer.type == "InnerProduct" or suffix == "core" or len(parts) == 1:
            new.tree, new.read_params = layer.tree, layer.read_params
        made.append(new)
        blob = top
    graph.replace([layer], made)
    return made


def _macs(layer: Layer, ranks: _Ranks, shapes) -> int:
    """Multiply-adds of what would take the layer's place."""
    into, out = shapes[layer.bottom], shapes[layer.top]
    p = layer.params
    if layer.type == "InnerProduct":
        rows = layer_macs(layer, shapes) // (weight_of(layer).shape[0] * weight_of(layer).shape[1])
        return rows * ranks.inside * sum(weight_of(layer).shape)
    before, after = into[0] * into[2] * into[3], out[0] * out[2] * out[3]
    inside, outside = into[1] // p.group, p.num_output // p.group
    if not ranks.out:  # a 1x1 convolution: stride goes with the first factor
        return p.group * ranks.inside * (inside * after + outside * after)
    core = ranks.inside * ranks.out * p.kernel_h * p.kernel_w * after
    ends = (ranks.inside < inside) * inside * ranks.inside * before + (ranks.out < outside) * ranks.out * outside * after
    return p.group * (core + ends)
