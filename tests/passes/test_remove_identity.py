"""Layers that hand on what they get, taken out, in real Caffe."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.passes.remove_identity import RemoveIdentity
from tests.helpers import conv, feeds, inputs, layer, network, relu

CONV = inputs((2, 6, 5, 7)) + conv("conv", "data", 4, "kernel_size: 3 stride: 2")


@pytest.mark.parametrize(
    ("kind", "params"),
    [
        ("Power", ""),
        ("Power", "power: 1 scale: 1 shift: 0"),
        ("Pooling", "kernel_size: 1"),
        ("Pooling", "pool: AVE kernel_size: 1"),
        ("Concat", "axis: 2"),
        ("Split", ""),
        ("Slice", "axis: 1"),
    ],
)
@pytest.mark.parametrize("behind", ["", relu("same"), layer("last", "TanH", "same")])
def test_what_is_taken_out(apply_and_check, kind, params, behind):
    text = CONV + layer("same", kind, "conv", params) + behind
    left = {"Convolution": 1} | ({"ReLU": 1} if "ReLU" in behind else {"TanH": 1} if behind else {})
    found = apply_and_check(text, RemoveIdentity, left=left)
    assert found.error == 0


@pytest.mark.pitfall("row", 17)
def test_a_split_of_several(apply_and_check):
    text = CONV + layer("split", "Split", "conv", tops="a b c") + layer("r", "ReLU", "a") + layer("s", "Sigmoid", "b")
    text += layer("sum", "Eltwise", "r s c")
    found = apply_and_check(text, RemoveIdentity, left={"Convolution": 1, "ReLU": 1, "Sigmoid": 1, "Eltwise": 1})
    assert found.error == 0


@pytest.mark.pitfall("row", 19)
def test_what_is_written_over_behind_it_stays_whole_for_others(apply_and_check):
    text = CONV + layer("same", "Power", "conv") + relu("same") + layer("s", "Sigmoid", "conv")
    found = apply_and_check(text, RemoveIdentity, left={"Convolution": 1, "ReLU": 1, "Sigmoid": 1})
    assert found.error == 0  # the ReLU no longer runs in place


def test_a_split_with_a_top_that_is_an_output(refusals):
    text = CONV + layer("split", "Split", "conv", tops="a b") + relu("a")
    assert refusals(text, RemoveIdentity)["split"] == "its top is an output of the network"


def test_flatten_of_two_axes(apply_and_check, refusals):
    text = inputs((3, 6)) + layer("ip", "InnerProduct", "data", "num_output: 4")
    apply_and_check(text + layer("flat", "Flatten", "ip"), RemoveIdentity, left={"InnerProduct": 1})
    assert refusals(CONV + layer("flat", "Flatten", "conv"), RemoveIdentity) == {}


@pytest.mark.parametrize("first", [relu("conv", "r1"), layer("r1", "ReLU", "conv")])
@pytest.mark.parametrize("second_in_place", [True, False])
def test_relu_of_a_relu(apply_and_check, first, second_in_place):
    top = "conv" if 'top: "conv"' in first else "r1"
    second = relu(top, "r2") if second_in_place else layer("r2", "ReLU", top)
    found = apply_and_check(CONV + first + second, RemoveIdentity, left={"Convolution": 1, "ReLU": 1})
    assert found.error == 0


@pytest.mark.parametrize(("a", "b"), [("negative_slope: 0.5", ""), ("", "negative_slope: 0.5")])
def test_leaky_relus_stay(refusals, a, b):
    assert refusals(CONV + relu("conv", "r1", a) + relu("conv", "r2", b), RemoveIdentity) == {}


@pytest.mark.parametrize(
    ("kind", "params", "tops"),
    [
        ("Power", "scale: 2", None),
        ("Power", "shift: 1", None),
        ("Power", "power: 2", None),
        ("Pooling", "kernel_size: 1 stride: 2", None),
        ("Pooling", "kernel_size: 2", None),
        ("Pooling", "kernel_h: 1 kernel_w: 2", None),
        ("Pooling", "global_pooling: true", None),
        ("Pooling", "pool: STOCHASTIC kernel_size: 1", None),
        ("Pooling", "kernel_size: 1", "x mask"),
        ("Slice", "slice_point: 1", "x y"),
    ],
)
def test_what_does_something(refusals, kind, params, tops):
    assert refusals(CONV + layer("x", kind, "conv", params, tops), RemoveIdentity) == {}


def test_an_output_that_would_be_the_input(refusals):
    text = inputs((2, 3, 4, 5)) + layer("same", "Power", "data") + layer("other", "TanH", "data")
    assert refusals(text, RemoveIdentity)["same"] == "its top is an output of the network"
    text = inputs((2, 3, 4, 5)) + layer("same", "Power", "data")
    assert refusals(text, RemoveIdentity)["same"] == "its top is an output of the network"


def test_an_output_beside_another_reader(refusals):
    text = CONV + layer("same", "Power", "conv") + layer("other", "TanH", "conv")
    assert refusals(text, RemoveIdentity)["same"] == "its top is an output of the network"


def test_behind_the_input(apply_and_check):
    text = inputs((2, 3, 4, 5)) + layer("same", "Power", "data") + conv("conv", "same", 2)
    found = apply_and_check(text, RemoveIdentity, left={"Convolution": 1})
    assert [b.name for b in found.graph.inputs] == ["data"]


@pytest.mark.parametrize("kept", ["same", "Power"])
def test_keep(refusals, kept):
    text = CONV + layer("same", "Power", "conv") + relu("same")
    assert "is kept, as asked" in refusals(text, RemoveIdentity, keep=frozenset([kept]))["same"]


def test_a_chain_of_them_in_one_run(apply_and_check):
    text = CONV + layer("a", "Power", "conv") + layer("b", "Concat", "a") + layer("c", "Split", "b") + relu("c")
    assert len(apply_and_check(text, RemoveIdentity, left={"Convolution": 1, "ReLU": 1}).applied.changes) == 3


def test_the_judge_sees_a_difference(tmp_path, caffe):
    """The measure of all these tests is no constant 0."""
    graph = network(tmp_path, CONV)
    other = graph.copy()
    other.layer("conv").weights = [w + np.float32(0.01) for w in other.layer("conv").weights]
    values = feeds(graph)
    assert np.abs(caffe(graph, values)["conv"] - caffe(other, values)["conv"]).max() > 0.01
