"""The engine that judges all others, so it is tested on what real Caffe itself says."""

from __future__ import annotations

import gc
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from deepmerge.engines.caffe import CaffeSession
from deepmerge.errors import EngineError
from deepmerge.train.shared.device import cores

MINI = Path(__file__).parents[2] / "models/inception_mini"
PROTOTXT, CAFFEMODEL = MINI / "inception_mini.prototxt", MINI / "inception_mini.caffemodel"

SMALL = """
name: "small"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 5 dim: 4 } } }
layer { name: "shift" type: "Power" bottom: "data" top: "data" power_param { scale: 0.5 shift: 1 } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 7 kernel_h: 3 kernel_w: 2 weight_filler { type: "gaussian" std: 1 } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
"""

TRAIN = """
name: "train"
layer { name: "data" type: "DummyData" top: "data" top: "label" dummy_data_param {
    shape { dim: 8 dim: 3 dim: 5 dim: 4 } shape { dim: 8 }
    data_filler { type: "constant" value: 0.5 } data_filler { type: "constant" value: 2 } } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc"
        inner_product_param { num_output: 4 weight_filler { type: "constant" value: 0 } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" loss_weight: 0.5 }
layer { name: "accuracy" type: "Accuracy" bottom: "fc" bottom: "label" top: "accuracy" include { phase: TEST } }
"""

SOLVER = """
net: "train_val.prototxt" base_lr: 0.1 lr_policy: "fixed" momentum: 0.9 max_iter: 10
test_iter: 1 test_interval: 1000 test_initialization: false snapshot_after_train: false
"""


@pytest.fixture(scope="module")
def engine(real_caffe):
    return real_caffe


@pytest.fixture(scope="module")
def mini(engine):
    with engine.load_files(PROTOTXT, CAFFEMODEL) as session:
        yield session


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.prototxt"
    path.write_text(SMALL)
    return path


@pytest.fixture
def images():
    return np.random.default_rng(3).uniform(-120, 130, (3, 3, 32, 32)).astype(np.float32)


