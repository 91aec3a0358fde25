"""Values on their way to a file, as fast as the system copies memory, and without filling it.

Those that still lie in a mapped file are brought into memory block by block, at one stroke each, and let go behind it:
write(2) alone stops at every page that is not mapped yet, which takes three times as long as the copying. And they are
written piece by piece: for one large write Linux takes large pages, and a virtual machine may have to get these from its
host first, which can take ten times as long.
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
    """Append a contiguous array's bytes. The file's buffer should be smaller than PIECE, so that nothing is copied twice."""
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
    """To the pages that hold source[start:stop]; where the system does not know the advice, nothing is lost but time."""
    start -= start % mmap.PAGESIZE
    with contextlib.suppress(OSError, ValueError):
        source.madvise(what, start, stop - start)


def _mapping(values: np.ndarray) -> mmap.mmap | None:
    """The mapped file that the array is a view on; None for other arrays, and where there is no advice to give."""
    base = values
    while isinstance(base, np.ndarray):
        base = base.base
    source = base.obj if isinstance(base, memoryview) else base
    return source if isinstance(source, mmap.mmap) and _LINUX else None


def _address(values: np.ndarray) -> int:
    return values.__array_interface__["data"][0]
