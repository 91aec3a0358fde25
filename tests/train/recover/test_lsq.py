"""Least squares: planted weights come back, real networks come nearer to their originals, and nothing else changes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from deepmerge.engines import engine
from deepmerge.passes.support.base import Options
from deepmerge.plan import make_plan
from deepmerge.plan.plan import Wishes
from deepmerge.train.recover.lsq import lsq
from deepmerge.train.recover.segments import Segment, find_segments
from deepmerge.train.recover.solve import Fitting
from tests.helpers import carried_out, conv, feeds, fill, inputs, layer, network, relu
from tests.train.recover.conftest import TEXT, scale

PRELU = layer("c/prelu", "PReLU", "c", tops="c")
PLANTED = {
    "kernel_h != kernel_w, stride, pad": conv(
        "c", "data", 4, "kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 1 pad_h: 1 pad_w: 2"
    )
    + relu("c"),
    "groups, dilation, no bias": conv("c", "data", 6, "kernel_size: 3 dilation: 2 group: 3 bias_term: false")
    + relu("c"),
    "no activation": conv("c", "data", 4, "kernel_size: 3 pad: 1"),
    "leaky": conv("c", "data", 4, "kernel_size: 3") + relu("c", params="negative_slope: 0.1"),
    "PReLU": conv("c", "data", 4, "kernel_size: 2") + PRELU,
    "inner product": layer("c", "InnerProduct", "data", "num_output: 5") + relu("c"),
    "inner product, transposed": layer("c", "InnerProduct", "data", "num_output: 5 transpose: true") + relu("c"),
    "two branches": conv("a", "data", 3, "kernel_size: 3 pad: 1")
    + relu("a")
    + conv("b", "data", 2)
    + layer("c", "Concat", "a b"),
    "Concat, then a ReLU": conv("a", "data", 3, "kernel_size: 3 pad: 1")
    + conv("b", "data", 2)
    + layer("c", "Concat", "a b")
    + relu("c"),
}


def many(graph, images, seed=0):
    """A feeds() of batches of 7."""
    one = feeds(graph, seed)
    (name, shape), rng = next((name, value.shape[1:]) for name, value in one.items()), np.random.default_rng(seed)
    data = rng.normal(0, 1, (images, *shape)).astype(np.float32)
    return lambda: ({name: data[i : i + 7]} for i in range(0, images, 7))


def planted(tmp_path, text, others=()):
    """The original, a copy with other weights in all that has some but `others`, and one segment over all of it."""
    original = network(tmp_path, text)
    merged = original.copy()
    random = network(tmp_path, text, seed=77)
    for one in merged.layers:
        if one.name not in others and one.type != "PReLU":
            one.weights = random.layer(one.name).weights
    names = [one.name for one in merged.layers if one.type != "Input"]
    trained = tuple(one.name for one in merged.layers if one.weights and one.type != "PReLU" and one.name not in others)
    return original, merged, Segment("all", ("all",), ("data",), merged.layers[-1].top.name, tuple(names), trained)


@pytest.mark.parametrize("text", PLANTED.values(), ids=PLANTED)
def test_planted_weights_come_back(tmp_path, text):
    alone = "InnerProduct" in text  # one row an image
    original, merged, segment = planted(tmp_path, inputs((1, 6, 3, 2) if alone else (1, 6, 9, 8)) + text)
    images = 900 if alone else 150
    (found,) = lsq(original, merged, [segment], many(original, images), Fitting(points=40, iterations=300))
    assert found.error_before > 0.3 and found.error_after < 2e-3 and set(found.layers) == set(segment.trained)
    for one in merged.layers:
        for new, true in zip(one.weights, original.layer(one.name).weights, strict=True):
            assert new.dtype == np.float32 and new.shape == true.shape
            np.testing.assert_allclose(new, true, atol=2e-3 * np.abs(true).max())


def test_planted_weights_to_1e_4(tmp_path):
    original, merged, segment = planted(
        tmp_path, inputs((1, 3, 9, 8)) + conv("c", "data", 4, "kernel_size: 3 pad: 1") + relu("c")
    )
    lsq(original, merged, [segment], many(original, 300), Fitting(iterations=1000))
    for new, true in zip(merged.layer("c").weights, original.layer("c").weights, strict=True):
        np.testing.assert_allclose(new, true, atol=1e-4 * np.abs(true).max())


def test_a_reducer_and_what_reads_it_are_fitted_together(tmp_path):
    text = conv("r", "data", 4) + relu("r") + conv("c", "r", 6, "kernel_size: 3 pad: 1 stride: 2") + relu("c")
    original, merged, segment = planted(tmp_path, inputs((1, 5, 12, 11)) + text)
    rng = np.random.default_rng(3)
    near = original.layer("r").weights
    merged.layer("r").weights = [near[0] + rng.normal(0, 0.2, near[0].shape).astype(np.float32), near[1]]
    alone, few = merged.copy(), merged.copy()
    (one,) = lsq(original, alone, [segment], many(original, 80), Fitting(rounds=0))
    assert one.layers == ("c",)
    (both,) = lsq(original, merged, [segment], many(original, 80), Fitting(rounds=60, iterations=60))
    assert both.layers == ("r", "c") and both.error_after < 0.4 * one.error_after
    (worse,) = lsq(original, few, [segment], many(original, 80), Fitting(rounds=60, iterations=60, rows=60))
    assert worse.error_after > 1.2 * both.error_after, "the reducer was fitted on one or two of the images"


def test_segments_make_up_for_those_before_them(tmp_path):
    """What conv b reads is wrong by a factor that nothing before it can mend: b is solved on it as it is."""
    text = (
        inputs((1, 3, 9, 8))
        + conv("a", "data", 3)
        + layer("wrong", "Scale", "a")
        + conv("b", "wrong", 4, "kernel_size: 2")
    )
    original, merged, _ = planted(tmp_path, text)
    merged.layer("a").weights, merged.layer("b").weights = original.layer("a").weights, original.layer("b").weights
    segment = Segment("b", ("b",), ("wrong",), "b", ("b",), ("b",))
    (found,) = lsq(original, merged, [segment], many(original, 60))
    assert found.error_after < 1e-3 < found.error_before
    seen, wanted = (g.layer("b").weights[0] * g.layer("wrong").weights[0][:, None, None] for g in (merged, original))
    np.testing.assert_allclose(seen, wanted, atol=1e-3 * np.abs(wanted).max())


@pytest.mark.parametrize("images", [1, 2, 3, 7])
def test_little_data_does_no_harm(tmp_path, images):
    """With the original's own weights nothing can be gained, and nothing is lost."""
    text = (
        inputs((1, 3, 9, 8))
        + conv("c", "data", 4, "kernel_size: 5")
        + relu("c")
        + layer("fc", "InnerProduct", "c", "num_output: 9")
    )
    original, _, segment = planted(tmp_path, text)
    merged = original.copy()
    for one in merged.layers:
        one.weights = [w.copy() for w in one.weights]
    (found,) = lsq(original, merged, [segment], many(original, images))
    assert found.error_after <= found.error_before < 1e-5
    for one in merged.layers:
        for new, true in zip(one.weights, original.layer(one.name).weights, strict=True):
            np.testing.assert_allclose(new, true, atol=1e-5)


