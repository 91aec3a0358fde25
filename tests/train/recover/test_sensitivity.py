"""Sensitivity: of linear scores by their weights, of logits by the divergence's curvature."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers import conv, inputs, layer, network

torch = pytest.importorskip("torch", reason="pip install 'deepmerge-caffe[torch]'")

from deepmerge.engines.pytorch import TorchNet  # noqa: E402
from deepmerge.train.recover.distillation import TEMPERATURE, compared_blobs  # noqa: E402
from deepmerge.train.recover.sensitivity import DAMPING, sensitivity  # noqa: E402
from deepmerge.train.shared.losses import weighted_error  # noqa: E402

HEAD = inputs((1, 3, 1, 1)) + conv("at", "data", 4) + layer("fc", "InnerProduct", "at", "num_output: 3")
SOFTMAX = HEAD + layer("prob", "Softmax", "fc")


def made(tmp_path, text: str, images: torch.Tensor, seed: int = 0):
    """The original's graph and network, and M for the blob "at"."""
    graph = network(tmp_path, text, seed=1)
    net = TorchNet(graph).requires_grad_(False)
    return graph, net, sensitivity(net, "at", compared_blobs(graph, graph), images.split(64), seed)


def images(count: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(0, 1, (count, 3, 1, 1)).astype(np.float32))


def damped(moment: np.ndarray) -> np.ndarray:
    return moment / np.trace(moment) * len(moment) + DAMPING * np.eye(len(moment))


def close(matrix: torch.Tensor, wanted: np.ndarray) -> bool:
    """Whether MᵀM is `wanted`, up to a factor and the noise of some thousand random directions."""
    own = (matrix.T @ matrix).double().numpy()
    return np.allclose(own / np.trace(own), wanted / np.trace(wanted), atol=0.02)


def test_scores_without_a_softmax_by_their_weights(tmp_path):
    graph, _, matrix = made(tmp_path, HEAD, images(4096))
    weight = graph.layer("fc").weights[0].astype(np.float64)
    assert close(matrix, damped(weight.T @ weight)) and not close(matrix, np.eye(4))


def test_logits_by_the_divergences_curvature(tmp_path):
    graph, net, matrix = made(tmp_path, SOFTMAX, images(1).repeat(4096, 1, 1, 1))
    scores = net({"data": images(1)}, ("fc",))["fc"].double().numpy().ravel() / TEMPERATURE
    p = np.exp(scores) / np.exp(scores).sum()
    weight = graph.layer("fc").weights[0].astype(np.float64)
    assert close(matrix, damped(weight.T @ (np.diag(p) - np.outer(p, p)) @ weight))


@pytest.mark.parametrize("text", [HEAD, SOFTMAX])
def test_the_mean_of_each_channel_has_the_error_1(tmp_path, text):
    _, net, matrix = made(tmp_path, text, images(256))
    values = net({"data": images(256)}, ("at",))["at"]
    assert float(weighted_error(values.mean(0, keepdim=True), values, matrix)) == pytest.approx(1, rel=1e-4)
    assert float(weighted_error(values, values, matrix)) == 0


def test_it_repeats_with_the_seed(tmp_path):
    first, again, other = (made(tmp_path, SOFTMAX, images(128), seed)[2] for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
