"""The images to learn from and those to judge by: two parts of the source, the same ones each time."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.data import ImageWishes, Loading
from deepmerge.errors import GraphError
from deepmerge.train.recover.images import Sources, open_sources, sample
from tests.helpers import conv, inputs, layer, network


@pytest.fixture
def graph(tmp_path):
    return network(tmp_path, inputs((1, 3, 4, 6)) + conv("conv", "data", 2))


def made(tmp_path, graph, count: int, limit: int | None = None, **wishes) -> Sources:
    """Image i is i everywhere."""
    pixels = np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 6, 3), np.uint8)
    np.savez(tmp_path / "images.npz", images=pixels)
    wishes = {"mean": (0.0,)} | wishes
    spec, prototxt = f"npz:{tmp_path / 'images.npz'}", tmp_path / "net.prototxt"
    return open_sources(spec, graph, prototxt, 8, ImageWishes(**wishes), Loading(limit=limit))


def seen(batches) -> list[int]:
    return sorted({int(image.max()) for batch in batches for image in batch.data})


def test_a_tenth_is_held_out(tmp_path, graph):
    sources = made(tmp_path, graph, 100)
    train, judge = seen(sources.train.batch(i) for i in range(12)), seen(sources.judge.once())
    assert judge == list(range(5, 100, 10)) and sources.held_out == 10 and sources.train.count == 90
    assert train == sorted(set(range(100)) - set(judge))


def test_a_limit_is_spread_evenly(tmp_path, graph):
    sources = made(tmp_path, graph, 200, limit=50)
    assert seen([*sources.judge.once(), *(sources.train.batch(i) for i in range(6))]) == list(range(0, 200, 4))


def test_too_few_to_hold_any_out(tmp_path, graph):
    sources = made(tmp_path, graph, 9)
    assert sources.held_out == 0 and seen(sources.judge.once()) == list(range(9)) and sources.train.count == 9


def test_a_sample_of_those_to_learn_from(tmp_path, graph):
    sources = made(tmp_path, graph, 100)
    chosen = seen(sample(sources, 30).once())
    assert len(chosen) == 30 and not set(chosen) & set(seen(sources.judge.once()))


def test_a_network_bound_to_its_batch_is_refused(tmp_path):
    text = inputs((2, 3, 4, 6)) + layer("all", "Reshape", "data", "shape { dim: 2 dim: -1 }")
    with pytest.raises(GraphError, match="output 'fc' of network .* does not have a row for each image") as error:
        made(tmp_path, network(tmp_path, text + layer("fc", "InnerProduct", "all", "num_output: 3")), 20)
    assert error.value.remedy == "if a Reshape fixes the first `dim`, set it to 0"


def test_what_is_random_is_for_learning_alone(tmp_path, graph):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "images.npz", images=rng.integers(0, 256, (40, 4, 6, 3)).astype(np.uint8))
    spec = f"npz:{tmp_path / 'images.npz'}"
    plain, turned = (
        open_sources(spec, graph, tmp_path / "net.prototxt", 8, ImageWishes(mirror=m), Loading()) for m in (False, True)
    )
    assert all(np.array_equal(a.data, b.data) for a, b in zip(plain.judge.once(), turned.judge.once(), strict=True))
    a, b = plain.train.batch(0).data, turned.train.batch(0).data
    same, mirrored = ([np.array_equal(x, y) for x, y in zip(a, c, strict=True)] for c in (b, b[..., ::-1]))
    assert 0 < sum(same) < 8 and all(s != m for s, m in zip(same, mirrored, strict=True))
