"""A network in float64: more digits, the same network. Single layers are judged in tests/formats/onnx, by real Caffe."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.engines.float64 import Float64Session
from deepmerge.engines.ort import OrtEngine
from deepmerge.errors import EngineError
from tests.fork_nets import NETS, fill
from tests.helpers import conv, inputs, layer, network, relu

POWERS = layer("up", "Power", "data", "shift: 1e8") + layer("down", "Power", "up", "shift: -1e8")


def test_it_keeps_what_float32_loses(tmp_path):
    graph = network(tmp_path, inputs((1, 4)) + POWERS)
    data = np.float32([[1, -2, 0.5, 3]])
    with OrtEngine().load(graph) as session:
        assert session.forward({"data": data})["down"].tolist() == [[0, 0, 0, 0]]
    found = Float64Session(graph, {"data": 1}, ["down"]).forward({"data": data})["down"]
    assert found.dtype == np.float64 and found.tolist() == data.tolist()


def test_blobs_inside_and_blobs_written_in_place(tmp_path):
    graph = network(tmp_path, inputs((1, 2, 3, 4)) + conv("conv", "data", 3) + relu("conv") + conv("last", "conv", 2))
    data = np.random.default_rng(0).uniform(-1, 1, (3, 2, 3, 4)).astype(np.float32)
    found = Float64Session(graph, {"data": 3}, ["last", "conv"]).forward({"data": data})
    weights, bias = (w.astype(np.float64) for w in graph.layer("conv").weights)
    expected = np.maximum(np.einsum("ochw,ncyx->noyx", weights, data) + bias[:, None, None], 0)
    assert list(found) == ["last", "conv"]
    np.testing.assert_allclose(found["conv"], expected, rtol=1e-14)


@pytest.mark.parametrize("name", ["pspnet", "senet", "shufflenet", "nvcaffe"])
def test_networks_of_forks(name, network):
    graph = fill(network(NETS[name]))
    with OrtEngine().load(graph) as session:
        feeds = {
            key: np.random.default_rng(1).uniform(-2, 3, shape).astype(np.float32)
            for key, shape in session.inputs.items()
        }
        near = session.forward(feeds)
    for key, exact in Float64Session(graph, {k: len(v) for k, v in feeds.items()}, list(near)).forward(feeds).items():
        assert 0 < np.abs(near[key] - exact).max() <= 1e-5 * np.ptp(exact)


def test_what_it_does_not_have_is_an_error(tmp_path):
    graph = network(tmp_path, inputs((1, 2, 4, 4)) + layer("y", "Pooling", "data", "kernel_size: 2", "y mask"))
    session = Float64Session(graph, {"data": 1}, ["y"])
    with pytest.raises(EngineError, match="does not run in float64: .*MaxPool with a mask"):
        session.forward({"data": np.zeros((1, 2, 4, 4), np.float32)})
