"""train_val networks of a phase: what is fed, what is lost and kept, and the weights that go in."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.errors import DeepmergeError, GraphError, ReadError, ShapeError
from deepmerge.formats.read.prototxt import parse
from deepmerge.formats.read.solver import NetSource
from deepmerge.formats.read.training import losses, multipliers, read_training
from deepmerge.formats.read.weights import load_weights
from deepmerge.formats.write.caffemodel import write_caffemodel
from tests.helpers import conv, fill, inputs, layer

SHAPE = (3, 8, 6)
DATA = 'layer { name: "d" type: "Data" top: "data" top: "label" include { phase: TRAIN } data_param { source: "x" batch_size: 7 } }\n'
TEST = DATA.replace("TRAIN", "TEST").replace("7", "11")
FC = layer("fc", "InnerProduct", "data", "num_output: 4")
DROP = 'layer { name: "drop" type: "Dropout" bottom: "fc" top: "fc" include { phase: TRAIN } }\n'
AUX = layer("aux", "InnerProduct", "data", "num_output: 4")
LOSS = layer("loss", "SoftmaxWithLoss", "fc label")
ACCURACY = 'layer { name: "acc" type: "Accuracy" bottom: "fc" bottom: "label" top: "acc" include { phase: TEST } }\n'
NET = 'name: "net"\n' + DATA + TEST + FC + DROP + LOSS + ACCURACY


@pytest.fixture
def read(tmp_path):
    def read(text: str = NET, phase: str = "TRAIN", shape=SHAPE, **more):
        path = tmp_path / "train_val.prototxt"
        path.write_text(text)
        return read_training(path, phase, shape, **more)

    return read


def shape_of(net, name: str):
    return next(shape for blob, shape in net.shapes.items() if blob.name == name)


@pytest.mark.parametrize(
    "phase, batch, kinds",
    [
        ("TRAIN", 7, "Input InnerProduct Dropout SoftmaxWithLoss"),
        ("TEST", 11, "Input InnerProduct SoftmaxWithLoss Accuracy"),
    ],
)
def test_each_phase_has_its_own_layers_and_batch(read, phase, batch, kinds):
    net = read(phase=phase)
    assert [m.type for m in net.graph.layers] == kinds.split() and net.graph.name == "net"
    assert (net.images, net.labels, net.batch_size, net.phase) == ("data", "label", batch, phase)
    assert shape_of(net, "data") == (batch, *SHAPE) and shape_of(net, "label") == (batch,)
    assert [str(m.value("type")) for m in net.graph.train_layers] == ["Data"]


def test_the_batch_size_can_be_chosen_and_has_a_default(read):
    assert read(batch_size=3).batch_size == 3 and shape_of(read(batch_size=3), "data") == (3, *SHAPE)
    assert read(NET.replace("batch_size: 7", "")).batch_size == 32


def test_inputs_in_the_place_of_data_layers(read):
    net = read(inputs((2, *SHAPE), (2,)).replace("data1", "label") + FC + LOSS)
    assert (net.images, net.labels) == ("data", "label") and net.graph.train_layers == []


def test_labels_may_stand_first(read):
    text = NET.replace('top: "data" top: "label"', 'top: "label" top: "data"')
    assert (read(text).images, read(text).labels) == ("data", "label")


def test_images_may_be_what_a_loss_aims_at(read):
    """An autoencoder, whose labels a Silence takes."""
    text = DATA + layer("fc", "InnerProduct", "data", "num_output: 144") + layer("loss", "EuclideanLoss", "fc data")
    net = read(text + 'layer { name: "quiet" type: "Silence" bottom: "label" }\n')
    assert (net.images, net.labels) == ("data", "label")


def test_a_network_that_reads_no_labels(read):
    net = read(
        DATA.replace('top: "label" ', "")
        + FC
        + layer("loss", "EuclideanLoss", "fc fc2").replace('bottom: "fc2"', 'bottom: "fc"')
    )
    assert net.labels is None


def test_losses_and_their_weights(read):
    second = layer("loss2", "EuclideanLoss", "aux fc").replace("top:", "loss_weight: 0.3 top:")
    silent = layer("loss3", "SoftmaxWithLoss", "aux label").replace("top:", "loss_weight: 0 top:")
    made = layer("mean", "Reduction", "aux", "operation: MEAN axis: 0").replace("top:", "loss_weight: 2 top:")
    net = read(NET + AUX + second + silent + made)
    assert [(blob.name, weight) for blob, weight in losses(net.graph)] == [("loss", 1.0), ("loss2", 0.3), ("mean", 2.0)]


def test_a_loss_without_a_top_gets_one(read):
    net = read(NET.replace('bottom: "fc" bottom: "label" top: "loss"', 'bottom: "fc" bottom: "label"'))
    assert [blob.name for blob, _ in losses(net.graph)] == ["loss"]


def test_stages_and_levels_of_the_solver_count(tmp_path):
    text = NET + AUX.replace('bottom: "data"', 'bottom: "data" include { phase: TRAIN stage: "deep" min_level: 2 }')
    (tmp_path / "net.prototxt").write_text(text)
    for state, there in {'stage: "deep" level: 2': True, 'stage: "deep"': False, "level: 3": False}.items():
        net = read_training(NetSource(tmp_path / "net.prototxt", None, parse(state)), "TRAIN", SHAPE)
        assert any(m.name == "aux" for m in net.graph.layers) == there, state


def test_a_network_in_the_solver_itself(tmp_path):
    source = NetSource(tmp_path / "solver.prototxt", parse(NET))
    assert [m.name for m in read_training(source, "TEST", SHAPE).graph.layers] == ["d", "fc", "loss", "acc"]
    assert source.tree.fields[0].value == "net"  # it stays as it was


def test_multipliers(read):
    specs = FC.replace(
        "inner_product_param", "param { lr_mult: 10 decay_mult: 0 } param { lr_mult: 2 } inner_product_param"
    )
    norm = layer("norm", "BatchNorm", "data", tops="norm")
    graph = read(NET.replace(FC, specs + norm)).graph
    assert [multipliers(graph.layer("fc"), index) for index in (0, 1, 2)] == [(10.0, 0.0), (2.0, 1.0), (1.0, 1.0)]
    assert multipliers(graph.layer("norm"), 0) == (0.0, 0.0)


def test_crop_size_must_be_the_networks(read):
    text = NET.replace('source: "x" batch_size: 7 }', 'source: "x" } transform_param { crop_size: 8 }')
    assert read(text, shape=(3, 8, 8)).batch_size == 32
    with pytest.raises(
        ReadError,
        match=r"layer 'd' \(Data\), transform_param: crop_size is 8, and the network's input is 6×8 \(width×height\)",
    ):
        read(text)


WRONG = {
    "no loss": (ReadError, NET.replace(LOSS, ""), "has no loss in the TRAIN phase"),
    "weightless": (ReadError, NET.replace('"fc" bottom: "label" top', '"fc" bottom: "label" loss_weight: 0 top'), "has no loss in the TRAIN phase"),
    "no data": (ReadError, NET.replace(DATA, ""), "has no data layer in the TRAIN phase that anything reads"),
    "more data": (ReadError, NET + DATA.replace('"data" top: "label"', '"x" top: "y"').replace('"d"', '"e"') + layer("l2", "EuclideanLoss", "x y"), "layer 'e' .Data. gives 'x', and what is fed are images and a label each; such a network trains with `caffe train`, or finetune.mk"),
    "no blob": (GraphError, NET.replace('"fc" bottom: "label"', '"fd" bottom: "label"', 1), "reads 'fd', which no layer before it makes in the TRAIN phase"),
    "weights": (ReadError, NET.replace('bottom: "label" top: "loss"', 'bottom: "label" top: "loss" loss_weight: 1 loss_weight: 2'), "has 2 loss_weight for 1 tops"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_refused(read, name):
    kind, text, told = WRONG[name]
    with pytest.raises(kind, match=told) as caught:
        read(text)
    assert "\n" not in str(caught.value) and isinstance(caught.value, DeepmergeError)


# -- weights -------------------------------------------------------------------------------------


def saved(net, path, seed: int = 1):
    fill(net.graph, seed)
    write_caffemodel(net.graph, path)
    return [list(m.weights) for m in net.graph.layers]


def test_later_caffemodels_override_earlier_ones(read, tmp_path):
    both = NET.replace(LOSS, AUX + LOSS)
    first, second, net = read(both), read(), read(both)
    saved(first, tmp_path / "a.caffemodel", 1)
    saved(second, tmp_path / "b.caffemodel", 2)
    assert load_weights(net.graph, tmp_path / "a.caffemodel", net.shapes) == []
    assert load_weights(net.graph, tmp_path / "b.caffemodel", net.shapes) == []
    assert np.array_equal(net.graph.layer("fc").weights[0], second.graph.layer("fc").weights[0])
    assert np.array_equal(net.graph.layer("aux").weights[0], first.graph.layer("aux").weights[0])
    alone = read(both)
    assert load_weights(alone.graph, tmp_path / "b.caffemodel") == [alone.graph.layer("aux")]  # its fillers start it


def test_shared_blobs_are_one(read, tmp_path):
    shared = 'param { name: "w" } param { name: "b" }'
    text = NET.replace(FC, layer("fc", "InnerProduct", "data", "num_output: 4", param=shared)).replace(
        LOSS, layer("aux", "InnerProduct", "data", "num_output: 4", param=shared) + LOSS
    )
    net = read(text)
    saved(net, tmp_path / "a.caffemodel")
    again = read(text)
    load_weights(again.graph, tmp_path / "a.caffemodel", again.shapes)
    assert again.graph.layer("fc").weights[0] is again.graph.layer("aux").weights[0]


def test_other_shapes_are_refused(read, tmp_path):
    saved(read(), tmp_path / "a.caffemodel")
    with pytest.raises(
        ShapeError,
        match=r"a.caffemodel: layer 'fc' \(InnerProduct\): weight blob 0: expected \(5, 144\), found \(4, 144\); does",
    ):
        load_weights(read(NET.replace("num_output: 4", "num_output: 5")).graph, tmp_path / "a.caffemodel")
    with pytest.raises(
        ShapeError, match=r"layer 'fc' \(InnerProduct\): weights: expected 1 blob \(4, 144\), found 2 blobs"
    ):
        load_weights(
            read(NET.replace("num_output: 4", "num_output: 4 bias_term: false")).graph, tmp_path / "a.caffemodel"
        )


def test_what_else_a_file_has_is_left_alone(read, tmp_path):
    text = NET.replace(FC, conv("fc", "data", 4, "kernel_h: 8 kernel_w: 6")).replace(
        LOSS, conv("other", "data", 2) + LOSS
    )
    saved(read(text), tmp_path / "a.caffemodel")
    net = read(NET.replace(FC, conv("fc", "data", 4, "kernel_h: 8 kernel_w: 6")))
    assert load_weights(net.graph, tmp_path / "a.caffemodel") == [] and net.graph.warnings == []
