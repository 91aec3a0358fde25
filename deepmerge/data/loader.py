"""Images as a network takes them in: batch by batch, decoded once, made a little ahead of use.

loader = Loader(open_images("folder:photos"), preprocessing, shape, 64, Loading(seed=1))
for batch in loader.batches():      # without end, each epoch in an order of its own
    batch.data                      # float32 (64, C, H, W)
for batch in loader.once(): …       # each image once, in order
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from deepmerge.data.batches import make_batch
from deepmerge.data.images import Images, Picture, read_picture
from deepmerge.data.prefetch import prefetched
from deepmerge.data.preprocess import Preprocessing
from deepmerge.errors import ReadError, SourceError

CACHE_BYTES = 1 << 30
_ORDER, _DRAWS = 0, 1  # what a random number is for


@dataclass(frozen=True)
class Batch:
    """Images for a network. data: float32 (N, C, H, W). labels: int64 (N,), None if an image has none."""

    data: np.ndarray
    labels: np.ndarray | None


@dataclass(frozen=True)
class Loading:
    """How a Loader reads its images.

    seed: of the order and of the random crops. shuffle: each epoch of `batch` has an order of its own.
    train: `batch` crops anywhere and mirrors at random, as far as the preprocessing does so.
    limit: use at most this many images, spread evenly over the source.
    strict: an image that cannot be read is an error; else it is left out, and `Loader.skipped` says why.
    classes: every label must be below it, except `ignored`. labelled: every image must have a label; None: if the first
    one has.
    cache_bytes: how much of the decoded images is kept; the rest is read again each time.
    """

    seed: int = 0
    shuffle: bool = True
    train: bool = False
    limit: int | None = None
    strict: bool = False
    classes: int | None = None
    ignored: int | None = None
    labelled: bool | None = False
    cache_bytes: int = field(default_factory=lambda: CACHE_BYTES)


class Loader:
    """The batches of a source.

    shape: the network's input, (any, C, H, W). count: how many images there are, unreadable ones included.
    """

    def __init__(
        self,
        images: Images,
        preprocessing: Preprocessing,
        shape: Sequence[int],
        batch_size: int,
        loading: Loading = Loading(),
    ):
        self.images, self.preprocessing, self.shape, self.batch_size = images, preprocessing, tuple(shape), batch_size
        self.loading = loading
        self.count = images.count if loading.limit is None else min(loading.limit, images.count)
        self._labelled = loading.labelled
        self._room = loading.cache_bytes
        self._kept: dict[int, Picture] = {}
        self._bad: dict[int, str] = {}  # place → why
        self._order = lru_cache(2)(self._shuffled)

    @property
    def skipped(self) -> list[str]:
        """Why images could not be read, one line for each, in the order of the source."""
        return [why for _, why in sorted(dict(self._bad).items())]

    @property
    def has_labels(self) -> bool:
        """Whether the first image that can be read has a label."""
        found = (self._picture(place) for place in range(self.count))
        first = next((picture for picture in found if picture is not None), None)
        return first is not None and first.label is not None

    def batch(self, index: int) -> Batch:
        """Return batch `index` of an endless sequence of epochs, each in an order of its own if `shuffle` is on.

        It depends on the seed and the index alone. An image that cannot be read is replaced by the next one that can.
        Raises ReadError if none can; SourceError if the source has gone, or does not fit the network.
        """
        start = index * self.batch_size
        places = [self._order(at // self.count)[at % self.count] for at in range(start, start + self.batch_size)]
        draws = (
            np.random.default_rng([self.loading.seed, _DRAWS, index]).random((self.batch_size, 3))
            if self.loading.train
            else None
        )
        return self._batch([self._next_readable(place) for place in places], draws)

    def batches(self, start: int = 0) -> Iterator[Batch]:
        """Yield batch(start), batch(start + 1) and so on without end, made in a separate thread."""
        return prefetched(self._endless(start))

    def once(self) -> Iterator[Batch]:
        """Yield all images once, in the order of the source, as in the TEST phase; the last batch may be smaller."""
        return prefetched(self._once())

    def _endless(self, start: int) -> Iterator[Batch]:
        while True:
            yield self.batch(start)
            start += 1

    def _once(self) -> Iterator[Batch]:
        waiting: list[Picture] = []
        for place in range(self.count):
            if (picture := self._picture(place)) is not None:
                waiting.append(picture)
            if len(waiting) == self.batch_size:
                yield self._batch(waiting)
                waiting = []
        if waiting:
            yield self._batch(waiting)
        if len(self._bad) == self.count:
            raise self._nothing()

    def _shuffled(self, epoch: int) -> Sequence[int]:
        if not self.loading.shuffle:
            return range(self.count)
        return np.random.default_rng([self.loading.seed, _ORDER, epoch]).permutation(self.count).tolist()

    def _next_readable(self, place: int) -> Picture:
        for step in range(self.count):
            if (picture := self._picture((place + step) % self.count)) is not None:
                return picture
        raise self._nothing()

    def _nothing(self) -> ReadError:
        return ReadError(f"none of the {self.count} images could be read; the first: {self.skipped[0]}")

    def _picture(self, place: int) -> Picture | None:
        """Return one image, checked; None if it cannot be read."""
        if place in self._kept:
            return self._kept[place]
        if place in self._bad:
            return None
        try:
            picture = read_picture(self.images, place * self.images.count // self.count)
            self._check(picture)
        except SourceError:
            raise
        except ReadError as error:
            if self.loading.strict:
                raise ReadError(f"--strict: {error}") from None
            self._bad[place] = str(error)
            return None
        if picture.pixels.nbytes <= self._room:
            self._room -= picture.pixels.nbytes
            self._kept[place] = picture
        return picture

    def _check(self, picture: Picture) -> None:
        pixels, wanted = picture.pixels, self.shape[1:]
        if self.images.ready:
            if pixels.shape != wanted:
                text = f"the array is {_sizes(pixels.shape)}, and the network takes {_sizes(wanted)}"
                raise SourceError(f"{picture.name}: {text}; make the data again")
        else:
            try:
                self.preprocessing.check(pixels.shape, wanted[0])
            except ReadError as error:
                raise type(error)(f"{picture.name}: {error}") from None
            if (made := self.preprocessing.size(pixels.shape[:2])) != wanted[1:]:
                raise ReadError(
                    f"{picture.name}: the image is {_sizes(made[::-1])}, and the network takes {_sizes(wanted[:0:-1])}"
                )
        self._check_label(picture)

    def _check_label(self, picture: Picture) -> None:
        label, classes = picture.label, self.loading.classes
        if self._labelled is None:
            self._labelled = label is not None
        if label is None and self._labelled:
            where = "a folder has sub-folders for them, a list a number after each path"
            raise SourceError(f"{picture.name}: has no label, and labels are needed; {where}")
        if label in (None, self.loading.ignored) or classes is None:
            return
        if not 0 <= label < classes:
            text = f"label {label} is out of range: the network has {classes} classes, 0 to {classes - 1}"
            raise SourceError(f"{picture.name}: {text}; is it the right network for these images?")

    def _batch(self, pictures: list[Picture], draws: np.ndarray | None = None) -> Batch:
        labels = [picture.label for picture in pictures]
        arrays = [picture.pixels for picture in pictures]
        if self.images.ready:
            data = np.stack(arrays).astype(np.float32, copy=False)
        else:
            data = make_batch(arrays, self.preprocessing, self.shape[1], draws)
        return Batch(data, None if None in labels else np.array(labels, np.int64))


def _sizes(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))
