"""Values that still lie in a mapped file are brought into memory at one stroke before they are copied out.

Otherwise write(2) stops at every page that is not mapped yet, which takes three times as long as the copying.
"""

from __future__ import annotations

import contextlib
import mmap
import sys

import numpy as np

_MADV_POPULATE_READ = 22  # Linux 5.14; Python's mmap has no name for it


def populate(values: np.ndarray) -> None:
    """Map the pages of a file that `values` is a view on. Does nothing to other arrays, and where the system cannot."""
    source = _mapping(values)
    if source is None or not sys.platform.startswith("linux"):
        return
    begin = _address(values) - _address(np.frombuffer(source, np.uint8))
    start = begin - begin % mmap.PAGESIZE
    with contextlib.suppress(OSError, ValueError):
        source.madvise(_MADV_POPULATE_READ, start, begin + values.nbytes - start)


def _mapping(values: np.ndarray) -> mmap.mmap | None:
    base = values
    while isinstance(base, np.ndarray):
        base = base.base
    source = base.obj if isinstance(base, memoryview) else base
    return source if isinstance(source, mmap.mmap) else None


def _address(values: np.ndarray) -> int:
    return values.__array_interface__["data"][0]
