"""A part of a network as a network of its own: from some blobs, which become its inputs, to others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.graph.params import Input
from deepmerge.graph.shapes import Shape

if TYPE_CHECKING:
    from deepmerge.engines.base import Engine

Values = Mapping[Blob, np.ndarray]


class Part:
    """The layers of `graph` that lead from the blobs `fed` to the blobs `wanted`, with the weights of now, in an engine.

    shapes: of the graph's blobs. A blob that is both is handed through. A context manager: leaving it frees the engine's
    session.
    """

    def __init__(
        self, graph: Graph, fed: Iterable[Blob], wanted: Iterable[Blob], shapes: Mapping[Blob, Shape], run: Engine,
        threads: int = 1,
    ):  # fmt: skip
        fed, wanted = list(fed), list(wanted)
        self._through = [blob for blob in wanted if blob in fed]
        self._wanted = [blob for blob in wanted if blob not in fed]
        self.layers = layers_between(graph, fed, self._wanted)
        self._session: Any = None
        if self._wanted:
            part, twins = _copied(graph.name, self.layers, fed, shapes)
            self._names = {blob: twins[blob].name for blob in (*fed, *self._wanted) if blob in twins}
            self._fed = [blob for blob in fed if blob in twins]
            self._session = run.load(part, threads)

    def run(self, values: Values) -> dict[Blob, np.ndarray]:
        """The wanted blobs' values from those of the fed ones, batch first."""
        made = {blob: values[blob] for blob in self._through}
        if self._session is not None:
            feeds = {self._names[blob]: values[blob] for blob in self._fed}
            results = self._session.forward(feeds, [self._names[blob] for blob in self._wanted])
            made |= {blob: results[self._names[blob]] for blob in self._wanted}
        return made

    def __enter__(self) -> Part:
        return self

    def __exit__(self, *_: object) -> None:
        if self._session is not None:
            self._session.close()


def layers_between(graph: Graph, fed: Iterable[Blob], wanted: Iterable[Blob]) -> list[Layer]:
    """The layers that make `wanted`, those before `fed` left out, in the network's order."""
    needed: set[Layer] = set()
    stop = set(fed)
    waiting = [blob for blob in wanted if blob not in stop]
    while waiting:
        layer = waiting.pop().producer
        if layer not in needed:
            needed.add(layer)
            waiting += [bottom for bottom in layer.bottoms if bottom not in stop]
    return [layer for layer in graph.layers if layer in needed]


def _copied(
    name: str, layers: list[Layer], fed: list[Blob], shapes: Mapping[Blob, Shape]
) -> tuple[Graph, dict[Blob, Blob]]:
    """The layers as a network, and the blobs' twins in it. No two versions of a blob share a name there."""
    part, twins = Graph(name), {}
    taken: dict[str, int] = {}

    def twin(blob: Blob) -> Blob:
        number = taken[blob.name] = taken.get(blob.name, 0) + 1
        twins[blob] = Blob(blob.name if number == 1 else f"{blob.name}#{number}")
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
