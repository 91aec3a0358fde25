"""Sibling 1x1 convolutions joined, in real Caffe."""

from __future__ import annotations

import pytest

from deepmerge.passes.join_siblings import JoinSiblings
from tests.helpers import conv, inputs, layer, relu

DATA = inputs((2, 6, 5, 7))


def test_narrow_siblings_become_one(apply_and_check):
    text = (
        DATA
        + conv("a", "data", 3)
        + relu("a")
        + conv("b", "data", 16, "kernel_size: 1 bias_term: false")
        + conv("c", "data", 5)
    )
    found = apply_and_check(text, JoinSiblings, left={"Convolution": 1, "Slice": 1, "ReLU": 1})
    assert found.graph.layer("a_joined_slice").params.slice_point == (3, 19)
    assert [b.name for b in found.graph.outputs] == ["b", "c", "a"]


def test_the_wide_and_the_kept_stay(apply_and_check):
    text = DATA + "".join(conv(n, "data", w) for n, w in (("wide", 17), ("a", 4), ("kept", 4), ("b", 4)))
    found = apply_and_check(text, JoinSiblings, left={"Convolution": 3, "Slice": 1}, keep=frozenset({"kept"}))
    assert {x.name for x in found.graph.layers} >= {"wide", "kept", "a_joined"}


def test_a_reader_between_the_siblings(apply_and_check):
    text = DATA + conv("a", "data", 3) + layer("t", "TanH", "a") + conv("b", "data", 2)
    apply_and_check(text, JoinSiblings, left={"Convolution": 1, "Slice": 1, "TanH": 1})


@pytest.mark.parametrize(
    ("second", "why"),
    [
        (conv("b", "data", 17), "fewer than two of its siblings have 16 outputs or fewer"),
        (layer("b", "Convolution", "data", "num_output: 4 kernel_size: 1", param='param { name: "w" }')
         + layer("c", "Convolution", "data", "num_output: 4 kernel_size: 1", param='param { name: "w" }'), "fewer than two"),
    ],
)  # fmt: skip
def test_refusals(refusals, second, why):
    assert why in refusals(DATA + conv("a", "data", 4) + second, JoinSiblings)["a"]


def test_nothing_for_other_convolutions(refusals):
    assert not refusals(DATA + conv("a", "data", 4) + conv("b", "data", 4, "kernel_size: 1 stride: 2"), JoinSiblings)
