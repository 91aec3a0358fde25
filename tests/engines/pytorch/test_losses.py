"""Losses and Accuracy in PyTorch, against real Caffe: their values, and their gradients by their weights."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.engines.pytorch import TorchNet
from deepmerge.errors import EngineError
from tests.engines.pytorch.cases import inputs, judge, layer, network, torch

SHAPE, CLASSES = (4, 5, 3, 2), 5
NORMALIZED = [
    "",
    *(f"normalization: {how}" for how in ("FULL", "VALID", "BATCH_SIZE", "NONE")),
    "normalize: false",
    "normalize: true",
]


def scores(shape=SHAPE, seed: int = 3, factor: float = 4) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, factor, shape).astype(np.float32)


def labels(*shape: int, classes: int = CLASSES) -> np.ndarray:
    return np.random.default_rng(7).integers(0, classes, shape).astype(np.float32)


def loss_layers(kind: str, params: list[str], bottoms: str = "data data1") -> str:
    return "".join(layer(f"loss{i}", kind, text, bottoms) for i, text in enumerate(params))


@pytest.mark.parametrize("ignored", ["", "ignore_label: 2"])
def test_softmax_loss(worker, tmp_path, ignored):
    text = inputs(SHAPE, (4, 3, 2)) + loss_layers(
        "SoftmaxWithLoss", [f"loss_param {{ {how} {ignored} }}" for how in NORMALIZED]
    )
    judge(worker, tmp_path, text, {"data": scores(), "data1": labels(4, 3, 2)}, unlearned=["data1"], phase="TRAIN")


def test_softmax_loss_where_all_are_ignored(worker, tmp_path):
    text = inputs((4, 5), (4,)) + loss_layers("SoftmaxWithLoss", ["loss_param { ignore_label: 2 }"])
    judge(worker, tmp_path, text, {"data": scores((4, 5)), "data1": np.full(4, 2, np.float32)}, unlearned=["data1"])


def test_softmax_loss_axes_and_weights(worker, tmp_path):
    text = inputs(SHAPE, (4, 5, 3)) + loss_layers(
        "SoftmaxWithLoss",
        ["softmax_param { axis: -1 }", "softmax_param { axis: 3 } loss_weight: 0.3f"]
        + [f"softmax_param {{ axis: 3 }} loss_param {{ {how} }}" for how in NORMALIZED],
    )
    net = judge(worker, tmp_path, text, {"data": scores(), "data1": labels(4, 5, 3, classes=2)}, unlearned=["data1"])
    assert net.losses == {"loss0": 1, "loss1": 0.3} | {f"loss{2 + i}": 1 for i in range(len(NORMALIZED))}


def test_a_nameless_loss_and_probabilities(tmp_path):
    """The second top cannot be had from the Caffe that pip has: it refuses the loss weights that it asks for."""
    text = inputs((4, 5), (4,)) + layer("nameless", "SoftmaxWithLoss", "", "data data1", "")
    text += layer("both", "SoftmaxWithLoss", "loss_weight: 2 loss_weight: 0", "data data1", "both prob")
    net = TorchNet(network(tmp_path, text), "TRAIN")
    assert net.losses == {"nameless": 1, "both": 2} and net.outputs == ("nameless", "both", "prob")
    found = net({"data": torch.from_numpy(scores((4, 5))), "data1": torch.from_numpy(labels(4))})
    assert torch.equal(found["nameless"], found["both"]) and torch.equal(net.loss(found), 3 * found["both"])
    torch.testing.assert_close(found["prob"], torch.from_numpy(scores((4, 5))).softmax(1))


def test_softmax_loss_of_hopeless_scores(worker, tmp_path):
    """A probability of 0 counts as FLT_MIN, in the loss; the gradient is as ever."""
    text = inputs((3, 5), (3,)) + loss_layers("SoftmaxWithLoss", [""])
    fed = {"data": np.float32([[0, 200, 0, 0, 0], [0, 88, 0, 0, 0], [1, 2, 3, 4, 5]]), "data1": np.float32([0, 0, 1])}
    judge(worker, tmp_path, text, fed, unlearned=["data1"])


@pytest.mark.parametrize(
    ("kind", "second"), [("SoftmaxWithLoss", labels(4)), ("HingeLoss", labels(4)), ("EuclideanLoss", scores((4, 5)))]
)
def test_losses_are_float32_where_the_network_is_bfloat16(tmp_path, kind, second):
    fc = layer("fc", "InnerProduct", "inner_product_param { num_output: 5 weight_filler { type: 'xavier' } }", "data")
    net = TorchNet(network(tmp_path, inputs((4, 5), second.shape) + fc + layer("loss", kind, "", "fc data1")), "TRAIN")
    feeds = {"data": torch.from_numpy(scores((4, 5))), "data1": torch.from_numpy(second)}
    with torch.autocast("cpu", torch.bfloat16):
        found = net(feeds, ["fc", "loss"])
    assert found["fc"].dtype == torch.bfloat16 and found["loss"].dtype == torch.float32
    exact = net({"fc": found["fc"].float(), "data1": feeds["data1"]}, ["loss"])["loss"]
    torch.testing.assert_close(found["loss"], exact, rtol=1e-6, atol=0)


def test_probabilities_and_sums_are_float32_too(tmp_path):
    """They are what some networks minimise: MultinomialLogisticLoss after a Softmax, a Reduction with a loss_weight."""
    text = inputs((4, 5), (4,)) + layer(
        "fc", "InnerProduct", "inner_product_param { num_output: 5 weight_filler { type: 'xavier' } }", "data"
    )
    text += layer("prob", "Softmax", "", "fc") + layer("loss", "MultinomialLogisticLoss", "", "prob data1")
    text += layer("sum", "Reduction", "loss_weight: 1", "fc")
    net = TorchNet(network(tmp_path, text), "TRAIN")
    feeds = {"data": torch.from_numpy(scores((4, 5))), "data1": torch.from_numpy(labels(4))}
    with torch.autocast("cpu", torch.bfloat16):
        found = net(feeds, ["fc", "prob", "loss", "sum"])
    exact = net({"fc": found["fc"].float(), "data1": feeds["data1"]}, ["prob", "loss", "sum"])
    for name, value in exact.items():
        torch.testing.assert_close(found[name], value, rtol=1e-6, atol=0)


def test_euclidean_loss(worker, tmp_path):
    text = inputs(SHAPE, SHAPE) + loss_layers("EuclideanLoss", ["", "loss_weight: 0.25"])
    judge(worker, tmp_path, text, {"data": scores(), "data1": scores(seed=4)})


@pytest.mark.parametrize("ignored", ["", "ignore_label: 1", "ignore_label: 0"])
def test_sigmoid_loss(worker, tmp_path, ignored):
    """Caffe casts a target to int before it compares, so that 0 is ignored together with 0.5."""
    text = inputs(SHAPE, SHAPE) + loss_layers(
        "SigmoidCrossEntropyLoss", [f"loss_param {{ {how} {ignored} }}" for how in NORMALIZED]
    )
    targets = labels(*SHAPE, classes=3) / 2  # 0, 0.5 and 1
    judge(worker, tmp_path, text, {"data": scores(factor=20), "data1": targets}, unlearned=["data1"])


def test_hinge_loss(worker, tmp_path):
    text = inputs((4, 5, 2), (4,)) + loss_layers("HingeLoss", ["", "hinge_loss_param { norm: L2 } loss_weight: 0.5"])
    judge(worker, tmp_path, text, {"data": scores((4, 5, 2), factor=1), "data1": labels(4)}, unlearned=["data1"])


def test_multinomial_loss(worker, tmp_path):
    text = inputs((4, 5), (4,)) + loss_layers("MultinomialLogisticLoss", ["", "loss_weight: 3"])
    chances = np.abs(scores((4, 5))) / 9
    judge(worker, tmp_path, text, {"data": chances, "data1": labels(4)}, unlearned=["data1"])
    chances[0], chances[2] = 0, 1e-25  # the gradient is that of 1e-20
    judge(worker, tmp_path, text, {"data": chances, "data1": labels(4)}, unlearned=["data1"])


@pytest.mark.parametrize("ignored", ["", "ignore_label: 2"])
def test_infogain_loss(worker, tmp_path, ignored):
    """Real Caffe refuses to go back to the inputs, the matrix among them: the gradients seen are those of a convolution."""
    text = inputs(SHAPE, (4, 3, 2), (1, 1, 5, 5)) + layer(
        "conv", "Convolution", "convolution_param { num_output: 5 kernel_size: 1 }"
    )
    params = [f"loss_param {{ {how} {ignored} }}" for how in NORMALIZED[:5]]  # `normalize` is refused
    text += loss_layers("InfogainLoss", params, "conv data1 data2")
    text += layer("both", "InfogainLoss", "loss_weight: 2 loss_weight: 0", "conv data1 data2", "both prob")
    fed = {"data": scores(factor=2), "data1": labels(4, 3, 2), "data2": np.abs(scores((1, 1, 5, 5), seed=9))}
    judge(worker, tmp_path, text, fed, unlearned=list(fed), force=False, diffs={})


def test_infogain_loss_without_a_matrix(tmp_path):
    net = TorchNet(
        network(tmp_path, inputs((4, 5), (4,)) + loss_layers("InfogainLoss", ['infogain_loss_param { source: "x" }']))
    )
    with pytest.raises(
        EngineError, match=r"^layer 'loss0' \(InfogainLoss\): the infogain matrix must be the third bottom"
    ):
        net({"data": torch.zeros(4, 5), "data1": torch.zeros(4)})


@pytest.mark.parametrize("legacy", ["false", "true"])
def test_contrastive_loss(worker, tmp_path, legacy):
    text = inputs((6, 5), (6, 5), (6,))
    params = [f"contrastive_loss_param {{ margin: {m} legacy_version: {legacy} }}" for m in (1, 3.5)]
    text += loss_layers("ContrastiveLoss", params, "data data1 data2")
    near = scores((6, 5), factor=0.5)
    fed = {"data": near, "data1": near + scores((6, 5), seed=5, factor=0.3), "data2": np.float32([1, 0, 0, 1, 0, 1])}
    judge(worker, tmp_path, text, fed, unlearned=["data2"])


def test_a_weight_makes_any_blob_a_loss(worker, tmp_path):
    text = inputs((4, 5)) + layer("square", "Power", "power_param { power: 2 } loss_weight: 0.1")
    text += layer("sum", "Reduction", "loss_weight: -2")
    net = judge(worker, tmp_path, text, {"data": scores((4, 5))}, phase="TRAIN")
    assert net.losses == {"square": pytest.approx(0.1), "sum": -2}


@pytest.mark.parametrize("ignored", ["", "ignore_label: 2"])
def test_accuracy(worker, tmp_path, ignored):
    text = inputs(SHAPE, (4, 3, 2))
    for number, params in enumerate(["", "top_k: 2", "top_k: 5"]):
        text += layer(
            f"acc{number}",
            "Accuracy",
            f"accuracy_param {{ {params} {ignored} }}",
            "data data1",
            f"acc{number} each{number}",
        )
    judge(worker, tmp_path, text, {"data": scores(), "data1": labels(4, 3, 2)}, backward=False)
    text = inputs(SHAPE, (4, 5, 3)) + layer(
        "last", "Accuracy", f"accuracy_param {{ axis: -1 {ignored} }}", "data data1"
    )
    judge(worker, tmp_path, text, {"data": scores(), "data1": labels(4, 5, 3, classes=2)}, backward=False)


def test_accuracy_of_equal_scores(worker, tmp_path):
    text = (
        inputs((6, 5), (6,))
        + layer("a", "Accuracy", "", "data data1")
        + layer("b", "Accuracy", "accuracy_param { top_k: 3 }", "data data1")
    )
    fed = {"data": np.random.default_rng(1).integers(0, 2, (6, 5)).astype(np.float32), "data1": labels(6)}
    judge(worker, tmp_path, text, fed, backward=False)


def test_accuracy_of_nothing(worker, tmp_path):
    text = inputs((3, 5), (3,)) + layer("a", "Accuracy", "accuracy_param { ignore_label: 2 }", "data data1", "a each")
    judge(worker, tmp_path, text, {"data": scores((3, 5)), "data1": np.full(3, 2, np.float32)}, backward=False)


def test_labels_may_be_integers(tmp_path):
    net = TorchNet(network(tmp_path, inputs((4, 5), (4,)) + loss_layers("SoftmaxWithLoss", [""])))
    data, label = torch.from_numpy(scores((4, 5))), torch.from_numpy(labels(4))
    assert torch.equal(
        net({"data": data, "data1": label})["loss0"], net({"data": data, "data1": label.long()})["loss0"]
    )
    with pytest.raises(EngineError, match=r"^layer 'loss0' \(SoftmaxWithLoss\): .*out of"):
        net({"data": data, "data1": torch.tensor([0, 1, 5, 2])})
