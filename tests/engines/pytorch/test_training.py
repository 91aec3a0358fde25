"""What TRAIN adds: Dropout and BatchNorm by the batch. Real Caffe judges as far as the one that pip has follows BVLC's."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.engines.pytorch import TorchNet
from tests.engines.pytorch.cases import compare, images, inputs, judge, layer, network, torch

SHAPE = (3, 4, 5, 2)
DROP = inputs((50, 40)) + layer("drop", "Dropout", "dropout_param { dropout_ratio: 0.3 }", tops="data")


def test_dropout_drops_its_share_and_scales_the_rest(tmp_path):
    """Caffe: dropout_layer.cpp: a number that stays is divided by the share that stays; its gradient is, too."""
    net = TorchNet(network(tmp_path, DROP), "TRAIN", seed=3)
    x = torch.full((50, 40), 2.0, requires_grad=True)
    top = net({"data": x})["data"]
    kept = top != 0
    torch.testing.assert_close(top[kept], torch.full_like(top[kept], 2 / 0.7))
    assert 0.25 < 1 - kept.float().mean() < 0.35
    top.sum().backward()
    torch.testing.assert_close(x.grad, kept / 0.7)


def test_dropout_that_scales_in_a_test_instead(tmp_path):
    """caffe-fast-rcnn: dropout_layer.cpp: scale_train: false. BVLC's Caffe refuses the field, so it cannot judge it."""
    net = TorchNet(network(tmp_path, DROP.replace("0.3", "0.3 scale_train: false")), "TRAIN", seed=3)
    x = torch.full((50, 40), 2.0)
    assert net({"data": x})["data"].unique().tolist() == [0, 2]
    torch.testing.assert_close(net.eval()({"data": x})["data"], x * 0.7)


def test_what_dropout_drops_depends_on_the_seed_alone(tmp_path):
    graph, fed = network(tmp_path, DROP), {"data": torch.ones(50, 40)}
    net = TorchNet(graph, "TRAIN", seed=3)
    first, second = net(fed)["data"], net(fed)["data"]
    assert not torch.equal(first, second)
    torch.manual_seed(99)
    assert torch.equal(TorchNet(graph, "TRAIN", seed=3)(fed)["data"], first)
    net.seed(3)
    assert torch.equal(net(fed)["data"], first)
    net.seed(4)
    assert not torch.equal(net(fed)["data"], first)
    assert torch.equal(net.eval()(fed)["data"], fed["data"])


def batch_norm(folder, params: str = ""):
    return network(folder, inputs(SHAPE) + layer("bn", "BatchNorm", f"batch_norm_param {{ {params} }}"))


def by_formula(x: np.ndarray, diff: np.ndarray, eps: float) -> tuple[np.ndarray, np.ndarray]:
    """The top and the bottom's gradient. Caffe: batch_norm_layer.cpp, Forward_cpu and the comment in Backward_cpu."""
    x, diff, axes = x.astype(np.float64), diff.astype(np.float64), (0, 2, 3)
    centred = x - x.mean(axes, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axes, keepdims=True) + eps)
    y = centred / deviation
    back = (diff - diff.mean(axes, keepdims=True) - (diff * y).mean(axes, keepdims=True) * y) / deviation
    return y.astype(np.float32), back.astype(np.float32)


