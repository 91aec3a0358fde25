"""Activations and arithmetic as ONNX, against real Caffe."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.engines.ort import OrtEngine
from deepmerge.errors import EngineError
from deepmerge.formats.onnx import to_onnx
from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.graph.params import Clip, Input
from tests.formats.onnx.cases import images, inputs, judge, layer, network

SHAPE = (2, 5, 7, 4)


def test_activations(worker, tmp_path):
    text = inputs(SHAPE)
    for kind in ("AbsVal", "BNLL", "Dropout", "ReLU", "Sigmoid", "TanH", "PReLU", "ELU", "Swish", "Threshold"):
        text += layer(kind, kind)
    text += layer("leaky", "ReLU", "relu_param { negative_slope: 0.1 }")
    text += layer("upside", "ReLU", "relu_param { negative_slope: -1.5 }")
    text += layer("shared", "PReLU", "prelu_param { channel_shared: true }")
    text += layer("elu2", "ELU", "elu_param { alpha: 0.3 }")
    text += layer("swish2", "Swish", "swish_param { beta: -1.7 }")
    text += layer("threshold2", "Threshold", "threshold_param { threshold: 0.5 }")
    judge(worker, tmp_path, text, images(SHAPE), images((3, *SHAPE[1:]), low=-60, high=60))


def test_prelu_on_vectors(worker, tmp_path):
    judge(worker, tmp_path, inputs((3, 5)) + layer("p", "PReLU"), images((3, 5)), images((1, 5)))


POWERS = [
    "",
    "power: 2",
    "power: 3 scale: -0.5",
    "scale: 2 shift: 1",
    "power: 0",
    "scale: 0 shift: 2 power: 3",
    "power: 1 scale: 0",
    "shift: -1",
]


def test_power(worker, tmp_path):
    text = inputs(SHAPE)
    for number, params in enumerate(POWERS):
        text += layer(f"top{number}", "Power", f"power_param {{ {params} }}")
    judge(worker, tmp_path, text, images(SHAPE), images((1, *SHAPE[1:])))


def test_roots_and_logarithms_of_positive_values(worker, tmp_path):
    text = inputs(SHAPE)
    text += layer("root", "Power", "power_param { power: 0.5 shift: 0.25 }")
    text += layer("inverse", "Power", "power_param { power: -0.75 scale: 2 shift: 1 }")
    for number, params in enumerate(["", "base: 2", "base: 10 scale: 3", "scale: 2 shift: 1", "base: 0.5 shift: 1"]):
        text += layer(f"log{number}", "Log", f"log_param {{ {params} }}")
    for number, params in enumerate(["", "base: 2", "base: 10 scale: 0.3", "scale: -1 shift: 1", "base: 3 shift: 0.5"]):
        text += layer(f"exp{number}", "Exp", f"exp_param {{ {params} }}")
    judge(worker, tmp_path, text, images(SHAPE, low=0.01), images((3, *SHAPE[1:]), low=0.01))


def test_logarithms_outside_their_range_are_caffes(worker, tmp_path):
    text = inputs((1, 2, 3, 5)) + layer("log", "Log") + layer("root", "Power", "power_param { power: 0.5 }")
    judge(worker, tmp_path, text, images((1, 2, 3, 5)))


def test_exponentials_beyond_float32_are_caffes(worker, tmp_path):
    text = inputs((1, 2, 3, 5)) + layer("exp", "Exp", "exp_param { shift: 1000 }")
    judge(worker, tmp_path, text, images((1, 2, 3, 5)))


@pytest.mark.pitfall("row", 27)
def test_eltwise(worker, tmp_path):
    text = inputs(SHAPE, SHAPE, SHAPE)
    cases = {"": "", "MAX": "", "PROD": "", "SUM": "coeff: 0.5 coeff: -1 coeff: 2"}
    for number, (operation, coeff) in enumerate(cases.items()):
        params = f"eltwise_param {{ {f'operation: {operation}' if operation else ''} {coeff} }}"
        text += layer(f"three{number}", "Eltwise", params, "data data1 data2")
    text += layer("minus", "Eltwise", "eltwise_param { coeff: -1 coeff: 1 }", "data data1")
    text += layer("twice", "Eltwise", "", "data data")
    judge(worker, tmp_path, text, images(SHAPE, SHAPE, SHAPE), images(*[(3, *SHAPE[1:])] * 3))


def test_an_operation_of_a_fork_is_refused(tmp_path):
    text = inputs(SHAPE) + layer("e", "Eltwise", "eltwise_param { operation: MEAN }", "data data")
    with pytest.raises(EngineError, match=r"^layer 'e' \(Eltwise\): operation MEAN cannot be written as ONNX"):
        to_onnx(network(tmp_path, text))


def test_clip():
    """The Caffe that pip installs has no Clip; BVLC's definition is min(max(x, min), max)."""
    data, clipped = Blob("data"), Blob("clipped")
    source = Layer("data", "Input", Input(shape=((2, 3, 4, 5),)), tops=[data])
    graph = Graph("clip", [source, Layer("clip", "Clip", Clip(min=-1, max=0.5), [data], [clipped])])
    fed = images((2, 3, 4, 5))
    with OrtEngine().load(graph) as session:
        np.testing.assert_array_equal(session.forward(fed)["clipped"], fed["data"].clip(-1, 0.5))
