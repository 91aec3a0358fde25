"""Activations and arithmetic in PyTorch, against real Caffe, forward and backward."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.engines.pytorch import TorchNet
from deepmerge.errors import EngineError
from tests.engines.pytorch.cases import images, inputs, judge, layer, network, torch

SHAPE = (2, 6, 5, 4)
SIGNED = {
    "ReLU": ["", "negative_slope: 0.25", "negative_slope: -0.5"],
    "PReLU": ["", "channel_shared: true"],
    "ELU": ["", "alpha: 0.5"],
    "Swish": ["", "beta: 1.5"],
    "Power": [
        "",
        "scale: 2 shift: -0.5",
        "power: 2 scale: 0.5",
        "power: 3 shift: 1",
        "power: 0",
        "scale: 0 shift: 2 power: 2",
    ],
    "Exp": ["", "base: 2 scale: 0.5 shift: 1", "shift: -1"],
    "AbsVal": [""],
    "BNLL": [""],
    "Sigmoid": [""],
    "TanH": [""],
}
POSITIVE = {"Log": ["", "base: 3 scale: 2 shift: 0.25"], "Power": ["power: 0.5", "power: -0.75 scale: 3 shift: 1"]}


@pytest.mark.parametrize("kind", SIGNED)
def test_activations(worker, tmp_path, kind):
    text, fed = inputs(SHAPE), images(SHAPE)
    for number, params in enumerate(SIGNED[kind]):
        text += layer(f"top{number}", kind, f"{kind.lower()}_param {{ {params} }}" if params else "")
    fed["data"][:, :, 0] = 0  # where many have a corner
    judge(worker, tmp_path, text, fed, images((3, *SHAPE[1:])))


@pytest.mark.parametrize("kind", POSITIVE)
def test_of_positive_values(worker, tmp_path, kind):
    text = inputs(SHAPE)
    for number, params in enumerate(POSITIVE[kind]):
        text += layer(f"top{number}", kind, f"{kind.lower()}_param {{ {params} }}" if params else "")
    judge(worker, tmp_path, text, images(SHAPE, low=0.1))


def test_exponentials_beyond_float32(worker, tmp_path):
    text = inputs(SHAPE) + layer("exp", "Exp", "exp_param { shift: 1000 }")
    judge(worker, tmp_path, text, images(SHAPE), backward=False)


def test_threshold(worker, tmp_path):
    fed = {"data": np.round(images(SHAPE)["data"])}
    judge(
        worker,
        tmp_path,
        inputs(SHAPE) + layer("t", "Threshold", "threshold_param { threshold: 1 }"),
        fed,
        backward=False,
    )


def test_dropout_does_nothing_in_a_test(worker, tmp_path):
    text = inputs(SHAPE) + layer("d", "Dropout", "dropout_param { dropout_ratio: 0.7 }") + layer("t", "TanH", "", "d")
    judge(worker, tmp_path, text, images(SHAPE))


@pytest.mark.parametrize("bottoms", ["data data1", "data data1 data2"])
def test_eltwise(worker, tmp_path, bottoms):
    """Values are few, so that there are ties: which bottom's MAX it is shows in the gradient."""
    text = inputs(SHAPE, SHAPE, SHAPE) + layer("rest", "Silence", "", "data2", "")
    coeff = " ".join(f"coeff: {c}" for c in (0.5, -1, 3)[: len(bottoms.split())])
    for number, params in enumerate(["", coeff, "operation: PROD", "operation: MAX"]):
        text += layer(f"top{number}", "Eltwise", f"eltwise_param {{ {params} }}", bottoms)
    rng = np.random.default_rng(0)
    fed = {name: rng.integers(1, 4, SHAPE).astype(np.float32) for name in ("data", "data1", "data2")}
    judge(worker, tmp_path, text, fed, images(SHAPE, SHAPE, SHAPE))


def test_an_operation_of_a_fork_is_refused(tmp_path):
    text = inputs(SHAPE) + layer("e", "Eltwise", "eltwise_param { operation: MEAN }", "data data")
    net = TorchNet(network(tmp_path, text))
    with pytest.raises(EngineError, match=r"^layer 'e' \(Eltwise\): engine 'torch' does not have operation MEAN"):
        net({"data": torch.zeros(SHAPE)})


def test_in_place(worker, tmp_path):
    """Layers in place, on a convolution's top and on one that its own gradient needs."""
    text = inputs(SHAPE) + layer("conv", "Convolution", "convolution_param { num_output: 5 kernel_size: 2 }")
    text += layer("relu", "ReLU", "", "conv", "conv") + layer("sig", "Sigmoid", "", "conv")
    text += layer("relu2", "ReLU", "relu_param { negative_slope: 0.5 }", "sig", "sig")
    text += layer("lrn", "LRN", "lrn_param { alpha: 2 }", "conv") + layer("relu3", "ReLU", "", "lrn", "lrn")
    judge(worker, tmp_path, text, images(SHAPE))


def test_a_blob_read_before_and_after_a_layer_in_place(worker, tmp_path):
    """Caffe gives each reader what it says where the reader stands."""
    text = inputs(SHAPE) + layer("conv", "Convolution", "convolution_param { num_output: 5 kernel_size: 1 }")
    text += layer("power", "Power", "power_param { scale: 2 }", "conv") + layer("relu", "ReLU", "", "power", "power")
    text += layer("sum", "Eltwise", "", "conv power")
    judge(worker, tmp_path, text, images(SHAPE))
