"""Views on a mapped file are in memory before they are written."""

from __future__ import annotations

import mmap
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from deepmerge.emit.paging import populate

VALUES = 1 << 20


@pytest.fixture
def mapped(tmp_path):
    np.arange(VALUES, dtype="<f4").tofile(tmp_path / "values.bin")
    with open(tmp_path / "values.bin", "rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def resident() -> int:
    """Bytes of values.bin that are mapped into memory."""
    blocks = re.findall(r"values\.bin\n(?:.*\n)*?Rss: +(\d+) kB", Path("/proc/self/smaps").read_text())
    return 1024 * sum(map(int, blocks))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux alone has MADV_POPULATE_READ")
def test_pages_are_brought_in(mapped):
    mapped.obj.madvise(mmap.MADV_RANDOM)
    mapped.obj.madvise(mmap.MADV_DONTNEED)
    view = np.frombuffer(mapped[4096 * 2 + 4 :], "<f4", 500_000).reshape(500, 1000)
    before = resident()
    populate(view)
    if resident() == before:
        pytest.skip("this kernel has no MADV_POPULATE_READ")
    assert before < view.nbytes <= resident() <= view.nbytes + (4 << 20)
    assert view[0, 0] == 2049 and view[-1, -1] == 2048 + 500_000


@pytest.mark.parametrize("form", ["whole", "part", "reshaped", "empty", "own", "copied", "bytes"])
def test_any_array_will_do(mapped, form):
    whole = np.frombuffer(mapped, "<f4")
    arrays = {
        "whole": whole,
        "part": whole[3:9],
        "reshaped": whole.reshape(1 << 10, 1 << 10)[5:],
        "empty": whole[:0],
        "own": np.ones(5, np.float32),
        "copied": whole[::2].copy(),
        "bytes": np.frombuffer(bytes(mapped[:400]), "<f4"),
    }
    before = arrays[form].copy()
    populate(arrays[form])
    assert np.array_equal(arrays[form], before)
