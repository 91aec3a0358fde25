"""What a loop asks of the engine that computes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np

from deepmerge.formats.write import write_caffemodel
from deepmerge.graph.graph import Graph

Arrays = dict[str, np.ndarray]


class Learner(ABC):
    """A stage's TRAIN network and its tests in an engine, with images.

    batch_size: of all processes together. count, skipped: the number of images, and why some could not be read.
    tests: the number of test networks. test_count, test_skipped: how many of their images can be read, and why others
    could not be. notes: for the user. slowed: what the solver's learning rate is multiplied by, from the next `load`
    on. timed: whether `step` heeds its position.
    """

    slowed: float = 1.0
    timed: bool = False

    batch_size: int
    count: int
    skipped: list[str]
    tests: int
    test_count: int
    test_skipped: list[str]
    notes: list[str]

    def settle(self, precision: str) -> str:
        """Return the precision to compute in, fp32 or bf16. precision: that of a checkpoint, "" at the beginning."""
        return "fp32"

    @abstractmethod
    def load(self, arrays: Arrays, iteration: int) -> None:
        """Start at an iteration. arrays: what `state` returned there, {} at the stage's beginning."""

    @abstractmethod
    def state(self) -> Arrays:
        """Return everything that `load` needs to continue with the same result."""

    @abstractmethod
    def step(self, most: int, position: int) -> list[float]:
        """Run one to `most` iterations, and return the loss of each. position: of the first, in the solver's schedule.

        It is further than the iteration where --minutes leaves no time for all.
        """

    @abstractmethod
    def test(self, whole: bool, most: int | None = None) -> list[dict[str, float]]:
        """Return each test's outputs, and `images`, their number.

        whole: take all images, not test_iter batches. most: batches at most.
        """

    @abstractmethod
    def trained(self) -> Graph:
        """Return the TRAIN network with its current weights."""

    def spoilt(self) -> str:
        """Return the first blob of weights that are not finite, such as conv1/0; "" if there is none."""
        for layer in self.trained().layers:
            for index, blob in enumerate(layer.weights):
                if not np.isfinite(blob).all():
                    return f"{layer.name}/{index}"
        return ""

    def save(self, path: Path) -> None:
        """Write a snapshot: the weights of all layers of the TRAIN network, as Caffe's solver writes it."""
        write_caffemodel(self.trained(), path)
