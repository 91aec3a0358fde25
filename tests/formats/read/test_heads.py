"""Which blobs of a train_val are predictions."""

from __future__ import annotations

import pytest

from deepmerge.formats.read import heads
from deepmerge.formats.read.prototxt import parse


def layer(kind: str, bottoms: str = "", tops: str = "", more: str = "") -> str:
    ends = [f"bottom: '{b}'" for b in bottoms.split()] + [f"top: '{t}'" for t in tops.split()]
    return f"layer {{ name: '{(tops or kind).split()[0]}' type: '{kind}' {' '.join(ends)} {more} }}\n"


def layers(*texts: str) -> list:
    return parse("".join(texts)).values("layer")


DATA = layer("Data", tops="data label")
NET = layer("Convolution", "data", "conv") + layer("ReLU", "conv", "conv") + layer("InnerProduct", "conv", "fc")


def found(*texts: str) -> set[str]:
    every = layers(*texts)
    return heads.heads_of(every, heads.main_losses(every, "x"))


@pytest.mark.parametrize(
    ("text", "data"),
    [
        (layer("Data", tops="data"), True),
        (layer("AnnotatedData", tops="data label"), True),
        (layer("Python", tops="data"), True),
        (layer("Python", "data", "y"), False),
        (layer("Input", tops="data"), False),
        (layer("DummyData", tops="data"), False),
        (layer("Parameter", tops="p"), False),
        (layer("Convolution", tops="conv"), False),  # a bottom was forgotten
    ],
)
def test_is_data(text, data):
    assert heads.is_data(layers(text)[0]) is data


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([layer("SoftmaxWithLoss", "fc label", "loss")], {"fc"}),
        ([layer("SoftmaxWithLoss", "fc label", "loss"), layer("Accuracy", "fc label", "acc")], {"fc"}),
        ([layer("EuclideanLoss", "label fc", "loss")], {"fc"}),
        ([layer("EuclideanLoss", "fc data", "loss")], {"fc"}),
        ([layer("ContrastiveLoss", "conv fc label", "loss")], {"conv", "fc"}),
        ([layer("SmoothL1Loss", "fc label", "loss")], {"fc"}),
        ([layer("Accuracy", "fc label", "acc")], {"fc"}),
        ([], {"fc"}),
        ([layer("Softmax", "fc", "prob")], {"prob"}),
        ([layer("Softmax", "fc", "fc")], {"fc"}),
        ([layer("Softmax", "fc", "prob"), layer("Silence", "label")], {"prob"}),
        ([layer("Python", "fc label", "metric"), layer("Accuracy", "fc label", "acc")], {"fc"}),
        ([layer("Softmax", "fc", "prob"), layer("SoftmaxWithLoss", "fc label", "loss")], {"prob", "fc"}),
        ([layer("Slice", "label", "l1 l2"), layer("SoftmaxWithLoss", "fc l1", "loss")], {"fc"}),
    ],
)
def test_heads(texts, expected):
    assert found(DATA, NET, *texts) == expected


def test_auxiliary_losses_weigh_less():
    losses = [
        layer("SoftmaxWithLoss", "conv label", "aux", "loss_weight: 0.3"),
        layer("SoftmaxWithLoss", "fc label", "loss"),
    ]
    every = layers(DATA, NET, *losses)
    assert [heads.blobs(m, "top") for m in heads.main_losses(every, "x")] == [["loss"]]
    assert heads.heads_of(every, heads.main_losses(every, "x")) == {"fc"}


def test_what_leads_to_a_head():
    aux = layer("Pooling", "conv", "aux") + layer("InnerProduct", "aux", "aux/fc")
    every = layers(DATA, NET, aux, layer("SoftmaxWithLoss", "fc label", "loss"))
    kept, wanted = heads.leading_to(every, {"fc"})
    assert [str(m.value("type")) for m in kept] == ["Convolution", "ReLU", "InnerProduct"]
    assert wanted == {"data", "conv", "fc"}
    assert heads.left_out(every, kept) == ["aux", "aux/fc"]
