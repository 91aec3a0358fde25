"""Agreement of a network with its original."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from deepmerge.train.recover.agreement import Judge
from tests.helpers import conv, inputs, layer, network

HEAD = inputs((1, 3, 5, 4))


def batches():
    rng = np.random.default_rng(0)
    return [rng.normal(0, 1, (count, 3, 5, 4)).astype(np.float32) for count in (7, 7, 6)]


def test_the_share_of_images_with_the_same_first_class(tmp_path):
    text = HEAD + layer("fc", "InnerProduct", "data", "num_output: 4 bias_term: false")
    a, b = network(tmp_path, text, seed=1), network(tmp_path, text, seed=2)
    judge = Judge(a, "data", batches, 1)
    assert judge.agreement(a) == 1.0
    data = np.concatenate(batches()).reshape(20, -1)
    wanted = ((data @ a.layer("fc").weights[0].T).argmax(1) == (data @ b.layer("fc").weights[0].T).argmax(1)).mean()
    assert 0 < wanted < 1 and judge.agreement(b) == pytest.approx(wanted)


def test_places_count_one_by_one(tmp_path):
    text = HEAD + conv("map", "data", 3)
    a, b = network(tmp_path, text, seed=1), network(tmp_path, text, seed=2)
    assert 0 < Judge(a, "data", batches, 1).agreement(b) < 1


def test_no_classes(tmp_path):
    graph = network(tmp_path, HEAD + conv("map", "data", 1))
    assert Judge(graph, "data", batches, 1).agreement(graph) is None


def test_nan_agrees_with_nothing(tmp_path):
    text = HEAD + layer("fc", "InnerProduct", "data", "num_output: 4 bias_term: false")
    good, bad = network(tmp_path, text, seed=1), network(tmp_path, text, seed=1)
    bad.layer("fc").weights = [np.full_like(bad.layer("fc").weights[0], np.nan)]
    judge = Judge(good, "data", batches, 1)
    assert judge.agreement(bad) == 0.0
    assert Judge(bad, "data", batches, 1).agreement(bad) == 0.0


def test_a_limit_leaves_images_out_for_all_networks(tmp_path):
    """Each look at the clock takes a second: one at the start, one after each piece, one at the end."""
    text = HEAD + layer("fc", "InnerProduct", "data", "num_output: 4 bias_term: false")
    a, b = network(tmp_path, text, seed=1), network(tmp_path, text, seed=2)
    judge = Judge(a, "data", lambda: [np.concatenate(batches())[:7] for _ in range(20)], 1)
    ticks = itertools.count()
    judge.clock, judge.limit = lambda: float(next(ticks)), 3.0
    assert judge.agreement(a) == 1.0 and judge.images == 21
    seen = []
    judge._batches = lambda: (seen.append(i) or batches()[0] for i in range(20))
    judge.agreement(b)
    assert judge.images == 21 and len(seen) == 3
