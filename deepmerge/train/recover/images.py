"""The images that recovery learns from, and those that it is judged by and never learns from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepmerge.data import ImageWishes, Loader, Loading, Preprocessing, open_images
from deepmerge.data.images import Images
from deepmerge.data.open_loader import image_input, preprocessing_of
from deepmerge.graph.costs import summary
from deepmerge.graph.graph import Graph
from deepmerge.train.shared.device import cores

if TYPE_CHECKING:
    import torch

HELD_OUT = 1000  # at most; a tenth of the images, where that is less
SLOW_HELD_OUT, WORK = 200, 4e11  # no more than that, where more would take so many multiplications
FEWEST = 20  # with fewer images than this, none is held out


@dataclass(frozen=True)
class Sources:
    """train: shuffled, mirrored and cropped as asked for. judge: each image once, as in the TEST phase; without random
    changes. held_out: how many images only `judge` has; 0 where there are too few, and it has those of `train`.
    """

    input: str
    train: Loader
    judge: Loader
    held_out: int
    notes: tuple[str, ...] = ()

    @property
    def repeats(self) -> bool:
        """Whether an image always is one of a few arrays (itself, mirrored), so that what it gives may be kept."""
        return self.train.images.ready or self.train.preprocessing.crop is None

    @property
    def skipped(self) -> list[str]:
        return [*self.train.skipped, *self.judge.skipped]


def open_sources(
    spec: str,
    graph: Graph,
    prototxt: Path,
    batch_size: int,
    wishes: ImageWishes,
    limit: int | None,
    seed: int,
    strict: bool,
) -> Sources:
    """The images of `spec` for the network's only input; `limit`: at most so many, spread evenly.

    prototxt: the network's; a train_val.prototxt beside it says what is done to the images, where `wishes` do not.
    ReadError where there are none, or the network takes none.
    """
    images = open_images(spec)
    name, shape = image_input(graph, images)
    notes: list[str] = []
    hows = [Preprocessing()] * 2
    if not images.ready:
        chosen = [preprocessing_of(graph, prototxt, shape, wishes, phase) for phase in ("TRAIN", "TEST")]
        hows, notes = [how for how, _ in chosen], [note for _, told in chosen for note in told]
    count = images.count if limit is None else min(limit, images.count)
    places = [place * images.count // count for place in range(count)]
    most = min(HELD_OUT, max(SLOW_HELD_OUT, int(WORK / max(1, summary(graph)["macs"]))))
    apart = max(10, -(-count // most))
    held = places[apart // 2 :: apart] if count >= FEWEST else []
    kept = set(held)
    train = Loader(
        _some(images, [p for p in places if p not in kept]),
        hows[0],
        shape,
        batch_size,
        Loading(seed=seed, train=True, strict=strict),
    )
    judge = Loader(_some(images, held or places), hows[1], shape, batch_size, Loading(strict=strict))
    return Sources(name, train, judge, len(held), tuple(dict.fromkeys(notes)))


def sample(sources: Sources, most: int) -> Loader:
    """Up to so many of the images to learn from, spread evenly, as in the TEST phase."""
    like, judge = sources.train, sources.judge
    count = min(most, like.count)
    chosen = _some(like.images, [place * like.count // count for place in range(count)])
    return Loader(chosen, judge.preprocessing, judge.shape, judge.batch_size, judge.loading)


def _some(images: Images, places: Sequence[int]) -> Images:
    return replace(images, count=len(places), read=lambda index: images.read(places[index]))


class Feed:
    """The loader's batches as tensors on a device, made ready ahead."""

    def __init__(self, loader: Loader, device: torch.device):
        self._loader, self._device = loader, device

    def batches(self, start: int) -> Iterator[torch.Tensor]:
        """Batch `start` and those behind it, without end."""
        if self._device.type == "cpu":
            made: Iterator[np.ndarray] = (batch.data for batch in self._loader.batches(start))
        else:
            made = self._by_many(start)
        for data in made:
            yield self.tensor(data)

    def once(self, most: int) -> Iterator[torch.Tensor]:
        """The first `most` images once, in order."""
        left = most
        for batch in self._loader.once():
            yield self.tensor(batch.data[:left])
            left -= len(batch.data)
            if left <= 0:
                return

    def tensor(self, data: np.ndarray) -> torch.Tensor:
        """On the device, with the channels last in memory, which convolutions and poolings are faster on."""
        import torch

        made = torch.from_numpy(data)
        if self._device.type == "cuda":
            made = made.pin_memory().to(self._device, non_blocking=True)
        return made.contiguous(memory_format=torch.channels_last) if made.dim() == 4 else made

    def _by_many(self, start: int) -> Iterator[np.ndarray]:
        """A GPU takes more batches than one thread makes."""
        workers = max(1, min(12, cores() - 2))
        with ThreadPoolExecutor(workers, "deepmerge-images") as pool:
            waiting = [pool.submit(self._loader.batch, start + i) for i in range(2 * workers)]
            try:
                while True:
                    yield waiting.pop(0).result().data
                    start += 1
                    waiting.append(pool.submit(self._loader.batch, start + 2 * workers - 1))
            finally:
                for one in waiting:
                    one.cancel()
