"""Distillation: its loss, by its formula; the original is asked about each image once.

Segments and chain: which weights they train, on what, and what they leave alone.
"""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.errors import GraphError
from tests.helpers import conv, inputs, layer, network
from tests.train.recover.conftest import lay_out

torch = pytest.importorskip("torch", reason="pip install 'deepmerge-caffe[torch]'")

from deepmerge.engines.pytorch import TorchNet  # noqa: E402
from deepmerge.out.read import read_converted  # noqa: E402
from deepmerge.train.recover.objectives import (  # noqa: E402
    TEMPERATURE,
    Answers,
    Distillation,
    Reconstruction,
    image_key,
)
from deepmerge.train.recover.segments import find_segments  # noqa: E402
from deepmerge.train.recover.trainer import Pace, Trainer, mean_losses  # noqa: E402

HEAD = inputs((1, 3, 5, 4)) + layer("fc", "InnerProduct", "data", "num_output: 4")
SOFTMAX = HEAD + layer("prob", "Softmax", "fc")


def made(tmp_path, text: str, answers: Answers | None = None, other: str | None = None) -> Distillation:
    graphs = network(tmp_path, text, seed=1), network(tmp_path, other or text, seed=2)
    return Distillation(TorchNet(graphs[0]).requires_grad_(False), TorchNet(graphs[1]), graphs, "data", answers)


def images(count: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 1, (count, 3, 5, 4)).astype(np.float32))


def softmax(scores: np.ndarray) -> np.ndarray:
    made = np.exp(scores - scores.max(1, keepdims=True))
    return made / made.sum(1, keepdims=True)


def test_the_divergence_is_hintons(tmp_path):
    one, batch = made(tmp_path, SOFTMAX), images()
    assert one.parts == ("fc",)
    t, y = (net({"data": batch}, ("fc",))["fc"].detach().double().numpy() for net in (one.teacher, one.student))
    p, q = softmax(t / TEMPERATURE), softmax(y / TEMPERATURE)
    wanted = (p * np.log(p / q)).sum(1).mean() * TEMPERATURE**2
    assert float(one.losses(batch)[0].detach()) == pytest.approx(wanted, rel=1e-5)


def test_a_network_is_no_way_off_itself(tmp_path):
    one = made(tmp_path, SOFTMAX)
    one.student.load_state_dict(one.teacher.state_dict())
    assert abs(float(one.losses(images())[0].detach())) < 1e-6


def test_other_outputs_by_their_squares(tmp_path):
    one, batch = made(tmp_path, HEAD), images()
    t, y = (net({"data": batch})["fc"].detach().double().numpy() for net in (one.teacher, one.student))
    assert float(one.losses(batch)[0].detach()) == pytest.approx(np.square(y - t).mean() / t.var(), rel=1e-5)


def test_several_outputs(tmp_path):
    one = made(tmp_path, SOFTMAX + conv("map", "data", 2))
    assert one.parts == ("fc", "map")
    assert one.losses(images()).shape == (2,)


def test_a_softmax_in_place_is_compared_as_it_is(tmp_path):
    one = made(tmp_path, HEAD + layer("prob", "Softmax", "fc", tops="fc"))
    assert one.parts == ("fc",) and float(one.losses(images())[0].detach()) > 0


def test_another_network_is_refused(tmp_path):
    with pytest.raises(GraphError, match="no blob 'prob'.*is it a conversion"):
        made(tmp_path, HEAD, other=SOFTMAX)


def test_statistics_are_not_trained(tmp_path):
    text = inputs((1, 3, 5, 4)) + conv("conv", "data", 4) + layer("bn", "BatchNorm", "conv", "use_global_stats: true")
    one = made(tmp_path, text + layer("scale", "Scale", "bn", "bias_term: true") + layer("prob", "Softmax", "scale"))
    wanted = [*one.student.blobs_of("conv"), *one.student.blobs_of("scale")]
    assert [id(blob) for blob in one.parameters] == [id(blob) for blob in wanted]


def test_each_image_is_asked_about_once(tmp_path):
    one, plain = made(tmp_path, SOFTMAX, Answers()), made(tmp_path, SOFTMAX)
    asked, teacher = [], one.teacher

    def watched(feeds, blobs):
        asked.append(len(feeds["data"]))
        return teacher(feeds, blobs)

    one.teacher = watched
    first, second = images(6), torch.cat([images(3), images(2, seed=7)])
    for batch in (first, second, first, second):
        assert torch.allclose(one.targets(batch)[0], plain.targets(batch)[0], atol=1e-6)
    assert asked == [32, 32]  # 6 and 2 new ones, filled up
    assert len(one.answers.arrays()["answers/keys"]) == 8


