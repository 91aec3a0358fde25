"""A strided pooling goes into the convolution before it, which takes over its stride.

Given:   x → Convolution(kxk, stride s) → [ReLU] → Pooling(stride p) → y
Result:  x → Convolution(kxk or the whole receptive field, stride s·p, padded to the same output) → [ReLU] → y

Exact: no, the maximum over the window is lost. (AVE right after a convolution without dilation, into a covering kernel,
is exact except at the edge.)
Source: Li et al., DeepRebirth (AAAI 2018), streamline merging.
"""

from __future__ import annotations

from deepmerge.passes.support.base import Match, Pass
from deepmerge.passes.support.chains import alone, back_over_activations, check_absorber
from deepmerge.passes.support.option_values import KERNELS
from deepmerge.passes.support.streamline import check_strided, start, strided


class MergePooling(Pass):
    """Merge a strided pooling into the convolution before it, which takes over the stride."""

    name = "merge_pooling"
    exact = False
    types = frozenset(("Pooling",))
    uses = ("kernel", "init")

    def match(self, graph, layer, shapes):
        """Look for a convolution, with only activations between the two, that can take over the stride."""
        blob, _ = back_over_activations(layer.bottom)
        if alone(blob) and blob.producer.type == "Concat":
            return None  # merge_branches looks at it
        check_strided(layer, shapes)
        check_absorber(graph, layer, blob)
        conv = blob.producer
        new = strided(conv, layer, shapes, self.options.kernel == "cover")
        return Match(layer, (conv, layer), (conv,), new, exact=False)

    def offers(self, match):
        """Offer both kernels."""
        return {"kernel": KERNELS}

    def rewrite(self, graph, match):
        """Give the convolution its new parameters and initial weights and take the pooling out."""
        conv, layer = match.merged
        old, new, pool = conv.params, match.plan, layer.params
        graph.bypass(layer)
        if new.kernel != old.kernel:  # Caffe loads weights by name: those of another shape need another name
            graph.rename(conv, graph.fresh_name(f"{conv.name}_merged"))
        conv.params = new
        if conv.weights:
            conv.weights = [start(conv.weights[0], old, new, pool, self.options.init), *conv.weights[1:]]
        return [conv]
