from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from deepmerge.choose.times import Stopwatch
from deepmerge.errors import EngineError
from deepmerge.measure.harness.process import Worker
from tests.helpers import conv, inputs, network


@pytest.fixture
def workers(monkeypatch):
    """The processes started from now on."""
    found, start = [], Worker.__init__

    def remembered(self, *arguments):
        start(self, *arguments)
        found.append(self)

    monkeypatch.setattr(Worker, "__init__", remembered)
    return found


@pytest.fixture
def graph(tmp_path):
    """A number of filters → a network of one convolution."""
    return lambda filters: network(tmp_path, inputs((1, 4, 32, 32)) + conv("conv", "data", filters, "kernel_size: 3"))


def test_all_networks_are_timed_in_one_process_which_forgets_them(workers, graph):
    stopwatch = Stopwatch("ort", 1)
    for _ in range(2):
        found, refused = stopwatch.times_of({"small": graph(4), "large": graph(512)}, 0.2)
        assert found["large"] > found["small"] > 0 and not refused
    assert len(workers) == 1
    with pytest.raises(EngineError, match="small"):
        workers[0].run("small")


def test_a_network_that_the_engine_refuses_has_no_time(workers, graph):
    strange = graph(4)
    strange.layer("conv").type = "Strange"
    strange.layer("conv").params = None
    stopwatch = Stopwatch("ort", 1)
    found, refused = stopwatch.times_of({"first": graph(4), "strange": strange}, 0.1)
    assert list(found) == ["first"] and "Strange" in refused["strange"]
    with pytest.raises(EngineError, match="Strange"):
        stopwatch.times_of({"strange": strange, "other": graph(4)}, 0.1)


def test_a_process_that_ended_is_started_again(workers, graph):
    stopwatch = Stopwatch("ort", 1)
    stopwatch.times_of({"first": graph(4)}, 0.1)
    os.kill(workers[0].pid, signal.SIGKILL)
    workers[0]._process.wait()
    found, _ = stopwatch.times_of({"first": graph(4)}, 0.1)
    assert found["first"] > 0 and len(workers) == 2


def test_a_caffe_that_ended_is_started_again(workers, graph, real_caffe):
    """It is not the worker's own process."""
    stopwatch = Stopwatch("caffe", 1)
    assert stopwatch.times_of({"first": graph(4), "second": graph(8)}, 0.1)[1] == {}
    assert stopwatch.times_of({"first": graph(4)}, 0.1)[0]["first"] > 0 and len(workers) == 1
    caffe = workers[0].memory()["pid"]
    os.kill(caffe, signal.SIGKILL)
    while Path(f"/proc/{caffe}/stat").read_text().rpartition(")")[2].split()[0] != "Z":  # it takes a moment
        time.sleep(0.01)
    assert stopwatch.times_of({"first": graph(4)}, 0.1)[0]["first"] > 0 and len(workers) == 2


def test_times_stay_where_a_network_cannot_be_released(workers, graph, monkeypatch):
    def failing(self, label):
        raise EngineError("it cannot be released")

    monkeypatch.setattr(Worker, "drop", failing)
    stopwatch = Stopwatch("ort", 1)
    assert stopwatch.times_of({"first": graph(4)}, 0.1)[0]["first"] > 0 and not workers[0].alive


def test_after_a_failed_run_another_process_is_used(workers, graph, monkeypatch):
    """The networks that were loaded are still in the first one."""
    stopwatch, run = Stopwatch("ort", 1), Worker.run

    def failing(self, label):
        raise EngineError("the run failed")

    monkeypatch.setattr(Worker, "run", failing)
    with pytest.raises(EngineError, match="the run failed"):
        stopwatch.times_of({"first": graph(4)}, 0.1)
    monkeypatch.setattr(Worker, "run", run)
    assert stopwatch.times_of({"first": graph(4)}, 0.1)[0]["first"] > 0
    assert len(workers) == 2 and not workers[0].alive
