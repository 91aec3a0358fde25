"""Dropout taken out, in real Caffe, and put aside for training."""

from __future__ import annotations

import pytest

from deepmerge.passes.remove_dropout import RemoveDropout
from tests.helpers import conv, inputs, layer, relu

CONV = inputs((2, 6, 5, 7)) + conv("conv", "data", 4, "kernel_h: 3 kernel_w: 2")


def dropout(bottom: str, top: str) -> str:
    return layer("drop", "Dropout", bottom, "dropout_ratio: 0.7", top)


def put_aside(found) -> list[tuple[str, ...]]:
    """(name, type, bottom, top, ratio) of the training-only layers."""
    return [
        (
            *(str(m.value(key)) for key in ("name", "type", "bottom", "top")),
            str(m.message("dropout_param").value("dropout_ratio")),
        )
        for m in found.graph.train_layers
    ]


@pytest.mark.parametrize("top", ["conv", "drop"])
@pytest.mark.parametrize("last", ["", "ip"])
def test_in_place_or_not_output_or_not(apply_and_check, top, last):
    text = CONV + relu("conv") + dropout("conv", top)
    text += layer("ip", "InnerProduct", top, "num_output: 3") if last else ""
    found = apply_and_check(
        text, RemoveDropout, left={"Convolution": 1, "ReLU": 1} | ({"InnerProduct": 1} if last else {})
    )
    assert found.error == 0
    assert put_aside(found) == [("drop", "Dropout", top, top, "0.7")]
    assert [b.name for b in found.graph.outputs] == [last or top]


def test_another_reader_of_the_bottom(apply_and_check):
    text = CONV + dropout("conv", "drop") + layer("a", "TanH", "drop") + layer("b", "Sigmoid", "conv")
    found = apply_and_check(text, RemoveDropout, left={"Convolution": 1, "TanH": 1, "Sigmoid": 1})
    assert put_aside(found) == [("drop", "Dropout", "conv", "conv", "0.7")]


def test_of_the_input(apply_and_check):
    found = apply_and_check(
        inputs((2, 3, 5, 4)) + dropout("data", "drop") + conv("conv", "drop", 2), RemoveDropout, left={"Convolution": 1}
    )
    assert put_aside(found) == [("drop", "Dropout", "data", "data", "0.7")]


@pytest.mark.parametrize("shares", ["Flatten", "Reshape", "Split", "Concat", "Slice"])
def test_a_blob_whose_memory_is_another_ones(apply_and_check, shares):
    """In Caffe these layers hand on their bottom's memory: without the copy that Dropout makes, the ReLU, which runs
    in place, would write over what Sigmoid has yet to read."""
    params = "shape { dim: 0 dim: -1 }" if shares == "Reshape" else ""
    text = CONV + layer("same", shares, "conv", params) + dropout("same", "drop") + relu("drop")
    found = apply_and_check(text + layer("s", "Sigmoid", "conv"), RemoveDropout)
    assert found.error == 0


def test_an_output_whose_bottom_has_other_readers(refusals):
    text = CONV + dropout("conv", "drop") + layer("b", "Sigmoid", "conv")
    assert "'drop' is an output of the network" in refusals(text, RemoveDropout)["drop"]


def test_an_output_that_would_be_the_input(refusals):
    assert "its bottom is an input" in refusals(inputs((2, 3)) + dropout("data", "drop"), RemoveDropout)["drop"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ("scale_train: false", "with scale_train: false it multiplies by 0.3 in TEST"),
        ("sample_weights_test: true", "with sample_weights_test it drops values in TEST, too"),
    ],
)
def test_forks_that_do_something_in_a_test(refusals, fields, reason):
    """caffe-fast-rcnn, caffe-segnet: dropout_layer.cpp. BVLC's Caffe refuses the fields, so it cannot judge them."""
    text = CONV + layer("drop", "Dropout", "conv", f"dropout_ratio: 0.7 {fields}", "conv")
    assert refusals(text, RemoveDropout) == {"drop": reason}


@pytest.mark.parametrize("kept", ["drop", "Dropout"])
def test_keep(refusals, kept):
    assert (
        "is kept, as asked" in refusals(CONV + dropout("conv", "conv"), RemoveDropout, keep=frozenset([kept]))["drop"]
    )
