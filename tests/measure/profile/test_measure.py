from __future__ import annotations

import pytest

from deepmerge.engines.timing.timing import Budget
from deepmerge.measure.harness.networks import Source, read_networks
from deepmerge.measure.profile import Settings, profile
from deepmerge.measure.profile.measure import detail
from deepmerge.measure.profile.rows import OTHER, side_by_side, tensor_keys

QUICK = Budget(narrow=-1, least=2, most=2)


@pytest.fixture(scope="module")
def nets(models):
    mini = models / "inception_mini"
    prototxt, caffemodel = mini / "inception_mini.prototxt", mini / "inception_mini.caffemodel"
    return read_networks([Source("a", prototxt, caffemodel), Source("b", prototxt, None)])


def test_a_profile(nets, caffe_python):
    report = profile(nets, Settings(("caffe", "ort"), repeat=3, warmup=1, budget=QUICK))
    assert [n["random_weights"] for n in report["networks"]] == [False, True]
    assert report["networks"][0]["non_tensor_layers"] == pytest.approx(1 - 22 / 57)
    assert [(e["engine"], e["absent"]) for e in report["engines"]] == [("caffe", None), ("ort", None)]
    for engine in report["engines"]:
        first, second = engine["networks"]
        assert first["ratio"] is None and second["ratio"]["pairs"] == 2
        for entry in (first, second):
            assert entry["forward"]["low"] <= entry["forward"]["median"] <= entry["forward"]["high"]
            assert 0 < entry["non_tensor"]["median"] < 1
            assert entry["sum"]["median"] == pytest.approx(sum(layer["seconds"]["median"] for layer in entry["layers"]))
            steps = {layer["group"] for layer in entry["layers"]}
            assert steps == {"conv1", "conv2", "inception_3a", "inception_3b", "inception_4a", "loss3"}
    assert report["engines"][0]["networks"][0]["unfused"] is None
    assert report["engines"][1]["networks"][0]["unfused"]["median"] > 0
    assert {layer["type"] for layer in report["engines"][0]["networks"][0]["layers"]} >= {"Split", "LRN", "Convolution"}


def test_an_engine_that_is_absent(nets, monkeypatch):
    monkeypatch.setenv("DEEPMERGE_CAFFE_PYTHON", "/nowhere/python")
    report = profile(nets[:1], Settings(("caffe",), repeat=3, budget=QUICK))
    assert "does not exist" in report["engines"][0]["absent"] and report["engines"][0]["networks"] == []


def test_shares_come_from_medians(nets):
    rows = {
        ("conv1/3x3", "Convolution"): [0.003, 0.003, 0.9],
        ("pool1/norm1", "LRN"): [0.001, 0.001, 0.001],
        ("data", "Input"): [9.0, 9.0, 9.0],
    }
    found = detail(nets[0], rows, [])
    assert found["sum"]["median"] == pytest.approx(0.004) and found["non_tensor"]["median"] == pytest.approx(0.25)
    assert found["unfused"] is None and [layer["name"] for layer in found["layers"]] == ["conv1/3x3", "pool1/norm1"]


def entry(*layers):
    return {
        "layers": [
            {"name": n, "type": t, "group": g, "tensor": x, "seconds": {"median": s}} for n, t, g, x, s in layers
        ]
    }


ONE = entry(
    ("c", "Convolution", "s1", True, 2.0), ("p", "Pooling", "s1", False, 1.0), ("f", "InnerProduct", "s3", True, 4.0)
)
TWO = entry(
    ("c", "Convolution", "s1", True, 1.0), ("x", "Convolution", "s2", True, 5.0), ("f", "InnerProduct", "", True, 3.0)
)


def test_side_by_side():
    assert side_by_side([ONE, TWO], "group") == [
        ("s1", [3.0, 1.0]),
        ("s2", [None, 5.0]),
        (OTHER, [None, 3.0]),
        ("s3", [4.0, None]),
    ]
    assert side_by_side([ONE, TWO], "layer") == [
        ("c", [2.0, 1.0]),
        ("x", [None, 5.0]),
        ("p", [1.0, None]),
        ("f", [4.0, 3.0]),
    ]
    assert side_by_side([TWO], "type") == [("Convolution", [6.0]), ("InnerProduct", [3.0])]
    assert tensor_keys([ONE], "group") == {"s1": None, "s3": True} and tensor_keys([ONE], "type")["Pooling"] is False
