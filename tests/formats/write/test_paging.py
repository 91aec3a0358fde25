"""Values are written as they are, and pages of a mapped file are let go behind them."""

from __future__ import annotations

import io
import mmap
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from deepmerge.formats.write import paging
from deepmerge.formats.write.paging import BLOCK, PIECE, write_values

COUNT = (2 * BLOCK + 3 * PIECE) // 4 + 5  # values; neither whole blocks nor whole pieces


@pytest.fixture
def mapped(tmp_path):
    np.arange(COUNT, dtype="<f4").tofile(tmp_path / "values.bin")
    with open(tmp_path / "values.bin", "rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def written(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    write_values(file, values)
    return file.getvalue()


def resident() -> int:
    """Bytes of values.bin that are mapped into memory."""
    blocks = re.findall(r"values\.bin\n(?:.*\n)*?Rss: +(\d+) kB", Path("/proc/self/smaps").read_text())
    return 1024 * sum(map(int, blocks))


@pytest.mark.parametrize(
    "form", ["whole", "part", "unaligned", "reshaped", "empty", "scalar", "own", "copied", "bytes"]
)
def test_any_array(mapped, form):
    whole = np.frombuffer(mapped, "<f4")
    arrays = {
        "whole": whole,
        "part": whole[3:9],
        "unaligned": np.frombuffer(mapped[6 : 6 + 4 * 300_000], "<f4"),
        "reshaped": whole[: 1 << 20].reshape(1 << 10, 1 << 10)[5:],
        "empty": whole[:0].reshape(3, 0),
        "scalar": whole[7:8].reshape(()),
        "own": np.ones(500_000, np.float32),
        "copied": whole[::2].copy(),
        "bytes": np.frombuffer(bytes(mapped[: 4 * PIECE]), "<f4"),
    }
    assert written(arrays[form]) == arrays[form].tobytes()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux alone tells what is resident")
def test_memory_holds_a_block_at_a_time(mapped, monkeypatch):
    advice, real, seen = [], paging._advise, []

    def advise(source, what, start, stop):
        real(source, what, start, stop)
        advice.append((what, start, stop))
        seen.append(resident())

    monkeypatch.setattr(paging, "_advise", advise)
    mapped.obj.madvise(mmap.MADV_DONTNEED)
    values = np.frombuffer(mapped[4 * 1000 :], "<f4")
    assert written(values) == values.tobytes()
    ends = [4000, 4000 + BLOCK, 4000 + 2 * BLOCK, 4 * COUNT]
    blocks = list(zip(ends, ends[1:], strict=False))
    assert advice == [(what, *block) for block in blocks for what in (22, mmap.MADV_DONTNEED)]
    assert (
        max(seen) <= BLOCK + (2 << 20) and max(seen[1::2]) <= 2 << 20
    )  # Linux maps some pages around what is asked for


def test_where_there_is_no_advice(mapped, monkeypatch):
    monkeypatch.setattr(paging, "_MADV_POPULATE_READ", 12345)  # an old kernel
    values = np.frombuffer(mapped, "<f4")
    assert written(values) == values.tobytes()
    monkeypatch.setattr(paging, "_LINUX", False)
    assert written(values) == values.tobytes()
