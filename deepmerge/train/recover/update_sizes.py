"""How large a step of training each blob takes: optimizers move numbers by about the rate, whatever they are worth.

A layer that reads pixels up to 255 has weights of hundredths and biases of tens; one rate for both would spoil the ones
and hardly move the others. So the rate is taken as a share: of the weights' root mean square; for a bias, of that of
the values that it is added to. (Shazeer, Stern: "Adafactor", arXiv 1804.04235, section 8, does so for weights.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from deepmerge.graph.graph import Graph

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter

    from deepmerge.engines.pytorch import TorchNet

# Layer type → which blob is added to the values.
BIASES = {"Bias": 0} | dict.fromkeys(
    ("Convolution", "ConvolutionDepthwise", "DepthwiseConvolution", "Deconvolution", "InnerProduct", "Scale"), 1
)
_LEAST = 1e-6


def scales(net: TorchNet, graph: Graph, feeds: Mapping[str, Tensor]) -> dict[Parameter, float]:
    """Blob → the size of its numbers. net: made of `graph`; feeds: a batch for its input."""
    import torch

    layers = [layer for layer in graph.layers if net.blobs_of(layer.name)]
    with torch.no_grad():
        made = net(feeds, tuple(dict.fromkeys(layer.top.name for layer in layers)))
    found: dict[Parameter, float] = {}
    for layer in layers:
        for index, blob in enumerate(net.blobs_of(layer.name)):
            sized = made[layer.top.name] if BIASES.get(layer.type) == index else blob
            found.setdefault(blob, max(_LEAST, float(sized.detach().float().square().mean().sqrt())))
    return found
