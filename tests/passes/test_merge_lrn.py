"""LRN merged: what is left of it is its constant factor, in real Caffe."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.passes.merge_lrn import MergeLrn
from tests.helpers import conv, inputs, layer, relu

CONV = inputs((2, 3, 9, 8)) + conv("conv", "data", 6, "kernel_h: 3 kernel_w: 2 pad: 1")


def lrn(bottom: str, params: str) -> str:
    return layer("norm", "LRN", bottom, params)


@pytest.mark.pitfall("row", 24)
@pytest.mark.parametrize(
    "between", ["", relu("conv"), layer("p", "PReLU", "conv", tops="conv"), relu("conv", params="negative_slope: 0.1")]
)
@pytest.mark.parametrize("k", [1, 2, 0.5])
def test_with_next_to_no_alpha_it_is_a_factor(apply_and_check, between, k):
    """1e-7/5 times five squares below 20 moves (k + …)^0.75 by less than 1e-5 of itself."""
    found = apply_and_check(CONV + between + lrn("conv", f"local_size: 5 alpha: 1e-7 beta: 0.75 k: {k}"), MergeLrn)
    assert "LRN" not in found.types() and found.graph.outputs[0].name == "norm"
    np.testing.assert_allclose(
        found.layer("conv").weights[1], found.original.layer("conv").weights[1] * k**-0.75, rtol=1e-6
    )
    (change,) = found.applied.changes
    assert (change.exact, change.merged, change.into) == (False, ("conv", "norm"), ("conv",))


@pytest.mark.pitfall("row", 24)
def test_within_channel_k_counts_for_nothing(apply_and_check):
    text = CONV + relu("conv") + lrn("conv", "local_size: 3 alpha: 1e-7 k: 2 norm_region: WITHIN_CHANNEL")
    found = apply_and_check(text, MergeLrn)
    assert found.layer("conv").weights[0] is found.original.layer("conv").weights[0]


def test_at_the_papers_alpha_it_is_near(apply_and_check):
    text = CONV + relu("conv") + lrn("conv", "local_size: 5 alpha: 1e-4 beta: 0.75")
    assert 1e-7 < apply_and_check(text, MergeLrn, within=1e-3).error


def test_over_an_activation_that_is_not_homogeneous(apply_and_check, refusals):
    act = layer("act", "Sigmoid", "conv")
    assert "does not pass through 'act' (Sigmoid)" in refusals(CONV + act + lrn("act", "k: 2"), MergeLrn)["norm"]
    apply_and_check(CONV + act + lrn("act", "alpha: 1e-6"), MergeLrn, left={"Convolution": 1, "Sigmoid": 1})


def test_the_random_start(apply_and_check):
    found = apply_and_check(CONV + lrn("conv", "alpha: 1e-4"), MergeLrn, within=None, init="xavier")
    weight = found.layer("conv").weights[0]
    assert (
        np.abs(weight).max() <= np.sqrt(3 / (3 * 3 * 2)) and (weight != found.original.layer("conv").weights[0]).all()
    )


SHARED = 'param { name: "w" } param { name: "b" }'
UNKNOWN = inputs((2, 3, 9, 8)) + layer("conv", "ConvolutionDepthwise", "data")  # it does not say num_output


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (CONV + lrn("conv", "") + layer("o", "TanH", "conv"), "'conv' has other readers"),
        (CONV + layer("r", "ReLU", "conv") + lrn("r", "") + layer("o", "TanH", "conv"), "'conv' has other readers"),
        (
            CONV + layer("pool", "Pooling", "conv", "kernel_size: 2") + lrn("pool", ""),
            "'pool' (Pooling), not a convolution",
        ),
        (inputs((2, 3, 5, 4)) + lrn("data", ""), "'input' (Input), not a convolution"),
        (UNKNOWN + lrn("conv", ""), "the parameters of 'conv' (ConvolutionDepthwise) are not known"),
        (UNKNOWN + relu("conv") + lrn("conv", ""), "the parameters of 'conv' (ConvolutionDepthwise) are not known"),
        (CONV + lrn("conv", "k: 0"), "its k is 0"),
        (CONV + lrn("conv", "k: -1"), "its k is -1"),
        (
            inputs((2, 3, 9, 8))
            + layer("a", "Convolution", "data", "num_output: 4 kernel_size: 1", param=SHARED)
            + layer("b", "Convolution", "data", "num_output: 4 kernel_size: 1", param=SHARED)
            + lrn("a", ""),
            "'a': its weights are shared with 'b'",
        ),
    ],
)
def test_refusals(refusals, text, why):
    assert why in refusals(text, MergeLrn)["norm"]


@pytest.mark.parametrize("kept", ["norm", "LRN", "conv", "Convolution"])
def test_keep(refusals, kept):
    assert "is kept, as asked" in refusals(CONV + lrn("conv", ""), MergeLrn, keep=frozenset([kept]))["norm"]


def test_arrays_that_others_hold_are_not_written(apply_and_check):
    found = apply_and_check(CONV + lrn("conv", "k: 2 alpha: 1e-7"), MergeLrn)
    assert found.layer("conv").weights[0] is not found.original.layer("conv").weights[0]
