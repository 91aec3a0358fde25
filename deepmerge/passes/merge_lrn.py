"""LRN goes into the convolution before it.

Given:   x → Convolution → [ReLU] → LRN(k) → y
Result:  x → Convolution(k^−beta · W, k^−beta · b) → [ReLU] → y

Exact: no. LRN divides by (k + alpha/n · Σx²)^beta. Without the sum, the constant k^−beta is left (1 at Caffe's
k = 1); recovery lets the convolution learn the rest.
Source: Li et al., DeepRebirth (AAAI 2018), streamline merging; Caffe, lrn_layer.cpp.
"""

from __future__ import annotations

from deepmerge.kernels.xavier import xavier
from deepmerge.passes.support.base import Match, Pass, Refused
from deepmerge.passes.support.chains import back_over_activations, check_absorber

# Activations f with f(c·x) = c·f(x) for every c above 0
_HOMOGENEOUS = frozenset(("ReLU", "PReLU"))


class MergeLrn(Pass):
    """Merge LRN into the convolution before it."""

    name = "merge_lrn"
    exact = False
    types = frozenset(("LRN",))
    uses = ("init",)

    def match(self, graph, layer, shapes):
        """Look for a convolution, and between the two only activations that a constant factor passes through."""
        blob, between = back_over_activations(layer.bottom)
        check_absorber(graph, layer, blob)
        conv, p = blob.producer, layer.params
        if p.norm_region == "ACROSS_CHANNELS" and p.k <= 0:
            raise Refused(layer, f"its k is {p.k:g}: without the sum of squares it would divide by 0")
        factor = 1.0 if p.norm_region == "WITHIN_CHANNEL" else p.k**-p.beta
        in_the_way = [a for a in between if a.type not in _HOMOGENEOUS]
        if factor != 1.0 and in_the_way:
            activation = f"{in_the_way[0].name!r} ({in_the_way[0].type})"
            raise Refused(layer, f"its constant factor {factor:g} does not pass through {activation}")
        return Match(layer, (conv, layer), (conv,), factor, exact=False)

    def rewrite(self, graph, match):
        """Scale the convolution's weights by the constant factor and take LRN out."""
        conv, layer = match.merged
        if conv.weights and self.options.init == "xavier":
            conv.weights = [xavier(conv.weights[0].shape), *conv.weights[1:]]
        elif match.plan != 1.0:
            conv.weights = [(array * match.plan).astype(array.dtype) for array in conv.weights]
        graph.bypass(layer)
        return [conv]
