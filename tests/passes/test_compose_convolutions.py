"""Convolutions composed, in real Caffe."""

from __future__ import annotations

import pytest

from deepmerge.passes.compose_convolutions import ComposeConvolutions
from tests.helpers import conv, inputs, layer, relu

DATA = inputs((2, 3, 11, 9))
WIDE = "kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 1"


@pytest.mark.parametrize("biases", [("true", "true"), ("true", "false"), ("false", "true"), ("false", "false")])
@pytest.mark.parametrize("stride", [1, 2])
def test_kxk_then_1x1(apply_and_check, biases, stride):
    first = conv("a", "data", 8, f"{WIDE} pad_h: 1 pad_w: 2 dilation: 2 bias_term: {biases[0]}")
    second = conv("b", "a", 4, f"kernel_size: 1 stride: {stride} bias_term: {biases[1]}")
    left = {"Convolution": 1} if stride == 1 else None
    if stride == 2:  # of the first's places only some are needed
        first = first.replace("num_output: 8", "num_output: 4")
    found = apply_and_check(DATA + first + second, ComposeConvolutions, left=left)
    p = found.layer("b").params
    assert (p.kernel, p.stride, p.pad, p.dilation) == ((3, 2), (2 * stride, stride), (1, 2), (2, 2))
    assert p.bias_term == ("true" in biases) and len(found.layer("b").weights) == 1 + p.bias_term
    assert [b.name for b in found.graph.outputs] == ["b"]


@pytest.mark.parametrize("bias", ["true", "false"])
def test_1x1_then_kxk(apply_and_check, bias):
    second = conv("b", "a", 4, f"{WIDE} bias_term: {bias}")
    found = apply_and_check(DATA + conv("a", "data", 8) + second, ComposeConvolutions, left={"Convolution": 1})
    assert found.applied.changes[0].merged == ("a", "b") and found.applied.changes[0].into == ("b",)


def test_1x1_then_kxk_with_pad_and_no_bias_between(apply_and_check, refusals):
    second = conv("b", "a", 4, f"{WIDE} pad_h: 0 pad_w: 1")
    apply_and_check(DATA + conv("a", "data", 8, "kernel_size: 1 bias_term: false") + second, ComposeConvolutions)
    reason = refusals(DATA + conv("a", "data", 8) + second, ComposeConvolutions)["b"]
    assert reason == "it pads, and 'a' before it has a bias"


def test_1x1_with_a_stride_then_1x1(apply_and_check):
    text = (
        DATA
        + conv("a", "data", 8, "kernel_size: 1 stride_h: 2 stride_w: 3 pad: 1")
        + conv("b", "a", 2, "kernel_size: 1 stride: 2")
    )
    found = apply_and_check(text, ComposeConvolutions, left={"Convolution": 1})
    assert (found.layer("b").params.stride, found.layer("b").params.pad) == ((4, 6), (1, 1))


@pytest.mark.parametrize("bias", ["true", "false"])
def test_1x1_then_1x1_with_pad(apply_and_check, refusals, bias):
    text = (
        DATA
        + conv("a", "data", 8, f"kernel_size: 1 bias_term: {bias}")
        + conv("b", "a", 2, "kernel_size: 1 pad_h: 1 pad_w: 0")
    )
    if bias == "true":
        assert "it pads" in refusals(text, ComposeConvolutions)["b"]
    else:
        found = apply_and_check(text, ComposeConvolutions, left={"Convolution": 1})
        assert found.layer("b").params.pad == (1, 0)


def test_three_become_one(apply_and_check):
    text = DATA + conv("a", "data", 8) + conv("b", "a", 8) + conv("c", "b", 2, "kernel_h: 1 kernel_w: 3")
    apply_and_check(text, ComposeConvolutions, left={"Convolution": 1})


def test_the_count_of_work_does_not_depend_on_the_batch(refusals):
    """1x1 with 4 outputs, then 3x3 at stride 1: 3·4 + 4·9·8 = 300 a place; composed 3·9·8 = 216; with 2: 150."""
    for batch in (1, 7):
        text = inputs((batch, 3, 6, 5)) + conv("a", "data", 2) + conv("b", "a", 8, "kernel_size: 3")
        reason = refusals(text, ComposeConvolutions)["b"]
        assert f"would need {3 * 9 * 8 * 12:,} MACs, not {3 * 2 * 30 + 2 * 9 * 8 * 12:,}" in reason


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (conv("a", "data", 8) + conv("b", "a", 4) + layer("o", "TanH", "a"), "'a' has other readers"),
        (conv("a", "data", 6, "kernel_size: 1 group: 3") + conv("b", "a", 4), "groups"),
        (conv("a", "data", 6) + conv("b", "a", 4, "kernel_size: 1 group: 2"), "groups"),
        (conv("a", "data", 6, "kernel_size: 3") + conv("b", "a", 4, "kernel_size: 2"), "neither it nor 'a' is 1x1"),
        (
            conv("a", "data", 6, "kernel_size: 3") + conv("b", "a", 4, "kernel_size: 1 pad: 1"),
            "neither it nor 'a' is 1x1",
        ),
        (
            conv("a", "data", 6, "kernel_size: 1 pad: 1") + conv("b", "a", 4, "kernel_size: 2"),
            "neither it nor 'a' is 1x1",
        ),
        (conv("a", "data", 6, "kernel_size: 1 stride: 2") + conv("b", "a", 4, "kernel_size: 2"), "has a stride"),
        (
            layer("a", "Convolution", "data", "num_output: 6 kernel_size: 1", param='param { name: "w" }')
            + conv("b", "a", 4)
            + layer("c", "Convolution", "data", "num_output: 6 kernel_size: 1", param='param { name: "w" }'),
            "shared with 'c'",
        ),
        (
            layer("a", "Convolution", "data b0", "num_output: 6 kernel_size: 1", "a a2") + conv("b", "a", 4),
            "work on 2 bottoms",
        ),
    ],
)
def test_refusals(refusals, text, why):
    data = inputs((2, 3, 11, 9)) + (layer("b0", "TanH", "data") if "b0" in text else "")
    assert why in refusals(data + text, ComposeConvolutions)["b"]


def test_an_activation_between_is_no_case(refusals):
    assert refusals(DATA + conv("a", "data", 8) + relu("a") + conv("b", "a", 4), ComposeConvolutions) == {}


def test_a_first_whose_bottom_is_overwritten_in_between(apply_and_check):
    """The file's order: a, then something in place on a's bottom's copy; the second must read the right version."""
    text = DATA + layer("t", "TanH", "data") + conv("a", "t", 8) + conv("b", "a", 2) + layer("s", "Sigmoid", "t")
    apply_and_check(text, ComposeConvolutions, left={"TanH": 1, "Convolution": 1, "Sigmoid": 1})


@pytest.mark.parametrize("kept", ["a", "b", "Convolution"])
def test_keep(refusals, kept):
    text = DATA + conv("a", "data", 8) + conv("b", "a", 4)
    assert "is kept, as asked" in refusals(text, ComposeConvolutions, keep=frozenset([kept]))["b"]


def test_param_specs_of_a_new_bias(apply_and_check):
    text = (
        DATA
        + conv("a", "data", 8)
        + layer("b", "Convolution", "a", "num_output: 2 kernel_size: 1 bias_term: false", param="param { lr_mult: 1 }")
    )
    assert len(apply_and_check(text, ComposeConvolutions, left={"Convolution": 1}).layer("b").param_specs) == 2
