"""Values that are needed several times: kept if they take little memory, else made again each time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np

MEMORY = 1 << 29  # bytes
Value = np.ndarray | Mapping[str, np.ndarray]


class Replay:
    """The values that make() yields, the same each time: after the first pass those kept, if `memory` bytes do."""

    def __init__(self, make: Callable[[], Iterable[Value]], memory: int = MEMORY):
        self._make, self._memory = make, memory
        self._kept: list[Value] | None = None

    def __iter__(self) -> Iterator[Value]:
        if self._kept is not None:
            yield from self._kept
            return
        kept, size = [], 0
        for value in self._make():
            size += _bytes(value)
            if size <= self._memory:
                kept.append(value)
            else:
                kept.clear()
            yield value
        if size <= self._memory:
            self._kept = kept

    @property
    def kept_bytes(self) -> int:
        """How much is kept now."""
        return sum(map(_bytes, self._kept or ()))


def _bytes(value: Value) -> int:
    return value.nbytes if isinstance(value, np.ndarray) else sum(array.nbytes for array in value.values())
