"""Running a network part by part, each layer once, while the weights of later layers still change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from deepmerge.graph.extract import extracted, layers_between
from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.graph.shapes import Shape

if TYPE_CHECKING:
    from deepmerge.engines.base import Engine

Values = Mapping[Blob, np.ndarray]
Feeds = Callable[[], Iterable[Mapping[str, np.ndarray]]]


class Walk:
    """Runs `graph` on the batches that feeds() returns, the same each time.

    Values that do not depend on layers still to change are kept between parts, in up to `memory` bytes. If that is too
    little, the network is run again from what is kept, or from its inputs.
    """

    def __init__(
        self, graph: Graph, feeds: Feeds, images: int, engine: Engine, threads: int = 1, memory: int = 1 << 30
    ):
        from deepmerge.formats.onnx.batch import known_shapes

        self.graph, self.engine, self.threads = graph, engine, threads
        self.shapes = known_shapes(graph)
        self._images, self._memory = images, memory
        self._feeds, self._fed = feeds, list(graph.inputs)
        self._kept: list[dict[Blob, np.ndarray]] | None = None

    def through(self, front: Sequence[Blob], wanted: Sequence[Blob]) -> Iterator[dict[Blob, np.ndarray]]:
        """Yield the values of `wanted`, batch by batch.

        front: the blobs that the next part starts from; see `front_before` and `front_after`.
        """
        size = 4 * sum(int(np.prod(self.shapes[blob][1:])) for blob in front)
        keeping, kept = size * self._images <= self._memory, []
        ends = dict.fromkeys([*wanted, *(front if keeping else ())])
        with Part(self.graph, self._fed, ends, self.shapes, self.engine, self.threads) as part:
            for batch in self._source():
                values = part.run(batch)
                if keeping:
                    kept.append({blob: values[blob] for blob in front})
                yield {blob: values[blob] for blob in wanted}
        if keeping:
            self._kept, self._fed = kept, list(front)

    def front_before(self, changing: Sequence[Layer], ends: Sequence[Blob]) -> list[Blob]:
        """Return the blobs from which `ends` can be computed, whatever happens to the changing layers."""
        touched, moved = set(), set(changing)
        for layer in self.graph.layers:
            if layer in moved or any(bottom in touched for bottom in layer.bottoms):
                touched |= set(layer.tops)
        front: dict[Blob, None] = {}
        for layer in layers_between(self.graph, (), ends):
            if touched & set(layer.tops):
                front |= dict.fromkeys(bottom for bottom in layer.bottoms if bottom not in touched)
        return list(front)

    def front_after(self, blob: Blob, ends: Sequence[Blob]) -> list[Blob]:
        """Return the blobs from which the layers after the one that makes `blob` can compute `ends`."""
        order = {layer: i for i, layer in enumerate(self.graph.layers)}
        at = order[blob.producer]
        after = [layer for layer in layers_between(self.graph, (), ends) if order[layer] > at]
        read = [b for layer in after for b in layer.bottoms if order[b.producer] <= at]
        read += [top for layer in after if layer.type == "Input" for top in layer.tops]
        return list(dict.fromkeys([*read, *(end for end in ends if order[end.producer] <= at)]))

    def _source(self) -> Iterator[dict[Blob, np.ndarray]]:
        if self._kept is not None:
            yield from self._kept
        else:
            for batch in self._feeds():
                yield {blob: batch[blob.name] for blob in self._fed}


class Part:
    """The layers of `graph` from the blobs `fed` to the blobs `wanted`, with their current weights, in an engine.

    shapes: those of the graph's blobs. A blob that is both fed and wanted is passed through. Use it as a context
    manager, which frees the engine's session.
    """

    def __init__(
        self,
        graph: Graph,
        fed: Iterable[Blob],
        wanted: Iterable[Blob],
        shapes: Mapping[Blob, Shape],
        engine: Engine,
        threads: int = 1,
    ):
        fed, wanted = list(fed), list(wanted)
        self._through = [blob for blob in wanted if blob in fed]
        self._wanted = [blob for blob in wanted if blob not in fed]
        self.layers = layers_between(graph, fed, self._wanted)
        self._session: Any = None
        if self._wanted:
            part, twins = extracted(graph.name, self.layers, fed, shapes, apart=True)
            self._names = {blob: twins[blob].name for blob in (*fed, *self._wanted) if blob in twins}
            self._fed = [blob for blob in fed if blob in twins]
            self._session = engine.load(part, threads)

    def run(self, values: Values) -> dict[Blob, np.ndarray]:
        """Return the wanted blobs' values, computed from those of the fed ones, batch first."""
        made = {blob: values[blob] for blob in self._through}
        if self._session is not None:
            feeds = {self._names[blob]: values[blob] for blob in self._fed}
            results = self._session.forward(feeds, [self._names[blob] for blob in self._wanted])
            made |= {blob: results[self._names[blob]] for blob in self._wanted}
        return made

    def __enter__(self) -> Part:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the engine's session."""
        if self._session is not None:
            self._session.close()
