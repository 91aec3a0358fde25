"""Images changed at random, each with what the original says of it: made once, kept on disk, and shown several times.

Asking the original takes longer than learning from its answer.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepmerge.train.recover.distillation import Batch, Distillation
from deepmerge.train.shared.guards import writing

if TYPE_CHECKING:
    from torch import Tensor, dtype

MOST_KEPT = 4 << 30  # bytes on disk
_HEADER = 16  # bytes before the first row: the set's number, and a digest of the columns
_ORDER = 3  # keeps these random numbers apart from the loader's and the augmentation's


class Kept:
    """Tensors by row, in one file: `count` rows so far of the set `number`, each as in `columns`, shape and type.

    The file begins with the set's number and the columns: a run that was killed may have begun another set after its
    last checkpoint, and may continue in another precision or on another device.
    Maps are stored with channels last, as the networks work on them. TrainingError where the disk refuses.
    """

    def __init__(self, path: Path, columns: Sequence[tuple[tuple[int, ...], dtype]], count: int = 0, number: int = 0):
        self._columns = list(columns)
        self._sizes = [int(np.prod(shape, dtype=int)) * kind.itemsize for shape, kind in columns]
        self._path = path
        with writing(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            self._file = open(path, "r+b")  # open as long as the stage runs
            known = self._file.read(_HEADER) == self._header(number)
            rows = (path.stat().st_size - _HEADER) // self.row_bytes
        self.number, self.count = number, min(count, rows) if known else 0
        if not known:
            self.begin(number)

    @property
    def row_bytes(self) -> int:
        """The size of a row."""
        return sum(self._sizes)

    def add(self, values: Sequence[Tensor]) -> None:
        """Append rows. values: a tensor for each column, (N, …)."""
        rows = [_bytes_of(value, kind) for value, (_, kind) in zip(values, self._columns, strict=True)]
        with writing(self._path.parent):
            self._file.seek(_HEADER + self.count * self.row_bytes)
            self._file.write(np.hstack(rows))
        self.count += len(rows[0])

    def read(self, rows: Sequence[int]) -> list[Tensor]:
        """Return the columns of some rows, (N, …) each."""
        found = np.empty((len(rows), self.row_bytes), np.uint8)
        for place, row in enumerate(rows):
            self._file.seek(_HEADER + row * self.row_bytes)
            self._file.readinto(found[place])
        ends = list(itertools.accumulate(self._sizes))
        parts = [found[:, end - size : end] for end, size in zip(ends, self._sizes, strict=True)]
        return [_tensor_of(part, *column) for part, column in zip(parts, self._columns, strict=True)]

    def begin(self, number: int) -> None:
        """Forget all rows, and begin the set of that number."""
        with writing(self._path.parent):
            self._file.seek(0)
            self._file.write(self._header(number))
            self._file.flush()
        self.number, self.count = number, 0

    def _header(self, number: int) -> bytes:
        return number.to_bytes(8, "little") + hashlib.sha256(repr(self._columns).encode()).digest()[:8]

    def flush(self) -> None:
        """Write what is in memory to the file."""
        with writing(self._path.parent):
            self._file.flush()

    def close(self) -> None:
        """Close the file, and delete it."""
        self._file.close()
        self._path.unlink(missing_ok=True)


def _bytes_of(value: Tensor, kind: dtype) -> np.ndarray:
    """Return rows of bytes, uint8 (N, bytes)."""
    import torch

    value = value.detach().to("cpu", kind)
    value = value.movedim(1, -1) if value.dim() == 4 else value
    return value.contiguous().view(torch.uint8).flatten(1).numpy()


def _tensor_of(rows: np.ndarray, shape: tuple[int, ...], kind: dtype) -> Tensor:
    import torch

    flat = torch.from_numpy(np.ascontiguousarray(rows)).view(kind)
    if len(shape) != 3:
        return flat.view(-1, *shape)
    channels, height, width = shape
    return flat.view(-1, height, width, channels).movedim(-1, 1)


@dataclass(frozen=True)
class Rounds:
    """How views are shown: `period` batches of `batch_size`, in `uses` rounds; then come others."""

    period: int
    uses: int
    batch_size: int

    def place(self, index: int) -> tuple[int, int, int]:
        """Return of batch `index` the number of its set of views, its round, and its place in the set."""
        number, rest = divmod(index, self.period * self.uses)
        return number, *divmod(rest, self.period)

    def views(self, count: int) -> int:
        """Return how many views `count` batches show."""
        number, turn, place = self.place(max(0, count - 1))
        return self.batch_size * (number * self.period + (self.period if turn else min(place + 1, count)))


class Views:
    """The batches of a stage. What objective.ask says of a set of views is kept until the next set.

    In later rounds, they come in a new order each time. Where images are not kept, they are made again, in the same
    order.

    images: returns a source's batches from a number on.
    """

    def __init__(
        self,
        objective: Distillation,
        images: Callable[[int], Generator[Tensor, None, None]],
        rounds: Rounds,
        kept: Kept,
    ):
        self.objective, self.rounds, self.kept = objective, rounds, kept
        self._images = images

    def batches(self, start: int = 0) -> Generator[Batch, None, None]:
        """Yield the batches from number `start` on, without end."""
        source, rounds = _Source(self._images), self.rounds
        try:
            number, turn, place = rounds.place(start)
            self._open(number)
            for missing in range(self.kept.count // rounds.batch_size, rounds.period if turn else place):
                self._made(source.at(number * rounds.period + missing))  # a run that continues without its file
            for index in itertools.count(start):
                yield self._batch(*rounds.place(index), source)
        finally:
            source.close()

    def _batch(self, number: int, turn: int, place: int, source: _Source) -> Batch:
        self._open(number)
        size, at = self.rounds.batch_size, number * self.rounds.period + place
        if place * size >= self.kept.count:
            return self._made(source.at(at))
        rows = np.arange(place * size, (place + 1) * size)
        if self.objective.keeps_start and turn:
            order = np.random.default_rng([_ORDER, number, turn]).permutation(self.rounds.period * size)
            rows = np.sort(order[rows])
        device = self.objective.parameters[0].device
        columns = [column.to(device) for column in self.kept.read(rows.tolist())]
        if self.objective.keeps_start:
            return Batch({self.objective.start: columns[0]}, columns[1:])
        return Batch({self.objective.start: source.at(at)}, columns)

    def _open(self, number: int) -> None:
        """Forget what is kept of another set of views."""
        if number != self.kept.number:
            self.kept.begin(number)

    def _made(self, images: Tensor) -> Batch:
        batch = self.objective.ask(images)
        start = [*batch.feeds.values()] if self.objective.keeps_start else []
        self.kept.add([*start, *batch.targets])
        return batch


class _Source:
    """Batches by number, read one after the other as long as the numbers are in order."""

    def __init__(self, images: Callable[[int], Generator[Tensor, None, None]]):
        self._images = images
        self._next = -1
        self._batches: Generator[Tensor, None, None] | None = None

    def at(self, place: int) -> Tensor:
        if self._batches is None or place != self._next:
            self.close()
            self._batches = self._images(place)
        self._next = place + 1
        return next(self._batches)

    def close(self) -> None:
        if self._batches is not None:
            self._batches.close()
            self._batches = None
