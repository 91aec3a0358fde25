"""What feeds a train_val network: the user's data layers, or new ones."""

from __future__ import annotations

import pytest

from deepmerge.formats.read import read_train_layers
from deepmerge.formats.write.train_val import TrainData, train_val
from deepmerge.graph.graph import Graph
from tests.formats.write.train_nets import DATA, LOSS, made, small_network
from tests.helpers import inputs, layer, network


@pytest.fixture
def small(tmp_path) -> Graph:
    return small_network(tmp_path)


def test_several_outputs_and_inputs_are_told(tmp_path):
    text = (
        inputs((1, 3, 4, 4), (1, 5))
        + layer("a", "InnerProduct", "data", "num_output: 6")
        + layer("b", "InnerProduct", "data1", "num_output: 6")
    )
    layers, notes = made(network(tmp_path, text))
    assert notes == [
        "train_val.prototxt has no data for the input 'data1'; give --train-val",
        "train_val.prototxt has a loss on 'b' alone, of 2 outputs; add the others, or give --train-val",
    ]
    assert [(m.type, list(m.top)) for m in layers[:3]] == [("Data", ["data", "label"])] * 2 + [("Input", ["data1"])]
    assert list(layers[2].input_param.shape[0].dim) == [1, 5]


def test_data_under_another_name_and_labels_from_another_layer(small, tmp_path):
    labels = DATA.replace('top: "data" top: "label"', 'top: "label"').replace('name: "data"', 'name: "labels"')
    images = DATA.replace('top: "data" top: "label"', 'top: "image"')
    for text in (labels + images, images + labels):
        layers, notes = made(
            small, text + LOSS + layer("s", "Silence", "image", tops="").replace('top: ""', ""), folder=tmp_path
        )
        assert sorted(list(m.top) for m in layers[:2]) == [["data"], ["label"]] and notes == []
        assert list(layers[-1].bottom) == ["data"]


def test_data_for_training_alone(small, tmp_path):
    """Caffe refuses a solver that tests without TEST data."""
    path = tmp_path / "train_val.prototxt"
    path.write_text(DATA.replace("data_param", "include { phase: TRAIN } data_param") + LOSS)
    small.train_layers = read_train_layers(path, small)
    _, front = train_val(small, lambda one: False, TrainData())
    assert front.phases == ("TRAIN",) and front.batch_size == 7 and not front.guessed
