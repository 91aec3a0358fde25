"""ReLU after MAX pooling, bit by bit, in real Caffe."""

from __future__ import annotations

import pytest

from deepmerge.passes.swap_relu_pool import SwapReluPool
from tests.helpers import conv, inputs, layer, relu

CONV = inputs((2, 3, 9, 8)) + conv("conv", "data", 4, "kernel_h: 3 kernel_w: 2")
POOL = "kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 3"


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("slope", ["", "negative_slope: 0.25"])
@pytest.mark.parametrize("pool", [POOL, "kernel_size: 3 stride: 2 pad: 1", "global_pooling: true", "kernel_size: 2"])
@pytest.mark.parametrize("last", [True, False])
def test_behind_the_pooling(apply_and_check, in_place, slope, pool, last):
    act = relu("conv", "act", slope) if in_place else layer("act", "ReLU", "conv", slope)
    text = CONV + act + layer("pool", "Pooling", "conv" if in_place else "act", pool)
    text += layer("ip", "InnerProduct", "pool", "num_output: 5") if last else ""
    found = apply_and_check(text, SwapReluPool, within=0)
    assert [x.name for x in found.graph.layers][:4] == ["input", "conv", "pool", "act"]
    assert [b.name for b in found.graph.outputs] == ["ip" if last else "pool"]


def test_with_another_reader_of_what_stands_before(apply_and_check):
    text = CONV + layer("act", "ReLU", "conv") + layer("pool", "Pooling", "act", POOL) + layer("other", "TanH", "conv")
    apply_and_check(text, SwapReluPool, within=0, left={"Convolution": 1, "ReLU": 1, "Pooling": 1, "TanH": 1})


def test_two_poolings(apply_and_check):
    text = (
        CONV
        + relu("conv")
        + layer("p1", "Pooling", "conv", "kernel_size: 2")
        + layer("p2", "Pooling", "p1", "kernel_size: 3")
    )
    found = apply_and_check(text, SwapReluPool, within=0)
    assert [x.name for x in found.graph.layers][2:] == ["p1", "p2", "conv/relu"]


def pooled(params: str, act: str = relu("conv", "act"), tops: str | None = None) -> str:
    return CONV + act + layer("pool", "Pooling", "conv", params, tops)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (pooled(POOL) + layer("other", "TanH", "conv"), "has other readers"),
        (pooled(POOL, relu("conv", "act", "negative_slope: -1")), "not monotone"),
        pytest.param(pooled(POOL, tops="pool mask"), "mask", marks=pytest.mark.pitfall("row", 23)),
        (pooled("kernel_size: 1 stride: 5"), "outside of the image"),  # of 7 values takes 0, 5 and the 10th
    ],
)
def test_refusals(refusals, text, why):
    assert why in refusals(text, SwapReluPool)["pool"]


@pytest.mark.parametrize(
    "text",
    [
        pooled("pool: AVE kernel_size: 2 stride: 2"),
        pooled("kernel_size: 3 pad: 1"),  # as many values after it as before
        pooled(POOL, layer("act", "PReLU", "conv", tops="conv")),
        CONV + layer("pool", "Pooling", "conv", POOL),
    ],
)
def test_no_case(refusals, text):
    assert refusals(text, SwapReluPool) == {}


@pytest.mark.parametrize("kept", ["act", "ReLU", "pool", "Pooling"])
def test_keep(refusals, kept):
    assert "is kept, as asked" in refusals(pooled(POOL), SwapReluPool, keep=frozenset([kept]))["pool"]
