"""A part of a network as a network of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.graph.params import Input
from deepmerge.graph.shapes import Shape


def layers_between(graph: Graph, fed: Iterable[Blob], wanted: Iterable[Blob]) -> list[Layer]:
    """Return the layers that compute `wanted` from `fed`, in the network's order."""
    needed: set[Layer] = set()
    stop = set(fed)
    waiting = [blob for blob in wanted if blob not in stop]
    while waiting:
        layer = waiting.pop().producer
        if layer not in needed:
            needed.add(layer)
            waiting += [bottom for bottom in layer.bottoms if bottom not in stop]
    return [layer for layer in graph.layers if layer in needed]


def extracted(
    name: str, layers: Sequence[Layer], fed: Iterable[Blob], shapes: Mapping[Blob, Shape], apart: bool = False
) -> tuple[Graph, dict[Blob, Blob]]:
    """Return the layers as a network whose inputs are the blobs `fed` that they read, and the blobs' twins in it.

    apart: each version of a blob gets a name of its own there; otherwise layers that work in place still do.
    """
    part, twins = Graph(name), {}
    taken: dict[str, int] = {}

    def twin(blob: Blob) -> Blob:
        number = taken[blob.name] = taken.get(blob.name, 0) + 1
        twins[blob] = Blob(f"{blob.name}#{number}" if apart and number > 1 else blob.name)
        return twins[blob]

    made = {top for layer in layers for top in layer.tops}
    read = {bottom for layer in layers for bottom in layer.bottoms} - made
    for blob in (blob for blob in fed if blob in read):
        part.insert(Layer(f"feed {len(twins)}", "Input", Input(shape=(shapes[blob],)), [], [twin(blob)]))
    for layer in layers:
        bottoms = [twins[blob] for blob in layer.bottoms]
        tops = [twin(top) for top in layer.tops]
        part.insert(replace(layer, bottoms=bottoms, tops=tops, weights=list(layer.weights)))
    return part, twins
