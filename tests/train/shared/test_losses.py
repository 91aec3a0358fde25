"""Losses by their formulas, and which blobs hold logits."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers import inputs, layer, network

torch = pytest.importorskip("torch", reason="pip install 'deepmerge-caffe[torch]'")

from deepmerge.train.shared.losses import divergence, logits_of, relative_error, weighted_error  # noqa: E402


def tensors(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.normal(0, 3, shape)), torch.from_numpy(rng.normal(0, 3, shape))


def softmax(scores: np.ndarray) -> np.ndarray:
    made = np.exp(scores - scores.max(1, keepdims=True))
    return made / made.sum(1, keepdims=True)


@pytest.mark.parametrize("shape", [(6, 5), (2, 5, 3, 4)])
def test_the_divergence_is_a_mean_over_images_and_places(shape):
    student, teacher = tensors(*shape)
    p, q = softmax(teacher.numpy() / 2.5), softmax(student.numpy() / 2.5)
    wanted = (p * np.log(p / q)).sum(1).mean() * 2.5**2
    assert float(divergence(student, teacher, 2.5)) == pytest.approx(wanted, rel=1e-12)
    assert abs(float(divergence(teacher, teacher, 2.5))) < 1e-12


def test_a_student_that_gives_the_mean_is_one_off():
    _, teacher = tensors(40, 7)
    assert float(relative_error(torch.full_like(teacher, teacher.mean()), teacher)) == pytest.approx(1, rel=1e-9)
    assert float(relative_error(teacher, teacher)) == 0


def test_a_weighted_error():
    student, teacher = tensors(2, 5, 3, 4)
    matrix = np.random.default_rng(1).normal(0, 1, (5, 5))
    wanted = np.square(np.einsum("ij,njhw->nihw", matrix, (student - teacher).numpy())).mean()
    assert float(weighted_error(student, teacher, torch.from_numpy(matrix))) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize(
    ("end", "logits"),
    [
        (layer("prob", "Softmax", "fc"), "fc"),
        (layer("prob", "Softmax", "fc", "axis: -1"), "fc"),
        (layer("relu", "ReLU", "fc") + layer("prob", "Softmax", "relu", "axis: -1"), "relu"),
        (layer("flat", "Flatten", "fc") + layer("prob", "Softmax", "flat", "axis: -1"), "flat"),
        (layer("prob", "Softmax", "fc", tops="fc"), None),
        (layer("prob", "Sigmoid", "fc"), None),
    ],
)
def test_logits(tmp_path, end, logits):
    text = inputs((1, 3, 5, 4)) + layer("fc", "InnerProduct", "data", "num_output: 4")
    assert logits_of(network(tmp_path, text + end).layer("prob")) == logits


@pytest.mark.parametrize("axis", [2, -1])
def test_a_softmax_over_places_gives_no_logits(tmp_path, axis):
    graph = network(tmp_path, inputs((1, 3, 5, 4)) + layer("prob", "Softmax", "data", f"axis: {axis}"))
    assert logits_of(graph.layer("prob")) is None


@pytest.mark.parametrize("weighted", [False, True])
def test_errors_in_bfloat16_are_summed_in_float32_without_a_copy(weighted):
    def error(student, teacher):
        if weighted:
            return weighted_error(student, teacher, torch.eye(6, dtype=student.dtype))
        return relative_error(student, teacher)

    student, teacher = (blob.bfloat16() for blob in tensors(4, 6, 30, 30))
    exact = error(student.double(), teacher.double())
    student.requires_grad_()
    saved = []
    with (
        torch.autocast("cpu", torch.bfloat16),
        torch.autograd.graph.saved_tensors_hooks(lambda value: saved.append(value) or value, lambda value: value),
    ):
        found = error(student, teacher)
    assert found.dtype == torch.float32 and found.item() == pytest.approx(exact.item(), rel=2e-3)
    assert {value.dtype for value in saved if value.numel() > 1} == {torch.bfloat16}
