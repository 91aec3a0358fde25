"""Muon's step is the gradient's nearest orthogonal matrix, Adam's is PyTorch's; a restored optimizer continues exactly."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pip install 'deepmerge-caffe[torch]'")

from deepmerge.engines.pytorch import TorchNet  # noqa: E402
from deepmerge.out.read import read_converted  # noqa: E402
from deepmerge.train.recover.optimizer import Optimizer, step_sizes  # noqa: E402
from tests.helpers import feeds, inputs, layer, network  # noqa: E402

SHAPES = {"conv": (16, 6, 3, 3), "wide": (4, 8, 1, 1), "bias": (16,), "depthwise": (5, 1, 3, 3), "classifier": (7, 16)}
LAYOUTS = [torch.contiguous_format, torch.channels_last]


def parameters(layout=torch.contiguous_format, seed: int = 0) -> list[torch.nn.Parameter]:
    made = torch.Generator().manual_seed(seed)
    blobs = [torch.randn(shape, generator=made) for shape in SHAPES.values()]
    return [torch.nn.Parameter(blob.to(memory_format=layout) if blob.dim() == 4 else blob) for blob in blobs]


def step(optimizer: Optimizer, seed: int, rate: float = 0.1) -> list[torch.Tensor]:
    """One step down random gradients; them."""
    grads = [blob.detach().clone() for blob in parameters(seed=seed)]
    for blob, grad in zip(optimizer.parameters, grads, strict=True):
        blob.grad = torch.empty_like(blob).copy_(grad)
    optimizer.step([rate] * len(grads))
    return grads


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("place", [0, 1])
def test_a_convolutions_step_is_the_nearest_orthogonal_matrix(layout, place):
    blobs = parameters(layout)
    before = blobs[place].detach().clone()
    memory = blobs[place].data_ptr()
    grad = step(Optimizer(blobs), 1)[place]
    assert blobs[place].data_ptr() == memory
    moved = (before - blobs[place].detach()).flatten(1)
    left, _, right = torch.linalg.svd(grad.flatten(1), full_matrices=False)
    wanted = left @ right
    wanted *= 0.1 * 0.2 / wanted.square().mean().sqrt()
    assert (
        float((moved * wanted).sum() / moved.norm() / wanted.norm()) > 0.95
    )  # the singular values are 1 to within a third
    assert float(moved.norm() / wanted.norm()) == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize(("place", "share"), [(2, 1.0), (3, 1.0), (4, 0.2 / 7**0.5)])
def test_all_else_goes_as_adam_does(place, share):
    """A matrix more slowly: a step in which all of its numbers agree is as long as Muon's, in the spectral norm."""
    blobs = parameters()
    alike = torch.nn.Parameter(blobs[place].detach().clone())
    optimizer, adam = Optimizer(blobs), torch.optim.Adam([alike], lr=0.1 * share)
    for seed in (1, 2, 3):
        alike.grad = step(optimizer, seed)[place]
        adam.step()
    assert torch.allclose(blobs[place].detach(), alike.detach(), rtol=1e-6)


def test_rates_are_each_parameters_own():
    blobs = parameters()
    before = [blob.detach().clone() for blob in blobs]
    optimizer = Optimizer(blobs)
    for blob in blobs:
        blob.grad = torch.ones_like(blob)
    optimizer.step([0.1, 0.0, 0.0, 0.1, 0.0])
    moved = [not torch.equal(old, blob.detach()) for old, blob in zip(before, blobs, strict=True)]
    assert moved == [True, False, False, True, False]


def test_what_has_no_gradient_stays():
    blobs = parameters()
    before = [blob.detach().clone() for blob in blobs]
    optimizer = Optimizer(blobs)
    step(optimizer, 1)
    optimizer.zero_grad()
    after = [blob.detach().clone() for blob in blobs]
    optimizer.step([0.1] * len(blobs))
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(torch.equal(a, b.detach()) for a, b in zip(after, blobs, strict=True))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_restored_it_goes_on_to_the_byte(layout):
    undisturbed, killed = Optimizer(parameters(layout)), Optimizer(parameters(layout))
    for seed in (1, 2, 3, 4):
        step(undisturbed, seed)
    for seed in (1, 2):
        step(killed, seed)
    arrays = killed.arrays()
    assert all(isinstance(array, np.ndarray) for array in arrays.values())
    again = Optimizer([torch.nn.Parameter(blob.detach().clone()) for blob in killed.parameters])
    again.restore(arrays)
    for seed in (3, 4):
        step(again, seed)
    assert all(torch.equal(a, b) for a, b in zip(undisturbed.parameters, again.parameters, strict=True))


def test_sizes(small):
    graph = read_converted(small).final.read()
    batch = torch.from_numpy(np.random.default_rng(0).uniform(-100, 100, (8, 3, 17, 15)).astype(np.float32))
    net = TorchNet(graph)
    found = step_sizes(net, graph, {"data": batch})
    weight, bias = net.blobs_of("conv1")
    assert found[weight] == pytest.approx(float(np.sqrt(np.square(graph.layer("conv1").weights[0]).mean())), rel=1e-5)
    after = net({"data": batch}, ("norm1",))["norm1"].detach()
    assert found[bias] == pytest.approx(float(after.square().mean().sqrt()), rel=1e-5)


def test_the_bias_of_a_scale_by_a_bottom_is_sized_by_what_it_is_added_to(tmp_path):
    graph = network(tmp_path, inputs((2, 3, 4, 5)) + layer("scale", "Scale", "data data", "axis: 0 bias_term: true"))
    net, batch = TorchNet(graph), {"data": torch.from_numpy(feeds(graph)["data"])}
    (bias,) = net.blobs_of("scale")
    with torch.no_grad():
        bias.mul_(1e-3)
        top = net(batch)["scale"]
    assert step_sizes(net, graph, batch)[bias] == pytest.approx(float(top.square().mean().sqrt()), rel=1e-5)
