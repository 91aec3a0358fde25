"""What feeds a train_val network: the user's data layers, or new ones."""

from __future__ import annotations

import pytest

from deepmerge.errors import EmitError
from deepmerge.formats.read import read_train_layers
from deepmerge.formats.write.caffemodel import write_caffemodel
from deepmerge.formats.write.train_data import without_twins
from deepmerge.formats.write.train_val import TrainData, train_val
from deepmerge.graph.graph import Graph
from deepmerge.passes.support.base import Options
from deepmerge.plan.plan import Wishes
from tests.conversion import Job, convert
from tests.formats.write.train_nets import DATA, LOSS, made, parsed, small_network
from tests.helpers import conv, inputs, layer, network


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


def test_an_input_of_no_known_shape(tmp_path):
    graph = network(tmp_path, 'name: "net" layer { name: "in" type: "Input" top: "data" }' + layer("r", "ReLU", "data"))
    with pytest.raises(EmitError, match="input 'data' has no shape, .*; give it: --input data=1,3,H,W") as caught:
        made(graph)
    assert caught.value.layer == "in"


def batchnorm(phase: str, stored: str) -> str:
    """One of two twins, in place of a."""
    return layer("bn", "BatchNorm", "a", f"use_global_stats: {stored}", "a", f"include {{ phase: {phase} }}")


@pytest.mark.parametrize("kept", [[], ["BatchNorm"]])
def test_a_batchnorm_for_each_phase_does_not_run_twice(kept, tmp_path):
    """TEST's is folded or kept; TRAIN's would normalise what it has normalised."""
    text = inputs((1, 3, 6, 5)) + conv("a", "data", 4) + batchnorm("TRAIN", "false") + batchnorm("TEST", "true")
    graph = network(tmp_path, text + layer("b", "InnerProduct", "a", "num_output: 3"))
    write_caffemodel(graph, tmp_path / "net.caffemodel")
    wishes = Wishes(exact=True, options=Options(keep=frozenset(kept)))
    report = convert(Job(tmp_path / "net.prototxt", tmp_path / "net.caffemodel", tmp_path / "out", wishes))
    types = [m.type for m in parsed((tmp_path / "out/train_val.prototxt").read_text()).layer]
    assert types.count("BatchNorm") == len(kept)
    assert report["warnings"] == ["train_val.prototxt leaves out layer 'bn': the network's 'bn' takes its place"]


def test_a_layer_that_the_train_val_calls_differently(tmp_path):
    graph = network(tmp_path, inputs((1, 3, 6, 5)) + conv("a", "data", 4) + layer("bn", "BatchNorm", "a", tops="a"))
    path = tmp_path / "train_val.prototxt"
    path.write_text(DATA + layer("norm", "BatchNorm", "a", tops="a") + layer("drop", "Dropout", "a", tops="a") + LOSS)
    graph.train_layers = read_train_layers(path, graph)
    kept, notes = without_twins(graph)
    assert [str(m.value("name")) for m in kept] == ["data", "drop", "loss"]
    assert notes == ["train_val.prototxt leaves out layer 'norm': the network's 'bn' takes its place"]
