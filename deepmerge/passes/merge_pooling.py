"""A strided pooling goes into the convolution before it, which takes over its stride.

Given:   x → Convolution(kxk, stride s) → [ReLU] → Pooling(stride p) → y
Result:  x → Convolution(kxk or the whole receptive field, stride s·p, padded to the same output) → [ReLU] → y

Exact: no, the maximum over the window is lost (AVE into a covering kernel is, but for the edge).
Source: Li et al., DeepRebirth (AAAI 2018), streamline merging.
"""

from __future__ import annotations

from deepmerge.passes.support.base import Match, Pass
from deepmerge.passes.support.chains import CONVOLUTIONS, back_over_activations, fixed
from deepmerge.passes.support.streamline import poolable, start, strided


class MergePooling(Pass):
    name = "merge_pooling"
    exact = False
    summary = "a strided pooling into the convolution before it, which takes over the stride"
    types = frozenset(("Pooling",))

    def match(self, graph, layer, shapes):
        conv, _, reason = back_over_activations(layer.bottom)
        if not reason and conv.type == "Concat":
            return None  # merge_branches looks at it
        if not reason and conv.type not in CONVOLUTIONS:
            reason = f"{conv.name!r} ({conv.type}), not a convolution, stands before it"
        if reason := poolable(layer, shapes) or reason or fixed(graph, conv):
            return self.refuse(layer, reason)
        cover = self.options.kernel == "cover"
        new = strided(conv.params, layer.params, shapes[conv.bottom][2:], shapes[layer.top][2:], cover)
        if isinstance(new, str):
            return self.refuse(layer, new)
        return Match(layer, (conv, layer), (conv,), new, exact=False)

    def rewrite(self, graph, match):
        conv, layer = match.merged
        old, new, pool = conv.params, match.plan, layer.params
        graph.bypass(layer)
        if new.kernel != old.kernel:  # weights of another shape go by another name: see emit/steps.py
            conv.name = graph.fresh_name(f"{conv.name}_merged")
        conv.params = new
        if conv.weights:
            conv.weights = [start(conv.weights[0], old, new, pool, self.options.init), *conv.weights[1:]]
        return [conv]
