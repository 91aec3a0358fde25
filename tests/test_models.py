"""models/: real Caffe reads every definition, and its parameter counts are the published ones."""

from __future__ import annotations

import json
import math
import os
import subprocess
from pathlib import Path

import pytest

MODELS = Path(__file__).parents[1] / "models"

# Published counts: Scale's blobs count, BatchNorm's statistics do not.
DEPLOY_PARAMS = {
    "alexnet/deploy.prototxt": 60_965_224,
    "googlenet/deploy.prototxt": 6_998_552,
    "resnet50/deploy.prototxt": 25_557_032,
    "resnet50/deploy_conv1_bias.prototxt": 25_557_032 + 64,
    "resnet152/deploy.prototxt": 60_192_808,
    "squeezenet_v1.0/deploy.prototxt": 1_248_424,
    "squeezenet_v1.1/deploy.prototxt": 1_235_496,
    "inception_mini/inception_mini.prototxt": 285_618,
}
PAIRS = {
    name.split("/")[0]: (name, name.split("/")[0] + "/train_val.prototxt")
    for name in DEPLOY_PARAMS
    if "conv1_bias" not in name
}
# Filling the ResNets' weights takes too long for a fast test.
TRAINED = ["alexnet", "googlenet", "squeezenet_v1.0", "squeezenet_v1.1", "inception_mini"]
TRAIN_PARAMS = {"googlenet": 13_378_280}  # with both auxiliary classifiers
LOSSES = {
    "alexnet": {"loss"},
    "googlenet": {"loss1/loss1", "loss2/loss2", "loss3/loss3"},
    "squeezenet_v1.0": {"loss"},
    "squeezenet_v1.1": {"loss"},
    "inception_mini": {"loss3/loss3"},
}

# Runs under the interpreter that has real Caffe: Python 3.6 syntax at most, JSON in and out.
JUDGE = r"""
import json, os, sys
os.environ["GLOG_minloglevel"] = "2"
import caffe
from caffe.proto import caffe_pb2
from google.protobuf import text_format

def parsed(path):
    with open(path) as file:
        return text_format.Merge(file.read(), caffe_pb2.NetParameter())

def count(net):
    types = {name: layer.type for name, layer in zip(net._layer_names, net.layers)}
    total = 0
    for name, blobs in net.params.items():
        if types[name] != "BatchNorm":
            total += sum(blob.count for blob in blobs)
    return total

def without_training(layer):
    # What both files must agree on: fillers, learning rates and BatchNorm's mode are training's.
    layer.ClearField("param")
    for field, _ in layer.ListFields():
        if field.name.endswith("_param"):
            message = getattr(layer, field.name)
            for name in ("weight_filler", "bias_filler", "filler", "use_global_stats"):
                if name in message.DESCRIPTOR.fields_by_name:
                    message.ClearField(name)
            if not message.ListFields():
                layer.ClearField(field.name)
    return text_format.MessageToString(layer)

def describe(path):
    rows = []
    for layer in parsed(path).layer:
        phases = [caffe_pb2.Phase.Name(rule.phase) for rule in layer.include]
        global_stats = layer.batch_norm_param.use_global_stats if layer.type == "BatchNorm" else None
        rows.append([layer.name, layer.type, phases, global_stats, without_training(layer)])
    return rows

def train(path, side, scratch):
    net = parsed(path)
    for layer in net.layer:
        if layer.type == "Data":
            phase = layer.include[0].phase
            layer.Clear()
            layer.name, layer.type = "data", "DummyData"
            layer.top.extend(["data", "label"])
            layer.include.add().phase = phase
            layer.dummy_data_param.shape.add().dim.extend([1, 3, side, side])
            layer.dummy_data_param.shape.add().dim.extend([1])
    with open(scratch, "w") as file:
        file.write(text_format.MessageToString(net))
    built = caffe.Net(scratch, caffe.TRAIN)
    outputs = built.forward()
    return {"params": count(built), "outputs": {k: float(v) for k, v in outputs.items()}}

def deploy(path):
    net = caffe.Net(path, caffe.TEST)
    shapes = {name: list(net.blobs[name].data.shape) for name in list(net.inputs) + list(net.outputs)}
    return {"params": count(net), "shapes": shapes}

print(json.dumps([globals()[name](*rest) for name, *rest in json.load(sys.stdin)]))
"""


