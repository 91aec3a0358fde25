"""Top-1 agreement of a merged network with its original, on images without labels."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from deepmerge.engines import engine
from deepmerge.graph.graph import Graph
from deepmerge.measure.accuracy.agreement import best_classes, class_outputs, same_class

_PIECE = 32  # images


class Judge:
    """Compares networks with the original.

    batches: returns the images for the blob `input`, float32 (N, …), the same each time. options: `engine`, its name,
    and the engine's options. limit: seconds after which the original gets no more images; the other networks get as
    many. images: that number, None before it is known. seconds: how long the last network took.
    """

    limit = math.inf
    images: int | None = None
    seconds = 0.0
    clock = staticmethod(time.monotonic)

    def __init__(
        self, original: Graph, input: str, batches: Callable[[], Iterable[np.ndarray]], threads: int, **options: Any
    ):
        self._input, self._batches, self._threads = input, batches, threads
        self._engine = engine(options.pop("engine", "ort"), **options)
        self._outputs = class_outputs(original)
        self._original = original
        self._wanted: np.ndarray | None = None

    def agreement(self, merged: Graph) -> float | None:
        """Return the share of images on which both networks have the same first class; None without classes.

        If an output has several places, each counts. A NaN among the scores counts as disagreement.
        """
        if self._wanted is None:
            self._wanted = self._classes(self._original)
        made = self._classes(merged)
        if not made.size or made.shape != self._wanted.shape:
            return None
        return float(same_class(made, self._wanted).mean())

    def _pieces(self) -> Iterator[np.ndarray]:
        """Yield the images in small batches, between which the clock is looked at."""
        for data in self._batches():
            for place in range(0, len(data), _PIECE):
                yield data[place : place + _PIECE]

    def _classes(self, graph: Graph) -> np.ndarray:
        found: list[np.ndarray] = []
        start, images, most = self.clock(), 0, self.images
        with self._engine.load(graph, self._threads) as session:
            for data in self._pieces():
                data = data[: None if most is None else most - images]
                made = session.forward({self._input: data}, self._outputs)
                found += [best_classes(made[name]).ravel() for name in self._outputs]
                images += len(data)
                if images == most or (most is None and self.clock() - start >= self.limit):
                    break
        self.images, self.seconds = images, self.clock() - start
        return np.concatenate(found) if found else np.empty(0, np.int64)
