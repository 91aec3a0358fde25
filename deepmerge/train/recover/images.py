"""The images that recovery learns from, and the held-out images that it is judged by."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepmerge.data import ImageWishes, Loader, Loading, network_transform, open_network_images
from deepmerge.graph.batching import require_rows
from deepmerge.graph.costs import summary
from deepmerge.graph.graph import Graph
from deepmerge.machine import cores

if TYPE_CHECKING:
    import torch

HELD_OUT = 1000  # most images to hold out; a tenth of all if that is less
SLOW_HELD_OUT, WORK = 200, 1.6e12  # the most for a network on which more would take that many multiplications
FEWEST = 20  # with fewer images, none is held out


@dataclass(frozen=True)
class Sources:
    """The images for the network's input blob.

    train: shuffled, mirrored and cropped as asked for. judge: each image once, as in the TEST phase, with no random
    changes. held_out: the number of images that only `judge` has; 0 if there are too few, and it has those of `train`.
    """

    input: str
    train: Loader
    judge: Loader
    held_out: int
    notes: tuple[str, ...] = ()

    @property
    def skipped(self) -> list[str]:
        """Why images could not be read, a line for each."""
        return [*self.train.skipped, *self.judge.skipped]


def open_sources(
    spec: str, graph: Graph, prototxt: Path, batch_size: int, wishes: ImageWishes, loading: Loading
) -> Sources:
    """Open the images of `spec` for the network's only input.

    prototxt: the network's file; the train_val.prototxt beside it gives the preprocessing that the wishes leave open.
    ReadError where there are no images, or the network takes none. GraphError where it is bound to its batch.
    """
    opened = open_network_images(spec, graph)
    require_rows(graph)
    images = opened.source
    train_how, train_notes = opened.preprocessing(network_transform(graph, prototxt, "TRAIN"), wishes, train=True)
    judge_how, judge_notes = opened.preprocessing(network_transform(graph, prototxt, "TEST"), wishes)
    count = images.count if loading.limit is None else min(loading.limit, images.count)
    every = [place * images.count // count for place in range(count)]
    held = _held_out(every, summary(graph)["macs"])
    held_set = set(held)
    learned = images.some([place for place in every if place not in held_set])
    loading = replace(loading, limit=None)
    train = Loader(learned, train_how, opened.shape, batch_size, replace(loading, train=True))
    judge = Loader(images.some(held or every), judge_how, opened.shape, batch_size, loading)
    return Sources(opened.input, train, judge, len(held), tuple(dict.fromkeys([*train_notes, *judge_notes])))


def _held_out(places: Sequence[int], macs: int) -> Sequence[int]:
    """Return the places of the images to hold out, spread evenly. macs: the network's for one image."""
    if len(places) < FEWEST:
        return []
    most = min(HELD_OUT, max(SLOW_HELD_OUT, int(WORK / max(1, macs))))
    apart = max(10, -(-len(places) // most))
    return places[apart // 2 :: apart]


def sample(sources: Sources, most: int) -> Loader:
    """Return up to `most` of the images to learn from, spread evenly and read as in the TEST phase."""
    like, judge = sources.train, sources.judge
    count = min(most, like.count)
    chosen = like.images.some([place * like.count // count for place in range(count)])
    return Loader(chosen, judge.preprocessing, judge.shape, judge.batch_size, judge.loading)


class Feed:
    """The loader's batches as tensors (N, …), float32, on a device, prepared ahead."""

    def __init__(self, loader: Loader, device: torch.device):
        self._loader, self._device = loader, device

    def batches(self, start: int) -> Generator[torch.Tensor, None, None]:
        """Yield the batches from number `start` on, without end."""
        if self._device.type == "cpu":
            arrays: Iterator[np.ndarray] = (batch.data for batch in self._loader.batches(start))
        else:
            arrays = self._by_many(start)
        for data in arrays:
            yield self.tensor(data)

    def once(self, most: int) -> Iterator[torch.Tensor]:
        """Yield the first `most` images once, in order."""
        left = most
        for batch in self._loader.once():
            yield self.tensor(batch.data[:left])
            left -= len(batch.data)
            if left <= 0:
                return

    def tensor(self, data: np.ndarray) -> torch.Tensor:
        """Return the batch on the device, with channels last in memory: convolutions and poolings are faster so."""
        import torch

        batch = torch.from_numpy(data)
        if self._device.type == "cuda":
            batch = batch.pin_memory().to(self._device, non_blocking=True)
        return batch.contiguous(memory_format=torch.channels_last) if batch.dim() == 4 else batch

    def _by_many(self, start: int) -> Iterator[np.ndarray]:
        """Yield batches that several threads prepare: a GPU needs more than one thread makes."""
        workers = max(1, min(12, cores() - 2))
        with ThreadPoolExecutor(workers, "deepmerge-images") as pool:
            waiting = [pool.submit(self._loader.batch, start + i) for i in range(2 * workers)]
            try:
                while True:
                    yield waiting.pop(0).result().data
                    start += 1
                    waiting.append(pool.submit(self._loader.batch, start + 2 * workers - 1))
            finally:
                for future in waiting:
                    future.cancel()
