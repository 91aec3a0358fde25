"""ONNX Runtime as an engine keeps the promises of engines/base.py. Its numbers are judged in tests/emit/test_onnx*."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.engines import engine
from deepmerge.engines.ort import OrtEngine, node_layers
from deepmerge.errors import EngineError
from deepmerge.formats.onnx import to_onnx
from deepmerge.formats.read.network import read_network
from tests.helpers import conv, inputs, layer, network, relu

IN_PLACE = """
layer { name: "data" type: "Input" top: "data" top: "gate"
        input_param { shape { dim: 1 dim: 3 dim: 4 dim: 5 } shape { dim: 1 dim: 3 } } }
layer { name: "shift" type: "Power" bottom: "data" top: "data" power_param { shift: 1 } }
layer { name: "double" type: "Power" bottom: "data" top: "sum" power_param { scale: 2 } }
layer { name: "relu" type: "ReLU" bottom: "sum" top: "sum" }
layer { name: "gated" type: "Scale" bottom: "sum" bottom: "gate" top: "gated" scale_param { axis: 0 } }
"""


def read(tmp_path, text: str):
    path = tmp_path / "net.prototxt"
    path.write_text(text)
    return read_network(path)


@pytest.fixture(scope="module")
def mini(models):
    folder = models / "inception_mini"
    graph = read_network(folder / "inception_mini.prototxt", folder / "inception_mini.caffemodel")
    with engine("ort").load(graph) as session:
        yield session


@pytest.fixture
def images():
    return np.random.default_rng(3).uniform(-120, 130, (3, 3, 32, 32)).astype(np.float32)


def test_it_is_the_default():
    assert isinstance(engine(), OrtEngine) and engine().name == "ort"


def test_forward_of_a_trained_network(mini, images):
    assert mini.inputs == {"data": (1, 3, 32, 32)} and mini.outputs == ("prob",)
    out = mini.forward({"data": images}, ["conv1/3x3", "prob", "data"])
    assert list(out) == ["conv1/3x3", "prob", "data"]
    assert out["conv1/3x3"].shape == (3, 32, 32, 32) and out["conv1/3x3"].min() == 0  # its ReLU is in place
    np.testing.assert_array_equal(out["data"], images)
    np.testing.assert_allclose(out["prob"].sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(out["prob"], mini.forward({"data": images})["prob"], atol=1e-6)


def test_every_run_has_the_same_bytes(mini, images):
    first, second = (mini.forward({"data": images})["prob"] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first is not second


def test_results_are_copies(mini, images):
    first = mini.forward({"data": images[:1]}, ["data", "prob"])
    kept = {name: array.copy() for name, array in first.items()}
    first["data"][:] = 0
    mini.forward({"data": images[1:2]})
    np.testing.assert_array_equal(first["prob"], kept["prob"])
    assert images[0].any()


@pytest.mark.parametrize(
    ("feeds", "blobs", "message"),
    [
        ({"dat": (1, 3, 32, 32)}, None, "no input 'dat'; did you mean 'data'"),
        ({}, None, "'data' .* gets no values"),
        ({"data": (1, 3, 32, 31)}, None, r"\(1, 3, 32, 31\) was fed"),
        ({"data": (1, 3, 32, 32)}, ["porb"], "no blob 'porb'; did you mean 'prob'"),
    ],
)
def test_wrong_feeds_and_blobs_are_named(mini, feeds, blobs, message):
    with pytest.raises(EngineError, match=message):
        mini.forward({name: np.zeros(shape) for name, shape in feeds.items()}, blobs)


@pytest.mark.pitfall("row", 19)
def test_blobs_written_in_place_are_as_the_last_layer_left_them(tmp_path):
    fed = {
        "data": np.linspace(-3, 3, 120, dtype=np.float32).reshape(2, 3, 4, 5),
        "gate": np.float32([[1, 2, 0], [-1, 0.5, 1]]),
    }
    with OrtEngine().load(read(tmp_path, IN_PLACE)) as session:
        out = session.forward(fed, ["data", "sum", "gate", "gated"])
    np.testing.assert_array_equal(out["data"], fed["data"] + 1)
    np.testing.assert_array_equal(out["sum"], np.maximum(2 * out["data"], 0))
    np.testing.assert_array_equal(out["gate"], fed["gate"])
    np.testing.assert_array_equal(out["gated"], out["sum"] * fed["gate"][:, :, None, None])


def test_a_fixed_batch_gets_another_model(tmp_path):
    """Caffe reshapes to whatever is fed, if the layers agree; so does the session."""
    text = """
    layer { name: "a" type: "Input" top: "a" input_param { shape { dim: 2 dim: 6 } } }
    layer { name: "r" type: "Reshape" bottom: "a" top: "r" reshape_param { shape { dim: 3 dim: -1 } } }
    layer { name: "out" type: "Power" bottom: "r" top: "out" power_param { scale: 2 } }
    """
    with OrtEngine().load(read(tmp_path, text)) as session:
        for batch in (2, 5, 2, 7):
            fed = np.arange(6 * batch, dtype=np.float32).reshape(batch, 6)
            out = session.forward({"a": fed}, ["out", "r"])
            np.testing.assert_array_equal(out["r"], fed.reshape(3, -1))
            np.testing.assert_array_equal(out["out"], 2 * fed.reshape(3, -1))


def test_a_batch_that_does_not_fit_is_refused(tmp_path):
    text = """
    layer { name: "a" type: "Input" top: "a" input_param { shape { dim: 2 dim: 3 } } }
    layer { name: "r" type: "Reshape" bottom: "a" top: "r" reshape_param { shape { dim: 2 dim: -1 } } }
    """
    with (
        OrtEngine().load(read(tmp_path, text)) as session,
        pytest.raises(EngineError, match=r"layer 'r' \(Reshape\)") as caught,
    ):
        session.forward({"a": np.zeros((3, 3))})
    assert "\n" not in str(caught.value)


def test_an_input_that_nobody_reads_is_an_output(tmp_path):
    text = IN_PLACE + 'layer { name: "spare" type: "Input" top: "spare" input_param { shape { dim: 1 dim: 2 } } }'
    fed = {"data": np.ones((1, 3, 4, 5)), "gate": np.ones((1, 3)), "spare": np.float32([[4, 5]])}
    with OrtEngine().load(read(tmp_path, text)) as session:
        assert session.outputs == ("gated", "spare")
        np.testing.assert_array_equal(session.forward(fed)["spare"], [[4, 5]])


def test_changes_to_the_graph_do_not_reach_the_session(models, images):
    folder = models / "inception_mini"
    graph = read_network(folder / "inception_mini.prototxt", folder / "inception_mini.caffemodel")
    with OrtEngine().load(graph) as session:
        before = session.forward({"data": images})["prob"]
        for layer in graph.layers:
            layer.weights = []
        session.forward({"data": images}, ["pool1/3x3_s2"] if "pool1/3x3_s2" in session.blobs else None)
        np.testing.assert_array_equal(before, session.forward({"data": images})["prob"])


def test_timing(mini, images, tmp_path):
    mini.forward({"data": images})
    with OrtEngine().load(read(tmp_path, IN_PLACE), threads=2) as other:  # not run before: zeros
        times = {one: [one.time_once() for _ in range(4)][1:] for one in (mini, other)}
    assert all(seconds > 0 for values in times.values() for seconds in values)


def test_a_closed_session_says_so(tmp_path):
    session = OrtEngine().load(read(tmp_path, IN_PLACE))
    session.close()
    session.close()
    for call in (session.time_once, lambda: session.forward({})):
        with pytest.raises(EngineError, match="closed"):
            call()


# -- times of layers ------------------------------------------------------------

# Layers that are several nodes (AVE pooling with overhang, Scale on an axis), none (Dropout, Split) or share a prefix
TEXT = (
    inputs((1, 4, 13, 10))
    + conv("c", "data", 6, "kernel_h: 3 kernel_w: 2")
    + relu("c")
    + conv("c/Conv", "c", 5, "kernel_size: 1")
    + layer("pool", "Pooling", "c/Conv", "pool: AVE kernel_size: 3 stride: 2 pad: 1")
    + layer("drop", "Dropout", "pool", tops="pool")
    + layer("norm", "LRN", "pool", "norm_region: WITHIN_CHANNEL local_size: 3")
    + layer("power", "Power", "norm", "power: 2 scale: 0.5 shift: 1")
)


def test_every_node_is_of_the_layer_that_wrote_it(tmp_path):
    graph = network(tmp_path, TEXT)
    pairs = node_layers(graph, to_onnx(graph, free_batch=False))
    assert [(node.name, one.name) for node, one in pairs if one.name in ("c", "c/relu", "c/Conv")] == [
        ("c", "c"), ("c/relu", "c/relu"), ("c/Conv", "c/Conv")]  # fmt: skip
    order = [one for one in graph.layers if one.type != "Input"]
    ranks = [order.index(one) for _, one in pairs]
    assert ranks == sorted(ranks)  # nodes are written layer by layer
    for node, one in pairs:
        assert node.name == one.name or node.name.startswith(f"{one.name}/{node.op_type}"), (node.name, one.name)
    assert len([one for _, one in pairs if one.name == "power"]) > 1


def test_layers_times(tmp_path):
    graph = network(tmp_path, TEXT)
    with engine("ort").load(graph) as session:
        session.forward({"data": np.ones((3, 4, 13, 10), np.float32)})  # another batch than the declared one
        times = session.time_layers(repeat=4, warmup=1)
    assert [(name, kind) for name, kind, _ in times] == [
        (one.name, one.type) for one in graph.layers if one.type != "Input"
    ]
    assert all(len(seconds) == 4 for _, _, seconds in times) and len(session.forward_seconds) == 4
    named = {name: seconds for name, _, seconds in times}
    assert max(named["c"]) > 0 and max(named["norm"]) > 0
    for turn, whole in enumerate(session.forward_seconds):
        assert sum(seconds[turn] for seconds in named.values()) <= whole


def test_lrn_can_be_onnx_runtimes_own(tmp_path):
    """The engine to compare with has LRN as the operator, which is several times as slow (benchmarks/lrn.py)."""
    text = inputs((1, 64, 40, 40)) + layer("norm", "LRN", "data") + layer("pool", "Pooling", "norm", "kernel_size: 3")
    graph, kinds, results = network(tmp_path, text), {}, {}
    fed = {"data": np.random.default_rng(1).normal(size=(2, 64, 40, 40)).astype(np.float32)}
    for name in ("ort", "ort-lrn-op"):
        with engine(name).load(graph) as session:
            assert engine(name).name == name
            results[name] = session.forward(fed)["pool"]
            kinds[name] = {node.op_type for node in to_onnx(graph, lrn=engine(name).lrn).graph.node}
            assert [layer for layer, _, _ in session.time_layers(repeat=2)] == ["norm", "pool"]
    np.testing.assert_allclose(results["ort"], results["ort-lrn-op"], atol=1e-5)
    assert "LRN" not in kinds["ort"] and "LRN" in kinds["ort-lrn-op"]


def test_a_trained_network(models):
    mini = models / "inception_mini/inception_mini"
    graph = read_network(f"{mini}.prototxt", f"{mini}.caffemodel")
    with engine("ort").load(graph) as session:
        named = {name: np.median(seconds) for name, _, seconds in session.time_layers(repeat=3, warmup=1)}
    assert len(named) == 57 and min(named["conv2/norm2"], named["loss3/classifier"]) > 0
    assert named["pool5/drop"] == pytest.approx(0, abs=1e-4)
