"""Pooling merged into the convolution before it: geometry against real Caffe's shapes, and what stays exact."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from deepmerge.graph.shapes import infer_shapes
from deepmerge.passes.merge_pooling import MergePooling
from deepmerge.passes.support.base import Options
from tests.helpers import conv, feeds, inputs, layer, network, relu

DATA = inputs((2, 3, 17, 14))
CONV = DATA + conv("conv", "data", 5, "kernel_h: 3 kernel_w: 5 pad_h: 1 pad_w: 2")


def pool(bottom: str, params: str, tops: str | None = None) -> str:
    return layer("pool", "Pooling", bottom, params, tops)


def merged(found):
    """The convolution that has taken the pooling up."""
    return found.layer(found.applied.changes[0].into[0])


CONVOLUTIONS = [(1, 1, 0, 1), (3, 1, 1, 1), (7, 2, 3, 1), (3, 1, 2, 2), (11, 4, 0, 1)]
WINDOWS = [(2, 2, 0), (3, 2, 0), (3, 2, 1), (3, 3, 0), (2, 3, 0), (5, 2, 2)]


@pytest.mark.parametrize("kernel", ["keep", "cover"])
@pytest.mark.parametrize("size", [17, 20, 32, 35])
def test_the_output_keeps_its_shape(tmp_path, kernel, size):
    """Over a grid of windows; where no pad gives the shape, that is a refusal."""
    done = 0
    for (ck, cs, cp, cd), (pk, ps, pp) in product(CONVOLUTIONS, WINDOWS):
        text = inputs((1, 2, size, size + 3))
        text += conv("conv", "data", 4, f"kernel_size: {ck} stride: {cs} pad: {cp} dilation: {cd}")
        if pk > (size + 2 * cp - cd * (ck - 1) - 1) // cs + 1 + 2 * pp:
            continue  # Caffe takes no such pooling
        graph = network(tmp_path, text + pool("conv", f"kernel_size: {pk} stride: {ps} pad: {pp}"), seed=None)
        before = infer_shapes(graph)
        refusals = []
        found = MergePooling(Options(kernel=kernel)).look(graph, graph.layer("pool"), before, refusals)
        if found is None:
            assert "no pad lets a kernel" in refusals[0].reason or "whole image" in refusals[0].reason
            continue
        shape = before[graph.outputs[0]]
        MergePooling().apply(graph, found)
        assert infer_shapes(graph)[graph.outputs[0]] == shape
        p = graph.layers[-1].params
        assert p.stride == (cs * ps, cs * ps) and p.dilation == (cd, cd)
        field = (ck - 1) * cd + (pk - 1) * cs  # of both windows, less one
        assert p.kernel_h == (ck if kernel == "keep" or field % cd else field // cd + 1)
        done += 1
    assert done >= 15


@pytest.mark.parametrize("kernel", ["keep", "cover"])
@pytest.mark.parametrize("between", ["", relu("conv")])
@pytest.mark.parametrize("method", ["MAX", "AVE"])
def test_it_runs(runs_and_keeps_shapes, kernel, between, method):
    text = CONV + between + pool("conv", f"pool: {method} kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 3")
    found = runs_and_keeps_shapes(text, MergePooling, kernel=kernel)
    assert "Pooling" not in found.types() and merged(found).params.stride == (2, 3)
    change = found.applied.changes[0]
    assert not change.exact and change.merged == ("conv", "pool")
    # weights of another shape go by another name, so that the old file does not clash with the new prototxt
    assert change.into == (("conv",) if kernel == "keep" else ("conv_merged",))


def test_kept_kernels_keep_their_weights(runs_and_keeps_shapes):
    found = runs_and_keeps_shapes(CONV + pool("conv", "kernel_size: 2 stride: 2"), MergePooling)
    np.testing.assert_array_equal(merged(found).weights[0], found.original.layer("conv").weights[0])


@pytest.mark.parametrize("window", ["kernel_size: 3", "kernel_h: 3 kernel_w: 5", "kernel_h: 1 kernel_w: 3"])
@pytest.mark.parametrize("own", ["", "stride_h: 2 stride_w: 1", "group: 3"])
def test_average_pooling_covered_is_exact_without_pad_and_overhang(apply_and_check, window, own):
    """The mean of linear things is linear. The convolution makes 17 x 19 values, or 9 x 19: all windows fit."""
    text = inputs((2, 3, 19, 20)) + conv("conv", "data", 6, f"kernel_h: 3 kernel_w: 2 {own}")
    apply_and_check(text + pool("conv", f"pool: AVE {window} stride: 2"), MergePooling, kernel="cover")


def test_average_pooling_covered_is_exact_in_the_interior(tmp_path, caffe):
    """Where the pooling pads, places whose windows lie in the image stay the same."""
    text = inputs((2, 3, 25, 21)) + conv("conv", "data", 6, "kernel_size: 3 pad: 1")
    graph = network(tmp_path, text + pool("conv", "pool: AVE kernel_size: 3 stride: 2 pad_h: 1 pad_w: 0"))
    copy = graph.copy()
    one = MergePooling(Options(kernel="cover"))
    one.apply(copy, one.look(copy, copy.layer("pool"), infer_shapes(copy)))
    values = feeds(graph)
    a, b = caffe(graph, values)["pool"], caffe(copy, values)["pool"]
    apart = np.abs(a - b) / np.ptp(a)
    assert a.shape == (2, 6, 13, 10) and apart[:, :, 1:-1].max() <= 1e-5
    assert apart[:, :, [0, -1]].max() > 1e-3  # the edges are another matter


def test_max_pooling_covered_starts_in_the_middle(runs_and_keeps_shapes):
    found = runs_and_keeps_shapes(
        CONV + relu("conv") + pool("conv", "kernel_size: 3 stride: 2"), MergePooling, kernel="cover"
    )
    weight = merged(found).weights[0]
    assert weight.shape == (5, 3, 5, 7)
    np.testing.assert_array_equal(weight[:, :, 1:-1, 1:-1], found.original.layer("conv").weights[0])
    assert np.count_nonzero(weight) == np.count_nonzero(found.original.layer("conv").weights[0])


@pytest.mark.parametrize("kernel", ["keep", "cover"])
def test_the_random_start(apply_and_check, kernel):
    found = apply_and_check(
        CONV + pool("conv", "kernel_size: 2 stride: 2"), MergePooling, within=None, kernel=kernel, init="xavier"
    )
    weight = merged(found).weights[0]
    assert np.abs(weight).max() <= np.sqrt(3 / np.prod(weight.shape[1:])) and np.count_nonzero(weight) == weight.size


def test_two_poolings_one_after_the_other(runs_and_keeps_shapes):
    text = CONV + pool("conv", "kernel_size: 2 stride: 2") + layer("p2", "Pooling", "pool", "kernel_size: 2 stride: 2")
    found = runs_and_keeps_shapes(text, MergePooling, left={"Convolution": 1})
    assert found.layer("conv").params.stride == (4, 4)


SHARED = 'param { name: "w" } param { name: "b" }'


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param(
            CONV + pool("conv", "kernel_size: 2 stride: 2", "pool mask"),
            "its mask is used",
            marks=pytest.mark.pitfall("row", 23),
        ),
        (CONV + pool("conv", "global_pooling: true"), "pools the whole image"),
        (CONV + pool("conv", "pool: AVE kernel_h: 17 kernel_w: 14"), "pools the whole image"),
        (CONV + pool("conv", "kernel_size: 3 pad: 1"), "its stride is 1"),
        (CONV + pool("conv", "kernel_size: 2 stride: 2") + layer("o", "TanH", "conv"), "'conv' has other readers"),
        (
            CONV + layer("r", "ReLU", "conv") + pool("r", "kernel_size: 2 stride: 2") + layer("o", "TanH", "r"),
            "'r' has other readers",
        ),
        (CONV + layer("n", "LRN", "conv") + pool("n", "kernel_size: 2 stride: 2"), "'n' (LRN), not a convolution"),
        (DATA + pool("data", "kernel_size: 2 stride: 2"), "'input' (Input), not a convolution"),
        (
            DATA
            + layer("a", "Convolution", "data", "num_output: 4 kernel_size: 1", param=SHARED)
            + layer("b", "Convolution", "data", "num_output: 4 kernel_size: 1", param=SHARED)
            + pool("a", "kernel_size: 2 stride: 2"),
            "its weights are shared with 'b'",
        ),
        (
            inputs((1, 3, 227, 227))
            + conv("conv", "data", 4, "kernel_size: 11 stride: 4")
            + pool("conv", "kernel_size: 3 stride: 2"),
            "no pad lets a kernel of 11 at stride 8 make 27 outputs of 227 values; a kernel that covers",
        ),
    ],
)
def test_refusals(refusals, text, why):
    assert why in refusals(text, MergePooling)["pool"]


def test_behind_a_concat_it_is_not_this_passes_business(refusals):
    text = (
        DATA
        + conv("a", "data", 4)
        + conv("b", "data", 3)
        + layer("cat", "Concat", "a b")
        + pool("cat", "kernel_size: 2 stride: 2")
    )
    assert refusals(text, MergePooling) == {}


@pytest.mark.parametrize("kept", ["pool", "Pooling", "conv", "Convolution"])
def test_keep(refusals, kept):
    text = CONV + pool("conv", "kernel_size: 2 stride: 2")
    assert "is kept, as asked" in refusals(text, MergePooling, keep=frozenset([kept]))["pool"]
