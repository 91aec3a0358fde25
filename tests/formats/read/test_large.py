"""Caffemodels above 2 GB, where protobuf gives up (PITFALLS row 8). The files are sparse: they take no room on the disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deepmerge.formats.read import read_network
from deepmerge.formats.read.caffemodel import read_caffemodel
from deepmerge.formats.write.wire import block, prefix, varint
from tests.helpers import inputs, layer

TEXT = (
    inputs((1, 4100, 16, 16))
    + layer("fc1", "InnerProduct", "data", "num_output: 512")
    + layer("drop", "Dropout", "fc1", tops="fc1")
    + layer("fc2", "InnerProduct", "fc1", "num_output: 70000 bias_term: false")
)
SHAPES = {"fc1": [(512, 4100 * 256), (512,)], "fc2": [(70000, 512)]}
STEP = 1 << 24  # values compared at a time


@pytest.fixture
def folder(tmp_path):
    """A folder that is gone at once, not after pytest's third run."""
    yield tmp_path
    shutil.rmtree(tmp_path)


def write_sparse(path: Path) -> int:
    """A caffemodel of 2.3 GB, nearly all of it holes; a few values stand around each blob's ends and the 2 GB mark."""
    with open(path, "wb") as file:
        file.write(block(1, b"net"))
        for name, shapes in SHAPES.items():
            heads = [_head(shape) for shape in shapes]
            sizes = [4 * int(np.prod(shape)) for shape in shapes]
            blobs = [prefix(7, len(head) + size) + head for head, size in zip(heads, sizes, strict=True)]
            front = block(1, name.encode()) + block(2, b"InnerProduct")
            file.write(prefix(100, len(front) + sum(map(len, blobs)) + sum(sizes)) + front)
            for head, size in zip(blobs, sizes, strict=True):
                file.write(head)
                start = file.tell()
                for at in {0, size // 2, size - 400, min(size, (1 << 31) + 400) - 400}:
                    file.seek(start + at)
                    file.write(np.arange(at, at + 100, dtype="<f4").tobytes())
                file.seek(start + size)
        return file.tell()


def _head(shape: tuple[int, ...]) -> bytes:
    """What stands before a blob's values."""
    return block(7, block(1, b"".join(map(varint, shape)))) + prefix(5, 4 * int(np.prod(shape)))


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """array_equal, without a mask as large as half a gigabyte."""
    flat = a.reshape(-1), b.reshape(-1)
    return a.shape == b.shape and all(
        np.array_equal(flat[0][i : i + STEP], flat[1][i : i + STEP]) for i in range(0, a.size, STEP)
    )


@pytest.mark.pitfall("row", 8)
def test_it_is_mapped(folder):
    size = write_sparse(folder / "net.caffemodel")
    assert size > 2.29e9 and os.stat(folder / "net.caffemodel").st_blocks * 512 < 10e6
    (folder / "net.prototxt").write_text(TEXT)
    graph = read_network(folder / "net.prototxt", folder / "net.caffemodel")
    weights = graph.layer("fc1").weights[0]
    assert weights.nbytes > 1 << 31 and weights.shape == SHAPES["fc1"][0]
    flat = weights.reshape(-1)
    assert flat[-100:].tolist() == np.arange(weights.nbytes - 400, weights.nbytes - 300, dtype=np.float32).tolist()
    assert flat[(1 << 29) :][:3].tolist() == [2.0**31] * 3 and flat[200] == 0
    assert graph.layer("fc2").weights[0][-1, -100] == weights_end(SHAPES["fc2"][0])


def weights_end(shape: tuple[int, ...]) -> np.float32:
    return np.float32(4 * np.prod(shape) - 400)


@pytest.mark.slow
@pytest.mark.pitfall("row", 8)
def test_it_goes_through_convert(folder):
    """Read, converted, written and read again: the same values, and no more memory than 1.4 times the file."""
    size = write_sparse(folder / "net.caffemodel")
    (folder / "net.prototxt").write_text(TEXT)
    command = ["convert", folder / "net.prototxt", folder / "net.caffemodel", "--exact", "-o", folder / "out"]
    process = subprocess.Popen([sys.executable, "-m", "deepmerge", *command], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0 and usage.ru_maxrss * 1024 < 1.4 * size
    before, after = (read_caffemodel(path) for path in (folder / "net.caffemodel", folder / "out/weights.caffemodel"))
    stored = {s.name: s.blobs for s in after if s.blobs}
    assert stored.keys() == SHAPES.keys()
    for one in before:
        assert len(stored[one.name]) == len(one.blobs)
        assert all(same(a, b) for a, b in zip(one.blobs, stored[one.name], strict=True))
