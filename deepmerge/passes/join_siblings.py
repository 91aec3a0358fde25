"""Sibling 1x1 convolutions of one blob become one, and a Slice distributes its channels.

Given:   x ─┬ 1x1 (n1) → y1
            ├ 1x1 (n2) → y2
            └ …
Result:  x → 1x1 (n1 + n2 + …) → Slice → y1, y2, …

Only siblings of up to 16 outputs each: measured in Caffe on one core, three of 4, 8 or 16 outputs run 1.0 to
2.1 times as fast joined (median 1.35), three of 32 about 1.1, three of 64 no faster, as the matrix product is
then large enough by itself. GoogLeNet's modules joined whole gained nothing (0.98 to 1.03).

Exact: yes, except for the order of summation in the matrix product.
Source: Jia et al., TASO (SOSP 2019), merging convolutions of one input; Caffe, slice_layer.cpp.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate

import numpy as np

from deepmerge.graph.graph import Blob, Layer
from deepmerge.graph.params import Slice
from deepmerge.passes.support.base import Match, Pass, Refused, possible
from deepmerge.passes.support.chains import check_own_weights, is_plain_1x1
from deepmerge.passes.support.weights import bias_or_zero

WIDEST = 16


class JoinSiblings(Pass):
    """Join sibling 1x1 convolutions of one blob into one convolution and a Slice."""

    name = "join_siblings"
    exact = True
    types = frozenset(("Convolution",))

    def match(self, graph, layer, shapes):
        """Look for siblings of the layer, if it is the first of them."""
        if next(filter(is_plain_1x1, layer.bottom.consumers), None) is not layer:
            return None
        family = [r for r in dict.fromkeys(layer.bottom.consumers) if is_plain_1x1(r)]
        if len(family) < 2:
            return None
        free = [s for s in family if possible(check_own_weights, graph, s) and not {s.name, s.type} & self.options.keep]
        narrow = tuple(s for s in free if s.params.num_output <= WIDEST)
        if len(narrow) < 2:
            few = f"fewer than two of its siblings have {WIDEST} outputs or fewer"
            raise Refused(layer, f"{few}, and joining wider ones saves no time")
        return Match(layer, narrow, narrow)

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
