"""Sibling convolutions joined, in real Caffe."""

from __future__ import annotations

import pytest

from deepmerge.passes.join_siblings import JoinSiblings
from tests.helpers import conv, inputs, layer, network, relu

DATA = inputs((2, 6, 5, 7))


def test_narrow_siblings_become_one(apply_and_check):
    text = (
        DATA
        + conv("a", "data", 3)
        + relu("a")
        + conv("b", "data", 14, "kernel_size: 1 bias_term: false")
        + conv("c", "data", 5)
    )
    found = apply_and_check(text, JoinSiblings, left={"Convolution": 1, "Slice": 1, "ReLU": 1})
    assert found.graph.layer("a_joined_slice").params.slice_point == (3, 17)
    assert [b.name for b in found.graph.outputs] == ["b", "c", "a"]


def test_the_wide_and_the_kept_stay(apply_and_check):
    text = DATA + "".join(conv(n, "data", w) for n, w in (("wide", 17), ("a", 4), ("kept", 4), ("b", 4)))
    found = apply_and_check(text, JoinSiblings, left={"Convolution": 3, "Slice": 1}, keep=frozenset({"kept"}))
    assert {x.name for x in found.graph.layers} >= {"wide", "kept", "a_joined"}


@pytest.mark.parametrize(("width", "keep"), [(4, {"first"}), (17, ())])
def test_a_first_sibling_that_stays(apply_and_check, width, keep):
    text = DATA + "".join(conv(n, "data", w) for n, w in (("first", width), ("a", 4), ("b", 4)))
    found = apply_and_check(text, JoinSiblings, left={"Convolution": 2, "Slice": 1}, keep=frozenset(keep))
    assert [(c.layer, c.merged) for c in found.applied.changes] == [("a", ("a", "b"))]


def test_a_reader_between_the_siblings(apply_and_check):
    text = DATA + conv("a", "data", 3) + layer("t", "TanH", "a") + conv("b", "data", 2)
    apply_and_check(text, JoinSiblings, left={"Convolution": 1, "Slice": 1, "TanH": 1})


@pytest.mark.parametrize(
    "window", ["kernel_size: 3 pad: 1", "kernel_h: 2 kernel_w: 3 stride: 2", "kernel_size: 1 stride: 2"]
)
def test_any_window(apply_and_check, window):
    text = DATA + conv("a", "data", 12, window) + conv("b", "data", 20, f"{window} bias_term: false")
    text += conv("other", "data", 4, "kernel_size: 3")
    found = apply_and_check(text, JoinSiblings, left={"Convolution": 2, "Slice": 1})
    assert found.graph.layer("a_joined").params.num_output == 32


def test_the_widest_of_a_window_stays(apply_and_check):
    text = DATA + "".join(conv(n, "data", w, "kernel_size: 3") for n, w in (("a", 60), ("wide", 120), ("b", 90)))
    found = apply_and_check(text, JoinSiblings, left={"Convolution": 2, "Slice": 1})
    assert found.graph.layer("a_joined_slice").params.slice_point == (60,)
    assert found.applied.changes[0].merged == ("a", "b")


@pytest.mark.parametrize(
    ("width", "joined"), [(8, True), (10, True), (12, False), (14, True), (16, False), (17, False)]
)
def test_widths_of_1x1_that_pay(tmp_path, width, joined):
    graph = network(tmp_path, DATA + conv("a", "data", width) + conv("b", "data", width), seed=None)
    refusals = []
    found = JoinSiblings().look(graph, graph.layer("a"), {}, refusals)
    assert bool(found) == joined and bool(refusals) != joined


SHARED = 'param { name: "w" }'


@pytest.mark.parametrize(
    ("second", "why"),
    [
        (conv("b", "data", 17), "two of 12 or 16 outputs run 1.07 to 1.13 times as fast joined"),
        (layer("b", "Convolution", "data", "num_output: 4 kernel_size: 1", param=SHARED)
         + layer("c", "Convolution", "data", "num_output: 4 kernel_size: 1", param=SHARED), "fewer than two"),
    ],
)  # fmt: skip
def test_refusals(refusals, second, why):
    assert why in refusals(DATA + conv("a", "data", 4) + second, JoinSiblings)["a"]


def test_siblings_that_stay_are_told_once(refusals):
    text = DATA + conv("a", "data", 4) + conv("b", "data", 17) + conv("c", "data", 17)
    assert list(refusals(text, JoinSiblings)) == ["a"]


def test_wide_siblings_of_a_window(refusals):
    text = DATA + conv("a", "data", 100, "kernel_size: 3") + conv("b", "data", 100, "kernel_size: 3")
    assert "160 outputs together run less than 1.15 times as fast" in refusals(text, JoinSiblings)["a"]


@pytest.mark.parametrize("second", ["kernel_size: 3 stride: 2", "kernel_size: 3 pad: 1", "kernel_size: 3 dilation: 2"])
def test_nothing_for_another_window(refusals, second):
    assert not refusals(DATA + conv("a", "data", 4, "kernel_size: 3") + conv("b", "data", 4, second), JoinSiblings)


def test_nothing_for_groups(refusals):
    three = "kernel_size: 3 group: 2"
    assert not refusals(DATA + conv("a", "data", 4, three) + conv("b", "data", 4, three), JoinSiblings)


def test_nothing_for_other_convolutions(refusals):
    assert not refusals(DATA + conv("a", "data", 4) + conv("b", "data", 4, "kernel_size: 1 stride: 2"), JoinSiblings)
