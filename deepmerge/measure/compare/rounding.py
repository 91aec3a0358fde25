"""How far rounding alone takes a network: its float32 against its float64, on a few images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from deepmerge.errors import EngineError
from deepmerge.graph import Graph
from deepmerge.graph.batching import runs_at_any_batch
from deepmerge.measure.compare.feeds import Chunk, Feeds

IMAGES = 4


@dataclass(frozen=True)
class Sample:
    """What a network was fed, and the blobs that an engine made of it in float32."""

    chunk: Chunk
    found: Feeds

    def parts(self, singly: bool) -> Iterable[tuple[Feeds, Feeds]]:
        """Yield (feeds, found) of the first images one by one, so that a run takes little memory; or all at once."""
        batch = len(next(iter(self.chunk.feeds.values())))
        cuts = [slice(i, i + 1) for i in range(min(self.chunk.images, IMAGES))] if singly else [slice(None)]
        for cut in cuts:
            yield (
                {name: array[cut] for name, array in self.chunk.feeds.items()},
                {name: array[cut] if len(array) == batch else array for name, array in self.found.items()},
            )


def rounding(graph: Graph, sample: Sample) -> dict[str, float]:
    """Return the largest distance of each blob that was found from its float64 value.

    EngineError if the network cannot run in float64, or a value is not finite.
    """
    from deepmerge.engines.float64 import Float64Session

    largest = dict.fromkeys(sample.found, 0.0)
    session = None
    try:
        for feeds, found in sample.parts(runs_at_any_batch(graph)):
            if session is None:
                session = Float64Session(graph, {name: len(array) for name, array in feeds.items()}, list(found))
            for name, exact in session.forward(feeds).items():
                if exact.size != found[name].size:
                    raise EngineError(f"blob {name!r} came out as {exact.shape} in float64")
                apart = np.abs(exact - found[name].reshape(exact.shape)).max(initial=0.0)
                if not np.isfinite(apart):
                    raise EngineError(f"blob {name!r} has values that are not finite")
                largest[name] = max(largest[name], float(apart))
    except MemoryError:
        raise EngineError("there is not enough memory to run it in float64") from None
    return largest