def test_weights_that_are_shared_or_not_in_the_segment_stay(tmp_path):
    shared = 'layer { name: "%s" type: "Convolution" bottom: "%s" top: "%s" param { name: "w" } param { name: "b" } convolution_param { num_output: 3 kernel_size: 1 } }\n'
    text = inputs((1, 3, 9, 8)) + shared % ("a", "data", "a") + shared % ("b", "a", "b")
    original, merged, segment = planted(tmp_path, text)
    arrays = {one.name: list(one.weights) for one in merged.layers}
    (found,) = lsq(original, merged, [segment], many(original, 20))
    assert found.layers == () and "no linear layer" in found.note and found.error_before == found.error_after
    assert all(a is b for one in merged.layers for a, b in zip(one.weights, arrays[one.name], strict=True))


def test_a_segment_that_a_pooling_ends_is_left_alone(tmp_path):
    text = inputs((1, 3, 9, 8)) + conv("a", "data", 4) + layer("p", "Pooling", "a", "kernel_size: 3 stride: 2")
    original, merged, segment = planted(tmp_path, text)
    (found,) = lsq(original, merged, [segment], many(original, 20))
    assert found.layers == () and found.note and found.entry()["note"] == found.note


def test_arrays_are_new_and_the_originals_untouched(tmp_path):
    original, merged, segment = planted(tmp_path, inputs((1, 3, 9, 8)) + conv("c", "data", 4) + relu("c"))
    arrays = [w for g in (original, merged) for one in g.layers for w in one.weights]
    copies = [w.copy() for w in arrays]
    lsq(original, merged, [segment], many(original, 40))
    assert all(np.array_equal(a, b) for a, b in zip(arrays, copies, strict=True))
    assert not any(w is a for w in merged.layer("c").weights for a in arrays)


