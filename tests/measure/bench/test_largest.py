from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepmerge.errors import EngineError
from deepmerge.measure.bench.largest import _watched, largest_batch, search
from deepmerge.measure.harness.networks import Network, Source
from tests.helpers import conv, inputs, network

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="resident memory is read from /proc")


@given(st.integers(0, 5000), st.integers(1, 1000), st.integers(0, 10**6), st.booleans())
def test_search_finds_it(true, slope, base, line):
    tried = []

    def measure(batch):
        tried.append(batch)
        return base + slope * batch if batch <= true else None

    found = search(measure, base + slope * true if line else None)
    assert found <= true <= found + max(1, found // 50)
    assert len(tried) == len(set(tried)) <= 26
    if true < 50:
        assert found == true


def test_a_guess_saves_runs():
    runs = []
    search(lambda batch: runs.append(batch) or (100 + 7 * batch if 100 + 7 * batch <= 10_000 else None), 10_000)
    assert len(runs) <= 6


def test_guesses_end_where_the_peaks_are_no_line():
    runs = []
    found = search(lambda batch: runs.append(batch) or (batch**2 if batch <= 1000 else None), 1000**2)
    assert found <= 1000 <= found + found // 50
    assert len(runs) <= 26


def test_search_ends():
    assert search(lambda batch: 1, None, most=37) == 37
    assert search(lambda batch: None) == 0


@linux
def test_a_process_that_grows_is_killed():
    program = "import time; x = bytearray(80_000_000); x[::4096] = b'1' * len(x[::4096]); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", program])
    with _watched(child.pid, 50_000_000) as killed:
        assert child.wait(timeout=30) == -signal.SIGKILL
        assert killed.wait(1)


@linux
def test_a_network_in_a_given_memory(tmp_path):
    """6.5 MB an image (0.4 of input, 6.1 of output), so that a limit of 60 MB above the engine's own is a handful."""
    from deepmerge.measure.harness.process import Worker

    graph = network(tmp_path, inputs((1, 1, 320, 300)) + conv("c", "data", 16))
    net = Network("n", Source("n", tmp_path / "net.prototxt", None), graph, True)
    with Worker("ort") as worker:
        empty = worker.memory()["peak"]
    found = largest_batch("ort", net, empty + 60_000_000)
    assert 1 <= found["images"] <= 12
    assert found["tried"][str(found["images"])] is True and found["tried"][str(found["first_too_large"])] is False
    assert "bytes" in found["reason"]
    none = largest_batch("ort", net, 1_000_000)
    assert none["images"] == 0 and none["tried"] == {"1": False}


def test_a_network_of_one_batch(tmp_path):
    text = (
        inputs((2, 3, 5, 4))
        + 'layer { name: "r" type: "Reshape" bottom: "data" top: "r" reshape_param { shape { dim: 2 dim: 60 } } }'
    )
    net = Network("n", Source("n", tmp_path / "net.prototxt", None), network(tmp_path, text), True)
    with pytest.raises(EngineError, match="layer 'r'"):
        largest_batch("ort", net, 10**9)
