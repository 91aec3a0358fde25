"""Forks' layers in PyTorch: against real Caffe, which runs their twins (fork_twins.py), forward and backward."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.engines.pytorch import TorchNet
from deepmerge.errors import EngineError
from deepmerge.formats.read import read_network
from tests.engines.pytorch.cases import TIMES, TOLERANCE, compare, torch
from tests.fork_cases import CASES, SHAPE, fork
from tests.fork_nets import NETS, fill
from tests.fork_twins import load_twin
from tests.helpers import feeds, inputs


@pytest.fixture
def read(tmp_path):
    def read(text: str):
        path = tmp_path / "net.prototxt"
        path.write_text(text, encoding="utf-8")
        return fill(read_network(path))

    return read


def judge(worker, folder, graph, fed) -> None:
    """Outputs, and the inputs' gradients. Weights are not the twin's."""
    net, rng = TorchNet(graph), np.random.default_rng(5)
    tensors = {name: torch.from_numpy(array).requires_grad_() for name, array in fed.items()}
    found = net(tensors)
    with load_twin(worker, folder, graph, force_backward=True) as caffe:
        expected = caffe.forward(fed)
        diffs = {name: rng.normal(0, 1, array.shape).astype(np.float32) for name, array in expected.items()}
        gradients, _ = caffe.backward(diffs)
    for name, array in expected.items():
        compare(name, found[name].detach().numpy(), array)
    sum((found[name] * torch.from_numpy(diff)).sum() for name, diff in diffs.items()).backward()
    for name, array in gradients.items():
        compare(f"gradient of {name}", tensors[name].grad.numpy(), array, TIMES * TOLERANCE)


@pytest.mark.parametrize("name", CASES)
def test_layers(name, read, worker, tmp_path):
    fed = {"data": np.random.default_rng(3).uniform(-4, 9, SHAPE).astype(np.float32)}
    judge(worker, tmp_path, read(inputs(SHAPE) + CASES[name]), fed)


@pytest.mark.parametrize("factor", [(2, 12), (2, 12, 1, 1)])
def test_axpy(factor, read, worker, tmp_path):
    graph = read(inputs(factor, SHAPE, SHAPE) + fork("Axpy", "", "data data1 data2"))
    judge(worker, tmp_path, graph, feeds(graph))


@pytest.mark.parametrize("name", ["pspnet", "senet", "shufflenet", "nvcaffe"])
def test_networks(name, read, worker, tmp_path):
    graph = read(NETS[name])
    judge(worker, tmp_path, graph, feeds(graph))


def test_clip(read):
    """Newer than the Caffe that pip has. BVLC: clip_layer.cpp: the gradient passes where min <= x <= max."""
    net = TorchNet(read(inputs((1, 5)) + fork("Clip", "clip_param { min: -1 max: 2 }")))
    x = torch.tensor([[-3.0, -1, 0.5, 2, 4]], requires_grad=True)
    top = net({"data": x})["y"]
    top.sum().backward()
    assert top.tolist() == [[-1, -1, 0.5, 2, 2]] and x.grad.tolist() == [[0, 1, 1, 1, 0]]


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (fork("BN", "bn_param { bn_mode: LEARN }"), "does not say that it uses stored statistics"),
        (fork("Dropout", "dropout_param { sample_weights_test: true }"), "does not have sample_weights_test"),
        (fork("Interp", 'interp_param { zoom_factor: 2 interp_type: "nearest" }'), "interp_type 'nearest'"),
        (fork("Upsample", "upsample_param { scale: 2 }", "data data"), "unpooling by a mask"),
    ],
)
def test_refusals(layer, message, read):
    graph = read(inputs(SHAPE) + layer)
    with pytest.raises(EngineError, match=rf"^layer 'y' \(.*{message}") as caught:
        TorchNet(graph)({"data": torch.zeros(SHAPE)})
    assert "\n" not in str(caught.value)
