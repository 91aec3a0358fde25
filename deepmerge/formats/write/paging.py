"""Writing arrays to a file as fast as the system copies memory, without filling the memory.

Values in a mapped file are read into memory block by block, and released after writing: write(2) alone stops at every
page that is not mapped yet, which takes three times as long as the copying. They are written in pieces: for one large
write Linux takes large pages, which a virtual machine may have to get from its host first, and that can take ten times
as long.
"""

from __future__ import annotations

import contextlib
import mmap
import sys
from typing import BinaryIO

import numpy as np

PIECE, BLOCK = 256 << 10, 16 << 20  # bytes
_LINUX = sys.platform.startswith("linux")
_MADV_POPULATE_READ = 22  # Linux 5.14; Python's mmap has no name for it


def write_values(file: BinaryIO, values: np.ndarray) -> None:
    """Append a contiguous array's bytes. With a file buffer smaller than PIECE nothing is copied twice."""
    if not values.size:
        return
    data, source = memoryview(values).cast("B"), _mapping(values) if values.nbytes > PIECE else None
    begin = 0 if source is None else _address(values) - _address(np.frombuffer(source, np.uint8))
    for start in range(0, len(data), BLOCK):
        stop = min(start + BLOCK, len(data))
        if source is not None:
            _advise(source, _MADV_POPULATE_READ, begin + start, begin + stop)
        for at in range(start, stop, PIECE):
            file.write(data[at : min(at + PIECE, stop)])
        if source is not None:
            _advise(source, mmap.MADV_DONTNEED, begin + start, begin + stop)


def _advise(source: mmap.mmap, what: int, start: int, stop: int) -> None:
    """Advise the system about the pages of source[start:stop]. If it does not know the advice, only time is lost."""
    start -= start % mmap.PAGESIZE
    with contextlib.suppress(OSError, ValueError):
        source.madvise(what, start, stop - start)


def _mapping(values: np.ndarray) -> mmap.mmap | None:
    """Return the mapped file that the array is a view of; None for other arrays, and on systems without such advice."""
    base = values
    while isinstance(base, np.ndarray):
        base = base.base
    source = base.obj if isinstance(base, memoryview) else base
    return source if isinstance(source, mmap.mmap) and _LINUX else None


def _address(values: np.ndarray) -> int:
    return values.__array_interface__["data"][0]
