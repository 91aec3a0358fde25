"""Going through a network stretch by stretch, each layer run once, while the layers behind still change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.train.recover.subgraph import Part, layers_between

if TYPE_CHECKING:
    from deepmerge.engines.base import Engine

Feeds = Callable[[], Iterable[Mapping[str, np.ndarray]]]


class Walk:
    """Runs `graph` on the batches that feeds() gives, the same each time.

    What the layers still to change do not touch is kept from one stretch to the next, in up to `memory` bytes; where that
    is too little the network is run anew from what is kept, or from its inputs.
    """

    def __init__(self, graph: Graph, feeds: Feeds, images: int, run: Engine, threads: int = 1, memory: int = 1 << 30):
        from deepmerge.formats.onnx.batch import known_shapes

        self.graph, self.run, self.threads = graph, run, threads
        self.shapes = known_shapes(graph)
        self._images, self._memory = images, memory
        self._feeds, self._fed = feeds, list(graph.inputs)
        self._kept: list[dict[Blob, np.ndarray]] | None = None

    def through(self, front: Sequence[Blob], wanted: Sequence[Blob]) -> Iterator[dict[Blob, np.ndarray]]:
        """The values of `wanted`, batch by batch; from `front` the next stretch goes on, see `front_before`, `front_behind`."""
        values = sum(int(np.prod(self.shapes[blob][1:])) for blob in front)
        keeping, kept = 4 * values * self._images <= self._memory, []
        ends = dict.fromkeys([*wanted, *(front if keeping else ())])
        with Part(self.graph, self._fed, ends, self.shapes, self.run, self.threads) as part:
            for batch in self._source():
                made = part.run(batch)
                if keeping:
                    kept.append({blob: made[blob] for blob in front})
                yield {blob: made[blob] for blob in wanted}
        if keeping:
            self._kept, self._fed = kept, list(front)

    def front_before(self, changing: Sequence[Layer], ends: Sequence[Blob]) -> list[Blob]:
        """The blobs from which `ends` can be made whatever becomes of the changing layers."""
        touched, moved = set(), set(changing)
        for layer in self.graph.layers:
            if layer in moved or any(bottom in touched for bottom in layer.bottoms):
                touched |= set(layer.tops)
        leading = layers_between(self.graph, (), ends)
        return list(
            dict.fromkeys(
                b for layer in leading if touched & set(layer.tops) for b in layer.bottoms if b not in touched
            )
        )

    def front_behind(self, blob: Blob, ends: Sequence[Blob]) -> list[Blob]:
        """The blobs from which `ends` can be made by the layers behind the one that makes `blob`."""
        order = {layer: i for i, layer in enumerate(self.graph.layers)}
        at = order[blob.producer]
        behind = [layer for layer in layers_between(self.graph, (), ends) if order[layer] > at]
        found = [b for layer in behind for b in layer.bottoms if order[b.producer] <= at]
        return list(dict.fromkeys([*found, *(end for end in ends if order[end.producer] <= at)]))

    def _source(self) -> Iterator[dict[Blob, np.ndarray]]:
        if self._kept is not None:
            yield from self._kept
        else:
            for batch in self._feeds():
                yield {blob: batch[blob.name] for blob in self._fed}
