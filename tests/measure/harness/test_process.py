"""Engines in processes of their own: what they answer, and what is said when they die."""

from __future__ import annotations

import gc
import os
import signal
import weakref
from pathlib import Path
from types import SimpleNamespace

import pytest

from deepmerge.errors import EngineError
from deepmerge.formats import read as reading
from deepmerge.formats.write import write_pair
from deepmerge.measure.bench.measure import batch_of
from deepmerge.measure.harness.machine import machine
from deepmerge.measure.harness.networks import Network, Source, read_networks
from deepmerge.measure.harness.process import Worker
from deepmerge.measure.harness.setup import Passing, files_of, load_all, loaded
from deepmerge.measure.harness.worker import OUT_OF_MEMORY, Server, resident
from tests.helpers import conv, inputs, layer, network


@pytest.fixture
def small(tmp_path):
    graph = network(tmp_path, inputs((2, 3, 9, 8)) + conv("c", "data", 4, "kernel_size: 3"))
    pair = tmp_path / "n.prototxt", tmp_path / "n.caffemodel"
    write_pair(graph, *pair)
    return pair


@pytest.mark.parametrize("name", ["ort", "caffe"])
def test_a_worker(request, small, name):
    if name == "caffe":
        request.getfixturevalue("caffe_python")
    with Worker(name, threads=1) as worker:
        worker.load("n", *small)
        sample = worker.run("n")
        assert 0 < sample.wall < 10 and (sample.waited is None or 0 <= sample.waited <= sample.wall)
        reply = worker.layers("n", 3, 1)
        assert {kind: len(seconds) for _, kind, seconds in reply["layers"]}["Convolution"] == 3
        memory = worker.memory()
        assert memory["peak"] is None or memory["peak"] >= memory["now"] > 1e6
        with pytest.raises(EngineError, match="KeyError"):
            worker.run("m")
        assert worker.alive
    assert not worker.alive


def test_a_network_that_is_dropped_leaves_memory(small, monkeypatch, request):
    graphs, read = [], reading.read_network

    def remembered(*files):
        graph = read(*files)
        graphs.append(weakref.ref(graph))
        return graph

    monkeypatch.setattr(reading, "read_network", remembered)
    request.addfinalizer(gc.enable)
    gc.disable()  # a graph has cycles
    server = Server("ort", 1)
    server.load("n", [str(file) for file in small])
    assert graphs[0]() is not None
    server.drop("n")
    assert graphs[0]() is None


def test_a_caffe_that_ended_ends_its_worker(small, real_caffe):
    """A network that makes Caffe's process end is tried once; the next one is loaded in another."""
    with Worker("caffe") as worker:
        worker.load("n", *small)
        os.kill(worker.memory()["pid"], signal.SIGKILL)
        with pytest.raises(EngineError, match="SIGKILL|status 0"):
            worker.run("n")
        assert not worker.alive


def test_a_worker_that_dies(small):
    with Worker("ort") as worker:
        worker.load("n", *small)
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(EngineError, match="ort, running n: its process was ended by SIGKILL"):
            worker.run("n")
        assert not worker.alive
        with pytest.raises(EngineError, match="SIGKILL"):
            worker.run("n")


def test_a_worker_that_takes_too_long(small):
    with Worker("ort") as worker:
        worker.load("n", *small)
        worker.timeout = 0.2
        os.kill(worker.pid, signal.SIGSTOP)
        with pytest.raises(EngineError, match="no answer within 0.2 s"):
            worker.run("n")


def test_engines_that_are_not_there():
    with pytest.raises(EngineError, match="there is no engine 'nonsense'"):
        Worker("nonsense")


def test_networks_that_an_engine_does_not_take(models, tmp_path):
    mini = models / "inception_mini/inception_mini.prototxt"
    good, bad = read_networks([Source("good", mini, None), Source("bad", mini, None)])
    bad.graph.layer("pool1/norm1").type = "Strange"
    bad.graph.layer("pool1/norm1").params = None
    with files_of([bad, good]) as files, loaded("ort", files) as (worker, refused):
        assert list(refused) == ["bad"] and "pool1/norm1" in refused["bad"] and not isinstance(refused["bad"], Passing)
        assert worker.run("good").wall > 0


def test_a_caffe_that_a_network_ends_is_started_again(small, tmp_path, real_caffe):
    """Caffe's check ends its process, which is not the worker's own."""
    bad = tmp_path / "bad.prototxt"
    bad.write_text(small[0].read_text().replace("kernel_size: 3", "kernel_size: 30"))
    files = {"bad": (bad, small[1]), "good": small}
    with loaded("caffe", files) as (worker, refused):
        assert list(refused) == ["bad"] and worker.run("good").wall > 0


def test_a_network_that_takes_the_engine_along(models, monkeypatch):
    """Every load of one network kills the worker; the other is measured all the same."""
    mini = models / "inception_mini/inception_mini.prototxt"
    networks = read_networks([Source("killer", mini, None), Source("good", mini, None)])
    load = Worker.load

    def deadly(self, label, *pair):
        if label == "killer":
            os.kill(self.pid, signal.SIGKILL)
        return load(self, label, *pair)

    monkeypatch.setattr(Worker, "load", deadly)
    with files_of(networks) as files, loaded("ort", files) as (worker, refused):
        assert list(refused) == ["killer"] and "SIGKILL" in refused["killer"] and isinstance(refused["killer"], Passing)
        assert worker.run("good").wall > 0


def test_too_little_memory_is_no_lasting_reason():
    def full(label, *files):
        raise EngineError(OUT_OF_MEMORY)

    _, refused = load_all(SimpleNamespace(alive=True, load=full), {"large": ()}, Worker)
    assert refused == {"large": "out of memory"} and isinstance(refused["large"], Passing)


def test_memory_of_a_process_that_is_not_there():
    assert resident(2**30) == {"peak": None, "now": None}


def test_the_machine():
    found = machine()
    assert found["processor"] and found["cores"] >= 1 and found["packages"]["numpy"]


def test_a_network_without_an_input(tmp_path):
    text = 'layer { name: "d" type: "DummyData" top: "d" dummy_data_param { shape { dim: 2 dim: 3 } data_filler { value: 0.5f } } }'
    graph = network(tmp_path, text + layer("ip", "InnerProduct", "d", "num_output: 2"))
    write_pair(graph, tmp_path / "a.prototxt", tmp_path / "a.caffemodel")
    with Worker("ort") as worker:
        worker.load("n", tmp_path / "a.prototxt", tmp_path / "a.caffemodel")
        assert worker.run("n").wall > 0
    assert batch_of(Network("n", Source("n", Path(), None), graph, False)) == 1


def test_a_workers_children_do_not_find_what_lies_beside_the_package(monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    with Worker("ort") as worker:
        assert b"PYTHONPATH=" not in Path(f"/proc/{worker.pid}/environ").read_bytes()
