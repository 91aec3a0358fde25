"""A loss and accuracies where the user has none; the probabilities where somebody reads them."""

from __future__ import annotations

import pytest

from deepmerge.graph.graph import Graph
from tests.formats.write.train_nets import DATA, LOSS, made, small_network
from tests.helpers import conv, inputs, layer, network


@pytest.fixture
def small(tmp_path) -> Graph:
    return small_network(tmp_path)


def test_loss_and_accuracy_where_there_are_none(small):
    layers, notes = made(small)
    assert [m.name for m in layers] == ["data", "data", "a", "a/relu", "b", "loss", "accuracy/top-1", "accuracy/top-5"]
    assert list(layers[5].bottom) == ["b", "label"] and layers[7].accuracy_param.top_k == 5 and notes == []
    assert [m.include[0].phase for m in layers if m.include] == [0, 1, 1, 1]  # TRAIN, and TEST three times


def test_no_top_5_of_five_classes(tmp_path):
    text = inputs((1, 3, 2, 2)) + layer("fc", "InnerProduct", "data", "num_output: 5")
    assert [m.name for m in made(network(tmp_path, text))[0]] == ["data", "data", "fc", "loss", "accuracy/top-1"]


def test_names_that_are_taken(tmp_path):
    text = inputs((1, 3, 2, 2)) + layer("label", "InnerProduct", "data", "num_output: 9")
    text += layer("accuracy/top-1", "InnerProduct", "label", "num_output: 9") + layer("loss", "ReLU", "accuracy/top-1")
    layers, _ = made(network(tmp_path, text))
    assert list(layers[0].top) == ["data", "label_2"]
    loss = next(m for m in layers if m.type == "SoftmaxWithLoss")
    assert list(loss.top) == ["loss_2"] and list(loss.bottom) == ["loss", "label_2"]
    tops = [t for m in layers for t in m.top if m.type not in ("Data", "ReLU")]
    assert len(tops) == len(set(tops))


def test_sigmoid_and_softmax_along_another_axis(tmp_path):
    text = inputs((1, 3, 2, 2)) + layer("fc", "InnerProduct", "data", "num_output: 1") + layer("p", "Sigmoid", "fc")
    assert [m.type for m in made(network(tmp_path, text))[0]][2:] == ["InnerProduct", "SigmoidCrossEntropyLoss"]
    text = inputs((1, 3, 7, 1)) + conv("a", "data", 2) + layer("p", "Softmax", "a", "axis: 2")
    layers, notes = made(network(tmp_path, text))
    assert layers[3].softmax_param.axis == 2 and [m.accuracy_param.axis for m in layers[4:]] == [2, 2]
    assert "needs 7x1 labels for each image; give --train-val" in notes[0]


def test_probabilities_that_an_accuracy_reads_stay(small, tmp_path):
    layers, _ = made(small, DATA + LOSS + layer("acc", "Accuracy", "prob label"), folder=tmp_path)
    assert [m.name for m in layers] == ["data", "a", "a/relu", "b", "prob", "loss", "acc"]
