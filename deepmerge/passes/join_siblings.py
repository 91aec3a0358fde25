"""Sibling convolutions of one blob with one window become one, and a Slice distributes its channels.

Given:   x ─┬ 3x3 (n1) → y1
            ├ 3x3 (n2) → y2
            └ …
Result:  x → 3x3 (n1 + n2 + …) → Slice → y1, y2, …

Caffe gathers the windows of a kxk convolution once instead of several times. Measured in Caffe on one core: two of
8 to 32 outputs run 1.3 to 1.7 times as fast joined, two of 64 and SSD's pairs of heads (12 + 63, 16 + 84, 24 + 126)
1.1 to 1.4 times, two of 128 1.0 to 1.15 times. Siblings are joined up to 160 outputs together.

A 1x1 has nothing to gather: two of 4 to 8 outputs gain 1.13 to 1.8 times, also of 10 or 14, as the matrix product
works on four rows at once; two of 12 or 16 gain 1.07 to 1.13 times, which is hundredths of a millisecond, and wider
ones, such as GoogLeNet's reducers, nothing (0.98 to 1.03).

Exact: yes, except for the order of summation in the matrix product.
Source: Jia et al., TASO (SOSP 2019), merging convolutions of one input; Caffe, base_conv_layer.cpp, slice_layer.cpp.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate

import numpy as np

from deepmerge.graph.graph import Blob, Layer
from deepmerge.graph.params import Convolution, Slice
from deepmerge.passes.support.base import Match, Pass, Refused, possible
from deepmerge.passes.support.chains import check_own_weights, is_plain_1x1
from deepmerge.passes.support.weights import bias_or_zero

WIDEST_TOGETHER = 160  # outputs of joined kxk siblings
_FEW = "two of 12 or 16 outputs run 1.07 to 1.13 times as fast joined, and wider ones no faster"
_MANY = f"siblings of {WIDEST_TOGETHER} outputs together run less than 1.15 times as fast joined"


class JoinSiblings(Pass):
    """Join sibling convolutions of one blob into one convolution and a Slice."""

    name = "join_siblings"
    exact = True
    types = frozenset(("Convolution",))

    def match(self, graph, layer, shapes):
        """Look for siblings of the layer, if it is the first of those to be joined."""
        if layer.params.group != 1:
            return None
        family = list(dict.fromkeys(filter(_alike(layer), layer.bottom.consumers)))
        if len(family) < 2:
            return None
        free = [
            s for s in family if possible(check_own_weights, graph, s) and possible(self.check_touched, s, [s], True)
        ]
        if is_plain_1x1(layer):
            chosen, why = [s for s in free if _narrow(s.params.num_output)], _FEW
        else:
            chosen, why = _fitting(free), _MANY
        if len(chosen) > 1:
            return Match(layer, tuple(chosen), tuple(chosen)) if layer is chosen[0] else None
        if layer is family[0]:  # said once
            raise Refused(layer, f"fewer than two of its siblings are free and narrow enough: {why}")
        return None

    def rewrite(self, graph, match):
        """Put the joined convolution and the Slice in place of the siblings."""
        siblings = match.merged
        first = siblings[0]
        widths = [s.params.num_output for s in siblings]
        name = graph.fresh_name(f"{first.name}_joined")
        params = replace(first.params, num_output=sum(widths), bias_term=True)
        joined = Layer(name, "Convolution", params, [first.bottom], [Blob(name)])
        joined.tree, joined.read_params = first.tree, first.read_params
        if all(s.weights for s in siblings):
            weight = np.concatenate([s.weights[0] for s in siblings])
            bias = np.concatenate([bias_or_zero(s) for s in siblings])
            joined.weights = [weight, bias]
        cuts = Slice(axis=1, slice_point=tuple(accumulate(widths))[:-1])
        slices = Layer(graph.fresh_name(f"{name}_slice"), "Slice", cuts, [joined.top], [s.top for s in siblings])
        graph.replace(siblings, [joined, slices])
        return [joined]


def _alike(layer: Layer) -> Callable[[Layer], bool]:
    """Return whether another layer is the same convolution but for its outputs."""
    wanted = _window(layer)
    return lambda other: other.type == layer.type and other.params is not None and _window(other) == wanted


def _window(layer: Layer) -> Convolution:
    return replace(layer.params, num_output=1, bias_term=True)


def _narrow(outputs: int) -> bool:
    return outputs <= 8 or (outputs <= 16 and outputs % 4 != 0)


def _fitting(siblings: list[Layer]) -> list[Layer]:
    """Return the narrowest siblings that have few enough outputs together, in their own order."""
    narrowest = sorted(siblings, key=lambda s: s.params.num_output)
    totals = accumulate(s.params.num_output for s in narrowest)
    chosen = {s for s, total in zip(narrowest, totals, strict=True) if total <= WIDEST_TOGETHER}
    return [s for s in siblings if s in chosen]
