"""convert with sizes that the user gives: what it writes is what real Caffe computes, and a replay gives the same bytes."""

from __future__ import annotations

import filecmp
import json

import numpy as np
import pytest

import deepmerge
from deepmerge.formats.read import read_network
from deepmerge.formats.write import write_pair
from deepmerge.out.read import read_converted
from deepmerge.plan.plan import Wishes
from tests.conversion import Job, convert
from tests.helpers import apart, conv, fill, inputs, layer
from tests.pairs import folders

DATA = (
    'name: "net"\nlayer { name: "d" type: "Python" top: "data" top: "label" python_param { module: "m" layer: "L" } }\n'
)
BODY = (
    conv("conv1", "data", 4, "kernel_size: 3")
    + layer("bn", "BatchNorm", "conv1")
    + layer("norm1", "LRN", "bn")
    + layer("pool1", "Pooling", "norm1", "pool: MAX kernel_size: 3 stride: 2")
    + conv("conv2", "pool1", 3, "kernel_size: 3")
)
LOSS = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "conv2" bottom: "label" top: "loss" }\n'
SIZE = {"data": (2, 3, 15, 12)}


@pytest.fixture
def files(tmp_path):
    """train.prototxt and its weights; deploy.prototxt states the size itself."""
    prob = layer("prob", "Softmax", "conv2")
    (tmp_path / "train.prototxt").write_text(DATA + BODY + LOSS)
    (tmp_path / "stated.prototxt").write_text(inputs(SIZE["data"]) + BODY + prob)
    graph = read_network(tmp_path / "stated.prototxt")
    fill(graph, 7)
    write_pair(graph, tmp_path / "deploy.prototxt", tmp_path / "net.caffemodel")
    return tmp_path


def run(files, out: str, **job) -> dict:
    return convert(Job(files / "train.prototxt", files / "net.caffemodel", files / out, **job))


def test_the_converted_network_is_real_caffes(files, worker):
    report = run(files, "out", inputs=SIZE, wishes=Wishes(exact=True))
    feeds = {"data": np.random.default_rng(1).uniform(-9, 9, SIZE["data"]).astype(np.float32)}
    weights = files / "out/weights.caffemodel"
    with worker.load(files / "deploy.prototxt", files / "net.caffemodel") as before:
        expected = before.forward(feeds)
    with worker.load(files / "out/deploy.prototxt", weights) as after:
        assert after.inputs == {"data": SIZE["data"]}
        assert apart(expected, after.forward(feeds)) <= 1e-5
    assert report["inputs"] == {"data": [2, 3, 15, 12]} and [step["exact"] for step in report["steps"]] == [True]


def test_a_replay_without_the_option_gives_the_same_bytes(files):
    run(files, "out", inputs={"data": (3, 15, 12)})
    assert '[inputs]\n"data" = [1, 3, 15, 12]\n' in (files / "out/recipe.toml").read_text()
    run(files, "again", recipe=files / "out/recipe.toml")
    found = filecmp.dircmp(files / "out", files / "again")
    assert not (found.left_only or found.right_only) and found.diff_files == ["report.json"]  # a plan's has refusals
    first, second = (json.loads((files / out / "report.json").read_text()) for out in ("out", "again"))
    assert {**first, "refusals": []} == second
    steps = [folders(files / out)[:-1] for out in ("out", "again")]
    assert [filecmp.dircmp(*pair).diff_files for pair in zip(*steps, strict=True)] == [[]]


def test_the_option_wins_over_the_recipe(files):
    run(files, "out", inputs={"data": (3, 15, 12)})
    report = run(files, "again", recipe=files / "out/recipe.toml", inputs={"data": (3, 19, 17)})
    assert report["inputs"] == {"data": [1, 3, 19, 17]}


def test_the_original_is_read_as_the_report_says(files):
    run(files, "out", inputs=SIZE)
    (shape,) = [x.params.shape for x in read_converted(files / "out").original.read().layers if x.type == "Input"]
    assert shape == (SIZE["data"],)
    report = json.loads((files / "out/report.json").read_text())
    (files / "out/report.json").write_text(json.dumps({**report, "inputs": {"data": 5}}))
    with pytest.raises(deepmerge.DeepmergeError, match="is not a report of a conversion: its inputs are not lists"):
        read_converted(files / "out")


def test_python(files):
    network = deepmerge.load(files / "train.prototxt", files / "net.caffemodel", inputs={"data": (3, 15, 12)})
    plan = network.plan()
    assert plan.recipe.inputs == {"data": (1, 3, 15, 12)}
    network.convert(plan, files / "api")
    run(files, "out", inputs={"data": (3, 15, 12)})
    assert len(found := filecmp.dircmp(files / "api", files / "out").same_files) > 5 and "report.json" in found
    pair = files / "train.prototxt", files / "net.caffemodel"
    report = deepmerge.verify(pair, (files / "deploy.prototxt", pair[1]), inputs=SIZE, engine="caffe")
    assert report["ok"] and deepmerge.verify(network, network)["ok"]
