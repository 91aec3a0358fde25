"""Values that are needed several times: kept if they take little memory, else made again each time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np

MEMORY = 1 << 29  # bytes
Value = np.ndarray | Mapping[str, np.ndarray]


class Room:
    """Memory that several Replays share. left: bytes."""

    def __init__(self, left: int = MEMORY):
        self.left = left

    def take(self, size: int) -> bool:
        """Take `size` bytes, if that many are left."""
        fits = size <= self.left
        self.left -= size if fits else 0
        return fits


class Replay:
    """The values that make() yields, the same each time: after the first pass those kept, if the room is enough."""

    def __init__(self, make: Callable[[], Iterable[Value]], room: Room | None = None):
        self._make, self._room = make, Room() if room is None else room
        self._kept: list[Value] | None = None

    def __iter__(self) -> Iterator[Value]:
        if self._kept is not None:
            yield from self._kept
            return
        kept, taken, whole = [], 0, False
        try:
            for value in self._make():
                if kept is not None and self._room.take(_bytes(value)):
                    kept.append(value)
                    taken += _bytes(value)
                elif kept is not None:
                    kept, taken = None, self._back(taken)
                yield value
            whole = kept is not None
        finally:
            if whole:
                self._kept = kept
            else:
                self._back(taken)

    def _back(self, taken: int) -> int:
        self._room.left += taken
        return 0


def _bytes(value: Value) -> int:
    return value.nbytes if isinstance(value, np.ndarray) else sum(array.nbytes for array in value.values())
