"""OpenCV, MNN and ncnn against real Caffe, on files that deepmerge writes; what each refuses."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from deepmerge.engines import engine
from deepmerge.engines.mnn import convert
from deepmerge.engines.ncnn import find_pnnx
from deepmerge.errors import EngineError
from deepmerge.formats.read import read_network
from tests.helpers import conv, inputs, layer, network, relu

MINI = Path(__file__).parents[2] / "models/inception_mini"
PAIR = MINI / "inception_mini.prototxt", MINI / "inception_mini.caffemodel"
NEEDS = {"opencv": "cv2", "mnn": "MNN", "ncnn": "ncnn"}
# of the output's range: MNN's and ncnn's fast convolutions (Winograd) round more than Caffe's
CLOSE = {"opencv": 1e-5, "mnn": 1e-4, "ncnn": 1e-4}

# Asymmetric, with a pool that rounds up, an average pool that pads, groups, and an in-place chain at the end
ODD = (
    inputs((1, 4, 13, 10))
    + conv("c1", "data", 8, "kernel_h: 3 kernel_w: 2 stride: 2 pad_h: 1 pad_w: 0 group: 2")
    + relu("c1")
    + layer("p1", "Pooling", "c1", "pool: MAX kernel_size: 3 stride: 2")
    + layer("n1", "LRN", "p1", "local_size: 3 alpha: 0.3 beta: 0.6")
    + conv("a", "n1", 5, "kernel_size: 1 bias_term: false")
    + layer("b", "Pooling", "n1", "pool: AVE kernel_size: 3 stride: 1 pad: 1")
    + layer("cat", "Concat", "a b")
    + layer("fc", "InnerProduct", "cat", "num_output: 6")
    + relu("fc")
)


def the(name):
    if name == "ncnn" and find_pnnx() is None:
        pytest.skip("pnnx is not installed; `pip install pnnx`")
    pytest.importorskip(NEEDS[name], reason=f"engine {name} is not installed; `pip install -e .[bench,ncnn]`")
    return engine(name)


def apart(found, wanted):
    assert found.keys() == wanted.keys()
    return max(np.abs(found[name] - wanted[name]).max() / np.ptp(wanted[name]) for name in wanted)


@pytest.mark.parametrize("name", NEEDS)
def test_outputs_are_caffes(real_caffe, name):
    feeds = {"data": np.random.default_rng(2).uniform(-120, 130, (1, 3, 32, 32)).astype(np.float32)}
    with the(name).load(read_network(*PAIR)) as session, real_caffe.load_files(*PAIR) as judge:
        assert session.inputs == {"data": (1, 3, 32, 32)} and session.outputs == ("prob",)
        assert apart(session.forward(feeds), judge.forward(feeds)) < CLOSE[name]


@pytest.mark.parametrize("name", ["opencv", "ncnn"])
def test_outputs_of_an_odd_network_are_caffes(real_caffe, tmp_path, name):
    graph = network(tmp_path, ODD)
    feeds = {"data": np.random.default_rng(2).normal(0, 1, (1, 4, 13, 10)).astype(np.float32)}
    with the(name).load(graph) as session, real_caffe.load(graph) as judge:
        assert apart(session.forward(feeds), judge.forward(feeds)) < CLOSE[name]


@pytest.mark.parametrize("name", ["opencv", "mnn"])
def test_layers_are_timed_under_their_names(tmp_path, name):
    graph = read_network(*PAIR)
    with the(name).load(graph) as session:
        times = session.time_layers(repeat=3, warmup=1)
        assert session.time_once() > 0
    kinds = {one.name: one.type for one in graph.layers}
    named = {layer: (kind, seconds) for layer, kind, seconds in times}
    assert all(len(seconds) == 3 and min(seconds) >= 0 for _, seconds in named.values())
    for layer_name in ("conv1/3x3", "conv2/norm2", "pool2/3x3_s2", "inception_3a/5x5", "prob"):
        assert named[layer_name][0] == kinds[layer_name] and max(named[layer_name][1]) > 0
    assert sum(seconds[0] for kind, seconds in named.values() if kind == "LRN") > 0


def test_opencv_hands_out_any_blob_and_tells_unfused_forwards(real_caffe):
    graph = read_network(*PAIR)
    feeds = {"data": np.random.default_rng(2).uniform(-120, 130, (1, 3, 32, 32)).astype(np.float32)}
    with the("opencv").load(graph) as session, real_caffe.load_files(*PAIR) as judge:
        wanted = ["conv1/3x3", "inception_3a/output", "prob"]
        assert apart(session.forward(feeds, wanted), judge.forward(feeds, wanted)) < 1e-5
        session.time_layers(repeat=2, warmup=0)
        assert len(session.forward_seconds) == 2 and min(session.forward_seconds) > 0
    with pytest.raises(EngineError, match="closed"):
        session.forward(feeds)


def test_the_batch_is_the_declared_one(tmp_path):
    session = the("opencv").load(network(tmp_path, inputs((2, 3, 5, 4)) + conv("c", "data", 2)))
    assert session.forward({"data": np.ones((2, 3, 5, 4))})["c"].shape == (2, 2, 5, 4)
    with pytest.raises(EngineError, match=r"declared batch alone: \(2, 3, 5, 4\), not \(1, 3, 5, 4\)"):
        session.forward({"data": np.ones((1, 3, 5, 4))})
    with pytest.raises(EngineError, match="one image at a time"):
        the("ncnn").load(network(tmp_path, inputs((2, 3, 5, 4)) + conv("c", "data", 2)))


@pytest.mark.parametrize("name", NEEDS)
def test_a_layer_that_nobody_knows(tmp_path, name):
    graph = network(tmp_path, inputs((1, 3, 5, 4)) + conv("c", "data", 2))
    graph.layer("c").type = "Strange"
    graph.layer("c").params = None
    with pytest.raises(EngineError, match="Strange"):
        the(name).load(graph)


@pytest.mark.parametrize("name", NEEDS)
def test_an_engine_that_is_not_installed_says_how_to_get_it(monkeypatch, name):
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)
    monkeypatch.setattr("deepmerge.engines.ncnn.find_spec", lambda *_: None)
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(EngineError, match="pip install"):
        engine(name)


def test_opencv_without_a_caffe_reader(monkeypatch):
    class Cv2:
        __version__ = "5.0.0"
        dnn = object()

    monkeypatch.setitem(sys.modules, "cv2", Cv2)
    with pytest.raises(
        EngineError,
        match=r"OpenCV 5.0.0 does not read Caffe's files any more; pip install \"opencv-python-headless<5\"",
    ):
        engine("opencv")


def test_mnn_takes_no_part_of_a_refused_model(tmp_path, monkeypatch):
    """Its converter writes a part, fails on Caffe's files, and then writes nothing for ONNX's."""

    def run(command, **options):
        if "CAFFE" in command:
            Path(command[command.index("--MNNModel") + 1]).write_bytes(b"part")
        return SimpleNamespace(returncode=int("CAFFE" in command), stdout="", stderr="it fails")

    monkeypatch.setattr("deepmerge.engines.mnn.subprocess.run", run)
    with pytest.raises(EngineError, match="MNN cannot convert the network: it fails"):
        convert(network(tmp_path, ODD), tmp_path)


def test_mnn_says_what_it_was_made_from_and_leaves_stdout_alone(capfd):
    with the("mnn").load(read_network(*PAIR)) as session:
        assert session.source == "caffe"
    assert capfd.readouterr().out == ""


def test_a_blob_of_another_shape_than_caffes_is_noticed(tmp_path):
    """OpenCV passes over a pad_h that has no pad_w beside it."""
    graph = network(tmp_path, inputs((1, 3, 9, 8)) + conv("c", "data", 2, "kernel_size: 3 pad_h: 1"))
    with (
        the("opencv").load(graph) as session,
        pytest.raises(EngineError, match=r"opencv makes blob 'c' \(1, 2, 7, 6\), where Caffe makes it"),
    ):
        session.forward({"data": np.zeros((1, 3, 9, 8))})
