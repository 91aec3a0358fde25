"""The distillation's loss, by its formula; what the original has said is asked for once."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.errors import GraphError
from tests.helpers import conv, inputs, layer, network

torch = pytest.importorskip("torch", reason="pip install 'deepmerge-caffe[torch]'")

from deepmerge.engines.pytorch import TorchNet  # noqa: E402
from deepmerge.train.recover.distill import TEMPERATURE, Answers, Distillation, image_key  # noqa: E402

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
    assert one.parts == ("map", "fc") or one.parts == ("fc", "map")
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


def test_each_image_is_asked_about_once(tmp_path, monkeypatch):
    one, plain = made(tmp_path, SOFTMAX, Answers()), made(tmp_path, SOFTMAX)
    asked = []
    ask = one._ask
    monkeypatch.setattr(one, "_ask", lambda batch: asked.append(len(batch)) or ask(batch))
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