def test_answers_are_restored(tmp_path):
    one = made(tmp_path, SOFTMAX, Answers())
    one.targets(images())
    again = Answers()
    again.restore(one.answers.arrays())
    assert all(
        np.array_equal(a, b) for a, b in zip(again.arrays().values(), one.answers.arrays().values(), strict=True)
    )
    assert Answers().arrays() == {}


def test_answers_have_a_bound(tmp_path):
    one = made(tmp_path, SOFTMAX, Answers(most=3 * 16))
    assert one.targets(images())[0].shape == (6, 4) and len(one.answers.arrays()["answers/keys"]) == 3
    assert one.answer_bytes == 16


def test_keys_stand_for_the_values():
    a, b = images(2).numpy()
    assert image_key(a) == image_key(a.copy()) != image_key(b) and len(image_key(a)) == 16


# -- segments and chain --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def graphs(tmp_path_factory):
    found = read_converted(lay_out(tmp_path_factory.mktemp("graphs")))
    original, merged = found.original.read(), found.final.read()
    return original, merged, find_segments(original, merged, found.entries)


def rebuilt(graphs, own_inputs: bool, which: slice = slice(None)) -> Reconstruction:
    original, merged, segments = graphs
    return Reconstruction(
        TorchNet(original).requires_grad_(False), TorchNet(merged), segments[which], "data", own_inputs
    )


def photos(seed: int = 0, count: int = 8) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(-100, 100, (count, 3, 17, 15)).astype(np.float32))


def trained(one: Reconstruction, iterations: int = 5) -> dict[str, np.ndarray]:
    torch.set_num_threads(1)
    trainer = Trainer(one, "test", iterations, 0.03, [1e-3] * len(one.parameters))
    trainer.run(iter([photos(i) for i in range(iterations)]), Pace(), lambda: None, lambda *_: None)
    return {name: one.student.blobs_of(name)[0].detach().numpy().copy() for name in ("conv1", "conv2", "fc")}


def test_the_loss_is_normalised_by_the_targets_variance(graphs):
    one, batch = rebuilt(graphs, False), photos()
    t = one.teacher({"data": batch}, ("norm1", "pool1", "norm2"))
    y = one.student({"data": batch}, ("norm1",))["norm1"], one.student({"pool1": t["pool1"]}, ("norm2",))["norm2"]
    wanted = [
        float((a - b).detach().square().mean() / b.var(unbiased=False))
        for a, b in zip(y, (t["norm1"], t["norm2"]), strict=True)
    ]
    assert one.parts == ("conv1", "conv2") and one.losses(batch).tolist() == pytest.approx(wanted, rel=1e-5)


def test_the_chain_reads_what_it_has_made(graphs):
    one, batch = rebuilt(graphs, True), photos()
    t, y = (net({"data": batch}, ("norm2",))["norm2"] for net in (one.teacher, one.student))
    assert float(one.losses(batch)[1].detach()) == pytest.approx(
        float(((y - t).square().mean() / t.var(unbiased=False)).detach()), rel=1e-5
    )


@pytest.mark.parametrize("own_inputs", [False, True])
def test_no_gradient_crosses_a_border(graphs, own_inputs):
    one = rebuilt(graphs, own_inputs)
    one.losses(photos())[1].backward()
    assert not one.student.blobs_of("conv1")[0].grad.any() and one.student.blobs_of("conv2")[0].grad.abs().sum() > 0


def test_segments_do_not_disturb_each_other(graphs):
    both, alone = trained(rebuilt(graphs, False)), trained(rebuilt(graphs, False, slice(1, 2)))
    assert np.array_equal(both["conv2"], alone["conv2"]) and not np.array_equal(both["conv1"], alone["conv1"])


def test_in_the_chain_a_step_depends_on_those_before_it_alone(graphs):
    both, first = trained(rebuilt(graphs, True)), trained(rebuilt(graphs, True, slice(0, 1)))
    assert np.array_equal(both["conv1"], first["conv1"]) and not np.array_equal(both["conv2"], first["conv2"])


def test_what_no_step_has_made_stays_as_it_is(graphs):
    assert np.array_equal(trained(rebuilt(graphs, True))["fc"], graphs[1].layer("fc").weights[0])


def test_the_chain_runs_what_lies_between(graphs):
    """Only the second segment is trained: the first one is run as it is."""
    one, batch = rebuilt(graphs, True, slice(1, 2)), photos()
    wanted = rebuilt(graphs, True).losses(batch)[1]
    assert float(one.losses(batch)[0].detach()) == pytest.approx(float(wanted.detach()), rel=1e-6)


def test_losses_are_means_over_images(graphs):
    one = rebuilt(graphs, False)
    whole = mean_losses(one, iter([photos(0, 6)]))
    assert mean_losses(one, iter([photos(0, 6), photos(0, 6)])) == pytest.approx(whole)