def test_no_segments(tmp_path):
    original = network(tmp_path, inputs((1, 3, 9, 8)) + conv("c", "data", 4))
    assert lsq(original, original.copy(), [], many(original, 3)) == []


@pytest.fixture(scope="module")
def merged_twice(tmp_path_factory):
    """The original, its conversion with two approximate steps, and their segments."""
    original = network(tmp_path_factory.mktemp("net"), TEXT)
    scale(original)
    merged, entries = carried_out(original, make_plan(original, Wishes(options=Options())).recipe)
    return original, merged, find_segments(original, merged, entries)


@pytest.fixture(scope="module")
def pictures():
    """Images whose neighbours are alike, as in photographs, minus a mean."""
    coarse = np.random.default_rng(8).uniform(-120, 135, (120, 3, 5, 5)).astype(np.float32)
    return coarse.repeat(4, 2).repeat(3, 3)[:, :, :17, :15]


def run(networks, pictures, **options):
    original, merged, segments = networks
    merged = merged.copy()
    found = lsq(
        original,
        merged,
        segments,
        lambda: ({"data": pictures[i : i + 40]} for i in range(0, len(pictures), 40)),
        Fitting(points=16, iterations=10, **options),
    )
    return merged, found


def test_a_conversion_comes_nearer_to_its_original(merged_twice, pictures):
    original, before, segments = merged_twice
    after, found = run(merged_twice, pictures, rounds=4)
    assert [one.segment for one in found] == [s.name for s in segments] == ["conv1", "conv2"]
    assert all(one.error_after < one.error_before and one.seconds > 0 for one in found)
    assert found[0].error_after < 0.6 * found[0].error_before and found[-1].error_after < 0.95
    values = [engine().load(g).forward({"data": pictures}, ["norm2"])["norm2"] for g in (original, before, after)]
    assert np.linalg.norm(values[2] - values[0]) < 0.75 * np.linalg.norm(values[1] - values[0])
    changed = {
        one.name
        for one, other in zip(before.layers, after.layers, strict=True)
        if any(a is not b for a, b in zip(one.weights, other.weights, strict=True))
    }
    assert changed == {name for one in found for name in one.layers} <= {name for s in segments for name in s.trained}


def test_the_same_seed_gives_the_same_bytes(merged_twice, pictures):
    def arrays(seed):
        layers = run(merged_twice, pictures[:40], rounds=1, seed=seed)[0].layers
        return [w.tobytes() for one in layers for w in one.weights]

    first = arrays(5)
    assert first == arrays(5) and first != arrays(6)


def test_little_memory_uses_fewer_images_and_keeps_nothing(merged_twice, pictures):
    _, found = run(merged_twice, pictures, rounds=0, memory=200 << 10)
    assert found[0].rows < 120 * 16 and all(one.error_after < one.error_before for one in found)


def test_what_is_fed_may_have_several_inputs(tmp_path):
    text = inputs((1, 3, 9, 8), (1, 2, 9, 8)) + layer("both", "Concat", "data data1") + conv("c", "both", 4) + relu("c")
    original, merged, segment = planted(tmp_path, text)
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(60, 3, 9, 8)).astype(np.float32), rng.normal(size=(60, 2, 9, 8)).astype(np.float32)
    (found,) = lsq(
        original,
        merged,
        [segment],
        lambda: iter([{"data": a[:20], "data1": b[:20]}, {"data": a[20:], "data1": b[20:]}]),
    )
    assert found.error_after < 1e-2


def test_a_network_whose_batch_is_fixed_in_the_prototxt(tmp_path):
    original, merged, segment = planted(tmp_path, inputs((10, 3, 9, 8)) + conv("c", "data", 4) + relu("c"))
    fill(merged, 4)
    (found,) = lsq(original, merged, [segment], many(original, 45), Fitting(iterations=300))
    assert found.error_after < 1e-2


def test_a_segment_whose_time_is_over_keeps_its_weights(merged_twice, pictures):
    """It is given up in the second of its three batches."""
    _, before, segments = merged_twice
    looks = itertools.count()
    after, found = run(merged_twice, pictures, rounds=0, over=lambda seconds: next(looks) >= 5)
    assert [one.segment for one in found] == ["conv1"] and next(looks) == 6
    names = [one.trained[0] for one in segments]
    same = [np.array_equal(after.layer(name).weights[0], before.layer(name).weights[0]) for name in names]
    assert same == [False, True]
