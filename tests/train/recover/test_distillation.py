"""Distillation: its loss, by its formula; what it compares, what it trains, and what it keeps."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from deepmerge.errors import GraphError
from tests.helpers import conv, inputs, layer, network, relu

torch = pytest.importorskip("torch", reason="pip install 'deepmerge-caffe[torch]'")

from deepmerge.engines.pytorch import TorchNet  # noqa: E402
from deepmerge.train.recover.distillation import (  # noqa: E402
    TEMPERATURE,
    Batch,
    Distillation,
    compared_blobs,
)
from deepmerge.train.recover.trainer import mean_losses  # noqa: E402
from deepmerge.train.recover.views import Kept, Rounds, Views  # noqa: E402

HEAD = inputs((1, 3, 5, 4)) + layer("fc", "InnerProduct", "data", "num_output: 4")
SOFTMAX = HEAD + layer("prob", "Softmax", "fc")


def made(tmp_path, text: str, other: str | None = None, **how) -> Distillation:
    """how: feature, start and bf16."""
    graphs = network(tmp_path, text, seed=1), network(tmp_path, other or text, seed=2)
    nets = TorchNet(graphs[0]).requires_grad_(False), TorchNet(graphs[1])
    compared = compared_blobs(*graphs, how.pop("feature", None), how.pop("weight", 1.0))
    return Distillation(nets, graphs, compared, **how)


def losses(one: Distillation, batch: torch.Tensor) -> list[float]:
    return one.losses(one.ask(batch)).tolist()


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
    assert losses(one, batch)[0] == pytest.approx(wanted, rel=1e-5)


def test_a_network_is_no_way_off_itself(tmp_path):
    one = made(tmp_path, SOFTMAX)
    one.student.load_state_dict(one.teacher.state_dict())
    assert abs(losses(one, images())[0]) < 1e-6


def test_other_outputs_by_their_squares(tmp_path):
    one, batch = made(tmp_path, HEAD), images()
    t, y = (net({"data": batch})["fc"].detach().double().numpy() for net in (one.teacher, one.student))
    assert losses(one, batch)[0] == pytest.approx(np.square(y - t).mean() / t.var(), rel=1e-5)


def test_several_outputs(tmp_path):
    one = made(tmp_path, SOFTMAX + conv("map", "data", 2))
    assert one.parts == ("fc", "map")
    assert len(losses(one, images())) == 2


def test_a_softmax_in_place_is_compared_as_it_is(tmp_path):
    one = made(tmp_path, HEAD + layer("prob", "Softmax", "fc", tops="fc"))
    assert one.parts == ("fc",) and losses(one, images())[0] > 0


def test_another_network_is_refused(tmp_path):
    with pytest.raises(GraphError, match="no blob 'prob'.*is it a conversion"):
        made(tmp_path, HEAD, other=SOFTMAX)


def test_statistics_are_not_trained(tmp_path):
    text = inputs((1, 3, 5, 4)) + conv("conv", "data", 4) + layer("bn", "BatchNorm", "conv", "use_global_stats: true")
    one = made(tmp_path, text + layer("scale", "Scale", "bn", "bias_term: true") + layer("prob", "Softmax", "scale"))
    wanted = [*one.student.blobs_of("conv"), *one.student.blobs_of("scale")]
    assert [id(blob) for blob in one.parameters] == [id(blob) for blob in wanted]


DEEP = (
    inputs((1, 3, 5, 4))
    + conv("conv1", "data", 4)
    + relu("conv1")
    + conv("conv2", "conv1", 4)
    + layer("fc", "InnerProduct", "conv2", "num_output: 4")
    + layer("prob", "Softmax", "fc")
)


def test_a_feature_is_compared_too(tmp_path):
    one, batch = made(tmp_path, DEEP, feature="conv2", weight=3.0), images()
    assert one.parts == ("fc", "conv2")
    t, y = (net({"data": batch}, ("conv2",))["conv2"].detach().double().numpy() for net in (one.teacher, one.student))
    assert losses(one, batch)[1] == pytest.approx(3 * np.square(y - t).mean() / t.var(), rel=1e-5)


def test_a_feature_that_is_compared_already_counts_once(tmp_path):
    assert made(tmp_path, HEAD, feature="fc").parts == ("fc",)


def test_after_a_cut_the_loss_is_the_same_and_only_later_layers_learn(tmp_path):
    whole, cut, batch = made(tmp_path, DEEP), made(tmp_path, DEEP, start="conv1"), images()
    assert losses(cut, batch) == pytest.approx(losses(whole, batch), rel=1e-6)
    later = [blob for name in ("conv2", "fc") for blob in cut.student.blobs_of(name)]
    assert cut.is_cut and not whole.is_cut and {id(blob) for blob in cut.parameters} == {id(blob) for blob in later}
    asked = cut.ask(batch)
    assert set(asked.feeds) == {"conv1"} and not asked.feeds["conv1"].requires_grad
    cut.losses(asked).sum().backward()
    assert all(blob.grad is None for blob in cut.student.blobs_of("conv1"))


def test_weights_that_a_layer_before_the_cut_shares_stay(tmp_path):
    shared = DEEP.replace("num_output: 4 kernel_size", "num_output: 3 kernel_size")
    for name in ("conv1", "conv2"):
        shared = shared.replace(f'name: "{name}"', f'name: "{name}" param {{ name: "w" }} param {{ name: "b" }}', 1)
    cut = made(tmp_path, shared, start="conv1")
    assert [id(blob) for blob in cut.parameters] == [id(blob) for blob in cut.student.blobs_of("fc")]


@pytest.mark.parametrize("start", [None, "conv1"])
def test_what_is_kept_fits_what_is_asked(tmp_path, start):
    for bf16, kind in ((False, torch.float32), (True, torch.bfloat16)):
        one = made(tmp_path, DEEP, start=start, feature="conv2", bf16=bf16)
        asked = one.ask(images())
        values = [asked.feeds[start or "data"], *asked.targets]
        assert [shape for shape, _ in one.kept()] == [tuple(value.shape[1:]) for value in values]
        assert [found for _, found in one.kept()] == [kind, torch.float32, kind]


@pytest.mark.parametrize("start", [None, "conv1"])
def test_images_asked_about_a_few_at_a_time_have_the_same_answers(tmp_path, monkeypatch, start):
    one, batch = made(tmp_path, DEEP, start=start, feature="conv2"), images()
    whole, at_once = one.ask(batch), []
    monkeypatch.setattr("deepmerge.train.recover.distillation.CACHED", 4 * 60 * 4)  # four inputs of 60 numbers
    few = made(tmp_path, DEEP, start=start, feature="conv2")
    few.teacher.register_forward_pre_hook(lambda net, args: at_once.append(len(args[0]["data"])))
    asked = few.ask(batch)
    assert max(at_once) < len(batch) and sum(at_once) == len(batch)
    for found, wanted in zip(
        [*asked.feeds.values(), *asked.targets], [*whole.feeds.values(), *whole.targets], strict=True
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)


def test_losses_are_means_over_images(tmp_path):
    one = made(tmp_path, DEEP)
    batch = one.ask(images())
    assert mean_losses(one, [batch, batch]) == pytest.approx(mean_losses(one, [batch]))


def test_images_are_kept_in_bfloat16_if_the_first_layers_round_them_anyway(tmp_path):
    one = made(tmp_path, DEEP, feature="conv2", bf16=True)
    asked = one.ask(images())
    kept = Batch({"data": asked.feeds["data"].to(torch.bfloat16)}, asked.targets)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(one.losses(kept), one.losses(asked))

    other = inputs((1, 3, 5, 4)) + layer("scaled", "Power", "data", "scale: 0.5") + conv("conv2", "scaled", 4)
    assert made(tmp_path, other, bf16=True).kept()[0][1] == torch.float32
    assert made(tmp_path, other, start="scaled", bf16=True).kept()[0][1] == torch.bfloat16


def test_large_images_are_not_kept(tmp_path, monkeypatch):
    """Few would fit, and each would be shown several times in a row."""
    monkeypatch.setattr("deepmerge.train.recover.distillation.LARGEST_KEPT", 4 * 59)
    assert not made(tmp_path, DEEP).keeps_start and len(made(tmp_path, DEEP).kept()) == 1
    assert made(tmp_path, DEEP, start="conv1").keeps_start


@pytest.mark.parametrize("largest", [0, 1 << 20])
def test_a_view_that_is_shown_again_is_the_same(tmp_path, monkeypatch, largest):
    monkeypatch.setattr("deepmerge.train.recover.distillation.LARGEST_KEPT", largest)
    one, shown = made(tmp_path, DEEP, feature="conv2", bf16=True), images()

    def source(start):
        for number in itertools.count(start):
            yield shown[2 * (number % 3) :][:2]

    views = Views(one, source, Rounds(period=2, uses=3, batch_size=2), Kept(tmp_path / "x.views", one.kept()))
    first = one.ask(shown[:4])
    for start in (0, 2, 4):
        batches = list(itertools.islice(views.batches(start), 2))
        values = torch.cat([batch.feeds["data"].float() for batch in batches])
        order = [int((values - image.bfloat16().float()).abs().sum((1, 2, 3)).argmin()) for image in shown[:4]]
        assert sorted(order) == [0, 1, 2, 3]
        for found, wanted in zip(zip(*(batch.targets for batch in batches), strict=True), first.targets, strict=True):
            torch.testing.assert_close(torch.cat(found)[order].float(), wanted.float(), rtol=1e-2, atol=1e-2)
