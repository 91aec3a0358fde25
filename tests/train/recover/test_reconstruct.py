"""Segments and chain: which weights they train, what on, and what they leave alone."""

from __future__ import annotations

import numpy as np
import pytest

from tests.train.recover.conftest import lay_out

torch = pytest.importorskip("torch", reason="pip install 'deepmerge-caffe[torch]'")

from deepmerge.engines.pytorch import TorchNet  # noqa: E402
from deepmerge.out.read import read_converted  # noqa: E402
from deepmerge.train.recover.reconstruct import Reconstruction  # noqa: E402
from deepmerge.train.recover.segments import find_segments  # noqa: E402
from deepmerge.train.recover.trainer import Pace, Trainer, judged  # noqa: E402
from deepmerge.train.recover.update_sizes import scales  # noqa: E402


@pytest.fixture(scope="module")
def graphs(tmp_path_factory):
    found = read_converted(lay_out(tmp_path_factory.mktemp("graphs")))
    original, merged = found.original.read(), found.final.read()
    return original, merged, find_segments(original, merged, found.entries)


def made(graphs, own_inputs: bool, which: slice = slice(None)) -> Reconstruction:
    original, merged, segments = graphs
    return Reconstruction(
        TorchNet(original).requires_grad_(False), TorchNet(merged), segments[which], "data", own_inputs
    )


def images(seed: int = 0, count: int = 8) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(-100, 100, (count, 3, 17, 15)).astype(np.float32))


def trained(one: Reconstruction, iterations: int = 5) -> dict[str, np.ndarray]:
    torch.set_num_threads(1)
    trainer = Trainer(one, "test", iterations, 0.03, [1e-3] * len(one.parameters))
    trainer.run(iter([images(i) for i in range(iterations)]), Pace(0, saved=1e18), lambda: None, lambda *_: None)
    return {name: one.student.blobs_of(name)[0].detach().numpy().copy() for name in ("conv1", "conv2", "fc")}


def test_the_loss_is_normalised_by_the_targets_variance(graphs):
    one, batch = made(graphs, False), images()
    t = one.teacher({"data": batch}, ("norm1", "pool1", "norm2"))
    y = one.student({"data": batch}, ("norm1",))["norm1"], one.student({"pool1": t["pool1"]}, ("norm2",))["norm2"]
    wanted = [
        float((a - b).detach().square().mean() / b.var(unbiased=False))
        for a, b in zip(y, (t["norm1"], t["norm2"]), strict=True)
    ]
    assert one.parts == ("conv1", "conv2") and one.losses(batch).tolist() == pytest.approx(wanted, rel=1e-5)


def test_the_chain_reads_what_it_has_made(graphs):
    one, batch = made(graphs, True), images()
    t, y = (net({"data": batch}, ("norm2",))["norm2"] for net in (one.teacher, one.student))
    assert float(one.losses(batch)[1].detach()) == pytest.approx(
        float(((y - t).square().mean() / t.var(unbiased=False)).detach()), rel=1e-5
    )


@pytest.mark.parametrize("own_inputs", [False, True])
def test_no_gradient_crosses_a_border(graphs, own_inputs):
    one = made(graphs, own_inputs)
    one.losses(images())[1].backward()
    assert not one.student.blobs_of("conv1")[0].grad.any() and one.student.blobs_of("conv2")[0].grad.abs().sum() > 0


def test_segments_do_not_disturb_each_other(graphs):
    both, alone = trained(made(graphs, False)), trained(made(graphs, False, slice(1, 2)))
    assert np.array_equal(both["conv2"], alone["conv2"]) and not np.array_equal(both["conv1"], alone["conv1"])


def test_in_the_chain_a_step_depends_on_those_before_it_alone(graphs):
    both, first = trained(made(graphs, True)), trained(made(graphs, True, slice(0, 1)))
    assert np.array_equal(both["conv1"], first["conv1"]) and not np.array_equal(both["conv2"], first["conv2"])


def test_what_no_step_has_made_stays_as_it_is(graphs):
    assert np.array_equal(trained(made(graphs, True))["fc"], graphs[1].layer("fc").weights[0])


def test_the_chain_runs_what_lies_between(graphs):
    """Only the second segment is trained: the first one is run as it is."""
    one, batch = made(graphs, True, slice(1, 2)), images()
    wanted = made(graphs, True).losses(batch)[1]
    assert float(one.losses(batch)[0].detach()) == pytest.approx(float(wanted.detach()), rel=1e-6)


def test_sizes(graphs):
    one, batch = made(graphs, False), images()
    found = scales(one.student, graphs[1], {"data": batch})
    weight, bias = one.student.blobs_of("conv1")
    assert found[weight] == pytest.approx(
        float(np.sqrt(np.square(graphs[1].layer("conv1").weights[0]).mean())), rel=1e-5
    )
    behind = one.student({"data": batch}, ("norm1",))["norm1"].detach()
    assert found[bias] == pytest.approx(float(behind.square().mean().sqrt()), rel=1e-5)


def test_judged_is_a_mean_over_images(graphs):
    one = made(graphs, False)
    whole = judged(one, iter([images(0, 6)]))
    assert judged(one, iter([images(0, 6), images(0, 6)])) == pytest.approx(whole)
