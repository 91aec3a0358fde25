"""PyTorch as an engine keeps the promises of engines/base.py; whole networks against ONNX Runtime and real Caffe."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.engines import engine
from deepmerge.engines.ort import OrtEngine
from deepmerge.engines.pytorch import TorchEngine, TorchNet
from deepmerge.errors import EngineError
from deepmerge.formats.read.network import read_network
from deepmerge.formats.write import write_pair
from tests.engines.pytorch.cases import images, inputs, layer, network, torch

MINI = "inception_mini"


@pytest.fixture(scope="module")
def graph(models):
    return read_network(models / MINI / f"{MINI}.prototxt", models / MINI / f"{MINI}.caffemodel")


@pytest.fixture
def session(graph):
    with engine("torch").load(graph) as session:
        yield session


@pytest.fixture
def pictures():
    return np.random.default_rng(3).uniform(-120, 130, (3, 3, 32, 32)).astype(np.float32)


def worst(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> float:
    assert found.keys() == expected.keys()
    return max(float(np.abs(found[n] - a).max() / np.ptp(a)) for n, a in expected.items())


def test_forward_of_a_trained_network(session, graph, pictures):
    assert (engine("torch").name, session.inputs, session.outputs) == ("torch", {"data": (1, 3, 32, 32)}, ("prob",))
    out = session.forward({"data": pictures}, ["conv1/3x3", "prob", "data"])
    assert list(out) == ["conv1/3x3", "prob", "data"]
    assert all(array.dtype == np.float32 and array.flags.c_contiguous for array in out.values())
    np.testing.assert_array_equal(out["data"], pictures)
    with OrtEngine().load(graph) as ort:
        assert session.blobs == ort.blobs
        assert worst(session.forward({"data": pictures}, ort.blobs), ort.forward({"data": pictures}, ort.blobs)) <= 1e-5


@pytest.mark.parametrize("name", ["inception_mini", "squeezenet", "alexnet", "googlenet"])
def test_trained_networks(zoo, worker, name):
    """Every output within 1e-5 of its range of ONNX Runtime's and of real Caffe's."""
    files = zoo / f"{name}.prototxt", zoo / f"{name}.caffemodel"
    graph = read_network(*files)
    with TorchEngine().load(graph) as ours, OrtEngine().load(graph) as ort, worker.load(*files) as caffe:
        ((data, shape),) = ours.inputs.items()
        fed = {data: np.random.default_rng(3).uniform(-120, 130, (2, *shape[1:])).astype(np.float32)}
        found = ours.forward(fed)
        assert worst(found, ort.forward(fed)) <= 1e-5 and worst(found, caffe.forward(fed)) <= 1e-5


def test_every_run_has_the_same_bytes_and_results_are_copies(session, pictures):
    first, second = (session.forward({"data": pictures}, ["prob", "data"]) for _ in range(2))
    np.testing.assert_array_equal(first["prob"], second["prob"])
    kept = first["prob"].copy()
    first["data"][:] = 0
    session.forward({"data": pictures[:1]})
    np.testing.assert_array_equal(first["prob"], kept)
    assert pictures.any()


def test_changes_to_the_graph_do_not_reach_the_session(graph, pictures):
    mine = graph.copy()
    with TorchEngine().load(mine) as session:
        before = session.forward({"data": pictures})["prob"]
        for one in mine.layers:
            one.weights = []
        np.testing.assert_array_equal(session.forward({"data": pictures})["prob"], before)


@pytest.mark.parametrize(
    ("feeds", "blobs", "message"),
    [
        ({"dat": (1, 3, 32, 32)}, None, "no input 'dat'; did you mean 'data'"),
        ({}, None, "'data' .* gets no values"),
        ({"data": (1, 3, 32, 31)}, None, r"\(1, 3, 32, 31\) was fed"),
        ({"data": (1, 3, 32, 32)}, ["porb"], "no blob 'porb'; did you mean 'prob'"),
    ],
)
def test_wrong_feeds_and_blobs_are_named(session, feeds, blobs, message):
    with pytest.raises(EngineError, match=message):
        session.forward({name: np.zeros(shape) for name, shape in feeds.items()}, blobs)


def test_an_input_that_nobody_reads_is_an_output(tmp_path):
    text = inputs((2, 3), (1, 2)) + layer("out", "Power", "power_param { scale: 2 }")
    with TorchEngine().load(network(tmp_path, text)) as session:
        assert session.outputs == ("data1", "out")
        out = session.forward(images((5, 3), (1, 2)))
        assert out["out"].shape == (5, 3) and out["data1"].shape == (1, 2)


def test_an_input_without_a_shape(tmp_path):
    text = 'layer { name: "x" type: "Input" top: "x;y" }\n' + layer("y", "ReLU", "", "x;y")
    (tmp_path / "n.prototxt").write_text(text)
    with pytest.raises(EngineError, match="input 'x;y' has no shape; give it: --input 'x;y'=N,…"):
        TorchEngine().load(read_network(tmp_path / "n.prototxt"))


def test_timing(session, graph, pictures):
    session.forward({"data": pictures})
    with TorchEngine().load(graph, threads=2) as other:  # not run before: zeros
        assert session.time_once() > 0 and other.time_once() > 0


def test_timing_layer_by_layer(session, graph, pictures):
    session.forward({"data": pictures})
    layers = session.time_layers(repeat=3, warmup=1)
    assert [(name, kind) for name, kind, _ in layers] == [
        (one.name, one.type) for one in graph.layers if one.type != "Input"
    ]
    assert all(len(seconds) == 3 and min(seconds) > 0 for _, _, seconds in layers)
    conv = sum(min(seconds) for _, kind, seconds in layers if kind == "Convolution")
    assert conv > sum(min(seconds) for _, kind, seconds in layers if kind == "Softmax")


def test_threads_are_put_back(graph, pictures):
    before = torch.get_num_threads()
    seen = []
    with TorchEngine().load(graph, threads=before + 1) as session:
        net, run = session._net, session._net.forward
        net.forward = lambda *args: (seen.append(torch.get_num_threads()), run(*args))[1]
        session.forward({"data": pictures})
    assert seen == [before + 1] and torch.get_num_threads() == before


def test_a_closed_session(graph):
    session = TorchEngine().load(graph)
    session.close()
    session.close()
    for call in (lambda: session.forward({}), session.time_once, session.time_layers):
        with pytest.raises(EngineError, match="the session is closed"):
            call()


def test_devices_that_are_not_there():
    for name in ("gpu", "mps", "cuda:x"):
        with pytest.raises(EngineError, match=f"device '{name}' is not one of cpu, cuda, cuda:N"):
            engine("torch", device=name)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    message = f"there are {count} CUDA devices" if count else "PyTorch finds no CUDA device.*; use --device cpu"
    with pytest.raises(EngineError, match=message):
        TorchEngine("cuda:99")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_on_a_gpu(graph, pictures):
    with TorchEngine("cuda").load(graph) as ours, OrtEngine().load(graph) as ort:
        assert worst(ours.forward({"data": pictures}), ort.forward({"data": pictures})) <= 1e-5
        assert ours.time_once() > 0 and ours.time_layers(1, 0)


@pytest.mark.parametrize("name", ["inception_mini", "squeezenet"])
def test_gradients_of_trained_networks(zoo, worker, tmp_path, name):
    """Of every learned blob and of the input, from random diffs of the scores."""
    prototxt, weights = tmp_path / "net.prototxt", zoo / f"{name}.caffemodel"
    graph = read_network(zoo / f"{name}.prototxt", weights)
    graph.remove(graph.outputs[0].producer)  # the softmax, whose gradients are next to nothing where it is sure
    write_pair(graph, prototxt, None)
    prototxt.write_text("force_backward: true\n" + prototxt.read_text())
    net, rng = TorchNet(graph), np.random.default_rng(3)
    ((data, shape),) = net.inputs.items()
    fed = {data: rng.uniform(-120, 130, (2, *shape[1:])).astype(np.float32)}
    x = torch.from_numpy(fed[data]).requires_grad_()
    (output,) = net.outputs
    top = net({data: x})[output]
    with worker.load(prototxt, weights) as caffe:
        expected = caffe.forward(fed)
        diffs = {output: rng.normal(0, 1, expected[output].shape).astype(np.float32)}
        blobs, params = caffe.backward(diffs)
    (top * torch.from_numpy(diffs[output])).sum().backward()
    near("the input", x.grad.numpy(), blobs[data])
    for layer_name, arrays in params.items():
        for blob, array in zip(net.blobs_of(layer_name), arrays, strict=True):
            near(layer_name, blob.grad.numpy(), array)


def near(name: str, found: np.ndarray, expected: np.ndarray) -> None:
    """Of a million ReLUs, one or two are so near 0 that rounding decides whether they pass a gradient."""
    assert np.linalg.norm(found - expected) <= 0.02 * np.linalg.norm(expected), name
