"""Regions of a network: parts joined by single blobs.

GoogLeNet falls into single layers and inception modules, ResNet into residual blocks, by structure alone.
"""

from __future__ import annotations

from deepmerge.graph.graph import Blob, Graph, Layer


def regions(graph: Graph) -> dict[Layer, int]:
    """Return the region of each layer, numbered from 0 in the network's order; Inputs are in region 0.

    A region ends where only one blob is still to be read. Inputs that no layer has read yet do not count (detectors
    read the image's size at their end). A part without branches is cut again: each convolution (or inner product)
    begins a region, and the layers after it belong to it.
    """
    number: dict[Layer, int] = {}
    live: dict[Blob, int] = {}  # how many reads of a blob are still to come
    stretch: list[Layer] = []
    count = 0
    for layer in graph.layers:
        if layer.type == "Input":
            number[layer] = 0
            continue
        stretch.append(layer)
        for bottom in layer.bottoms:
            live[bottom] = live.get(bottom, len(bottom.consumers)) - 1
            if not live[bottom]:
                del live[bottom]
        live |= {top: len(top.consumers) for top in layer.tops if top.consumers}
        if len(live) <= 1 and all(left == len(blob.consumers) for blob, left in live.items()):
            begins = len(stretch) > 1 or layer.kind.linear
            count += begins and bool(number)
            number |= dict.fromkeys(stretch, count)
            stretch = []
    return number | dict.fromkeys(stretch, count + 1)