def gone(pid):
    """Whether no process has this id, not even a zombie that nobody collected."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_forward_of_a_trained_network(mini, images):
    assert mini.inputs == {"data": (1, 3, 32, 32)}
    assert mini.outputs == ("prob",)
    out = mini.forward({"data": images[:1]}, ["conv1/3x3", "prob"])
    assert list(out) == ["conv1/3x3", "prob"]
    assert out["conv1/3x3"].shape == (1, 32, 32, 32)
    assert out["conv1/3x3"].min() == 0  # its ReLU is in place
    assert out["prob"].shape == (1, 10) and out["prob"].dtype == np.float32
    np.testing.assert_allclose(out["prob"].sum(axis=1), 1, atol=1e-5)


def test_a_batch_is_its_images_one_by_one(mini, images):
    together = mini.forward({"data": images})["prob"]
    alone = [mini.forward({"data": image[None]})["prob"] for image in images]
    np.testing.assert_allclose(together, np.concatenate(alone), rtol=1e-5, atol=1e-7)
    assert np.abs(together - together[0]).max() > 1e-3  # they are three different images


def test_results_are_copies(mini, images):
    first = mini.forward({"data": images[:1]})["prob"]
    kept = first.copy()
    mini.forward({"data": images[1:2]})
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize(
    ("feeds", "blobs", "message"),
    [
        ({"dat": (1, 3, 32, 32)}, None, "no input 'dat'; did you mean 'data'"),
        ({}, None, "'data' .* gets no values"),
        ({"data": (1, 3, 32, 31)}, None, r"\(1, 3, 32, 31\) was fed"),
        ({"data": (3, 32, 32)}, None, r"\(3, 32, 32\) was fed"),
        ({"data": (1, 3, 32, 32)}, ["porb"], "no blob 'porb'; did you mean 'prob'"),
    ],
)
def test_wrong_feeds_and_blobs_are_named(mini, feeds, blobs, message):
    with pytest.raises(EngineError, match=message):
        mini.forward({name: np.zeros(shape) for name, shape in feeds.items()}, blobs)
    assert mini.worker.process.alive


def test_info_is_what_caffe_made_of_the_files(mini):
    info = mini.info()
    layers = {layer["name"]: layer for layer in info["layers"]}
    assert layers["conv1/3x3"] == {
        "name": "conv1/3x3",
        "type": "Convolution",
        "bottoms": ["data"],
        "tops": ["conv1/3x3"],
        "params": [[32, 3, 3, 3], [32]],
    }
    assert any(layer["type"] == "Split" for layer in info["layers"])
    assert info["outputs"] == ["prob"] and info["blobs"]["prob"][1:] == (10,)


def test_memory_is_what_caffe_logs(engine):
    with engine.load_files(PROTOTXT) as session:
        assert session.info()["memory_bytes"] == 1480784  # "Memory required for data: 1480784"


def test_weights_go_in_and_out(engine, mini, images, tmp_path):
    mini.save(tmp_path / "again.caffemodel")
    with engine.load_files(PROTOTXT, tmp_path / "again.caffemodel") as session:
        before, after = mini.params(), session.params()
        assert list(before) == list(after)
        for name, blobs in before.items():
            for one, other in zip(blobs, after[name], strict=True):
                np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(
            mini.forward({"data": images[:1]})["prob"], session.forward({"data": images[:1]})["prob"]
        )


def test_fillers_are_seeded_and_shapes_can_be_set(engine, small):
    with engine.start() as worker:
        one, other = worker.load(small), worker.load(small, shapes={"data": (1, 3, 9, 6)})
        assert one.inputs == {"data": (2, 3, 5, 4)}
        assert other.inputs == {"data": (1, 3, 9, 6)}
        np.testing.assert_array_equal(one.params()["conv"][0], other.params()["conv"][0])
        assert one.forward({"data": np.ones((2, 3, 5, 4))})["conv"].shape == (2, 7, 3, 3)
        assert other.forward({"data": np.ones((1, 3, 9, 6))})["conv"].shape == (1, 7, 7, 5)
        one.close()
        assert other.forward({"data": np.ones((1, 3, 9, 6))}, ["data"])["data"].max() == 1.5


def test_timing(engine, small, mini):
    with engine.load_files(small) as session:
        assert all(0 < one.time_once() < 5 for one in (mini, session))
        assert len(session.time(repeat=3, warmup=2)) == 3
        layers = session.time_layers(repeat=3, warmup=1)
        assert [(name, kind, len(s)) for name, kind, s in layers] == [
            ("data", "Input", 3),
            ("shift", "Power", 3),
            ("conv", "Convolution", 3),
            ("relu", "ReLU", 3),
        ]


@pytest.mark.parametrize(("waited", "counted"), [(0.8, 0.8), (1.3, 1.0), (None, None)])
def test_two_threads_may_wait_at_once(waited, counted):
    """Twice the time of a run at most: more was outside of it."""
    reply = {"seconds": [0.5], "waited": [waited]}, []
    worker = SimpleNamespace(threads=2, process=SimpleNamespace(request=lambda *words, **fields: reply))
    session = CaffeSession(worker, 0, "net.prototxt", {"inputs": [], "outputs": [], "blobs": []})
    assert session.time_sample() == (0.5, counted)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="counts threads in Linux's /proc")
@pytest.mark.skipif(cores() < 2, reason="one CPU: BLAS starts no threads anyway")
def test_threads_are_limited(engine):
    def threads(session):
        session.time(repeat=2)
        status = Path(f"/proc/{session.worker.process.pid}/status").read_text()
        return int(status.split("Threads:")[1].split()[0])

    with engine.load_files(PROTOTXT, threads=1) as one, engine.load_files(PROTOTXT, threads=2) as two:
        assert threads(one) == 1
        assert threads(two) > 1


def test_an_abort_of_caffe_is_an_error(engine, mini, images, tmp_path):
    bad = tmp_path / "bad.prototxt"
    bad.write_text(
        'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 6 } } }\n'
        'layer { name: "r" type: "Reshape" bottom: "data" top: "r" reshape_param { shape { dim: 5 dim: 7 } } }\n'
    )
    with pytest.raises(EngineError, match=r"bad\.prototxt: Check failed: .*output count must match") as caught:
        engine.load_files(bad)
    assert "\n" not in str(caught.value)
    assert mini.forward({"data": images[:1]})["prob"].shape == (1, 10)


def test_an_abort_ends_its_worker_only(engine, small, tmp_path):
    typo = tmp_path / "typo.prototxt"
    typo.write_text('layer { name: "data" typ: "Input" }')
    with engine.start() as worker:
        session = worker.load(small)
        with pytest.raises(EngineError, match=r'typo\.prototxt.*no field named "typ"'):
            worker.load(typo)
        with pytest.raises(EngineError, match=r"small\.prototxt: the worker is not running \(Check failed"):
            session.forward({"data": np.ones((2, 3, 5, 4))})
        session.close()
    with engine.load_files(small) as session:
        assert session.outputs == ("conv",)


def test_files_that_cannot_be_read(engine, tmp_path):
    with pytest.raises(EngineError, match=r"none\.prototxt: No such file"):
        engine.load_files(tmp_path / "none.prototxt")
    with pytest.raises(EngineError, match="Is a directory"):
        engine.load_files(tmp_path)
    with pytest.raises(EngineError, match="phase 'test' is not one of TEST, TRAIN"):
        engine.load_files(PROTOTXT, phase="test")


def descent(steps, rate=0.1, momentum=0.9, weight=0.5, size=60, value=0.5, label=2):
    """The losses of TRAIN by hand: softmax regression on one constant sample, from zero weights."""
    scores, speed, losses = np.zeros(4), np.zeros(4), []
    for _ in range(steps):
        p = np.exp(scores) / np.exp(scores).sum()
        losses.append(-weight * np.log(p[label]))
        speed = momentum * speed + rate * weight * (p - np.eye(4)[label])
        scores = scores - speed * (size * value**2 + 1)  # each weight's input, and the bias's 1
    return losses


def test_solve(engine, tmp_path):
    (tmp_path / "train_val.prototxt").write_text(TRAIN)
    (tmp_path / "solver.prototxt").write_text(SOLVER)
    saved = tmp_path / "trained.caffemodel"
    solved = engine.solve(tmp_path / "solver.prototxt", steps=3, save=saved, test=True)
    assert len(solved.losses) == solved.iteration == 3
    assert all(math.isfinite(loss) for loss in solved.losses)
    np.testing.assert_allclose(solved.losses, descent(3), rtol=1e-5)
    # Caffe shows a test net's outputs unweighted
    assert solved.tests[0]["accuracy"] == [1.0]
    np.testing.assert_allclose(solved.tests[0]["loss"], 2 * descent(4)[3], rtol=1e-5)

    again = engine.solve(tmp_path / "solver.prototxt", [saved], steps=1)
    np.testing.assert_allclose(again.losses, descent(4)[3:], rtol=1e-5)
    with engine.load_files(tmp_path / "train_val.prototxt", saved) as session:
        assert session.inputs == {}
        assert session.forward({})["accuracy"] == 1


def test_weights_go_into_test_nets_too(engine, tmp_path):
    """As with `caffe train -weights`: nothing else gives any to a layer that the TEST phase alone has."""
    extra = 'layer {{ name: "extra" type: "InnerProduct" bottom: "data" top: "extra" include {{ phase: TEST }} {} }}'
    filled = 'inner_product_param {{ num_output: 1 weight_filler {{ type: "constant" value: {} }} }}'
    texts = [TRAIN + extra.format(filled.format(value)) for value in (0.25, 0)]
    (tmp_path / "train_val.prototxt").write_text(texts[0])
    with engine.load_files(tmp_path / "train_val.prototxt") as session:
        session.save(tmp_path / "start.caffemodel")
    (tmp_path / "train_val.prototxt").write_text(texts[1])
    (tmp_path / "solver.prototxt").write_text(SOLVER)
    solved = engine.solve(tmp_path / "solver.prototxt", tmp_path / "start.caffemodel", steps=1, test=True)
    assert solved.tests[0]["extra"] == [0.25 * 60 * 0.5] * 8


def test_a_solver_in_pieces(engine, tmp_path):
    (tmp_path / "train_val.prototxt").write_text(TRAIN)
    (tmp_path / "solver.prototxt").write_text(SOLVER)
    with engine.start() as worker:
        solver = worker.open_solver(tmp_path / "solver.prototxt")
        np.testing.assert_allclose(solver.step(1) + solver.step(2), descent(3), rtol=1e-5)
        outputs = solver.test(0, 2)
        assert outputs["accuracy"] == [1.0, 1.0]
        np.testing.assert_allclose(outputs["loss"], [2 * descent(4)[3]] * 2, rtol=1e-5)
        solver.close()
        with pytest.raises(EngineError, match=r"solving .*solver\.prototxt: KeyError"):
            solver.step(1)
        np.testing.assert_allclose(worker.open_solver(tmp_path / "solver.prototxt").step(1), descent(1), rtol=1e-5)


def test_solving_the_same_twice_gives_the_same(engine, tmp_path):
    random = TRAIN.replace('type: "constant" value: 0 }', 'type: "gaussian" std: 0.1 }')
    assert random != TRAIN
    (tmp_path / "train_val.prototxt").write_text(random)
    (tmp_path / "solver.prototxt").write_text(SOLVER)
    one, other = (engine.solve(tmp_path / "solver.prototxt", steps=2).losses for _ in range(2))
    assert one == other != descent(2)


def test_solver_without_its_net(engine, tmp_path):
    (tmp_path / "solver.prototxt").write_text(SOLVER)
    with pytest.raises(EngineError, match=r"solving .*solver\.prototxt: .*train_val\.prototxt"):
        engine.solve(tmp_path / "solver.prototxt")


@pytest.mark.skipif(sys.platform == "win32", reason="looks for the process by its id")
def test_nothing_is_left_behind(engine, small):
    closed = engine.load_files(small)
    pid = closed.worker.process.pid
    assert not gone(pid)
    closed.close()
    assert gone(pid)
    closed.close()  # a second time does nothing

    dropped = engine.load_files(small)
    pid = dropped.worker.process.pid
    del dropped
    gc.collect()
    assert gone(pid)


def test_a_program_that_ends_without_closing_leaves_nothing(caffe_python, small):
    program = (
        "import sys; from deepmerge.engines.caffe import CaffeEngine\n"
        "session = CaffeEngine(sys.argv[1]).load_files(sys.argv[2])\n"
        "print(session.worker.process.pid)"
    )
    root = str(Path(__file__).parents[2])
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, caffe_python, small],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    assert gone(int(done.stdout)) and done.stderr == ""


def test_a_worker_that_hangs_is_ended(engine, small):
    with engine.load_files(small) as session:
        process = session.worker.process
        process.timeout = 0.3
        start = time.monotonic()
        with pytest.raises(EngineError, match=r"small\.prototxt: no answer within 0\.3 s"):
            session.time(repeat=10**8)
        assert time.monotonic() - start < 20
        assert not process.alive and gone(process.pid)