@pytest.mark.parametrize("params", ["", "eps: 0.1", "use_global_stats: false moving_average_fraction: 0.9"])
def test_batch_norm_by_the_batch(tmp_path, params):
    net = TorchNet(batch_norm(tmp_path, params), "TRAIN")
    fed, diff = images(SHAPE)["data"], images(SHAPE, seed=4)["data"]
    before = [blob.detach().clone().numpy() for blob in net.blobs_of("bn")]
    x = torch.from_numpy(fed).requires_grad_()
    top = net({"data": x})["bn"]
    (top * torch.from_numpy(diff)).sum().backward()
    y, back = by_formula(fed, diff, 0.1 if "eps" in params else 1e-5)
    compare("top", top.detach().numpy(), y)
    compare("gradient", x.grad.numpy(), back)
    fraction, m = (0.9 if "fraction" in params else 0.999), fed.size // SHAPE[1]
    mean, variance, factor = (blob.numpy() for blob in net.blobs_of("bn"))
    np.testing.assert_allclose(mean, fraction * before[0] + fed.mean((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(variance, fraction * before[1] + fed.var((0, 2, 3)) * m / (m - 1), rtol=1e-5)
    np.testing.assert_allclose(factor, fraction * before[2] + 1, rtol=1e-6)


def test_batch_norm_of_single_values(tmp_path):
    """m is 1, and so is Caffe's bias correction, of a variance of 0."""
    net = TorchNet(network(tmp_path, inputs((1, 4)) + layer("bn", "BatchNorm")), "TRAIN")
    before = [blob.detach().clone() for blob in net.blobs_of("bn")]
    x = torch.tensor([[1.0, 2, -3, 4]])
    torch.testing.assert_close(net({"data": x})["bn"], torch.zeros(1, 4), rtol=0, atol=1e-4)
    mean, variance, factor = net.blobs_of("bn")
    torch.testing.assert_close(mean.data, before[0] * 0.999 + x[0])
    torch.testing.assert_close(variance.data, before[1] * 0.999)
    torch.testing.assert_close(factor.data, before[2] * 0.999 + 1)


def test_the_sums_are_float32_where_the_network_is_bfloat16(tmp_path):
    """bfloat16 has 8 bits, of which a mean over a batch would keep no more."""
    conv = layer("conv", "Convolution", "convolution_param { num_output: 4 kernel_size: 1 }")
    graph = network(tmp_path, inputs(SHAPE) + conv + layer("bn", "BatchNorm", "", "conv"))
    graph.layer("bn").weights = [np.zeros_like(w) for w in graph.layer("bn").weights]
    net = TorchNet(graph, "TRAIN")
    with torch.autocast("cpu", torch.bfloat16):
        found = net({"data": torch.from_numpy(images(SHAPE)["data"])}, ["conv", "bn"])
    assert found["conv"].dtype == torch.bfloat16
    values = found["conv"].detach().float().numpy()
    mean, variance, _ = (blob.numpy() for blob in net.blobs_of("bn"))
    np.testing.assert_allclose(mean, values.mean((0, 2, 3)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(variance, values.var((0, 2, 3), ddof=1), rtol=1e-4)


def test_the_stored_sums_become_the_mean_over_batches(tmp_path):
    """From sums of 0, as Caffe starts, TEST has the mean and the unbiased variance of what TRAIN has seen."""
    graph = batch_norm(tmp_path)
    graph.layer("bn").weights = [np.zeros_like(w) for w in graph.layer("bn").weights]
    net, fed = TorchNet(graph, "TRAIN"), images(SHAPE)["data"]
    for _ in range(3):
        net({"data": torch.from_numpy(fed)})
    found = net.eval()({"data": torch.from_numpy(fed)})["bn"].numpy()
    wide = (1, -1, 1, 1)
    expected = (fed - fed.mean((0, 2, 3)).reshape(wide)) / np.sqrt(fed.var((0, 2, 3), ddof=1).reshape(wide) + 1e-5)
    compare("top", found, expected.astype(np.float32))


def test_batch_norm_by_what_is_stored(tmp_path, worker):
    """use_global_stats: true holds in TRAIN, too, and nothing is stored."""
    graph = batch_norm(tmp_path, "use_global_stats: true")
    net, fed = TorchNet(graph, "TRAIN"), images(SHAPE)
    found = net({"data": torch.from_numpy(fed["data"])})["bn"].numpy()
    with worker.load(tmp_path / "net.prototxt", tmp_path / "net.caffemodel", "TRAIN") as caffe:
        compare("top", found, caffe.forward(fed)["bn"])
    for blob, stored in zip(net.blobs_of("bn"), graph.layer("bn").weights, strict=True):
        np.testing.assert_array_equal(blob.numpy(), stored)


def test_in_test_without_global_stats(tmp_path):
    """use_global_stats: false holds in TEST, too; Caffe updates the sums even there, which no one wants and we do not do."""
    net = TorchNet(batch_norm(tmp_path, "use_global_stats: false"))
    fed = images(SHAPE)["data"]
    before = [blob.clone() for blob in net.blobs_of("bn")]
    compare("top", net({"data": torch.from_numpy(fed)})["bn"].numpy(), by_formula(fed, fed, 1e-5)[0])
    assert all(map(torch.equal, before, net.blobs_of("bn")))


def test_statistics_are_not_learned(tmp_path):
    assert not any(blob.requires_grad for blob in TorchNet(batch_norm(tmp_path), "TRAIN").blobs_of("bn"))


def convolution(name: str, bottom: str, more: str = "") -> str:
    return layer(name, "Convolution", f"convolution_param {{ num_output: 4 kernel_size: 1 }} {more}", bottom)


def squares(bottom: str) -> str:
    return layer(f"loss/{bottom}", "Reduction", "reduction_param { operation: SUMSQ } loss_weight: 0.5", bottom)


FLAGS = (
    inputs(SHAPE)
    + convolution("trunk", "data")
    + layer("relu", "ReLU", "", "trunk", "trunk")
    + convolution("left", "trunk")
    + convolution("right", "trunk")
    + layer("sum", "Eltwise", "propagate_down: true propagate_down: false", "left right")
    + convolution("side", "trunk", "propagate_down: false")
    + squares("sum")
    + squares("side")
)


@pytest.mark.parametrize("force", [False, True])
def test_propagate_down_stops_gradients(tmp_path, worker, force):
    """Nothing comes to `right`, and to `trunk` from `left` alone. force_backward overrides it. Caffe: net.cpp, Init."""
    net = judge(worker, tmp_path, FLAGS, images(SHAPE), phase="TRAIN", unlearned=() if force else ["data"], force=force)
    assert (net.blobs_of("right")[0].grad is None) == (not force)


def test_recovery_heeds_no_propagate_down(tmp_path):
    net = TorchNet(network(tmp_path, FLAGS, force=False))
    net.loss(net({"data": torch.from_numpy(images(SHAPE)["data"])})).backward()
    assert net.blobs_of("right")[0].grad is not None