def judge(python: Path, *jobs: tuple) -> list:
    """Run JUDGE's functions in real Caffe, one process for all jobs; an answer for each job."""
    answer = subprocess.run(
        [str(python), "-W", "ignore", "-c", JUDGE],
        input=json.dumps(jobs),
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    return json.loads(answer.stdout.splitlines()[-1])


def side(name: str) -> int:
    """The input's height and width in pixels."""
    return {"alexnet": 227, "inception_mini": 32}.get(name, 227 if "squeezenet" in name else 224)


@pytest.fixture(scope="module")
def deployed(caffe_python):
    jobs = [("deploy", str(MODELS / name)) for name in DEPLOY_PARAMS]
    return dict(zip(DEPLOY_PARAMS, judge(caffe_python, *jobs), strict=True))


@pytest.fixture(scope="module")
def described(caffe_python):
    paths = [path for pair in PAIRS.values() for path in pair]
    jobs = [("describe", str(MODELS / path)) for path in paths]
    return dict(zip(paths, judge(caffe_python, *jobs), strict=True))


@pytest.mark.parametrize("name", DEPLOY_PARAMS)
def test_caffe_builds_deploy_with_the_published_parameter_count(deployed, name):
    assert deployed[name]["params"] == DEPLOY_PARAMS[name]
    folder = name.split("/")[0]
    classes = 10 if folder == "inception_mini" else 1000
    assert deployed[name]["shapes"]["data"] == [1, 3, side(folder), side(folder)]
    # SqueezeNet ends in a global pooling: its output keeps its height and width of 1.
    assert deployed[name]["shapes"]["prob"] == [1, classes] + [1, 1] * folder.startswith("squeezenet")


@pytest.mark.parametrize("name", PAIRS)
def test_train_val_has_the_layers_of_deploy(described, name):
    deploy, train_val = (described[path] for path in PAIRS[name])
    shared = {row[0]: row[4] for row in train_val}
    body = [row for row in deploy if row[1] not in ("Input", "Softmax")]
    assert [row[1] for row in deploy if row not in body] == ["Input", "Softmax"]
    for layer, _, phases, _, text in body:
        assert phases == []
        assert shared[layer] == text
    order = [row[0] for row in train_val if row[0] in {row[0] for row in body}]
    assert order == [row[0] for row in body]


@pytest.mark.parametrize("name", PAIRS)
def test_train_val_has_data_loss_and_both_accuracies(described, name):
    rows = described[PAIRS[name][1]]
    assert [row[2] for row in rows if row[1] == "Data"] == [["TRAIN"], ["TEST"]]
    assert [row[2] for row in rows if row[1] == "SoftmaxWithLoss"] == [[]] * (3 if name == "googlenet" else 1)
    accuracies = [row for row in rows if row[1] == "Accuracy"]
    assert all(row[2] == ["TEST"] for row in accuracies)
    assert ["top_k: 5" in row[4] for row in accuracies[-2:]] == [False, True]


@pytest.mark.parametrize("name", ["resnet50", "resnet152"])
def test_batch_norm_is_frozen_in_deploy_only(described, name):
    for path, frozen in zip(PAIRS[name], (True, False), strict=True):
        modes = [row[3] for row in described[path] if row[1] == "BatchNorm"]
        assert modes and set(modes) == {frozen}


def test_caffe_builds_the_train_net_and_its_loss_is_finite(caffe_python, tmp_path):
    jobs = [
        ("train", str(MODELS / name / "train_val.prototxt"), side(name), str(tmp_path / f"{name}.prototxt"))
        for name in TRAINED
    ]
    answers = dict(zip(TRAINED, judge(caffe_python, *jobs), strict=True))
    for name, answer in answers.items():
        assert answer["params"] == TRAIN_PARAMS.get(name, DEPLOY_PARAMS[PAIRS[name][0]])
        assert set(answer["outputs"]) == LOSSES[name]
        assert all(math.isfinite(loss) for loss in answer["outputs"].values())


def test_every_folder_has_a_readme_and_a_row_in_the_index():
    index = (MODELS / "README.md").read_text(encoding="utf-8")
    folders = sorted(path.name for path in MODELS.iterdir() if path.is_dir())
    assert folders == sorted(PAIRS)
    for name in folders:
        count = f"{DEPLOY_PARAMS[PAIRS[name][0]]:,}"
        assert f"]({name}/README.md)" in index and count in index
        assert count in (MODELS / name / "README.md").read_text(encoding="utf-8")
